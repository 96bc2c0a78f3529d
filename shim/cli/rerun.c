/* A command as an operation: runs are its attempts, by the engine that serves the hooks. */
#include "cli/rerun.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "cli/settings.h"
#include "retryshim/cli.h"
#include "retryshim/hooks.h"
#include "retryshim/report.h"

struct streams {
	struct input input;
	struct output output;
};

static const char *short_name(const char *program)
{
	const char *slash = strrchr(program, '/');
	return slash != NULL && slash[1] != '\0' ? slash + 1 : program;
}

/* The variables' backoff; attempts and time are the options'. */
static struct config config_of(const struct rerun *rerun)
{
	struct config config;
	cli_settings_config(NULL, &config);
	config.max_attempts = rerun->times + 1;
	config.timeout_ms = rerun->timeout_ms;
	if (config.operation[0] == '\0')
		config.operation = short_name(rerun->program[0]);
	config.breaker = BREAKER_OFF; /* a command that fails says nothing of a host */
	return config;
}

static struct target target_of(const struct rerun *rerun)
{
	struct target target = {.way = WAY_COMMAND};
	const char *name = short_name(rerun->program[0]);
	memcpy(target.name, name, strnlen(name, sizeof target.name - 1));
	return target;
}

/* As a shell tells it in $?. */
static int shell_status(int status) { return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status); }

static bool can_rewind(void *context)
{
	const struct streams *streams = context;
	return input_can_rewind(&streams->input) && output_can_rewind(&streams->output);
}

static struct failure failure_of(const struct rerun *rerun, int status, const struct streams *streams)
{
	return (struct failure){
		.source = SOURCE_COMMAND,
		.code = shell_status(status),
		.retry_after_ms = -1,
		.repeatable = statuses_have(rerun->on, shell_status(status)),
		.delivered = streams->output.delivered,
	};
}

/* In words, for the diagnostics. */
static const char *message_of(int status)
{
	static char text[48];
	if (!WIFSIGNALED(status))
		return NULL;
	const char *name = sigabbrev_np(WTERMSIG(status));
	if (name != NULL)
		snprintf(text, sizeof text, "killed by SIG%s", name);
	else /* a real-time one */
		snprintf(text, sizeof text, "killed by signal %d", WTERMSIG(status));
	return text;
}

/* False if that was the last run. */
static bool wait_in_backoff(struct op *op, struct verdict *verdict, struct signals *signals, struct streams *streams)
{
	int64_t again_ns;
	for (;;) {
		enum due due = op_due(op, verdict, &again_ns);
		if (due == DUE_OVER)
			return false;
		if (due == DUE_GO)
			break;
		if (signals_wait(signals, again_ns)) {
			op_given_up(op, verdict, REASON_SIGNAL, NULL);
			return false;
		}
	}
	if (input_rewind(&streams->input) && output_rewind(&streams->output))
		return true;
	op_given_up(op, verdict, REASON_REWIND, NULL);
	return false;
}

/* Returns the last run's status of waitpid(2), -1 with errno if it could not be run. *interrupted: a signal has come when
 * none was running. */
static int run_until_done(const struct rerun *rerun, const struct config *config, struct signals *signals,
                          struct streams *streams, bool *interrupted)
{
	struct op op;
	struct target target = target_of(rerun);
	bool serves = config->enabled && op_begin(&op, config, "command", &target, clock_now_ns(), 0);
	op.rewind = can_rewind;
	op.rewind_context = streams;
	for (;;) {
		int status = child_run(rerun->program, signals, &streams->input, &streams->output);
		if (status == 0 && serves)
			op_succeeded(&op);
		if (status <= 0 || !serves || signals->stopped_by != 0)
			return status;
		struct failure failure = failure_of(rerun, status, streams);
		struct verdict verdict = op_failed(&op, &failure, message_of(status));
		if (verdict.action != ACTION_RETRY)
			return status;
		if (!wait_in_backoff(&op, &verdict, signals, streams)) {
			*interrupted = signals->stopped_by != 0;
			return status;
		}
		op_next_attempt(&op);
	}
}

/* What is said of the command's end is its own, as if it had been run alone. */
static int end_as(const struct rerun *rerun, int status, int error, const struct signals *signals)
{
	if (status < 0) {
		cli_error("cannot run '%s': %s", rerun->program[0], strerror(error));
		return error == ENOENT ? CLI_PROGRAM_MISSING : CLI_PROGRAM_UNUSABLE;
	}
	if (WIFSIGNALED(status))
		signals_die(signals, WTERMSIG(status));
	return WEXITSTATUS(status);
}

int cli_rerun(const struct rerun *rerun)
{
	struct config config = config_of(rerun);
	struct signals signals;
	struct streams streams;
	bool interrupted = false;
	/* Diagnostics and metrics speak of the command. */
	program_invocation_short_name = (char *)(uintptr_t)short_name(rerun->program[0]);
	settings_capture();
	if (config.diag)
		report_start();
	signals_open(&signals);
	sigset_t admitted = signals_admitted(&signals);
	input_open(&streams.input);
	output_open(&streams.output, rerun->all_output, &admitted);
	int status = run_until_done(rerun, &config, &signals, &streams, &interrupted);
	int error = errno;
	bool delivered = output_deliver(&streams.output), is_unread = !delivered && errno == EPIPE;
	if (!delivered && !is_unread)
		cli_error("cannot write what '%s' has written: %s", rerun->program[0], strerror(errno));
	if (delivered)
		output_leave(&streams.output);
	free(streams.input.kept.bytes);
	free(streams.output.held.bytes);
	if (interrupted)
		signals_die(&signals, signals.stopped_by);
	int its_status = end_as(rerun, status, error, &signals);
	if (delivered || its_status != 0)
		return its_status;
	if (is_unread) /* as the command would have, had it written itself */
		signals_die(&signals, SIGPIPE);
	return CLI_FAILED;
}
