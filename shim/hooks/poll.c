/* poll(2) and ppoll(2), with the names that fortified programs call. */
#include "hooks/waiting.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hooks/wait_entry.h"

/* ---- tier 1, the typed pointers to the real functions, are real_NAME() of the runtime ------------- */

/* ---- tier 2: ours --------------------------------------------------------------------------------- */

enum { OWN_FDS = 256, REPORTED = POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLRDHUP };

struct polling {
	struct wait wait; /* first */
	struct pollfd *fds;
	nfds_t count;
	struct pollfd own[OWN_FDS];
};

/* What the kernel said of a descriptor that may be a pending connect's. */
static void settle_one(struct pollfd *polled)
{
	switch (pending_polled(polled->fd, (polled->revents & (POLLERR | POLLHUP)) != 0)) {
	case HIDDEN: polled->revents = 0; break;
	case SHOWN_FAILED: polled->revents |= (short)(POLLERR | (polled->events & REPORTED)); break;
	default: break;
	}
}

static __attribute__((noinline)) int settle_each(struct pollfd *fds, nfds_t count, int left)
{
	int shown = 0;
	for (nfds_t i = 0; i < count && left > 0; i++) {
		if (fds[i].revents == 0)
			continue;
		left--;
		settle_one(&fds[i]);
		shown += fds[i].revents != 0;
	}
	return shown;
}

/* A call of the program's. */
struct call {
	struct pollfd *fds;
	nfds_t count;
	int timeout_ms; /* poll's */
	uint64_t start; /* clock_mark() */
};

/* Returns how many of the `left` descriptors with an event the program is to see: all, if all of them are well. */
static __attribute__((noinline)) int settle_all(const struct call *call, int left)
{
	int seen = 0;
	const struct pollfd *end = call->fds + call->count;
	for (struct pollfd *polled = call->fds; polled < end; polled++) {
		if (polled->revents == 0)
			continue;
		uint32_t number = pending_number_of(polled->fd);
		if (__builtin_expect((polled->revents & (POLLERR | POLLHUP)) != 0, 0) || (number != 0 && !pending_went_well(number - 1)))
			return thread_held ? left : settle_each(call->fds, call->count, left);
		if (++seen == left)
			break;
	}
	return left;
}

static int settle(struct wait *wait, int result)
{
	const struct polling *polling = (const struct polling *)wait;
	return settle_each(polling->fds, polling->count, result);
}

/* Copies what the program asks for, without the quiet ones. Returns the first instant of one; INT64_MAX if there were none. */
static int64_t leave_out(const struct polling *polling, struct pollfd *copy)
{
	int64_t first_ns = INT64_MAX, until_ns;
	memcpy(copy, polling->fds, polling->count * sizeof *copy);
	for (nfds_t i = 0; i < polling->count; i++) {
		if ((until_ns = pending_quiet_until(copy[i].fd)) == 0)
			continue;
		copy[i].fd = -1;
		first_ns = until_ns < first_ns ? until_ns : first_ns;
	}
	return first_ns;
}

static int poll_by(const struct polling *polling, struct pollfd *fds, const struct timespec *left, const sigset_t *mask)
{
	return polling->wait.plainly ? real_poll()(fds, polling->count, wait_milliseconds(left))
	                             : real_ppoll()(fds, polling->count, left, mask);
}

static int poll_copy(struct polling *polling, struct pollfd *copy, const struct timespec *left, const sigset_t *mask)
{
	int result = poll_by(polling, copy, left, mask);
	for (nfds_t i = 0; i < polling->count && result >= 0; i++)
		polling->fds[i].revents = copy[i].revents;
	return result;
}

static int once(struct wait *wait, const struct timespec *left, const sigset_t *mask)
{
	static const struct timespec now = {0};
	struct polling *polling = (struct polling *)wait;
	size_t size = polling->count * sizeof *polling->fds;
	if (poll_by(polling, polling->fds, &now, NULL) < 0) /* a bad pointer, or more than RLIMIT_NOFILE: the kernel says so */
		return -1;
	struct timespec clipped;
	struct pollfd *copy = wait_scratch(polling->own, sizeof polling->own, size);
	int64_t until_ns = copy != NULL ? leave_out(polling, copy) : INT64_MAX;
	int result = until_ns != INT64_MAX ? poll_copy(polling, copy, wait_clip(wait, left, until_ns, &clipped), mask)
	                                   : poll_by(polling, polling->fds, left, mask);
	int error = errno;
	wait_scratch_end(copy, polling->own, size);
	errno = error;
	return result;
}

