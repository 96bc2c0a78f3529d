/* The floor under the backoffs of a destination that asks to be spared. */
#include "retryshim/host.h"

enum { FLOOR_BITS = 22, SILENCE = 8 };
#define FLOOR_MASK ((UINT64_C(1) << FLOOR_BITS) - 1)

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* Below RETRY_MAX_DELAY_MS by as much as the jitter above the floor takes. */
static int64_t cap_ms(const struct config *config) { return config->max_delay_ms * 4 / 5; }

static int64_t since_ms(uint64_t word) { return (int64_t)(word >> FLOOR_BITS); }

static uint64_t pack(int64_t floor, int64_t now_ms) { return floor == 0 ? 0 : (uint64_t)now_ms << FLOOR_BITS | (uint64_t)floor; }

bool floor_is_asked_for(const struct failure *failure)
{
	return failure->source == SOURCE_HTTP &&
	       (failure->code == 429 || (failure->code == 503 && failure->retry_after_ms >= 0));
}

int64_t floor_ms(const struct config *config, uint64_t word, int64_t now_ms)
{
	int64_t floor = smaller((int64_t)(word & FLOOR_MASK), cap_ms(config));
	int64_t silent_ms = now_ms - since_ms(word);
	if (floor == 0 || silent_ms < 0)
		return 0;
	for (; floor > 0 && silent_ms >= SILENCE * floor; floor /= 2)
		silent_ms -= SILENCE * floor;
	return floor;
}

uint64_t floor_raise(const struct config *config, uint64_t word, int64_t retry_after_ms, int64_t now_ms)
{
	int64_t floor = floor_ms(config, word, now_ms);
	bool of_this_crowd = floor != 0 && now_ms - since_ms(word) < floor;
	int64_t asked_ms = smaller(larger(retry_after_ms, 0), cap_ms(config));
	if (of_this_crowd && asked_ms <= floor)
		return word;
	int64_t raised = of_this_crowd ? floor : larger(2 * floor, config->base_delay_ms);
	return pack(smaller(larger(raised, asked_ms), cap_ms(config)), now_ms);
}

uint64_t floor_lower(const struct config *config, uint64_t word, int64_t now_ms)
{
	int64_t floor = floor_ms(config, word, now_ms) * 3 / 4;
	return pack(floor * 2 < larger(config->base_delay_ms, 1) ? 0 : floor, now_ms);
}
