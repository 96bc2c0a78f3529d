/* Evidence: the words, and what one waiter makes of them. test_interleavings.c has the processes together. */
#include "support.h"

#include "retryshim/host.h"

static void words(void **state)
{
	static const struct evidence rows[] = {
		{.at_us = 1, .ok = true},
		{.at_us = (INT64_C(1) << 48) - 1, .source = SOURCE_CURL, .code = 7},
		{.at_us = 123456789012345, .source = SOURCE_RESOLVE, .code = -3},
		{.at_us = 5, .source = SOURCE_HTTP, .code = 503},
		{.at_us = 5, .source = SOURCE_CONNECT, .code = 111},
		{.at_us = 5, .source = SOURCE_RESOLVE, .code = -2048},
		{.at_us = 5, .source = SOURCE_RESOLVE, .code = 2047},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct evidence read = evidence_read(evidence_word(&rows[i]));
		assert_int_equal(read.at_us, rows[i].at_us);
		assert_int_equal(read.ok, rows[i].ok);
		assert_int_equal(read.source, rows[i].source);
		assert_int_equal(read.code, rows[i].code);
	}
}

static void claims(void **state)
{
	static const struct {
		const char *row;
		int64_t at_us, now_us, patience_us;
		bool stands;
	} rows[] = {
		{"to come", 1000, 500, 100, true},      {"due", 1000, 1000, 100, true},
		{"under way", 1000, 1099, 100, true},   {"not heard of", 1000, 1100, 100, false},
		{"no patience", 1000, 1000, 0, false},  {"an hour off", 3600000001, 1, 100, true},
		{"nobody waits longer", 3600000002, 1, 100, false},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		CHECK_INT(rows[i].row, claim_stands(claim_word(rows[i].at_us, 7), rows[i].now_us, rows[i].patience_us), rows[i].stands);
	assert_false(claim_stands(0, 0, 1000));
	assert_int_not_equal(claim_word(0, 0), 0);
	assert_int_not_equal(claim_word(5, 0x10002), claim_word(5, 4));
}

/* A waiter that failed at 1000, whose backoff ends at 2000, and who waits for another's attempt until 2500. */
static void courses(void **state)
{
	enum { NONE, MINE, THEIRS, STALE, BEGUN, LATE, LATEST };
	static const int64_t claimed_us[] = {[MINE] = 2000, [THEIRS] = 2300, [STALE] = 100, [BEGUN] = 1950, [LATE] = 2505, [LATEST] = 3300};
	static const struct {
		const char *row;
		int64_t now_us;
		struct evidence evidence;
		int claim;
		enum course course;
		int64_t until_us;
		bool parked;
	} rows[] = {
		{"in the backoff", 1500, {.at_us = 1000}, NONE, COURSE_WAIT, 2000, false},
		{"in the backoff, it is ours", 1500, {.at_us = 1000}, MINE, COURSE_WAIT, 2000, false},
		{"another has failed: not before our time", 1500, {.at_us = 1400}, NONE, COURSE_WAIT, 2000, false},
		{"our time: it counts", 2000, {.at_us = 1400}, NONE, COURSE_COUNTS, 0, false},
		{"our time, our claim, and another has failed", 2000, {.at_us = 1400}, MINE, COURSE_COUNTS, 0, false},
		{"a failure of long ago counts no more", 3076, {.at_us = 1400}, NONE, COURSE_CLAIM, 0, false},
		{"it does up to then", 3074, {.at_us = 1400}, NONE, COURSE_COUNTS, 0, false},
		{"our own failure is no news", 2000, {.at_us = 1000}, NONE, COURSE_CLAIM, 0, false},
		{"older than our failure", 2000, {.at_us = 900}, NONE, COURSE_CLAIM, 0, false},
		{"our claim: go", 2000, {.at_us = 1000}, MINE, COURSE_GO, 0, false},
		{"our claim, later", 2300, {.at_us = 1000}, MINE, COURSE_GO, 0, false},
		{"another has claimed: wait for it to begin", 2000, {.at_us = 1000}, THEIRS, COURSE_WAIT, 2500, true},
		{"taken over: nobody has tried for long", 2000, {.at_us = 300}, THEIRS, COURSE_CLAIM, 0, false},
		{"taken over in a moment", 2000, {.at_us = 400}, THEIRS, COURSE_WAIT, 2075, true},
		{"not one that is about to begin", 2000, {.at_us = 690}, THEIRS, COURSE_WAIT, 2500, true},
		{"but not for ever", 2500, {.at_us = 1000}, LATE, COURSE_CLAIM, 0, false},
		{"its owner has died", 2000, {.at_us = 1000}, STALE, COURSE_CLAIM, 0, false},
		{"it has just begun: wait for its end", 2000, {.at_us = 1000}, BEGUN, COURSE_WAIT, 2450, true},
		{"also beyond our limit", 2510, {.at_us = 1000}, LATE, COURSE_WAIT, 3005, true},
		{"but not up to the deadline", 3390, {.at_us = 1000}, LATEST, COURSE_WAIT, 3400, true},
		{"nor beyond", 3400, {.at_us = 1000}, LATEST, COURSE_CLAIM, 0, false},
		{"parked, and it has failed", 2300, {.at_us = 2200}, NONE, COURSE_COUNTS, 0, false},
		{"back: our share of the spread", 1500, {.at_us = 1400, .ok = true}, NONE, COURSE_WAIT, 1700, false},
		{"back: go", 1700, {.at_us = 1400, .ok = true}, THEIRS, COURSE_GO, 0, false},
		{"back: never later than without the news", 1900, {.at_us = 1900, .ok = true}, NONE, COURSE_WAIT, 2000, false},
		{"back while parked: the whole spread", 2200, {.at_us = 2200, .ok = true}, THEIRS, COURSE_WAIT, 2500, false},
		{"back before we failed: no news", 2000, {.at_us = 900, .ok = true}, NONE, COURSE_CLAIM, 0, false},
		{"evidence from the future", 2000, {.at_us = 99999}, NONE, COURSE_CLAIM, 0, false},
		{"a success from the future", 1500, {.at_us = 99999, .ok = true}, NONE, COURSE_WAIT, 2000, false},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct waiter waiter = {.failed_us = 1000, .at_us = 2000, .limit_us = 2500, .patience_us = 500, .end_us = 3400, .pace_us = 1600,
		                        .spread_us = 300, .claim = claim_word(2000, 5)};
		uint64_t claim = rows[i].claim == NONE ? 0 : claim_word(claimed_us[rows[i].claim], rows[i].claim == MINE ? 5 : 9);
		struct view view = evidence_look(&waiter, evidence_word(&rows[i].evidence), claim, rows[i].now_us);
		CHECK_INT(rows[i].row, view.course, rows[i].course);
		if (view.course == COURSE_WAIT) {
			CHECK_INT(rows[i].row, view.until_us, rows[i].until_us);
			CHECK_INT(rows[i].row, view.parked, rows[i].parked);
		}
	}
}

static void spread(void **state)
{
	static const struct {
		const char *base;
		int64_t spread_ms;
	} rows[] = {{"0", 0}, {"10", 16}, {"200", 320}, {"250", 400}, {"313", 500}, {"1000", 500}, {"3600000", 500}};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct config config = config_with("RETRY_BASE_DELAY_MS", rows[i].base);
		CHECK_INT(rows[i].base, evidence_spread_us(&config), rows[i].spread_ms * 1000);
	}
}

