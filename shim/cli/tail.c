/* `retryshim tail`: JSON diagnostics as lines for people, as they come. */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "cli/tail.h"
#include "retryshim/cli.h"

enum { KEY_NO_FOLLOW = 256, KEY_ALL_EVENTS, KEY_ALL, KEY_PROGRAM, KEY_TARGET, KEY_EVENT, KEY_TRACE, KEY_COLOR, KEY_USAGE };

struct arguments {
	struct tail tail;
	const char *lines; /* of -n; NULL: not given */
	const char *color;
	char **files;      /* NULL: standard input */
	int file_count;
};

static const char arguments_text[] = "[FILE...]";

static const char help_text[] =
	"Shows the JSON diagnostics (RETRY_DIAG_FORMAT=json) in each FILE as a line each, in the words of the text "
	"diagnostics, and goes on with what programs add: also when FILE is rotated or cut off, or does not exist yet."
	"\v"
	"Without FILE, or where it is -, standard input is shown to its end. A FIFO\n"
	"that you may write to has no end, except with --no-follow. Of both, and of\n"
	"other pipes, all is shown as it comes: -n is for files.\n"
	"A line is: local time, program[pid], the start of the operation's id, target:\n"
	"what happened. Lines that are no JSON diagnostics are passed over. Lines that\n"
	"are cut off within a second of being written may be lost.\n"
	"\n"
	"GLOBS is a comma list with * and ?; HOSTS is written as for RETRY_HOSTS, and\n"
	"matches what the line shows, be it a name or an address.\n"
	"\n"
	"Examples:\n"
	"  retryshim tail /var/log/retry.jsonl\n"
	"  retryshim tail -n 100 --no-follow --event 'exhausted,given_up' retry.jsonl\n"
	"  retryshim run --diag --diag-format json -- make deploy 2>&1 |\n"
	"    retryshim tail --all\n"
	"\n"
	"Exit status:\n"
	"  0  all was shown, and nothing more can come\n"
	"  1  a file cannot be read, or nothing could be written\n"
	"  2  wrong arguments\n";

static const struct argp_option options[] = {
	{"lines", 'n', "N", 0, "begin with the last N lines of each file (default 10); +N: with its Nth line", 1},
	{"all-events", KEY_ALL_EVENTS, NULL, 0, "begin with each file's first line, as -n +1", 1},
	{"follow", 'f', NULL, 0, "go on with what is added (default)", 1},
	{"no-follow", KEY_NO_FOLLOW, NULL, 0, "end at the end of the files", 1},
	{"program", KEY_PROGRAM, "GLOBS", 0, "only events of programs of these names", 2},
	{"target", KEY_TARGET, "HOSTS", 0, "only events of these targets", 2},
	{"event", KEY_EVENT, "GLOBS", 0, "only these: attempt_failed, succeeded, exhausted, given_up, ...", 2},
	{"all", KEY_ALL, NULL, 0, "lines that are no events too, as they are", 2},
	{"trace", KEY_TRACE, NULL, 0, "the trace id behind the operation's", 3},
	{"color", KEY_COLOR, "WHEN", OPTION_ARG_OPTIONAL, "always (without WHEN, too), never, or auto: on a terminal", 3},
	{"help", 'h', NULL, 0, "show this help", 4},
	{"usage", KEY_USAGE, NULL, 0, "show the options in short", 4},
	{NULL, 0, NULL, 0, NULL, 0},
};

