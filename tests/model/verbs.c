/* What programs do, by the hooks, and whether what they are told is true. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "kernel.h"

static struct sockaddr_in address_of(int port)
{
	return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* ---- what is told ------------------------------------------------------------------------------------------ */

/* True if a call took its number for that of another socket, which was closed under it: then it may have got what this one's
 * owner should, with or without us. */
static bool has_strayed(struct sock *sock)
{
	for (int i = 0; i < THREADS_MOST; i++) {
		const struct thread *other = &world.thread[i];
		if (other != self && other->asks_fd != 0 && other->asks != number_of_sock(sock) + 1 && sock_of(other->asks_fd - 1) == sock)
			sock->strayed = true;
	}
	return sock->strayed || sock->port == 0;
}

/* True if another thread's call is about to tell of the failure: that it will is seen at the end. */
static bool is_being_told(struct sock *sock)
{
	for (int i = 0; i < THREADS_MOST; i++)
		if (&world.thread[i] != self && world.thread[i].asks == number_of_sock(sock) + 1)
			return sock->doubted = true;
	return false;
}

/* A call of the program's has returned a failure of the attempt. */
static void told(struct sock *sock, int error)
{
	int number = number_of_sock(sock);
	if (has_strayed(sock))
		return;
	if (sock->told != 0)
		violation("socket %d: a failure is told twice, %d and %d", number, sock->told, error);
	if (error != sock->last_error)
		violation("socket %d: %d is told, its last attempt has failed by %d", number, error, sock->last_error);
	if (sock->tcp == TCP_IS_TRYING)
		violation("socket %d: a failure is told while an attempt is under way", number);
	sock->told = error;
	self->seen[number] = false;
}

/* It takes the socket for connected. */
static void believed(struct sock *sock)
{
	if (!has_strayed(sock) && !sock->made && sock->told == 0 && !is_being_told(sock))
		violation("socket %d: a failure is taken for success", number_of_sock(sock));
	sock->exposed = true;
	self->seen[number_of_sock(sock)] = false;
}

static void shown(struct sock *sock, bool failed)
{
	self->seen[number_of_sock(sock)] = true;
	if (failed && sock->tcp != TCP_IS_MADE)
		sock->exposed = true;
}

/* The number may be another socket's now: then what was returned is of the one that it was. */
static struct sock *asked(int fd)
{
	struct sock *sock = sock_of(fd);
	if (sock == NULL)
		return NULL;
	sock_hold(sock);
	self->asks = (uint8_t)(number_of_sock(sock) + 1);
	self->asks_fd = (uint8_t)(fd + 1);
	return sock;
}

/* A wait begins. */
static struct sock *awaited(int fd)
{
	struct sock *sock = asked(fd);
	self->asks_fd = 0;
	self->awaited = self->asks;
	self->waits_sock = (int8_t)(sock != NULL ? number_of_sock(sock) : -1);
	for (int i = 0; i < THREADS_MOST; i++)
		if (sock != NULL && world.thread[i].connects == number_of_sock(sock) + 1)
			sock->strayed = true; /* before connect() has returned, the shim does not know of it: a limit, see model.h */
	return sock;
}

bool is_awaited(int fd)
{
	const struct sock *sock = sock_of(fd);
	return sock != NULL && number_of_sock(sock) + 1 == self->awaited;
}

static bool still(int fd, struct sock *sock)
{
	bool same = sock != NULL && sock_of(fd) == sock;
	if (!same && self->asks_fd != 0 && sock_of(fd) != NULL)
		sock_of(fd)->strayed = true;
	self->asks = self->asks_fd = 0;
	if (sock != NULL)
		sock_release(sock);
	return same;
}

/* ---- connect ---------------------------------------------------------------------------------------------------- */

static int connect_to(int fd, struct sock *sock)
{
	struct sockaddr_in address = address_of(sock->port);
	int before = sock->told;
	if (before != 0) { /* from here on it is another operation */
		sock->told = sock->attempts = sock->allowed = 0;
		sock->exposed = false;
	}
	/* Where it finds the socket between two attempts, it starts one by itself, and an operation of its own. */
	sock->allowed += (uint8_t)running->attempts;
	asked(fd);
	self->connects = self->asks;
	int error = connect(fd, (const struct sockaddr *)&address, sizeof address) == 0 ? 0 : errno;
	self->connects = 0;
	if (!still(fd, sock))
		return error;
	if (error == 0 || error == EISCONN)
		believed(sock);
	else if (error != EINPROGRESS && error != EALREADY)
		told(sock, error);
	return error == EISCONN ? 0 : error;
}

int begin_connect(int port)
{
	int fd = kernel_socket();
	struct sock *sock = sock_of(fd);
	sock->port = (uint16_t)port;
	connect_to(fd, sock);
	return fd;
}

int connect_more(int fd)
{
	struct sock *sock = sock_of(fd);
	return sock != NULL ? connect_to(fd, sock) : EBADF;
}

/* ---- waits --------------------------------------------------------------------------------------------------------- */

static void check_time(const char *what, int64_t start_ns, int timeout_ms)
{
	int64_t end_ns = start_ns + timeout_ms * NS_PER_MS;
	if (timeout_ms < 0)
		violation("%s ends without an event and without a time-out", what);
	if (world.now_ns < end_ns)
		violation("%s ends %lld ns early", what, (long long)(end_ns - world.now_ns));
	if (!running->hurried && world.now_ns > end_ns + NS_PER_MS)
		violation("%s ends %lld ns late", what, (long long)(world.now_ns - end_ns));
}

