#include "retryshim/policy.h"

/* Uniform in [0, 1): the upper 53 bits, as many as a double holds. */
static double fraction(uint64_t random) { return (double)(random >> 11) * 0x1p-53; }

/* The undithered wait: base * multiplier^n, capped; a loop, since pow() would need libm. */
static double exponential_ns(const struct config *config, int next_attempt)
{
	double cap = (double)config->max_delay_ms * (double)NS_PER_MS;
	double delay = (double)config->base_delay_ms * (double)NS_PER_MS;
	for (int n = 2; n < next_attempt && delay > 0 && delay < cap && config->multiplier > 1; n++)
		delay *= config->multiplier;
	return delay < cap ? delay : cap;
}

static double decorrelated_ns(const struct config *config, int64_t previous_ns, double u)
{
	double cap = (double)config->max_delay_ms * (double)NS_PER_MS;
	double base = (double)config->base_delay_ms * (double)NS_PER_MS;
	double previous = previous_ns > 0 ? (double)previous_ns : base;
	double top = 3 * previous > base ? 3 * previous : base;
	double delay = base + u * (top - base);
	return delay < cap ? delay : cap;
}

int64_t backoff_most_ns(const struct config *config, int next_attempt, int64_t previous_ns)
{
	return backoff_ns(config, next_attempt, previous_ns, config->jitter == JITTER_NONE ? 0 : UINT64_MAX);
}

int64_t backoff_ns(const struct config *config, int next_attempt, int64_t previous_ns, uint64_t random)
{
	double cap = (double)config->max_delay_ms * (double)NS_PER_MS;
	double delay = exponential_ns(config, next_attempt);
	double u = fraction(random);
	switch (config->jitter) {
	case JITTER_FULL: delay = u * delay; break;
	case JITTER_EQUAL: delay = delay / 2 + u * delay / 2; break;
	case JITTER_DECORRELATED: delay = decorrelated_ns(config, previous_ns, u); break;
	case JITTER_FACTOR: delay = delay * (1 + (2 * u - 1) * config->jitter_factor); break;
	default: break;
	}
	return (int64_t)(delay < cap ? delay : cap);
}
