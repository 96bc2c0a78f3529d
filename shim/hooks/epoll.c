/* epoll(7): its three waits and epoll_ctl(2). */
#include <sys/epoll.h>

#include <errno.h>

#include "hooks/wait_entry.h"
#include "hooks/waiting.h"

/* ---- tier 1, the typed pointers to the real functions, are real_NAME() of the runtime ------------- */

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
	return pending_epoll_events(epolling->epoll, epolling->events, result, false);
}

static int once(struct wait *wait, const struct timespec *left, const sigset_t *mask)
{
	const struct epolling *epolling = (const struct epolling *)wait;
	if (wait->plainly)
		return real_epoll_wait()(epolling->epoll, epolling->events, epolling->most, wait_milliseconds(left));
	if (epolling->fine)
		return real_epoll_pwait2()(epolling->epoll, epolling->events, epolling->most, left, mask);
	return real_epoll_pwait()(epolling->epoll, epolling->events, epolling->most, wait_milliseconds(left), mask);
}

static void prepare(struct wait *wait) { pending_inherit(((const struct epolling *)wait)->epoll); }

/* A first call has returned `result`; waits on if all of it is hidden. */
static int go_on(struct epolling *epolling, int result)
{
	int shown = result > 0 ? settle(&epolling->wait, result) : result;
	if (pending_any())
		pending_tidy(epolling->wait.start);
	if (shown != 0 || result == 0)
		return shown;
	return wait_on(&epolling->wait);
}

static struct epolling epolling_of(int epoll, struct epoll_event *events, int most, uint64_t start, int64_t span_ns, const sigset_t *mask)
{
	return (struct epolling){.wait = {.start = start, .span_ns = span_ns,
	                                  .mask = mask, .prepare = prepare, .once = once, .settle = settle},
	                         .epoll = epoll, .events = events, .most = most};
}

static int wait_once_at_least(int epoll, struct epoll_event *events, int most, int timeout_ms, const sigset_t *mask,
                              bool masked)
{
	struct epolling epolling = epolling_of(epoll, events, most, clock_mark(), wait_span_ms(timeout_ms), mask);
	if (!thread_held && pending_any_quiet())
		return wait_on(&epolling.wait);
	int result = masked ? real_epoll_pwait()(epoll, events, most, timeout_ms, mask)
	                    : real_epoll_wait()(epoll, events, most, timeout_ms);
	return thread_held ? result : go_on(&epolling, result);
}

WAIT_PART int shim_epoll_wait(int epoll, struct epoll_event *events, int most, int timeout_ms)
{
	return wait_once_at_least(epoll, events, most, timeout_ms, NULL, false);
}

WAIT_PART int shim_epoll_pwait(int epoll, struct epoll_event *events, int most, int timeout_ms, const sigset_t *mask)
{
	return wait_once_at_least(epoll, events, most, timeout_ms, mask, true);
}

WAIT_PART int shim_epoll_pwait2(int epoll, struct epoll_event *events, int most, const struct timespec *timeout, const sigset_t *mask)
{
	struct epolling epolling = epolling_of(epoll, events, most, clock_mark(), wait_span(timeout), mask);
	epolling.fine = true;
	if (!thread_held && pending_any_quiet() && wait_span_valid(timeout))
		return wait_on(&epolling.wait);
	int result = real_epoll_pwait2()(epoll, events, most, timeout, mask);
	return thread_held ? result : go_on(&epolling, result);
}

/* A connect of another thread's came up while a wait went on that had begun with none. Taking the time
 * before would cost every healthy wait; without it, a wait that has an end shows what it has got. For as many events
 * as have come there is room: who has more room gets more by the next wait. */
__attribute__((noinline)) int epoll_late(int epoll, struct epoll_event *events, int64_t span_ns, const sigset_t *mask, int result)
{
	if (result <= 0 || thread_held)
		return result;
	struct epolling epolling = epolling_of(epoll, events, result, clock_mark(), span_ns, mask);
	int shown = pending_epoll_events(epoll, events, result, span_ns != WAIT_FOR_EVER);
	return shown != 0 ? shown : wait_on(&epolling.wait);
}

WAIT_PART int late_epoll_wait(int result, const uintptr_t *asked)
{
	return epoll_late((int)asked[0], (struct epoll_event *)asked[1], wait_span_ms((int)asked[2]), NULL, result);
}

WAIT_PART int late_epoll_pwait(int result, const uintptr_t *asked)
{
	return epoll_late((int)asked[0], (struct epoll_event *)asked[1], wait_span_ms((int)asked[2]), (const sigset_t *)asked[3], result);
}

WAIT_PART int late_epoll_pwait2(int result, const uintptr_t *asked)
{
	return epoll_late((int)asked[0], (struct epoll_event *)asked[1], wait_span((const struct timespec *)asked[2]), (const sigset_t *)asked[3], result);
}

static __attribute__((noinline)) int shim_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
	struct pending *entry = thread_held ? NULL : pending_of(fd);
	/* Before the call: another thread may get the event before we are back from it. */
	if (entry != NULL && operation != EPOLL_CTL_DEL && event != NULL && (event->events & EPOLLONESHOT) != 0)
		pending_saw_oneshot(fd, event->events);
	if (pending_any_failing() && !thread_held)
		entry = pending_resolve(fd);
	return entry != NULL ? pending_epoll_ctl(entry, epoll, operation, fd, event) : real_epoll_ctl()(epoll, operation, fd, event);
}

/* ---- tier 3: exported ----------------------------------------------------------------------------- */

#define EXPORT __attribute__((visibility("default")))

WAIT_ENTRY_3(epoll_wait, (int epoll, struct epoll_event *events, int most, int timeout_ms), (epoll, events, most, timeout_ms),
             epoll, rdi, events, rsi, timeout_ms, rcx)
WAIT_ENTRY_4(epoll_pwait, (int epoll, struct epoll_event *events, int most, int timeout_ms, const sigset_t *mask),
             (epoll, events, most, timeout_ms, mask), epoll, rdi, events, rsi, timeout_ms, rcx, mask, r8)
WAIT_ENTRY_4(epoll_pwait2, (int epoll, struct epoll_event *events, int most, const struct timespec *timeout, const sigset_t *mask),
             (epoll, events, most, timeout, mask), epoll, rdi, events, rsi, timeout, rcx, mask, r8)

EXPORT int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
	int result = pending_any() ? shim_ctl(epoll, operation, fd, event) : real_epoll_ctl()(epoll, operation, fd, event);
	/* Read after the kernel has: the pointer may be bad. */
	if (result == 0 && operation != EPOLL_CTL_DEL && (event->events & EPOLLONESHOT) != 0)
		pending_saw_oneshot(fd, event->events);
	return result;
}
