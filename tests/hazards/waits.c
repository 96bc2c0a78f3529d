/* poll, ppoll, select and pselect on sockets whose connect fails at first. */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/select.h>

#include "nonblock.h"

enum { SET_BITS = 4096, WORD_BITS = 8 * sizeof(unsigned long) };

/* One call of a wait: for the socket to be writable, and for another descriptor to be readable. */
struct look {
	int fd, other; /* other: -1 = none */
	int timeout_ms; /* -1 = for ever */
	const sigset_t *mask;
	int result, error;
	bool ready, other_ready;
	int left_ms; /* by select alone */
};

static const struct timespec *timespec_of(int ms, struct timespec *time)
{
	*time = (struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
	return ms < 0 ? NULL : time;
}

static void keep_result(struct look *look, int result)
{
	look->result = result;
	look->error = result < 0 ? errno : 0;
}

/* ---- poll ----------------------------------------------------------------------------------------- */

static void look_by_poll_or_ppoll(struct look *look, bool is_ppoll)
{
	struct timespec time;
	struct pollfd fds[2] = {{.fd = look->fd, .events = POLLOUT}, {.fd = look->other, .events = POLLIN}};
	volatile nfds_t count = 2; /* not known to the compiler: a fortified build must check it */
	keep_result(look, is_ppoll ? ppoll(fds, count, timespec_of(look->timeout_ms, &time), look->mask)
	                           : poll(fds, count, look->timeout_ms));
	look->ready = look->result > 0 && fds[0].revents != 0;
	look->other_ready = look->result > 0 && fds[1].revents != 0;
}

static void look_by_poll(struct look *look) { look_by_poll_or_ppoll(look, false); }

static void look_by_ppoll(struct look *look) { look_by_poll_or_ppoll(look, true); }

/* ---- select --------------------------------------------------------------------------------------- */

/* Larger than an fd_set, whose macros end at FD_SETSIZE. */
typedef unsigned long big_set[SET_BITS / WORD_BITS];

static void add(big_set set, int fd)
{
	if (fd >= 0)
		set[fd / (int)WORD_BITS] |= 1UL << (fd % (int)WORD_BITS);
}

static bool has(const big_set set, int fd) { return fd >= 0 && (set[fd / (int)WORD_BITS] >> (fd % (int)WORD_BITS) & 1) != 0; }

static int select_sets(struct look *look, big_set reading, big_set writing, big_set exceptions)
{
	struct timeval time = {.tv_sec = look->timeout_ms / 1000, .tv_usec = look->timeout_ms % 1000 * 1000};
	int highest = look->fd > look->other ? look->fd : look->other;
	int result = select(highest + 1, (fd_set *)reading, (fd_set *)writing, (fd_set *)exceptions, look->timeout_ms < 0 ? NULL : &time);
	look->left_ms = (int)(time.tv_sec * 1000 + time.tv_usec / 1000);
	return result;
}

static int pselect_sets(const struct look *look, big_set reading, big_set writing, big_set exceptions)
{
	struct timespec time;
	int highest = look->fd > look->other ? look->fd : look->other;
	return pselect(highest + 1, (fd_set *)reading, (fd_set *)writing, (fd_set *)exceptions, timespec_of(look->timeout_ms, &time),
	               look->mask);
}

static void look_by_select_or_pselect(struct look *look, bool is_pselect)
{
	big_set reading = {0}, writing = {0}, exceptions = {0};
	add(writing, look->fd);
	add(exceptions, look->fd); /* as perl does */
	add(reading, look->other);
	keep_result(look, is_pselect ? pselect_sets(look, reading, writing, exceptions)
	                             : select_sets(look, reading, writing, exceptions));
	look->ready = look->result > 0 && (has(writing, look->fd) || has(exceptions, look->fd));
	look->other_ready = look->result > 0 && has(reading, look->other);
}

static void look_by_select(struct look *look) { look_by_select_or_pselect(look, false); }

static void look_by_pselect(struct look *look) { look_by_select_or_pselect(look, true); }

/* ---- any of them ---------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	void (*look)(struct look *look);
} waits[] = {{"poll", look_by_poll}, {"ppoll", look_by_ppoll}, {"select", look_by_select}, {"pselect", look_by_pselect}};

static void look_by(const char *name, struct look *look)
{
	for (size_t i = 0; i < sizeof waits / sizeof waits[0]; i++)
		if (strcmp(waits[i].name, name) == 0) {
			waits[i].look(look);
			return;
		}
	broken(name);
}

static void say_look(const struct look *look)
{
	say_number("result", look->result);
	say("failed", error_name(look->error));
	say("ready", look->ready ? "yes" : "no");
	say("other", look->other_ready ? "yes" : "no");
}

/* Looks until the socket is ready; returns how many calls that took. */
static int wait_for(const char *wait, int fd, int timeout_ms)
{
	struct look look = {.fd = fd, .other = -1, .timeout_ms = timeout_ms};
	long end = now_ms() + 2 * LONG_MS;
	for (int calls = 1;; calls++) {
		look_by(wait, &look);
		if (look.ready)
			return calls;
		if (look.result < 0 || now_ms() > end)
			broken(wait);
		if (timeout_ms == 0)
			pause_ms(1);
	}
}

/* ---- recoveries ----------------------------------------------------------------------------------- */

/* WAIT TIMEOUT-MS WHERE */
static int recover(char **arguments)
{
	struct descriptors before;
	descriptors_read(&before);
	int fd = connecting(arguments[2]);
	int calls = wait_for(arguments[0], fd, atoi(arguments[1]));
	say_number("calls", calls);
	report(fd);
	say_descriptors(&before);
	return 0;
}

/* WAIT WHERE: the descriptor is 2000. */
static int high(char **arguments)
{
	allow_descriptors(3000);
	int low = socket_for(arguments[1]);
	int fd = fcntl(low, F_DUPFD_CLOEXEC, 2000);
	close(low);
	start_connect(fd, arguments[1]);
	say_number("fd", fd);
	wait_for(arguments[0], fd, -1);
	return report(fd);
}

/* WHERE: among 1500 others. */
static int many(char **arguments)
{
	enum { COUNT = 1500 };
	static struct pollfd fds[COUNT];
	int ends[2], fd = connecting(arguments[0]);
	allow_descriptors(3000);
	open_pipe(ends);
	for (int i = 0; i < COUNT; i++)
		fds[i] = (struct pollfd){.fd = i % 2 == 0 ? ends[0] : -1, .events = POLLIN};
	fds[1400] = (struct pollfd){.fd = fd, .events = POLLOUT};
	say_number("result", poll(fds, COUNT, -1));
	say("ready", fds[1400].revents == POLLOUT ? "yes" : "no");
	return report(fd);
}

/* WHERE: connect(2) is called again until it has an outcome, as ruby and perl do. */
static int again(char **arguments)
{
	int fd = backing_off(arguments[0]), error;
	long end = now_ms() + 2 * LONG_MS;
	say("first", error_name(connect_to(fd, arguments[0])));
	while ((error = connect_to(fd, arguments[0])) == EALREADY && now_ms() < end)
		pause_ms(1);
	say("outcome", error_name(error));
	say("afterwards", error_name(connect_to(fd, arguments[0])));
	return report(fd);
}

/* WHERE: no wait at all: the first connect(2) after the failure meets it. */
static int again_only(char **arguments)
{
	int fd = connecting(arguments[0]), error;
	long end = now_ms() + 2 * LONG_MS;
	while ((error = connect_to(fd, arguments[0])) == EALREADY && now_ms() < end)
		pause_ms(1);
	say("outcome", error_name(error));
	return report(fd);
}

/* WHERE: no wait at all, SO_ERROR meets the failure, and drives the retries. */
static int error_only(char **arguments)
{
	int fd = connecting(arguments[0]), error;
	long end = now_ms() + 2 * LONG_MS;
	while ((error = so_error(fd)) == 0 && strcmp(peer_error(fd), "ok") != 0 && now_ms() < end)
		pause_ms(1);
	say("outcome", error_name(error));
	if (error != 0)
		return 0;
	return report(fd);
}

/* WAIT WHERE: how the last failure looks. */
static int exhausted(char **arguments)
{
	int fd = connecting(arguments[1]);
	struct look look = {.fd = fd, .other = -1, .timeout_ms = LONG_MS};
	look_by(arguments[0], &look);
	say_look(&look);
	return report(fd);
}

/* WHERE: poll's events of the last failure, and the errno by a second connect. */
static int exhausted_by_connect(char **arguments)
{
	int fd = connecting(arguments[0]);
	struct pollfd polled = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP};
	say_number("result", poll(&polled, 1, LONG_MS));
	say_number("revents", polled.revents);
	say("outcome", error_name(connect_to(fd, arguments[0])));
	return 0;
}

