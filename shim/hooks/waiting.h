/* A program's wait that goes on, in its own call, while a connect of its is backing off.
 *
 * The first call of a wait is the program's own, untouched. Only when a failure was hidden, or some
 * connect is backing off already, does it become a loop: connect what is due, wait until the next
 * instant or the program's own time-out, hide what must be hidden. Signals are held between the waits
 * and let through by the kernel within them, as ppoll(2) does, so that none is lost in between.
 */
#ifndef RETRYSHIM_HOOKS_WAITING_H
#define RETRYSHIM_HOOKS_WAITING_H

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <time.h>

#define WAIT_FOR_EVER INT64_MAX

/* Each family of waits puts this first in a struct of its own. */
struct wait {
	uint64_t start;  /* clock_mark() of the program's call */
	int64_t span_ns; /* its time-out; WAIT_FOR_EVER */
	const sigset_t *mask; /* the program's; NULL = the thread's */
	int64_t until_ns;     /* when the real wait is to end; INT64_MAX */
	bool plainly;         /* `once` is to use the call that takes no mask */
	/* Before each wait, with signals held; may be NULL. */
	void (*prepare)(struct wait *wait);
	/* One real wait, with this mask, NULL = with the thread's as it is. Returns its result, with errno. */
	int (*once)(struct wait *wait, const struct timespec *left, const sigset_t *mask);
	/* Hides what the program is not to see of a positive result; returns what is left of it. */
	int (*settle)(struct wait *wait, int result);
};

/* Waits on. Returns the real call's result, 0 when the program's time is over. */
int wait_on(struct wait *wait);

/* Spans of the program's arguments; WAIT_FOR_EVER for NULL and negative milliseconds. */
int64_t wait_span_ms(int timeout_ms);
int64_t wait_span(const struct timespec *timeout);
int64_t wait_span_of(int64_t s, int64_t ns);

/* False for what the kernel refuses. */
bool wait_span_valid(const struct timespec *timeout);

/* For calls that take milliseconds: rounded up, as a wait must not end before its time. */
int wait_milliseconds(const struct timespec *left);

/* What is left of a wait's span. */
int64_t wait_left_ns(const struct wait *wait);

/* For `once`: what is left until this instant if that comes before the wait's own, INT64_MAX = none; else `left`. A socket
 * may have fallen quiet since the wait's instant was looked for. */
const struct timespec *wait_clip(struct wait *wait, const struct timespec *left, int64_t until_ns, struct timespec *room);

/* For the names of 64-bit time (time64.c): see wait_entry.h. */
int late_ppoll(int result, const uintptr_t *asked);
int late_select(int result, const uintptr_t *asked);
int late_pselect(int result, const uintptr_t *asked);
int late_epoll_pwait2(int result, const uintptr_t *asked);

/* Room for a copy of what the program passed: the caller's own if it is large enough, else a mapping; NULL
 * if none is to be had. */
void *wait_scratch(void *own, size_t own_size, size_t size);
void wait_scratch_end(void *scratch, const void *own, size_t size);

#endif
