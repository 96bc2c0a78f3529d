/* `retryshim run --rerun`: a command is run again when it fails.
 *
 *   rerun.c          the operation: runs, backoffs, the end
 *   rerun_child.c    one run: the process, the signals it is to get, its status
 *   rerun_streams.c  what a run has read and written, so that the next one begins as it did
 */
#ifndef RETRYSHIM_CLI_RERUN_H
#define RETRYSHIM_CLI_RERUN_H

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { RERUNS_MOST = 999 };
#define RERUN_ON "1-125" /* not: could not be run, was not found, was killed */

struct rerun {
	int64_t times;      /* more runs at most */
	int64_t timeout_ms; /* after this none is begun; 0 = no bound */
	const char *on;     /* exit statuses, see statuses_have() */
	bool all_output;    /* of every run, at once; else that of the last run alone */
	char **program;
};

/* Returns the exit status of the last run; ends this process by the signal that has ended the command, or that came in a
 * backoff. */
int cli_rerun(const struct rerun *rerun);

/* ---- streams --------------------------------------------------------------------------------------- */

/* What is kept of a stream: up to KEPT_MOST bytes. */
struct kept {
	char *bytes;
	size_t length, size;
};

/* Standard input. A terminal, a device or nothing at all is the command's own; a file is wound back; what comes through a
 * pipe is handed on, and kept. */
struct input {
	enum { INPUT_DIRECT, INPUT_FILE, INPUT_KEPT } kind;
	off_t start; /* INPUT_FILE */
	struct kept kept;
	size_t given; /* of what is kept, to this run */
	bool ended;   /* its source has */
	bool lost;    /* more than can be kept was given: no other run can begin as this one did */
	int pipe;     /* this run's end of ours; -1: closed */
};

/* Standard output. Nothing is changed on a terminal, or where it is one file with standard error: a log. A file is cut
 * back to where it was; what would go into a pipe, or behind what others write, is held until the run is known to be the
 * last one. */
struct output {
	enum { OUTPUT_DIRECT, OUTPUT_FILE, OUTPUT_HELD } kind;
	off_t start;
	struct kept held;
	sigset_t waiting; /* what is blocked while it waits for room: see signals_admitted() */
	bool delivered;   /* more than can be held: it went out */
	int pipe;
};

void input_open(struct input *input);
void output_open(struct output *output, bool all, const sigset_t *waiting);

/* A run begins: *child is the descriptor that it is to have, -1: the one that we have. False, errno set, if there is none
 * to be had. */
bool input_begin(struct input *input, int *child);
bool output_begin(struct output *output, int *child);

/* What to wait for, and what to do about it; events 0: nothing. */
struct pollfd input_source(const struct input *input);
struct pollfd input_sink(const struct input *input);
void input_go_on(struct input *input, short source, short sink);
struct pollfd output_source(const struct output *output);
void output_go_on(struct output *output, short source);

/* A run is over: what is there is taken. A process that the command has left behind may keep its output open. */
void input_end(struct input *input);
void output_end(struct output *output);

/* Can the next run begin as this one did? And: it begins. False, errno set, if it could not after all. */
bool input_can_rewind(const struct input *input);
bool output_can_rewind(const struct output *output);
bool input_rewind(struct input *input);
bool output_rewind(struct output *output);

/* That run was the last one. False, errno set, if its output could not be written. */
bool output_deliver(struct output *output);

/* What such a process writes from now on (tee(1) in `exec > >(tee log)`) is its reader's as well: a child of ours hands it
 * on, so that nobody else waits for it. */
void output_leave(struct output *output);

/* ---- one run --------------------------------------------------------------------------------------- */

/* Signals, from before the first run to the end. */
struct signals {
	sigset_t before; /* what was blocked when we were started */
	struct sigaction child_before, pipe_before;
	int file;        /* a signalfd(2) */
	int stopped_by;  /* a signal that is to end the command, and us; 0 = none */
};

void signals_open(struct signals *signals);

/* A mask by which those that end us do so at once. */
sigset_t signals_admitted(const struct signals *signals);

/* Waits until then; true if a signal ends us. */
bool signals_wait(struct signals *signals, int64_t until_ns);

/* Ends this process by a signal. */
_Noreturn void signals_die(const struct signals *signals, int number);

/* Runs the program to its end: a status of waitpid(2); -1 with errno if it could not be started. */
int child_run(char **program, struct signals *signals, struct input *input, struct output *output);

#endif
