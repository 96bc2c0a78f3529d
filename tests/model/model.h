/* The non-blocking states, checked exhaustively: the shipped code among two and three threads, over a kernel of its own.
 *
 * What runs is the code of the object: shim/hooks/pending*.c, poll.c, select.c, epoll.c, getsockopt.c, io.c, waiting.c,
 * connect*.c and engine*.c, shim/runtime/clock.c, socket.c, share.c and addresses.c, and all of shim/policy. It is compiled with
 * -fsanitize=thread, and what that calls at each access to memory is not the sanitizer's but memory.c: so an
 * atomic access is a point where another thread may go on, and a plain one is held against the rule that an entry's
 * plain fields are its claim's holder's. The model's own are the kernel (sockets, epoll sets, the clock), the settings, the
 * place where a destination's words are kept, and the programs.
 *
 *     explore.c        every order: threads as coroutines, states saved and restored, those that were met before
 *     memory.c         what the shipped code reads and writes
 *     kernel.c         sockets and descriptors, as __inet_stream_connect, tcp_poll and tcp_reset treat them
 *     kernel_wait.c    ... and those who wait for them: poll, select
 *     kernel_epoll.c   ... epoll sets, as fs/eventpoll.c treats them
 *     stand_ins.c      what is left of the runtime
 *     verbs.c          what programs do, and what they are told: where double delivery and lies are found
 *     truth.c          what must hold in every state, and at the end
 *     scenarios.c      the programs
 *
 * What is shown, for each scenario and every order within its bounds:
 *
 *     no lost wake-up     no state from which nobody goes on; no time that passes a due attempt of a socket that somebody
 *                         waits for; a wait ends neither before its time-out nor after it
 *     no double delivery  a failure is told once, by the error of the last attempt; nobody who was shown an event takes SO_ERROR 0 for a
 *                         connection that was not made; after a failure that was shown, no attempt; no end of file and no
 *                         EPIPE in a backoff; an operation is told at most one end
 *     attempts            never more than RETRY_MAX_ATTEMPTS, and never on a socket that the program did not connect there
 *     ends                everybody ends; then no claim is held, no descriptor is left, the counters count what there is, and
 *                         registrations are as the program made them
 *     claims              plain fields of an entry are touched by its claim's holder alone
 *
 * Bounds: a thread is interrupted, where it could have gone on, at most `preemptions` times an execution (the context bound of
 * Musuvathi and Qadeer, "Iterative Context Bounding for Systematic Testing of Multithreaded Programs"); what a socket's attempt
 * comes to, and when, is free; so is time while everybody waits. Memory is sequentially consistent: reorderings by
 * the processor are TSan's subject and not seen here. A spin on a claim is a wait for its word to change: that it gives up after some
 * seconds is not modelled. Fork, a third thread and EPOLLEXCLUSIVE have no scenario. What another thread is shown of a socket
 * before connect() has returned is not held against the shim, which does not know of the connect yet (`strayed` in verbs.c);
 * nor is what a call does that began on another socket whose number was closed and given away under it.
 */
#ifndef MODEL_H
#define MODEL_H

#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "retryshim/host.h"
#include "retryshim/policy.h"

enum { THREADS_MOST = 3, SOCKETS = 5, EPOLLS = 2, ITEMS = 8, POLLED_MOST = 3, ENTRIES = 16, OPS_MOST = 64 };

/* Descriptors: the program's are 0 to 7, those that the shim pins sockets by 128 to 135. */
enum { LOW_FDS = 8, HIGH_FD = 128, FDS = 16 };

enum outcome { REFUSED, MADE, MADE_AND_RESET, OUTCOMES };

/* ---- the world: all that is saved and restored, beside stacks and the shipped code's memory ----------------- */

enum tcp { TCP_IS_CLOSED, TCP_IS_TRYING, TCP_IS_MADE };
enum link { UNCONNECTED, CONNECTING, CONNECTED };

