/* CloudWatch's embedded metric format: one JSON object that says in "_aws" which of its members are metrics, by which others.
 * (Specification: Embedded metric format, in the CloudWatch user guide.) */
#include <unistd.h>

#include "report/metrics.h"

static void put_definition(struct line *line, enum metric metric)
{
	line_text(line, "{\"Name\":\"");
	line_text(line, metric_name(metric));
	line_text(line, "\",\"Unit\":\"");
	line_text(line, metric_unit(metric));
	line_text(line, "\"}");
}

/* Every metric by Operation alone, and by all three. */
static void put_directive(struct line *line, const struct config *config, const struct report_metric *metric)
{
	char namespace[NAMESPACE_BYTES];
	metric_namespace(config, namespace);
	line_text(line, ",\"CloudWatchMetrics\":[{");
	line_json_string(line, "Namespace", namespace);
	line_text(line, ",\"Dimensions\":[[\"Operation\"],[\"Operation\",\"Target\",\"Category\"]],\"Metrics\":[");
	put_definition(line, metric->metric);
	if (metric->metric == METRIC_ATTEMPT) {
		line_text(line, ",");
		put_definition(line, METRIC_DELAY);
	}
	line_text(line, "]}]");
}

static void put_properties(struct line *line, const struct report_metric *metric)
{
	line_json_hex(line, "op", metric->op);
	if (metric->trace_id[0] != '\0')
		line_json_string(line, "trace_id", metric->trace_id);
	line_json_string(line, "program", metric->program);
	line_json_number(line, "pid", (uint64_t)getpid());
	line_json_number(line, "attempt", (uint64_t)metric->attempt);
	line_json_string(line, "error", metric->error);
	if (metric->reason != REASON_NONE)
		line_json_string(line, "reason", reason_name(metric->reason));
}

void emf_line(struct line *line, const struct config *config, const struct report_metric *metric, int64_t wall_ms)
{
	const struct labels *labels = metric->labels;
	line_json_open(line);
	line_text(line, "\"_aws\":{");
	line_json_number(line, "Timestamp", (uint64_t)wall_ms);
	put_directive(line, config, metric);
	line_text(line, "}");
	line_json_string(line, "Operation", labels->operation);
	line_json_string(line, "Target", labels->target);
	line_json_string(line, "Category", category_name(labels->category));
	line_json_number(line, metric_name(metric->metric), 1);
	if (metric->metric == METRIC_ATTEMPT)
		line_json_number(line, metric_name(METRIC_DELAY), (uint64_t)metric->delay_ms);
	put_properties(line, metric);
	line_json_close(line);
	line_end(line);
}
