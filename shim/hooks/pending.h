/* Connects of non-blocking sockets: what is under way, what has failed, what waits for its next attempt.
 *
 * The connect hook remembers here what returned EINPROGRESS; the wait hooks meet the failure where the
 * program would learn of it, hide it, and connect again when the backoff is over:
 *
 *     pending.c          the table: entries are made, claimed, settled
 *     pending_find.c     ... and found
 *     pending_attempt.c  the attempts of an entry: judged, and made again
 *     pending_meet.c     where the program meets an entry: events, connect(), SO_ERROR, send and recv
 *     pending_drive.c    what time does to entries: due ones connect, lost ones are forgotten
 *     pending_watch.c    registrations in epoll sets: followed, muted, armed again
 *     pending_search.c   ... and those that were made by doors that we do not see
 *     pending_epoll.c    what epoll_wait returned
 *
 * The table is bounded and static. An entry belongs to who has claimed it; only a claim's holder reads
 * or writes the fields that are not atomic. A claim is held across a few system calls that do not
 * block, with signals and cancellation held back, and only after a failure. A healthy connect goes from
 * CONNECTING to FREE without one.
 *
 * An entry is found by its descriptor and acted on by its socket's cookie: programs close descriptors in
 * ways that nobody sees (close_range, dup2, raw system calls), and the number comes back as something
 * else, while the socket may live on under a duplicate. One rule keeps the program from taking a failure for
 * success: what is shown of a socket's failure ends its retries, so that SO_ERROR tells the truth.
 */
#ifndef RETRYSHIM_HOOKS_PENDING_H
#define RETRYSHIM_HOOKS_PENDING_H

#include <limits.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include "retryshim/hooks.h"
#include "retryshim/runtime.h"

enum {
	PENDING_MOST = 4096,
	PENDING_FDS = 1 << 18, /* higher descriptors are not followed; untouched, the index costs nothing */
	PENDING_NUMBERS = 4,   /* descriptors of one socket that are known */
	PENDING_WATCHES = 4,   /* epoll sets that one socket may be in */
	PENDING_SEARCHED = 4,
};

enum pending_state {
	PENDING_FREE,
	PENDING_FILLING,      /* being made or dropped: not there for anybody else */
	PENDING_CLAIMED,      /* a thread is at work on it */
	PENDING_CONNECTING,   /* first attempt: nothing has failed */
	PENDING_RECONNECTING, /* a later attempt */
	PENDING_QUIET,        /* backing off: the program must see and hear nothing of the socket */
	PENDING_LEFT,         /* the last failure, left in the kernel for the program to take */
	PENDING_FAILED,       /* the last failure, ours to hand on: the kernel does not have it any more */
};

/* A registration of the socket in an epoll set, as the program made it. */
struct watch {
	_Atomic(int) epoll; /* descriptor + 1; 0 = none; -1: being made */
	_Atomic(int) fd;    /* the one that is registered: may be a duplicate */
	_Atomic(uint32_t) events;
	_Atomic(uint64_t) data;
	_Atomic(int) muted; /* enum muted */
};

enum muted {
	ARMED,
	MUTED,  /* EPOLLET | EPOLLONESHOT and no events: fires once more, with EPOLLHUP */
	SILENT, /* ... and has fired: never again */
};

struct pending {
	_Atomic(uint64_t) word; /* state, and the claiming process in the upper half */
	_Atomic(int) numbers[PENDING_NUMBERS]; /* its descriptors + 1; 0 = none. The first is the one that connected */
	_Atomic(bool) extra;    /* there has been more than one number and one watch, or a search: to be cleared */
	_Atomic(uint32_t) claims; /* how often it was claimed */
	bool failing;           /* counted in pending_failing_count */
	_Atomic(bool) crowded;  /* in more epoll sets than we can mute */
	_Atomic(bool) blind;    /* in epoll sets by doors that we do not see */
	_Atomic(int) fruitless; /* searches for what it became in its sets, in this backoff */
	uint64_t start;         /* clock_mark() of the first attempt */
	socklen_t length;
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	} address;
	int sure;               /* a descriptor that the claim's holder has seen to be the socket, + 1; 0 = none */
	pid_t owner;            /* whose waits connect again; a forked child adopts what it uses */
	int error;              /* of the latest failed attempt */
	int64_t lost_ns;        /* since when no descriptor of it is known; 0 = one is */
	struct verdict verdict; /* of the latest backoff */
	struct op op;
	_Atomic(int) searched[PENDING_SEARCHED]; /* epoll sets in which it was looked for in vain, + 1 */
	struct watch watches[PENDING_WATCHES];
} __attribute__((aligned(2048))); /* a shift, not a division, from an entry to its number */

