/* The circuit of a destination. */
#include <errno.h>
#include <netdb.h>

#include <curl/curl.h>

#include "retryshim/host.h"

enum { STATE_BITS = 2, FAILURES_BITS = 20, SINCE_SHIFT = STATE_BITS + FAILURES_BITS };
#define FAILURES_MOST ((1 << FAILURES_BITS) - 1)

static uint64_t pack(enum circuit state, int failures, int64_t since_ms)
{
	return (uint64_t)since_ms << SINCE_SHIFT | (uint64_t)failures << STATE_BITS | (uint64_t)state;
}

enum circuit circuit_state(uint64_t word)
{
	unsigned state = word & ((1U << STATE_BITS) - 1);
	return state <= CIRCUIT_HALF_OPEN ? (enum circuit)state : CIRCUIT_CLOSED;
}

int circuit_failures(uint64_t word) { return (int)(word >> STATE_BITS) & FAILURES_MOST; }

int64_t circuit_since_ms(uint64_t word) { return (int64_t)(word >> SINCE_SHIFT); }

/* Open, and its time is not over; or half open, and its probe may be alive. An instant that is still to come is
 * no state of ours. */
static bool is_shut(const struct config *config, uint64_t word, int64_t now_ms)
{
	int64_t for_ms = now_ms - circuit_since_ms(word);
	return circuit_state(word) != CIRCUIT_CLOSED && for_ms >= 0 && for_ms < config->breaker_open_ms;
}

bool circuit_refuses(const struct config *config, uint64_t word, int64_t now_ms)
{
	return config->breaker != BREAKER_OFF && is_shut(config, word, now_ms);
}

bool circuit_probe(const struct config *config, uint64_t *word, int64_t now_ms)
{
	if (config->breaker == BREAKER_OFF || circuit_state(*word) == CIRCUIT_CLOSED || is_shut(config, *word, now_ms))
		return false;
	*word = pack(CIRCUIT_HALF_OPEN, circuit_failures(*word), now_ms);
	return true;
}

/* What all backoffs of one operation can take, up to a minute or its time-out. */
static int64_t longest_ms(const struct config *config)
{
	const int64_t minute_ms = 60000;
	int64_t sum_ns = 0, most_ms = config->timeout_ms > 0 && config->timeout_ms < minute_ms ? config->timeout_ms : minute_ms;
	for (int next = 2; next <= config->max_attempts && sum_ns < most_ms * NS_PER_MS; next++)
		sum_ns += backoff_most_ns(config, next, 0);
	int64_t sum_ms = (sum_ns + NS_PER_MS - 1) / NS_PER_MS;
	return sum_ms < most_ms ? sum_ms : most_ms;
}

uint64_t circuit_failed(const struct config *config, uint64_t word, bool probe, int64_t now_ms)
{
	int failures = circuit_failures(word);
	if (config->breaker == BREAKER_OFF)
		return word;
	if (failures < FAILURES_MOST)
		failures++;
	switch (circuit_state(word)) {
	case CIRCUIT_OPEN: return pack(CIRCUIT_OPEN, failures, circuit_since_ms(word));
	case CIRCUIT_HALF_OPEN:
		return probe ? pack(CIRCUIT_OPEN, failures, now_ms) : pack(CIRCUIT_HALF_OPEN, failures, circuit_since_ms(word));
	default: break;
	}
	int64_t row_ms = now_ms - circuit_since_ms(word), span_ms = longest_ms(config);
	if (failures == 1 || row_ms < 0 || row_ms > span_ms + config->breaker_threshold * config->breaker_open_ms) {
		failures = 1;
		row_ms = 0;
	}
	bool opens = failures >= config->breaker_threshold && row_ms >= span_ms;
	return pack(opens ? CIRCUIT_OPEN : CIRCUIT_CLOSED, failures, opens ? now_ms : now_ms - row_ms);
}

uint64_t circuit_succeeded(void) { return 0; }

bool circuit_let_through(const struct config *config, uint64_t word)
{
	return config->breaker == BREAKER_REJECT && circuit_state(word) == CIRCUIT_HALF_OPEN;
}

bool circuit_counts(const struct verdict *verdict)
{
	if (!verdict->class.connection_evidence)
		return false;
	switch (verdict->event) {
	case EVENT_EXHAUSTED:
	case EVENT_FALLBACK: return true;
	default: break;
	}
	return verdict->reason == REASON_DEADLINE || verdict->reason == REASON_BUDGET || verdict->reason == REASON_BREAKER;
}

int circuit_error(const struct config *config, enum source source, const struct evidence *opening)
{
	struct failure failure = {.source = opening->source, .code = opening->code, .retry_after_ms = -1};
	if (opening->source == source && classify(config, &failure).connection_evidence)
		return opening->code;
	switch (source) {
	case SOURCE_CONNECT: return ECONNREFUSED;
	case SOURCE_RESOLVE: return EAI_AGAIN;
	default: return opening->source == SOURCE_RESOLVE ? CURLE_COULDNT_RESOLVE_HOST : CURLE_COULDNT_CONNECT;
	}
}
