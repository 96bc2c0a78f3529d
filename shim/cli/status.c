/* `retryshim status`: what the processes of this host know of the destinations that have failed. */
#include <argp.h>
#include <limits.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "cli/settings.h"
#include "cli/status.h"
#include "retryshim/cli.h"
#include "retryshim/runtime.h"

enum { KEY_STATE = 256, KEY_JSON, KEY_WATCH, KEY_RESET, KEY_USAGE };

struct status {
	const char *path;
	bool json, watch, reset;
	const char *interval;    /* NULL: not given */
	int64_t interval_ms;     /* with watch */
	const char *destination; /* NULL: not given */
	const char *surplus;     /* the first argument too many */
};

static const char arguments_text[] = "\n--reset [DEST]";

static const char help_text[] =
	"Shows what all processes of this user have learned together of the destinations that failed at least once: "
	"one line each, the latest failure first."
	"\v"
	"TARGET        where to: name and address, or a unix socket\n"
	"CIRCUIT       closed: all is as ever; open: RETRY_BREAKER says what it means,\n"
	"              until an operation may probe; half-open: the probe is under way\n"
	"TOKENS        what is left of the budget for retries, of how much\n"
	"FLOOR         the least backoff, where a destination has asked to be spared\n"
	"LAST FAILURE  of any attempt, and how long ago\n"
	"ATTEMPTS      of operations that failed at least once; of these, RETRIES\n"
	"RECOVERIES    operations that a retry has saved\n"
	"EXHAUSTED     operations that used up all their attempts\n"
	"\n"
	"Tokens, floors and open circuits are reckoned by the RETRY_* variables\n"
	"that are set here: let them be those of the programs.\n"
	"\n"
	"Examples:\n"
	"  retryshim status --watch=0.5\n"
	"  retryshim status --reset 'db.example.com:5432 (10.0.0.7)'\n"
	"\n"
	"Exit status:\n"
	"  0  done; also if no destination has failed yet\n"
	"  1  the file cannot be used, DEST is not in it, or nothing could be written\n"
	"  2  wrong arguments, or RETRY_STATE=off\n";

static const struct argp_option options[] = {
	{"state", KEY_STATE, "FILE", 0, "this state file (default /dev/shm/retryshim-UID; RETRY_STATE)", 1},
	{"json", KEY_JSON, NULL, 0, "one JSON object on one line; null is what does not apply", 1},
	{"watch", KEY_WATCH, "SECONDS", OPTION_ARG_OPTIONAL,
	 "show it again and again, every 2 seconds unless told otherwise", 1},
	{"reset", KEY_RESET, "DEST", OPTION_ARG_OPTIONAL,
	 "forget the destination DEST, written as in TARGET; without DEST, all", 1},
	{"help", 'h', NULL, 0, "show this help", 2},
	{"usage", KEY_USAGE, NULL, 0, "show the options in short", 2},
	{NULL, 0, NULL, 0, NULL, 0},
};

/* ---- arguments ------------------------------------------------------------------------------------- */

