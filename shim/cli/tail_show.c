/* One line of a file as one line for people: when, who, which operation, where to: what happened. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/events.h"
#include "cli/status.h"
#include "cli/tail.h"
#include "retryshim/cli.h"

/* ---- reading ---------------------------------------------------------------------------------------- */

/* A NUL would end a text: what follows it must neither hide nor escape a filter. Another control character is shown in
 * the same way, and means nothing in a target. */
static void replace_nul(json_t *text)
{
	size_t length = json_string_length(text);
	if (!json_is_string(text) || strlen(json_string_value(text)) == length)
		return;
	char *shown = cli_format("%*s", (int)length, "");
	for (size_t i = 0; i < length; i++)
		shown[i] = (char)(json_string_value(text)[i] != '\0' ? json_string_value(text)[i] : '\001');
	json_string_setn_nocheck(text, shown, length);
	free(shown);
}

static json_t *read_event(const char *line, size_t length)
{
	json_t *event = event_read(line, length);
	for (void *at = json_object_iter(event); at != NULL; at = json_object_iter_next(event, at))
		replace_nul(json_object_iter_value(at));
	return event;
}

/* ---- what is wanted -------------------------------------------------------------------------------- */

static bool takes(const struct tail_view *view, const json_t *event)
{
	if (view->programs != NULL && !match_name(view->programs, event_text(event, "program")))
		return false;
	if (view->events != NULL && !match_name(view->events, event_text(event, "event")))
		return false;
	if (view->targets == NULL)
		return true;
	const char *text = event_text(event, "target");
	struct target target = tail_target(text);
	return text[0] != '\0' && match_host(view->targets, &target);
}

bool tail_wanted(const struct tail_view *view, const char *line, size_t length)
{
	json_t *event = read_event(line, length);
	bool wanted = event != NULL ? takes(view, event) : view->others;
	json_decref(event);
	return wanted;
}

/* ---- how it is shown ------------------------------------------------------------------------------- */

static const char plain[] = "", dim[] = "\033[2m";

/* What has ended well, what goes on, what has not. */
static const char *colour_of_event(const char *name)
{
	static const struct {
		const char *name, *colour;
	} colours[] = {
		{"attempt_failed", "\033[33m"}, {"succeeded", "\033[32m"},     {"exhausted", "\033[31m"},
		{"given_up", "\033[31m"},       {"not_retryable", "\033[31m"}, {"fallback", "\033[36m"},
		{"bad_value", "\033[35m"},      {"unused_value", "\033[35m"},
	};
	for (size_t i = 0; i < sizeof colours / sizeof colours[0]; i++)
		if (strcmp(colours[i].name, name) == 0)
			return colours[i].colour;
	return plain;
}

/* The same one for all lines of an operation. */
static const char *colour_of_op(const char *op)
{
	static const char *const colours[] = {"\033[34m", "\033[35m", "\033[36m", "\033[92m",
	                                      "\033[93m", "\033[94m", "\033[95m", "\033[96m"};
	uint32_t hash = 2166136261; /* FNV-1a */
	for (; *op != '\0'; op++)
		hash = (hash ^ (unsigned char)*op) * 16777619;
	return colours[(hash ^ hash >> 16) % (sizeof colours / sizeof colours[0])];
}

/* The text, made fit for a terminal; an empty one is none. */
static void put(const struct tail_view *view, const char *colour, const char *text)
{
	bool coloured = view->colours && colour[0] != '\0';
	if (text[0] == '\0')
		return;
	char *shown = status_shown(text);
	printf("%s%s%s", coloured ? colour : "", shown, coloured ? "\033[0m" : "");
	free(shown);
}