struct sock {
	bool used, shut, nonblocking;
	uint8_t holds; /* descriptors and calls that have it */
	uint8_t tcp, link;
	int error; /* sk_err */
	uint16_t port; /* where the program connects it; 0 = nowhere yet */
	uint8_t segments, sent, answered; /* of TCP_INFO */
	/* What the program has been told, see verbs.c. */
	uint8_t attempts, allowed;
	bool made;      /* the latest attempt was */
	bool closed;    /* by the program: its last descriptor */
	int last_error; /* of the latest attempt that failed */
	int told;       /* the failure that a call has returned */
	bool exposed;   /* an outcome was shown */
	bool strayed;   /* a call that began on another socket came to this one */
	bool doubted;   /* taken for connected, while another thread's call is about to tell of the failure */
};

struct item {
	bool used, ready;
	uint8_t epoll, sock, fd;
	uint32_t events;
	uint64_t data;
	uint32_t given; /* by the program; 0 with `fired` */
	bool fired;     /* EPOLLONESHOT, and shown */
};

enum thread_state { UNBORN, READY, ASLEEP, SPINNING, ENDED };

struct thread {
	jmp_buf context;
	char *low; /* its stack is in use from here */
	uint8_t state;
	int saved_errno;
	bool held;
	uintptr_t depth_frame;
	/* Where it is. */
	const char *at;
	int at_number;
	uint8_t at_socks; /* a mask: the sockets that its next call looks at */
	bool at_clock;
	/* ASLEEP */
	int64_t until_ns;
	int8_t epoll; /* -1: poll */
	uint8_t polled;
	int8_t polled_sock[POLLED_MOST];
	uint32_t polled_events[POLLED_MOST];
	uint64_t mask; /* signal masks are one bit: blocked */
	/* SPINNING, until the word that it has read last changes */
	const volatile uint64_t *word;
	uint64_t word_was;
	/* Signals */
	bool blocked, pending;
	/* The program's own view. */
	int8_t waits_sock, waits_epoll;
	uint8_t seen[SOCKETS]; /* it was shown an event of this socket since it last asked */
	uint8_t asks;          /* its call is about this socket, + 1 */
	uint8_t asks_fd;       /* by this descriptor, + 1; 0 = no call but a wait */
	uint8_t connects;      /* its first connect() is under way on this socket, + 1 */
	uint8_t awaited;       /* its last wait was for this socket, + 1 */
};

struct world {
	int64_t now_ns;
	struct sock sock[SOCKETS];
	uint8_t fd[FDS]; /* 0 = free; 1 + socket; EPOLL_FD + epoll set */
	struct item item[ITEMS];
	struct thread thread[THREADS_MOST];
	struct destination destination[SOCKETS];
	uint8_t holder[ENTRIES]; /* of pending entries: thread + 1 that has claimed or is filling it */
	uint64_t ids;
	uint8_t flags[4]; /* for scenarios' own use */
	uint8_t signals_left;
	uint64_t ended; /* a bit for each operation of which diagnostics have told the end */
};

enum { EPOLL_FD = 100 };

extern struct world world;
extern struct thread *self; /* the one that runs; NULL: the explorer */

extern char model_single_threaded; /* what libc tells of it */

/* ---- scenarios ----------------------------------------------------------------------------------------- */

typedef void program(void);

struct scenario {
	const char *name;
	int preemptions, deep; /* the bound, and that of `make model MODEL=deep` */
	int outcomes;          /* mask of enum outcome: what attempts may come to */
	int attempts;          /* RETRY_MAX_ATTEMPTS */
	void (*before)(void);  /* alone, and not explored; may be NULL */
	program *threads[THREADS_MOST];
	void (*handler)(void); /* a signal comes at any moment to the first thread; NULL = none */
	bool hurried;          /* time may also pass while threads could go on; each time costs a preemption */
	int at_once;           /* mask of attempts (bit 0: the first) that fail in connect(2) itself */
};

extern const struct scenario scenarios[];
extern const size_t scenario_count;
extern const struct scenario *running;

static inline int thread_number(void) { return self != NULL ? (int)(self - world.thread) : 0; }

/* ---- explore.c ------------------------------------------------------------------------------------------- */

/* The running thread is about to do something that another could notice: any other may come first. */
void point(const char *what, int number);