/* ---- pending.c: the table --------------------------------------------------------------------- */

#define PENDING_HIDDEN __attribute__((visibility("hidden")))

extern _Atomic(uint32_t) pending_count PENDING_HIDDEN;         /* all entries */
extern _Atomic(uint32_t) pending_failing_count PENDING_HIDDEN; /* those that have failed at least once */
extern _Atomic(uint32_t) pending_quiet_count PENDING_HIDDEN;   /* those with an instant to connect at */
extern _Atomic(uint16_t) pending_index[PENDING_FDS] PENDING_HIDDEN; /* by descriptor: entry + 1 */
extern struct pending pending_table[PENDING_MOST] PENDING_HIDDEN;
extern _Atomic(uint32_t) pending_used PENDING_HIDDEN; /* entries from here on were never in use */

/* What is looked through, apart from the entries so that a look costs little. */
extern _Atomic(int64_t) pending_dues[PENDING_MOST] PENDING_HIDDEN; /* 0 = none */
extern _Atomic(uint64_t) pending_cookies[PENDING_MOST] PENDING_HIDDEN;
extern _Atomic(uint64_t) pending_datas[PENDING_MOST] PENDING_HIDDEN; /* of the first watch */
extern _Atomic(bool) pending_further_watches PENDING_HIDDEN;         /* some entry has had more than one */

static inline uint32_t pending_number(const struct pending *entry) { return (uint32_t)(entry - pending_table); }

/* The entry of a number, for where each instruction counts: compilers address each field by its own symbol otherwise. */
static inline struct pending *pending_at(uint32_t number)
{
	struct pending *entry = &pending_table[number];
	__asm__("" : "+r"(entry));
	return entry;
}

/* What every hook asks first, and all that a process pays to whom nothing is pending. */
static inline bool pending_any(void)
{
	return __builtin_expect(atomic_load_explicit(&pending_count, memory_order_relaxed) != 0, 0);
}

static inline bool pending_any_failing(void)
{
	return __builtin_expect(atomic_load_explicit(&pending_failing_count, memory_order_relaxed) != 0, 0);
}

static inline bool pending_any_quiet(void)
{
	return atomic_load_explicit(&pending_quiet_count, memory_order_relaxed) != 0;
}

/* A non-blocking connect of the program's is under way. Forgotten silently where there is no room. Returns -1, as the
 * connect has; keeps errno. */
int pending_remember(int fd, const struct sockaddr *address, socklen_t length, uint64_t start);

/* A new entry for a connect that has failed at once, claimed; NULL if there is no room or it is no
 * socket. The caller fills `op`. Signals must be held. */
struct pending *pending_new(int fd, const struct sockaddr *address, socklen_t length, uint64_t start);

/* The number of a descriptor's entry, + 1; 0 = it has none. It may be another socket's by now. */
static inline uint32_t pending_number_of(int fd)
{
	return (unsigned)fd < PENDING_FDS ? atomic_load_explicit(&pending_index[fd], memory_order_acquire) : 0;
}

/* The entry itself, or NULL. */
static inline struct pending *pending_of(int fd)
{
	uint32_t number = pending_number_of(fd);
	return number != 0 ? &pending_table[number - 1] : NULL;
}

/* The descriptor is no longer found as the entry's. */
void pending_unindex(int fd, const struct pending *entry);

/* ---- pending_find.c ------------------------------------------------------------------------------- */

/* The entry of the socket behind a descriptor, which may be a duplicate of the one that connected: from now
 * on it is found like that one, if there is room. NULL if there is none. One system call; keeps errno. */
struct pending *pending_duplicate(int fd);

/* The entry of a descriptor's socket, whatever the descriptor was before. The same costs. */
struct pending *pending_resolve(int fd);

/* The descriptor is another socket's by now. For the holder of a claim. */
void pending_forget_number(struct pending *entry, int fd);

