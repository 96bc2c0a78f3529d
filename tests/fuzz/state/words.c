/* The words, each by itself. */
#include "world.h"

void check_budget(const struct config *config, uint64_t word, int64_t now_ms, double gift)
{
	int64_t size = budget_milli(config, 0, now_ms), before = budget_milli(config, word, now_ms);
	PROMISE(before >= 0 && before <= size);
	uint64_t given = budget_give(config, word, gift, now_ms), taken = word;
	PROMISE(budget_milli(config, given, now_ms) >= before && budget_milli(config, given, now_ms) <= size);
	if (budget_take(config, &taken, now_ms) && config->budget) {
		PROMISE(before >= 1000);
		PROMISE(budget_milli(config, taken, now_ms) <= before - 999);
	} else {
		PROMISE(taken == word);
	}
}

void check_circuit(const struct config *config, uint64_t word, bool probe, int64_t now_ms)
{
	PROMISE(circuit_state(word) <= CIRCUIT_HALF_OPEN && circuit_failures(word) >= 0 && circuit_since_ms(word) >= 0);
	/* Left alone it lets somebody through when its time is over. */
	PROMISE(!circuit_refuses(config, word, now_ms) || !circuit_refuses(config, word, now_ms + config->breaker_open_ms));
	uint64_t becomes = word;
	if (circuit_probe(config, &becomes, now_ms))
		PROMISE(circuit_state(becomes) == CIRCUIT_HALF_OPEN && circuit_refuses(config, becomes, now_ms));
	else
		PROMISE(becomes == word);
	becomes = circuit_failed(config, word, probe, now_ms);
	PROMISE(circuit_failures(becomes) >= 1 || config->breaker == BREAKER_OFF);
}

void check_floor(const struct config *config, uint64_t word, int64_t retry_after_ms, int64_t now_ms)
{
	int64_t cap = config->max_delay_ms * 4 / 5, floor = floor_ms(config, word, now_ms);
	PROMISE(floor >= 0 && floor <= cap);
	int64_t raised = floor_ms(config, floor_raise(config, word, retry_after_ms, now_ms), now_ms);
	PROMISE(raised >= floor && raised <= cap);
	int64_t lowered = floor_ms(config, floor_lower(config, word, now_ms), now_ms);
	PROMISE(lowered >= 0 && lowered <= floor);
}

void check_evidence(uint64_t word)
{
	struct evidence evidence = evidence_read(word);
	PROMISE(evidence.at_us >= 0 && evidence.code >= -4096 && evidence.code < 4096);
	PROMISE(evidence_word(&evidence) == word);
}