static void take_destination(struct status *status, const char *argument)
{
	if (status->destination == NULL)
		status->destination = argument;
	else if (status->surplus == NULL)
		status->surplus = argument;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct status *status = state->input;
	switch (key) {
	case 'h': argp_state_help(state, stdout, ARGP_HELP_STD_HELP); return 0;
	case KEY_USAGE: argp_state_help(state, stdout, ARGP_HELP_USAGE | ARGP_HELP_EXIT_OK); return 0;
	case KEY_STATE: status->path = argument; return 0;
	case KEY_JSON: status->json = true; return 0;
	case KEY_WATCH:
		status->watch = true;
		status->interval = argument;
		return 0;
	case KEY_RESET:
		status->reset = true;
		if (argument != NULL)
			take_destination(status, argument);
		return 0;
	case ARGP_KEY_ARG: take_destination(status, argument); return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

static void parse_arguments(struct status *status, int argc, char **argv)
{
	static char name[] = "retryshim status";
	struct argp parser = {options, parse_option, arguments_text, help_text, NULL, NULL, NULL};
	cli_parse(&parser, name, 0, argc, argv, status);
}

/* Seconds, unlike the milliseconds of a bare number elsewhere: as watch(1) has it. */
static bool read_interval(const char *text, int64_t *ms)
{
	const int64_t least_ms = 100, most_ms = 86400000;
	size_t length = strlen(text);
	bool bare = length != 0 && strchr("0123456789.", text[length - 1]) != NULL;
	char *duration = cli_format("%s%s", text, bare ? "s" : "");
	bool valid = cli_duration_read(duration, ms) && *ms >= least_ms && *ms <= most_ms;
	free(duration);
	return valid;
}

static int check_arguments(struct status *status)
{
	const char *surplus = status->reset ? status->surplus : status->destination;
	if (surplus != NULL)
		return cli_usage_error("status", "unexpected argument '%s'%s", surplus,
		                       status->watch ? " (seconds are written --watch=SECONDS)" : "");
	if (status->reset && (status->watch || status->json))
		return cli_usage_error("status", "--reset goes with neither --watch nor --json");
	if (status->path != NULL && status->path[0] == '\0')
		return cli_usage_error("status", "--state: '' is no file");
	status->interval_ms = 2000;
	if (status->interval != NULL && !read_interval(status->interval, &status->interval_ms))
		return cli_usage_error("status", "--watch: '%s' is not a number of seconds from 0.1 to 86400", status->interval);
	return CLI_OK;
}

/* ---- showing --------------------------------------------------------------------------------------- */

static void tell_none(const char *path, bool missing)
{
	printf("No destination has failed yet (%s %s).\n", path, missing ? "does not exist" : "lists none");
}

/* "HOST:PORT", "HOST:PORT (ADDRESS)", "HOST:PORT (look-up)", as write_name() in state_places.c has them. */
static const struct config *config_of(const char *name)
{
	static struct config config;
	struct target target = {0};
	char host[STATE_NAME_BYTES + 1];
	strcpy(host, name);
	char *rest = strstr(host, " (");
	if (rest != NULL) {
		*rest = '\0';
		rest[strlen(rest + 2) + 1] = '\0'; /* the closing one */
		target_set_address(&target, rest + 2);
	}
	if (strncmp(host, "unix:", 5) == 0) {
		target.is_unix = true;
		strcpy(target.name, host + 5);
	} else {
		target_set_url(&target, host);
	}
	cli_settings_config(&target, &config);
	return &config;
}

/* At most `lines` lines, if it is a table. */
static int show(const struct status *status, int lines)
{
	static struct state state;
	static struct status_facts facts[STATE_DESTINATIONS];
	enum status_file read = status_file_read(status->path, &state);
	if (read == STATUS_FILE_UNUSABLE)
		return CLI_FAILED;
	int count = status_facts(config_of, &state, facts);
	if (status->json)
		status_json(status->path, facts, count);
	else if (count == 0)
		tell_none(status->path, read == STATUS_FILE_MISSING);
	else
		status_table(facts, count, lines, cli_wants_colours());
	return CLI_OK;
}

/* The window's lines, but the one where the cursor stays; a table that is longer would scroll its head away. */
static int window_lines(void)
{
	struct winsize window;
	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_row > 3 ? window.ws_row - 1 : INT_MAX;
}

/* Until a signal ends it, or nobody reads any more. What is wrong with the file is said, and may pass. */
static int watch(const struct status *status)
{
	static const char home_and_clear[] = "\033[H\033[J";
	struct timespec interval = {(time_t)(status->interval_ms / 1000), (long)(status->interval_ms % 1000 * NS_PER_MS)};
	bool screen = cli_on_terminal() && !status->json;
	for (;;) {
		if (screen)
			fputs(home_and_clear, stdout);
		fflush(stdout); /* ahead of a message */
		if (show(status, screen ? window_lines() : INT_MAX) == CLI_OK && !screen && !status->json)
			putchar('\n'); /* a reader knows by it that the table is whole */
		if (fflush(stdout) != 0 || ferror(stdout))
			return CLI_FAILED;
		nanosleep(&interval, NULL);
	}
}

/* ---- forgetting ------------------------------------------------------------------------------------ */

static int reset(const struct status *status)
{
	int forgotten;
	enum status_file result = status_file_forget(status->path, status->destination, &forgotten);
	if (result == STATUS_FILE_UNUSABLE)
		return CLI_FAILED;
	if (forgotten == 0 && status->destination != NULL) {
		cli_error("no destination '%s' in %s; 'retryshim status' lists them", status->destination, status->path);
		return CLI_FAILED;
	}
	if (forgotten == 0)
		tell_none(status->path, result == STATUS_FILE_MISSING);
	else
		printf("Forgot %d destination%s.\n", forgotten, forgotten == 1 ? "" : "s");
	return CLI_OK;
}

int cli_status(int argc, char **argv)
{
	struct config config;
	struct status status = {.path = NULL};
	setlocale(LC_CTYPE, ""); /* which names can be shown */
	parse_arguments(&status, argc, argv);
	int wrong = check_arguments(&status);
	if (wrong != CLI_OK)
		return wrong;
	if ((status.path = status_path(status.path, &config)) == NULL)
		return CLI_USAGE;
	if (status.reset)
		return reset(&status);
	return status.watch ? watch(&status) : show(&status, INT_MAX);
}
