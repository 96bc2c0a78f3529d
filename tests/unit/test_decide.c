/* The engine's verdict, on a virtual clock. */
#include <errno.h>

#include <curl/curl.h>

#include "support.h"

#define MS(n) ((int64_t)(n) * NS_PER_MS)
#define NONE INT64_MAX /* no deadline */

static const int64_t start_ns = INT64_C(123456789012345);

static const struct failure refused = {.source = SOURCE_CONNECT, .code = ECONNREFUSED, .retry_after_ms = -1};
static const struct failure unavailable = {
	.source = SOURCE_HTTP, .code = 503, .retry_after_ms = -1, .sent = true, .repeatable = true};

static void check_verdict(const char *row, const struct verdict *verdict, const char *event, const char *reason)
{
	CHECK_TEXT(row, event_name(verdict->event), event);
	CHECK_TEXT(row, reason_name(verdict->reason), reason);
	bool goes_on = verdict->event == EVENT_ATTEMPT_FAILED || verdict->event == EVENT_FALLBACK;
	CHECK_INT(row, verdict->action, goes_on ? ACTION_RETRY : ACTION_DELIVER);
}

/* Each row has every later cause as well, so that only the right order gives its answer. */
static void order_of_the_questions(void **state)
{
	static const struct {
		const char *row;
		int code;
		bool delivered, unsafe, last, unrewindable;
		int64_t retry_after_ms, left_ms;
		const char *event, *reason;
	} rows[] = {
		{"no failure", 304, true, true, true, true, 99999999, 0, "", ""},
		{"never retried", 404, true, true, true, true, 99999999, 0, "not_retryable", ""},
		{"delivered", 503, true, true, true, true, 99999999, 0, "given_up", "delivered"},
		{"unsafe", 503, false, true, true, true, 99999999, 0, "given_up", "unsafe"},
		{"used up", 503, false, false, true, true, 99999999, 0, "exhausted", ""},
		{"rewind", 503, false, false, false, true, 99999999, 0, "given_up", "rewind"},
		{"Retry-After", 503, false, false, false, false, 99999999, 0, "given_up", "retry_after"},
		{"deadline", 503, false, false, false, false, -1, 0, "given_up", "deadline"},
		{"retry", 503, false, false, false, false, -1, 60000, "attempt_failed", ""},
	};
	(void)state;
	struct config config = config_default();
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct failure failure = {.source = SOURCE_HTTP, .code = rows[i].code, .sent = true,
		                          .delivered = rows[i].delivered, .repeatable = !rows[i].unsafe,
		                          .unrewindable = rows[i].unrewindable, .retry_after_ms = rows[i].retry_after_ms};
		struct progress progress = {.attempt = rows[i].last ? 3 : 1, .deadline_ns = start_ns + MS(rows[i].left_ms)};
		struct verdict verdict = decide(&config, &progress, &failure, NULL, start_ns, UINT64_MAX);
		check_verdict(rows[i].row, &verdict, rows[i].event, rows[i].reason);
	}
}

/* Sent and not repeatable is unsafe; one of the two alone is not. */
static void unsafe_needs_both(void **state)
{
	(void)state;
	struct config config = config_default();
	struct progress progress = {.attempt = 1, .deadline_ns = NONE};
	for (int bits = 0; bits < 4; bits++) {
		struct failure failure = {.source = SOURCE_CURL, .code = CURLE_OPERATION_TIMEDOUT, .retry_after_ms = -1,
		                          .sent = (bits & 1) != 0, .repeatable = (bits & 2) != 0};
		struct verdict verdict = decide(&config, &progress, &failure, NULL, start_ns, 0);
		char row[48];
		snprintf(row, sizeof row, "sent %d repeatable %d", bits & 1, bits >> 1);
		check_verdict(row, &verdict, bits == 1 ? "given_up" : "attempt_failed", bits == 1 ? "unsafe" : "");
	}
}

