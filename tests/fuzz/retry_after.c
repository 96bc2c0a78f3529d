/* Retry-After and HTTP dates, against a reader that does it another way: all words first, then what they are, and timegm(3). */
#include "fuzz.h"

#include <time.h>

#include "retryshim/policy.h"

enum { WORD_MOST = 15 };

struct words {
	int day, year, month, seconds; /* -1: none */
	bool bad;
};

static bool is_among(const char *word, const char *const *list, int count, int *index)
{
	for (*index = 0; *index < count; ++*index)
		if (strcasecmp(word, list[*index]) == 0)
			return true;
	return false;
}

static bool is_time(const char *word, int *seconds)
{
	int h = 0, m = 0, s = 0, end = 0;
	if (strlen(word) != 8 || strspn(word, "0123456789:") != 8 || word[2] != ':' || word[5] != ':')
		return false;
	if (sscanf(word, "%2d:%2d:%2d%n", &h, &m, &s, &end) != 3 || end != 8 || h > 23 || m > 59 || s > 60)
		return false;
	*seconds = (h * 60 + m) * 60 + (s < 60 ? s : 59);
	return true;
}

/* The one of a hundred years that ends in these two digits: half of them before now. */
static int near_year(int two, int this_year)
{
	int year = this_year - 49;
	while (year % 100 != two)
		year++;
	return year;
}

static void take(struct words *words, const char *word, int this_year)
{
	static const char *const months[] = {"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"};
	static const char *const others[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun", "monday", "tuesday", "wednesday",
	                                     "thursday", "friday", "saturday", "sunday", "gmt", "utc"};
	size_t digits = strspn(word, "0123456789");
	int index, seconds;
	if (is_among(word, others, 16, &index))
		return;
	if (is_among(word, months, 12, &index) && words->month < 0)
		words->month = index;
	else if (is_time(word, &seconds) && words->seconds < 0)
		words->seconds = seconds;
	else if (digits != strlen(word) || digits == 0)
		words->bad = true;
	else if (digits <= 2 && words->day < 0)
		words->day = atoi(word);
	else if (digits <= 2 && words->year < 0)
		words->year = near_year(atoi(word), this_year);
	else if (digits == 4 && words->year < 0)
		words->year = atoi(word);
	else
		words->bad = true;
}

static bool oracle(const char *text, size_t length, int64_t wall_s, int64_t *seconds)
{
	struct words words = {-1, -1, -1, -1, false};
	int this_year = (int)(1970 + wall_s / 31556952);
	char *copy = malloc(length + 1), *rest = copy, *word;
	memcpy(copy, text, length);
	copy[length] = '\0';
	words.bad = strlen(copy) != length;
	while ((word = strsep(&rest, " ,-")) != NULL) {
		words.bad |= strlen(word) > WORD_MOST;
		if (*word != '\0')
			take(&words, word, this_year);
	}
	free(copy);
	if (words.bad || words.day < 1 || words.month < 0 || words.year < 0 || words.seconds < 0)
		return false;
	struct tm tm = {.tm_mday = words.day, .tm_mon = words.month, .tm_year = words.year - 1900, .tm_sec = words.seconds};
	*seconds = timegm(&tm);
	return tm.tm_mday == words.day; /* else the month has no such day */
}

static int64_t after_oracle(const char *text, size_t length, int64_t wall_s)
{
	const __int128 most = INT64_MAX / NS_PER_S * 1000;
	__int128 sum = 0;
	size_t digits = 0;
	int64_t seconds;
	for (; digits < length && text[digits] >= '0' && text[digits] <= '9'; digits++)
		sum = sum * 10 + (text[digits] - '0') < most ? sum * 10 + (text[digits] - '0') : most;
	if (length != 0 && digits == length)
		return (int64_t)(sum * 1000 < most ? sum * 1000 : most);
	/* A date that begins with a number has a blank or a dash behind it. */
	if (digits != 0 && memchr(text, ' ', length) == NULL && memchr(text, '-', length) == NULL)
		return -1;
	if (!oracle(text, length, wall_s, &seconds))
		return -1;
	if (seconds <= wall_s)
		return 0;
	return seconds - wall_s < most / 1000 ? (seconds - wall_s) * 1000 : (int64_t)most;
}

static void check(const char *text, size_t length, int64_t wall_s)
{
	int64_t read = -77, expected = -77;
	bool is_date = http_date(text, length, wall_s, &read);
	PROMISE(is_date == oracle(text, length, wall_s, &expected));
	PROMISE(read == (is_date ? expected : -77));
	int64_t after_ms = http_retry_after_ms(text, length, wall_s);
	PROMISE(after_ms == after_oracle(text, length, wall_s));
	PROMISE(after_ms >= -1 && after_ms <= INT64_MAX / NS_PER_MS);
}

/* What strftime(3) makes of an instant is read as that instant, in each of the three forms; with a year of two digits, if it is
 * not half a century away. */
static void check_instant(int64_t at_s, int64_t wall_s)
{
	static const char *const forms[] = {"%a, %d %b %Y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y", "%A, %d-%b-%y %H:%M:%S GMT"};
	const int64_t far_s = 48 * INT64_C(31556952);
	bool is_near = at_s - wall_s < far_s && wall_s - at_s < far_s;
	struct tm tm;
	char text[64];
	for (int i = 0; i < (is_near ? 3 : 2); i++) {
		int64_t read = -1;
		PROMISE(gmtime_r(&at_s, &tm) != NULL);
		size_t length = strftime(text, sizeof text, forms[i], &tm);
		check(text, length, wall_s);
		PROMISE(http_date(text, length, wall_s, &read) && read == at_s);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, data + size};
	size_t length;
	int64_t wall_s = (int64_t)(number(&input, 5) % UINT64_C(200000000000)); /* to the year 8307 */
	check_instant((int64_t)((uint64_t)wall_s + number(&input, 4)) % INT64_C(253402300800), wall_s);
	char *text = piece(&input, '\n', false, &length);
	check(text, length, wall_s);
	free(text);
	return 0;
}
