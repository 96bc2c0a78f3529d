/* The line builder: numbers, times, JSON, and what happens at its end. */
#include "report/line.h"
#include "support.h"

static const char *text_of(struct line *line)
{
	assert_true(line->length < sizeof line->text);
	line->text[line->length] = '\0';
	return line->text;
}

static void seconds_have_one_decimal(void **state)
{
	static const struct {
		int64_t ns;
		const char *text;
	} rows[] = {{0, "0.0s"}, {49999999, "0.0s"}, {50000000, "0.1s"}, {700000000, "0.7s"}, {949999999, "0.9s"},
	            {950000000, "1.0s"}, {30000000000, "30.0s"}, {3600000000000, "3600.0s"}};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct line line = {0};
		line_seconds(&line, rows[i].ns);
		CHECK_TEXT(rows[i].text, text_of(&line), rows[i].text);
	}
}

static void times_are_rfc3339(void **state)
{
	static const struct {
		int64_t us;
		const char *text, *compact;
	} rows[] = {
		{0, "1970-01-01T00:00:00.000000Z", "19700101T000000.000000Z"},
		{951782400000001, "2000-02-29T00:00:00.000001Z", "20000229T000000.000001Z"},
		{1709251199999999, "2024-02-29T23:59:59.999999Z", "20240229T235959.999999Z"},
		{1709251200000000, "2024-03-01T00:00:00.000000Z", "20240301T000000.000000Z"},
		{4107542400000000, "2100-03-01T00:00:00.000000Z", "21000301T000000.000000Z"},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct line line = {0}, compact = {0};
		line_time(&line, rows[i].us);
		line_compact_time(&compact, rows[i].us);
		CHECK_TEXT(rows[i].text, text_of(&line), rows[i].text);
		CHECK_TEXT(rows[i].text, text_of(&compact), rows[i].compact);
	}
}

static void strings_are_escaped(void **state)
{
	static const struct {
		const char *value, *json;
	} rows[] = {
		{"plain", "{\"k\":\"plain\"}"},
		{"a\"b\\c", "{\"k\":\"a\\\"b\\\\c\"}"},
		{"\n\t\x01\x7f", "{\"k\":\"\\u000a\\u0009\\u0001\\u007f\"}"},
		{"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "{\"k\":\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"}"},
		/* No UTF-8: a stray byte, an overlong form, a surrogate, a sequence cut short. */
		{"\x80", "{\"k\":\"\\ufffd\"}"},
		{"\xc0\xaf", "{\"k\":\"\\ufffd\\ufffd\"}"},
		{"\xed\xa0\x80", "{\"k\":\"\\ufffd\\ufffd\\ufffd\"}"},
		{"\xe2\x82", "{\"k\":\"\\ufffd\\ufffd\"}"},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct line line = {0};
		line_json_open(&line);
		line_json_string(&line, "k", rows[i].value);
		line_json_close(&line);
		CHECK_TEXT(rows[i].json, text_of(&line), rows[i].json);
	}
}

/* A member that does not fit is left out whole; the ending always fits. */
static void a_full_line_is_still_json(void **state)
{
	(void)state;
	for (size_t length = 900; length < REPORT_LINE_MAX + 20; length++) {
		char value[REPORT_LINE_MAX + 32];
		struct line line = {0};
		memset(value, 'x', length);
		value[length] = '\0';
		line_json_open(&line);
		line_json_number(&line, "n", 1);
		line_json_string(&line, "long", value);
		line_json_string(&line, "after", "y");
		line_json_close(&line);
		line_end(&line);
		assert_true(line.length <= REPORT_LINE_MAX);
		assert_memory_equal(line.text + line.length - 2, "}\n", 2);
		assert_true(line.text[line.length - 3] == '"' || line.text[line.length - 3] == '1');
	}
}

static void a_long_text_is_cut(void **state)
{
	(void)state;
	struct line line = {0};
	for (int i = 0; i < 3000; i++)
		line_text(&line, "z");
	line_end(&line);
	assert_true(line.length <= REPORT_LINE_MAX && line.text[line.length - 1] == '\n');
}

static void control_bytes_do_not_reach_a_terminal(void **state)
{
	(void)state;
	struct line line = {0};
	line_text(&line, "a\x1b[31m\nb");
	CHECK_TEXT("escape", text_of(&line), "a?[31m?b");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(seconds_have_one_decimal),  cmocka_unit_test(times_are_rfc3339),
		cmocka_unit_test(strings_are_escaped),       cmocka_unit_test(a_full_line_is_still_json),
		cmocka_unit_test(a_long_text_is_cut),        cmocka_unit_test(control_bytes_do_not_reach_a_terminal),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
