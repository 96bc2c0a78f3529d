/* A thread is cancelled in a wait while nothing is pending: unwinding goes through the wait's frame into the caller's, whose
 * cleanup runs. Built with -fexceptions. Usage: unwound WAIT */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "host.h"

static const char *name;
static int cleaned;
static _Atomic(pid_t) waiting; /* the thread */

static void clean(const volatile int *kept)
{
	if (*kept == 42)
		cleaned++;
}

static int wait_by(int fd)
{
	struct pollfd polled = {.fd = fd, .events = POLLIN};
	struct epoll_event event = {.events = EPOLLIN};
	const struct timespec limit = {.tv_sec = 60};
	struct timeval span = {.tv_sec = 60};
	int epoll = epoll_create1(0);
	fd_set set;
	FD_ZERO(&set);
	FD_SET(fd, &set);
	epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
	if (strcmp(name, "poll") == 0)
		return poll(&polled, 1, 60000);
	if (strcmp(name, "ppoll") == 0)
		return ppoll(&polled, 1, &limit, NULL);
	if (strcmp(name, "select") == 0)
		return select(fd + 1, &set, NULL, NULL, &span);
	if (strcmp(name, "pselect") == 0)
		return pselect(fd + 1, &set, NULL, NULL, &limit, NULL);
	if (strcmp(name, "epoll_wait") == 0)
		return epoll_wait(epoll, &event, 1, 60000);
	if (strcmp(name, "epoll_pwait") == 0)
		return epoll_pwait(epoll, &event, 1, 60000, NULL);
	return epoll_pwait2(epoll, &event, 1, &limit, NULL);
}

static void *waits(void *ends)
{
	/* Its address is in a frame below which the wait's lies. */
	volatile int kept __attribute__((cleanup(clean))) = 42;
	waiting = gettid();
	say("woken", wait_by(*(int *)ends) < 0 ? "failed" : "ready");
	return NULL;
}

static bool sleeps(void)
{
	char path[64], state = '?';
	snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)waiting);
	FILE *file = fopen(path, "r");
	if (file == NULL || fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		state = '?';
	if (file != NULL)
		fclose(file);
	return state == 'S';
}

int main(int argc, char **argv)
{
	int ends[2];
	pthread_t thread;
	void *result;
	name = argc > 1 ? argv[1] : "poll";
	if (pipe(ends) != 0 || pthread_create(&thread, NULL, waits, ends) != 0)
		return 1;
	while (waiting == 0 || !sleeps())
		usleep(1000);
	pthread_cancel(thread);
	pthread_join(thread, &result);
	say("thread", result == PTHREAD_CANCELED ? "cancelled" : "returned");
	say("cleaned", cleaned == 1 ? "yes" : "no");
	return 0;
}
