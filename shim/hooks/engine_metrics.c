/* What operators count: in the host's state always, as soon as something has failed; in sinks where RETRY_METRICS says so. */
#include "hooks/engine.h"

#include "retryshim/report.h"

static void send_metric(const struct op *op, const struct report_metric *metric)
{
	struct hold hold;
	if (op->config->metrics[0] == '\0')
		return;
	hold_begin(&hold);
	report_metric(op->config, metric);
	hold_end(&hold);
}

/* The category is that of the failure that the operation met last, whatever came of it. */
static void count(const struct op *op, enum metric metric, enum reason reason, int64_t delay_ms)
{
	struct state *state;
	struct labels labels;
	struct class class = classify(op->config, &op->failure);
	labels_set(&labels, engine_operation(op), &op->target, class.category);
	struct series *series = state_series(op->config, &labels, &state, engine_tell_no_state);
	if (series != NULL) {
		series_add(state, series, metric, reason, 1);
		if (metric == METRIC_ATTEMPT)
			series_add(state, series, METRIC_DELAY, REASON_NONE, (uint64_t)delay_ms);
	}
	send_metric(op, &(struct report_metric){
		.metric = metric,
		.delay_ms = delay_ms,
		.reason = reason,
		.labels = &labels,
		.state = state,
		.op = op->id,
		.program = settings_program(),
		.trace_id = settings_trace_id(),
		.attempt = op->progress.attempt,
		.error = class.symbol,
	});
}

void engine_count_retry(const struct op *op)
{
	int64_t waited_ns = clock_now_ns() - op->failed_ns;
	count(op, METRIC_ATTEMPT, REASON_NONE, waited_ns > 0 ? (waited_ns + NS_PER_MS / 2) / NS_PER_MS : 0);
}

void engine_count_end(const struct op *op, enum event event, enum reason reason)
{
	enum metric metric = metric_of(event);
	if (metric != METRICS)
		count(op, metric, reason, 0);
}
