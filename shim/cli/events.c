#include "cli/events.h"

#include <stdbool.h>
#include <string.h>

static bool has_text(const json_t *event, const char *key) { return event_text(event, key)[0] != '\0'; }

/* Other programs' lines have a member `event` as well (structlog's: what they say), and a `ts` perhaps; only ours have
 * an operation's id beside it, or the variable that a setting is of. Names are not asked: a newer shim has more. */
static bool is_ours(const json_t *event)
{
	const char *name = event_text(event, "event");
	if (name[0] == '\0' || strlen(name) != json_string_length(json_object_get(event, "event")))
		return false;
	bool setting = strcmp(name, "bad_value") == 0 || strcmp(name, "unused_value") == 0;
	return has_text(event, "ts") && has_text(event, setting ? "variable" : "op");
}

json_t *event_read(const char *line, size_t length)
{
	json_t *event = json_loadb(line, length, JSON_ALLOW_NUL, NULL); /* strict: nothing may follow */
	if (is_ours(event))
		return event;
	json_decref(event);
	return NULL;
}

const char *event_text(const json_t *event, const char *key)
{
	const char *text = json_string_value(json_object_get(event, key));
	return text != NULL ? text : "";
}

int64_t event_number(const json_t *event, const char *key, int64_t otherwise)
{
	const json_t *number = json_object_get(event, key);
	return json_is_integer(number) ? json_integer_value(number) : otherwise;
}
