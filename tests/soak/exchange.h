/* A request by hand on a socket of any kind, for the hosts without libcurl. */
#ifndef SOAK_EXCHANGE_H
#define SOAK_EXCHANGE_H

#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum way { BLOCKING, BY_POLL, BY_SELECT, BY_EPOLL, WAYS };

static inline long now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Whether the descriptor is ready for `events` (POLLIN, POLLOUT) within the time. */
static inline bool ready(int fd, short events, enum way way, long limit_ms)
{
	if (limit_ms <= 0)
		return false;
	if (way == BY_SELECT) {
		fd_set set;
		struct timeval limit = {.tv_sec = limit_ms / 1000, .tv_usec = limit_ms % 1000 * 1000};
		FD_ZERO(&set);
		FD_SET(fd, &set);
		return select(fd + 1, events == POLLIN ? &set : NULL, events == POLLOUT ? &set : NULL, NULL, &limit) == 1;
	}
	if (way == BY_EPOLL) {
		struct epoll_event event = {.events = events == POLLIN ? EPOLLIN : EPOLLOUT};
		int epoll = epoll_create1(EPOLL_CLOEXEC);
		bool is = epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0 && epoll_wait(epoll, &event, 1, (int)limit_ms) == 1;
		close(epoll);
		return is;
	}
	struct pollfd polled = {.fd = fd, .events = events};
	return poll(&polled, 1, (int)limit_ms) == 1;
}

/* By its name, now and then. */
static inline struct sockaddr_in find(const struct op *op)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((in_port_t)op->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct addrinfo *list, hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
	char port[8];
	snprintf(port, sizeof port, "%d", op->port);
	if (op->n % 8 == 3 && getaddrinfo("localhost", port, &hints, &list) == 0) {
		memcpy(&address, list->ai_addr, sizeof address);
		freeaddrinfo(list);
	}
	return address;
}

static inline bool reach(int fd, const struct op *op, enum way way)
{
	struct sockaddr_in address = find(op);
	int error = 0;
	socklen_t length = sizeof error;
	if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
		return true;
	return way != BLOCKING && errno == EINPROGRESS && ready(fd, POLLOUT, way, op->limit_ms) &&
	       getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error == 0;
}

/* The whole answer, up to the end of the stream. */
static inline int read_answer(int fd, const struct op *op, enum way way)
{
	char text[BODY_SIZE + 512];
	size_t length = 0;
	int status = 0;
	size_t size = 0;
	for (long end = now_ms() + op->limit_ms; length < sizeof text - 1;) {
		if (!ready(fd, POLLIN, way, end - now_ms()))
			return LOST;
		ssize_t more = recv(fd, text + length, sizeof text - 1 - length, 0);
		if (more < 0)
			return LOST;
		if (more == 0)
			break;
		length += (size_t)more;
	}
	text[length] = '\0';
	const char *body = strstr(text, "\r\n\r\n"), *field = strstr(text, "Content-Length: ");
	if (!body || !field || sscanf(text, "HTTP/1.1 %d", &status) != 1 || sscanf(field, "Content-Length: %zu", &size) != 1)
		return LOST;
	struct answer answer = {.length = strlen(body + 4)};
	if (answer.length < size || answer.length > BODY_SIZE)
		return LOST;
	memcpy(answer.body, body + 4, answer.length);
	return judged(op, status, &answer);
}

static inline int exchange(const struct op *op, enum way way)
{
	char request[512];
	int result = LOST, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (way == BLOCKING ? 0 : SOCK_NONBLOCK), 0);
	int length = snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", op->method, op->path,
	                      *op->method == 'G' ? 0 : 4, *op->method == 'G' ? "" : "abcd");
	if (reach(fd, op, way) && send(fd, request, (size_t)length, MSG_NOSIGNAL) == length)
		result = read_answer(fd, op, way);
	close(fd);
	return result;
}

#endif
