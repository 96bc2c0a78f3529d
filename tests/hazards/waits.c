/* poll, select and their kin on sockets whose connect fails at first. */
#include <pthread.h>

#include "waits.h"

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
	{"bad-argument", bad_argument},
	{"select-all", select_all},
	{"overflow", overflow},
};

int main(int argc, char **argv) { return RUN_SCENARIO(scenarios, argc, argv); }
