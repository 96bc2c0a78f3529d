/* Status lines, header lines and Retry-After (RFC 9110, 10.2.3 and 5.6.7). */
#include <stdlib.h>

#include "support.h"

/* Bytes without a terminator behind them, on the heap, so that the sanitizer sees one read too far. */
static char *exact_copy(const char *text, size_t length)
{
	char *copy = malloc(length != 0 ? length : 1);
	assert_non_null(copy);
	memcpy(copy, text, length);
	return copy;
}

static void status_lines(void **state)
{
	static const struct {
		const char *line;
		int status;
	} rows[] = {
		{"HTTP/1.1 503 Service Unavailable\r\n", 503}, {"HTTP/1.0 200 OK\r\n", 200}, {"HTTP/2 429\r\n", 429}, {"HTTP/2 429", 429},
		{"HTTP/2 429 \r\n", 429}, {"HTTP/3 500", 500}, {"HTTP/1.1 503", 503}, {"HTTP/1.1 503\n", 503}, {"HTTP/1.1 100 Continue", 100},
		{"HTTP/1.1 999 x", 999}, {"HTTP/1.1 50", 0}, {"HTTP/1.1 5000", 0}, {"HTTP/1.1  503", 0}, {"HTTP/1.1 5x3", 0},
		{"HTTP/1.1 x03", 0}, {"HTTP/1.1 50x", 0}, {"HTTP/1.1\t503", 0}, {"HTTP/1.1503 x", 0}, {"HTTP/ 503 nothing", 0},
		{"HTTP/1.1.1 503", 0}, {"HTTP/2 5 503", 0}, {"HTTP/11 503 x", 503}, {"HTTP/1 1 503", 0}, {"http/1.1 503 x", 0}, {"HTTPS/1.1 503", 0}, {" HTTP/1.1 503", 0}, {"ICY 200 OK\r\n", 0},
		{"Retry-After: 5", 0}, {"HTTP/2 42", 0}, {"HTTP/", 0}, {"HTTP/1.1 ", 0}, {"", 0}, {"\r\n", 0}, {"HTTP/1.1 -50 x", 0},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		size_t length = strlen(rows[i].line);
		char *line = exact_copy(rows[i].line, length);
		CHECK_INT(rows[i].line, http_status_line(line, length), rows[i].status);
		free(line);
	}
}

static void header_values(void **state)
{
	static const struct {
		const char *line, *name, *value; /* NULL: another header */
	} rows[] = {
		{"Retry-After: 120\r\n", "Retry-After", "120"}, {"retry-AFTER: 120\r\n", "Retry-After", "120"},
		{"Retry-After:120", "retry-after", "120"}, {"Retry-After: \t 120 \t \r\n", "Retry-After", "120"},
		{"Retry-After: a b \r\n", "Retry-After", "a b"}, {"Retry-After:\r\n", "Retry-After", ""}, {"Retry-After:", "Retry-After", ""},
		{"Retry-After: \t \r\n", "Retry-After", ""}, {"ETag: \"a:b\"\r\n", "ETag", "\"a:b\""},
		{"Retry-After : 120\r\n", "Retry-After", NULL}, {" Retry-After: 120\r\n", "Retry-After", NULL},
		{"Retry-After", "Retry-After", NULL}, {"Retry-Afte: 1", "Retry-After", NULL}, {"Retry-After2: 1", "Retry-After", NULL},
		{"X-Retry-After: 1", "Retry-After", NULL}, {"Retry: After: 1", "Retry-After", NULL}, {"", "Retry-After", NULL},
		{"\r\n", "Retry-After", NULL},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		size_t length = strlen(rows[i].line), value_length = 4711;
		char *line = exact_copy(rows[i].line, length);
		const char *value = http_header_value(line, length, rows[i].name, &value_length);
		CHECK_INT(rows[i].line, value != NULL, rows[i].value != NULL);
		if (value != NULL) {
			CHECK_INT(rows[i].line, value_length, strlen(rows[i].value));
			CHECK_INT(rows[i].line, value >= line && value + value_length <= line + length, true);
			CHECK_INT(rows[i].line, memcmp(value, rows[i].value, value_length), 0);
		}
		free(line);
	}
}

/* ---- Retry-After ------------------------------------------------------------------------------ */

#define MOST_MS (INT64_MAX / NS_PER_S * 1000) /* still a valid number of nanoseconds */

struct date_row {
	const char *value;
	int64_t wall_s, ms;
};

static void check_retry_after(const struct date_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char row[80];
		snprintf(row, sizeof row, "%s at %lld", rows[i].value, (long long)rows[i].wall_s);
		size_t length = strlen(rows[i].value);
		char *value = exact_copy(rows[i].value, length);
		CHECK_INT(row, http_retry_after_ms(value, length, rows[i].wall_s), rows[i].ms);
		free(value);
	}
}