/* A server that says that it has not acted on the request (HTTP/2 REFUSED_STREAM) makes any method safe; a
 * download that can go on is not lost by what has been delivered of it. */
static void refused_and_resumable(void **state)
{
	static const struct {
		const char *row;
		bool repeatable, refused, delivered, resumable;
		const char *event, *reason;
	} rows[] = {
		{"POST", false, false, false, false, "given_up", "unsafe"},
		{"refused POST", false, true, false, false, "attempt_failed", ""},
		{"broken GET", true, false, true, false, "given_up", "delivered"},
		{"broken GET that can go on", true, false, true, true, "attempt_failed", ""},
		{"broken POST that could", false, false, true, true, "given_up", "unsafe"},
		{"whole GET", true, false, false, true, "attempt_failed", ""},
	};
	(void)state;
	struct config config = config_default();
	struct progress progress = {.attempt = 1, .deadline_ns = NONE};
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct failure failure = {.source = SOURCE_CURL, .code = CURLE_RECV_ERROR, .retry_after_ms = -1, .sent = true,
		                          .repeatable = rows[i].repeatable, .refused = rows[i].refused,
		                          .delivered = rows[i].delivered, .resumable = rows[i].resumable};
		struct verdict verdict = decide(&config, &progress, &failure, NULL, start_ns, 0);
		check_verdict(rows[i].row, &verdict, rows[i].event, rows[i].reason);
	}
}

/* Codes that come when bytes were on their way are unsafe, whatever the hook could tell; a mail
 * server's 4yz before the message is not. */
static void some_codes_mean_sent(void **state)
{
	static const int codes[] = {CURLE_GOT_NOTHING, CURLE_SEND_ERROR, CURLE_RECV_ERROR, CURLE_HTTP2_STREAM,
	                            CURLE_HTTP3, CURLE_PARTIAL_FILE};
	(void)state;
	struct config config = config_default();
	struct progress progress = {.attempt = 1, .deadline_ns = NONE};
	for (size_t i = 0; i < COUNT(codes); i++) {
		struct failure failure = {.source = SOURCE_CURL, .code = codes[i], .retry_after_ms = -1};
		struct verdict verdict = decide(&config, &progress, &failure, NULL, start_ns, 0);
		check_verdict(verdict.class.symbol, &verdict, "given_up", "unsafe");
		failure.reply_code = 451;
		verdict = decide(&config, &progress, &failure, NULL, start_ns, 0);
		check_verdict("451", &verdict, "attempt_failed", "");
	}
}

/* A hook that forgets to say so must not have a POST repeated: who answers has got the request. */
static void a_response_means_sent(void **state)
{
	(void)state;
	struct config config = config_default();
	struct progress progress = {.attempt = 1, .deadline_ns = NONE};
	struct failure failure = {.source = SOURCE_HTTP, .code = 503, .retry_after_ms = -1};
	struct verdict verdict = decide(&config, &progress, &failure, NULL, start_ns, 0);
	check_verdict("503", &verdict, "given_up", "unsafe");
}

/* No backoff that would end at the deadline or past it; d = 1000 ms. */
static void deadline_to_the_nanosecond(void **state)
{
	static const struct {
		const char *row;
		int64_t left_ns;
		bool retry;
	} rows[] = {
		{"1 ns before", MS(1000) + 1, true}, {"at", MS(1000), false}, {"1 ns after", MS(1000) - 1, false},
		{"1 ms before", MS(1001), true},     {"1 ms after", MS(999), false}, {"passed", -MS(5), false},
	};
	(void)state;
	struct config config = config_with("RETRY_JITTER", "none");
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct progress progress = {.attempt = 1, .deadline_ns = start_ns + rows[i].left_ns};
		struct verdict verdict = decide(&config, &progress, &refused, NULL, start_ns, 0);
		check_verdict(rows[i].row, &verdict, rows[i].retry ? "attempt_failed" : "given_up",
		              rows[i].retry ? "" : "deadline");
		CHECK_INT(rows[i].row, verdict.delay_ns, rows[i].retry ? MS(1000) : 0);
		CHECK_INT(rows[i].row, verdict.at_ns, rows[i].retry ? start_ns + MS(1000) : 0);
	}
	struct config at_once = config_with("RETRY_BASE_DELAY_MS", "0");
	struct progress now = {.attempt = 1, .deadline_ns = start_ns};
	struct verdict verdict = decide(&at_once, &now, &refused, NULL, start_ns, 0);
	check_verdict("no delay, no time", &verdict, "given_up", "deadline");
	now.deadline_ns++;
	verdict = decide(&at_once, &now, &refused, NULL, start_ns, 0);
	check_verdict("no delay, 1 ns", &verdict, "attempt_failed", "");
}

