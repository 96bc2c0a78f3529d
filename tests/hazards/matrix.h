/* One cell of the hazard matrix: a hook that is called at a place. */
#ifndef HAZARDS_MATRIX_H
#define HAZARDS_MATRIX_H

#include "waits.h"

struct hook;

struct cell {
	const struct hook *hook;
	const char *port;
	int fd, set; /* -1 = none */
	void *easy, *multi, *loop;
	size_t got;
	char outcome[128]; /* "" = it has not come to an end */
};

/* One exchange is the byte `r` from us and the byte `g` from the server, which comes with the connection. */
enum exchange { WHOLE, SENT /* the hook itself has sent */, RECEIVED, NONE };

struct hook {
	const char *name;
	void (*prepare)(struct cell *cell);    /* what can be had beforehand: descriptors, handles */
	const char *(*call)(struct cell *cell); /* the hook; returns "ok" or what went wrong */
	enum exchange exchange;
	long needs[6]; /* the system calls that it makes without the shim, beyond those of all; 0 = none, or read */
	int (*io)(struct cell *cell);
};

static UNUSED void keep_outcome(struct cell *cell, const char *outcome)
{
	snprintf(cell->outcome, sizeof cell->outcome, "%s", outcome);
}

#endif
