/* What a header block tells of a representation, and whether another response goes on with it (RFC 9110, 13.1.5,
 * 14.4 and 15.3.7). */
#include "support.h"

#define NOW_S INT64_C(1794000000) /* Fri, 06 Nov 2026 12:00:00 GMT or thereabouts */
#define OLD "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\n"

/* Lines end in \n; the last line need not. */
static struct entity entity_of(int status, const char *lines)
{
	struct entity entity;
	entity_clear(&entity, status, NOW_S);
	while (*lines != '\0') {
		size_t length = strcspn(lines, "\n");
		entity_read_line(&entity, lines, length);
		lines += length + (lines[length] == '\n');
	}
	return entity;
}

static void resumable(void **state)
{
	static const struct {
		const char *lines;
		bool want;
		const char *validator;
	} rows[] = {
		{"Accept-Ranges: bytes\nETag: \"a\"", true, "\"a\""},
		{"accept-ranges:BYTES\netag:\"\"\r", true, "\"\""},
		{"Accept-Ranges: bytes\n" OLD, true, "Sun, 06 Nov 1994 08:49:37 GMT"},
		{"Accept-Ranges: bytes\nETag: \"a\"\n" OLD, true, "\"a\""},
		{"Accept-Ranges: bytes\nETag: W/\"a\"", false, ""},
		{"Accept-Ranges: bytes\nETag: W/\"a\"\n" OLD, false, ""},
		{"Accept-Ranges: bytes\nETag: a", false, ""},
		{"Accept-Ranges: bytes\nETag: \"", false, ""},
		{"Accept-Ranges: bytes", false, ""},
		{"Accept-Ranges: none\nETag: \"a\"", false, "\"a\""},
		{"Accept-Ranges: bytes, none\nETag: \"a\"", false, "\"a\""},
		{"ETag: \"a\"", false, "\"a\""},
		{"Accept-Ranges: bytes\nETag: \"a\"\nContent-Encoding: gzip", false, "\"a\""},
		{"Accept-Ranges: bytes\nLast-Modified: yesterday", false, "yesterday"},
		/* A minute old when it was sent, by the server's clock if it tells. */
		{"Accept-Ranges: bytes\nDate: Sun, 06 Nov 1994 08:50:37 GMT\n" OLD, true, "Sun, 06 Nov 1994 08:49:37 GMT"},
		{"Accept-Ranges: bytes\nDate: Sun, 06 Nov 1994 08:50:36 GMT\n" OLD, false, "Sun, 06 Nov 1994 08:49:37 GMT"},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct entity entity = entity_of(200, rows[i].lines);
		CHECK_INT(rows[i].lines, entity_resumable(&entity), rows[i].want);
		CHECK_TEXT(rows[i].lines, entity_validator(&entity), rows[i].validator);
		entity = entity_of(206, rows[i].lines);
		CHECK_INT(rows[i].lines, entity_resumable(&entity), false);
	}
}

/* A validator that does not fit is none; it must not be cut. */
static void long_validators(void **state)
{
	char line[2 * VALIDATOR_BYTES];
	(void)state;
	for (int length = VALIDATOR_BYTES - 3; length < VALIDATOR_BYTES + 3; length++) {
		snprintf(line, sizeof line, "ETag: \"%0*d\"", length - 2, 7);
		struct entity entity = entity_of(200, line);
		CHECK_INT(line, strlen(entity.etag), length < VALIDATOR_BYTES ? length : 0);
		CHECK_INT(line, entity.has_etag, true);
	}
}

/* Nor does one end at a NUL. */
static void validators_with_nul(void **state)
{
	struct entity entity = entity_of(200, "Accept-Ranges: bytes");
	(void)state;
	entity_read_line(&entity, "ETag: \"a\0b\"", 11);
	entity_read_line(&entity, "Last-Modified: a\0b", 18);
	assert_string_equal(entity.etag, "");
	assert_string_equal(entity.modified, "");
	assert_false(entity_resumable(&entity));
}

