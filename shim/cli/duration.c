/* Durations as people write them. Whole numbers throughout: 1.1s is 1100 ms, not 1100.0000000000002. */
#include <inttypes.h>
#include <string.h>

#include "retryshim/cli.h"

/* From the smallest: a bare number has the first one's size. */
static const struct {
	const char *name;
	int64_t ms;
} units[] = {
	{"ms", 1},
	{"s", 1000},
	{"m", 60000},
	{"h", 3600000},
};

enum { UNITS = sizeof units / sizeof units[0] };

/* Reads digits with at most one point: the number is *digits / *scale. Returns what follows it, or
 * NULL if there is no number, or too long a one. */
static const char *read_number(const char *text, int64_t *digits, int64_t *scale)
{
	bool point = false, any = false;
	*digits = 0;
	*scale = 1;
	for (;; text++) {
		if (*text == '.' && !point) {
			point = true;
			continue;
		}
		if (*text < '0' || *text > '9')
			return any ? text : NULL;
		any = true;
		if (__builtin_mul_overflow(*digits, 10, digits) || __builtin_add_overflow(*digits, *text - '0', digits))
			return NULL;
		if (point && __builtin_mul_overflow(*scale, 10, scale))
			return NULL;
	}
}

bool cli_duration_read(const char *text, int64_t *ms)
{
	int64_t digits, scale, product, unit_ms = 0;
	const char *unit = read_number(text, &digits, &scale);
	if (unit == NULL)
		return false;
	for (size_t i = 0; i < UNITS; i++)
		if (strcmp(unit, units[i].name) == 0)
			unit_ms = units[i].ms;
	if (*unit == '\0')
		unit_ms = units[0].ms;
	if (unit_ms == 0 || __builtin_mul_overflow(digits, unit_ms, &product) || product % scale != 0)
		return false;
	*ms = product / scale;
	return true;
}

char *cli_duration_text(int64_t ms)
{
	size_t i = UNITS - 1;
	while (i > 0 && ms % units[i].ms != 0)
		i--;
	if (ms == 0)
		return cli_format("0");
	return cli_format("%" PRId64 "%s", ms / units[i].ms, units[i].name);
}
