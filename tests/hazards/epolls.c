/* epoll on sockets whose connect fails at first. */
#include <sys/select.h>

#include "epolls.h"

/* ---- recoveries ----------------------------------------------------------------------------------- */

/* WAIT TRIGGER before|after DATA WHERE */
static int recover(char **arguments)
{
	struct descriptors before;
	descriptors_read(&before);
	int set = new_set();
	int fd = registered(arguments[1], arguments[2], arguments[3], arguments[4], set);
	say_all(arguments[0], set, data_of(arguments[3], fd));
	report(fd);
	close(set);
	say_descriptors(&before);
	return 0;
}

/* The same, and all registrations are made by a ring. */
static int ring_recover(char **arguments)
{
	ring_open(&ring);
	return recover(arguments);
}

/* WAIT TRIGGER WHERE: a loop of looks that do not wait, as libuv's. */
static int looks(char **arguments)
{
	struct epoll_event events[MOST];
	int set = new_set(), count;
	int fd = registered(arguments[1], "after", "fd", arguments[2], set);
	long end = now_ms() + 2 * LONG_MS;
	while ((count = wait_by(arguments[0], set, events, 0)) == 0 && now_ms() < end)
		pause_ms(1);
	say_number("count", count);
	say_event(&events[0], (uint64_t)fd);
	return report(fd);
}

/* TRIGGER WHERE: how the last failure looks. */
static int exhausted(char **arguments)
{
	struct epoll_event event = {0};
	int fd = socket_for(arguments[1]), set = new_set();
	start_connect(fd, arguments[1]);
	/* An exclusive registration may not ask for more. */
	uint32_t trigger = trigger_of(arguments[0]);
	add(set, fd, trigger | EPOLLIN | EPOLLOUT | ((trigger & EPOLLEXCLUSIVE) != 0 ? 0 : (uint32_t)EPOLLRDHUP), 5);
	say_number("count", wait_in(set, &event, LONG_MS));
	say_event(&event, 5);
	say("connect", error_name(so_error(fd)));
	say("error_again", error_name(so_error(fd)));
	say_number("count_again", wait_in(set, &event, 0));
	say_events("events_again", event.events);
	return 0;
}

/* ---- the program's own limits --------------------------------------------------------------------- */

/* WAIT TIMEOUT-MS WHERE */
static int timeout(char **arguments)
{
	struct epoll_event events[MOST];
	int set = new_set();
	int fd = registered("level", "after", "fd", arguments[2], set);
	for (int call = 0; call < 2; call++) {
		long start = now_ms(), cpu = cpu_ms();
		if (wait_by(arguments[0], set, events, atoi(arguments[1])) != 0)
			return report(fd);
		say_number(call == 0 ? "first_ms" : "second_ms", now_ms() - start);
		say_number(call == 0 ? "first_cpu_ms" : "second_cpu_ms", cpu_ms() - cpu);
	}
	return 0;
}

/* A wait that brings one event, of this pipe, at once. */
static bool delivers(int set, int ends[2], uint64_t data)
{
	struct epoll_event event = {0};
	long start = now_ms();
	put_byte(ends[1]);
	bool well = wait_in(set, &event, LONG_MS) == 1 && event.events == EPOLLIN && event.data.u64 == data && now_ms() - start < 1500;
	take_byte(ends[0]);
	return well;
}

/* TRIGGER DATA WHERE: three pipes in the set of a socket that backs off; DATA as the socket's is "same". */
static int others(char **arguments)
{
	int ends[3][2], set = new_set(), well = 0;
	struct epoll_event event;
	bool same = strcmp(arguments[1], "same") == 0;
	int fd = registered(arguments[0], "after", same ? "zero" : "fd", arguments[2], set);
	back_off_in(set, fd);
	for (int i = 0; i < 3; i++) {
		open_pipe(ends[i]);
		add(set, ends[i][0], EPOLLIN | trigger_of(arguments[0]), same ? 0 : (uint64_t)ends[i][0]);
	}
	for (int i = 0; i < 3; i++)
		well += delivers(set, ends[i], same ? 0 : (uint64_t)ends[i][0]);
	say_number("delivered", well);
	say_number("count", wait_in(set, &event, 2 * LONG_MS));
	say_events("events", event.events);
	return report(fd);
}

