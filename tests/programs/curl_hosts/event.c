/* A program of events, after libcurl's ephiperfifo.c: epoll, a timerfd that fires once, curl_multi_assign.
 * It goes on as its style says:
 *   action  curl_multi_socket_action
 *   socket  curl_multi_socket
 *   all     curl_multi_socket_all
 * It never looks without an event; with something running and nothing to wait for it is stuck: status 3.
 * What it does is said by its words: multi_session.h. */
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

struct driver {
	int timer;   /* a descriptor */
	bool armed;
	long sockets;
	bool traced;
};

#include "multi_session.h"

enum { EVENTS = 64, TIMER = 1 << 30 };

static _Thread_local int set_of_events;
static _Thread_local struct epoll_event events[EVENTS];
static _Thread_local int events_ready;

static struct epoll_event event_of(struct multi *its, int file, uint32_t wanted)
{
	return (struct epoll_event){.events = wanted, .data.u64 = (uint64_t)(its - multis) << 32 | (unsigned)file};
}

static int on_socket(CURL *curl, curl_socket_t file, int what, void *context, void *known)
{
	static const uint32_t wanted[] = {0, EPOLLIN, EPOLLOUT, EPOLLIN | EPOLLOUT};
	struct multi *its = context;
	(void)curl;
	if (transfers[0].traced)
		printf("socket %d%s\n", what, known != NULL ? "" : " new");
	if (what == CURL_POLL_REMOVE) {
		epoll_ctl(set_of_events, EPOLL_CTL_DEL, file, NULL);
		its->driver.sockets -= known != NULL;
		return 0;
	}
	struct epoll_event event = event_of(its, file, wanted[what]);
	must("epoll_ctl", epoll_ctl(set_of_events, known != NULL ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, file, &event));
	its->driver.sockets += known == NULL;
	must("assign", curl_multi_assign(its->curl, file, its));
	return 0;
}

static int on_timer(CURLM *curl, long ms, void *context)
{
	struct multi *its = context;
	struct itimerspec time = {.it_value = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}};
	if (curl != its->curl)
		exit(4);
	if (transfers[0].traced)
		printf("timer %s\n", ms < 0 ? "off" : ms == 0 ? "now" : "later");
	if (ms <= 0)
		time = (struct itimerspec){.it_value.tv_nsec = ms == 0};
	its->driver.armed = ms >= 0;
	must("timerfd_settime", timerfd_settime(its->driver.timer, 0, &time, NULL));
	return 0;
}

static void driver_begin(struct multi *its)
{
	if (set_of_events == 0)
		set_of_events = epoll_create1(EPOLL_CLOEXEC);
	its->driver.timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	struct epoll_event event = event_of(its, its->driver.timer | TIMER, EPOLLIN);
	must("epoll_ctl", epoll_ctl(set_of_events, EPOLL_CTL_ADD, its->driver.timer, &event));
	curl_multi_setopt(its->curl, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(its->curl, CURLMOPT_SOCKETDATA, its);
	curl_multi_setopt(its->curl, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(its->curl, CURLMOPT_TIMERDATA, its);
}

static void driver_end(struct multi *its) { close(its->driver.timer); }

static void act(struct multi *its, curl_socket_t file, int mask)
{
	int running = -1;
	CURLMcode code;
	timeouts += file == CURL_SOCKET_TIMEOUT;
	if (strcmp(style, "all") == 0)
		code = curl_multi_socket_all(its->curl, &running);
	else if (strcmp(style, "socket") == 0)
		code = (curl_multi_socket)(its->curl, file, &running); /* a macro has its name too */
	else
		code = curl_multi_socket_action(its->curl, file, mask, &running);
	went_on(its, code, running);
}

static void timer_fired(struct multi *its)
{
	uint64_t count;
	/* Another event of the same turn may have set it anew. */
	if (read(its->driver.timer, &count, sizeof count) != sizeof count)
		return;
	its->driver.armed = false;
	act(its, CURL_SOCKET_TIMEOUT, 0);
}

static bool waits_for_nothing(const struct multi *its) { return !its->driver.armed && its->driver.sockets == 0; }

static void driver_advance(void)
{
	for (int i = 0; i < events_ready; i++) {
		struct multi *its = &multis[events[i].data.u64 >> 32];
		int file = (int)(uint32_t)events[i].data.u64;
		uint32_t got = events[i].events;
		if (its->curl == NULL)
			continue;
		if (file & TIMER)
			timer_fired(its);
		else
			act(its, file, (got & EPOLLIN ? CURL_CSELECT_IN : 0) | (got & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
			                   (got & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0));
	}
	events_ready = 0;
	/* A program that took a transfer away asks how many are left. */
	for (struct multi *its = multis; its < multis + MULTIS; its++)
		if (its->curl != NULL && its->changed && waits_for_nothing(its))
			act(its, CURL_SOCKET_TIMEOUT, 0);
}

static long driver_due_ms(struct multi *its)
{
	struct itimerspec time;
	if (!its->driver.armed)
		return -1;
	timerfd_gettime(its->driver.timer, &time);
	return time.it_value.tv_sec * 1000 + time.it_value.tv_nsec / 1000000;
}

static bool driver_backs_off(struct multi *its) { return its->driver.sockets == 0 && driver_due_ms(its) > 20; }

static void driver_wait(enum until until, long left_ms)
{
	bool stuck = until != UNTIL_TIME;
	for (struct multi *its = multis; its < multis + MULTIS; its++)
		stuck &= its->curl == NULL || waits_for_nothing(its);
	if (stuck) {
		puts("stuck");
		exit(3);
	}
	events_ready = epoll_wait(set_of_events, events, EVENTS, until == UNTIL_TIME ? (int)left_ms : -1);
	if (events_ready < 0)
		must("epoll_wait", errno);
}

static void driver_interrupt(const char *how)
{
	fprintf(stderr, "no interrupt=%s in this host\n", how);
	exit(2);
}
