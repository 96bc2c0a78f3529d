/* Floor: the formula in host.h, step by step. */
#include "support.h"

#include "retryshim/host.h"

static const int64_t start_ms = 1000000;

/* Base 1000, cap 0.8 * 30000. */
static void rate_limits_raise_it(void **state)
{
	static const struct {
		const char *row;
		int64_t after_ms, retry_after_ms, floor;
	} steps[] = {
		{"the first: the base", 0, -1, 1000},
		{"another at once is of the same crowd", 10, -1, 1000},
		{"a floor's time later: doubled", 1000, -1, 2000},
		{"and again", 2000, -1, 4000},
		{"Retry-After counts if it is more", 100, 7000, 7000},
		{"not if it is less", 100, 3000, 7000},
		{"doubled", 7000, 0, 14000},
		{"never above the cap", 14000, -1, 24000},
		{"nor by Retry-After", 24000, 3600000, 24000},
	};
	struct config config = config_default();
	uint64_t word = 0;
	int64_t now_ms = start_ms;
	(void)state;
	for (size_t i = 0; i < COUNT(steps); i++) {
		now_ms += steps[i].after_ms;
		word = floor_raise(&config, word, steps[i].retry_after_ms, now_ms);
		CHECK_INT(steps[i].row, floor_ms(&config, word, now_ms), steps[i].floor);
	}
}

static void what_asks_for_it(void **state)
{
	static const struct {
		struct failure failure;
		bool asks;
	} rows[] = {
		{{.source = SOURCE_HTTP, .code = 429, .retry_after_ms = -1}, true},
		{{.source = SOURCE_HTTP, .code = 429, .retry_after_ms = 5}, true},
		{{.source = SOURCE_HTTP, .code = 503, .retry_after_ms = -1}, false},
		{{.source = SOURCE_HTTP, .code = 503, .retry_after_ms = 0}, true},
		{{.source = SOURCE_HTTP, .code = 500, .retry_after_ms = 5}, false},
		{{.source = SOURCE_CURL, .code = 429, .retry_after_ms = 5}, false},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		assert_int_equal(floor_is_asked_for(&rows[i].failure), rows[i].asks);
}

static void successes_lower_it(void **state)
{
	static const int64_t floors[] = {6000, 4500, 3375, 2531, 1898, 1423, 1067, 800, 600, 0, 0};
	struct config config = config_default();
	uint64_t word = floor_raise(&config, 0, 8000, start_ms);
	(void)state;
	for (size_t i = 0; i < COUNT(floors); i++) {
		word = floor_lower(&config, word, start_ms + 1);
		CHECK_INT("floor", floor_ms(&config, word, start_ms + 1), floors[i]);
	}
	assert_int_equal(word, 0);
}

static void silence_halves_it(void **state)
{
	static const struct {
		int64_t after_ms, floor;
	} rows[] = {{0, 8000}, {63999, 8000}, {64000, 4000}, {95999, 4000}, {96000, 2000}, {112000, 1000}, {128000, 0}, {INT64_C(1) << 40, 0}};
	struct config config = config_default();
	uint64_t word = floor_raise(&config, 0, 8000, start_ms);
	(void)state;
	for (size_t i = 0; i + 2 < COUNT(rows); i++)
		CHECK_INT("floor", floor_ms(&config, word, start_ms + rows[i].after_ms), rows[i].floor);
	assert_true(floor_ms(&config, word, start_ms + 128000) < 500);
	CHECK_INT("for ever", floor_ms(&config, word, start_ms + (INT64_C(1) << 40)), 0);
}

static void bounded_by_the_largest_delay(void **state)
{
	struct config config = config_with("RETRY_MAX_DELAY_MS", "1000");
	struct config none = config_with("RETRY_MAX_DELAY_MS", "0");
	uint64_t word = 0;
	(void)state;
	for (int i = 0; i < 20; i++)
		word = floor_raise(&config, word, 60000, start_ms + 10000 * i);
	assert_int_equal(floor_ms(&config, word, start_ms + 190000), 800);
	assert_int_equal(floor_ms(&none, word, start_ms + 190000), 0);
	assert_int_equal(floor_raise(&none, 0, 60000, start_ms), 0);
}

static void any_word_is_bounded(void **state)
{
	struct config config = config_default();
	uint64_t seed = 3;
	(void)state;
	for (int i = 0; i < 200000; i++) {
		uint64_t word = next_random(&seed);
		int64_t now_ms = (int64_t)(next_random(&seed) >> (22 + i % 20));
		CHECK_RANGE("floor", floor_ms(&config, word, now_ms), 0, 24000);
		CHECK_RANGE("raised", floor_ms(&config, floor_raise(&config, word, -1, now_ms), now_ms), 1000, 24000);
		CHECK_RANGE("lowered", floor_ms(&config, floor_lower(&config, word, now_ms), now_ms), 0, 18000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rate_limits_raise_it),         cmocka_unit_test(successes_lower_it),
		cmocka_unit_test(what_asks_for_it),
		cmocka_unit_test(silence_halves_it),            cmocka_unit_test(bounded_by_the_largest_delay),
		cmocka_unit_test(any_word_is_bounded),
	};
	return cmocka_run_group_tests_name("floor", tests, NULL, NULL);
}
