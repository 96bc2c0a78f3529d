/* epoll on sockets whose connect fails at first. */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/select.h>

#include "nonblock.h"
#include "ring.h"

static struct ring ring; /* open if a scenario uses it */

/* ---- registrations -------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	uint32_t events;
} triggers[] = {{"level", 0}, {"edge", EPOLLET}, {"oneshot", EPOLLONESHOT}, {"exclusive", EPOLLEXCLUSIVE}, {"edge-oneshot", EPOLLET | EPOLLONESHOT}};

static uint32_t trigger_of(const char *name)
{
	for (size_t i = 0; i < sizeof triggers / sizeof triggers[0]; i++)
		if (strcmp(triggers[i].name, name) == 0)
			return triggers[i].events;
	broken(name);
}

static int place; /* something to point at */

/* What a program stores: its descriptor, that with garbage in the upper half, a pointer, an index. */
static uint64_t data_of(const char *kind, int fd)
{
	if (strcmp(kind, "pointer") == 0)
		return (uint64_t)(uintptr_t)&place;
	if (strcmp(kind, "garbage") == 0)
		return 0xdeadbeef00000000 | (uint32_t)fd;
	if (strcmp(kind, "zero") == 0)
		return 0;
	return (uint64_t)fd;
}

static int new_set(void)
{
	int set = epoll_create1(EPOLL_CLOEXEC);
	if (set < 0)
		broken("epoll_create1");
	return set;
}

/* Returns 0 or the errno. */
static int control(int set, int operation, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event event = {.events = events, .data.u64 = data};
	if (ring.fd > 0)
		return ring_epoll_ctl(&ring, set, operation, fd, &event);
	return epoll_ctl(set, operation, fd, &event) == 0 ? 0 : errno;
}

static void add(int set, int fd, uint32_t events, uint64_t data)
{
	errno = control(set, EPOLL_CTL_ADD, fd, events, data);
	if (errno != 0)
		broken("EPOLL_CTL_ADD");
}

/* ---- waits ---------------------------------------------------------------------------------------- */

enum { MOST = 8 };

static const sigset_t *wait_mask; /* of the waits that take one */

static int wait_by(const char *wait, int set, struct epoll_event *events, int timeout_ms)
{
	struct timespec time = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000L};
	if (strcmp(wait, "wait") == 0)
		return epoll_wait(set, events, MOST, timeout_ms);
	if (strcmp(wait, "pwait") == 0)
		return epoll_pwait(set, events, MOST, timeout_ms, wait_mask);
	return epoll_pwait2(set, events, MOST, timeout_ms < 0 ? NULL : &time, wait_mask);
}

/* One event of one set, at most `timeout_ms` away; what else comes is counted with it. */
static int wait_in(int set, struct epoll_event *event, int timeout_ms)
{
	struct epoll_event events[MOST];
	int count = epoll_wait(set, events, MOST, timeout_ms);
	if (count > 0)
		*event = events[0];
	return count;
}

static const struct {
	uint32_t bit;
	const char *name;
} bits[] = {{EPOLLIN, "IN "}, {EPOLLOUT, "OUT "}, {EPOLLERR, "ERR "}, {EPOLLHUP, "HUP "}, {EPOLLRDHUP, "RDHUP "}};

static void say_events(const char *name, uint32_t events)
{
	char text[64] = "";
	for (size_t i = 0; i < sizeof bits / sizeof bits[0]; i++)
		if ((events & bits[i].bit) != 0)
			strcat(text, bits[i].name);
	say(name, text);
}

static void say_event(const struct epoll_event *event, uint64_t data)
{
	say_events("events", event->events);
	say("data", event->data.u64 == data ? "own" : "other");
}

/* Into the backoff, by a look at the set. Without the shim the look shows the failure. */
static void back_off_in(int set, int fd)
{
	struct epoll_event event;
	if (wait_in(set, &event, 0) != 0)
		exit(report(fd));
}

/* ---- recoveries ----------------------------------------------------------------------------------- */

/* The events of a program that waits on, until there is one, then for no time. */
static void say_all(const char *wait, int set, uint64_t data)
{
	struct epoll_event events[MOST];
	int count = wait_by(wait, set, events, 2 * LONG_MS);
	say_number("count", count);
	if (count > 0)
		say_event(&events[0], data);
	say_number("further", wait_by(wait, set, events, 20));
}

