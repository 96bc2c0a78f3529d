/* Reading the small language of steps and options. */
#ifndef FAULTS_TEXT_H
#define FAULTS_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A span that may hold NULs. One more NUL follows the last byte. Never owned: it points into the
 * step's storage. */
struct bytes {
	const char *data;
	size_t length;
};

/* "500ms", "1.5s", "20us", "2m" to nanoseconds; false if it is anything else or longer than a day. */
bool text_duration(const char *text, int64_t *ns);

/* Whole string, decimal digits only, at most 10^15. */
bool text_count(const char *text, int64_t *count);

/* Ends the first piece of *cursor at the next separator that no backslash escapes, and returns it;
 * *cursor moves behind the separator, or becomes NULL after the last piece. Escapes stay as they
 * are, so that a piece can be cut again at another separator. */
char *text_cut(char **cursor, char separator);

/* Replaces \\ \, \| \r \n \t \0 in place; false on any other escape. */
bool text_unescape(char *text, struct bytes *bytes);

#endif
