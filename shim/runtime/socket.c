/* What a socket says about itself, and how many descriptors there may be. */
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "retryshim/runtime.h"

#ifndef SOCKET_COOKIE_INLINE
uint64_t socket_cookie(int socket)
{
	int errno_before = errno;
	uint64_t cookie = 0;
	socklen_t size = sizeof cookie;
	if (real_getsockopt()(socket, SOL_SOCKET, SO_COOKIE, &cookie, &size) != 0)
		cookie = 0;
	errno = errno_before;
	return cookie;
}
#endif

uint64_t socket_inode(int socket)
{
	struct stat status;
	return fstat(socket, &status) == 0 ? status.st_ino : 0;
}

int socket_pin(int socket, uint64_t cookie)
{
	/* Asked first: closing a duplicate of somebody's file would release its record locks (fcntl(2)). */
	if (socket_cookie(socket) != cookie) {
		errno = EBADF;
		return -1;
	}
	if (thread_is_alone())
		return socket;
	/* Not the lowest free number: another thread's next open should get what it would get without us. */
	int pin = fcntl(socket, F_DUPFD_CLOEXEC, 128);
	if (pin < 0 && errno == EINVAL) /* RLIMIT_NOFILE is lower than that */
		pin = fcntl(socket, F_DUPFD_CLOEXEC, 3);
	if (pin >= 0 && socket_cookie(pin) == cookie)
		return pin;
	if (pin >= 0) {
		close(pin);
		errno = EBADF;
	}
	return -1;
}

void socket_unpin(int pin, int socket)
{
	if (pin >= 0 && pin != socket)
		close(pin);
}

bool socket_is_stream(int socket)
{
	int type = 0;
	socklen_t size = sizeof type;
	return real_getsockopt()(socket, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
}

enum blocking socket_blocking(int socket)
{
	int flags = fcntl(socket, F_GETFL);
	if (flags < 0)
		return BLOCKING_UNKNOWN;
	return (flags & O_NONBLOCK) != 0 ? NON_BLOCKING : BLOCKING;
}

/* The kernel forgets the port that it chose itself when a connect fails (inet_unhash in
 * tcp_v4_connect's error path), so a port is the program's own choice. */
bool socket_is_bound(int socket)
{
	struct sockaddr_storage local = {0};
	socklen_t length = sizeof local;
	if (getsockname(socket, (struct sockaddr *)&local, &length) != 0)
		return false;
	if (local.ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)&local;
		return in->sin_port != 0 || in->sin_addr.s_addr != htonl(INADDR_ANY);
	}
	if (local.ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&local;
		return in6->sin6_port != 0 || !IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
	}
	return false;
}

bool socket_is_connected(int socket)
{
	struct sockaddr_storage peer;
	socklen_t length = sizeof peer;
	return getpeername(socket, (struct sockaddr *)&peer, &length) == 0;
}

enum socket_use socket_use(int socket)
{
	struct tcp_info info = {0};
	socklen_t size = sizeof info;
	if (real_getsockopt()(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0)
		return SOCKET_USED; /* SCTP, say */
	/* Kernels before 4.6 do not count segments of data. */
	if (size < offsetof(struct tcp_info, tcpi_data_segs_out) + sizeof info.tcpi_data_segs_out)
		return SOCKET_USED;
	/* Not one segment: it was reset since, perhaps by a process that shares it (tcp_disconnect in net/ipv4/tcp.c
	 * moves the sequence number on, so that bytes seem to wait). */
	if (info.tcpi_segs_out == 0)
		return SOCKET_UNANSWERED;
	if (info.tcpi_data_segs_out != 0 || info.tcpi_bytes_received != 0 || info.tcpi_notsent_bytes != 0)
		return SOCKET_USED;
	/* The handshake's own SYN counts as acknowledged. */
	return info.tcpi_bytes_acked != 0 ? SOCKET_ANSWERED : SOCKET_UNANSWERED;
}

void socket_drain_errors(int socket)
{
	int wanted = 0;
	socklen_t size = sizeof wanted;
	char data[1];
	struct iovec vector = {data, sizeof data};
	struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
	if (real_getsockopt()(socket, IPPROTO_IP, IP_RECVERR, &wanted, &size) == 0 && wanted != 0)
		return;
	size = sizeof wanted;
	if (real_getsockopt()(socket, IPPROTO_IPV6, IPV6_RECVERR, &wanted, &size) == 0 && wanted != 0)
		return;
	for (int i = 0; i < 16 && real_recvmsg()(socket, &message, MSG_ERRQUEUE | MSG_DONTWAIT) >= 0; i++)
		;
}

int descriptor_table_size(void)
{
	char text[1024];
	int file = open("/proc/thread-self/status", O_RDONLY | O_CLOEXEC);
	ssize_t got = file >= 0 ? read(file, text, sizeof text - 1) : -1;
	if (file >= 0)
		close(file);
	text[got > 0 ? got : 0] = '\0';
	const char *field = strstr(text, "\nFDSize:\t");
	long size = field != NULL ? strtol(field + 9, NULL, 10) : 0;
	return size > 0 && size < INT_MAX ? (int)size : FD_SETSIZE;
}

bool socket_is_v6_only(int socket)
{
	int only = 0;
	socklen_t size = sizeof only;
	return real_getsockopt()(socket, IPPROTO_IPV6, IPV6_V6ONLY, &only, &size) == 0 && only != 0;
}