static int registered(const char *trigger, const char *order, const char *kind, const char *where, int set)
{
	int fd = socket_for(where);
	uint32_t events = EPOLLOUT | trigger_of(trigger);
	if (strcmp(order, "before") == 0)
		add(set, fd, events, data_of(kind, fd));
	start_connect(fd, where);
	if (strcmp(order, "after") == 0)
		add(set, fd, events, data_of(kind, fd));
	return fd;
}

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

/* ---- threads -------------------------------------------------------------------------------------- */

enum { THREADS = 4 };

static struct {
	int set, stop, socket;
	_Atomic(int) events, wrong;
} shared;

static void *waits(void *unused)
{
	struct epoll_event event;
	(void)unused;
	for (;;) {
		if (epoll_wait(shared.set, &event, 1, 2 * LONG_MS) != 1)
			return "time-out";
		if (event.data.fd == shared.stop)
			return NULL;
		atomic_fetch_add(&shared.events, 1);
		if (event.events != EPOLLOUT)
			atomic_fetch_add(&shared.wrong, 1);
		put_byte(shared.socket); /* the main thread's pipe */
	}
}

/* TRIGGER WHERE: all wait; exactly one gets the event. */
static int threads(char **arguments)
{
	pthread_t thread[THREADS];
	int stop[2], told[2], late = 0;
	void *result;
	open_pipe(stop);
	open_pipe(told);
	shared.set = new_set();
	shared.stop = stop[0];
	shared.socket = told[1];
	add(shared.set, stop[0], EPOLLIN, (uint64_t)stop[0]);
	int fd = connecting(arguments[1]);
	if (getenv("LD_PRELOAD") == NULL)
		return report(fd);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&thread[i], NULL, waits, NULL);
	pause_ms(30); /* most of them wait by now; it does not matter if not */
	add(shared.set, fd, EPOLLOUT | trigger_of(arguments[0]), (uint64_t)fd);
	take_byte(told[0]);
	pause_ms(50);
	put_byte(stop[1]);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(thread[i], &result);
		late += result != NULL;
	}
	say_number("count", shared.events);
	say_number("wrong", shared.wrong);
	say_number("late", late);
	return report(fd);
}

static void *waits_for_ever(void *set)
{
	struct epoll_event event;
	return epoll_wait(*(int *)set, &event, 1, -1) == 1 && event.events == EPOLLOUT ? "event" : NULL;
}

/* TRIGGER WHERE: the thread that met the failure looks no more; another waits for ever. */
static int left_alone(char **arguments)
{
	pthread_t thread;
	void *result = NULL;
	int set = new_set();
	struct timespec limit;
	int fd = registered(arguments[0], "after", "fd", arguments[1], set);
	back_off_in(set, fd);
	pthread_create(&thread, NULL, waits_for_ever, &set);
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += 10;
	say("thread", pthread_timedjoin_np(thread, &result, &limit) == 0 && result != NULL ? "event" : "stuck");
	return report(fd);
}

/* TRIGGER WHERE: as above, but the other thread waits already when the failure is met. */
static int left_waiting(char **arguments)
{
	pthread_t thread;
	void *result = NULL;
	int set = new_set();
	struct timespec limit;
	struct pollfd polled = {.events = POLLOUT};
	pthread_create(&thread, NULL, waits_for_ever, &set);
	pause_ms(50);
	int fd = polled.fd = connecting(arguments[1]);
	if (getenv("LD_PRELOAD") == NULL)
		exit(report(fd));
	poll(&polled, 1, 0);
	add(set, fd, EPOLLOUT | trigger_of(arguments[0]), (uint64_t)fd);
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += 10;
	say("thread", pthread_timedjoin_np(thread, &result, &limit) == 0 && result != NULL ? "event" : "stuck");
	return report(fd);
}

/* BY TRIGGER WHERE: the everyday reactor: a thread waits for ever, another connects, and registers (by
 * call or ring) what it connects. */
static int reactor(char **arguments)
{
	pthread_t thread;
	void *result = NULL;
	int set = new_set();
	struct timespec limit;
	if (strcmp(arguments[0], "ring") == 0)
		ring_open(&ring);
	pthread_create(&thread, NULL, waits_for_ever, &set);
	pause_ms(50);
	int fd = registered(arguments[1], "after", "fd", arguments[2], set);
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += 10;
	say("thread", pthread_timedjoin_np(thread, &result, &limit) == 0 && result != NULL ? "event" : "another");
	return report(fd);
}

enum { STORM = 200 };

static struct {
	int set, fds[STORM];
	_Atomic(int) told[STORM], wrong, total;
} storm;