/* d = 1000 ms, max delay 30000 ms. */
static void retry_after_is_a_floor(void **state)
{
	static const struct {
		const char *row;
		int64_t retry_after_ms, left_ns, delay_ms;
		const char *reason; /* "" = retried */
	} rows[] = {
		{"nothing asked", -1, NONE, 1000, ""},
		{"0", 0, NONE, 1000, ""},
		{"below the backoff", 999, NONE, 1000, ""},
		{"equal", 1000, NONE, 1000, ""},
		{"above the backoff", 1001, NONE, 1001, ""},
		{"at the cap", 30000, NONE, 30000, ""},
		{"beyond the cap", 30001, NONE, 0, "retry_after"},
		{"huge", INT64_MAX / NS_PER_S * 1000, NONE, 0, "retry_after"},
		{"largest", INT64_MAX, NONE, 0, "retry_after"},
		{"1 ns before the deadline", 5000, MS(5000) + 1, 5000, ""},
		{"at the deadline", 5000, MS(5000), 0, "retry_after"},
		{"1 ns beyond the deadline", 5000, MS(5000) - 1, 0, "retry_after"},
		{"the backoff alone passes it", 500, MS(800), 0, "deadline"},
		{"nothing asked, no time", 0, MS(800), 0, "deadline"},
	};
	(void)state;
	struct config config = config_with("RETRY_JITTER", "none");
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct failure failure = unavailable;
		failure.retry_after_ms = rows[i].retry_after_ms;
		int64_t deadline = rows[i].left_ns == NONE ? NONE : start_ns + rows[i].left_ns;
		struct progress progress = {.attempt = 1, .deadline_ns = deadline};
		struct verdict verdict = decide(&config, &progress, &failure, NULL, start_ns, 0);
		bool retried = rows[i].reason[0] == '\0';
		check_verdict(rows[i].row, &verdict, retried ? "attempt_failed" : "given_up", rows[i].reason);
		CHECK_INT(rows[i].row, verdict.delay_ns, MS(rows[i].delay_ms));
	}
}

