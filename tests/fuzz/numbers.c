/* Numbers, durations and lists as people write them. */
#include "fuzz.h"

#include <errno.h>
#include <math.h>

#include "policy/text.h"
#include "retryshim/cli.h"

static bool is_digits(const char *text) { return text[0] != '\0' && text[strspn(text, "0123456789")] == '\0'; }

static void check_integer(const char *text)
{
	int64_t number = -77;
	errno = 0;
	uint64_t expected = strtoull(text, NULL, 10);
	bool fits = is_digits(text) && errno == 0 && expected <= INT64_MAX;
	PROMISE(text_integer(text, &number) == fits);
	PROMISE(number == (fits ? (int64_t)expected : -77));
	PROMISE(text_port(text) == (fits && expected <= 65535 ? expected : 0));
}

static void check_real(const char *text)
{
	double number = -77;
	const char *point = strchr(text, '.');
	size_t digits = strlen(text) - (point != NULL);
	bool read = text_real(text, &number);
	bool shaped = digits != 0 && text[strspn(text, "0123456789.")] == '\0' && (point == NULL || strchr(point + 1, '.') == NULL);
	PROMISE(!read || shaped);
	PROMISE(read || !shaped || strtod(text, NULL) > 1e15); /* larger ones are nobody's settings */
	if (read) {
		double expected = strtod(text, NULL);
		PROMISE(fabs(number - expected) <= 1e-14 * expected);
	}
}

static bool is_word(const char *item) { return strlen(item) % 2 == 0; }

/* The items and their cuts give the list again. */
static void check_list(const char *list)
{
	char item[64], *copy = strdup(list), *rest = copy, *part;
	bool all = true;
	const char *cursor = list;
	while ((part = strsep(&rest, ",")) != NULL) {
		PROMISE(cursor != NULL);
		part += strspn(part, " \t");
		size_t length = strlen(part);
		while (length > 0 && memchr(" \t", part[length - 1], 2) != NULL)
			length--;
		part[length] = '\0';
		PROMISE(text_next_item(&cursor, item, sizeof item) == (length > 0 && length < sizeof item));
		PROMISE(length == 0 || length >= sizeof item || strcmp(item, part) == 0);
		all &= length > 0 && length < 512 && length % 2 == 0;
	}
	PROMISE(cursor == NULL);
	PROMISE(text_list_valid(list, is_word) == all);
	free(copy);
}

static void check_choice(const char *choices, const char *word)
{
	int index = 0, expected = -1;
	char *copy = strdup(choices), *rest = copy, *choice;
	for (; (choice = strsep(&rest, "|")) != NULL && expected < 0; index++)
		if (strcasecmp(choice, word) == 0)
			expected = index;
	free(copy);
	PROMISE(text_choice(choices, word) == (word[0] != '\0' ? expected : -1));
}

static void check_words(const char *text)
{
	bool printable = true, token = true;
	for (const char *c = text; *c != '\0'; c++) {
		bool alphanumeric = (*c >= '0' && *c <= '9') || (*c >= 'A' && *c <= 'Z') || (*c >= 'a' && *c <= 'z');
		printable &= (unsigned char)*c >= 0x20 && *c != 0x7f;
		token &= *c > ' ' && *c < 0x7f && (alphanumeric || strchr("\"(),/:;<=>?@[\\]{}", *c) == NULL);
	}
	PROMISE(text_is_printable(text) == printable);
	PROMISE(text_is_token(text) == token);
}

/* The number with its point left out, and by how many digits that is too large. */
static bool duration_of(const char *text, __int128 *ms)
{
	static const struct {
		const char *unit;
		int ms;
	} units[] = {{"", 1}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
	size_t number = strspn(text, "0123456789.");
	const char *point = memchr(text, '.', number);
	__int128 digits = 0, scale = 1;
	if (number - (point != NULL) == 0 || (point != NULL && memchr(point + 1, '.', number - (size_t)(point - text) - 1) != NULL))
		return false;
	for (size_t i = 0; i < number; i++) {
		if (text[i] != '.')
			digits = digits * 10 + (text[i] - '0');
		if (point != NULL && text + i > point)
			scale *= 10;
		if (digits > INT64_MAX || scale > INT64_MAX)
			return false;
	}
	for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
		if (strcmp(text + number, units[i].unit) == 0) {
			*ms = digits * units[i].ms;
			bool fits = *ms <= INT64_MAX && *ms % scale == 0;
			*ms /= scale;
			return fits;
		}
	return false;
}

static void check_duration(const char *text)
{
	int64_t ms = -77, again = -77;
	__int128 expected = -77;
	PROMISE(cli_duration_read(text, &ms) == duration_of(text, &expected));
	if (ms == -77)
		return;
	PROMISE(ms == expected && ms >= 0);
	char *shown = cli_duration_text(ms);
	PROMISE(strchr(shown, '.') == NULL && cli_duration_read(shown, &again) && again == ms);
	free(shown);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, data + size};
	char *text = text_line(&input), *other = text_line(&input);
	check_integer(text);
	check_real(text);
	check_duration(text);
	check_list(text);
	check_words(text);
	check_choice(text, other);
	PROMISE(text_equal(text, other) == (strcasecmp(text, other) == 0));
	free(text);
	free(other);
	return 0;
}
