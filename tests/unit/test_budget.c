/* Budget: the arithmetic of section 6's token bucket, on a clock of its own. */
#include "support.h"

#include "retryshim/host.h"

#define TOKENS(n) ((int64_t)((n) * 1000))

static int64_t start_ms(void) { return 1000000; }

static int taken(const struct config *config, uint64_t *word, int64_t now_ms, int most)
{
	int count = 0;
	while (count < most && budget_take(config, word, now_ms))
		count++;
	return count;
}

/* A destination that nobody has met has a full bucket, of whatever size. */
static void a_new_bucket_is_full(void **state)
{
	static const struct {
		const char *burst;
		int tokens;
	} rows[] = {{"10", 10}, {"1", 1}, {"2.5", 2}, {"1000", 1000}, {"1000000", 1000000}};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct config config = config_with("RETRY_BUDGET_BURST", rows[i].burst, "RETRY_BUDGET_PER_SEC", "0");
		uint64_t word = 0;
		CHECK_INT(rows[i].burst, taken(&config, &word, start_ms(), 2000000), rows[i].tokens);
		uint64_t empty = word;
		CHECK_INT(rows[i].burst, budget_take(&config, &word, start_ms() + 3600000), false);
		CHECK_INT(rows[i].burst, word == empty, true);
	}
}

static void off_never_ends(void **state)
{
	struct config config = config_with("RETRY_BUDGET", "off", "RETRY_BUDGET_BURST", "1");
	uint64_t word = 0;
	(void)state;
	assert_int_equal(taken(&config, &word, start_ms(), 5000), 5000);
	assert_int_equal(word, 0);
}

/* RETRY_BUDGET_PER_SEC: exact over time, however often somebody looks. */
static void the_drip(void **state)
{
	static const struct {
		const char *row, *per_sec;
		int64_t looks_ms, for_ms, tokens_milli;
	} rows[] = {
		{"default", "0.1", 1000, 30000, TOKENS(3)},      {"default, looked at each ms", "0.1", 1, 30000, TOKENS(3)},
		{"default, each 7 ms", "0.1", 7, 70000, TOKENS(7)}, {"fast", "100", 1, 50, TOKENS(5)},
		{"slow", "0.001", 1, 1000000, TOKENS(1)},        {"none", "0", 1000, 1000000, 0},
		{"full at last", "0.1", 500, 200000, TOKENS(10)}, {"a third", "0.3", 1, 10000, TOKENS(3)},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct config config = config_with("RETRY_BUDGET_PER_SEC", rows[i].per_sec);
		uint64_t word = 0;
		int64_t now_ms = start_ms();
		taken(&config, &word, now_ms, 10);
		for (int64_t at = 0; at < rows[i].for_ms; at += rows[i].looks_ms) {
			now_ms += rows[i].looks_ms;
			word = budget_give(&config, word, 0, now_ms); /* a look that gives nothing */
		}
		int64_t milli = budget_milli(&config, word, now_ms);
		CHECK_RANGE(rows[i].row, milli, rows[i].tokens_milli * 998 / 1000, rows[i].tokens_milli * 1002 / 1000);
	}
}

static void successes_give_back(void **state)
{
	static const struct {
		const char *row, *ratio;
		int successes;
		int64_t tokens_milli;
	} rows[] = {
		{"a tenth each", "0.1", 10, TOKENS(1)}, {"one each", "1", 3, TOKENS(3)},   {"nothing", "0", 100, 0},
		{"never more than full", "1", 100, TOKENS(10)}, {"all at once", "1000", 1, TOKENS(10)},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct config config = config_with("RETRY_BUDGET_RATIO", rows[i].ratio, "RETRY_BUDGET_PER_SEC", "0");
		uint64_t word = 0;
		taken(&config, &word, start_ms(), 10);
		for (int n = 0; n < rows[i].successes; n++)
			word = budget_give(&config, word, config.budget_ratio, start_ms());
		CHECK_INT(rows[i].row, budget_milli(&config, word, start_ms()), rows[i].tokens_milli);
	}
}

/* Two processes with buckets of different sizes share what has been spent, not what is left. */
static void sizes_differ(void **state)
{
	struct config small = config_with("RETRY_BUDGET_BURST", "2", "RETRY_BUDGET_PER_SEC", "0");
	struct config large = config_with("RETRY_BUDGET_BURST", "20", "RETRY_BUDGET_PER_SEC", "0");
	uint64_t word = 0;
	(void)state;
	assert_int_equal(taken(&large, &word, start_ms(), 5), 5);
	assert_false(budget_take(&small, &word, start_ms()));
	assert_int_equal(budget_milli(&small, word, start_ms()), 0);
	assert_int_equal(budget_milli(&large, word, start_ms()), TOKENS(15));
}

/* Clocks that go back a little, or stood in the file from another boot. */
static void strange_clocks(void **state)
{
	struct config config = config_default();
	uint64_t word = 0;
	(void)state;
	taken(&config, &word, start_ms(), 10);
	assert_int_equal(budget_milli(&config, word, start_ms() - 500), 0);
	assert_int_equal(budget_milli(&config, word, 0), 0);
	/* A year later it is full, and a wrap of the instant's 34 bits (198 days) is only a wrong age. */
	assert_in_range(budget_milli(&config, word, start_ms() + INT64_C(31536000000)), 0, TOKENS(10));
}

static void any_word_is_a_bucket(void **state)
{
	struct config config = config_default();
	uint64_t seed = 5;
	(void)state;
	for (int i = 0; i < 200000; i++) {
		uint64_t word = next_random(&seed);
		int64_t now_ms = (int64_t)(next_random(&seed) >> (20 + i % 24));
		int64_t milli = budget_milli(&config, word, now_ms);
		CHECK_RANGE("any word", milli, 0, TOKENS(10));
		word = budget_give(&config, word, 0.1, now_ms);
		CHECK_RANGE("given", budget_milli(&config, word, now_ms), milli, TOKENS(10));
		if (budget_take(&config, &word, now_ms))
			CHECK_RANGE("taken", budget_milli(&config, word, now_ms), 0, TOKENS(9));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_bucket_is_full), cmocka_unit_test(off_never_ends), cmocka_unit_test(the_drip),
		cmocka_unit_test(successes_give_back),  cmocka_unit_test(sizes_differ),   cmocka_unit_test(strange_clocks),
		cmocka_unit_test(any_word_is_a_bucket),
	};
	return cmocka_run_group_tests_name("budget", tests, NULL, NULL);
}