static void retry_after_seconds(void **state)
{
	static const struct date_row rows[] = {
		{"0", 0, 0}, {"1", 0, 1000}, {"120", 1795000000, 120000}, {"0120", 0, 120000}, {"86400", 0, 86400000},
		{"9223372036", 0, MOST_MS}, {"9223372037", 0, MOST_MS}, {"9223372036854775807", 0, MOST_MS},
		{"9223372036854775808", 0, MOST_MS}, {"99999999999999999999", 0, MOST_MS}, {"999999999999999999999999999999999", 0, MOST_MS},
		{"9223372035", 0, MOST_MS - 1000}, {"00000000000000000000", 0, 0}, {"0000000000000000000000000000007", 0, 7000},
		{"", 0, -1}, {"-1", 0, -1}, {"+1", 0, -1}, {"1.5", 0, -1}, {"1,5", 0, -1}, {"1s", 0, -1}, {"1e3", 0, -1}, {"0x10", 0, -1},
		{"1 2", 0, -1}, {"5-", 0, -1}, {"soon", 0, -1}, {"9999999999999999999999x", 0, -1}, {";1", 0, -1},
	};
	(void)state;
	check_retry_after(rows, COUNT(rows));
}

/* 784111777 is the instant of RFC 9110's own example. */
static void retry_after_dates(void **state)
{
	static const struct date_row rows[] = {
		{"Sun, 06 Nov 1994 08:49:37 GMT", 784111770, 7000}, {"Sunday, 06-Nov-94 08:49:37 GMT", 784111770, 7000},
		{"Sun Nov  6 08:49:37 1994", 784111770, 7000}, {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777, 0},
		{"Sunday, 06-Nov-94 08:49:37 GMT", 784111778, 0}, {"Sun Nov  6 08:49:37 1994", 784111778, 0},
		{"Sun Nov 16 08:49:37 1994", 784975770, 7000}, {"sun, 06 nov 1994 08:49:37 gmt", 784111770, 7000},
		{"Sun, 06 Nov 1994 08:49:37 GMT", 1795000000, 0}, {"Thu, 01 Jan 1970 00:00:05 GMT", 0, 5000},
		{"Wed, 31 Dec 1969 23:59:59 GMT", 0, 0}, {"Mon, 01 Jan 1900 00:00:00 GMT", 1795000000, 0},
		/* midnight, a leap second, every month's first day */
		{"Tue, 24 Nov 2026 00:00:00 GMT", 1795478399, 1000}, {"Sat, 31 Dec 2016 23:59:60 GMT", 1483228790, 9000},
		{"Thu, 01 Jan 2026 00:00:00 GMT", 1767225600 - 1, 1000}, {"Sun, 01 Feb 2026 00:00:00 GMT", 1769904000 - 1, 1000},
		{"Sun, 01 Mar 2026 00:00:00 GMT", 1772323200 - 1, 1000}, {"Wed, 01 Apr 2026 00:00:00 GMT", 1775001600 - 1, 1000},
		{"Fri, 01 May 2026 00:00:00 GMT", 1777593600 - 1, 1000}, {"Mon, 01 Jun 2026 00:00:00 GMT", 1780272000 - 1, 1000},
		{"Wed, 01 Jul 2026 00:00:00 GMT", 1782864000 - 1, 1000}, {"Sat, 01 Aug 2026 00:00:00 GMT", 1785542400 - 1, 1000},
		{"Tue, 01 Sep 2026 00:00:00 GMT", 1788220800 - 1, 1000}, {"Thu, 01 Oct 2026 00:00:00 GMT", 1790812800 - 1, 1000},
		{"Sun, 01 Nov 2026 00:00:00 GMT", 1793491200 - 1, 1000}, {"Tue, 01 Dec 2026 00:00:00 GMT", 1796083200 - 1, 1000},
		/* leap days: 2024 and 2000 have one, 2023 and 2100 have none */
		{"Thu, 29 Feb 2024 00:00:00 GMT", 1709164790, 10000}, {"Fri, 01 Mar 2024 00:00:00 GMT", 1709251190, 10000},
		{"Tue, 29 Feb 2000 00:00:00 GMT", 951782390, 10000}, {"Mon, 01 Mar 2100 00:00:00 GMT", 4107542390, 10000},
		{"Wed, 29 Feb 2023 00:00:00 GMT", 0, -1}, {"Mon, 29 Feb 2100 00:00:00 GMT", 0, -1}, {"Fri, 30 Feb 2024 00:00:00 GMT", 0, -1},
		/* the two-digit year: at most 50 years ahead; the century turns */
		{"Monday, 23-Nov-76 00:00:00 GMT", 1795478400, 1577836800000}, {"Wednesday, 23-Nov-77 00:00:00 GMT", 1795478400, 0},
		{"Thursday, 31-Dec-99 23:59:59 GMT", 1795478400, 0}, {"Friday, 01-Jan-00 00:00:20 GMT", 4102444790, 30000},
		{"Saturday, 01-Jan-00 00:00:20 GMT", 946684810, 10000}, {"Friday, 01-Jan-27 00:00:00 GMT", 1798761590, 10000},
		/* far away: saturates */
		{"Fri, 31 Dec 9999 23:59:59 GMT", 0, MOST_MS}, {"Sun, 11 Apr 2262 23:47:16 GMT", 0, MOST_MS},
		{"Sun, 11 Apr 2262 23:47:15 GMT", 0, MOST_MS - 1000}, {"Sun, 06 Nov 1994 08:49:37 GMT", INT64_MAX, 0},
		{"Sun, 06 Nov 1994 08:49:37 GMT", INT64_MIN, MOST_MS}, {"Sun, 01 Jan 0000 00:00:00 GMT", INT64_MAX, 0},
	};
	(void)state;
	check_retry_after(rows, COUNT(rows));
}

