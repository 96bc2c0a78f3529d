#include "report/line.h"

#include <stdbool.h>
#include <string.h>

static void put(struct line *line, char c)
{
	if (line->length < sizeof line->text - LINE_RESERVE)
		line->text[line->length++] = c;
}

static void put_raw(struct line *line, const char *text)
{
	while (*text != '\0')
		put(line, *text++);
}

static bool is_control(unsigned char c) { return c < ' ' || c == 0x7f; }

/* True if none of eight bytes is a control byte; false for some others too. (A file of metrics has a quarter of a million.) */
static bool are_plain(uint64_t bytes)
{
	const uint64_t each = UINT64_C(0x0101010101010101), top = 0x80 * each, deleted = bytes ^ 0x7f * each;
	return ((((bytes - ' ' * each) & ~bytes) | ((deleted - each) & ~deleted)) & top) == 0;
}

void line_text(struct line *line, const char *text)
{
	size_t left = sizeof line->text - LINE_RESERVE - line->length, length = strnlen(text, left), i = 0;
	char *to = line->text + line->length;
	for (uint64_t bytes; i + sizeof bytes <= length; i += sizeof bytes) {
		memcpy(&bytes, text + i, sizeof bytes);
		if (!are_plain(bytes))
			break;
		memcpy(to + i, &bytes, sizeof bytes);
	}
	for (; i < length; i++)
		to[i] = is_control((unsigned char)text[i]) ? '?' : text[i];
	line->length += length;
}

void line_bytes(struct line *line, const char *text, size_t length)
{
	size_t left = sizeof line->text - LINE_RESERVE - line->length;
	length = length < left ? length : left;
	memcpy(line->text + line->length, text, length);
	line->length += length;
}

void line_padded(struct line *line, uint64_t number, int digits)
{
	char text[20];
	int at = sizeof text;
	do {
		text[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (at > 0 && (number != 0 || (int)sizeof text - at < digits));
	while (at < (int)sizeof text)
		put(line, text[at++]);
}

void line_unsigned(struct line *line, uint64_t number) { line_padded(line, number, 1); }

void line_hex(struct line *line, uint64_t number)
{
	for (int shift = 60; shift >= 0; shift -= 4)
		put(line, "0123456789abcdef"[number >> shift & 15]);
}

void line_seconds(struct line *line, int64_t ns)
{
	uint64_t tenths = ((uint64_t)ns + 50000000) / 100000000;
	line_unsigned(line, tenths / 10);
	put(line, '.');
	line_unsigned(line, tenths % 10);
	put(line, 's');
}

/* Civil date of a day count since 1970-01-01, by 400-year eras that start in March. */
static void civil_from_days(int64_t days, uint64_t *year, uint64_t *month, uint64_t *day)
{
	uint64_t shifted = (uint64_t)(days + 719468);
	uint64_t era = shifted / 146097, of_era = shifted % 146097;
	uint64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	uint64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	uint64_t shifted_month = (5 * of_year + 2) / 153;
	*day = of_year - (153 * shifted_month + 2) / 5 + 1;
	*month = shifted_month < 10 ? shifted_month + 3 : shifted_month - 9;
	*year = year_of_era + era * 400 + (*month <= 2 ? 1 : 0);
}

static void put_time(struct line *line, int64_t wall_us, const char *dash, const char *colon)
{
	uint64_t year, month, day;
	uint64_t seconds = (uint64_t)(wall_us / 1000000);
	civil_from_days((int64_t)(seconds / 86400), &year, &month, &day);
	line_padded(line, year, 4);
	put_raw(line, dash);
	line_padded(line, month, 2);
	put_raw(line, dash);
	line_padded(line, day, 2);
	put(line, 'T');
	line_padded(line, seconds / 3600 % 24, 2);
	put_raw(line, colon);
	line_padded(line, seconds / 60 % 60, 2);
	put_raw(line, colon);
	line_padded(line, seconds % 60, 2);
	put(line, '.');
	line_padded(line, (uint64_t)(wall_us % 1000000), 6);
	put(line, 'Z');
}

void line_time(struct line *line, int64_t wall_us) { put_time(line, wall_us, "-", ":"); }

void line_compact_time(struct line *line, int64_t wall_us) { put_time(line, wall_us, "", ""); }

/* ---- JSON ------------------------------------------------------------------------------------- */

/* Length of the well-formed UTF-8 sequence at `text` (RFC 3629, 4), 0 if there is none. */
static size_t utf8_length(const unsigned char *text)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t more;
	if (text[0] < 0x80)
		return 1;
	if (text[0] >= 0xc2 && text[0] <= 0xdf)
		more = 1;
	else if (text[0] >= 0xe0 && text[0] <= 0xef)
		more = 2;
	else if (text[0] >= 0xf0 && text[0] <= 0xf4)
		more = 3;
	else
		return 0;
	if (text[0] == 0xe0)
		low = 0xa0;
	if (text[0] == 0xed)
		high = 0x9f;
	if (text[0] == 0xf0)
		low = 0x90;
	if (text[0] == 0xf4)
		high = 0x8f;
	for (size_t i = 1; i <= more; i++, low = 0x80, high = 0xbf)
		if (text[i] < low || text[i] > high)
			return 0;
	return more + 1;
}

static void put_escaped(struct line *line, const char *value)
{
	const unsigned char *text = (const unsigned char *)value;
	while (*text != '\0') {
		size_t length = utf8_length(text);
		if (length == 0) {
			put_raw(line, "\\ufffd");
			text++;
		} else if (*text == '"' || *text == '\\') {
			put(line, '\\');
			put(line, (char)*text++);
		} else if (*text < ' ' || *text == 0x7f) {
			put_raw(line, "\\u00");
			put(line, "0123456789abcdef"[*text >> 4]);
			put(line, "0123456789abcdef"[*text & 15]);
			text++;
		} else {
			while (length-- > 0)
				put(line, (char)*text++);
		}
	}
}

static void put_key(struct line *line, const char *key)
{
	if (line->text[line->length - 1] != '{')
		put(line, ',');
	put(line, '"');
	put_raw(line, key);
	put_raw(line, "\":");
}

/* A member that met the end is taken back whole: half a member is no JSON. */
static void keep_if_whole(struct line *line, size_t before)
{
	if (line->length == sizeof line->text - LINE_RESERVE)
		line->length = before;
}

void line_json_open(struct line *line) { put(line, '{'); }

void line_json_string(struct line *line, const char *key, const char *value)
{
	size_t before = line->length;
	put_key(line, key);
	put(line, '"');
	put_escaped(line, value);
	put(line, '"');
	keep_if_whole(line, before);
}

void line_json_hex(struct line *line, const char *key, uint64_t value)
{
	size_t before = line->length;
	put_key(line, key);
	put(line, '"');
	line_hex(line, value);
	put(line, '"');
	keep_if_whole(line, before);
}

void line_json_number(struct line *line, const char *key, uint64_t value)
{
	size_t before = line->length;
	put_key(line, key);
	line_unsigned(line, value);
	keep_if_whole(line, before);
}

void line_json_close(struct line *line) { line->text[line->length++] = '}'; /* from the reserve */ }

void line_end(struct line *line) { line->text[line->length++] = '\n'; /* from the reserve */ }
