/* What the hosts of epoll share: registrations, by call or through io_uring, and waits. */
#ifndef HAZARDS_EPOLLS_H
#define HAZARDS_EPOLLS_H

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>

#include "nonblock.h"
#include "ring.h"

static UNUSED struct ring ring; /* open if a scenario uses it */

/* ---- registrations -------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	uint32_t events;
} triggers[] = {{"level", 0}, {"edge", EPOLLET}, {"oneshot", EPOLLONESHOT}, {"exclusive", EPOLLEXCLUSIVE}, {"edge-oneshot", EPOLLET | EPOLLONESHOT}};

static UNUSED uint32_t trigger_of(const char *name)
{
	for (size_t i = 0; i < sizeof triggers / sizeof triggers[0]; i++)
		if (strcmp(triggers[i].name, name) == 0)
			return triggers[i].events;
	broken(name);
}

static UNUSED int place; /* something to point at */

/* What a program stores: its descriptor, that with garbage in the upper half, a pointer, an index. */
static UNUSED uint64_t data_of(const char *kind, int fd)
{
	if (strcmp(kind, "pointer") == 0)
		return (uint64_t)(uintptr_t)&place;
	if (strcmp(kind, "garbage") == 0)
		return 0xdeadbeef00000000 | (uint32_t)fd;
	if (strcmp(kind, "zero") == 0)
		return 0;
	return (uint64_t)fd;
}

static UNUSED int new_set(void)
{
	int set = epoll_create1(EPOLL_CLOEXEC);
	if (set < 0)
		broken("epoll_create1");
	return set;
}

/* Returns 0 or the errno. */
static UNUSED int control(int set, int operation, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event event = {.events = events, .data.u64 = data};
	if (ring.fd > 0)
		return ring_epoll_ctl(&ring, set, operation, fd, &event);
	return epoll_ctl(set, operation, fd, &event) == 0 ? 0 : errno;
}

static UNUSED void add(int set, int fd, uint32_t events, uint64_t data)
{
	errno = control(set, EPOLL_CTL_ADD, fd, events, data);
	if (errno != 0)
		broken("EPOLL_CTL_ADD");
}

/* ---- waits ---------------------------------------------------------------------------------------- */

enum { MOST = 8 };

static UNUSED const sigset_t *wait_mask; /* of the waits that take one */

#if !defined(__GLIBC__) /* musl has no such function */
#define epoll_pwait2(set, events, most, time, mask) ((void)(time), errno = ENOSYS, -1)
#endif

static UNUSED int wait_by(const char *wait, int set, struct epoll_event *events, int timeout_ms)
{
	struct timespec time = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000L};
	if (strcmp(wait, "wait") == 0)
		return epoll_wait(set, events, MOST, timeout_ms);
	if (strcmp(wait, "pwait") == 0)
		return epoll_pwait(set, events, MOST, timeout_ms, wait_mask);
	return epoll_pwait2(set, events, MOST, timeout_ms < 0 ? NULL : &time, wait_mask);
}

/* One event of one set, at most `timeout_ms` away; what else comes is counted with it. */
static UNUSED int wait_in(int set, struct epoll_event *event, int timeout_ms)
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

static UNUSED void say_events(const char *name, uint32_t events)
{
	char text[64] = "";
	for (size_t i = 0; i < sizeof bits / sizeof bits[0]; i++)
		if ((events & bits[i].bit) != 0)
			strcat(text, bits[i].name);
	say(name, text);
}

static UNUSED void say_event(const struct epoll_event *event, uint64_t data)
{
	say_events("events", event->events);
	say("data", event->data.u64 == data ? "own" : "other");
}

/* Into the backoff, by a look at the set. Without the shim the look shows the failure. */
static UNUSED void back_off_in(int set, int fd)
{
	struct epoll_event event;
	if (wait_in(set, &event, 0) != 0)
		exit(report(fd));
}


/* The events of a program that waits on, until there is one, then for no time. */
static UNUSED void say_all(const char *wait, int set, uint64_t data)
{
	struct epoll_event events[MOST];
	int count = wait_by(wait, set, events, 2 * LONG_MS);
	say_number("count", count);
	if (count > 0)
		say_event(&events[0], data);
	say_number("further", wait_by(wait, set, events, 20));
}

static UNUSED int registered(const char *trigger, const char *order, const char *kind, const char *where, int set)
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

#endif
