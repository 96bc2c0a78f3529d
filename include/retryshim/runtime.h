/* Runtime: what touches the process. Settings, real functions, sockets, the thread's depth guard, clock
 * and sleep, random bits, remembered addresses.
 *
 * Nothing here takes a lock, starts a thread, installs a handler or keeps a descriptor open. Unless a
 * function says otherwise it may be called before our constructor has run, in a signal handler and in
 * a child of vfork, and it may change errno: the hooks keep it.
 */
#ifndef RETRYSHIM_RUNTIME_H
#define RETRYSHIM_RUNTIME_H

#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

#include "retryshim/config.h"
#include "retryshim/host.h"
#include "retryshim/policy.h"
#include "retryshim/rules.h"

/* ---- settings --------------------------------------------------------------------------------- */

/* Copies the RETRY_* variables and the program's name, once. Called by the constructor, or by the
 * first call below if that comes earlier: later the program may have overwritten its environment
 * (setproctitle), or may be changing it in another thread. Costs a walk over the environment. */
void settings_capture(void);

/* True if RETRY_DIAG was set to anything but "0": whether diagnostics may be wanted, before anything
 * is parsed. */
bool settings_diag_wanted(void);

/* True if circuits may reject, by RETRY_BREAKER or by what stands in a file. */
bool settings_reject_wanted(void);

/* What may hold in this process: the environment; once a configuration file was read, what holds without a section, and
 * the families, resume and reject of whatever section has them. NULL when the shim is switched off for this process
 * (RETRY_ENABLED=0, or its program is not taken). Made at the first call, which reads the file that RETRY_CONFIG names.
 * A thread that comes while another one is at work on it waits; should that not end (we interrupted it, or were forked meanwhile),
 * NULL.
 * The result lives for ever and never changes. */
const struct config *settings_config(void);

/* What holds for this destination; NULL if it is switched off, or as above. For what has failed: the first call reads
 * CONFIG_FILE, unless RETRY_CONFIG says otherwise. */
const struct config *settings_for(const struct target *target);

/* Names every malformed variable, by parsing once more. For the one call that tells the user. */
void settings_complaints(config_complaint *complain, void *context);

/* What is wrong with the configuration file, from 0; false behind the last. Nothing before it was read. */
struct settings_fault {
	const char *path;
	int line; /* 0: the whole file */
	const char *what; /* the setting or the header */
	const char *why; /* "": error tells */
	int error;
};
bool settings_file_fault(int number, struct settings_fault *fault);

/* The program's short name, as captured. Never NULL. */
const char *settings_program(void);

/* trace-id of a well-formed TRACEPARENT (W3C Trace Context, 3.2): 32 hex digits; else "". */
const char *settings_trace_id(void);

/* Reads a configuration file into text, a NUL behind it: its length; -1 with the reason in *why, "" for errno. The standard
 * one has to be root's, and nobody else's to write. Leaves nothing open, waits for nothing. */
#define CONFIG_FILE "/etc/retryshim.conf"
ssize_t config_file_read(const char *path, char text[RULES_BYTES + 1], const char **why);

/* The path of the file that counts beside this environment; NULL: none does. */
const char *config_file_path(const struct config *environment);

/* ---- real functions --------------------------------------------------------------------------- */

/* The next definition of a libc function behind ours; NULL if there is none. dlsym(3) takes the loader's
 * lock, and allocates only if it misses. */
void *real_libc_find(const char *name);

/* A function or variable of a loaded object other than ours, by its default version: the first one, or the first behind
 * us; NULL if there is none. For what may be missing, or before there is dlsym: never allocates. Takes the loader's lock
 * (dl_iterate_phdr(3)). */
void *symbol_find(const char *name);
void *symbol_find_next(const char *name);

/* real_NAME() is the libc function behind our hook, never NULL: a pointer that starts as a function which
 * looks the real one up, puts it in its place and calls it. So a hook that has nothing to do is a load and a
 * jump. Where libc has no such function a call fails with ENOSYS. Our own questions go this way too: they
 * must not come back to our hooks. real.c has the table. */
