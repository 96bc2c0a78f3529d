/* Time, the one place that sleeps, and when nothing may disturb. */
#include <dlfcn.h>
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "libc.h"
#include "retryshim/runtime.h"

/* A library that shows the program another time (libfaketime) must not change how long a backoff lasts: where it lets
 * time stand still one would never end. So these are the C library's own, whoever stands before it: its names carry a
 * version and theirs do not. Elsewhere it is what the linker finds. */
#if defined(__GLIBC__) && (defined(__x86_64__) || defined(__i386__) || defined(__aarch64__) || defined(__arm__))
static void *own_function(const char *name) { return libc_has_loader() ? dlvsym(RTLD_NEXT, name, "GLIBC_2.17") : NULL; }
#else
static void *own_function(const char *name) { return (void)name, NULL; }
#endif

/* Looked up when first wanted, perhaps by two threads: they find the same. */
#define OWN(name)                                                             \
	static typeof(name) *own_##name(void)                                       \
	{                                                                           \
		static _Atomic(typeof(name) *) slot;                                      \
		typeof(name) *function = atomic_load_explicit(&slot, memory_order_relaxed); \
		if (function != NULL)                                                     \
			return function;                                                        \
		function = (typeof(name) *)own_function(#name);                           \
		if (function == NULL)                                                     \
			function = name;                                                        \
		atomic_store_explicit(&slot, function, memory_order_relaxed);             \
		return function;                                                          \
	}

OWN(clock_gettime)
OWN(clock_nanosleep)

static int64_t read_ns(typeof(clock_gettime) *gettime, clockid_t clock)
{
	struct timespec now;
	gettime(clock, &now);
	return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

int64_t clock_now_ns(void) { return read_ns(own_clock_gettime(), CLOCK_MONOTONIC); }

int64_t clock_wall_s(void) { return read_ns(own_clock_gettime(), CLOCK_REALTIME) / NS_PER_S; }

/* Returns 0 or an errno. The call with two longs does for as long as we wait, on every processor. */
static int wait_on_futex(_Atomic(uint32_t) *futex, uint32_t seen, int64_t most_ns)
{
	struct kernel_time most = {.s = (long)(most_ns / NS_PER_S), .ns = (long)(most_ns % NS_PER_S)};
	return syscall(SYS_futex, futex, FUTEX_WAIT, seen, &most, NULL, 0) == 0 ? 0 : errno;
}

/* By the clock that the linker finds: a look-up of our own would cost every process at its start. */
static _Atomic(uint64_t) start_mark;
static _Atomic(int64_t) start_ns; /* 0: not started */

void clock_start(void)
{
	atomic_store_explicit(&start_mark, clock_mark(), memory_order_relaxed);
	atomic_store_explicit(&start_ns, read_ns(clock_gettime, CLOCK_MONOTONIC), memory_order_release);
}

/* How long the process has lived; what another's clock says of that may be nonsense, and must not be negative. */
static int64_t life_ns(int64_t origin_ns)
{
	int64_t span_ns = read_ns(clock_gettime, CLOCK_MONOTONIC) - origin_ns;
	return span_ns > 0 ? span_ns : 0;
}

int64_t clock_of_mark(uint64_t mark)
{
	int64_t origin_ns = atomic_load_explicit(&start_ns, memory_order_acquire);
	int64_t lived_ns = life_ns(origin_ns); /* before the present is taken, so that nothing is older than the process */
	int64_t now_ns = clock_now_ns();
	uint64_t now = clock_mark();
	uint64_t origin = atomic_load_explicit(&start_mark, memory_order_relaxed);
	/* Before our constructor, or the counters of two processors disagree: take the mark for now. */
	if (origin_ns == 0 || mark > now || now <= origin)
		return now_ns;
	double since = mark > origin ? (double)(now - mark) / (double)(now - origin) : 1;
	return now_ns - (int64_t)(since * (double)lived_ns);
}

/* signal(7): connect(2) goes on after a handler that was installed with SA_RESTART, sleeps never do.
 * The kernel does not tell which handler ran, so one without the flag is enough to end the wait. */
static bool all_handlers_restart(void)
{
	for (int number = 1; number <= SIGRTMAX; number++) {
		struct sigaction action;
		if (sigaction(number, NULL, &action) != 0)
			continue;
		if (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN)
			continue;
		if ((action.sa_flags & SA_RESTART) == 0)
			return false;
	}
	return true;
}

/* The thread's own sleep, if it is in one. */
static _Thread_local struct {
	int64_t until_ns; /* 0 = awake */
	sigset_t mask;
} nap __attribute__((tls_model("initial-exec")));

static void read_mask(sigset_t *mask)
{
	memset(mask, 0, sizeof *mask);
	/* As pthread_sigmask(3) on Linux, and in every process: that one has moved between glibc's libraries. */
	sigprocmask(SIG_BLOCK, NULL, mask);
}

static void fall_asleep(int64_t until_ns)
{
	read_mask(&nap.mask);
	nap.until_ns = until_ns;
}

static int sleep_plainly(int64_t at_ns)
{
	struct timespec at = {.tv_sec = (time_t)(at_ns / NS_PER_S), .tv_nsec = (long)(at_ns % NS_PER_S)};
	int error;
	do
		error = own_clock_nanosleep()(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
	while (error == EINTR && all_handlers_restart());
	return error;
}

static enum slept wake_up(int error)
{
	nap.until_ns = 0;
	/* A sleep that a sandbox denies must not turn into a storm of attempts. */
	return error == 0 ? SLEPT : SLEEP_INTERRUPTED;
}

/* A futex is no cancellation point, and to make it one a handler would have to find the thread's cancellation
 * asynchronous. So where somebody could cancel, it is asked now and then. */
static int64_t nap_end(int64_t at_ns)
{
	const int64_t slice_ns = 100 * NS_PER_MS;
	int64_t slice_end_ns = clock_now_ns() + slice_ns;
	return thread_is_alone() || at_ns < slice_end_ns ? at_ns : slice_end_ns;
}

static int wait_for_news(int64_t at_ns, _Atomic(uint32_t) *news, uint32_t seen)
{
	for (;;) {
		int64_t end_ns = nap_end(at_ns), left_ns = end_ns - clock_now_ns();
		int error = wait_on_futex(news, seen, left_ns > 0 ? left_ns : 0);
		cancel_test();
		if (error == ETIMEDOUT && end_ns < at_ns)
			continue;
		if (error != EINTR || !all_handlers_restart())
			return error;
	}
}

/* Where a sandbox denies the one, the other may do: a sleep, and a wait for news that never come. */
static bool is_denied(int error) { return error != 0 && error != EINTR; }

enum slept sleep_until(int64_t at_ns)
{
	_Atomic(uint32_t) never = 0;
	fall_asleep(at_ns);
	int error = sleep_plainly(at_ns);
	if (is_denied(error))
		error = wait_for_news(at_ns, &never, 0);
	return wake_up(error != ETIMEDOUT ? error : 0);
}

enum slept sleep_for_news(int64_t at_ns, _Atomic(uint32_t) *news, uint32_t seen)
{
	const int64_t glance_ns = 100 * NS_PER_MS;
	fall_asleep(at_ns);
	int error = wait_for_news(at_ns, news, seen);
	if (error == ETIMEDOUT || error == EAGAIN)
		error = 0;
	if (is_denied(error)) {
		int64_t glance = clock_now_ns() + glance_ns;
		error = sleep_plainly(glance < at_ns ? glance : at_ns);
	}
	return wake_up(error);
}

bool sleep_interrupted_here(void)
{
	sigset_t mask;
	if (nap.until_ns == 0 || clock_now_ns() >= nap.until_ns)
		return false;
	read_mask(&mask);
	return memcmp(&mask, &nap.mask, sizeof mask) != 0;
}

_Thread_local bool thread_held __attribute__((tls_model("initial-exec"), visibility("hidden")));

void hold_begin(struct hold *hold)
{
	/* What a fault of the program's own raises must reach its handler: blocked, it kills. SIGSYS too is
	 * one, where a sandbox answers for system calls. */
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
	sigset_t all;
	sigfillset(&all);
	for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
		sigdelset(&all, faults[i]);
	sigemptyset(&hold->signals);
	hold->masked = sigprocmask(SIG_BLOCK, &all, &hold->signals) == 0;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &hold->cancel);
	hold->held = thread_held;
	thread_held = true;
}

void hold_end(const struct hold *hold)
{
	int ours;
	thread_held = hold->held;
	pthread_setcancelstate(hold->cancel, &ours);
	if (hold->masked)
		sigprocmask(SIG_SETMASK, &hold->signals, NULL);
}
