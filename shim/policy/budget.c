/* The token bucket of a destination. */
#include "retryshim/host.h"

#define TOKEN INT64_C(1000)
enum { SPENT_BITS = 30, INSTANT_BITS = 34 };
#define SPENT_MASK ((UINT64_C(1) << SPENT_BITS) - 1)
#define INSTANT_MASK ((UINT64_C(1) << INSTANT_BITS) - 1)

struct bucket {
	int64_t spent;
	uint64_t at_ms; /* INSTANT_BITS of it */
};

static uint64_t pack(struct bucket bucket)
{
	return (bucket.at_ms & INSTANT_MASK) << SPENT_BITS | (uint64_t)bucket.spent;
}

static int64_t size_of(const struct config *config) { return (int64_t)(config->budget_burst * (double)TOKEN); }

/* The drip up to now. Less than a thousandth is left for the next look, so that nothing is lost to rounding. */
static struct bucket drip(const struct config *config, uint64_t word, int64_t now_ms)
{
	struct bucket bucket = {.spent = (int64_t)(word & SPENT_MASK), .at_ms = word >> SPENT_BITS};
	uint64_t now = (uint64_t)now_ms & INSTANT_MASK;
	uint64_t since_ms = (now - bucket.at_ms) & INSTANT_MASK;
	double per_ms = config->budget_per_sec; /* tokens a second are thousandths a millisecond */
	if (bucket.spent > size_of(config))
		bucket.spent = size_of(config);
	if (since_ms > INSTANT_MASK / 2 || bucket.spent == 0) { /* an instant that is still to come, or nothing to count */
		bucket.at_ms = now;
		return bucket;
	}
	double gain = (double)since_ms * per_ms;
	if (gain >= (double)bucket.spent)
		return (struct bucket){.spent = 0, .at_ms = now};
	int64_t whole = (int64_t)gain;
	if (whole > 0) {
		bucket.spent -= whole;
		bucket.at_ms = (bucket.at_ms + (uint64_t)((double)whole / per_ms)) & INSTANT_MASK;
	}
	return bucket;
}

int64_t budget_milli(const struct config *config, uint64_t word, int64_t now_ms)
{
	return size_of(config) - drip(config, word, now_ms).spent;
}

bool budget_take(const struct config *config, uint64_t *word, int64_t now_ms)
{
	if (!config->budget)
		return true;
	struct bucket bucket = drip(config, *word, now_ms);
	if (size_of(config) - bucket.spent < TOKEN)
		return false;
	bucket.spent += TOKEN;
	*word = pack(bucket);
	return true;
}

uint64_t budget_give(const struct config *config, uint64_t word, double tokens, int64_t now_ms)
{
	struct bucket bucket = drip(config, word, now_ms);
	double back = tokens * (double)TOKEN;
	bucket.spent = back >= (double)bucket.spent ? 0 : bucket.spent - (int64_t)back;
	return bucket.spent == 0 ? 0 : pack(bucket);
}