/* The file is never trusted: nothing in it makes anybody wait longer than its limit, or the spread after its backoff. */
static void any_words_let_go_in_time(void **state)
{
	uint64_t seed = 17;
	(void)state;
	for (int i = 0; i < 500000; i++) {
		int64_t now_us = 1000000 + (int64_t)(next_random(&seed) % 3000000);
		struct waiter waiter = {.failed_us = 1000000, .at_us = 2000000, .limit_us = 2500000, .patience_us = 500000,
		                        .end_us = 4000000, .pace_us = 100000,
		                        .spread_us = 400000};
		uint64_t evidence = next_random(&seed), claim = next_random(&seed);
		if (i % 2 == 0) /* near enough to matter */
			evidence = evidence_word(&(struct evidence){.at_us = now_us - 2000000 + (int64_t)(evidence % 4000000), .ok = evidence >> 63});
		if (i % 3 == 0)
			claim = claim_word(now_us - 2000000 + (int64_t)(claim % 4000000), claim >> 48);
		struct view view = evidence_look(&waiter, evidence, claim, now_us);
		if (view.course == COURSE_WAIT)
			CHECK_RANGE("until", view.until_us, now_us + 1, now_us < 2400000 ? 2900000 : now_us + 500000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words),  cmocka_unit_test(claims),                   cmocka_unit_test(courses),
		cmocka_unit_test(spread), cmocka_unit_test(any_words_let_go_in_time),
	};
	return cmocka_run_group_tests_name("evidence", tests, NULL, NULL);
}