#define REAL_FUNCTION(type, name, parameters)                                                       \
	typedef type name##_function parameters;                                                          \
	extern _Atomic(name##_function *) real_##name##_slot __attribute__((visibility("hidden")));       \
	static inline name##_function *real_##name(void)                                                  \
	{                                                                                                 \
		return atomic_load_explicit(&real_##name##_slot, memory_order_relaxed);                         \
	}

REAL_FUNCTION(int, connect, (int, const struct sockaddr *, socklen_t))
REAL_FUNCTION(int, getsockopt, (int, int, int, void *, socklen_t *))
REAL_FUNCTION(int, poll, (struct pollfd *, nfds_t, int))
REAL_FUNCTION(int, ppoll, (struct pollfd *, nfds_t, const struct timespec *, const sigset_t *))
REAL_FUNCTION(int, select, (int, fd_set *, fd_set *, fd_set *, struct timeval *))
REAL_FUNCTION(int, pselect, (int, fd_set *, fd_set *, fd_set *, const struct timespec *, const sigset_t *))
REAL_FUNCTION(int, epoll_ctl, (int, int, int, struct epoll_event *))
REAL_FUNCTION(int, epoll_wait, (int, struct epoll_event *, int, int))
REAL_FUNCTION(int, epoll_pwait, (int, struct epoll_event *, int, int, const sigset_t *))
REAL_FUNCTION(int, epoll_pwait2, (int, struct epoll_event *, int, const struct timespec *, const sigset_t *))
REAL_FUNCTION(ssize_t, send, (int, const void *, size_t, int))
REAL_FUNCTION(ssize_t, sendto, (int, const void *, size_t, int, const struct sockaddr *, socklen_t))
REAL_FUNCTION(ssize_t, sendmsg, (int, const struct msghdr *, int))
REAL_FUNCTION(ssize_t, write, (int, const void *, size_t))
REAL_FUNCTION(ssize_t, writev, (int, const struct iovec *, int))
REAL_FUNCTION(ssize_t, recv, (int, void *, size_t, int))
REAL_FUNCTION(ssize_t, recvfrom, (int, void *, size_t, int, struct sockaddr *, socklen_t *))
REAL_FUNCTION(ssize_t, recvmsg, (int, struct msghdr *, int))
REAL_FUNCTION(ssize_t, read, (int, void *, size_t))
REAL_FUNCTION(ssize_t, readv, (int, const struct iovec *, int))
REAL_FUNCTION(ssize_t, __read_chk, (int, void *, size_t, size_t))
REAL_FUNCTION(ssize_t, __recv_chk, (int, void *, size_t, size_t, int))
REAL_FUNCTION(ssize_t, __recvfrom_chk, (int, void *, size_t, size_t, int, struct sockaddr *, socklen_t *))
REAL_FUNCTION(int, getaddrinfo, (const char *, const char *, const struct addrinfo *, struct addrinfo **))

/* What programs with 64-bit time call on 32-bit processors (glibc 2.34); libc.h says where. */
struct wide_timespec {
	int64_t tv_sec;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	int32_t unused, tv_nsec;
#else
	int32_t tv_nsec, unused;
#endif
};
struct wide_timeval {
	int64_t tv_sec, tv_usec;
};
REAL_FUNCTION(int, __getsockopt64, (int, int, int, void *, socklen_t *))
REAL_FUNCTION(int, __ppoll64, (struct pollfd *, nfds_t, const struct wide_timespec *, const sigset_t *))
REAL_FUNCTION(int, __select64, (int, fd_set *, fd_set *, fd_set *, struct wide_timeval *))
REAL_FUNCTION(int, __pselect64, (int, fd_set *, fd_set *, fd_set *, const struct wide_timespec *, const sigset_t *))
REAL_FUNCTION(int, __epoll_pwait2_time64, (int, struct epoll_event *, int, const struct wide_timespec *, const sigset_t *))
REAL_FUNCTION(ssize_t, __sendmsg64, (int, const struct msghdr *, int))
REAL_FUNCTION(ssize_t, __recvmsg64, (int, struct msghdr *, int))

/* True if the file is a shared object for this machine that itself needs (DT_NEEDED) a library whose name starts
 * so. Reads a few pieces of the file and leaves nothing open. */
bool object_needs(const char *path, const char *prefix);

/* ---- sockets ---------------------------------------------------------------------------------- */

/* A number that no other socket of this system has or had (SO_COOKIE, Linux 4.12); 0 if the descriptor
 * is no socket, or the kernel does not tell. Keeps errno. */
#if defined(__x86_64__) && !defined(__ILP32__) && !defined(__SANITIZE_THREAD__) /* not in tests/model, which has a kernel of its own */
#define SOCKET_COOKIE_INLINE
/* Every healthy connect asks for it: without libc, and what stands before it. */
static inline __attribute__((always_inline)) uint64_t socket_cookie(int socket)
{
	uint64_t cookie = 0;
	socklen_t size = sizeof cookie;
	long result;
	register uint64_t *at_cookie __asm__("r10") = &cookie;
	register socklen_t *at_size __asm__("r8") = &size;
	__asm__ volatile("syscall"
	                 : "=a"(result), "+m"(cookie), "+m"(size)
	                 : "0"((long)SYS_getsockopt), "D"((long)socket), "S"((long)SOL_SOCKET), "d"((long)SO_COOKIE), "r"(at_cookie), "r"(at_size)
	                 : "rcx", "r11");
	return result == 0 ? cookie : 0;
}
#elif defined(__aarch64__) && !defined(__SANITIZE_THREAD__)
#define SOCKET_COOKIE_INLINE
static inline __attribute__((always_inline)) uint64_t socket_cookie(int socket)
{
	uint64_t cookie = 0;
	socklen_t size = sizeof cookie;
	register long number __asm__("x8") = SYS_getsockopt;
	register long result __asm__("x0") = socket;
	register long level __asm__("x1") = SOL_SOCKET;
	register long name __asm__("x2") = SO_COOKIE;
	register uint64_t *at_cookie __asm__("x3") = &cookie;
	register socklen_t *at_size __asm__("x4") = &size;
	__asm__ volatile("svc #0"
	                 : "+r"(result), "+m"(cookie), "+m"(size)
	                 : "r"(number), "r"(level), "r"(name), "r"(at_cookie), "r"(at_size)
	                 : "cc");
	return result == 0 ? cookie : 0;
}
#else
uint64_t socket_cookie(int socket);
#endif

/* The socket's inode, as /proc shows it; 0 if there is none. */
uint64_t socket_inode(int socket);

/* A second descriptor of the socket with this cookie, for socket_unpin(): whatever other threads do to the
 * program's descriptor meanwhile, it stays that socket. Without other threads, and with signals held, it is the
 * program's own. -1 with errno EBADF if the descriptor is
 * another one by now, EMFILE if none is to be had. */
int socket_pin(int socket, uint64_t cookie);
void socket_unpin(int pin, int socket);

bool socket_is_stream(int socket);

enum blocking { BLOCKING, NON_BLOCKING, BLOCKING_UNKNOWN };
enum blocking socket_blocking(int socket);

/* bind(2) came first: then EADDRNOTAVAIL speaks of the program's own choice. */
bool socket_is_bound(int socket);

/* An AF_INET6 socket that takes no IPv4 address in its mapped form (IPV6_V6ONLY in ipv6(7)). */
bool socket_is_v6_only(int socket);

bool socket_is_connected(int socket);

/* What has become of a socket since its last connect (TCP_INFO). A connection that was made and then reset
 * looks like a failed connect otherwise. */
enum socket_use {
	SOCKET_UNANSWERED, /* nobody has answered */
	SOCKET_ANSWERED,   /* it was made, and no byte has gone out or come in, nor waits to be sent */
	SOCKET_USED,       /* or not known */
};
enum socket_use socket_use(int socket);

/* What ICMP says of an attempt stays in the socket's error queue, and makes every poll say POLLERR, also when
 * a later attempt has connected (tcp_poll in net/ipv4/tcp.c). Takes it out, unless the program has
 * asked for it (IP_RECVERR in ip(7)). */
void socket_drain_errors(int socket);

/* How many descriptors this process' table has room for just now; FD_SETSIZE where /proc does not tell. */
int descriptor_table_size(void);

/* ---- epoll sets ------------------------------------------------------------------------------- */

struct epoll_registration {
	int fd;
	uint32_t events; /* a fired EPOLLONESHOT has lost its events */
	uint64_t data;
	uint64_t inode; /* 0 before Linux 4.13 */
};

typedef void epoll_found(void *context, const struct epoll_registration *registration);

/* Hands on what is registered in an epoll set, through whatever door it came (io_uring too). Nothing
 * where /proc is not to be had. */
void epoll_list(int epoll, epoll_found *found, void *context);

/* ---- depth guard ------------------------------------------------------------------------------ */

/* Only the outermost hook of a thread retries: libcurl and name service modules call back into us.
 * Set around calls into code that may do so, and only there. The guard remembers the frame of the
 * outermost hook, not a count: when a handler leaves by siglongjmp a count would stay up for ever,
 * while a frame that does not lie above ours in the stack is recognised as gone. (A frame is only
 * compared, never read: it may have been on the stack of a coroutine that is no more.) */
extern _Thread_local uintptr_t depth_frame __attribute__((tls_model("initial-exec"), visibility("hidden")));

static inline bool depth_nested(void)
{
	/* The stack grows down on every processor that we build for. */
	return depth_frame != 0 && depth_frame > (uintptr_t)__builtin_frame_address(0);
}

/* Returns what depth_leave() must get back. */
static inline __attribute__((always_inline)) uintptr_t depth_enter(void)
{
	uintptr_t before = depth_nested() ? depth_frame : 0;
	depth_frame = before != 0 ? before : (uintptr_t)__builtin_frame_address(0);
	return before;
}

static inline void depth_leave(uintptr_t before) { depth_frame = before; }

/* ---- signals and cancellation ----------------------------------------------------------------- */

/* A handler that leaves by siglongjmp, or pthread_cancel(3), would lose what we have opened or switched
 * between two steps of ours. Both are held while we work, and only then: our sleep and the program's
 * connect may be left at any moment. Costs two system calls, so on the way of a failure only. */
struct hold {
	sigset_t signals;
	int cancel;
	bool held;   /* by an outer one already */
	bool masked; /* false: a sandbox has denied it, and `signals` is not known */
};

void hold_begin(struct hold *hold);
void hold_end(const struct hold *hold);

/* True while this thread works under a hold: what libc calls then is our own doing, and passes through
 * the hooks untouched. */
extern _Thread_local bool thread_held __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* False if the process may have other threads. */
bool thread_is_alone(void);

/* work(context); if the thread is cancelled in it, or leaves by pthread_exit(3), clean_up(context) is run. */
int cancel_guarded(int (*work)(void *), void (*clean_up)(void *), void *context);

/* pthread_testcancel(3) */
void cancel_test(void);

/* ---- clock, sleep, random --------------------------------------------------------------------- */

int64_t clock_now_ns(void); /* CLOCK_MONOTONIC */
int64_t clock_wall_s(void); /* seconds since 1970 */

/* When an attempt begins is wanted only if it fails, but has to be taken before. So every healthy call
 * takes a mark, the processor's own counter (one instruction; even the vdso's clocks cost fifty), and
 * clock_of_mark() turns it into an instant of clock_now_ns() afterwards, by the rate that the counter
 * has had since clock_start(). Where the counter cannot be trusted the instant is off, but never
 * outside the process' life so far. */
static inline uint64_t clock_mark(void)
{
#if defined(__x86_64__) || defined(__i386__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t ticks;
	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
	return ticks;
#else
	return (uint64_t)clock_now_ns();
#endif
}

void clock_start(void);
int64_t clock_of_mark(uint64_t mark);

enum slept { SLEPT, SLEEP_INTERRUPTED };

/* Sleeps until an instant of clock_now_ns(). A cancellation point, as connect(2) is one. Interrupted
 * when a handler ran, unless all handlers of the process are installed with SA_RESTART: then a
 * connect would have gone on, and so does the sleep. */
enum slept sleep_until(int64_t at_ns);

/* The same, and ends early (SLEPT) when `*news` is no longer `seen`, or its futex is woken (futex(2)); where a sandbox
 * denies that, after a tenth of a second. */
enum slept sleep_for_news(int64_t at_ns, _Atomic(uint32_t) *news, uint32_t seen);

/* True in a handler that interrupted this thread's sleep_until(): what it calls is nested in our hook,
 * and must not back off itself. A sleep that was left by siglongjmp is told from one that goes on by
 * the signal mask, which a running handler has changed and siglongjmp has put back; at the latest it
 * is over when it was to end. */
bool sleep_interrupted_here(void);

/* 64 bits for jitter. RETRY_SEED (seed >= 0) fixes the sequence; otherwise parent, children and
 * siblings of a fork differ. Not for secrets. */
uint64_t random_bits(int64_t seed);

/* A number that no other operation of this host has. */
uint64_t random_id(void);

/* ---- the host-shared state: the file ----------------------------------------------------------- */

/* RETRY_STATE=off, a file that cannot be opened, made or trusted, a set-user-ID program: the process has a state of
 * its own, and everything works as before, for it alone. The file is opened at the first failure, never before, mapped,
 * and closed again. It is looked at (stat(2)) before each use, since touching a file that has been cut off is
 * SIGBUS. */
enum { STATE_PATH_BYTES = 40 };

/* Told once a process why the file is not used: `why` in words, or "" and an errno. */
typedef void state_complaint(const struct config *config, const char *path, const char *why, int error);

bool state_is_off(const struct config *config);
/* RETRY_STATE, or the standard path, which is written to `standard`. */
const char *state_path(const struct config *config, char standard[STATE_PATH_BYTES]);

/* What forbids to use a file, in words; NULL = nothing. */
const char *state_distrust(const struct stat *file);
bool state_header_valid(const struct state_header *header);

/* A hash of the target's key, in the network namespace of this process. */
uint64_t state_tag(const struct target *target);

/* The destination of a target whose tag is known; made if `make`, and then never NULL for want of the file. NULL if it
 * is not there, or its neighbours change all the time. Good until the next call: fork, files and others' needs change.
 * Keeps errno. */
struct destination *state_destination(const struct config *config, const struct target *target, uint64_t tag, bool make,
                                      state_complaint *complain);

/* The series of these labels, made if need be; NULL if its neighbours change all the time. Good until the next call; as
 * is *state, which it is in, and which is never NULL. */
struct series *state_series(const struct config *config, const struct labels *labels, struct state **state, state_complaint *complain);

/* One more of `metric`. `value`: milliseconds with METRIC_DELAY; else not looked at. */
void series_add(struct series *series, enum metric metric, enum reason reason, uint64_t value);

/* False if it is the process' own, which nobody else sees. */
bool state_is_shared(const struct state *state);

/* The same in a given state. */
struct destination *state_place(struct state *state, uint64_t tag, const struct target *target, bool make, int64_t now_ms);
struct series *state_series_place(struct state *state, const struct labels *labels, int64_t now_ms);

/* ---- the host-shared state: an operation's part ------------------------------------------------ */

/* Zero before its first failure. Owns a claim and a token at most, which others do without if it is dropped. */
struct share {
	struct waiter waiter;
	uint64_t id;
	bool evident; /* its last failure is at connection level: it learns from others, and they from it */
	bool probes;  /* it is the circuit's probe */
	bool paid;    /* a token, for a retry that has not been sent */
	bool parked;  /* its backoff is over, and it waits for another's attempt */
	uint32_t seen; /* share_news() at the last share_look() */
};

enum { SHARE_TURNS = 64 };

/* Instants further off than this are garbage, not another processor's clock. */
#define SHARE_CLOCK_SKEW_US INT64_C(1000000)

/* An operation has failed for the first time. */
void share_begin(struct share *share, struct destination *it, const struct config *config, int64_t now_ns);

/* Fills in what decide() needs to know, has_fallback aside. Changes nothing. */
void share_standing(const struct share *share, struct destination *it, const struct config *config,
                    const struct class *class, int64_t now_ns, struct standing *standing);

/* An attempt of its own has failed: what it shows is everybody's. */
void share_failed(struct share *share, struct destination *it, const struct config *config, const struct failure *failure,
                  const struct class *class, int64_t now_ns);

/* A backoff begins: claims the next attempt and pays, or rides along. `random`: 64 bits. False: no token. */
bool share_back_off(struct share *share, struct destination *it, const struct config *config, const struct verdict *verdict,
                    int64_t deadline_ns, uint64_t id, uint64_t random, int64_t now_ns);

/* In a backoff, at any time: COURSE_WAIT, COURSE_GO, COURSE_COUNTS or COURSE_BROKE. */
struct view share_look(struct share *share, struct destination *it, const struct config *config, int64_t now_ns);

/* What changes when there is news for it, from what it was at the last share_look(). */
_Atomic(uint32_t) *share_news(const struct share *share, struct destination *it);

/* After COURSE_COUNTS: takes another's failure as its own. */
void share_counts(struct share *share, struct destination *it, const struct config *config, int64_t failed_us, int64_t now_ns);

/* A retry goes out; it has succeeded; the operation has ended with this verdict of ACTION_DELIVER; its backoff is
 * left, and nothing is sent. */
void share_sent(struct share *share, struct destination *it);
void share_succeeded(struct share *share, struct destination *it, const struct config *config, int64_t now_ns);
void share_ended(struct share *share, struct destination *it, const struct config *config, const struct failure *failure,
                 const struct verdict *verdict, int64_t now_ns);
void share_withdraw(struct share *share, struct destination *it, const struct config *config, int64_t now_ns);

/* Before a first attempt, with RETRY_BREAKER=reject: true if it is not to be made; *opening: what opened the circuit.
 * False also for the probe, which the circuit is waiting for from now on. */
bool share_refused(struct destination *it, const struct config *config, int64_t now_ns, struct evidence *opening);

/* Any attempt got through, be it a first one (share NULL). True if nothing of the destination is out of order any more. */
bool share_saw_success(struct share *share, struct destination *it, const struct config *config, int64_t now_ns);

/* ---- remembered addresses --------------------------------------------------------------------- */

/* getaddrinfo(3) handed out `list` for `node` (may be NULL). Keeps a bounded number of lists; the
 * oldest is forgotten. Allocates nothing. */
void addresses_remember(const char *node, const struct addrinfo *list);

/* Fills what is known of a socket address: family, port, the name that it was looked up by. False
 * for a family that is not ours. */
bool addresses_describe(const struct sockaddr *address, socklen_t length, struct target *target);

/* Fills in the candidates of a target whose name alone is known: the newest list of that name. */
void addresses_candidates(struct target *target);

/* An attempt to connect to `target` has failed. True while another address of the same list has not
 * been tried and has a route: the program will go there itself. Marks this one as tried. */
bool addresses_untried_left(const struct target *target);

/* The list's round is over (the last one connected, or was given up): all are untried again. */
void addresses_round_over(const struct target *target);

#endif
