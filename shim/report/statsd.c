/* statsd's lines with DogStatsD's tags, all of one count in one datagram:
 *
 *     RetryShim.RetryAttempt:1|c|#operation:connect,target:db:5432,category:network
 *     RetryShim.RetryDelayMs:412|ms|#operation:connect,target:db:5432,category:network
 */
#include <string.h>

#include "report/metrics.h"

/* A slash parts CloudWatch's namespaces, a point statsd's. */
static void put_prefix(struct line *line, const struct config *config)
{
	char namespace[NAMESPACE_BYTES];
	metric_namespace(config, namespace);
	for (char *c = namespace; *c != '\0'; c++)
		*c = *c == '/' ? '.' : strchr(" :#", *c) != NULL ? '_' : *c;
	line_text(line, namespace);
	line_text(line, ".");
}

/* What ends a tag, or the list of them, becomes '_'. */
static void put_tag(struct line *line, const char *start, const char *value)
{
	size_t at = line->length + strlen(start);
	line_text(line, start);
	line_text(line, value);
	for (; at < line->length; at++)
		if (strchr(",|# ", line->text[at]) != NULL)
			line->text[at] = '_';
}

static void put_metric(struct line *line, const struct config *config, const struct report_metric *metric, enum metric which)
{
	bool is_time = which == METRIC_DELAY;
	put_prefix(line, config);
	line_text(line, metric_name(which));
	line_text(line, ":");
	line_unsigned(line, is_time ? (uint64_t)metric->delay_ms : 1);
	line_text(line, is_time ? "|ms|#" : "|c|#");
	put_tag(line, "operation:", metric->labels->operation);
	put_tag(line, ",target:", metric->labels->target);
	put_tag(line, ",category:", category_name(metric->labels->category));
	if (metric->reason != REASON_NONE)
		put_tag(line, ",reason:", reason_name(metric->reason));
	line_end(line);
}

void statsd_lines(struct line *line, const struct config *config, const struct report_metric *metric)
{
	put_metric(line, config, metric, metric->metric);
	if (metric->metric == METRIC_ATTEMPT)
		put_metric(line, config, metric, METRIC_DELAY);
}