/* WHERE: a pipe that was in the set before, with the same data: its event comes with the failure. */
static int same_data(char **arguments)
{
	int ends[2], set = new_set(), fd = socket_for(arguments[0]);
	struct epoll_event event = {0};
	open_pipe(ends);
	add(set, ends[0], EPOLLIN, 0);
	start_connect(fd, arguments[0]);
	put_byte(ends[1]);
	say_number("pipe", wait_in(set, &event, 0));
	take_byte(ends[0]);
	add(set, fd, EPOLLOUT, 0);
	put_byte(ends[1]);
	wait_in(set, &event, 0);
	take_byte(ends[0]);
	say_number("count", wait_in(set, &event, 2 * LONG_MS));
	say_events("events", event.events);
	return report(fd);
}

/* WHERE: the data of a pipe is an index, which happens to be the socket's descriptor. */
static int index_data(char **arguments)
{
	int ends[2], set = new_set(), other_set = new_set();
	struct epoll_event event = {0};
	open_pipe(ends);
	int fd = connecting(arguments[0]);
	add(other_set, ends[1], EPOLLOUT, (uint64_t)fd);
	say_number("pipe", wait_in(other_set, &event, 0));
	add(set, fd, EPOLLOUT, 0);
	say_number("count", wait_in(set, &event, 2 * LONG_MS));
	say_events("events", event.events);
	return report(fd);
}

/* WHERE: a socket that backs off is closed, and the next one, with another number, has the same data:
 * the program's memory was freed and allocated again. */
static int data_again(char **arguments)
{
	int set = new_set();
	struct epoll_event event = {0};
	int old = connecting(arguments[0]);
	add(set, old, EPOLLOUT, 0);
	back_off_in(set, old);
	int fd = connecting(arguments[0]);
	close(old);
	add(set, fd, EPOLLOUT, 0);
	say_number("count", wait_in(set, &event, 2 * LONG_MS));
	say_events("events", event.events);
	return report(fd);
}

/* ---- several sets, sets in sets, duplicates ------------------------------------------------------- */

/* TRIGGER SETS WHERE: each set tells of it, with its own data. */
static int several(char **arguments)
{
	int count = atoi(arguments[1]), sets[16] = {0}, fd = connecting(arguments[2]), told = 0, silent = 0;
	struct epoll_event event = {0};
	for (int i = 0; i < count; i++) {
		sets[i] = new_set();
		add(sets[i], fd, EPOLLOUT | trigger_of(arguments[0]), (uint64_t)i + 100);
	}
	back_off_in(sets[0], fd);
	for (int i = 0; i < count; i++)
		silent += wait_in(sets[i], &event, 0) == 0;
	say_number("silent", silent);
	for (int i = 0; i < count; i++)
		told += wait_in(sets[i], &event, i == 0 ? 2 * LONG_MS : 1000) == 1 && event.events == EPOLLOUT && event.data.u64 == (uint64_t)i + 100;
	say_number("told", told);
	return report(fd);
}

/* epoll|poll|select TRIGGER WHERE: the program waits for the set itself to be ready. */
static bool wait_for_set(const char *wait, int outer, int inner)
{
	struct epoll_event event;
	struct pollfd polled = {.fd = inner, .events = POLLIN};
	fd_set reading;
	if (strcmp(wait, "epoll") == 0)
		return wait_in(outer, &event, LONG_MS) == 1;
	if (strcmp(wait, "poll") == 0)
		return poll(&polled, 1, LONG_MS) == 1 && polled.revents == POLLIN;
	FD_ZERO(&reading);
	FD_SET(inner, &reading);
	return select(inner + 1, &reading, NULL, NULL, &(struct timeval){.tv_sec = LONG_MS / 1000}) == 1;
}