int await_poll(int fd, short events, int timeout_ms)
{
	int64_t start_ns = world.now_ns;
	struct pollfd polled = {.fd = fd, .events = events};
	struct sock *sock = awaited(fd);
	int result = poll(&polled, 1, timeout_ms);
	self->waits_sock = -1;
	if (result == 0)
		check_time("poll", start_ns, timeout_ms);
	if (result > 0 && polled.revents == 0)
		violation("poll returns %d and shows nothing", result);
	if (!still(fd, sock))
		return GONE;
	if (result > 0)
		shown(sock, (polled.revents & (POLLERR | POLLHUP)) != 0);
	return result > 0 ? polled.revents : result;
}

int await_select(int fd, int timeout_ms)
{
	int64_t start_ns = world.now_ns;
	struct timeval timeout = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
	struct sock *sock = awaited(fd);
	fd_set writing;
	FD_ZERO(&writing);
	FD_SET(fd, &writing);
	int result = select(fd + 1, NULL, &writing, NULL, timeout_ms >= 0 ? &timeout : NULL);
	self->waits_sock = -1;
	if (result == 0)
		check_time("select", start_ns, timeout_ms);
	if (result > 0 && !FD_ISSET(fd, &writing))
		violation("select returns %d and shows nothing", result);
	if (!still(fd, sock))
		return GONE;
	if (result > 0)
		shown(sock, sock->tcp != TCP_IS_MADE);
	return result;
}

int await_epoll(int epoll, int timeout_ms, struct epoll_event *event)
{
	int64_t start_ns = world.now_ns;
	self->waits_epoll = (int8_t)epoll_number(epoll);
	int result = epoll_wait(epoll, event, 1, timeout_ms);
	self->waits_epoll = -1;
	if (result == 0)
		check_time("epoll_wait", start_ns, timeout_ms);
	if (result <= 0)
		return result;
	int fd = event->data.fd, number = (int)(event->data.u64 >> 32);
	struct sock *sock = sock_of(fd);
	struct item *it = epoll_item(epoll_number(epoll), number, fd);
	if (it != NULL)
		it->fired = (it->given & EPOLLONESHOT) != 0;
	self->awaited = (uint8_t)(number + 1);
	if (sock != NULL && number_of_sock(sock) == number)
		shown(sock, (event->events & (EPOLLERR | EPOLLHUP)) != 0);
	return result;
}

void watch(int epoll, int operation, int fd, uint32_t events)
{
	struct sock *sock = sock_of(fd);
	if (sock == NULL)
		return;
	int number = number_of_sock(sock);
	/* The descriptor, as most programs; and whose it is, so that an event of before is known as that. */
	struct epoll_event event = {.events = events, .data.u64 = (uint64_t)number << 32 | (uint64_t)fd};
	struct item *it = epoll_item(epoll_number(epoll), number, fd);
	if (it != NULL) { /* before: the event may come before the call is over */
		it->given = events;
		it->fired = false;
	}
	if (epoll_ctl(epoll, operation, fd, &event) != 0 || operation == EPOLL_CTL_DEL)
		return;
	it = epoll_item(epoll_number(epoll), number, fd);
	if (it != NULL)
		it->given = events;
}

/* ---- questions --------------------------------------------------------------------------------------------------------- */

int ask_error(int fd)
{
	int error = 0;
	socklen_t size = sizeof error;
	struct sock *sock = asked(fd);
	bool seen = sock != NULL && self->seen[number_of_sock(sock)];
	int result = getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
	if (!still(fd, sock) || result != 0)
		return result != 0 ? errno : error;
	if (error != 0)
		told(sock, error);
	else if (seen)
		believed(sock);
	return error;
}

/* What send and recv have failed with. */
static void check_failed(struct sock *sock, bool was_exposed, const char *what, int error)
{
	if (error == EAGAIN && was_exposed && !has_strayed(sock) && sock->tcp != TCP_IS_MADE)
		violation("socket %d: %s says EAGAIN after the outcome was shown", number_of_sock(sock), what);
	bool is_later = error == EPIPE || error == ENOTCONN; /* what follows when the failure has been told */
	if (error == EAGAIN || sock->told != 0 || (is_later && is_being_told(sock)))
		return;
	told(sock, error);
}

int send_byte(int fd)
{
	struct sock *sock = asked(fd);
	bool was_exposed = sock != NULL && sock->exposed;
	int result = send(fd, "x", 1, MSG_NOSIGNAL) < 0 ? -errno : 1;
	if (!still(fd, sock))
		return result;
	if (result < 0)
		check_failed(sock, was_exposed, "send", -result);
	else
		believed(sock);
	return result;
}

int receive(int fd)
{
	char byte;
	struct sock *sock = asked(fd);
	bool was_exposed = sock != NULL && sock->exposed;
	int result = (int)recv(fd, &byte, 1, 0);
	int error = errno;
	if (!still(fd, sock))
		return result < 0 ? -error : result;
	if (result < 0)
		check_failed(sock, was_exposed, "recv", error);
	else if (sock->told == 0 && !is_being_told(sock))
		violation("socket %d: an end of file before its failure is told", number_of_sock(sock));
	return result < 0 ? -error : result;
}

/* ---- descriptors ----------------------------------------------------------------------------------------------------------- */

void close_it(int fd) { kernel_close(fd); }

int duplicate(int fd) { return kernel_dup(fd); }
