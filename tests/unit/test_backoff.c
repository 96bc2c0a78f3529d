/* Backoff: the sequences and bounds of RETRY_JITTER in section 1 of the design. */
#include "support.h"

#define MS(n) ((int64_t)(n) * NS_PER_MS)

/* JITTER none gives d itself: min(max, base * multiplier^(next_attempt - 2)). */
static void sequences_without_jitter(void **state)
{
	static const struct {
		const char *row, *base, *max, *multiplier;
		int64_t d_ms[7]; /* before attempts 2..8 */
	} rows[] = {
		{"defaults", "1000", "30000", "2.0", {1000, 2000, 4000, 8000, 16000, 30000, 30000}},
		{"multiplier 1", "700", "30000", "1", {700, 700, 700, 700, 700, 700, 700}},
		{"multiplier 1.5", "100", "1000", "1.5", {100, 150, 225, -1, -1, -1, 1000}},
		{"multiplier 10", "1", "3600000", "10", {1, 10, 100, 1000, 10000, 100000, 1000000}},
		{"base 0", "0", "30000", "2", {0, 0, 0, 0, 0, 0, 0}},
		{"base = max", "500", "500", "2", {500, 500, 500, 500, 500, 500, 500}},
		{"base > max", "5000", "100", "2", {100, 100, 100, 100, 100, 100, 100}},
		{"max 0", "1000", "0", "2", {0, 0, 0, 0, 0, 0, 0}},
		{"largest", "3600000", "3600000", "10", {3600000, 3600000, 3600000, 3600000, 3600000, 3600000, 3600000}},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct config config =
			config_with("RETRY_JITTER", "none", "RETRY_BASE_DELAY_MS", rows[i].base, "RETRY_MAX_DELAY_MS",
		                    rows[i].max, "RETRY_MULTIPLIER", rows[i].multiplier);
		for (int n = 0; n < 7; n++) {
			if (rows[i].d_ms[n] < 0) /* not a whole number of ms */
				continue;
			CHECK_INT(rows[i].row, backoff_ns(&config, n + 2, 0, 0), MS(rows[i].d_ms[n]));
			CHECK_INT(rows[i].row, backoff_ns(&config, n + 2, MS(77), UINT64_MAX), MS(rows[i].d_ms[n]));
		}
	}
}

/* The first and the last value of each kind, for d = 4000 ms (attempt 4 of the defaults). Random bits
 * never reach 1, so an upper end is missed by a rounding of at most 1 ns. */
static void bounds_of_each_jitter(void **state)
{
	static const struct {
		const char *jitter, *max;
		int64_t previous_ms, low_ms, middle_ms, high_ms;
	} rows[] = {
		{"full", "30000", 0, 0, 2000, 4000},
		{"full", "3000", 0, 0, 1500, 3000},
		{"equal", "30000", 0, 2000, 3000, 4000},
		{"equal", "3000", 0, 1500, 2250, 3000},
		{"none", "30000", 0, 4000, 4000, 4000},
		{"0", "30000", 0, 4000, 4000, 4000},
		{"0.25", "30000", 0, 3000, 4000, 5000},
		{"1", "30000", 0, 0, 4000, 8000},
		{"0.5", "3000", 0, 1500, 3000, 3000}, /* capped again */
		{"decorrelated", "30000", 0, 1000, 2000, 3000},
		{"decorrelated", "30000", 1000, 1000, 2000, 3000},
		{"decorrelated", "30000", 5000, 1000, 8000, 15000},
		{"decorrelated", "30000", 20000, 1000, 30000, 30000},
		{"decorrelated", "30000", 200, 1000, 1000, 1000}, /* 3 * previous below the base */
		{"decorrelated", "600", 0, 600, 600, 600},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct config config = config_with("RETRY_JITTER", rows[i].jitter, "RETRY_MAX_DELAY_MS", rows[i].max);
		int64_t previous = MS(rows[i].previous_ms);
		CHECK_INT(rows[i].jitter, backoff_ns(&config, 4, previous, 0), MS(rows[i].low_ms));
		CHECK_INT(rows[i].jitter, backoff_ns(&config, 4, previous, UINT64_C(1) << 63), MS(rows[i].middle_ms));
		CHECK_RANGE(rows[i].jitter, backoff_ns(&config, 4, previous, UINT64_MAX), MS(rows[i].high_ms) - 1,
		            MS(rows[i].high_ms));
	}
}

