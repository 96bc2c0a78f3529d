/* What the hosts of poll and select share: one look at descriptors, by any of the calls. */
#ifndef HAZARDS_WAITS_H
#define HAZARDS_WAITS_H

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/select.h>
#include "nonblock.h"

enum { SET_BITS = 4096, WORD_BITS = 8 * sizeof(unsigned long) };

/* One call of a wait: for the socket to be writable, and for another descriptor to be readable. */
struct look {
	int fd, other; /* other: -1 = none */
	int timeout_ms; /* -1 = for ever */
	const sigset_t *mask;
	int result, error;
	bool ready, other_ready;
	int left_ms; /* by select alone */
};

static UNUSED const struct timespec *timespec_of(int ms, struct timespec *time)
{
	*time = (struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
	return ms < 0 ? NULL : time;
}

static UNUSED void keep_result(struct look *look, int result)
{
	look->result = result;
	look->error = result < 0 ? errno : 0;
}

/* ---- poll ----------------------------------------------------------------------------------------- */

static UNUSED void look_by_poll_or_ppoll(struct look *look, bool is_ppoll)
{
	struct timespec time;
	struct pollfd fds[2] = {{.fd = look->fd, .events = POLLOUT}, {.fd = look->other, .events = POLLIN}};
	volatile nfds_t count = 2; /* not known to the compiler: a fortified build must check it */
	keep_result(look, is_ppoll ? ppoll(fds, count, timespec_of(look->timeout_ms, &time), look->mask)
	                           : poll(fds, count, look->timeout_ms));
	look->ready = look->result > 0 && fds[0].revents != 0;
	look->other_ready = look->result > 0 && fds[1].revents != 0;
}

static UNUSED void look_by_poll(struct look *look) { look_by_poll_or_ppoll(look, false); }

static UNUSED void look_by_ppoll(struct look *look) { look_by_poll_or_ppoll(look, true); }

/* ---- select --------------------------------------------------------------------------------------- */

/* Larger than an fd_set, whose macros end at FD_SETSIZE. */
typedef unsigned long big_set[SET_BITS / WORD_BITS];

static UNUSED void add(big_set set, int fd)
{
	if (fd >= 0)
		set[fd / (int)WORD_BITS] |= 1UL << (fd % (int)WORD_BITS);
}

static UNUSED bool has(const big_set set, int fd) { return fd >= 0 && (set[fd / (int)WORD_BITS] >> (fd % (int)WORD_BITS) & 1) != 0; }

static UNUSED int select_sets(struct look *look, big_set reading, big_set writing, big_set exceptions)
{
	struct timeval time = {.tv_sec = look->timeout_ms / 1000, .tv_usec = look->timeout_ms % 1000 * 1000};
	int highest = look->fd > look->other ? look->fd : look->other;
	int result = select(highest + 1, (fd_set *)reading, (fd_set *)writing, (fd_set *)exceptions, look->timeout_ms < 0 ? NULL : &time);
	look->left_ms = (int)(time.tv_sec * 1000 + time.tv_usec / 1000);
	return result;
}

static UNUSED int pselect_sets(const struct look *look, big_set reading, big_set writing, big_set exceptions)
{
	struct timespec time;
	int highest = look->fd > look->other ? look->fd : look->other;
	return pselect(highest + 1, (fd_set *)reading, (fd_set *)writing, (fd_set *)exceptions, timespec_of(look->timeout_ms, &time),
	               look->mask);
}

static UNUSED void look_by_select_or_pselect(struct look *look, bool is_pselect)
{
	big_set reading = {0}, writing = {0}, exceptions = {0};
	add(writing, look->fd);
	add(exceptions, look->fd); /* as perl does */
	add(reading, look->other);
	keep_result(look, is_pselect ? pselect_sets(look, reading, writing, exceptions)
	                             : select_sets(look, reading, writing, exceptions));
	look->ready = look->result > 0 && (has(writing, look->fd) || has(exceptions, look->fd));
	look->other_ready = look->result > 0 && has(reading, look->other);
}

static UNUSED void look_by_select(struct look *look) { look_by_select_or_pselect(look, false); }

static UNUSED void look_by_pselect(struct look *look) { look_by_select_or_pselect(look, true); }

/* ---- any of them ---------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	void (*look)(struct look *look);
} waits[] = {{"poll", look_by_poll}, {"ppoll", look_by_ppoll}, {"select", look_by_select}, {"pselect", look_by_pselect}};

static UNUSED void look_by(const char *name, struct look *look)
{
	for (size_t i = 0; i < sizeof waits / sizeof waits[0]; i++)
		if (strcmp(waits[i].name, name) == 0) {
			waits[i].look(look);
			return;
		}
	broken(name);
}

static UNUSED void say_look(const struct look *look)
{
	say_number("result", look->result);
	say("failed", error_name(look->error));
	say("ready", look->ready ? "yes" : "no");
	say("other", look->other_ready ? "yes" : "no");
}

/* Looks until the socket is ready; returns how many calls that took. */
static UNUSED int wait_for(const char *wait, int fd, int timeout_ms)
{
	struct look look = {.fd = fd, .other = -1, .timeout_ms = timeout_ms};
	long end = now_ms() + 2 * LONG_MS;
	for (int calls = 1;; calls++) {
		look_by(wait, &look);
		if (look.ready)
			return calls;
		if (look.result < 0 || now_ms() > end)
			broken(wait);
		if (timeout_ms == 0)
			pause_ms(1);
	}
}

#endif