/* ---- the program's own limits --------------------------------------------------------------------- */

static void timed(const char *wait, struct look *look, const char *name)
{
	long start = now_ms(), cpu = cpu_ms();
	char text[64];
	look_by(wait, look);
	long elapsed = now_ms() - start;
	snprintf(text, sizeof text, "%s_ms", name);
	say_number(text, elapsed);
	snprintf(text, sizeof text, "%s_cpu_ms", name);
	say_number(text, cpu_ms() - cpu);
	snprintf(text, sizeof text, "%s_left_ms", name);
	say_number(text, look->left_ms);
}

/* WAIT TIMEOUT-MS WHERE: once in the call that meets the failure, once in one that begins in the backoff. */
static int timeout(char **arguments)
{
	int fd = connecting(arguments[2]);
	struct look look = {.fd = fd, .other = -1, .timeout_ms = atoi(arguments[1])};
	timed(arguments[0], &look, "first");
	if (look.result != 0)
		return report(fd);
	timed(arguments[0], &look, "second");
	say_look(&look);
	return 0;
}

static int write_end;

static void *writes_later(void *unused)
{
	(void)unused;
	pause_ms(100);
	put_byte(write_end);
	return NULL;
}

/* WAIT WHERE: another descriptor is ready with the failure, and becomes ready in the backoff. */
static int others(char **arguments)
{
	int ends[2], fd = connecting(arguments[1]);
	pthread_t writer;
	struct look look = {.fd = fd, .timeout_ms = LONG_MS};
	open_pipe(ends);
	look.other = ends[0];
	write_end = ends[1];
	put_byte(write_end);
	timed(arguments[0], &look, "first");
	if (look.ready)
		return report(fd);
	say_look(&look);
	take_byte(ends[0]);
	pthread_create(&writer, NULL, writes_later, NULL);
	timed(arguments[0], &look, "second");
	pthread_join(writer, NULL);
	say_number("second_result", look.result);
	say("second_other", look.other_ready ? "yes" : "no");
	return 0;
}

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