/* Takes an entry for the calling thread; signals must be held. Returns its state, PENDING_FREE if there
 * is none any more. Waits for another thread that has it. */
enum pending_state pending_claim(struct pending *entry);

/* Gives a claimed entry back in another state; PENDING_FREE drops it. */
void pending_settle(struct pending *entry, enum pending_state state);

static inline enum pending_state pending_state(struct pending *entry)
{
	return (enum pending_state)(atomic_load_explicit(&entry->word, memory_order_acquire) & 0xff);
}

/* Forgets a first attempt that went well, or is none of ours. */
void pending_forget(struct pending *entry);

/* An entry that nobody else looks at (FILLING, or claimed) and that has no more than all have is free. */
static inline __attribute__((always_inline)) void pending_drop_plain(struct pending *entry, uint32_t number)
{
	uint16_t own = (uint16_t)(number + 1);
	int fd = atomic_load_explicit(&entry->numbers[0], memory_order_relaxed) - 1;
	if ((unsigned)fd < PENDING_FDS)
		atomic_compare_exchange_strong_explicit(&pending_index[fd], &own, 0, memory_order_relaxed, memory_order_relaxed);
	atomic_store_explicit(&pending_cookies[number], 0, memory_order_relaxed);
	atomic_store_explicit(&entry->watches[0].epoll, 0, memory_order_relaxed);
	atomic_store_explicit(&entry->word, PENDING_FREE, memory_order_release);
	atomic_fetch_sub_explicit(&pending_count, 1, memory_order_relaxed);
}

/* An event that tells of no failure has come from the entry of this number: true if that is all there is to say, and then
 * it is forgotten. What is more than that is for pending_event(), which finds everything as it was. Calls nothing, so that
 * the loops over events need no registers of their callers. */
static inline __attribute__((always_inline)) bool pending_went_well(uint32_t number)
{
	struct pending *entry = pending_at(number);
	uint64_t word = PENDING_CONNECTING;
	if (attention() != 0 || atomic_load_explicit(&entry->extra, memory_order_relaxed) ||
	    !atomic_compare_exchange_strong_explicit(&entry->word, &word, PENDING_FILLING, memory_order_acquire, memory_order_relaxed))
		return false;
	pending_drop_plain(entry, number);
	return true;
}

/* The cookie of its socket. */
uint64_t pending_cookie(const struct pending *entry);

/* True if the descriptor is the entry's socket. One system call. */
bool pending_is(const struct pending *entry, int fd);

/* The instants at which quiet entries connect again: dense, since every wait looks through them. 0 = none. */
void pending_set_due(struct pending *entry, int64_t due_ns);
int64_t pending_due(const struct pending *entry);
int64_t pending_next_due(int64_t after_ns); /* the next one after this; INT64_MAX = none */

/* The next entry at or behind *index that is due at now_ns; NULL at the end. Start with 0. */
struct pending *pending_next(uint32_t *index, int64_t now_ns);

/* The same for all entries in use. */
struct pending *pending_each(uint32_t *index);

/* The watch of an epoll set that an event is likely to be of, and its entry; NULL if there is none. */
struct watch *pending_watched(int epoll, const struct epoll_event *event, struct pending **entry);
void pending_watch_changed(struct pending *entry, struct watch *watch);

/* ---- pending_attempt.c: for the holder of a claim, signals held ---------------------------------- */

/* What the program is to see of an event. */
enum sight {
	SHOWN,
	HIDDEN,
	SHOWN_FAILED, /* the kernel does not know any more that it failed: show what it would have shown */
	OUTDATED,     /* the socket is connecting: the event is from before, or another descriptor's */
};

/* Starts the operation at its first failure; false if it is none of ours. `error`: 0 = not known yet. */
bool pending_begin(struct pending *entry, int fd, int error);

/* Judges and tells a failed attempt whose error the kernel has no more. */
struct verdict pending_judge(struct pending *entry, int fd, int error);

/* The same for one that the program has learned of: it is the last. */
void pending_tell_last(struct pending *entry, int fd, int error);

/* The same, and begins the backoff if another attempt is to follow: then the entry is settled. `resets`:
 * the error was read by SO_ERROR, after which the next connect would fail once more (ECONNABORTED). */
bool pending_retries(struct pending *entry, int fd, int error, bool resets);

