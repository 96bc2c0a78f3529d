/* Epoll sets, as fs/eventpoll.c has them: a registration is of a file under a number; it is put on its set's ready list by
 * wake-ups that it listens to, and by epoll_ctl; who waits takes from the list what is still so. */
#include <errno.h>
#include <string.h>

#include "kernel.h"

#include "retryshim/runtime.h"

enum { PRIVATE = EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE };

int epoll_number(int fd)
{
	int slot = fd_slot(fd);
	return slot >= 0 && world.fd[slot] >= EPOLL_FD ? world.fd[slot] - EPOLL_FD : -1;
}

int kernel_epoll_create(void)
{
	for (int number = 0; number < EPOLLS; number++) {
		bool taken = false;
		for (int slot = 0; slot < FDS; slot++)
			taken = taken || world.fd[slot] == EPOLL_FD + number;
		for (int slot = LOW_FDS - 1; slot >= 0 && !taken; slot--) /* from above: sockets have the low numbers */
			if (world.fd[slot] == 0) {
				world.fd[slot] = (uint8_t)(EPOLL_FD + number);
				return slot;
			}
	}
	violation("the model has too little room");
}

struct item *epoll_item(int epoll, int sock, int fd)
{
	for (int i = 0; i < ITEMS; i++) {
		struct item *it = &world.item[i];
		if (it->used && it->epoll == epoll && it->sock == sock && it->fd == fd_slot(fd))
			return it;
	}
	return NULL;
}

static uint32_t events_of(const struct item *it) { return sock_events(&world.sock[it->sock]) & it->events; }

void epoll_wake(int sock, uint32_t key)
{
	for (int i = 0; i < ITEMS; i++) {
		struct item *it = &world.item[i];
		if (!it->used || it->sock != sock || (it->events & ~(uint32_t)PRIVATE) == 0)
			continue;
		if (key == 0 || (key & it->events) != 0)
			it->ready = true;
	}
}

void epoll_forget(int sock)
{
	for (int i = 0; i < ITEMS; i++)
		if (world.item[i].used && world.item[i].sock == sock)
			world.item[i] = (struct item){0};
}

bool epoll_has_events(int epoll)
{
	for (int i = 0; i < ITEMS; i++) {
		const struct item *it = &world.item[i];
		if (it->used && it->ready && it->epoll == epoll && events_of(it) != 0)
			return true;
	}
	return false;
}

/* ---- calls ------------------------------------------------------------------------------------------------ */

static void call(const char *what, int epoll, int fd, bool writes)
{
	static char sets[EPOLLS];
	uint8_t socks = 0;
	int number = epoll_number(epoll);
	bool shared = number >= 0 && touched(&sets[number], writes);
	for (int i = 0; i < ITEMS; i++)
		if (world.item[i].used && world.item[i].epoll == number) {
			shared = touched(&world.sock[world.item[i].sock], false) || shared;
			socks |= (uint8_t)(1 << world.item[i].sock);
		}
	const struct sock *sock = sock_of(fd);
	if (sock != NULL) {
		shared = touched(sock, false) || shared;
		socks |= (uint8_t)(1 << number_of_sock(sock));
	}
	self->at_socks = socks;
	if (shared || socks != 0)
		point(what, fd);
	self->at_socks = 0;
}

static int control(int epoll, int operation, int fd, struct epoll_event *event)
{
	struct sock *sock = sock_of(fd);
	if (sock == NULL)
		return EBADF;
	int number = number_of_sock(sock);
	struct item *it = epoll_item(epoll, number, fd);
	if (operation == EPOLL_CTL_ADD ? it != NULL : it == NULL)
		return operation == EPOLL_CTL_ADD ? EEXIST : ENOENT;
	if (operation == EPOLL_CTL_DEL) {
		*it = (struct item){0};
		return 0;
	}
	for (int i = 0; it == NULL && i < ITEMS; i++)
		if (!world.item[i].used)
			it = &world.item[i];
	if (it == NULL)
		violation("the model has too little room");
	it->used = true;
	it->epoll = (uint8_t)epoll;
	it->sock = (uint8_t)number;
	it->fd = (uint8_t)fd_slot(fd);
	it->events = event->events | EPOLLERR | EPOLLHUP;
	it->data = event->data.u64;
	if (events_of(it) != 0)
		it->ready = true;
	return 0;
}

int kernel_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
	call(operation == EPOLL_CTL_ADD ? "EPOLL_CTL_ADD" : operation == EPOLL_CTL_MOD ? "EPOLL_CTL_MOD" : "EPOLL_CTL_DEL", epoll, fd, true);
	int error = control(epoll_number(epoll), operation, fd, event);
	if (error == 0)
		return 0;
	errno = error;
	return -1;
}

/* One at a time, as a list that is taken from its head and put back at its end. */
static int take(int epoll, struct epoll_event *events, int most)
{
	int count = 0;
	for (int i = 0; i < ITEMS && count < most; i++) {
		struct item *it = &world.item[i];
		if (!it->used || !it->ready || it->epoll != epoll)
			continue;
		uint32_t found = events_of(it);
		it->ready = found != 0 && (it->events & (EPOLLONESHOT | EPOLLET)) == 0;
		if (found == 0)
			continue;
		events[count].events = found;
		events[count++].data.u64 = it->data;
		if ((it->events & EPOLLONESHOT) != 0)
			it->events &= PRIVATE;
	}
	return count;
}

int kernel_epoll_pwait(int epoll, struct epoll_event *events, int most, int timeout_ms, const sigset_t *mask)
{
	call("epoll_wait", epoll, -1, true);
	int number = epoll_number(epoll);
	int64_t until_ns = timeout_ms < 0 ? INT64_MAX : world.now_ns + timeout_ms * NS_PER_MS;
	self->epoll = (int8_t)number;
	bool woken = kernel_sleep("epoll_wait", until_ns, mask);
	int error = errno;
	self->epoll = -1;
	self->until_ns = 0;
	int count = woken ? take(number, events, most) : 0;
	if (woken || error == 0)
		return count;
	errno = error;
	return -1;
}

int kernel_epoll_wait(int epoll, struct epoll_event *events, int most, int timeout_ms)
{
	return kernel_epoll_pwait(epoll, events, most, timeout_ms, NULL);
}

/* What /proc shows of it, in one read. */
void epoll_list(int epoll, epoll_found *found, void *context)
{
	struct epoll_registration list[ITEMS];
	int count = 0, number = epoll_number(epoll);
	call("fdinfo", epoll, -1, false);
	for (int i = 0; i < ITEMS; i++)
		if (world.item[i].used && world.item[i].epoll == number)
			list[count++] = (struct epoll_registration){.fd = world.item[i].fd, .events = world.item[i].events,
			                                            .data = world.item[i].data, .inode = inode_of(world.item[i].sock)};
	for (int i = 0; i < count; i++)
		found(context, &list[i]);
}