static void continues(void **state)
{
#define WHOLE "Accept-Ranges: bytes\nContent-Length: 10\nETag: \"a\"\n" OLD
#define SAME "ETag: \"a\"\n"
	static const struct {
		const char *whole, *rest;
		int status;
		bool want;
	} rows[] = {
		{WHOLE, SAME "Content-Range: bytes 4-9/10", 206, true},
		{WHOLE, SAME "content-range:Bytes 4-9/10\r", 206, true},
		{WHOLE, SAME OLD "Content-Range: bytes 4-9/10", 206, true},
		{WHOLE, SAME "Content-Length: 6\nContent-Range: bytes 4-9/10", 206, true},
		{WHOLE, SAME "Content-Length: 7\nContent-Range: bytes 4-9/10", 206, false},
		{WHOLE, SAME "Content-Length: 5\nContent-Range: bytes 4-9/10", 206, false},
		{WHOLE, SAME "Content-Range: bytes 4-9/10", 200, false},
		{WHOLE, SAME "Content-Range: bytes 3-9/10", 206, false},
		{WHOLE, SAME "Content-Range: bytes 5-9/10", 206, false},
		{WHOLE, SAME "Content-Range: bytes 4-8/10", 206, false},
		{WHOLE, SAME "Content-Range: bytes 4-10/11", 206, false},
		{WHOLE, SAME "Content-Range: bytes 4-9/*", 206, false},
		{WHOLE, SAME "Content-Range: bytes */10", 206, false},
		{WHOLE, SAME "Content-Range: lines 4-9/10", 206, false},
		{WHOLE, SAME "Content-Range: bytes 4-9", 206, false},
		{WHOLE, SAME "Content-Range: bytes 4/9-10", 206, false},
		{WHOLE, SAME "Content-Range: bytes -4-9/10", 206, false},
		{WHOLE, SAME "Content-Range: bytes 4-9/10 ", 206, true},
		{WHOLE, SAME "Content-Range: bytes 4 - 9/10", 206, false},
		{WHOLE, SAME "Content-Range: bytes 4-9/99999999999999999999", 206, false},
		{WHOLE, SAME "Content-Range: bytes", 206, false},
		/* twice */
		{WHOLE, SAME "Content-Range: bytes 4-9/10\ncontent-range: bytes 4-9/10", 206, true},
		{WHOLE, SAME "Content-Range: bytes 4-9/10\nContent-Range: bytes */10", 206, false},
		{WHOLE, SAME "Content-Range: bytes */10\nContent-Range: bytes 4-9/10", 206, false},
		{WHOLE, SAME "Content-Range: bytes 0-9/10\nContent-Range: bytes 4-9/10", 206, false},
		{WHOLE, SAME "Content-Range: bytes 4-9/10\nContent-Range: bytes 4-9/10\nContent-Range: bytes 4-8/9", 206, false},
		{WHOLE, SAME "", 206, false},
		{WHOLE, SAME "Content-Range: bytes 4-9/10\nContent-Encoding: gzip", 206, false},
		{WHOLE, "ETag: \"b\"\nContent-Range: bytes 4-9/10", 206, false},
		{WHOLE, "ETag: W/\"a\"\nContent-Range: bytes 4-9/10", 206, false},
		{WHOLE, "Content-Range: bytes 4-9/10", 206, false},
		{WHOLE, OLD "Content-Range: bytes 4-9/10", 206, false},
		{WHOLE, SAME "Last-Modified: Sun, 06 Nov 1994 08:49:38 GMT\nContent-Range: bytes 4-9/10", 206, false},
		{"Accept-Ranges: bytes\nETag: \"a\"", SAME "Content-Range: bytes 4-6/7", 206, true},
		{"Accept-Ranges: bytes\nETag: \"a\"", SAME "Content-Range: bytes 4-4/5", 206, true},
		{"Accept-Ranges: bytes\nETag: \"a\"", SAME "Content-Range: bytes 4-3/4", 206, false},
		{"Accept-Ranges: bytes\n" OLD, OLD "Content-Range: bytes 4-6/7", 206, true},
		{"Accept-Ranges: bytes\n" OLD, SAME OLD "Content-Range: bytes 4-6/7", 206, false},
		{"Accept-Ranges: bytes\n" OLD, "Content-Range: bytes 4-6/7", 206, false},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct entity whole = entity_of(200, rows[i].whole), rest = entity_of(rows[i].status, rows[i].rest);
		CHECK_INT(rows[i].rest, entity_continues(&whole, &rest, 4), rows[i].want);
	}
}

/* FTP: size and time, by what the program knew, or by a day. */
static void file_continues(void **state)
{
	enum { DAY_S = 86400 };
	static const struct {
		const char *row;
		int64_t length, modified_s, rest, now_s;
		bool want;
	} rows[] = {
		{"same time", 10, NOW_S - 5, 6, NOW_S - 5, true},
		{"later", 10, NOW_S - 5, 6, NOW_S - 4, false},
		{"earlier", 10, NOW_S - 5, 6, NOW_S - 6, false},
		{"time is no longer told", 10, NOW_S - 5, 6, -1, false},
		{"old", 10, -1, 6, NOW_S - DAY_S - 1, true},
		{"not old enough", 10, -1, 6, NOW_S - DAY_S, false},
		{"in the future", 10, -1, 6, NOW_S + DAY_S, false},
		{"never told", 10, -1, 6, -1, false},
		{"longer", 10, NOW_S - 5, 7, NOW_S - 5, false},
		{"shorter", 10, NOW_S - 5, 5, NOW_S - 5, false},
		{"length not told", 10, NOW_S - 5, -1, NOW_S - 5, false},
		{"length was not told", -1, NOW_S - 5, 6, NOW_S - 5, false},
		{"neither was", -1, NOW_S - 5, -5, NOW_S - 5, false},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct entity whole = {.length = rows[i].length, .modified_s = rows[i].modified_s};
		struct entity rest = {.length = rows[i].rest, .modified_s = rows[i].now_s};
		CHECK_INT(rows[i].row, entity_file_continues(&whole, &rest, 4, NOW_S), rows[i].want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(resumable),
		cmocka_unit_test(long_validators), cmocka_unit_test(validators_with_nul),
		cmocka_unit_test(continues),
		cmocka_unit_test(file_continues),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
