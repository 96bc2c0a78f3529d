/* Report: tells people what happened, where RETRY_DIAG* asks for it.
 *
 * One event is one write(2) of at most 1 KiB. Nothing allocates, waits for a lock or keeps a descriptor; SIGPIPE
 * and SIGTTOU are held back, and a stream that would block loses the line: diagnostics must never stop
 * a program. errno is kept.
 */
#ifndef RETRYSHIM_REPORT_H
#define RETRYSHIM_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "retryshim/config.h"
#include "retryshim/host.h"
#include "retryshim/policy.h"

enum { REPORT_LINE_MAX = 1024 };

/* One event of one operation. The texts belong to the caller and are copied into the line; the target
 * carries no user name, path or query, by construction of struct target. */
struct report_event {
	enum event event;
	uint64_t op;
	const char *program;
	const char *trace_id;  /* "" = none */
	const char *operation; /* never NULL */
	const struct target *target;
	int attempt;
	int max_attempts;
	bool shared; /* the attempt was another operation's, and counts for this one */
	const struct target *fallback; /* EVENT_FALLBACK: where it goes; else NULL */
	int replays; /* times that libcurl sent the attempt's request again by itself, as far as it is known */
	const struct class *class; /* NULL with EVENT_SUCCEEDED */
	const char *message;       /* of the error, without secrets; NULL = the class's own */
	int64_t delay_ns;          /* EVENT_ATTEMPT_FAILED */
	int64_t elapsed_ns;        /* since the operation's first attempt began */
	enum reason reason;        /* EVENT_GIVEN_UP */
};

/* Remembers which file standard error is, so that a socket that takes descriptor 2 later is never
 * written to. One fstat(2), at the process' start and only with RETRY_DIAG. The first call counts. */
void report_start(void);

/* One count, for RETRY_METRICS. */
struct report_metric {
	enum metric metric;        /* METRIC_ATTEMPT: METRIC_DELAY goes with it; METRICS: none, but the operation is over */
	int64_t delay_ms;          /* METRIC_ATTEMPT */
	enum reason reason;        /* METRIC_GIVEN_UP */
	const struct labels *labels;
	struct state *state;       /* what prom: shows: the count is in it; NULL if it is not the host's */
	/* What a single line tells beside the labels. */
	uint64_t op;
	const char *program;
	const char *trace_id; /* "" = none */
	int attempt;
	const char *error; /* the symbol of what failed last */
};

/* Sends it to the sinks of RETRY_METRICS; does nothing without. Never waits: what a sink does not take at once is lost. One
 * that cannot be used is told once, as diagnostics. */
void report_metric(const struct config *config, const struct report_metric *metric);

/* All counters of a state in Prometheus' text format, a line at a time. The scratch is the caller's, and too large for a
 * thread's stack. */
enum { REPORT_LABELS_BYTES = 256 };
struct report_scratch {
	uint8_t places[STATE_SERIES]; /* 0: not shown */
	uint8_t length[STATE_SERIES];
	char text[STATE_SERIES][REPORT_LABELS_BYTES];
};
void report_exposition(const struct state *state, struct report_scratch *scratch,
                       void (*put)(void *context, const char *text, size_t length), void *context);

/* Writes the event to the sinks that the configuration names; does nothing without RETRY_DIAG. */
void report_event(const struct config *config, const struct report_event *event);

/* A value that is well-formed and still cannot be used: `why` in words, or "" and an errno; and what follows from it. */
void report_unused(const struct config *config, const char *name, const char *value, const char *why, int error,
                   const char *consequence);

/* The same for a line of a configuration file, which is skipped; line 0: all of it. */
void report_unused_line(const struct config *config, const char *path, int line, const char *what, const char *why, int error);

/* A malformed variable: what it held, and the default that stands instead. */
void report_bad_value(const struct config *config, const char *name, const char *value, const char *used);

#endif
