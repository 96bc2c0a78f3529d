#include "net.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <linux/sockios.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

int64_t net_now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static struct timespec to_timespec(int64_t ns)
{
	return (struct timespec){.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
}

void net_pause(int64_t ns)
{
	struct timespec left = to_timespec(ns);
	while (ns > 0 && clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
		;
}

static struct addrinfo *resolve(const char *host, const char *port, int flags, int *failure)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags};
	struct addrinfo *list = NULL;
	*failure = getaddrinfo(host, port, &hints, &list);
	return *failure ? NULL : list;
}

bool net_is_address(const char *address)
{
	int failure;
	struct addrinfo *list = resolve(address, NULL, AI_NUMERICHOST, &failure);
	if (list)
		freeaddrinfo(list);
	return list != NULL;
}

static void set_port(struct sockaddr_storage *address, uint16_t port)
{
	if (address->ss_family == AF_INET6)
		((struct sockaddr_in6 *)address)->sin6_port = htons(port);
	else
		((struct sockaddr_in *)address)->sin_port = htons(port);
}

static uint16_t get_port(const struct sockaddr_storage *address)
{
	return ntohs(address->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)address)->sin6_port
						    : ((const struct sockaddr_in *)address)->sin_port);
}

static int bound(const struct sockaddr *address, socklen_t length)
{
	const int on = 1;
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	/* A fixed port must be free again for the next server while old connections are in TIME_WAIT. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, address, length) == 0)
		return fd;
	int error = errno;
	close(fd);
	errno = error;
	return -1;
}

int net_bind_tcp(const char *address, uint16_t *port)
{
	int failure;
	struct addrinfo *list = resolve(address, NULL, AI_NUMERICHOST, &failure);
	if (!list) {
		errno = EINVAL;
		return -1;
	}
	struct sockaddr_storage storage = {0};
	socklen_t length = list->ai_addrlen;
	memcpy(&storage, list->ai_addr, length);
	freeaddrinfo(list);
	set_port(&storage, *port);
	int fd = bound((struct sockaddr *)&storage, length);
	if (fd >= 0 && getsockname(fd, (struct sockaddr *)&storage, &length) == 0)
		*port = get_port(&storage);
	return fd;
}

int net_bind_unix(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(address.sun_path, path, strlen(path) + 1);
	return bound((struct sockaddr *)&address, sizeof(address));
}

int net_connect(const char *host, const char *port, const char **error)
{
	int failure;
	int fd = -1;
	struct addrinfo *list = resolve(host, port, 0, &failure);
	*error = failure ? gai_strerror(failure) : "no address";
	for (const struct addrinfo *entry = list; entry && fd < 0; entry = entry->ai_next) {
		fd = socket(entry->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd >= 0 && connect(fd, entry->ai_addr, entry->ai_addrlen) == 0)
			break;
		*error = strerrordesc_np(errno);
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	if (list)
		freeaddrinfo(list);
	return fd;
}

bool net_wait(int fd, short events, int64_t wait_ns)
{
	int64_t end_ns = net_now_ns() + wait_ns;
	struct pollfd entry = {.fd = fd, .events = events};
	for (;;) {
		struct timespec left = to_timespec(wait_ns > 0 ? wait_ns : 0);
		int ready = ppoll(&entry, 1, wait_ns < 0 ? NULL : &left, NULL);
		if (ready >= 0 || errno != EINTR)
			return ready > 0;
		if (wait_ns >= 0)
			wait_ns = end_ns > net_now_ns() ? end_ns - net_now_ns() : 0;
	}
}

bool net_send(int fd, const void *data, size_t length)
{
	const char *at = data;
	while (length > 0) {
		ssize_t sent = send(fd, at, length, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return false;
		at += sent;
		length -= (size_t)sent;
	}
	return true;
}

void net_wait_for_close(int fd, int64_t wait_ns)
{
	char unwanted[4096];
	int64_t end_ns = net_now_ns() + wait_ns;
	for (;;) {
		int64_t left = wait_ns < 0 ? -1 : end_ns - net_now_ns();
		if ((wait_ns >= 0 && left <= 0) || !net_wait(fd, POLLIN, left))
			return;
		ssize_t got = recv(fd, unwanted, sizeof(unwanted), 0);
		if (got == 0 || (got < 0 && errno != EINTR))
			return;
	}
}

void net_close(int fd)
{
	if (shutdown(fd, SHUT_WR) == 0)
		net_wait_for_close(fd, CLOSE_GRACE_NS);
	close(fd);
}

void net_reset(int fd)
{
	/* A reset throws away what the peer has not acknowledged (tcp_disconnect() in the kernel), and
	 * nothing but this counter tells when that is over. */
	int unsent = 0;
	for (int ms = 0; ms < 1000 && ioctl(fd, SIOCOUTQ, &unsent) == 0 && unsent > 0; ms++)
		net_pause(NS_PER_MS);
	const struct linger now = {.l_onoff = 1, .l_linger = 0};
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}