static void attempts_allowed(void **state)
{
	static const struct {
		const char *row, *max_attempts;
		struct failure failure;
		int attempt, max;
		const char *event;
		int capped_retries;
	} rows[] = {
		{"1 = never", "1", {.code = ECONNREFUSED}, 1, 1, "exhausted", 0},
		{"2, first", "2", {.code = ECONNREFUSED}, 1, 2, "attempt_failed", 0},
		{"2, second", "2", {.code = ECONNREFUSED}, 2, 2, "exhausted", 0},
		{"beyond", "2", {.code = ECONNREFUSED}, 3, 2, "exhausted", 0},
		{"1000, 999th", "1000", {.code = ECONNREFUSED}, 999, 1000, "attempt_failed", 0},
		{"1000, last", "1000", {.code = ECONNREFUSED}, 1000, 1000, "exhausted", 0},
		{"cap, first", "5", {.source = SOURCE_CURL, .code = CURLE_COULDNT_RESOLVE_HOST}, 1, 2, "attempt_failed", 0},
		{"cap, second", "5", {.source = SOURCE_CURL, .code = CURLE_COULDNT_RESOLVE_HOST}, 2, 2, "exhausted", 1},
		{"cap above max", "1", {.source = SOURCE_CURL, .code = CURLE_COULDNT_RESOLVE_HOST}, 1, 1, "exhausted", 0},
		{"425 once", "5", {.source = SOURCE_HTTP, .code = 425, .repeatable = true}, 1, 2, "attempt_failed", 0},
		{"425 twice", "5", {.source = SOURCE_HTTP, .code = 425, .repeatable = true}, 2, 2, "exhausted", 1},
		{"425 after two 503", "5", {.source = SOURCE_HTTP, .code = 425, .repeatable = true}, 3, 4, "attempt_failed", 0},
		{"425 again", "5", {.source = SOURCE_HTTP, .code = 425, .repeatable = true}, 4, 4, "exhausted", 1},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct config config = config_with("RETRY_MAX_ATTEMPTS", rows[i].max_attempts);
		struct progress progress = {.attempt = rows[i].attempt, .deadline_ns = NONE, .capped_retries = rows[i].capped_retries};
		struct verdict verdict = decide(&config, &progress, &rows[i].failure, NULL, start_ns, 7);
		check_verdict(rows[i].row, &verdict, rows[i].event, "");
		CHECK_INT(rows[i].row, verdict.max_attempts, rows[i].max);
	}
}

/* What the host knows, in the order in which it counts. */
static void what_the_host_knows(void **state)
{
	static const struct {
		const char *row;
		struct failure failure;
		int attempt;
		struct standing standing;
		const char *event, *reason;
	} rows[] = {
		{"nothing", {.code = ECONNREFUSED}, 1, {0}, "attempt_failed", ""},
		{"an open circuit", {.code = ECONNREFUSED}, 1, {.circuit_open = true}, "given_up", "breaker"},
		{"no token", {.code = ECONNREFUSED}, 1, {.no_token = true}, "given_up", "budget"},
		{"both", {.code = ECONNREFUSED}, 1, {.circuit_open = true, .no_token = true}, "given_up", "breaker"},
		{"used up comes first", {.code = ECONNREFUSED}, 3, {.circuit_open = true, .no_token = true}, "exhausted", ""},
		{"so does what is never retried", {.code = EACCES}, 1, {.circuit_open = true, .no_token = true, .has_fallback = true}, "not_retryable", ""},
		{"and what is not safe", {.source = SOURCE_HTTP, .code = 503}, 1, {.circuit_open = true, .has_fallback = true}, "given_up", "unsafe"},
		{"a fallback, not yet", {.code = ECONNREFUSED}, 1, {.has_fallback = true}, "attempt_failed", ""},
		{"a fallback, used up", {.code = ECONNREFUSED}, 3, {.has_fallback = true}, "fallback", ""},
		{"a fallback, open", {.code = ECONNREFUSED}, 1, {.has_fallback = true, .circuit_open = true}, "fallback", ""},
		{"a fallback, no token", {.code = ECONNREFUSED}, 1, {.has_fallback = true, .no_token = true}, "fallback", ""},
		{"a fallback, but no body", {.code = ECONNREFUSED, .unrewindable = true}, 3, {.has_fallback = true}, "exhausted", ""},
		{"a fallback for a GET's 503", {.source = SOURCE_HTTP, .code = 503, .repeatable = true}, 3, {.has_fallback = true}, "fallback", ""},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct config config = config_default();
		struct progress progress = {.attempt = rows[i].attempt, .deadline_ns = NONE};
		struct verdict verdict = decide(&config, &progress, &rows[i].failure, &rows[i].standing, start_ns, 7);
		check_verdict(rows[i].row, &verdict, rows[i].event, rows[i].reason);
		if (strcmp(rows[i].event, "fallback") == 0)
			CHECK_INT(rows[i].row, verdict.at_ns, start_ns);
	}
}