/* Settle an entry that has connected; one that cannot be retried by what its socket has become, its error
 * in the kernel or in the program's hands; and one whose error is ours to hand on. */
void pending_succeed(struct pending *entry, enum pending_state state);
void pending_abandon(struct pending *entry, enum pending_state state);
void pending_fail(struct pending *entry);

/* True if the program expects a connection in the making, and nothing has been sent on it. `seen`: it may have
 * seen it made. */
bool pending_is_retryable(const struct pending *entry, int fd, bool seen);

/* An attempt seems to have failed, its error still in the kernel. `pin`: the socket. Settles. */
enum sight pending_take_failure(struct pending *entry, int pin, enum pending_state state);

/* The backoff is over. Settles. */
void pending_connect_again(struct pending *entry);

/* connect(2)'s answers for an attempt that is not over. */
bool pending_is_under_way(int error);

/* ---- pending_meet.c: where the program meets an entry. All keep errno. ----------------------------- */

/* An event of the descriptor has come out of a wait. `failed`: with POLLERR or POLLHUP. */
enum sight pending_event_slow(struct pending *entry, int fd, bool failed);

static inline enum sight pending_event(struct pending *entry, int fd, bool failed)
{
	if (__builtin_expect(failed || pending_state(entry) != PENDING_CONNECTING || attention() != 0, 0))
		return pending_event_slow(entry, fd, failed);
	pending_forget(entry);
	return SHOWN;
}

/* An event of the entry's is shown, come what may: its retries end here. */
enum sight pending_expose(struct pending *entry);

/* True if the kernel reports the descriptor's socket as failed. One system call. */
bool pending_has_failed(int fd);

/* For poll and select, which name the descriptor: finds the entry, knows what to do about old events. */
enum sight pending_polled(int fd, bool failed);

/* Until when the descriptor is a socket that is backing off: it must be left out of a wait, and the wait must end then. 0 if
 * it is none. Signals must be held. */
int64_t pending_quiet_until(int fd);

/* The program connects a socket that has an entry: the entry, NULL if it has none; then, what it is told:
 * true if it fails with *error, false if the kernel is to be asked; then, the kernel has answered with
 * `error`, 0 = connected, and the program is to see what is returned. */
struct pending *pending_met(int fd);
bool pending_connect(struct pending *entry, const struct sockaddr *address, int *error);
int pending_connected(struct pending *entry, int fd, int error);

/* A connect has failed at once on a non-blocking socket. Returns EINPROGRESS if it is going to be retried,
 * else the error. */
int pending_refused(int fd, const struct sockaddr *address, socklen_t length, uint64_t start, int error);

/* The kernel has handed out SO_ERROR for the descriptor; returns what the program is to see. */
int pending_error(struct pending *entry, int fd, int error);

/* The program sends or receives. Returns what it fails with, 0 = let it. */
int pending_io(int fd);

/* It has failed by itself: if that was the last attempt's error, the program has learned of it now. Keeps errno. */
void pending_io_failed(int fd, int error);

/* It has gone through: that tells as well as a wait that the connection is made. Keeps errno. */
void pending_io_done(int fd);

/* ---- pending_drive.c: what time does to entries ----------------------------------------------------- */

/* Connects again what is due; returns the next instant, INT64_MAX = none. Signals must be held. */
int64_t pending_drive(void);

/* Claims an entry that the program asks about: it is this process' to drive now, and connects first if it
 * is due. Signals must be held. */
enum pending_state pending_claim_driven(struct pending *entry);

/* A claimed entry that the program uses is its process' to drive. */
void pending_adopt(struct pending *entry);

/* This process has an entry to drive. */
void pending_owned_by(pid_t process);

/* A wait on an epoll set: in a forked child it is use of what was quiet there when the fork came. Signals must
 * be held. */
void pending_inherit(int epoll);

/* Now and then: lets go of what has connected or was closed while nobody looked. `mark`: a recent
 * clock_mark(). Keeps errno. */
void pending_tidy(uint64_t mark);

/* ---- pending_watch.c: registrations in epoll sets ---------------------------------------------- */

/* The program's epoll_ctl on a descriptor that has an entry. */
int pending_epoll_ctl(struct pending *entry, int epoll, int operation, int fd, struct epoll_event *event);

