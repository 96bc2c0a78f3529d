/* Sockets and descriptors. What a call answers is what Linux answers: __inet_stream_connect in net/ipv4/af_inet.c, tcp_poll,
 * tcp_sendmsg_locked, tcp_recvmsg_locked and tcp_disconnect in net/ipv4/tcp.c, tcp_reset in net/ipv4/tcp_input.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "kernel.h"

/* ---- descriptors ----------------------------------------------------------------------------------------- */

int fd_slot(int fd)
{
	if (fd >= 0 && fd < LOW_FDS)
		return fd;
	return fd >= HIGH_FD && fd < HIGH_FD + FDS - LOW_FDS ? fd - HIGH_FD + LOW_FDS : -1;
}

static int fd_of_slot(int slot) { return slot < LOW_FDS ? slot : slot - LOW_FDS + HIGH_FD; }

struct sock *sock_of(int fd)
{
	int slot = fd_slot(fd);
	bool is_sock = slot >= 0 && world.fd[slot] != 0 && world.fd[slot] < EPOLL_FD;
	return is_sock ? &world.sock[world.fd[slot] - 1] : NULL;
}

int number_of_sock(const struct sock *sock) { return (int)(sock - world.sock); }

/* Numbers are objects of their own: who opens looks at those below. */
static int take_fd(int object, int least)
{
	for (int slot = 0; slot < FDS; slot++) {
		if (fd_of_slot(slot) < least || world.fd[slot] != 0)
			continue;
		world.fd[slot] = (uint8_t)object;
		return fd_of_slot(slot);
	}
	violation("the model has too little room");
}

/* Opening and closing are told from all else by one object: rare, and everybody's. */
static char numbers;

void kernel_call(const char *what, int fd, bool writes)
{
	const struct sock *sock = sock_of(fd);
	bool shared = touched(&numbers, false);
	if (sock != NULL)
		shared = touched(sock, writes) || shared;
	self->at_socks = sock != NULL && sock->tcp == TCP_IS_TRYING ? (uint8_t)(1 << number_of_sock(sock)) : 0;
	if (shared || self->at_socks != 0)
		point(what, fd);
	self->at_socks = 0;
}

static void opening(const char *what, int fd)
{
	if (touched(&numbers, true))
		point(what, fd);
}

int kernel_socket(void)
{
	opening("socket", -1);
	int i = 0;
	while (i < SOCKETS && world.sock[i].used)
		i++;
	if (i == SOCKETS)
		violation("the model has too little room");
	world.sock[i] = (struct sock){.used = true, .nonblocking = true};
	sock_hold(&world.sock[i]);
	return take_fd(i + 1, 0);
}

static int duplicate_from(int fd, int least)
{
	opening("dup", fd);
	struct sock *sock = sock_of(fd);
	if (sock == NULL) {
		errno = EBADF;
		return -1;
	}
	sock_hold(sock);
	return take_fd(number_of_sock(sock) + 1, least);
}

int kernel_dup(int fd) { return duplicate_from(fd, 0); }

int kernel_close(int fd)
{
	opening("close", fd);
	struct sock *sock = sock_of(fd);
	if (sock == NULL) {
		errno = EBADF;
		return -1;
	}
	world.fd[fd_slot(fd)] = 0;
	sock_release(sock);
	return 0;
}

void sock_hold(struct sock *sock) { sock->holds++; }

void sock_release(struct sock *sock)
{
	if (--sock->holds > 0)
		return;
	epoll_forget(number_of_sock(sock));
	sock->tcp = TCP_IS_CLOSED;
	sock->shut = true;
}

/* ---- what becomes of a socket ------------------------------------------------------------------------------- */

uint32_t sock_events(const struct sock *sock)
{
	uint32_t events = 0;
	if (sock->tcp == TCP_IS_CLOSED)
		events |= EPOLLHUP;
	if (sock->shut)
		events |= EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
	if (sock->tcp != TCP_IS_TRYING)
		events |= EPOLLOUT | EPOLLWRNORM;
	if (sock->error != 0)
		events |= EPOLLERR;
	return events;
}

