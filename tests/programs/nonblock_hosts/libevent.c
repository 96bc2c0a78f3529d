/* Asks for /late by libevent and prints the answer; arguments: the port, `buffered' or `plain', the backend wanted. */
#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char request[] = "GET /late HTTP/1.0\r\n\r\n";
static char buffer[65536];

static void fail(int error)
{
	fprintf(stderr, "%s\n", strerror(error));
	exit(1);
}

/* ---- a bufferevent: libevent connects, and reads the result --------------------------------------- */

static void on_data(struct bufferevent *buffered, void *base)
{
	(void)base;
	size_t got = bufferevent_read(buffered, buffer, sizeof(buffer));
	fwrite(buffer, 1, got, stdout);
}

static void on_event(struct bufferevent *buffered, short what, void *base)
{
	if (what & BEV_EVENT_ERROR)
		fail(EVUTIL_SOCKET_ERROR());
	if (what & BEV_EVENT_CONNECTED)
		bufferevent_write(buffered, request, strlen(request));
	if (what & BEV_EVENT_EOF)
		event_base_loopbreak(base);
}

static void start_buffered(struct event_base *base, const struct sockaddr_in *address)
{
	struct bufferevent *buffered = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
	bufferevent_setcb(buffered, on_data, NULL, on_event, base);
	bufferevent_enable(buffered, EV_READ);
	if (bufferevent_socket_connect(buffered, (const struct sockaddr *)address, sizeof(*address)) != 0)
		fail(EVUTIL_SOCKET_ERROR());
}

/* ---- plain events: the program connects, and reads SO_ERROR ---------------------------------------- */

static struct event event;

static void on_readable(evutil_socket_t socket, short what, void *base)
{
	(void)what;
	ssize_t got = read(socket, buffer, sizeof(buffer));
	if (got < 0)
		fail(errno);
	fwrite(buffer, 1, (size_t)got, stdout);
	if (got == 0)
		event_base_loopbreak(base);
}

static void on_writable(evutil_socket_t socket, short what, void *base)
{
	(void)what;
	int error;
	socklen_t length = sizeof(error);
	if (getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &length) != 0 || error != 0)
		fail(error);
	if (write(socket, request, strlen(request)) < 0)
		fail(errno);
	event_assign(&event, base, socket, EV_READ | EV_PERSIST, on_readable, base);
	event_add(&event, NULL);
}

static void start_plain(struct event_base *base, const struct sockaddr_in *address)
{
	int socket_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (connect(socket_fd, (const struct sockaddr *)address, sizeof(*address)) != 0 && errno != EINPROGRESS)
		fail(errno);
	event_assign(&event, base, socket_fd, EV_WRITE, on_writable, base);
	event_add(&event, NULL);
}

int main(int argc, char **argv)
{
	struct event_base *base = event_base_new();
	if (argc != 4 || strcmp(event_base_get_method(base), argv[3]) != 0) {
		fprintf(stderr, "backend: %s\n", event_base_get_method(base));
		return 2;
	}
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])),
	                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	(strcmp(argv[2], "buffered") == 0 ? start_buffered : start_plain)(base, &address);
	return event_base_dispatch(base);
}
