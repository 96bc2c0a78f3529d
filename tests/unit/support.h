/* What every unit test needs: a config made by the parser that ships, and checks that name the row
 * of the table that failed. */
#ifndef RETRYSHIM_TESTS_UNIT_SUPPORT_H
#define RETRYSHIM_TESTS_UNIT_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "retryshim/config.h"
#include "retryshim/policy.h"

#define COUNT(rows) (sizeof(rows) / sizeof(rows)[0])

#define CHECK_INT(row, got, want)                                                                     \
	do {                                                                                          \
		long long got_ = (long long)(got), want_ = (long long)(want);                         \
		if (got_ != want_)                                                                    \
			fail_msg("[%s] %s is %lld, not %lld", (row), #got, got_, want_);              \
	} while (0)

#define CHECK_TEXT(row, got, want)                                                                    \
	do {                                                                                          \
		const char *got_ = (got), *want_ = (want);                                            \
		if (strcmp(got_, want_) != 0)                                                         \
			fail_msg("[%s] %s is \"%s\", not \"%s\"", (row), #got, got_, want_);          \
	} while (0)

/* First and last are both allowed. */
#define CHECK_RANGE(row, got, first, last)                                                            \
	do {                                                                                          \
		long long got_ = (long long)(got), first_ = (long long)(first), last_ = (long long)(last); \
		if (got_ < first_ || got_ > last_)                                                    \
			fail_msg("[%s] %s is %lld, not in %lld..%lld", (row), #got, got_, first_, last_); \
	} while (0)

/* pairs: name, value, name, value, ..., NULL. */
static inline const char *lookup_pair(void *pairs, const char *name)
{
	for (const char *const *pair = pairs; pair[0] != NULL; pair += 2)
		if (strcmp(pair[0], name) == 0)
			return pair[1];
	return NULL;
}

static inline void refuse_complaint(void *context, const char *name, const char *value, const char *used)
{
	(void)context;
	fail_msg("the test's own %s=%s was refused, %s stands", name, value, used);
}

static inline struct config config_of(const char **pairs)
{
	struct config config;
	config_parse(&config, lookup_pair, pairs, refuse_complaint, NULL);
	return config;
}

/* The defaults, changed by the pairs given. */
#define config_with(...) config_of((const char *[]){__VA_ARGS__, NULL})
#define config_default() config_of((const char *[]){NULL})

/* A fixed generator (splitmix64), so that a distribution test has one outcome for ever. */
static inline uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

#endif