/* Something has happened to a healthy entry while the program's change of a registration was under way. The first attempt has
 * failed, and the entry was claimed: who has met that did not know of the change. Or it has gone well: what was noted is of nobody
 * any more. `cookie`: what was there before. */
void pending_changed_meanwhile(struct pending *entry, bool claimed, uint64_t cookie, int epoll, int operation, int fd,
                               struct epoll_event *event);

/* The same for a registration that is new and of a socket about which there is nothing to know yet. False: it is not such a
 * one, and nothing was done; else *result is the call's. */
static inline __attribute__((always_inline)) bool pending_epoll_first(int epoll, int operation, int fd, struct epoll_event *event, int *result)
{
	uint32_t number = pending_number_of(fd);
	if (number == 0 || operation != EPOLL_CTL_ADD || event == NULL || (event->events & EPOLLONESHOT) != 0 || pending_any_failing())
		return false;
	struct pending *entry = pending_at(number - 1);
	struct watch *watch = &entry->watches[0];
	uint32_t claims = atomic_load_explicit(&entry->claims, memory_order_acquire);
	uint64_t cookie = atomic_load_explicit(&pending_cookies[number - 1], memory_order_relaxed);
	int none = 0, own = -1;
	if (pending_state(entry) != PENDING_CONNECTING ||
	    !atomic_compare_exchange_strong_explicit(&watch->epoll, &none, -1, memory_order_relaxed, memory_order_relaxed))
		return false;
	*result = real_epoll_ctl()(epoll, operation, fd, event);
	if (*result != 0) {
		atomic_compare_exchange_strong_explicit(&watch->epoll, &own, 0, memory_order_relaxed, memory_order_relaxed);
		return true;
	}
	atomic_store_explicit(&watch->fd, fd, memory_order_relaxed);
	atomic_store_explicit(&watch->events, event->events, memory_order_relaxed);
	atomic_store_explicit(&watch->data, event->data.u64, memory_order_relaxed);
	atomic_store_explicit(&watch->muted, ARMED, memory_order_relaxed);
	atomic_store_explicit(&watch->epoll, epoll + 1, memory_order_release); /* the rest of it first */
	atomic_store_explicit(&pending_datas[number - 1], event->data.u64, memory_order_relaxed);
	bool claimed = atomic_fetch_add_explicit(&entry->claims, 0, memory_order_acq_rel) != claims;
	if (claimed || pending_state(entry) != PENDING_CONNECTING ||
	    atomic_load_explicit(&pending_cookies[number - 1], memory_order_relaxed) != cookie)
		pending_changed_meanwhile(entry, claimed, cookie, epoll, operation, fd, event);
	return true;
}

/* The registrations of a claimed entry fall silent, or are what the program made them again. */
void pending_mute(struct pending *entry);
void pending_arm(struct pending *entry);
void pending_mute_watch(struct pending *entry, struct watch *watch);

/* A registration is as described, armed if it is new. NULL if there is no room. */
struct watch *pending_note(struct pending *entry, int epoll, const struct epoll_registration *it);
struct watch *pending_watch(struct pending *entry, int epoll, int fd);
bool pending_is_watched(const struct pending *entry, int epoll);

/* True if these events are the muted form of a registration, fired or not. */
bool pending_is_muted_form(uint32_t events);

/* ---- pending_search.c: registrations made by other doors ---------------------------------------- */

/* A registration with EPOLLONESHOT: once fired, the kernel no longer knows what it was for. */
void pending_saw_oneshot(int fd, uint32_t events);

/* An event of failure has come out of a set, whose registration is not known: looks for it. */
void pending_learn(int epoll);

/* A quiet entry's registration that we know is another by now: takes note, and mutes it again. */
void pending_changed(struct pending *entry, int epoll, struct watch *watch, const struct epoll_registration *it);

/* Mutes a registration that was learnt while its entry was quiet; or `changed`, what it has become. */
void pending_mute_late(struct pending *entry, int epoll, struct watch *watch, const struct epoll_registration *changed);

/* ---- pending_epoll.c: what epoll_wait returned -------------------------------------------------- */

/* Goes through the events; returns how many of them the program is to see. `exposes`: failures that nobody
 * has met yet are shown. Keeps errno. */
int pending_epoll_events(int epoll, struct epoll_event *events, int count, bool exposes);

#endif