/* The errors differ, so that it shows whose is told. */
static int error_of(const struct sock *sock)
{
	static const int errors[] = {ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH};
	return errors[(sock->attempts - 1) % 3];
}

void sock_resolve(struct sock *sock, enum outcome outcome)
{
	int number = number_of_sock(sock);
	sock->made = outcome != REFUSED;
	sock->answered = outcome != REFUSED;
	sock->tcp = outcome == MADE ? TCP_IS_MADE : TCP_IS_CLOSED;
	sock->shut = outcome != MADE;
	if (outcome != MADE) {
		sock->error = sock->last_error = outcome == REFUSED ? error_of(sock) : ECONNRESET;
		epoll_wake(number, EPOLLERR);
	}
	epoll_wake(number, 0);
}

/* tcp_disconnect() */
static void reset(struct sock *sock)
{
	sock->tcp = TCP_IS_CLOSED;
	sock->link = UNCONNECTED;
	sock->shut = false;
	sock->error = 0;
	sock->segments = sock->sent = sock->answered = 0;
	epoll_wake(number_of_sock(sock), EPOLLERR);
}

static int take_error(struct sock *sock)
{
	int error = sock->error;
	sock->error = 0;
	return error;
}

/* ---- connect ------------------------------------------------------------------------------------------------ */

static int start(struct sock *sock, uint16_t port)
{
	truth_attempt(sock, port);
	sock->attempts++;
	sock->made = false;
	if ((running->at_once & 1 << (sock->attempts - 1)) != 0)
		return sock->last_error = ENETUNREACH;
	sock->tcp = TCP_IS_TRYING;
	sock->link = CONNECTING;
	sock->shut = false;
	sock->segments = 1;
	sock->sent = sock->answered = 0;
	return EINPROGRESS;
}

static int connect_sock(struct sock *sock, const struct sockaddr *address)
{
	int error;
	if (address->sa_family == AF_UNSPEC) {
		reset(sock);
		return 0;
	}
	if (sock->link == CONNECTED)
		return EISCONN;
	if (sock->link == UNCONNECTED)
		return sock->tcp != TCP_IS_CLOSED ? EISCONN : start(sock, ntohs(((const struct sockaddr_in *)address)->sin_port));
	if (sock->tcp == TCP_IS_TRYING)
		return EALREADY;
	if (sock->tcp == TCP_IS_MADE) {
		sock->link = CONNECTED;
		return 0;
	}
	error = take_error(sock);
	reset(sock);
	return error != 0 ? error : ECONNABORTED;
}

/* What a call returns, with errno. */
static int answer(int error)
{
	if (error == 0)
		return 0;
	errno = error;
	return -1;
}

int kernel_connect(int fd, const struct sockaddr *address, socklen_t length)
{
	(void)length;
	kernel_call("connect", fd, true);
	struct sock *sock = sock_of(fd);
	return answer(sock != NULL ? connect_sock(sock, address) : EBADF);
}

/* ---- questions ------------------------------------------------------------------------------------------------ */

static void fill(void *value, socklen_t *length, const void *from, size_t size)
{
	if (*length < size)
		size = *length;
	memcpy(value, from, size);
	*length = (socklen_t)size;
}

static bool answer_tcp(const struct sock *sock, int name, void *value, socklen_t *length)
{
	struct tcp_info info = {.tcpi_segs_out = sock->segments, .tcpi_data_segs_out = sock->sent, .tcpi_bytes_acked = sock->answered};
	if (name == TCP_INFO)
		fill(value, length, &info, sizeof info);
	return name == TCP_INFO;
}

