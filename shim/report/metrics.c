/* RETRY_METRICS: every sink gets every count. */
#include "report/metrics.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "libc.h"
#include "report/sink.h"

/* The kernel's own: CloudWatch drops what is dated by libfaketime. */
static int64_t wall_now_ms(void)
{
	int64_t now_ns = 0;
	kernel_clock_ns(CLOCK_REALTIME, &now_ns);
	return now_ns / NS_PER_MS;
}

/* Each kind stands apart, so that the stack holds one's buffers at a time. */

static __attribute__((noinline)) int send_line(const struct config *config, const struct sink *sink, const struct report_metric *metric,
                                               const char **why)
{
	struct line line = {0};
	if (sink->kind == SINK_STATSD)
		statsd_lines(&line, config, metric);
	else
		emf_line(&line, config, metric, wall_now_ms());
	if (sink->kind == SINK_EMF_FILE)
		return sink_append(sink->path, line.text, line.length);
	if (sink->target.has_address)
		return datagram_send(&sink->target, line.text, line.length);
	*why = "looking its name up might block the program: give an address, or start it with 'retryshim run'";
	return EINVAL;
}

static __attribute__((noinline)) int save(const struct sink *sink, const struct report_metric *metric, const char **why)
{
	/* An operation's retries can wait for its end, unless that takes long. */
	bool soon = metric->metric == METRIC_ATTEMPT;
	if (metric->state != NULL)
		return exposition_save(sink->path, metric->state, soon, why);
	*why = "RETRY_STATE is not used, and this process alone has little to tell";
	return EINVAL;
}

/* A full disk must not turn into a flood: each of the first sinks is named once a process. */
static void name_failed(const struct config *config, int index, const char *item, const char *why, int error)
{
	static _Atomic(uint64_t) named;
	uint64_t bit = UINT64_C(1) << (index < 63 ? index : 63);
	if ((atomic_fetch_or(&named, bit) & bit) == 0)
		report_unused(config, "RETRY_METRICS", item, why, error, "what it does not take is lost");
}

void report_metric(const struct config *config, const struct report_metric *metric)
{
	int before = errno, index = 0;
	char item[SINK_BYTES];
	struct sink sink;
	for (const char *list = config->metrics; list != NULL && *list != '\0'; index++) {
		const char *why = "";
		int error = 0;
		if (!sink_next(&list, item, &sink))
			continue;
		if (sink.kind == SINK_PROM)
			error = save(&sink, metric, &why);
		else if (metric->metric != METRICS)
			error = send_line(config, &sink, metric, &why);
		if (error != 0)
			name_failed(config, index, item, why, error);
	}
	errno = before;
}
