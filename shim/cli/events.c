#include "cli/events.h"

json_t *event_read(const char *line, size_t length)
{
	json_t *event = json_loadb(line, length, JSON_ALLOW_NUL, NULL); /* strict: nothing may follow */
	if (json_is_string(json_object_get(event, "event")))
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
