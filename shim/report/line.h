/* Builds one line of text without allocation, locale or printf: those are unsafe in a signal handler,
 * and a decimal comma would end up in JSON. For the report room, and who shows its words (words.h). */
#ifndef RETRYSHIM_REPORT_LINE_H
#define RETRYSHIM_REPORT_LINE_H

#include <stddef.h>
#include <stdint.h>

#include "retryshim/report.h"

struct line {
	size_t length;
	char text[REPORT_LINE_MAX]; /* not terminated */
};

/* Each appends as much as leaves room for an ending of LINE_RESERVE bytes. */
enum { LINE_RESERVE = 8 };

void line_text(struct line *line, const char *text);     /* control bytes become '?' */
void line_bytes(struct line *line, const char *text, size_t length); /* as they are */
void line_unsigned(struct line *line, uint64_t number);
void line_padded(struct line *line, uint64_t number, int digits);
void line_hex(struct line *line, uint64_t number);       /* 16 digits */
void line_seconds(struct line *line, int64_t ns);        /* "0.7s" */
void line_time(struct line *line, int64_t wall_us);      /* RFC 3339, UTC, microseconds */
void line_compact_time(struct line *line, int64_t wall_us); /* the same without punctuation, for file names */

/* One JSON member `"key":value`; a comma first unless the object is empty. Strings are escaped; bytes
 * that are no UTF-8 become U+FFFD. A member that does not fit whole is left out. */
void line_json_open(struct line *line);
void line_json_string(struct line *line, const char *key, const char *value);
void line_json_hex(struct line *line, const char *key, uint64_t value); /* a string of 16 digits */
void line_json_number(struct line *line, const char *key, uint64_t value);
void line_json_close(struct line *line);

void line_end(struct line *line); /* the newline; always fits */

#endif
