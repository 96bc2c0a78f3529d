/* Bytes as they are read, cut into lines. */
#include <string.h>

#include "cli/tail.h"

static void keep(struct tail_lines *lines, const char *bytes, size_t length)
{
	size_t room = sizeof lines->text - lines->length;
	size_t kept = length < room ? length : room;
	memcpy(lines->text + lines->length, bytes, kept);
	lines->length += kept;
}

void tail_lines_feed(struct tail_lines *lines, const char *bytes, size_t length, tail_taker *take, void *context)
{
	const char *end = bytes + length, *newline;
	for (; (newline = memchr(bytes, '\n', (size_t)(end - bytes))) != NULL; bytes = newline + 1) {
		keep(lines, bytes, (size_t)(newline - bytes));
		take(context, lines->text, lines->length);
		lines->length = 0;
	}
	keep(lines, bytes, (size_t)(end - bytes));
}

void tail_lines_end(struct tail_lines *lines, tail_taker *take, void *context)
{
	if (lines->length != 0)
		take(context, lines->text, lines->length);
	lines->length = 0;
}
