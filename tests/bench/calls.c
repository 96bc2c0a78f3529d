/* N calls of a healthy program on descriptors that are ready.
 * Usage: calls N poll|epoll_wait|select|getsockopt|read-write|send-recv|getaddrinfo|dlopen */
#include <dlfcn.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

static int pair[2], epoll;

static int by_poll(void)
{
	struct pollfd polled = {.fd = pair[0], .events = POLLOUT};
	return poll(&polled, 1, 0) == 1;
}

static int by_epoll_wait(void)
{
	struct epoll_event event;
	return epoll_wait(epoll, &event, 1, 0) == 1;
}

static int by_select(void)
{
	fd_set set;
	FD_ZERO(&set);
	FD_SET(pair[0], &set);
	return select(pair[0] + 1, NULL, &set, NULL, NULL) == 1;
}

static int by_getsockopt(void)
{
	int value;
	socklen_t size = sizeof value;
	return getsockopt(pair[0], SOL_SOCKET, SO_ERROR, &value, &size) == 0;
}

static int by_read_and_write(void)
{
	char byte = 'x';
	return write(pair[0], &byte, 1) == 1 && read(pair[1], &byte, 1) == 1;
}

static int by_send_and_recv(void)
{
	char byte = 'x';
	return send(pair[0], &byte, 1, 0) == 1 && recv(pair[1], &byte, 1, 0) == 1;
}

static int by_getaddrinfo(void)
{
	struct addrinfo *list, hints = {.ai_socktype = SOCK_STREAM};
	if (getaddrinfo("127.0.0.1", "80", &hints, &list) != 0)
		return 0;
	freeaddrinfo(list);
	return 1;
}

/* One that is loaded already. */
static int by_dlopen(void)
{
	void *library = dlopen("libc.so.6", RTLD_NOW);
	return library != NULL && dlclose(library) == 0;
}

static const struct {
	const char *name;
	int (*call)(void);
} calls[] = {
	{"poll", by_poll},
	{"epoll_wait", by_epoll_wait},
	{"select", by_select},
	{"getsockopt", by_getsockopt},
	{"read-write", by_read_and_write},
	{"send-recv", by_send_and_recv},
	{"getaddrinfo", by_getaddrinfo},
	{"dlopen", by_dlopen},
};

int main(int argc, char **argv)
{
	struct epoll_event event = {.events = EPOLLOUT};
	epoll = epoll_create1(0);
	if (argc < 3 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, pair[0], &event) != 0)
		return 2;
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
		if (strcmp(calls[i].name, argv[2]) != 0)
			continue;
		for (int left = atoi(argv[1]); left > 0; left--)
			if (!calls[i].call())
				return 1;
		return 0;
	}
	return 2;
}
