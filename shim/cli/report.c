/* `retryshim report`: one HTML page made from JSON diagnostics. */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/events.h"
#include "cli/report.h"
#include "retryshim/cli.h"
#include "retryshim/policy.h"
#include "retryshim/version.h"

enum { KEY_TITLE = 256, KEY_USAGE };
enum { LINE_MOST = 65536 }; /* the shim's are 1 KiB at most; another program's would only be ballast in the page */

struct report {
	const char *title;
	char **files; /* until NULL */
	json_int_t lines, skipped;
	FILE *events; /* as they will stand in the page */
};

static const char arguments_text[] = "[FILE...] > report.html";

static const char help_text[] =
	"Makes one HTML page from diagnostics that were written with RETRY_DIAG_FORMAT=json: a timeline of all operations, "
	"totals by target and by error, what the retries have saved and cost. Without FILE, or where FILE is -, standard input "
	"is read."
	"\v"
	"The page needs nothing but a browser: it loads nothing, and sends nothing\n"
	"anywhere. Lines that are no events are left out, and counted. Events that\n"
	"come twice count once.\n"
	"\n"
	"Examples:\n"
	"  retryshim run --diag-format json --diag-file retry.%p.jsonl -- ./job\n"
	"  retryshim report retry.*.jsonl > report.html\n"
	"  zcat retry.jsonl.gz | retryshim report --title 'Last night' > report.html\n"
	"\n"
	"Exit status:\n"
	"  0  done; also if there was no event\n"
	"  1  a file cannot be read (there is no page then), or the page not be written\n"
	"  2  wrong arguments, or standard output is a terminal\n";

static const struct argp_option options[] = {
	{"title", KEY_TITLE, "TEXT", 0, "the page's title (default: Retries)", 1},
	{"help", 'h', NULL, 0, "show this help", 2},
	{"usage", KEY_USAGE, NULL, 0, "show the options in short", 2},
	{NULL, 0, NULL, 0, NULL, 0},
};

/* ---- arguments ------------------------------------------------------------------------------------- */

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct report *report = state->input;
	switch (key) {
	case 'h': argp_state_help(state, stdout, ARGP_HELP_STD_HELP); return 0;
	case KEY_USAGE: argp_state_help(state, stdout, ARGP_HELP_USAGE | ARGP_HELP_EXIT_OK); return 0;
	case KEY_TITLE: report->title = argument; return 0;
	case ARGP_KEY_ARGS: report->files = state->argv + state->next; return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

static void parse_arguments(struct report *report, int argc, char **argv)
{
	static char name[] = "retryshim report";
	struct argp parser = {options, parse_option, arguments_text, help_text, NULL, NULL, NULL};
	cli_parse(&parser, name, 0, argc, argv, report);
}

/* ---- reading --------------------------------------------------------------------------------------- */

/* What the page knows how to show, and of which kind it is; anything else stays behind. */
static const struct {
	const char *key;
	json_type type;
} members[] = {
	{"ts", JSON_STRING}, {"pid", JSON_INTEGER}, {"program", JSON_STRING}, {"op", JSON_STRING},
	{"trace_id", JSON_STRING}, {"operation", JSON_STRING}, {"target", JSON_STRING}, {"event", JSON_STRING},
	{"attempt", JSON_INTEGER}, {"max_attempts", JSON_INTEGER}, {"category", JSON_STRING}, {"severity", JSON_STRING},
	{"error", JSON_STRING}, {"message", JSON_STRING}, {"delay_ms", JSON_INTEGER}, {"elapsed_ms", JSON_INTEGER},
	{"reason", JSON_STRING}, {"shared", JSON_INTEGER}, {"fallback", JSON_STRING}, {"replays", JSON_INTEGER},
	{"variable", JSON_STRING}, {"value", JSON_STRING}, {"default", JSON_STRING},
};

/* The page has words for these. */
static bool is_known(const json_t *event)
{
	const char *name = event_text(event, "event");
	if (strcmp(name, "bad_value") == 0 || strcmp(name, "unused_value") == 0)
		return true;
	for (enum event known = EVENT_ATTEMPT_FAILED; known <= EVENT_FALLBACK; known++)
		if (strcmp(name, event_name(known)) == 0)
			return true;
	return false;
}

/* The members in one order: what is the same event is the same line then. */
static json_t *known_members(json_t *event)
{
	json_t *known = json_object();
	for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
		json_t *member = json_object_get(event, members[i].key);
		if (member != NULL && json_typeof(member) == members[i].type)
			json_object_set(known, members[i].key, member);
	}
	return known;
}

