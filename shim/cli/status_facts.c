/* From the words of a state to the facts that are shown. */
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "cli/status.h"
#include "retryshim/runtime.h"

static uint64_t load(const _Atomic(uint64_t) *word) { return atomic_load_explicit(word, memory_order_relaxed); }

const char *status_circuit_name(enum circuit circuit)
{
	switch (circuit) {
	case CIRCUIT_OPEN: return "open";
	case CIRCUIT_HALF_OPEN: return "half-open";
	case CIRCUIT_CLOSED: break;
	}
	return "closed";
}

static void circuit_facts(const struct config *config, uint64_t word, int64_t now_ms, struct status_facts *facts)
{
	facts->circuit = circuit_state(word);
	facts->failures = circuit_failures(word);
	facts->probe_in_ms = STATUS_UNKNOWN;
	if (facts->circuit == CIRCUIT_CLOSED)
		return;
	/* As the programs take it: an instant that is still to come holds nobody up. */
	int64_t for_ms = now_ms - circuit_since_ms(word);
	facts->probe_in_ms = for_ms < 0 || for_ms > config->breaker_open_ms ? 0 : config->breaker_open_ms - for_ms;
}

static void budget_facts(const struct config *config, uint64_t word, int64_t now_ms, struct status_facts *facts)
{
	facts->tokens_milli = config->budget ? budget_milli(config, word, now_ms) : STATUS_UNKNOWN;
	facts->burst_milli = config->budget ? budget_milli(config, 0, now_ms) : STATUS_UNKNOWN;
}

static void failure_facts(const struct config *config, uint64_t word, int64_t now_us, struct status_facts *facts)
{
	struct evidence latest = evidence_read(word);
	struct failure failure = {.source = latest.source, .code = latest.code, .retry_after_ms = -1};
	facts->failure_age_ms = STATUS_UNKNOWN;
	if (word == 0 || latest.ok)
		return;
	if (latest.at_us <= now_us)
		facts->failure_age_ms = (now_us - latest.at_us) / 1000;
	/* classify() would name the errno behind it, which a word has no room for. */
	bool system = latest.source == SOURCE_RESOLVE && latest.code == EAI_SYSTEM;
	struct class class = classify(config, &failure);
	_Static_assert(sizeof class.symbol == sizeof facts->failure, "the room for a symbol");
	strcpy(facts->failure, system ? "EAI_SYSTEM" : class.symbol);
}

static void read_facts(const struct config *config, const struct destination *it, int64_t now_ns,
                       struct status_facts *facts)
{
	int64_t now_ms = now_ns / NS_PER_MS;
	circuit_facts(config, load(&it->circuit), now_ms, facts);
	budget_facts(config, load(&it->bucket), now_ms, facts);
	failure_facts(config, load(&it->failure), now_ns / 1000, facts);
	facts->floor_ms = floor_ms(config, load(&it->floor), now_ms);
	facts->attempts = load(&it->attempts);
	facts->retries = load(&it->retries);
	facts->recoveries = load(&it->recoveries);
	facts->exhausted = load(&it->exhausted);
}

static int later_first(const void *left, const void *right)
{
	const struct status_facts *a = left, *b = right;
	/* An unknown age becomes the greatest. */
	uint64_t age_a = (uint64_t)a->failure_age_ms, age_b = (uint64_t)b->failure_age_ms;
	if (age_a != age_b)
		return age_a < age_b ? -1 : 1;
	return strcmp(a->target, b->target);
}

int status_facts(status_config *config_of, const struct state *state, struct status_facts facts[STATE_DESTINATIONS])
{
	int64_t now_ns = clock_now_ns();
	int count = 0;
	for (int i = 0; i < STATE_DESTINATIONS; i++) {
		struct status_facts *next = &facts[count];
		memset(next, 0, sizeof *next);
		if (!status_name(&state->destinations[i], next->target))
			continue;
		read_facts(config_of(next->target), &state->destinations[i], now_ns, next);
		count++;
	}
	qsort(facts, (size_t)count, sizeof facts[0], later_first);
	return count;
}
