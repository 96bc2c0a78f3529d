/* Many non-blocking connects in one event loop, and threads that misuse their descriptors. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

#include "host.h"

enum { MOST = 5000 };

static int begin_connect(const struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		broken("socket");
	if (connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 && errno != EINPROGRESS)
		broken("connect");
	return fd;
}

static int error_of(int fd)
{
	int error = -1;
	socklen_t size = sizeof error;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
		broken("getsockopt");
	return error;
}

static double cpu_seconds(void)
{
	struct timespec used;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

static struct {
	int fd;
	int events;
} members[MOST];

/* PORT COUNT MODE: level or edge; `pointer` data. All must connect, each with one event. */
static int loop(char **arguments)
{
	static struct epoll_event events[MOST];
	const struct sockaddr_in address = loopback(arguments[0]);
	long count = atol(arguments[1]), connected = 0, doubled = 0, failed = 0;
	bool edge = strcmp(arguments[2], "edge") == 0;
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	double before = cpu_seconds();
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){MOST + 64, MOST + 64});
	for (long i = 0; i < count; i++) {
		members[i].fd = begin_connect(&address);
		struct epoll_event event = {.events = edge ? EPOLLOUT | EPOLLET : EPOLLOUT, .data.ptr = &members[i]};
		if (epoll_ctl(epoll, EPOLL_CTL_ADD, members[i].fd, &event) != 0)
			broken("epoll_ctl");
	}
	while (connected + failed < count) {
		int ready = epoll_wait(epoll, events, MOST, 20000);
		if (ready <= 0)
			broken("epoll_wait");
		for (int i = 0; i < ready; i++) {
			typeof(&members[0]) member = events[i].data.ptr;
			doubled += member->events++ != 0;
			if ((events[i].events & (EPOLLERR | EPOLLHUP)) != 0 || error_of(member->fd) != 0)
				failed++;
			else
				connected++;
			if (!edge)
				epoll_ctl(epoll, EPOLL_CTL_DEL, member->fd, NULL);
		}
	}
	say_number("cpu_ms", (long)((cpu_seconds() - before) * 1000));
	/* What is still to come would come now. */
	doubled += epoll_wait(epoll, events, MOST, 50);
	say_number("connected", connected);
	say_number("failed", failed);
	say_number("doubled", doubled);
	return 0;
}

/* ---- descriptors that are closed and reused while they back off ---------------------------------- */

static struct sockaddr_in refused;
static _Atomic(int) stop;

/* Connects to the port that refuses, waits a little or not at all, closes in one of several ways. */
static void *abuses(void *seed)
{
	unsigned random = (unsigned)(uintptr_t)seed;
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	while (!stop) {
		int fd = begin_connect(&refused);
		struct pollfd polled = {.fd = fd, .events = POLLOUT};
		struct epoll_event event = {.events = EPOLLOUT, .data.fd = fd};
		switch (rand_r(&random) % 4) {
		case 0: poll(&polled, 1, 0); break;
		case 1: poll(&polled, 1, rand_r(&random) % 4); break;
		case 2:
			epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
			epoll_wait(epoll, &event, 1, rand_r(&random) % 4);
			break;
		default: error_of(fd);
		}
		if (rand_r(&random) % 4 == 0) {
			int copy = dup(fd);
			poll(&(struct pollfd){.fd = copy, .events = POLLOUT}, 1, rand_r(&random) % 2);
			close(copy);
		}
		close(fd);
	}
	close(epoll);
	return NULL;
}

/* Makes sockets that are never connected, on the numbers that the others have just closed; whoever
 * connects one of them was not the program. */
static void *guards(void *count)
{
	long foreign = 0;
	while (!stop) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		struct sockaddr_in peer;
		socklen_t size = sizeof peer;
		char byte;
		for (int turn = 0; turn < 20; turn++)
			foreign += getpeername(fd, (struct sockaddr *)&peer, &size) == 0 || errno != ENOTCONN ||
			           recv(fd, &byte, 1, 0) != -1 || errno != ENOTCONN || error_of(fd) != 0;
		close(fd);
	}
	*(long *)count = foreign;
	return NULL;
}

/* PORT THREADS SECONDS: the port refuses at first. */
static int reuse(char **arguments)
{
	enum { THREADS = 16 };
	pthread_t thread[2 * THREADS];
	long foreign[THREADS] = {0}, all = 0, threads = atol(arguments[1]);
	struct descriptors before;
	refused = loopback(arguments[0]);
	descriptors_read(&before);
	for (long i = 0; i < threads; i++) {
		pthread_create(&thread[i], NULL, abuses, (void *)(uintptr_t)(i + 1));
		pthread_create(&thread[threads + i], NULL, guards, &foreign[i]);
	}
	nanosleep(&(struct timespec){.tv_sec = atol(arguments[2])}, NULL);
	stop = 1;
	for (long i = 0; i < 2 * threads; i++)
		pthread_join(thread[i], NULL);
	for (long i = 0; i < threads; i++)
		all += foreign[i];
	say_number("foreign", all);
	/* Backoffs that nobody waits for end here. */
	for (int i = 0; i < 50; i++)
		poll(NULL, 0, 10);
	say_descriptors(&before);
	return 0;
}

static const struct scenario scenarios[] = {{"loop", loop}, {"reuse", reuse}};

int main(int argc, char **argv)
{
	return RUN_SCENARIO(scenarios, argc, argv);
}
