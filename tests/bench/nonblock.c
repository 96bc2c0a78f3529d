/* N healthy non-blocking connects to a listener of our own, each with its wait and SO_ERROR.
 * Usage: nonblock N poll|epoll|select */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

static int wait_by_poll(int fd)
{
	struct pollfd polled = {.fd = fd, .events = POLLOUT};
	return poll(&polled, 1, 1000);
}

static int wait_by_epoll(int fd)
{
	static int epoll = -1;
	struct epoll_event event = {.events = EPOLLOUT, .data.fd = fd};
	if (epoll < 0)
		epoll = epoll_create1(0);
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		return -1;
	return epoll_wait(epoll, &event, 1, 1000);
}

static int wait_by_select(int fd)
{
	fd_set set;
	struct timeval limit = {.tv_sec = 1};
	FD_ZERO(&set);
	FD_SET(fd, &set);
	return select(fd + 1, NULL, &set, NULL, &limit);
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof address;
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	const char *how = argc > 2 ? argv[2] : "poll";
	if (bind(listener, (struct sockaddr *)&address, length) != 0 || listen(listener, 16) != 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &length) != 0)
		return 1;
	for (int left = argc > 1 ? atoi(argv[1]) : 1; left > 0; left--) {
		int client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), error = -1;
		socklen_t size = sizeof error;
		if (connect(client, (struct sockaddr *)&address, length) == 0 || errno != EINPROGRESS)
			return 1;
		int ready = strcmp(how, "poll") == 0 ? wait_by_poll(client) : strcmp(how, "epoll") == 0 ? wait_by_epoll(client) : wait_by_select(client);
		if (ready != 1 || getsockopt(client, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0)
			return 1;
		close(accept(listener, NULL, NULL));
		close(client);
	}
	return 0;
}