/* It cannot go on: returns when the explorer finds that it can. `state`: ASLEEP or SPINNING, described in *self. */
void rest(enum thread_state state, const char *what, int number);

/* Explores all of it; prints a line. */
void explore(const struct scenario *scenario, int preemptions);

/* Something does not hold: says what, how it came to that, and ends. */
void violation(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* ---- memory.c --------------------------------------------------------------------------------------------- */

/* Of objects that threads share: true if another one than the running has touched it too, and one has written. What is
 * not shared is no point. */
bool touched(const volatile void *object, bool writes);
void memory_forget(void);        /* a new scenario: nothing is shared yet */
extern bool memory_learned;      /* something is shared that was not known to be: what was explored so far is not all */
extern bool memory_is_tracked;

/* The shipped code's memory, in blocks: those that were ever written. */
enum { BLOCK_BYTES = 256 };
extern char *memory_blocks[];
extern size_t memory_block_count;
void memory_pristine(size_t from); /* blocks from this one on, as they were at the start */

/* What lies there, in words; and whether a point of this name is an access to memory. */
void memory_name(int offset, char *text, size_t size);
bool memory_is_access(const char *what);

void memory_check_end(void); /* no entry is claimed; counters are right */

/* ---- kernel.c ---------------------------------------------------------------------------------------------- */

struct sock *sock_of(int fd);      /* NULL if it is none */
int number_of_sock(const struct sock *sock);
int fd_slot(int fd);               /* -1: out of range */
int kernel_socket(void);           /* non-blocking */
int kernel_close(int fd);
int kernel_dup(int fd);
void sock_hold(struct sock *sock);
void sock_release(struct sock *sock);
uint32_t sock_events(const struct sock *sock);
void sock_resolve(struct sock *sock, enum outcome outcome);

/* The running thread is about to make a call on a descriptor. */
void kernel_call(const char *what, int fd, bool writes);

/* ---- kernel_wait.c ------------------------------------------------------------------------------------------ */

/* Sleeps as *self describes; true if there are events, false with errno EINTR or, at the time-out, 0. */
bool kernel_sleep(const char *what, int64_t until_ns, const sigset_t *mask);
bool can_wake(const struct thread *thread);
bool takes_signals(const struct thread *thread);
void take_signals(void);

/* ---- kernel_epoll.c ------------------------------------------------------------------------------------------ */

int kernel_epoll_create(void);
int epoll_number(int fd); /* -1: it is no epoll set */
bool epoll_has_events(int epoll);
void epoll_wake(int sock, uint32_t key);
void epoll_forget(int sock);
struct item *epoll_item(int epoll, int sock, int fd);

/* ---- verbs.c: what programs do ------------------------------------------------------------------------------- */

/* Each calls the hook, and holds what it returns against the truth. */
int begin_connect(int port);                  /* a socket that connects there */
int connect_more(int fd);                     /* connect(2) again: its errno, 0 = connected */
enum { GONE = -2 }; /* the number is another socket's by now: what was returned is of no interest */
int await_poll(int fd, short events, int timeout_ms); /* revents; 0 = the time is over; -1 EINTR; GONE */
int await_select(int fd, int timeout_ms);     /* 1 writable; 0; -1; GONE */
int await_epoll(int epoll, int timeout_ms, struct epoll_event *event); /* 1, 0, -1 */
void watch(int epoll, int operation, int fd, uint32_t events);
bool is_awaited(int fd);                      /* false if the number is not what was waited for by now */
int ask_error(int fd);                        /* SO_ERROR */
int send_byte(int fd);                        /* 1, or -errno */
int receive(int fd);                          /* the same; 0 = end of file */
void close_it(int fd);
int duplicate(int fd);

/* ---- truth.c --------------------------------------------------------------------------------------------------- */

void truth_attempt(struct sock *sock, uint16_t port); /* connect(2) is about to start one */
void truth_time(int64_t next_ns);                     /* all wait, and time is about to pass */
/* Diagnostics were told of an operation. */
void truth_told(enum event event, uint64_t op, int port, int attempt);
void truth_end(void);

#endif
