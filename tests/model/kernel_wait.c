/* Waits: poll and select, and how any of them sleeps. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "kernel.h"

/* ---- sleeping ------------------------------------------------------------------------------------------- */

static uint32_t polled_now(const struct thread *thread, int i)
{
	return sock_events(&world.sock[thread->polled_sock[i]]) & (thread->polled_events[i] | EPOLLERR | EPOLLHUP);
}

static bool has_events(const struct thread *thread)
{
	if (thread->epoll >= 0)
		return epoll_has_events(thread->epoll);
	for (int i = 0; i < thread->polled; i++)
		if (thread->polled_sock[i] >= 0 && polled_now(thread, i) != 0)
			return true;
	return false;
}

bool takes_signals(const struct thread *thread) { return !thread->blocked; }

bool can_wake(const struct thread *thread)
{
	return has_events(thread) || thread->until_ns <= world.now_ns || (thread->pending && takes_signals(thread));
}

void take_signals(void)
{
	if (!self->pending || !takes_signals(self))
		return;
	self->pending = false;
	self->blocked = true;
	int errno_before = errno;
	const struct thread before = *self; /* the handler may wait too */
	running->handler();
	errno = errno_before;
	self->blocked = false;
	self->until_ns = before.until_ns;
	self->epoll = before.epoll;
	self->polled = before.polled;
	memcpy(self->polled_sock, before.polled_sock, sizeof before.polled_sock);
	memcpy(self->polled_events, before.polled_events, sizeof before.polled_events);
	self->waits_sock = before.waits_sock;
	self->waits_epoll = before.waits_epoll;
	self->asks = before.asks;
	self->asks_fd = before.asks_fd;
	self->awaited = before.awaited;
}

bool kernel_sleep(const char *what, int64_t until_ns, const sigset_t *mask)
{
	bool blocked = self->blocked, woken;
	if (mask != NULL)
		self->blocked = sigismember(mask, SIGUSR1) != 0;
	if (!has_events(self) && until_ns > world.now_ns && !(self->pending && takes_signals(self))) {
		self->until_ns = until_ns;
		rest(ASLEEP, what, 0);
	}
	woken = has_events(self);
	errno = !woken && until_ns > world.now_ns ? EINTR : 0;
	bool interrupted = errno == EINTR;
	take_signals();
	self->blocked = blocked;
	errno = interrupted ? EINTR : 0;
	return woken;
}

static int64_t until_of(const struct timespec *timeout)
{
	return timeout == NULL ? INT64_MAX : world.now_ns + timeout->tv_sec * NS_PER_S + timeout->tv_nsec;
}

/* ---- poll -------------------------------------------------------------------------------------------------- */

/* Holds what is polled, whatever becomes of the numbers meanwhile. */
static void gather(const char *what, const struct pollfd *fds, nfds_t count)
{
	bool shared = false;
	uint8_t socks = 0;
	if (count > POLLED_MOST)
		violation("the model has too little room");
	for (nfds_t i = 0; i < count; i++) {
		const struct sock *sock = sock_of(fds[i].fd);
		if (sock == NULL)
			continue;
		shared = touched(sock, false) || shared;
		if (sock->tcp == TCP_IS_TRYING)
			socks |= (uint8_t)(1 << number_of_sock(sock));
	}
	self->at_socks = socks;
	if (shared || socks != 0)
		point(what, fds[0].fd);
	self->at_socks = 0;
	self->epoll = -1;
	self->polled = (uint8_t)count;
	for (nfds_t i = 0; i < count; i++) {
		struct sock *sock = sock_of(fds[i].fd);
		self->polled_sock[i] = (int8_t)(sock != NULL ? number_of_sock(sock) : -1);
		self->polled_events[i] = (uint16_t)fds[i].events;
		if (sock != NULL)
			sock_hold(sock);
	}
}

static int give(struct pollfd *fds, nfds_t count)
{
	int found = 0;
	for (nfds_t i = 0; i < count; i++) {
		int sock = self->polled_sock[i];
		fds[i].revents = sock >= 0 ? (short)polled_now(self, (int)i) : fds[i].fd >= 0 ? POLLNVAL : 0;
		found += fds[i].revents != 0;
	}
	for (nfds_t i = 0; i < count; i++)
		if (self->polled_sock[i] >= 0)
			sock_release(&world.sock[self->polled_sock[i]]);
	self->polled = 0;
	memset(self->polled_sock, 0, sizeof self->polled_sock);
	memset(self->polled_events, 0, sizeof self->polled_events);
	return found;
}

static int poll_until(const char *what, struct pollfd *fds, nfds_t count, int64_t until_ns, const sigset_t *mask)
{
	bool invalid = false;
	gather(what, fds, count);
	for (nfds_t i = 0; i < count; i++)
		invalid = invalid || (fds[i].fd >= 0 && self->polled_sock[i] < 0);
	bool woken = kernel_sleep(what, invalid ? world.now_ns : until_ns, mask);
	int error = errno;
	int found = give(fds, count);
	self->until_ns = 0;
	if (woken || found != 0 || error == 0)
		return found;
	errno = error;
	return -1;
}

int kernel_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
	return poll_until("poll", fds, count, timeout_ms < 0 ? INT64_MAX : world.now_ns + timeout_ms * NS_PER_MS, NULL);
}

int kernel_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
	return poll_until("ppoll", fds, count, until_of(timeout), mask);
}

/* ---- select ------------------------------------------------------------------------------------------------ */

static int select_until(const char *what, int count, fd_set *writing, int64_t until_ns, const sigset_t *mask)
{
	struct pollfd fds[POLLED_MOST];
	nfds_t used = 0;
	for (int fd = 0; fd < count; fd++)
		if (FD_ISSET(fd, writing)) {
			if (used == POLLED_MOST)
				violation("the model has too little room");
			fds[used++] = (struct pollfd){.fd = fd, .events = POLLOUT};
		}
	int result = poll_until(what, fds, used, until_ns, mask);
	if (result < 0)
		return -1;
	FD_ZERO(writing);
	for (nfds_t i = 0; i < used; i++) {
		if ((fds[i].revents & POLLNVAL) != 0) {
			errno = EBADF;
			return -1;
		}
		if ((fds[i].revents & (POLLOUT | POLLERR)) != 0)
			FD_SET(fds[i].fd, writing);
	}
	return result;
}

int kernel_select(int count, fd_set *reading, fd_set *writing, fd_set *exceptions, struct timeval *timeout)
{
	(void)reading, (void)exceptions;
	struct timespec span = timeout != NULL ? (struct timespec){timeout->tv_sec, timeout->tv_usec * 1000} : (struct timespec){0};
	return select_until("select", count, writing, until_of(timeout != NULL ? &span : NULL), NULL);
}

int kernel_pselect(int count, fd_set *reading, fd_set *writing, fd_set *exceptions, const struct timespec *timeout,
                   const sigset_t *mask)
{
	(void)reading, (void)exceptions;
	return select_until("pselect", count, writing, until_of(timeout), mask);
}