static __attribute__((noinline, cold)) int poll_on(struct pollfd *fds, nfds_t count, uint64_t start, int64_t span_ns, const sigset_t *mask)
{
	struct polling polling;
	polling.wait = (struct wait){.start = start, .span_ns = span_ns, .mask = mask, .once = once, .settle = settle};
	polling.fds = fds;
	polling.count = count;
	return wait_on(&polling.wait);
}

/* Of a first call's result so many are to be seen; waits on if all of it is hidden. */
static __attribute__((noinline)) int settled(const struct call *call, int64_t span_ns, const sigset_t *mask, int shown)
{
	if (thread_held)
		return shown;
	pending_tidy(call->start);
	return shown != 0 ? shown : poll_on(call->fds, call->count, call->start, span_ns, mask);
}

/* A first call had no result. */
static __attribute__((noinline)) int unsettled(const struct call *call, int result)
{
	if (!thread_held)
		pending_tidy(call->start);
	return result;
}

/* Some connect is backing off, as a rule. */
static __attribute__((noinline)) int poll_quiet(const struct call *call)
{
	if (thread_held)
		return real_poll()(call->fds, call->count, call->timeout_ms);
	return poll_on(call->fds, call->count, call->start, wait_span_ms(call->timeout_ms), NULL);
}

WAIT_PART int shim_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
	struct call call;
	call.fds = fds;
	call.count = count;
	call.timeout_ms = timeout_ms;
	call.start = clock_mark();
	if (pending_any_quiet())
		return poll_quiet(&call);
	int result = real_poll()(fds, count, timeout_ms);
	if (result <= 0)
		return unsettled(&call, result);
	result = settle_all(&call, result);
	return result > 0 && !pending_any() ? result : settled(&call, wait_span_ms(call.timeout_ms), NULL, result);
}

WAIT_PART int shim_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
	struct call call = {.fds = fds, .count = count, .start = clock_mark()};
	if (!thread_held && pending_any_quiet() && wait_span_valid(timeout))
		return poll_on(fds, count, call.start, wait_span(timeout), mask);
	int result = real_ppoll()(fds, count, timeout, mask);
	if (result <= 0)
		return unsettled(&call, result);
	result = settle_all(&call, result);
	return result > 0 && !pending_any() ? result : settled(&call, wait_span(timeout), mask, result);
}

/* A connect of another thread's came up while a wait went on that had begun with none. Taking the time
 * before would cost every healthy wait; without it, a wait that has an end shows what it has got. */
static int late(struct pollfd *fds, nfds_t count, bool endless, const sigset_t *mask, int result)
{
	if (result <= 0 || thread_held)
		return result;
	if (endless) {
		struct call call = {.fds = fds, .count = count, .start = clock_mark()};
		return settled(&call, WAIT_FOR_EVER, mask, settle_all(&call, result));
	}
	for (nfds_t i = 0; i < count; i++) {
		struct pending *entry = (fds[i].revents & (POLLERR | POLLHUP)) != 0 ? pending_resolve(fds[i].fd) : NULL;
		if (entry != NULL && pending_expose(entry) == SHOWN_FAILED)
			fds[i].revents |= POLLERR;
	}
	return result;
}

WAIT_PART int late_poll(int result, const uintptr_t *asked)
{
	return late((struct pollfd *)asked[0], asked[1], (int)asked[2] < 0, NULL, result);
}

WAIT_PART int late_ppoll(int result, const uintptr_t *asked)
{
	return late((struct pollfd *)asked[0], asked[1], asked[2] == 0, (const sigset_t *)asked[3], result);
}

/* ---- tier 3: exported ----------------------------------------------------------------------------- */

#define EXPORT __attribute__((visibility("default")))

int __poll_chk(struct pollfd *fds, nfds_t count, int timeout_ms, size_t size);
int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask, size_t size);
void __chk_fail(void) __attribute__((noreturn));

WAIT_ENTRY_3(poll, (struct pollfd *fds, nfds_t count, int timeout_ms), (fds, count, timeout_ms),
             fds, rdi, count, rsi, timeout_ms, rdx)
WAIT_ENTRY_4(ppoll, (struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask), (fds, count, timeout, mask),
             fds, rdi, count, rsi, timeout, rdx, mask, rcx)

/* The array has room for fewer descriptors than are asked for: glibc ends the program, and says so. */
EXPORT int __poll_chk(struct pollfd *fds, nfds_t count, int timeout_ms, size_t size)
{
	if (size / sizeof *fds < count)
		__chk_fail();
	return poll(fds, count, timeout_ms);
}

EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask, size_t size)
{
	if (size / sizeof *fds < count)
		__chk_fail();
	return ppoll(fds, count, timeout, mask);
}
