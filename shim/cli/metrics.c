/* `retryshim metrics`: the host's counters, as prom: writes them. */
#include <argp.h>
#include <stdio.h>

#include "cli/status.h"
#include "retryshim/cli.h"
#include "retryshim/report.h"
#include "retryshim/runtime.h"

enum { KEY_STATE = 256, KEY_USAGE };

static const char help_text[] =
	"Prints what all processes of this user have counted together, in Prometheus' text format: the same that "
	"RETRY_METRICS=prom:FILE keeps in a file."
	"\v"
	"retryshim_retries_total              attempts after the first that were sent\n"
	"retryshim_retry_delay_seconds_total  time that was waited for them\n"
	"retryshim_recovered_total            operations that a retry has saved\n"
	"retryshim_exhausted_total            operations that used up their attempts\n"
	"retryshim_given_up_total             operations that could not be retried\n"
	"\n"
	"Labels: operation (RETRY_OPERATION), target, category; and the reason of\n"
	"what was given up. Counters begin anew with the state file, and one that\n"
	"was not used for longest makes room where there are very many.\n"
	"\n"
	"Examples:\n"
	"  retryshim metrics | promtool check metrics\n"
	"  retryshim metrics > r.new && mv r.new /var/lib/node_exporter/r.prom\n"
	"\n"
	"Exit status:\n"
	"  0  done; also if nothing has been counted yet\n"
	"  1  the file cannot be used, or nothing could be written\n"
	"  2  wrong arguments, or RETRY_STATE=off\n";

static const struct argp_option options[] = {
	{"state", KEY_STATE, "FILE", 0, "this state file (default /dev/shm/retryshim-UID; RETRY_STATE)", 1},
	{"help", 'h', NULL, 0, "show this help", 2},
	{"usage", KEY_USAGE, NULL, 0, "show the options in short", 2},
	{NULL, 0, NULL, 0, NULL, 0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	const char **path = state->input;
	switch (key) {
	case 'h': argp_state_help(state, stdout, ARGP_HELP_STD_HELP); return 0;
	case KEY_USAGE: argp_state_help(state, stdout, ARGP_HELP_USAGE | ARGP_HELP_EXIT_OK); return 0;
	case KEY_STATE:
		if (argument[0] == '\0')
			argp_error(state, "--state: '' is no file");
		*path = argument;
		return 0;
	case ARGP_KEY_ARG: argp_error(state, "unexpected argument '%s'", argument); return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

static void put(void *context, const char *text, size_t length)
{
	(void)context;
	fwrite(text, 1, length, stdout);
}

int cli_metrics(int argc, char **argv)
{
	static char name[] = "retryshim metrics";
	static struct state state;
	static struct report_scratch scratch;
	struct config config;
	const char *path = NULL;
	struct argp parser = {options, parse_option, NULL, help_text, NULL, NULL, NULL};
	cli_parse(&parser, name, 0, argc, argv, &path);
	if ((path = status_path(path, &config)) == NULL)
		return CLI_USAGE;
	if (status_file_read(path, &state) == STATUS_FILE_UNUSABLE)
		return CLI_FAILED;
	report_exposition(&state, &scratch, put, NULL);
	return CLI_OK;
}
