/* Each of the waits by its name, for a descriptor to be readable. */
#ifndef HAZARDS_EVERY_WAIT_H
#define HAZARDS_EVERY_WAIT_H

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "host.h"

/* Waits at most a minute; returns what the wait returns. */
static UNUSED int wait_by(const char *name, int fd)
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

#endif
