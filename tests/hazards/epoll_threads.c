/* Several threads on one epoll set, while connects fail in it. */
#include <pthread.h>

#include "epolls.h"

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

static const struct scenario scenarios[] = {
	{"threads", threads},
	{"left-alone", left_alone},
	{"left-waiting", left_waiting},
	{"reactor", reactor},
	{"stormed", stormed},
};

int main(int argc, char **argv) { return RUN_SCENARIO(scenarios, argc, argv); }
