#include "hooks/waiting.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sys/mman.h>

#include "hooks/pending.h"

int64_t wait_span_ms(int timeout_ms) { return timeout_ms < 0 ? WAIT_FOR_EVER : timeout_ms * NS_PER_MS; }

bool wait_span_valid(const struct timespec *timeout)
{
	return timeout == NULL || (timeout->tv_sec >= 0 && timeout->tv_nsec >= 0 && timeout->tv_nsec < NS_PER_S);
}

int64_t wait_span_of(int64_t s, int64_t ns)
{
	int64_t span_ns;
	if (__builtin_mul_overflow(s, NS_PER_S, &span_ns) || __builtin_add_overflow(span_ns, ns, &span_ns))
		return WAIT_FOR_EVER;
	return span_ns;
}

int wait_milliseconds(const struct timespec *left)
{
	if (left == NULL)
		return -1;
	if (left->tv_sec >= INT_MAX / 1000 - 1)
		return INT_MAX;
	return (int)(left->tv_sec * INT64_C(1000) + (left->tv_nsec + NS_PER_MS - 1) / NS_PER_MS);
}

int64_t wait_span(const struct timespec *timeout)
{
	return timeout == NULL ? WAIT_FOR_EVER : wait_span_of(timeout->tv_sec, timeout->tv_nsec);
}

static int64_t end_of(const struct wait *wait)
{
	int64_t end_ns;
	if (wait->span_ns == WAIT_FOR_EVER || __builtin_add_overflow(clock_of_mark(wait->start), wait->span_ns, &end_ns))
		return INT64_MAX;
	return end_ns;
}

int64_t wait_left_ns(const struct wait *wait)
{
	int64_t end_ns = end_of(wait), now_ns = clock_now_ns();
	return end_ns > now_ns ? end_ns - now_ns : 0;
}

/* What is left until an instant; NULL = for ever. */
static const struct timespec *left_until(int64_t until_ns, struct timespec *left)
{
	if (until_ns == INT64_MAX)
		return NULL;
	int64_t left_ns = until_ns - clock_now_ns();
	if (left_ns < 0)
		left_ns = 0;
	if (left_ns > INT32_MAX * NS_PER_S) /* more than a time_t of 32 bits has room for */
		return NULL;
	*left = (struct timespec){.tv_sec = (time_t)(left_ns / NS_PER_S), .tv_nsec = (long)(left_ns % NS_PER_S)};
	return left;
}

const struct timespec *wait_clip(struct wait *wait, const struct timespec *left, int64_t until_ns, struct timespec *room)
{
	if (until_ns >= wait->until_ns)
		return left;
	wait->until_ns = until_ns;
	return left_until(until_ns, room);
}

/* A sandbox denies the calls that take a mask: the one that takes none is left. A handler that runs just before it does not
 * end it. */
static int once_plainly(struct wait *wait, const struct timespec *left, const sigset_t *mask)
{
	sigset_t held;
	sigemptyset(&held);
	bool masked = mask != NULL && sigprocmask(SIG_SETMASK, mask, &held) == 0;
	wait->plainly = true;
	int result = wait->once(wait, left, NULL), error = errno;
	if (masked)
		sigprocmask(SIG_SETMASK, &held, NULL);
	errno = error;
	return result;
}

static int once_masked(struct wait *wait, const struct timespec *left, const struct hold *hold)
{
	const sigset_t *mask = wait->mask;
	if (mask == NULL && hold->masked)
		mask = &hold->signals;
	if (wait->plainly)
		return once_plainly(wait, left, mask);
	int result = wait->once(wait, left, mask);
	return result >= 0 || (errno != EPERM && errno != ENOSYS) ? result : once_plainly(wait, left, mask);
}

struct turn {
	struct wait *wait;
	const struct timespec *left;
	struct hold *hold;
};

static void give_mask_back(void *context)
{
	const struct hold *hold = ((struct turn *)context)->hold;
	if (hold->masked)
		sigprocmask(SIG_SETMASK, &hold->signals, NULL);
}

/* The wait itself is a cancellation point, and lets handlers run, as it is and does without us. */
static int once(void *context)
{
	const struct turn *turn = context;
	struct wait *wait = turn->wait;
	int ours;
	thread_held = false;
	pthread_setcancelstate(turn->hold->cancel, &ours);
	int result = once_masked(wait, turn->left, turn->hold);
	pthread_setcancelstate(ours, NULL);
	thread_held = true;
	return result;
}

/* A wait that was over too early: a library behind us lets time run faster (libfaketime's x10). The program's
 * time-out is one of that time, so it ends as much earlier. What such a library rounds down to no wait says nothing. */
static int64_t sooner_end(int64_t end_ns, int64_t begin_ns, int64_t until_ns)
{
	int64_t now_ns = clock_now_ns();
	return end_ns != INT64_MAX && now_ns < until_ns && now_ns - begin_ns > NS_PER_MS ? end_ns - (until_ns - now_ns) : end_ns;
}

int wait_on(struct wait *wait)
{
	struct hold hold;
	struct timespec left;
	int result, error, errno_before = errno;
	int64_t end_ns = end_of(wait);
	pending_tidy(clock_mark());
	hold_begin(&hold);
	do {
		if (wait->prepare != NULL)
			wait->prepare(wait);
		int64_t due_ns = pending_drive(), begin_ns = clock_now_ns();
		wait->until_ns = due_ns < end_ns ? due_ns : end_ns;
		struct turn turn = {wait, left_until(wait->until_ns, &left), &hold};
		result = cancel_guarded(once, give_mask_back, &turn);
		error = result < 0 ? errno : errno_before;
		if (result == 0)
			end_ns = sooner_end(end_ns, begin_ns, wait->until_ns);
		if (result > 0)
			result = wait->settle(wait, result);
	} while (result == 0 && clock_now_ns() < end_ns);
	hold_end(&hold);
	errno = error;
	return result;
}

void *wait_scratch(void *own, size_t own_size, size_t size)
{
	if (size <= own_size)
		return own;
	void *scratch = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return scratch != MAP_FAILED ? scratch : NULL;
}

void wait_scratch_end(void *scratch, const void *own, size_t size)
{
	if (scratch != NULL && scratch != own)
		munmap(scratch, size);
}
