/* A series' counters, which all processes change at once. */
#include "retryshim/runtime.h"

static void add(_Atomic(uint64_t) *counter, uint64_t value) { atomic_fetch_add_explicit(counter, value, memory_order_relaxed); }

void series_add(struct series *series, enum metric metric, enum reason reason, uint64_t value)
{
	switch (metric) {
	case METRIC_ATTEMPT: add(&series->attempts, 1); break;
	case METRIC_DELAY: add(&series->delay_ms, value); break;
	case METRIC_RECOVERED: add(&series->recovered, 1); break;
	case METRIC_EXHAUSTED: add(&series->exhausted, 1); break;
	case METRIC_GIVEN_UP: add(&series->given_up[reason], 1); break;
	case METRICS: break;
	}
}
