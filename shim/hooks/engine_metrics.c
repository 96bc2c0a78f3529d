/* What operators count: in the host's state always, as soon as something has failed; in sinks where RETRY_METRICS says so. */
#include "hooks/engine.h"

#include "retryshim/report.h"

/* The category is that of the failure that the operation met last, whatever came of it. */
static __attribute__((noinline)) void count(const struct op *op, enum metric metric, enum reason reason, int64_t delay_ms)
{
	struct state *state;
	struct labels labels;
	struct hold hold;
	struct class class = classify(op->config, &op->failure);
	labels_set(&labels, engine_operation(op), &op->target, class.category);
	struct series *series = state_series(op->config, &labels, &state, engine_tell_no_state);
	if (series != NULL) {
		series_add(series, metric, reason, 0);
		if (metric == METRIC_ATTEMPT)
			series_add(series, METRIC_DELAY, REASON_NONE, (uint64_t)delay_ms);
	}
	if (op->config->metrics[0] == '\0')
		return;
	struct report_metric told = {
		.metric = metric,
		.delay_ms = delay_ms,
		.reason = reason,
		.labels = &labels,
		.state = state_is_shared(state) ? state : NULL,
		.op = op->id,
		.program = settings_program(),
		.trace_id = settings_trace_id(),
		.attempt = op->progress.attempt,
		.error = class.symbol,
	};
	hold_begin(&hold);
	report_metric(op->config, &told);
	hold_end(&hold);
}

void engine_count_retry(const struct op *op)
{
	int64_t waited_ns = clock_now_ns() - op->failed_ns;
	count(op, METRIC_ATTEMPT, REASON_NONE, waited_ns > 0 ? (waited_ns + NS_PER_MS / 2) / NS_PER_MS : 0);
}

void engine_count_end(const struct op *op, enum event event, enum reason reason)
{
	if (metric_is_due(event, op->progress.attempt))
		count(op, metric_of(event), reason, 0);
}