static int nested(char **arguments)
{
	int outer = new_set(), inner = new_set(), turns = 0;
	struct epoll_event event = {0};
	add(outer, inner, EPOLLIN, 1);
	int fd = registered(arguments[1], "after", "fd", arguments[2], inner);
	while (turns < 100 && wait_for_set(arguments[0], outer, inner) && wait_in(inner, &event, 0) == 0)
		turns++;
	say("in_vain", turns <= 3 ? "a few" : "many");
	say_event(&event, (uint64_t)fd);
	return report(fd);
}

/* Which descriptor connects, which is registered, which of them is closed, and is the number used again. */
static const struct {
	const char *name;
	bool registers_original, closes, reuses;
} duplicates[] = {
	{"duplicate", false, false, false},
	{"duplicate-original-closed", false, true, false},
	{"duplicate-original-reused", false, true, true},
	{"original-then-closed", true, true, false},
};

/* NAME WAIT before|after WHERE: WAIT is poll, select or epoll. */
static int duplicate(char **arguments)
{
	size_t row = 0;
	while (strcmp(duplicates[row].name, arguments[0]) != 0)
		row++;
	int set = new_set(), original = socket_for(arguments[3]);
	int copy = fcntl(original, F_DUPFD_CLOEXEC, 20);
	int watched = duplicates[row].registers_original ? original : copy;
	struct epoll_event event = {0};
	if (strcmp(arguments[2], "before") == 0)
		add(set, watched, EPOLLOUT, 7);
	start_connect(original, arguments[3]);
	if (strcmp(arguments[2], "after") == 0)
		add(set, watched, EPOLLOUT, 7);
	if (duplicates[row].closes)
		close(original);
	if (duplicates[row].reuses && open("/dev/null", O_RDONLY | O_CLOEXEC) != original)
		broken("reuse");
	say_number("count", wait_in(set, &event, 2 * LONG_MS));
	say_event(&event, 7);
	return report(copy);
}

/* ---- signals -------------------------------------------------------------------------------------- */

static volatile sig_atomic_t handled;

static void count_signal(int number)
{
	(void)number;
	handled = handled + 1;
}

/* WAIT MOMENT WHERE: MOMENT is plain (not blocked at all), during, pending or pending-quiet. */
static int signalled(char **arguments)
{
	struct sigaction action = {.sa_handler = count_signal};
	struct epoll_event events[MOST];
	sigset_t alarm, without;
	int set = new_set(), count, interrupted = 0;
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	sigaction(SIGALRM, &action, NULL);
	bool plain = strcmp(arguments[1], "plain") == 0, pending = strncmp(arguments[1], "pending", 7) == 0;
	if (!plain)
		pthread_sigmask(SIG_BLOCK, &alarm, &without);
	wait_mask = plain ? NULL : &without;
	int fd = registered("edge", "after", "fd", arguments[2], set);
	if (strcmp(arguments[1], "pending-quiet") == 0)
		back_off_in(set, fd);
	if (pending)
		raise(SIGALRM);
	while ((count = wait_by(arguments[0], set, events, 2 * LONG_MS)) < 0 && errno == EINTR && interrupted++ < 10)
		say("interrupted", "once");
	say_number("count", count);
	say_number("interrupted", interrupted);
	say_number("handled", handled);
	pthread_sigmask(SIG_BLOCK, NULL, &without);
	say("blocked", sigismember(&without, SIGALRM) == 1 ? "yes" : "no");
	return report(fd);
}

static const struct scenario scenarios[] = {
	{"recover", recover},
	{"ring-recover", ring_recover},
	{"looks", looks},
	{"exhausted", exhausted},
	{"timeout", timeout},
	{"others", others},
	{"same-data", same_data},
	{"index-data", index_data},
	{"data-again", data_again},
	{"several", several},
	{"nested", nested},
	{"duplicate", duplicate},
	{"signalled", signalled},
};

int main(int argc, char **argv) { return RUN_SCENARIO(scenarios, argc, argv); }