static void *storms(void *unused)
{
	struct epoll_event events[MOST];
	long end = now_ms() + 3 * LONG_MS;
	(void)unused;
	while (storm.total < STORM && now_ms() < end) {
		int count = epoll_wait(storm.set, events, MOST, 50);
		for (int i = 0; i < count; i++) {
			if (events[i].events != EPOLLOUT && storm.wrong++ == 0)
				say_events("first_wrong", events[i].events);
			storm.told[events[i].data.u32]++;
			storm.total++;
		}
	}
	return NULL;
}

/* TRIGGER WHERE: many sockets and several threads, with backoffs of a few milliseconds. */
static int stormed(char **arguments)
{
	pthread_t thread[THREADS];
	int once = 0, connected = 0;
	allow_descriptors(2000);
	storm.set = new_set();
	for (int i = 0; i < STORM; i++) {
		storm.fds[i] = connecting(arguments[1]);
		if (getenv("LD_PRELOAD") == NULL)
			exit(report(storm.fds[i]));
		add(storm.set, storm.fds[i], EPOLLOUT | trigger_of(arguments[0]), (uint64_t)i);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_create(&thread[i], NULL, storms, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	for (int i = 0; i < STORM; i++) {
		once += storm.told[i] == 1;
		connected += so_error(storm.fds[i]) == 0 && strcmp(peer_error(storm.fds[i]), "ok") == 0;
	}
	say_number("once", once);
	say_number("connected", connected);
	say_number("wrong", storm.wrong);
	return 0;
}

/* ---- epoll_ctl in the middle of a backoff --------------------------------------------------------- */

static void say_control(const char *name, int error) { say(name, error_name(error)); }

static const uint64_t NEW_DATA = 0x1234567890;

/* As libuv does: the data stays. */
static void modify_events(int set, int fd, uint32_t trigger)
{
	say_control("modified", control(set, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLOUT | trigger, (uint64_t)fd));
}

static void modify(int set, int fd, uint32_t trigger)
{
	say_control("modified", control(set, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLOUT | trigger, NEW_DATA));
}

static void remove_and_add(int set, int fd, uint32_t trigger)
{
	say_control("removed", control(set, EPOLL_CTL_DEL, fd, 0, 0));
	say_control("removed_again", control(set, EPOLL_CTL_DEL, fd, 0, 0));
	say_control("modified", control(set, EPOLL_CTL_MOD, fd, EPOLLOUT, 1));
	say_control("added", control(set, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLOUT | trigger, NEW_DATA));
}

static void add_twice(int set, int fd, uint32_t trigger)
{
	say_control("added_again", control(set, EPOLL_CTL_ADD, fd, EPOLLIN | trigger, 1));
	modify(set, fd, trigger);
	say_control("added_again", control(set, EPOLL_CTL_ADD, fd, EPOLLIN | trigger, 1));
}

static void make_edge(int set, int fd, uint32_t trigger)
{
	(void)trigger;
	modify(set, fd, EPOLLET);
}

static void make_oneshot(int set, int fd, uint32_t trigger)
{
	(void)trigger;
	modify(set, fd, EPOLLONESHOT);
}

static void modify_often(int set, int fd, uint32_t trigger)
{
	struct epoll_event event;
	int told = 0;
	for (int i = 0; i < 100; i++) {
		control(set, EPOLL_CTL_MOD, fd, EPOLLOUT | trigger, (uint64_t)i);
		told += wait_in(set, &event, 0) != 0;
	}
	say_number("told", told);
	modify(set, fd, trigger);
}

static const struct {
	const char *name;
	void (*change)(int set, int fd, uint32_t trigger);
} changes[] = {{"modify", modify},
               {"modify-events", modify_events},
               {"remove-and-add", remove_and_add},
               {"add-twice", add_twice},
               {"make-edge", make_edge},
               {"make-oneshot", make_oneshot},
               {"modify-often", modify_often}};

static void change_by(const char *name, int set, int fd, uint32_t trigger)
{
	for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++)
		if (strcmp(changes[i].name, name) == 0)
			changes[i].change(set, fd, trigger);
}

/* The first event, and that the greeting is told of: the registration asks for EPOLLIN by now. */
static void say_changed(int set, uint64_t data, bool oneshot)
{
	struct epoll_event event = {0};
	long end = now_ms() + 3000;
	say_number("count", wait_in(set, &event, 2 * LONG_MS));
	bool readable = (event.events & EPOLLIN) != 0;
	event.events &= ~(uint32_t)EPOLLIN;
	say_event(&event, data);
	while (!oneshot && !readable && now_ms() < end && wait_in(set, &event, 1000) >= 0)
		readable = (event.events & EPOLLIN) != 0;
	say("readable", oneshot ? "not asked" : readable ? "yes" : "no");
}

/* CHANGE TRIGGER REGISTERED-BY CHANGED-BY WHERE: what the program asks for in the backoff is what counts. */
static int change(char **arguments)
{
	struct epoll_event event = {0};
	int set = new_set();
	struct ring own;
	bool oneshot = strcmp(arguments[1], "oneshot") == 0 || strcmp(arguments[0], "make-oneshot") == 0;
	ring_open(&own);
	ring = strcmp(arguments[2], "ring") == 0 ? own : (struct ring){0};
	int fd = registered(arguments[1], "after", "fd", arguments[4], set);
	back_off_in(set, fd);
	ring = strcmp(arguments[3], "ring") == 0 ? own : (struct ring){0};
	change_by(arguments[0], set, fd, trigger_of(arguments[1]));
	say_number("quiet", wait_in(set, &event, 0));
	say_changed(set, strcmp(arguments[0], "modify-events") == 0 ? (uint64_t)fd : NEW_DATA, oneshot && strcmp(arguments[0], "make-edge") != 0);
	return report(fd);
}

/* WHERE: a removed registration tells nothing; poll, which was not asked before, recovers. */
static int removed(char **arguments)
{
	struct epoll_event event;
	int set = new_set();
	int fd = registered("level", "after", "fd", arguments[0], set);
	struct pollfd polled = {.fd = fd, .events = POLLOUT};
	back_off_in(set, fd);
	say_control("removed", control(set, EPOLL_CTL_DEL, fd, 0, 0));
	say_number("result", poll(&polled, 1, 2 * LONG_MS));
	say_number("count", wait_in(set, &event, 0));
	return report(fd);
}

/* WHERE: nothing is registered until the backoff has begun. */
static int added_late(char **arguments)
{
	struct epoll_event event = {0};
	int set = new_set(), fd = backing_off(arguments[1]);
	add(set, fd, EPOLLOUT | trigger_of(arguments[0]), 3);
	say_number("quiet", wait_in(set, &event, 0));
	say_number("count", wait_in(set, &event, 2 * LONG_MS));
	say_event(&event, 3);
	return report(fd);
}

/* WHERE: what the kernel says to changes of an exclusive registration. */
static int exclusive_rules(char **arguments)
{
	struct epoll_event event = {0};
	int set = new_set();
	int fd = registered("exclusive", "after", "fd", arguments[0], set);
	if (getenv("LD_PRELOAD") != NULL)
		back_off_in(set, fd);
	say_control("modified", control(set, EPOLL_CTL_MOD, fd, EPOLLOUT, 1));
	say_control("modified_exclusive", control(set, EPOLL_CTL_MOD, fd, EPOLLOUT | EPOLLEXCLUSIVE, 1));
	say_control("added", control(set, EPOLL_CTL_ADD, fd, EPOLLOUT | EPOLLEXCLUSIVE, 1));
	say_control("added_oneshot", control(set, EPOLL_CTL_ADD, fd, EPOLLOUT | EPOLLEXCLUSIVE | EPOLLONESHOT, 1));
	say_control("no_event", epoll_ctl(set, EPOLL_CTL_ADD, fd, NULL) == 0 ? 0 : errno);
	say_control("removed", control(set, EPOLL_CTL_DEL, fd, 0, 0));
	say_control("removed_again", control(set, EPOLL_CTL_DEL, fd, 0, 0));
	say_control("modified_none", control(set, EPOLL_CTL_MOD, fd, EPOLLOUT, 1));
	say_control("bad_set", control(fd, EPOLL_CTL_ADD, fd, EPOLLOUT, 1));
	say_control("bad_operation", control(set, 77, fd, EPOLLOUT, 1));
	say_number("count", wait_in(set, &event, 0));
	return 0;
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
	{"threads", threads},
	{"left-alone", left_alone},
	{"left-waiting", left_waiting},
	{"reactor", reactor},
	{"stormed", stormed},
	{"change", change},
	{"removed", removed},
	{"added-late", added_late},
	{"exclusive-rules", exclusive_rules},
	{"signalled", signalled},
};

int main(int argc, char **argv) { return RUN_SCENARIO(scenarios, argc, argv); }
