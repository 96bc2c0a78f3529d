/* Events as RETRY_DIAG_FORMAT=json writes them, read back: one JSON object a line, among which other programs may
 * have written what they liked. For report.c and tail.c. */
#ifndef RETRYSHIM_CLI_EVENTS_H
#define RETRYSHIM_CLI_EVENTS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* The event in a line, with or without its newline; to be given to json_decref(). NULL if there is none: no JSON, no
 * object, or another program's. An event has a text `ts`, a text `event` without NUL, and a text `op`; or, if it is a
 * bad_value or an unused_value, `variable`. */
json_t *event_read(const char *line, size_t length);

/* A member; "" or `otherwise` where the event has none of this name and kind. The text is the event's, and
 * ends at its first NUL, if it has one. */
const char *event_text(const json_t *event, const char *key);
int64_t event_number(const json_t *event, const char *key, int64_t otherwise);

#endif
