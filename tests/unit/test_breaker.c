/* Circuit: every state, every event, and the instants at which they change. */
#include "support.h"

#include <errno.h>
#include <netdb.h>

#include <curl/curl.h>

#include "retryshim/host.h"

enum { THRESHOLD = 3, OPEN_MS = 1000 };

static struct config config_of_mode(const char *mode)
{
	return config_with("RETRY_MAX_ATTEMPTS", "1", "RETRY_BREAKER", mode, "RETRY_BREAKER_THRESHOLD", "3", "RETRY_BREAKER_OPEN_MS", "1000");
}

static const char *const names[] = {"CLOSED", "OPEN", "HALF_OPEN"};

/* What happens at an instant, and what the circuit is then. */
enum happens { FAILS, PROBE_FAILS, SUCCEEDS, WANTS_TO_GO };

struct step {
	int64_t at_ms;
	enum happens happens;
	bool becomes_probe; /* of WANTS_TO_GO */
	enum circuit circuit;
	bool refuses; /* others, from then on */
};

struct story {
	const char *name;
	struct step steps[12];
};

static const struct story stories[] = {
	{"opens with the third failure in a row",
	 {{5, FAILS, 0, CIRCUIT_CLOSED, false}, {6, FAILS, 0, CIRCUIT_CLOSED, false}, {7, FAILS, 0, CIRCUIT_OPEN, true}}},
	{"a success in between begins the row again",
	 {{5, FAILS, 0, CIRCUIT_CLOSED, false},
	  {6, FAILS, 0, CIRCUIT_CLOSED, false},
	  {7, SUCCEEDS, 0, CIRCUIT_CLOSED, false},
	  {8, FAILS, 0, CIRCUIT_CLOSED, false},
	  {9, FAILS, 0, CIRCUIT_CLOSED, false},
	  {10, FAILS, 0, CIRCUIT_OPEN, true}}},
	{"closed lets go, and nobody is a probe", {{5, WANTS_TO_GO, false, CIRCUIT_CLOSED, false}}},
	{"open refuses until its time is over",
	 {{1, FAILS, 0, CIRCUIT_CLOSED, false},
	  {2, FAILS, 0, CIRCUIT_CLOSED, false},
	  {3, FAILS, 0, CIRCUIT_OPEN, true},
	  {4, WANTS_TO_GO, false, CIRCUIT_OPEN, true},
	  {1002, WANTS_TO_GO, false, CIRCUIT_OPEN, true},
	  {1003, WANTS_TO_GO, true, CIRCUIT_HALF_OPEN, true}}},
	{"failures while it is open do not prolong it",
	 {{1, FAILS, 0, CIRCUIT_CLOSED, false},
	  {2, FAILS, 0, CIRCUIT_CLOSED, false},
	  {3, FAILS, 0, CIRCUIT_OPEN, true},
	  {900, FAILS, 0, CIRCUIT_OPEN, true},
	  {1003, WANTS_TO_GO, true, CIRCUIT_HALF_OPEN, true}}},
	{"one probe at a time; it succeeds",
	 {{1, FAILS, 0, CIRCUIT_CLOSED, false},
	  {2, FAILS, 0, CIRCUIT_CLOSED, false},
	  {3, FAILS, 0, CIRCUIT_OPEN, true},
	  {1500, WANTS_TO_GO, true, CIRCUIT_HALF_OPEN, true},
	  {1501, WANTS_TO_GO, false, CIRCUIT_HALF_OPEN, true},
	  {1600, SUCCEEDS, 0, CIRCUIT_CLOSED, false}}},
	{"the probe fails: open again, from then on",
	 {{1, FAILS, 0, CIRCUIT_CLOSED, false},
	  {2, FAILS, 0, CIRCUIT_CLOSED, false},
	  {3, FAILS, 0, CIRCUIT_OPEN, true},
	  {1500, WANTS_TO_GO, true, CIRCUIT_HALF_OPEN, true},
	  {1600, PROBE_FAILS, 0, CIRCUIT_OPEN, true},
	  {2599, WANTS_TO_GO, false, CIRCUIT_OPEN, true},
	  {2600, WANTS_TO_GO, true, CIRCUIT_HALF_OPEN, true}}},
	{"another's failure is not the probe's",
	 {{1, FAILS, 0, CIRCUIT_CLOSED, false},
	  {2, FAILS, 0, CIRCUIT_CLOSED, false},
	  {3, FAILS, 0, CIRCUIT_OPEN, true},
	  {1500, WANTS_TO_GO, true, CIRCUIT_HALF_OPEN, true},
	  {1550, FAILS, 0, CIRCUIT_HALF_OPEN, true},
	  {1600, SUCCEEDS, 0, CIRCUIT_CLOSED, false}}},
	{"a probe that is not heard of again is replaced",
	 {{1, FAILS, 0, CIRCUIT_CLOSED, false},
	  {2, FAILS, 0, CIRCUIT_CLOSED, false},
	  {3, FAILS, 0, CIRCUIT_OPEN, true},
	  {1500, WANTS_TO_GO, true, CIRCUIT_HALF_OPEN, true},
	  {2499, WANTS_TO_GO, false, CIRCUIT_HALF_OPEN, true},
	  {2500, WANTS_TO_GO, true, CIRCUIT_HALF_OPEN, true}}},
	{"anybody's success closes it",
	 {{1, FAILS, 0, CIRCUIT_CLOSED, false},
	  {2, FAILS, 0, CIRCUIT_CLOSED, false},
	  {3, FAILS, 0, CIRCUIT_OPEN, true},
	  {4, SUCCEEDS, 0, CIRCUIT_CLOSED, false},
	  {5, FAILS, 0, CIRCUIT_CLOSED, false}}},
};

