#include "policy/text.h"

#include <string.h>

#include "policy/address.h"

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_blank(char c) { return c == ' ' || c == '\t'; }

char text_lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }

bool text_integer(const char *text, int64_t *number)
{
	int64_t sum = 0;
	if (*text == '\0')
		return false;
	for (; *text != '\0'; text++) {
		if (!is_digit(*text) || __builtin_mul_overflow(sum, 10, &sum) ||
		    __builtin_add_overflow(sum, *text - '0', &sum))
			return false;
	}
	*number = sum;
	return true;
}

bool text_real(const char *text, double *number)
{
	double sum = 0, scale = 1;
	bool point = false, digits = false;
	for (; *text != '\0'; text++) {
		if (*text == '.' && !point) {
			point = true;
			continue;
		}
		if (!is_digit(*text) || (sum > 1e15 && !point))
			return false;
		digits = true;
		if (sum > 1e15) /* more decimals than a double holds, as some languages print them */
			continue;
		sum = sum * 10 + (*text - '0');
		if (point)
			scale *= 10;
	}
	*number = sum / scale;
	return digits;
}

int text_choice(const char *choices, const char *word)
{
	for (int index = 0;; index++) {
		const char *end = strchr(choices, '|');
		size_t length = end != NULL ? (size_t)(end - choices) : strlen(choices);
		if (text_equal_span(word, choices, length))
			return length > 0 ? index : -1;
		if (end == NULL)
			return -1;
		choices = end + 1;
	}
}

bool text_next_item(const char **cursor, char *item, size_t size)
{
	const char *start = *cursor;
	const char *comma = strchr(start, ',');
	const char *end = comma != NULL ? comma : start + strlen(start);
	*cursor = comma != NULL ? comma + 1 : NULL;
	while (start < end && is_blank(*start))
		start++;
	while (end > start && is_blank(end[-1]))
		end--;
	size_t length = (size_t)(end - start);
	if (length == 0 || length >= size)
		return false;
	memcpy(item, start, length);
	item[length] = '\0';
	return true;
}

bool text_list_valid(const char *list, bool (*check)(const char *item))
{
	while (list != NULL) {
		char item[512];
		if (!text_next_item(&list, item, sizeof item) || !check(item))
			return false;
	}
	return true;
}

bool text_is_printable(const char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return false;
	return true;
}

bool text_is_token(const char *text)
{
	for (; *text != '\0'; text++)
		if (!is_digit(*text) && !(text_lower(*text) >= 'a' && text_lower(*text) <= 'z') &&
		    strchr("!#$%&'*+-.^_`|~", *text) == NULL)
			return false;
	return true;
}

uint16_t text_port(const char *text)
{
	int64_t port;
	return text_integer(text, &port) && port >= 1 && port <= 65535 ? (uint16_t)port : 0;
}

bool text_is_host_port(const char *text, size_t length)
{
	char copy[300];
	if (length >= sizeof copy)
		return false;
	memcpy(copy, text, length);
	copy[length] = '\0';
	char *colon = strrchr(copy, ':');
	if (colon == NULL || colon == copy || text_port(colon + 1) == 0)
		return false;
	*colon = '\0';
	if (copy[0] == '[' && colon[-1] == ']') {
		uint8_t address[16];
		colon[-1] = '\0';
		return text_is_printable(copy) && address_read(copy + 1, address) != 0;
	}
	return text_is_printable(copy) && strpbrk(copy, ":/ []") == NULL;
}

bool text_is_fallback(const char *text)
{
	const char *equals = strchr(text, '=');
	return equals != NULL && text_is_host_port(text, (size_t)(equals - text)) &&
	       text_is_host_port(equals + 1, strlen(equals + 1));
}

bool text_equal(const char *a, const char *b) { return text_equal_span(a, b, strlen(b)); }

bool text_equal_span(const char *a, const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (a[i] == '\0' || text_lower(a[i]) != text_lower(text[i]))
			return false;
	return a[length] == '\0';
}

bool text_glob(const char *pattern, const char *text, bool ignore_case)
{
	/* One remembered star is enough: a later star makes every earlier choice as good as any. */
	const char *star = NULL, *resume = NULL;
	while (*text != '\0') {
		char p = ignore_case ? text_lower(*pattern) : *pattern;
		char t = ignore_case ? text_lower(*text) : *text;
		if (p == '*') {
			star = pattern++;
			resume = text;
		} else if (p == '?' || p == t) {
			pattern++;
			text++;
		} else if (star != NULL) {
			pattern = star + 1;
			text = ++resume;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}