static void take_line(struct report *report, const char *line, size_t length)
{
	json_t *event = length <= LINE_MOST ? event_read(line, length) : NULL;
	report->lines++;
	if (event != NULL && is_known(event)) {
		json_t *known = known_members(event);
		report_json(known, report->events);
		json_decref(known);
	} else {
		report->skipped++;
	}
	json_decref(event);
}

static bool take_lines(struct report *report, FILE *file)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t length;
	while ((length = getline(&line, &room, file)) >= 0)
		take_line(report, line, (size_t)length);
	int error = errno; /* of getline(), unless it has met the end */
	free(line);
	errno = error;
	return feof(file) != 0;
}

static bool take_file(struct report *report, const char *name)
{
	bool standard = strcmp(name, "-") == 0;
	FILE *file = standard ? stdin : fopen(name, "re");
	bool taken = file != NULL && take_lines(report, file);
	if (!taken)
		cli_error("cannot read %s%s%s: %s", standard ? "" : "'", standard ? "standard input" : name, standard ? "" : "'", strerror(errno));
	if (file != NULL && !standard)
		fclose(file);
	return taken;
}

/* ---- the page -------------------------------------------------------------------------------------- */

/* jansson takes well-formed UTF-8 alone; the name of a file is any bytes. */
static json_t *any_text(const char *text)
{
	json_t *json = json_string(text);
	if (json != NULL)
		return json;
	char *ascii = cli_format("%s", text);
	for (char *c = ascii; *c != '\0'; c++)
		*c = (unsigned char)*c < 0x7f ? *c : '?';
	json = json_string(ascii);
	free(ascii);
	return json;
}

static char *facts_text(const struct report *report)
{
	char *text = NULL;
	size_t length = 0;
	FILE *file = open_memstream(&text, &length);
	if (file == NULL)
		return NULL;
	json_t *names = json_array();
	for (char **name = report->files; *name != NULL; name++)
		json_array_append_new(names, any_text(strcmp(*name, "-") == 0 ? "standard input" : *name));
	json_t *facts = json_pack("{s:o, s:s, s:o, s:I, s:I}", "title", any_text(report->title), "version", RETRYSHIM_VERSION,
	                          "files", names, "lines", report->lines, "skipped", report->skipped);
	report_json(facts, file);
	json_decref(facts);
	if (fclose(file) == 0)
		return text;
	free(text);
	return NULL;
}

/* All is read before a byte is written: who keeps the page has all of it or none. */
static int make_page(struct report *report)
{
	char *events = NULL, *facts;
	size_t length = 0;
	bool taken = true;
	report->events = open_memstream(&events, &length);
	for (char **name = report->files; report->events != NULL && taken && *name != NULL; name++)
		taken = take_file(report, *name);
	bool kept = report->events != NULL && fclose(report->events) == 0;
	facts = taken && kept ? facts_text(report) : NULL;
	if (taken && facts == NULL)
		cli_error("out of memory");
	int result = facts != NULL ? report_page(events, facts) : CLI_FAILED;
	free(events);
	free(facts);
	return result;
}

/* jansson goes on without what it has no memory for. */
static void *allocate(size_t size)
{
	void *memory = malloc(size);
	if (memory == NULL) {
		cli_error("out of memory");
		exit(CLI_FAILED);
	}
	return memory;
}

int cli_report(int argc, char **argv)
{
	static char standard_input[] = "-";
	static char *only_standard_input[] = {standard_input, NULL};
	struct report report = {.title = "Retries", .files = only_standard_input};
	parse_arguments(&report, argc, argv);
	if (isatty(STDOUT_FILENO))
		return cli_usage_error("report", "standard output is a terminal; redirect it: retryshim report FILE > report.html");
	json_set_alloc_funcs(allocate, free);
	return make_page(&report);
}
