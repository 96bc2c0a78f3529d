/* epoll(7): its three waits and epoll_ctl(2). */
#include <sys/epoll.h>

#include <errno.h>

#include "hooks/pending.h"
#include "hooks/waiting.h"

/* ---- tier 1: the real functions ----------------------------------------------------------------- */

typedef int epoll_wait_function(int, struct epoll_event *, int, int);
typedef int epoll_pwait_function(int, struct epoll_event *, int, int, const sigset_t *);
typedef int epoll_pwait2_function(int, struct epoll_event *, int, const struct timespec *, const sigset_t *);

epoll_ctl_function *real_epoll_ctl(void)
{
	static _Atomic(void *) slot;
	return (epoll_ctl_function *)real_libc(&slot, "epoll_ctl");
}

static epoll_wait_function *real_epoll_wait(void)
{
	static _Atomic(void *) slot;
	return (epoll_wait_function *)real_libc(&slot, "epoll_wait");
}

static epoll_pwait_function *real_epoll_pwait(void)
{
	static _Atomic(void *) slot;
	return (epoll_pwait_function *)real_libc(&slot, "epoll_pwait");
}

/* glibc 2.35 and later. */
static epoll_pwait2_function *real_epoll_pwait2(void)
{
	static _Atomic(void *) slot;
	return (epoll_pwait2_function *)real_libc(&slot, "epoll_pwait2");
}

/* ---- tier 2: ours --------------------------------------------------------------------------------- */

struct epolling {
	struct wait wait; /* first */
	int epoll;
	struct epoll_event *events;
	int most;
	bool fine; /* the program waits by epoll_pwait2: to the nanosecond */
};

static int settle(struct wait *wait, int result)
{
	const struct epolling *epolling = (const struct epolling *)wait;
	int errno_before = errno;
	result = pending_epoll_events(epolling->epoll, epolling->events, result);
	errno = errno_before;
	return result;
}

/* Rounded up: a wait must not end before its time. */
static int milliseconds(const struct timespec *left)
{
	if (left == NULL)
		return -1;
	if (left->tv_sec >= INT_MAX / 1000 - 1)
		return INT_MAX;
	return (int)(left->tv_sec * 1000 + (left->tv_nsec + NS_PER_MS - 1) / NS_PER_MS);
}

static int once(struct wait *wait, const struct timespec *left, const sigset_t *mask)
{
	const struct epolling *epolling = (const struct epolling *)wait;
	if (epolling->fine)
		return real_epoll_pwait2()(epolling->epoll, epolling->events, epolling->most, left, mask);
	return real_epoll_pwait()(epolling->epoll, epolling->events, epolling->most, milliseconds(left), mask);
}

/* A first call has returned `result`; waits on if all of it was hidden. */
static int go_on(struct epolling *epolling, int result)
{
	int shown = result > 0 ? settle(&epolling->wait, result) : result;
	pending_tidy();
	if (shown != 0 || result == 0)
		return shown;
	return wait_on(&epolling->wait);
}

static __attribute__((noinline)) int shim_wait(int epoll, struct epoll_event *events, int most, int timeout_ms, const sigset_t *mask,
                                               bool masked)
{
	struct epolling epolling = {.wait = {.start = clock_mark(), .span_ns = wait_span_ms(timeout_ms), .mask = mask, .once = once, .settle = settle},
	                            .epoll = epoll, .events = events, .most = most};
	if (pending_any_quiet())
		return wait_on(&epolling.wait);
	return go_on(&epolling, masked ? real_epoll_pwait()(epoll, events, most, timeout_ms, mask)
	                               : real_epoll_wait()(epoll, events, most, timeout_ms));
}

static __attribute__((noinline)) int shim_wait2(int epoll, struct epoll_event *events, int most, const struct timespec *timeout,
                                                const sigset_t *mask)
{
	struct epolling epolling = {.wait = {.start = clock_mark(), .span_ns = wait_span(timeout), .mask = mask, .once = once, .settle = settle},
	                            .epoll = epoll, .events = events, .most = most, .fine = true};
	if (pending_any_quiet())
		return wait_on(&epolling.wait);
	return go_on(&epolling, real_epoll_pwait2()(epoll, events, most, timeout, mask));
}

static __attribute__((noinline)) int shim_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
	struct pending *entry = pending_of(fd);
	return entry != NULL ? pending_epoll_ctl(entry, epoll, operation, fd, event) : real_epoll_ctl()(epoll, operation, fd, event);
}

/* ---- tier 3: exported ----------------------------------------------------------------------------- */

#define EXPORT __attribute__((visibility("default")))

EXPORT int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout_ms)
{
	epoll_wait_function *real = real_epoll_wait();
	if (__builtin_expect(pending_any() && real != NULL, 0))
		return shim_wait(epoll, events, most, timeout_ms, NULL, false);
	if (real != NULL)
		return real(epoll, events, most, timeout_ms);
	errno = ENOSYS;
	return -1;
}

EXPORT int epoll_pwait(int epoll, struct epoll_event *events, int most, int timeout_ms, const sigset_t *mask)
{
	epoll_pwait_function *real = real_epoll_pwait();
	if (__builtin_expect(pending_any() && real != NULL, 0))
		return shim_wait(epoll, events, most, timeout_ms, mask, true);
	if (real != NULL)
		return real(epoll, events, most, timeout_ms, mask);
	errno = ENOSYS;
	return -1;
}

EXPORT int epoll_pwait2(int epoll, struct epoll_event *events, int most, const struct timespec *timeout, const sigset_t *mask)
{
	epoll_pwait2_function *real = real_epoll_pwait2();
	if (__builtin_expect(pending_any() && real != NULL, 0))
		return shim_wait2(epoll, events, most, timeout, mask);
	if (real != NULL)
		return real(epoll, events, most, timeout, mask);
	errno = ENOSYS;
	return -1;
}

EXPORT int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
	epoll_ctl_function *real = real_epoll_ctl();
	if (real == NULL) {
		errno = ENOSYS;
		return -1;
	}
	int result = __builtin_expect(pending_any(), 0) ? shim_ctl(epoll, operation, fd, event) : real(epoll, operation, fd, event);
	/* Read after the kernel has: the pointer may be bad. */
	if (result == 0 && operation != EPOLL_CTL_DEL && (event->events & EPOLLONESHOT) != 0)
		pending_saw_oneshot(fd, event->events);
	return result;
}