static bool answer_socket(struct sock *sock, int name, void *value, socklen_t *length)
{
	uint64_t cookie = (uint64_t)number_of_sock(sock) + 1;
	struct timeval none = {0};
	int number = SOCK_STREAM;
	switch (name) {
	case SO_COOKIE: fill(value, length, &cookie, sizeof cookie); return true;
	case SO_SNDTIMEO: fill(value, length, &none, sizeof none); return true;
	case SO_ERROR: number = take_error(sock); break;
	case SO_TYPE: break;
	default: return false;
	}
	fill(value, length, &number, sizeof number);
	return true;
}

int kernel_getsockopt(int fd, int level, int name, void *value, socklen_t *length)
{
	int none = 0;
	bool known = true;
	kernel_call(name == SO_ERROR && level == SOL_SOCKET ? "SO_ERROR" : level == IPPROTO_TCP ? "TCP_INFO" : "getsockopt", fd,
	            level == SOL_SOCKET && name == SO_ERROR);
	struct sock *sock = sock_of(fd);
	if (sock == NULL)
		return answer(EBADF);
	switch (level) {
	case SOL_SOCKET: known = answer_socket(sock, name, value, length); break;
	case IPPROTO_TCP: known = answer_tcp(sock, name, value, length); break;
	default: fill(value, length, &none, sizeof none);
	}
	return answer(known ? 0 : ENOPROTOOPT);
}

int kernel_getpeername(int fd, struct sockaddr *address, socklen_t *length)
{
	(void)address, (void)length;
	kernel_call("getpeername", fd, false);
	const struct sock *sock = sock_of(fd);
	if (sock == NULL)
		return answer(EBADF);
	return answer(sock->tcp == TCP_IS_MADE ? 0 : ENOTCONN);
}

int kernel_getsockname(int fd, struct sockaddr *address, socklen_t *length)
{
	struct sockaddr_in none = {.sin_family = AF_INET};
	kernel_call("getsockname", fd, false);
	fill(address, length, &none, sizeof none);
	return answer(sock_of(fd) != NULL ? 0 : EBADF);
}

int kernel_fcntl(int fd, int command, ...)
{
	va_list arguments;
	va_start(arguments, command);
	int argument = va_arg(arguments, int);
	va_end(arguments);
	if (command == F_DUPFD_CLOEXEC)
		return duplicate_from(fd, argument);
	kernel_call("F_GETFL", fd, false);
	const struct sock *sock = sock_of(fd);
	if (sock == NULL)
		return answer(EBADF);
	return sock->nonblocking ? O_RDWR | O_NONBLOCK : O_RDWR;
}

int kernel_fstat(int fd, struct stat *status)
{
	kernel_call("fstat", fd, false);
	const struct sock *sock = sock_of(fd);
	if (sock == NULL)
		return answer(EBADF);
	status->st_ino = inode_of(number_of_sock(sock));
	return 0;
}

/* ---- data ------------------------------------------------------------------------------------------------------- */

ssize_t kernel_send(int fd, const void *data, size_t size, int flags)
{
	(void)data, (void)flags;
	kernel_call("send", fd, true);
	struct sock *sock = sock_of(fd);
	if (sock == NULL)
		return answer(EBADF);
	if (sock->tcp == TCP_IS_TRYING)
		return answer(EAGAIN);
	if (sock->error != 0)
		return answer(take_error(sock));
	if (sock->tcp == TCP_IS_CLOSED)
		return answer(EPIPE);
	sock->sent += (uint8_t)size;
	return (ssize_t)size;
}

ssize_t kernel_recv(int fd, void *data, size_t size, int flags)
{
	(void)data, (void)size, (void)flags;
	kernel_call("recv", fd, true);
	struct sock *sock = sock_of(fd);
	if (sock == NULL)
		return answer(EBADF);
	if (sock->error != 0)
		return answer(take_error(sock));
	if (sock->shut)
		return 0;
	return answer(sock->tcp == TCP_IS_CLOSED ? ENOTCONN : EAGAIN);
}

/* Of the error queue alone. */
ssize_t kernel_recvmsg(int fd, struct msghdr *message, int flags)
{
	(void)message, (void)flags;
	kernel_call("recvmsg", fd, false);
	return answer(EAGAIN);
}