static bool happen(const struct config *config, uint64_t *word, const struct step *step)
{
	switch (step->happens) {
	case FAILS: *word = circuit_failed(config, *word, false, step->at_ms); break;
	case PROBE_FAILS: *word = circuit_failed(config, *word, true, step->at_ms); break;
	case SUCCEEDS: *word = circuit_succeeded(); break;
	case WANTS_TO_GO: return circuit_probe(config, word, step->at_ms);
	}
	return false;
}

static void tell(const struct config *config, const struct story *story)
{
	uint64_t word = 0;
	for (size_t i = 0; i < COUNT(story->steps) && story->steps[i].at_ms != 0; i++) {
		const struct step *step = &story->steps[i];
		char row[120];
		snprintf(row, sizeof row, "%s, at %d", story->name, (int)step->at_ms);
		CHECK_INT(row, happen(config, &word, step), step->becomes_probe);
		CHECK_TEXT(row, names[circuit_state(word)], names[step->circuit]);
		CHECK_INT(row, circuit_refuses(config, word, step->at_ms), step->refuses);
	}
}

static void every_transition(void **state)
{
	static const char *const modes[] = {"pass", "reject"};
	(void)state;
	for (size_t mode = 0; mode < COUNT(modes); mode++) {
		struct config config = config_of_mode(modes[mode]);
		for (size_t i = 0; i < COUNT(stories); i++)
			tell(&config, &stories[i]);
	}
}

static void off_is_always_closed(void **state)
{
	struct config config = config_of_mode("off"), on = config_of_mode("pass");
	uint64_t word = 0, open = 0;
	(void)state;
	for (int i = 0; i < 100; i++)
		word = circuit_failed(&config, word, false, i);
	assert_int_equal(word, 0);
	for (int i = 0; i < THRESHOLD; i++)
		open = circuit_failed(&on, open, false, 10);
	assert_int_equal(circuit_state(open), CIRCUIT_OPEN);
	/* One that others have opened is none of its business. */
	assert_false(circuit_refuses(&config, open, 11));
	assert_false(circuit_probe(&config, &open, 10 + OPEN_MS));
}

static void thresholds(void **state)
{
	static const char *const rows[] = {"1", "2", "5", "1000000"};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct config config = config_with("RETRY_BREAKER_THRESHOLD", rows[i], "RETRY_MAX_ATTEMPTS", "1");
		uint64_t word = 0;
		int failures = 0;
		for (; failures < 2000000 && circuit_state(word) == CIRCUIT_CLOSED; failures++)
			word = circuit_failed(&config, word, false, 77);
		CHECK_INT(rows[i], failures, config.breaker_threshold);
		CHECK_INT(rows[i], circuit_failures(word), config.breaker_threshold);
	}
}

/* Three attempts of 100 and 200 ms at most: a row of failures has to last 300 ms. */
static void a_crowd_opens_it_no_sooner_than_all_have_tried(void **state)
{
	static const struct {
		const char *row;
		int64_t at_ms[6];
		enum circuit circuit;
	} rows[] = {
		{"all at once", {1000, 1000, 1001, 1001, 1002, 1002}, CIRCUIT_CLOSED},
		{"within what one may take", {1000, 1100, 1200, 1250, 1280, 1299}, CIRCUIT_CLOSED},
		{"as long as one may take", {1000, 1100, 1200, 1250, 1280, 1300}, CIRCUIT_OPEN},
		{"one after the other", {1000, 1150, 1300, 1450, 1600, 1750}, CIRCUIT_OPEN},
		{"too few", {1000, 1400, 0, 0, 0, 0}, CIRCUIT_CLOSED},
		{"too rare to be a row", {1000, 4301, 7602, 10903, 0, 0}, CIRCUIT_CLOSED},
		{"just not too rare", {1000, 4299, 4300, 0, 0, 0}, CIRCUIT_OPEN},
	};
	struct config config = config_with("RETRY_BREAKER_THRESHOLD", "3", "RETRY_BREAKER_OPEN_MS", "1000", "RETRY_BASE_DELAY_MS", "100");
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint64_t word = 0;
		for (size_t n = 0; n < COUNT(rows[i].at_ms) && rows[i].at_ms[n] != 0; n++)
			word = circuit_failed(&config, word, false, rows[i].at_ms[n]);
		CHECK_TEXT(rows[i].row, names[circuit_state(word)], names[rows[i].circuit]);
	}
}

