/* An event's JSON in the words of its text: read back into the report room's terms, and given to it. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/events.h"
#include "cli/tail.h"
#include "report/words.h"
#include "retryshim/cli.h"

struct target tail_target(const char *text)
{
	static const char unix_prefix[] = "unix:";
	struct target target = {.is_unix = strncmp(text, unix_prefix, strlen(unix_prefix)) == 0};
	char url[TARGET_TEXT_MAX + 8];
	if (target.is_unix) {
		snprintf(target.name, sizeof target.name, "%s", text + strlen(unix_prefix));
	} else {
		snprintf(url, sizeof url, "any://%s", text); /* no scheme would mean port 80 */
		target_set_url(&target, url);
	}
	return target;
}

static bool has(const json_t *event, const char *key) { return json_object_get(event, key) != NULL; }

/* ---- operations ------------------------------------------------------------------------------------ */

/* Members that its words are made of, beside those that every event has. The shim leaves out what would make its line
 * too long. */
static const struct {
	enum event event;
	const char *needs[2];
} known[] = {
	{EVENT_ATTEMPT_FAILED, {"error", "delay_ms"}},
	{EVENT_SUCCEEDED, {NULL}},
	{EVENT_EXHAUSTED, {"error"}},
	{EVENT_GIVEN_UP, {"error", "reason"}},
	{EVENT_NOT_RETRYABLE, {"error"}},
	{EVENT_FALLBACK, {"error", "fallback"}},
};

static bool has_needs(const json_t *event, const char *const needs[2])
{
	return (needs[0] == NULL || has(event, needs[0])) && (needs[1] == NULL || has(event, needs[1]));
}

static enum event read_event_name(const json_t *event)
{
	const char *name = event_text(event, "event");
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (strcmp(event_name(known[i].event), name) == 0)
			return has_needs(event, known[i].needs) ? known[i].event : EVENT_NONE;
	return EVENT_NONE;
}

static enum reason read_reason(const char *name)
{
	for (int reason = REASON_NONE; reason < REASONS; reason++)
		if (strcmp(reason_name((enum reason)reason), name) == 0)
			return (enum reason)reason;
	return REASONS; /* of a newer version */
}

/* A number of attempts; 0 if there is none. */
static int read_count(const json_t *event, const char *key)
{
	int64_t count = event_number(event, key, 0);
	return count > 0 && count <= INT_MAX ? (int)count : 0;
}

static int64_t read_ms(const json_t *event, const char *key)
{
	int64_t ms = event_number(event, key, 0);
	return ms > 0 && ms <= INT64_MAX / NS_PER_MS ? ms * NS_PER_MS : 0;
}

static bool put_operation(struct line *line, const json_t *event)
{
	struct class class = {.message = ""};
	struct target fallback = tail_target(event_text(event, "fallback"));
	struct report_event it = {
		.event = read_event_name(event),
		.operation = event_text(event, "operation"),
		.attempt = read_count(event, "attempt"),
		.max_attempts = read_count(event, "max_attempts"),
		.shared = has(event, "shared"),
		.fallback = &fallback,
		.replays = read_count(event, "replays"),
		.class = &class,
		.message = event_text(event, "message"),
		.delay_ns = read_ms(event, "delay_ms"),
		.reason = read_reason(event_text(event, "reason")),
	};
	snprintf(class.symbol, sizeof class.symbol, "%s", event_text(event, "error"));
	if (it.event == EVENT_NONE || it.operation[0] == '\0' || it.attempt == 0 || it.max_attempts == 0 ||
	    it.reason == REASONS)
		return false;
	words_event(line, &it);
	return true;
}

/* ---- settings -------------------------------------------------------------------------------------- */

static bool put_setting(struct line *line, const json_t *event)
{
	const char *event_is = event_text(event, "event");
	const char *variable = event_text(event, "variable"), *value = event_text(event, "value");
	if (variable[0] == '\0' || !has(event, "value"))
		return false;
	if (strcmp(event_is, "bad_value") == 0 && has(event, "default")) {
		words_bad_value(line, variable, value, event_text(event, "default"));
		return true;
	}
	if (strcmp(event_is, "unused_value") == 0 && has(event, "reason")) {
		words_unused(line, variable, value, event_text(event, "reason"));
		line_text(line, "."); /* JSON does not tell what follows from it */
		return true;
	}
	return false;
}

/* ---- anything else --------------------------------------------------------------------------------- */

/* What the line does not begin with anyway. */
static const char *const members[] = {
	"operation", "attempt", "max_attempts", "category", "severity", "error", "message", "replays", "shared",
	"fallback", "delay_ms", "elapsed_ms", "reason", "variable", "value", "default",
};

static char *plain(const json_t *event)
{
	char *text = cli_format("%s", event_text(event, "event"));
	for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
		char *value = json_dumps(json_object_get(event, members[i]), JSON_ENCODE_ANY | JSON_COMPACT);
		if (value == NULL)
			continue;
		char *longer = cli_format("%s %s=%s", text, members[i], value);
		free(text);
		free(value);
		text = longer;
	}
	return text;
}

char *tail_words(const json_t *event)
{
	struct line line = {0};
	if (put_operation(&line, event) || put_setting(&line, event))
		return cli_format("%.*s", (int)line.length, line.text);
	return plain(event);
}
