/* Header lines and Retry-After. */
#include "policy/text.h"
#include "retryshim/policy.h"

#include <string.h>

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

int http_status_line(const char *line, size_t length)
{
	/* "HTTP/1.1 200", "HTTP/2 200": the version is one to three bytes long. */
	if (length < 10 || memcmp(line, "HTTP/", 5) != 0)
		return 0;
	size_t at = line[6] == ' ' ? 6 : line[7] == ' ' ? 7 : 8;
	if (at + 3 >= length || line[at] != ' ')
		return 0;
	if (!is_digit(line[at + 1]) || !is_digit(line[at + 2]) || !is_digit(line[at + 3]))
		return 0;
	if (at + 4 < length && is_digit(line[at + 4]))
		return 0;
	return (line[at + 1] - '0') * 100 + (line[at + 2] - '0') * 10 + (line[at + 3] - '0');
}

bool http_is_round(int status) { return status == 401 || status == 407; }

const char *http_header_value(const char *line, size_t length, const char *name, size_t *value_length)
{
	size_t at = strlen(name);
	if (length <= at || line[at] != ':' || !text_equal_span(name, line, at))
		return NULL;
	at++;
	while (at < length && (line[at] == ' ' || line[at] == '\t'))
		at++;
	while (length > at && memchr(" \t\r\n", line[length - 1], 4) != NULL)
		length--;
	*value_length = length - at;
	return line + at;
}

/* ---- HTTP dates (RFC 9110, 5.6.7), read word by word, so that all three forms share one reader --- */

struct date {
	int day, month, year, seconds; /* of the day; -1 = not met yet */
};

/* Days from 1970-01-01 to a date of the Gregorian calendar, counted in years that start in March, so
 * that the leap day is the last one. */
static int64_t days_from_civil(int year, int month, int day)
{
	int64_t y = month <= 2 ? year - 1 : year;
	int64_t m = month <= 2 ? month + 9 : month - 3;
	return 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719468;
}

static int month_of(const char *word)
{
	static const char names[] = "janfebmaraprmayjunjulaugsepoctnovdec";
	for (int month = 0; month < 12; month++)
		if (text_equal_span(word, names + 3 * month, 3))
			return month + 1;
	return -1;
}

static bool is_weekday(const char *word)
{
	static const char names[][10] = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun", "Monday", "Tuesday",
	                                 "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"};
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (text_equal(word, names[i]))
			return true;
	return false;
}

/* "hh:mm:ss" to seconds of the day, -1 if it is not that. A leap second counts as the one before. */
static int time_of(const char *word)
{
	static const char shape[] = "00:00:00";
	int part[3] = {0, 0, 0};
	if (strlen(word) != sizeof shape - 1)
		return -1;
	for (int i = 0; shape[i] != '\0'; i++) {
		if (shape[i] == ':' ? word[i] != ':' : !is_digit(word[i]))
			return -1;
		if (shape[i] != ':')
			part[i / 3] = part[i / 3] * 10 + (word[i] - '0');
	}
	if (part[0] > 23 || part[1] > 59 || part[2] > 60)
		return -1;
	return part[0] * 3600 + part[1] * 60 + (part[2] == 60 ? 59 : part[2]);
}

static bool take_number(struct date *date, const char *word, int64_t this_year)
{
	int64_t number;
	size_t digits = strlen(word);
	if (!text_integer(word, &number) || digits == 3 || digits > 4)
		return false;
	if (digits <= 2 && date->day < 0) {
		date->day = (int)number;
		return true;
	}
	if (date->year >= 0)
		return false;
	if (digits <= 2) {
		/* RFC 850 form: a year that looks more than 50 years ahead was in the past. */
		number += this_year - this_year % 100;
		if (number > this_year + 50)
			number -= 100;
		else if (number < this_year - 49) /* the century turns between now and then */
			number += 100;
	}
	date->year = (int)number;
	return true;
}

static bool take_word(struct date *date, const char *word, int64_t this_year)
{
	if (word[0] == '\0' || is_weekday(word) || text_equal(word, "GMT") || text_equal(word, "UTC"))
		return true;
	if (is_digit(word[0]) && strchr(word, ':') != NULL)
		return date->seconds < 0 && (date->seconds = time_of(word)) >= 0;
	if (is_digit(word[0]))
		return take_number(date, word, this_year);
	return date->month < 0 && (date->month = month_of(word)) >= 0;
}

static bool is_day_of_month(const struct date *date)
{
	static const int month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	int year = date->year;
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
	return date->day >= 1 && date->day <= month_days[date->month - 1] + (leap && date->month == 2);
}

bool http_date(const char *text, size_t length, int64_t wall_s, int64_t *seconds)
{
	struct date date = {-1, -1, -1, -1};
	int64_t this_year = 1970 + wall_s / 31556952; /* mean Gregorian year */
	char word[16];
	size_t used = 0;
	for (size_t i = 0; i <= length; i++) {
		/* "06-Nov-94" is one blank-free word in the RFC 850 form. */
		if (i < length && text[i] != ' ' && text[i] != ',' && text[i] != '-') {
			if (used + 1 >= sizeof word)
				return false;
			word[used++] = text[i];
			continue;
		}
		word[used] = '\0';
		if (strlen(word) != used)
			return false;
		used = 0;
		if (!take_word(&date, word, this_year))
			return false;
	}
	if (date.month < 1 || date.year < 0 || date.seconds < 0 || !is_day_of_month(&date))
		return false;
	*seconds = days_from_civil(date.year, date.month, date.day) * 86400 + date.seconds;
	return true;
}

int64_t http_retry_after_ms(const char *value, size_t length, int64_t wall_s)
{
	const int64_t most_s = INT64_MAX / NS_PER_S; /* stays a valid number of nanoseconds */
	int64_t seconds = 0;
	char digits[20];
	if (length == 0)
		return -1;
	if (is_digit(value[0]) && memchr(value, ' ', length) == NULL && memchr(value, '-', length) == NULL) {
		for (size_t i = 0; i < length; i++)
			if (!is_digit(value[i]))
				return -1;
		for (; length > 1 && *value == '0'; value++)
			length--;
		if (length >= sizeof digits)
			return most_s * 1000;
		memcpy(digits, value, length);
		digits[length] = '\0';
		if (!text_integer(digits, &seconds) || seconds > most_s)
			seconds = most_s;
		return seconds * 1000;
	}
	if (!http_date(value, length, wall_s, &seconds))
		return -1;
	if (seconds <= wall_s)
		return 0;
	int64_t span_s;
	if (__builtin_sub_overflow(seconds, wall_s, &span_s) || span_s > most_s)
		span_s = most_s;
	return span_s * 1000;
}
