/* The token bucket of a destination. */
#include "retryshim/host.h"

#define TOKEN INT64_C(1000)
enum { SPENT_BITS = 30, INSTANT_BITS = 34, PIECE = 100 };
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

static uint64_t since_ms(struct bucket bucket, int64_t now_ms) { return ((uint64_t)now_ms - bucket.at_ms) & INSTANT_MASK; }

/* What has dripped in and is not counted yet, in thousandths: tokens a second are thousandths a millisecond. */
static double dripped(const struct config *config, struct bucket bucket, int64_t now_ms)
{
	return (double)since_ms(bucket, now_ms) * config->budget_per_sec;
}

/* Counts the drip in pieces of a tenth of a token: what the instant's rounding to milliseconds costs is nothing
 * then, however often somebody looks. */
static struct bucket drip(const struct config *config, uint64_t word, int64_t now_ms)
{
	struct bucket bucket = {.spent = (int64_t)(word & SPENT_MASK), .at_ms = word >> SPENT_BITS};
	if (bucket.spent > size_of(config) + PIECE) /* of a larger bucket than ours */
		bucket.spent = size_of(config);
	if (since_ms(bucket, now_ms) > INSTANT_MASK / 2) /* an instant that is still to come */
		bucket.at_ms = (uint64_t)now_ms & INSTANT_MASK;
	double gain = dripped(config, bucket, now_ms);
	if (gain >= (double)bucket.spent)
		return (struct bucket){.spent = 0, .at_ms = (uint64_t)now_ms & INSTANT_MASK};
	if (gain < PIECE)
		return bucket;
	bucket.spent -= (int64_t)gain;
	bucket.at_ms = (bucket.at_ms + (uint64_t)((double)(int64_t)gain / config->budget_per_sec + 0.5)) & INSTANT_MASK;
	return bucket;
}

static int64_t left_in(const struct config *config, struct bucket bucket, int64_t now_ms)
{
	int64_t left = size_of(config) - bucket.spent + (int64_t)dripped(config, bucket, now_ms);
	return left < 0 ? 0 : left < size_of(config) ? left : size_of(config);
}

int64_t budget_milli(const struct config *config, uint64_t word, int64_t now_ms)
{
	return left_in(config, drip(config, word, now_ms), now_ms);
}

bool budget_take(const struct config *config, uint64_t *word, int64_t now_ms)
{
	if (!config->budget)
		return true;
	struct bucket bucket = drip(config, *word, now_ms);
	if (left_in(config, bucket, now_ms) < TOKEN)
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
