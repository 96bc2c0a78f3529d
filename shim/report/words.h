/* What an event is in words, apart from where it is written: for the report room, and for `retryshim tail`, which says
 * of an event's JSON what its text would have said. */
#ifndef RETRYSHIM_REPORT_WORDS_H
#define RETRYSHIM_REPORT_WORDS_H

#include "report/line.h"
#include "retryshim/report.h"

/* "Retry attempt 1/3 failed: ..." and the marks behind it. Reads neither target, program nor identifiers. */
void words_event(struct line *line, const struct report_event *event);

/* The event's own message, or its class's. */
const char *words_message(const struct report_event *event);

/* "NAME=VALUE is not used (WHY)"; what follows from it is the caller's to say. */
void words_unused(struct line *line, const char *name, const char *value, const char *why);

void words_bad_value(struct line *line, const char *name, const char *value, const char *used);

#endif