/* An RFC 3339 time in UTC as it is here, and its three digits of milliseconds. */
static bool read_time(const char *ts, struct tm *local, const char **milliseconds)
{
	struct tm utc = {0};
	const char *point = strptime(ts, "%Y-%m-%dT%H:%M:%S", &utc);
	size_t digits = point != NULL && point[0] == '.' ? strspn(point + 1, "0123456789") : 0;
	time_t seconds = timegm(&utc);
	*milliseconds = digits >= 3 ? point + 1 : "";
	return digits >= 3 && strcmp(point + 1 + digits, "Z") == 0 && localtime_r(&seconds, local) != NULL;
}

/* A line of its own, where another day begins than that of the event before; today is known. */
static void put_day(const struct tail_view *view, const struct tm *local)
{
	static struct tm last;
	time_t now = time(NULL);
	if (last.tm_mday == 0 && localtime_r(&now, &last) == NULL) /* no month has a day 0: this is the first */
		return;
	bool same = local->tm_year == last.tm_year && local->tm_yday == last.tm_yday;
	last = *local;
	if (same)
		return;
	char *text = cli_format("--- %04d-%02d-%02d ---", local->tm_year + 1900, local->tm_mon + 1, local->tm_mday);
	put(view, dim, text);
	putchar('\n');
	free(text);
}

/* HH:MM:SS.mmm here. */
static void put_time(const struct tail_view *view, const char *ts)
{
	struct tm local;
	const char *milliseconds;
	if (!read_time(ts, &local, &milliseconds)) {
		put(view, dim, "--:--:--.---");
		return;
	}
	put_day(view, &local);
	char *text = cli_format("%02d:%02d:%02d.%.3s", local.tm_hour, local.tm_min, local.tm_sec, milliseconds);
	put(view, dim, text);
	free(text);
}

static void put_process(const struct tail_view *view, const json_t *event)
{
	const char *program = event_text(event, "program");
	int64_t pid = event_number(event, "pid", -1);
	if (program[0] == '\0' && pid < 0)
		return;
	putchar(' ');
	put(view, plain, program);
	if (pid >= 0)
		printf("[%" PRId64 "]", pid);
}

/* Its first digits: they are random, and the whole is found by them. */
static void put_operation(const struct tail_view *view, const json_t *event)
{
	const char *op = event_text(event, "op"), *trace = event_text(event, "trace_id");
	if (op[0] == '\0')
		return;
	bool traced = view->trace && trace[0] != '\0';
	char *text = cli_format("%.6s%s%s", op, traced ? "/" : "", traced ? trace : "");
	putchar(' ');
	put(view, colour_of_op(op), text);
	free(text);
}

static void show_event(const struct tail_view *view, const json_t *event)
{
	const char *target = event_text(event, "target");
	char *words = tail_words(event);
	put_time(view, event_text(event, "ts"));
	put_process(view, event);
	put_operation(view, event);
	putchar(' ');
	put(view, plain, target);
	fputs(target[0] != '\0' ? ": " : "", stdout);
	put(view, colour_of_event(event_text(event, "event")), words);
	putchar('\n');
	free(words);
}

static void show_other(const struct tail_view *view, const char *line, size_t length)
{
	if (length > 0 && line[length - 1] == '\r') /* of a CRLF */
		length--;
	char *text = cli_format("%*s", (int)length, "");
	for (size_t i = 0; i < length; i++)
		text[i] = (char)(line[i] == '\t' ? ' ' : line[i] != '\0' ? line[i] : '?');
	put(view, dim, text);
	putchar('\n');
	free(text);
}

void tail_show(const struct tail_view *view, const char *line, size_t length)
{
	json_t *event = read_event(line, length);
	if (event != NULL && takes(view, event))
		show_event(view, event);
	else if (event == NULL && view->others)
		show_other(view, line, length);
	json_decref(event);
}

void tail_flush(void)
{
	bool failed = ferror(stdout) != 0;
	errno = 0;
	if (fflush(stdout) == 0 && !failed)
		return;
	cli_error("cannot write to standard output%s%s", errno != 0 ? ": " : "", errno != 0 ? strerror(errno) : "");
	_exit(CLI_FAILED); /* at exit main.c would say it again, and no longer know why */
}