/* ---- arguments ------------------------------------------------------------------------------------- */

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct arguments *arguments = state->input;
	struct tail *tail = &arguments->tail;
	switch (key) {
	case 'n': arguments->lines = argument; return 0;
	case KEY_ALL_EVENTS: arguments->lines = "+1"; return 0;
	case 'f': tail->follow = true; return 0;
	case KEY_NO_FOLLOW: tail->follow = false; return 0;
	case KEY_PROGRAM: tail->view.programs = argument; return 0;
	case KEY_TARGET: tail->view.targets = argument; return 0;
	case KEY_EVENT: tail->view.events = argument; return 0;
	case KEY_ALL: tail->view.others = true; return 0;
	case KEY_TRACE: tail->view.trace = true; return 0;
	case KEY_COLOR: arguments->color = argument != NULL ? argument : "always"; return 0;
	case 'h': argp_state_help(state, stdout, ARGP_HELP_STD_HELP); return 0;
	case KEY_USAGE: argp_state_help(state, stdout, ARGP_HELP_USAGE | ARGP_HELP_EXIT_OK); return 0;
	case ARGP_KEY_ARGS:
		arguments->files = state->argv + state->next;
		arguments->file_count = state->argc - state->next;
		return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

static void parse_arguments(struct arguments *arguments, int argc, char **argv)
{
	static char name[] = "retryshim tail";
	struct argp parser = {options, parse_option, arguments_text, help_text, NULL, NULL, NULL};
	cli_parse(&parser, name, 0, argc, argv, arguments);
}

/* N or +N, as tail(1) reads them: with the 0th line is with the first. */
static bool read_lines(const char *text, struct tail *tail)
{
	tail->from_start = text[0] == '+';
	const char *digits = text + (tail->from_start ? 1 : 0);
	if (digits[0] == '\0' || digits[strspn(digits, "0123456789")] != '\0')
		return false;
	errno = 0;
	tail->lines = strtoull(digits, NULL, 10);
	if (tail->from_start && tail->lines > 0)
		tail->lines--;
	return errno == 0;
}

static bool read_color(const char *when, bool *colours)
{
	*colours = strcmp(when, "always") == 0 || (strcmp(when, "auto") == 0 && cli_wants_colours());
	return *colours || strcmp(when, "auto") == 0 || strcmp(when, "never") == 0;
}

/* The second one would wait for what the first is given. */
static bool standard_input_twice(const struct arguments *arguments)
{
	int count = 0;
	for (int i = 0; i < arguments->file_count; i++)
		count += strcmp(arguments->files[i], "-") == 0;
	return count > 1;
}

static int check_arguments(struct arguments *arguments)
{
	struct tail *tail = &arguments->tail;
	if (!read_lines(arguments->lines, tail))
		return cli_usage_error("tail", "-n: '%s' is not a number of lines, N or +N", arguments->lines);
	if (!read_color(arguments->color, &tail->view.colours))
		return cli_usage_error("tail", "--color: '%s' is neither always, never nor auto", arguments->color);
	if (tail->view.targets != NULL && !match_hosts_valid(tail->view.targets))
		return cli_usage_error("tail", "--target: '%s' is not written as RETRY_HOSTS is", tail->view.targets);
	if (standard_input_twice(arguments))
		return cli_usage_error("tail", "standard input (-) is given more than once");
	return CLI_OK;
}

/* ---- what they ask for ----------------------------------------------------------------------------- */

static void make_inputs(struct tail *tail, char **files, int count)
{
	tail->inputs = calloc((size_t)count, sizeof *tail->inputs);
	if (tail->inputs == NULL) {
		cli_error("out of memory");
		exit(CLI_FAILED);
	}
	tail->count = count;
	for (int i = 0; i < count; i++)
		tail->inputs[i] = (struct tail_input){.tail = tail, .path = files[i], .by_name = true, .fd = -1, .watch = -1};
}

int cli_tail(int argc, char **argv)
{
	static char standard_input[] = "-";
	char *alone[] = {standard_input};
	struct arguments arguments = {.tail = {.follow = true}, .lines = "10", .color = "auto", .files = alone, .file_count = 1};
	struct tail *tail = &arguments.tail;
	int status = CLI_OK;
	setlocale(LC_CTYPE, ""); /* which names can be shown */
	parse_arguments(&arguments, argc, argv);
	if (check_arguments(&arguments) != CLI_OK)
		return CLI_USAGE;
	if (fcntl(STDOUT_FILENO, F_GETFD) < 0) { /* a file would be opened in its place */
		cli_error("cannot write to standard output: %s", strerror(errno));
		return CLI_FAILED;
	}
	tail->inotify = tail->follow && arguments.files != alone ? inotify_init1(IN_NONBLOCK | IN_CLOEXEC) : -1;
	make_inputs(tail, arguments.files, arguments.file_count);
	for (int i = 0; i < tail->count && status == CLI_OK; i++)
		status = tail_input_begin(&tail->inputs[i]) ? CLI_OK : CLI_FAILED;
	if (status == CLI_OK)
		tail_follow(tail);
	free(tail->inputs);
	return status;
}