/* ---- bad arguments -------------------------------------------------------------------------------- */

static int bad_poll_pointer(void)
{
	void *volatile bad = (void *)16; /* not a constant: the compiler would warn, or do as it likes */
	return poll(bad, 1, 0);
}

/* More than the process may have open: refused before the array is read. */
static int bad_poll_count(void)
{
	struct pollfd polled = {.fd = -1};
	volatile nfds_t most = 1 << 20;
	return poll(&polled, most, 0);
}

static int bad_ppoll_time(void)
{
	struct pollfd polled = {.fd = -1};
	return ppoll(&polled, 1, &(struct timespec){.tv_nsec = -1}, NULL);
}

static int bad_select_count(void) { return select(-1, NULL, NULL, NULL, NULL); }

static int bad_select_time(void) { return select(0, NULL, NULL, NULL, &(struct timeval){.tv_sec = -1}); }

static int bad_select_time_with_set(void)
{
	fd_set set;
	FD_ZERO(&set);
	return select(1, &set, NULL, NULL, &(struct timeval){.tv_sec = -1});
}

static int bad_select_pointer(void)
{
	void *volatile bad = (void *)16;
	return select(1, bad, NULL, NULL, NULL);
}

static int bad_select_descriptor(void)
{
	fd_set set;
	FD_ZERO(&set);
	FD_SET(40, &set);
	return select(41, &set, NULL, NULL, NULL);
}

static int bad_pselect_time(void)
{
	fd_set set;
	FD_ZERO(&set);
	return pselect(1, &set, NULL, NULL, &(struct timespec){.tv_nsec = -1}, NULL);
}

static const struct {
	const char *name, *argument;
	int (*call)(void);
} bad_calls[] = {
	{"poll", "pointer", bad_poll_pointer},
	{"poll", "count", bad_poll_count},
	{"ppoll", "time", bad_ppoll_time},
	{"select", "count", bad_select_count},
	{"select", "time", bad_select_time},
	{"select", "time-with-set", bad_select_time_with_set},
	{"select", "pointer", bad_select_pointer},
	{"select", "descriptor", bad_select_descriptor},
	{"pselect", "time", bad_pselect_time},
};

/* WAIT ARGUMENT WHERE: what the kernel answers to a call that makes no sense, in a backoff. */
static int bad_argument(char **arguments)
{
	int fd = connecting(arguments[2]);
	allow_descriptors(1024);
	if (getenv("LD_PRELOAD") != NULL)
		back_off(fd);
	for (size_t i = 0; i < sizeof bad_calls / sizeof bad_calls[0]; i++)
		if (strcmp(bad_calls[i].name, arguments[0]) == 0 && strcmp(bad_calls[i].argument, arguments[1]) == 0)
			say("answer", bad_calls[i].call() < 0 ? error_name(errno) : "ok");
	return 0;
}

/* WHERE: select is told as many descriptors as a process may have, with sets that hold fewer: the kernel
 * looks at those alone that its table has room for (core_sys_select in fs/select.c). */
static int select_all(char **arguments)
{
	int fd = connecting(arguments[0]);
	struct timeval limit = {.tv_sec = LONG_MS / 1000};
	fd_set writing;
	FD_ZERO(&writing);
	FD_SET(fd, &writing);
	say_number("result", select(1 << 20, NULL, &writing, NULL, &limit));
	say("ready", FD_ISSET(fd, &writing) ? "yes" : "no");
	return report(fd);
}

/* An array with room for fewer descriptors than are asked for. */
static int overflow(char **arguments)
{
	struct pollfd fds[2] = {{.fd = -1}, {.fd = -1}};
	volatile nfds_t most = 3;
	struct timespec time;
	if (strcmp(arguments[0], "poll") == 0)
		poll(fds, most, 0);
	else
		ppoll(fds, most, timespec_of(0, &time), NULL);
	return 0;
}

static const struct scenario scenarios[] = {
	{"recover", recover},
	{"high", high},
	{"many", many},
	{"again", again},
	{"again-only", again_only},
	{"error-only", error_only},
	{"exhausted", exhausted},
	{"exhausted-by-connect", exhausted_by_connect},
	{"timeout", timeout},
	{"others", others},
	{"signalled", signalled},
	{"masked", masked},
	{"stormed", stormed},
	{"cancelled", cancelled},
	{"bad-argument", bad_argument},
	{"select-all", select_all},
	{"overflow", overflow},
};

int main(int argc, char **argv) { return RUN_SCENARIO(scenarios, argc, argv); }
