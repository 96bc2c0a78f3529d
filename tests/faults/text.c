#include "text.h"

#include <stdlib.h>
#include <string.h>

#define COUNT_MAX INT64_C(1000000000000000)

bool text_duration(const char *text, int64_t *ns)
{
	static const struct {
		const char *unit;
		double ns;
	} units[] = {{"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}};
	const double day_ns = 86400e9;
	char *unit;

	/* strtod() alone would let signs, blanks, "inf" and hexadecimal pass. */
	if (text[0] < '0' || text[0] > '9' || text[1] == 'x' || text[1] == 'X')
		return false;
	double number = strtod(text, &unit);
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(unit, units[i].unit) != 0 || number * units[i].ns > day_ns)
			continue;
		*ns = (int64_t)(number * units[i].ns);
		return true;
	}
	return false;
}

bool text_count(const char *text, int64_t *count)
{
	int64_t number = 0;
	if (*text == '\0')
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		number = number * 10 + (*text - '0');
		if (number > COUNT_MAX)
			return false;
	}
	*count = number;
	return true;
}

char *text_cut(char **cursor, char separator)
{
	char *piece = *cursor;
	char *at = piece;
	while (*at && *at != separator) {
		if (at[0] == '\\' && at[1])
			at++;
		at++;
	}
	*cursor = *at ? at + 1 : NULL;
	*at = '\0';
	return piece;
}

bool text_unescape(char *text, struct bytes *bytes)
{
	static const char names[] = "\\,|rnt0";
	static const char values[] = "\\,|\r\n\t";
	char *out = text;

	bytes->data = text;
	for (const char *in = text; *in; in++) {
		char c = *in;
		if (c == '\\') {
			const char *name = in[1] ? strchr(names, in[1]) : NULL;
			if (!name)
				return false;
			c = values[name - names];
			in++;
		}
		*out++ = c;
	}
	*out = '\0';
	bytes->length = (size_t)(out - text);
	return true;
}
