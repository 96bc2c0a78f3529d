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

/* A call of the program's. */
struct call {
	int epoll, most;
	struct epoll_event *events;
	int timeout_ms;                 /* epoll_wait's and epoll_pwait's */
	const struct timespec *timeout; /* epoll_pwait2's */
	const sigset_t *mask;
	uint64_t start; /* clock_mark() */
	bool fine;
};

static __attribute__((noinline)) int wait_quietly(const struct call *call)
{
	struct epolling epolling = {
		.wait = {.start = call->start, .span_ns = call->fine ? wait_span(call->timeout) : wait_span_ms(call->timeout_ms),
		         .mask = call->mask, .prepare = prepare, .once = once, .settle = settle},
		.epoll = call->epoll, .events = call->events, .most = call->most, .fine = call->fine,
	};
	return wait_on(&epolling.wait);
}

/* Of a first call's result so many are to be seen; waits on if all of it is hidden. */
static __attribute__((noinline)) int settled(const struct call *call, int shown)
{
	if (thread_held)
		return shown;
	pending_tidy(call->start);
	return shown != 0 ? shown : wait_quietly(call);
}

/* A first call had no result. */
static __attribute__((noinline)) int unsettled(const struct call *call, int result)
{
	if (!thread_held)
		pending_tidy(call->start);
	return result;
}

static inline __attribute__((always_inline)) int settle_first(const struct call *call, int result)
{
	if (result <= 0 || thread_held)
		return unsettled(call, result);
	result = pending_epoll_events(call->epoll, call->events, result, false);
	return result > 0 && !pending_any() ? result : settled(call, result);
}

WAIT_PART int shim_epoll_wait(int epoll, struct epoll_event *events, int most, int timeout_ms)
{
	struct call call;
	call.epoll = epoll;
	call.most = most;
	call.events = events;
	call.timeout_ms = timeout_ms;
	call.timeout = NULL;
	call.mask = NULL;
	call.start = clock_mark();
	call.fine = false;
	if (pending_any_quiet() && !thread_held)
		return wait_quietly(&call);
	return settle_first(&call, real_epoll_wait()(epoll, events, most, timeout_ms));
}

WAIT_PART int shim_epoll_pwait(int epoll, struct epoll_event *events, int most, int timeout_ms, const sigset_t *mask)
{
	struct call call = {.epoll = epoll, .most = most, .events = events, .timeout_ms = timeout_ms, .mask = mask, .start = clock_mark()};
	if (pending_any_quiet() && !thread_held)
		return wait_quietly(&call);
	return settle_first(&call, real_epoll_pwait()(epoll, events, most, timeout_ms, mask));
}

WAIT_PART int shim_epoll_pwait2(int epoll, struct epoll_event *events, int most, const struct timespec *timeout, const sigset_t *mask)
{
	struct call call = {.epoll = epoll, .most = most, .events = events, .timeout = timeout, .mask = mask, .start = clock_mark(), .fine = true};
	if (pending_any_quiet() && !thread_held && wait_span_valid(timeout))
		return wait_quietly(&call);
	return settle_first(&call, real_epoll_pwait2()(epoll, events, most, timeout, mask));
}

/* A connect of another thread's came up while a wait went on that had begun with none. Taking the time
 * before would cost every healthy wait; without it, a wait that has an end shows what it has got. For as many events
 * as have come there is room: who has more room gets more by the next wait. */
static int late(struct call *call, bool endless, int result)
{
	if (result <= 0 || thread_held)
		return result;
	call->most = result;
	call->start = clock_mark();
	int shown = pending_epoll_events(call->epoll, call->events, result, !endless);
	return shown != 0 ? shown : wait_quietly(call);
}

WAIT_PART int late_epoll_wait(int result, const uintptr_t *asked)
{
	struct call call = {.epoll = (int)asked[0], .events = (struct epoll_event *)asked[1], .timeout_ms = (int)asked[2]};
	return late(&call, call.timeout_ms < 0, result);
}

WAIT_PART int late_epoll_pwait(int result, const uintptr_t *asked)
{
	struct call call = {.epoll = (int)asked[0], .events = (struct epoll_event *)asked[1], .timeout_ms = (int)asked[2],
	                    .mask = (const sigset_t *)asked[3]};
	return late(&call, call.timeout_ms < 0, result);
}

WAIT_PART int late_epoll_pwait2(int result, const uintptr_t *asked)
{
	struct call call = {.epoll = (int)asked[0], .events = (struct epoll_event *)asked[1], .timeout = (const struct timespec *)asked[2],
	                    .mask = (const sigset_t *)asked[3], .fine = true};
	return late(&call, call.timeout == NULL, result);
}

/* Something is pending. */
static __attribute__((noinline)) int ctl_of_pending(int epoll, int operation, int fd, struct epoll_event *event)
{
	struct pending *entry = thread_held ? NULL : pending_of(fd);
	/* Before the call: another thread may get the event before we are back from it. */
	if (entry != NULL && operation != EPOLL_CTL_DEL && event != NULL && (event->events & EPOLLONESHOT) != 0)
		pending_saw_oneshot(fd, event->events);
	if (pending_any_failing() && !thread_held)
		entry = pending_resolve(fd);
	return entry != NULL ? pending_epoll_ctl(entry, epoll, operation, fd, event) : real_epoll_ctl()(epoll, operation, fd, event);
}

static __attribute__((noinline)) int shim_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
	int result = pending_any() ? ctl_of_pending(epoll, operation, fd, event) : real_epoll_ctl()(epoll, operation, fd, event);
	/* Read after the kernel has: the pointer may be bad. */
	if (result == 0 && operation != EPOLL_CTL_DEL && (event->events & EPOLLONESHOT) != 0)
		pending_saw_oneshot(fd, event->events);
	return result;
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
	int result;
	if (pending_any() && pending_epoll_first(epoll, operation, fd, event, &result))
		return result;
	return shim_ctl(epoll, operation, fd, event);
}
