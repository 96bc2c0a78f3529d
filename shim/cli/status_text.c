/* Names from a file that anybody may have filled, made fit for a terminal and for JSON.
 *
 * The JSON is written by hand: a library (jansson) takes strings of well-formed UTF-8 alone, so that the one part which
 * is not trivial would be ours with it as well. */
#include <langinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "cli/status.h"
#include "retryshim/cli.h"

enum { REPLACEMENT = 0xfffd };

/* The next code point, *text moved behind it; REPLACEMENT for one byte that begins none (RFC 3629, 3). A string's end
 * is no continuation: nothing behind it is read. */
static uint32_t next_point(const char **text)
{
	static const uint32_t smallest[] = {0, 0x80, 0x800, 0x10000};
	const unsigned char *byte = (const unsigned char *)*text;
	*text += 1;
	if (byte[0] < 0x80)
		return byte[0];
	if (byte[0] < 0xc2 || byte[0] > 0xf4)
		return REPLACEMENT;
	int more = byte[0] >= 0xf0 ? 3 : byte[0] >= 0xe0 ? 2 : 1;
	uint32_t point = byte[0] & (0x3fU >> more);
	for (int i = 1; i <= more; i++) {
		if ((byte[i] & 0xc0) != 0x80)
			return REPLACEMENT;
		point = point << 6 | (byte[i] & 0x3fU);
	}
	if (point < smallest[more] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
		return REPLACEMENT;
	*text += more;
	return point;
}

/* Columns of a code point; 0 for what is no visible character of this locale: control characters, marks that turn the
 * line's direction. glibc's wchar_t is a code point. */
static int columns_of(uint32_t point)
{
	if (point >= 0x80 && strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
		return 0;
	int columns = wcwidth((wchar_t)point);
	return columns > 0 && point != REPLACEMENT ? columns : 0;
}

char *status_shown(const char *text)
{
	char *shown = cli_format("%s", text[0] != '\0' ? text : "-"), *end = shown + (text[0] == '\0');
	while (*text != '\0') {
		const char *start = text;
		bool visible = columns_of(next_point(&text)) != 0;
		size_t length = visible ? (size_t)(text - start) : 1;
		memcpy(end, visible ? start : "?", length);
		end += length;
	}
	*end = '\0';
	return shown;
}

int status_width(const char *shown)
{
	int width = 0;
	while (*shown != '\0')
		width += columns_of(next_point(&shown));
	return width;
}

void status_json_string(const char *text)
{
	putchar('"');
	while (*text != '\0') {
		const char *start = text;
		uint32_t point = next_point(&text);
		if (point < 0x20 || point == 0x7f || point == REPLACEMENT)
			printf("\\u%04x", point);
		else
			printf("%s%.*s", point == '"' || point == '\\' ? "\\" : "", (int)(text - start), start);
	}
	putchar('"');
}
