/* Signals and cancellation in poll, select and their kin, while a connect backs off. */
#include <pthread.h>

#include "waits.h"

/* ---- signals -------------------------------------------------------------------------------------- */

static volatile sig_atomic_t handled;

static void count(int number)
{
	(void)number;
	handled = handled + 1;
}

static void on_alarm(int flags)
{
	struct sigaction action = {.sa_handler = count, .sa_flags = flags};
	if (sigaction(SIGALRM, &action, NULL) != 0)
		broken("sigaction");
}

static bool alarm_is_blocked(void)
{
	sigset_t now;
	pthread_sigmask(SIG_BLOCK, NULL, &now);
	return sigismember(&now, SIGALRM) == 1;
}

/* Waits until the socket is ready, and counts the calls that a signal has ended. */
static int wait_and_count(const char *wait, int fd, const sigset_t *mask)
{
	struct look look = {.fd = fd, .other = -1, .timeout_ms = 2 * LONG_MS, .mask = mask};
	int interrupted = 0;
	for (;;) {
		look_by(wait, &look);
		if (look.error != EINTR)
			break;
		interrupted++;
		say("interrupted", "once"); /* for the test, that waits for it */
	}
	if (!look.ready)
		broken(wait);
	return interrupted;
}

static int say_signals(int fd, int interrupted)
{
	say_number("interrupted", interrupted);
	say_number("handled", handled);
	return report(fd);
}

/* WAIT restart|interrupt WHERE: the test sends the signal. */
static int signalled(char **arguments)
{
	on_alarm(strcmp(arguments[1], "restart") == 0 ? SA_RESTART : 0);
	int fd = connecting(arguments[2]);
	return say_signals(fd, wait_and_count(arguments[0], fd, NULL));
}

/* WAIT during|pending|pending-quiet WHERE: blocked but for the call. */
static int masked(char **arguments)
{
	sigset_t alarm, without;
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &alarm, &without);
	on_alarm(0);
	int fd = connecting(arguments[2]);
	if (strcmp(arguments[1], "pending-quiet") == 0)
		back_off(fd);
	if (strcmp(arguments[1], "during") != 0)
		raise(SIGALRM);
	int interrupted = wait_and_count(arguments[0], fd, &without);
	say("blocked", alarm_is_blocked() ? "yes" : "no");
	return say_signals(fd, interrupted);
}

/* WAIT WHERE: a signal every few milliseconds, let through in the calls alone: each ends one call. */
static int stormed(char **arguments)
{
	struct itimerval often = {.it_interval.tv_usec = 3000, .it_value.tv_usec = 3000}, never = {0};
	sigset_t alarm, without;
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &alarm, &without);
	on_alarm(0);
	int fd = connecting(arguments[1]), interrupted = 0;
	struct look look = {.fd = fd, .other = -1, .timeout_ms = LONG_MS, .mask = &without};
	setitimer(ITIMER_REAL, &often, NULL);
	do {
		look_by(arguments[0], &look);
		interrupted += look.error == EINTR;
	} while (look.error == EINTR);
	setitimer(ITIMER_REAL, &never, NULL);
	say("each_once", interrupted == handled ? "yes" : "no");
	say("many", handled > 20 ? "yes" : "no");
	return report(fd);
}

/* ---- cancellation --------------------------------------------------------------------------------- */

static const char *cancelled_wait;
static sigset_t mask_at_end;
static int cancelled_fd;

static void keep_mask(void *unused)
{
	(void)unused;
	pthread_sigmask(SIG_BLOCK, NULL, &mask_at_end);
}

static void *waits_for_ever(void *unused)
{
	struct look look = {.fd = cancelled_fd, .other = -1, .timeout_ms = -1};
	sigset_t usr1;
	(void)unused;
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	pthread_sigmask(SIG_SETMASK, &usr1, NULL);
	pthread_cleanup_push(keep_mask, NULL);
	look_by(cancelled_wait, &look);
	pthread_cleanup_pop(0);
	return NULL;
}

static int signals_in(const sigset_t *set)
{
	int members = 0;
	for (int number = 1; number <= SIGRTMAX; number++)
		members += sigismember(set, number) == 1;
	return members;
}

/* WAIT WHERE: afterwards another wait recovers. */
static int cancelled(char **arguments)
{
	pthread_t thread;
	void *result;
	cancelled_wait = arguments[0];
	cancelled_fd = connecting(arguments[1]);
	if (getenv("LD_PRELOAD") == NULL)
		exit(report(cancelled_fd));
	pthread_create(&thread, NULL, waits_for_ever, NULL);
	await_diagnostics(1);
	pthread_cancel(thread);
	pthread_join(thread, &result);
	say("thread", result == PTHREAD_CANCELED ? "cancelled" : "returned");
	say("mask", sigismember(&mask_at_end, SIGUSR1) == 1 && signals_in(&mask_at_end) == 1 ? "kept" : "changed");
	wait_for(arguments[0], cancelled_fd, -1);
	return report(cancelled_fd);
}

static const struct scenario scenarios[] = {
	{"signalled", signalled},
	{"masked", masked},
	{"stormed", stormed},
	{"cancelled", cancelled},
};

int main(int argc, char **argv) { return RUN_SCENARIO(scenarios, argc, argv); }