/* The floor lies under the drawn delay, and the deadline above it. */
static void the_floor(void **state)
{
	static const struct {
		int64_t floor_ms, least_ms, most_ms;
	} rows[] = {{0, 0, 1000}, {500, 500, 1000}, {5000, 5000, 6250}, {24000, 24000, 30000}};
	struct config config = config_default();
	uint64_t seed = 1;
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		for (int n = 0; n < 1000; n++) {
			struct progress progress = {.attempt = 1, .deadline_ns = NONE};
			struct standing standing = {.floor_ns = MS(rows[i].floor_ms)};
			struct failure failure = {.code = ECONNREFUSED};
			struct verdict verdict = decide(&config, &progress, &failure, &standing, start_ns, next_random(&seed));
			CHECK_RANGE("delay", verdict.delay_ns, MS(rows[i].least_ms), MS(rows[i].most_ms));
			CHECK_RANGE("the longest", verdict.most_ns, verdict.delay_ns, MS(rows[i].most_ms));
		}
	struct progress progress = {.attempt = 1, .deadline_ns = start_ns + MS(5000)};
	struct standing standing = {.floor_ns = MS(5000)};
	struct failure failure = {.code = ECONNREFUSED};
	struct verdict verdict = decide(&config, &progress, &failure, &standing, start_ns, 0);
	check_verdict("beyond the deadline", &verdict, "given_up", "deadline");
}

/* What the engine does: attempts of attempt_ms each, until the verdict is to deliver. Returns the
 * attempts made; instants[] gets the start of each, in ms since the operation's start. */
static int simulate(const struct config *config, const struct failure *failure, int64_t attempt_ms,
                    int64_t own_ms, int64_t *instants, struct verdict *last)
{
	int64_t now = start_ns;
	struct progress progress = {.attempt = 0, .deadline_ns = deadline_of(config, start_ns, MS(own_ms))};
	do {
		instants[progress.attempt++] = (now - start_ns) / NS_PER_MS;
		now += MS(attempt_ms);
		*last = decide(config, &progress, failure, NULL, now, UINT64_MAX);
		progress.previous_delay_ns = last->delay_ns;
		CHECK_INT("instant", last->at_ns, last->action == ACTION_RETRY ? now + last->delay_ns : 0);
		now = last->at_ns;
	} while (last->action == ACTION_RETRY && progress.attempt < 20);
	return progress.attempt;
}

static void whole_operations(void **state)
{
	static const struct {
		const char *row, *attempts, *jitter, *timeout;
		int64_t attempt_ms, own_ms, retry_after_ms;
		int made;
		int64_t instants[8]; /* -1: not looked at, the jitter rounds */
		const char *event, *reason;
	} rows[] = {
		{"defaults, no jitter", "3", "none", "60000", 0, 0, -1, 3, {0, 1000, 3000}, "exhausted", ""},
		{"attempts take time", "4", "none", "60000", 100, 0, -1, 4, {0, 1100, 3200, 7300}, "exhausted", ""},
		{"max_attempts 1", "1", "none", "60000", 100, 0, -1, 1, {0}, "exhausted", ""},
		{"deadline", "9", "none", "60000", 0, 0, -1, 6, {0, 1000, 3000, 7000, 15000, 31000}, "given_up", "deadline"},
		{"deadline met exactly", "9", "none", "7000", 0, 0, -1, 3, {0, 1000, 3000}, "given_up", "deadline"},
		{"1 ms more", "9", "none", "7001", 0, 0, -1, 4, {0, 1000, 3000, 7000}, "given_up", "deadline"},
		{"program's own limit", "9", "none", "60000", 0, 2500, -1, 2, {0, 1000}, "given_up", "deadline"},
		{"no bound", "8", "none", "0", 0, 0, -1, 8, {0, 1000, 3000, 7000, 15000, 31000, 61000, 91000}, "exhausted", ""},
		{"Retry-After", "4", "none", "60000", 0, 0, 3000, 4, {0, 3000, 6000, 10000}, "exhausted", ""},
		{"Retry-After too late", "4", "none", "60000", 0, 0, 25000, 3, {0, 25000, 50000}, "given_up", "retry_after"},
		{"decorrelated", "5", "decorrelated", "0", 0, 0, -1, 5, {0, -1, -1, -1, -1}, "exhausted", ""},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct config config = config_with("RETRY_MAX_ATTEMPTS", rows[i].attempts, "RETRY_JITTER", rows[i].jitter,
		                                   "RETRY_TIMEOUT_MS", rows[i].timeout);
		struct failure failure = unavailable;
		failure.retry_after_ms = rows[i].retry_after_ms;
		int64_t instants[20];
		struct verdict last;
		int made = simulate(&config, &failure, rows[i].attempt_ms, rows[i].own_ms, instants, &last);
		CHECK_INT(rows[i].row, made, rows[i].made);
		check_verdict(rows[i].row, &last, rows[i].event, rows[i].reason);
		for (int n = 0; n < made; n++)
			if (rows[i].instants[n] >= 0)
				CHECK_INT(rows[i].row, instants[n], rows[i].instants[n]);
		/* Upper ends of decorrelated: 3, 9, 27, 30 s. A delay that is forgotten gives 3, 3, 3. */
		if (config.jitter == JITTER_DECORRELATED)
			CHECK_RANGE(rows[i].row, instants[4], 68998, 69000);
	}
}