static void retry_after_malformed_dates(void **state)
{
	static const char *const values[] = {
		"Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 31 Nov 1994 08:49:37 GMT", "Sun, 32 Jan 1994 08:49:37 GMT",
		"Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 06 November 1994 08:49:37 GMT", "Sun, 06 11 1994 08:49:37 GMT",
		"Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 06 Nov 1994 08:60:00 GMT", "Sun, 06 Nov 1994 08:49:61 GMT",
		"Sun, 06 Nov 1994 8:49:37 GMT", "Sun, 06 Nov 1994 08:49 GMT", "Sun, 06 Nov 1994 08-49-37 GMT",
		"Sun, 06 Nov 1994 08:49:37 EST", "Sun, 06 Nov 1994 08:49:37 +0100", "Sun, 06 Nov 1994 08:49:37 -0100",
		"Sun, 06 Nov 08:49:37 GMT", "Sun, Nov 1994 08:49:37 GMT", "Sun, 06 1994 08:49:37 GMT", "Sun, 06 Nov 1994", "Sun",
		"Sun, 06 Nov 199 08:49:37 GMT", "Sun, 06 Nov 19940 08:49:37 GMT", "2026-11-23T10:00:00Z", "1994-11-06 08:49:37 xx",
		"Sun, 06 Nov 1994 08:49:37 08:49:37 GMT", "Sun, 06 Nov Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 1994 08:49:37 GMT",
		"Sunnnnnnnnnnnnnnnnnnnnnnnnnnnnnn, 06 Nov 1994 08:49:37 GMT", "Funday, 06-Nov-94 08:49:37 GMT", ",,,,", "- - -",
	};
	(void)state;
	for (size_t i = 0; i < COUNT(values); i++)
		check_retry_after(&(struct date_row){values[i], 784111770, -1}, 1);
}

/* Every prefix and every single damaged byte of a date: never read past the end, never out of range. */
static void retry_after_damaged(void **state)
{
	static const char *const values[] = {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"};
	(void)state;
	for (size_t i = 0; i < COUNT(values); i++)
		for (size_t length = 1; length <= strlen(values[i]); length++)
			for (int byte = 0; byte < 256; byte++) {
				char *value = exact_copy(values[i], length);
				value[length - 1] = (char)byte;
				CHECK_RANGE(values[i], http_retry_after_ms(value, length, 784111770), -1, MOST_MS);
				free(value);
			}
}

/* Which a header field cannot hold (RFC 9110, 5.5). */
static void nul_bytes(void **state)
{
	static const char line[] = "Retry-After: 120 \0", dates[][33] = {"Sun\0x, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT\0"};
	static const size_t lengths[] = {31, 30};
	size_t value_length;
	int64_t seconds;
	(void)state;
	assert_non_null(http_header_value(line, sizeof line - 1, "Retry-After", &value_length));
	assert_int_equal(value_length, 5);
	assert_int_equal(http_retry_after_ms("120 ", 4, 0), -1);
	assert_int_equal(http_retry_after_ms("120", 4, 0), -1);
	for (size_t i = 0; i < COUNT(dates); i++)
		assert_false(http_date(dates[i], lengths[i], 784111770, &seconds));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(status_lines), cmocka_unit_test(header_values), cmocka_unit_test(retry_after_seconds),
		cmocka_unit_test(retry_after_dates), cmocka_unit_test(retry_after_malformed_dates), cmocka_unit_test(retry_after_damaged),
		cmocka_unit_test(nul_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