static void what_counts_as_failed(void **state)
{
	static const struct {
		enum event event;
		enum reason reason;
		bool counts;
	} rows[] = {
		{EVENT_EXHAUSTED, REASON_NONE, true},        {EVENT_FALLBACK, REASON_NONE, true},         {EVENT_GIVEN_UP, REASON_DEADLINE, true},
		{EVENT_GIVEN_UP, REASON_BUDGET, true},       {EVENT_GIVEN_UP, REASON_BREAKER, true},      {EVENT_GIVEN_UP, REASON_SIGNAL, false},
		{EVENT_GIVEN_UP, REASON_UNSAFE, false},      {EVENT_GIVEN_UP, REASON_RETRY_AFTER, false}, {EVENT_NOT_RETRYABLE, REASON_NONE, false},
		{EVENT_ATTEMPT_FAILED, REASON_NONE, false},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct verdict verdict = {.event = rows[i].event, .reason = rows[i].reason, .class.connection_evidence = true};
		CHECK_INT(event_name(rows[i].event), circuit_counts(&verdict), rows[i].counts);
		verdict.class.connection_evidence = false;
		CHECK_INT("not about connecting", circuit_counts(&verdict), false);
	}
}

static void what_a_rejected_one_fails_with(void **state)
{
	static const struct {
		enum source source;
		struct evidence opening;
		int code;
	} rows[] = {
		{SOURCE_CONNECT, {.source = SOURCE_CONNECT, .code = ETIMEDOUT}, ETIMEDOUT},
		{SOURCE_CONNECT, {.source = SOURCE_CONNECT, .code = EPERM}, ECONNREFUSED}, /* none of ours: the file is garbage */
		{SOURCE_CONNECT, {.source = SOURCE_CONNECT, .code = 0}, ECONNREFUSED},
		{SOURCE_CONNECT, {.source = SOURCE_CURL, .code = CURLE_COULDNT_CONNECT}, ECONNREFUSED},
		{SOURCE_RESOLVE, {.source = SOURCE_RESOLVE, .code = EAI_AGAIN}, EAI_AGAIN},
		{SOURCE_RESOLVE, {.source = SOURCE_CONNECT, .code = ECONNREFUSED}, EAI_AGAIN},
		{SOURCE_CURL, {.source = SOURCE_CURL, .code = CURLE_COULDNT_RESOLVE_HOST}, CURLE_COULDNT_RESOLVE_HOST},
		{SOURCE_CURL, {.source = SOURCE_CURL, .code = CURLE_OK}, CURLE_COULDNT_CONNECT},
		{SOURCE_CURL, {.source = SOURCE_CONNECT, .code = ETIMEDOUT}, CURLE_COULDNT_CONNECT},
		{SOURCE_CURL, {.source = SOURCE_RESOLVE, .code = EAI_AGAIN}, CURLE_COULDNT_RESOLVE_HOST},
	};
	struct config config = config_default();
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		assert_int_equal(circuit_error(&config, rows[i].source, &rows[i].opening), rows[i].code);
}

/* The file is never trusted: whatever a word says, nobody is refused for longer than OPEN_MS. */
static void any_word_lets_go_in_time(void **state)
{
	struct config config = config_of_mode("reject");
	uint64_t seed = 11;
	(void)state;
	for (int i = 0; i < 200000; i++) {
		uint64_t word = next_random(&seed);
		int64_t now_ms = (int64_t)(next_random(&seed) >> (22 + i % 20));
		bool refuses = circuit_refuses(&config, word, now_ms);
		bool later = circuit_refuses(&config, word, now_ms + OPEN_MS);
		if (refuses && later)
			fail_msg("%llx refuses at %lld, and still after its time", (unsigned long long)word, (long long)now_ms);
		if (!refuses && circuit_state(word) != CIRCUIT_CLOSED)
			assert_true(circuit_probe(&config, &word, now_ms));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_transition),
		cmocka_unit_test(off_is_always_closed),
		cmocka_unit_test(thresholds),
		cmocka_unit_test(a_crowd_opens_it_no_sooner_than_all_have_tried),
		cmocka_unit_test(what_counts_as_failed),
		cmocka_unit_test(what_a_rejected_one_fails_with),
		cmocka_unit_test(any_word_lets_go_in_time),
	};
	return cmocka_run_group_tests_name("breaker", tests, NULL, NULL);
}