/* Whatever the setting and the history: never negative, never past the cap, at any attempt. */
static void extremes_stay_within_the_cap(void **state)
{
	static const char *const jitters[] = {"full", "equal", "decorrelated", "none", "0", "0.3", "1"};
	static const char *const delays[] = {"0", "1", "1000", "3600000"};
	static const char *const multipliers[] = {"1", "1.0000001", "2.0", "10.0"};
	static const int attempts[] = {2, 3, 10, 64, 65, 1000};
	static const int64_t previous[] = {0, 1, MS(3600000), INT64_MAX, -1, INT64_MIN};
	static const uint64_t randoms[] = {0, 1, UINT64_C(1) << 63, UINT64_MAX};
	(void)state;
	for (size_t all = 0; all < 7 * 4 * 4 * 4; all++) {
		struct config config = config_with(
			"RETRY_JITTER", jitters[all % 7], "RETRY_BASE_DELAY_MS", delays[all / 7 % 4],
			"RETRY_MAX_DELAY_MS", delays[all / 28 % 4], "RETRY_MULTIPLIER", multipliers[all / 112]);
		for (size_t one = 0; one < 6 * 6 * 4; one++) {
			int64_t delay = backoff_ns(&config, attempts[one % 6], previous[one / 6 % 6], randoms[one / 36]);
			CHECK_RANGE(jitters[all % 7], delay, 0, MS(config.max_delay_ms));
		}
	}
}

/* Mean and quarters of 40000 draws; the bound is over six standard errors for each kind. */
static void distribution_is_uniform(void **state)
{
	enum { DRAWS = 40000 };
	static const struct {
		const char *jitter;
		int64_t low_ms, high_ms; /* for d = 4000 ms, previous 4000 ms */
	} rows[] = {{"full", 0, 4000}, {"equal", 2000, 4000}, {"0.5", 2000, 6000}, {"decorrelated", 1000, 12000}};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct config config = config_with("RETRY_JITTER", rows[i].jitter);
		int64_t low = MS(rows[i].low_ms), width = MS(rows[i].high_ms) - low, sum = 0;
		int quarters[4] = {0};
		uint64_t generator = 1;
		for (int n = 0; n < DRAWS; n++) {
			int64_t delay = backoff_ns(&config, 4, MS(4000), next_random(&generator));
			CHECK_RANGE(rows[i].jitter, delay, low, low + width - 1);
			sum += (delay - low) / DRAWS;
			quarters[(delay - low) / (width / 4)]++;
		}
		CHECK_RANGE(rows[i].jitter, sum, width / 2 - width / 100, width / 2 + width / 100);
		for (int quarter = 0; quarter < 4; quarter++)
			CHECK_RANGE(rows[i].jitter, quarters[quarter], DRAWS / 4 - 600, DRAWS / 4 + 600);
	}
}

/* Only `decorrelated` looks back, and it looks at nothing but the previous delay. */
static void only_decorrelated_looks_back(void **state)
{
	static const char *const jitters[] = {"full", "equal", "none", "0.4"};
	const uint64_t random = UINT64_C(0x123456789abcdef0);
	(void)state;
	for (size_t i = 0; i < COUNT(jitters); i++) {
		struct config config = config_with("RETRY_JITTER", jitters[i]);
		CHECK_INT(jitters[i], backoff_ns(&config, 3, MS(9000), random), backoff_ns(&config, 3, 0, random));
	}
	struct config config = config_with("RETRY_JITTER", "decorrelated");
	CHECK_INT("attempt", backoff_ns(&config, 9, MS(2000), random), backoff_ns(&config, 2, MS(2000), random));
	/* A chain at the upper end grows threefold up to the cap: 3, 9, 27, 30 s. */
	static const int64_t chain_ms[] = {3000, 9000, 27000, 30000, 30000};
	int64_t previous = 0;
	for (size_t n = 0; n < COUNT(chain_ms); n++) {
		previous = backoff_ns(&config, (int)n + 2, previous, UINT64_MAX);
		CHECK_RANGE("chain", previous, MS(chain_ms[n]) - 40, MS(chain_ms[n]));
	}
}

static void the_longest_is_a_bound(void **state)
{
	static const char *const jitters[] = {"full", "equal", "decorrelated", "none", "0.3", "1"};
	uint64_t seed = 9;
	(void)state;
	for (size_t i = 0; i < COUNT(jitters); i++) {
		struct config config = config_with("RETRY_JITTER", jitters[i]);
		for (int n = 0; n < 2000; n++) {
			int next = 2 + n % 8;
			int64_t previous = MS(n * 7), most = backoff_most_ns(&config, next, previous);
			CHECK_RANGE(jitters[i], backoff_ns(&config, next, previous, next_random(&seed)), 0, most);
			CHECK_RANGE(jitters[i], most, 1, MS(30000));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sequences_without_jitter),    cmocka_unit_test(bounds_of_each_jitter),
		cmocka_unit_test(extremes_stay_within_the_cap), cmocka_unit_test(distribution_is_uniform),
		cmocka_unit_test(only_decorrelated_looks_back), cmocka_unit_test(the_longest_is_a_bound),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
