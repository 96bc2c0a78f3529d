/* N waits of a healthy program, on a pipe that is ready. Usage: waits N poll|epoll_wait|select|getsockopt */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int pair[2], epoll = epoll_create1(0), value;
	const char *how = argc > 2 ? argv[2] : "poll";
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
		return 1;
	struct pollfd polled = {.fd = pair[0], .events = POLLOUT};
	struct epoll_event event = {.events = EPOLLOUT};
	epoll_ctl(epoll, EPOLL_CTL_ADD, pair[0], &event);
	for (int left = argc > 1 ? atoi(argv[1]) : 1; left > 0; left--) {
		fd_set set;
		socklen_t size = sizeof value;
		FD_ZERO(&set);
		FD_SET(pair[0], &set);
		int result = strcmp(how, "poll") == 0         ? poll(&polled, 1, 0)
		             : strcmp(how, "epoll_wait") == 0 ? epoll_wait(epoll, &event, 1, 0)
		             : strcmp(how, "select") == 0     ? select(pair[0] + 1, NULL, &set, NULL, NULL)
		                                              : 1 + getsockopt(pair[0], SOL_SOCKET, SO_ERROR, &value, &size);
		if (result != 1)
			return 1;
	}
	return 0;
}
