/* What the host programs of non-blocking connects share. WHERE, in their arguments, is a port of this host,
 * ADDRESS,PORT or the path of a unix socket. */
#ifndef HAZARDS_NONBLOCK_H
#define HAZARDS_NONBLOCK_H

#include <poll.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/un.h>

#include "host.h"

enum { LONG_MS = 10000 }; /* longer than any test waits: whoever sleeps that long has missed something */

static UNUSED long now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (long)(now.tv_sec % 1000000) * 1000 + now.tv_nsec / 1000000; /* a long may have 32 bits */
}

static UNUSED long cpu_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (long)(now.tv_sec % 1000000) * 1000 + now.tv_nsec / 1000000; /* a long may have 32 bits */
}

static UNUSED socklen_t unix_address(const char *path, struct sockaddr_storage *to)
{
	struct sockaddr_un *un = (struct sockaddr_un *)to;
	un->sun_family = AF_UNIX;
	snprintf(un->sun_path, sizeof un->sun_path, "%s", path);
	return sizeof *un;
}

static UNUSED socklen_t address_of(const char *where, struct sockaddr_storage *to)
{
	char host[64];
	struct sockaddr_in *in = (struct sockaddr_in *)to;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)to;
	const char *port = strchr(where, ',');
	memset(to, 0, sizeof *to);
	if (where[0] == '/')
		return unix_address(where, to);
	if (port == NULL) {
		*in = loopback(where);
		return sizeof *in;
	}
	snprintf(host, sizeof host, "%.*s", (int)(port - where), where);
	to->ss_family = inet_pton(AF_INET, host, &in->sin_addr) == 1 ? AF_INET : AF_INET6;
	in->sin_port = htons((uint16_t)atoi(port + 1)); /* the same place in both families */
	if (to->ss_family == AF_INET)
		return sizeof *in;
	if (inet_pton(AF_INET6, host, &in6->sin6_addr) != 1)
		broken("address");
	return sizeof *in6;
}

static UNUSED int socket_for(const char *where)
{
	struct sockaddr_storage to;
	address_of(where, &to);
	int fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		broken("socket");
	return fd;
}

/* connect(2); returns 0 or the errno. */
static UNUSED int connect_to(int fd, const char *where)
{
	struct sockaddr_storage to;
	socklen_t length = address_of(where, &to);
	return connect(fd, (const struct sockaddr *)&to, length) == 0 ? 0 : errno;
}

/* The program's first connect(2). What fails at once ends the scenario: no socket is left to wait for. */
static UNUSED void start_connect(int fd, const char *where)
{
	int error = connect_to(fd, where);
	say("start", error_name(error));
	if (error == EINPROGRESS)
		return;
	say("connect", error_name(error));
	exit(0);
}

static UNUSED int connecting(const char *where)
{
	int fd = socket_for(where);
	start_connect(fd, where);
	return fd;
}

static UNUSED int so_error(int fd)
{
	int error = -1;
	socklen_t length = sizeof error;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0)
		broken("SO_ERROR");
	return error;
}

static UNUSED const char *peer_error(int fd)
{
	struct sockaddr_storage peer;
	socklen_t length = sizeof peer;
	return getpeername(fd, (struct sockaddr *)&peer, &length) == 0 ? "ok" : error_name(errno);
}

/* Proves that the connection is one: what the server greets with. */
static UNUSED void say_greeting(int fd)
{
	char text[16] = "";
	struct timeval limit = {.tv_sec = 10};
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	if (read(fd, text, 5) < 0)
		snprintf(text, sizeof text, "%s", error_name(errno));
	say("greeting", text);
}

/* A wait has told of the socket: how its connect ended. */
static UNUSED int report(int fd)
{
	int error = so_error(fd);
	say("connect", error_name(error));
	say("error_again", error_name(so_error(fd)));
	if (error == 0)
		say_greeting(fd);
	close(fd);
	return 0;
}

/* Into the backoff, by a look that does not wait. Without the shim the look shows the failure. */
static UNUSED void back_off(int fd)
{
	struct pollfd polled = {.fd = fd, .events = POLLOUT};
	if (poll(&polled, 1, 0) != 0)
		exit(report(fd));
}

/* A socket that is backing off. */
static UNUSED int backing_off(const char *where)
{
	int fd = connecting(where);
	back_off(fd);
	return fd;
}

/* A pipe's two ends; neither is inherited. */
static UNUSED void open_pipe(int ends[2])
{
	if (pipe2(ends, O_CLOEXEC) != 0)
		broken("pipe");
}

static UNUSED void put_byte(int fd)
{
	if (write(fd, "x", 1) != 1)
		broken("write");
}

static UNUSED void take_byte(int fd)
{
	char byte;
	if (read(fd, &byte, 1) != 1)
		broken("read");
}

static UNUSED void allow_descriptors(rlim_t count)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_max < count)
		broken("RLIMIT_NOFILE");
	limit.rlim_cur = count;
	setrlimit(RLIMIT_NOFILE, &limit);
}

#endif