static void own_limit_binds(void **state)
{
	static const struct {
		const char *row, *timeout;
		int64_t own_ns, span_ns;
	} rows[] = {
		{"ours alone", "60000", 0, MS(60000)},
		{"own alone", "0", MS(250), MS(250)},
		{"own smaller", "60000", MS(250), MS(250)},
		{"own larger", "60000", MS(90000), MS(60000)},
		{"own 1 ns smaller", "60000", MS(60000) - 1, MS(60000) - 1},
		{"equal", "60000", MS(60000), MS(60000)},
		{"own 1 ns", "60000", 1, 1},
		{"none at all", "0", 0, NONE},
		{"own negative", "60000", -1, MS(60000)},
		{"own negative, none of ours", "0", -1, NONE},
		{"own endless", "0", INT64_MAX, NONE},
		{"own just endless", "0", INT64_MAX - start_ns + 1, NONE},
		{"ours largest", "604800000", 0, MS(604800000)},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct config config = config_with("RETRY_TIMEOUT_MS", rows[i].timeout);
		int64_t want = rows[i].span_ns == NONE ? NONE : start_ns + rows[i].span_ns;
		CHECK_INT(rows[i].row, deadline_of(&config, start_ns, rows[i].own_ns), want);
	}
}

static void names(void **state)
{
	static const char *const reasons[] = {"", "deadline", "budget", "breaker", "unsafe", "rewind", "delivered", "retry_after", "signal"};
	static const char *const events[] = {"", "attempt_failed", "succeeded", "exhausted", "given_up", "not_retryable"};
	(void)state;
	for (size_t i = 0; i < COUNT(reasons); i++)
		CHECK_TEXT(reasons[i], reason_name((enum reason)i), reasons[i]);
	for (size_t i = 0; i < COUNT(events); i++)
		CHECK_TEXT(events[i], event_name((enum event)i), events[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(order_of_the_questions), cmocka_unit_test(unsafe_needs_both),
		cmocka_unit_test(some_codes_mean_sent), cmocka_unit_test(refused_and_resumable), cmocka_unit_test(a_response_means_sent),
		cmocka_unit_test(deadline_to_the_nanosecond), cmocka_unit_test(retry_after_is_a_floor),
		cmocka_unit_test(attempts_allowed), cmocka_unit_test(what_the_host_knows), cmocka_unit_test(the_floor), cmocka_unit_test(whole_operations),
		cmocka_unit_test(own_limit_binds), cmocka_unit_test(names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
