/* What is counted, and where RETRY_METRICS sends it. */
#include <string.h>

#include "policy/text.h"
#include "retryshim/policy.h"

static const struct {
	char name[16], unit[16];
} metrics[METRICS] = {
	[METRIC_ATTEMPT] = {"RetryAttempt", "Count"},     [METRIC_DELAY] = {"RetryDelayMs", "Milliseconds"},
	[METRIC_RECOVERED] = {"RetryRecovered", "Count"}, [METRIC_EXHAUSTED] = {"RetryExhausted", "Count"},
	[METRIC_GIVEN_UP] = {"RetryGivenUp", "Count"},
};

const char *metric_name(enum metric metric) { return metrics[metric].name; }

const char *metric_unit(enum metric metric) { return metrics[metric].unit; }

enum metric metric_of(enum event event)
{
	switch (event) {
	case EVENT_SUCCEEDED: return METRIC_RECOVERED;
	case EVENT_EXHAUSTED: return METRIC_EXHAUSTED;
	case EVENT_GIVEN_UP: return METRIC_GIVEN_UP;
	default: return METRICS; /* retries are counted when they are sent */
	}
}

bool metric_is_due(enum event event, int attempt)
{
	bool silent = event == EVENT_NOT_RETRYABLE || event == EVENT_NONE;
	return metric_of(event) != METRICS || (silent && attempt > 1);
}

void metric_namespace(const struct config *config, char out[NAMESPACE_BYTES])
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_/#: ";
	size_t length = strnlen(config->metrics_namespace, NAMESPACE_BYTES - 1);
	for (size_t i = 0; i < length; i++)
		out[i] = strchr(allowed, config->metrics_namespace[i]) != NULL ? config->metrics_namespace[i] : '_';
	out[length] = '\0';
	if (out[0] == ':' || out[strspn(out, " ")] == '\0') {
		out[0] = '_';
		out[length > 0 ? length : 1] = '\0';
	}
}

/* Longer beginnings before what they begin with. */
static const struct {
	char start[16];
	enum sink_kind kind;
	bool is_socket;
} sinks[] = {
	{"emf:udp://", SINK_EMF_UDP, true},
	{"statsd://", SINK_STATSD, true},
	{"emf:", SINK_EMF_FILE, false},
	{"prom:", SINK_PROM, false},
};

static bool read_socket(const char *text, struct target *target)
{
	if (!text_is_host_port(text, strlen(text)))
		return false;
	target_set_url(target, text);
	if (!target->has_address && text_equal(target->name, "localhost"))
		target_set_address(target, "127.0.0.1"); /* where agents listen, whatever a look-up would say (RFC 6761, 6.3) */
	return target->port != 0;
}

bool sink_read(const char *item, struct sink *sink)
{
	memset(sink, 0, sizeof *sink);
	for (size_t i = 0; i < sizeof sinks / sizeof sinks[0]; i++) {
		size_t length = strlen(sinks[i].start);
		if (strncmp(item, sinks[i].start, length) != 0)
			continue;
		sink->kind = sinks[i].kind;
		if (sinks[i].is_socket)
			return read_socket(item + length, &sink->target);
		sink->path = item + length;
		return item[length] != '\0' && text_is_printable(item);
	}
	return false;
}

bool sink_next(const char **cursor, char item[SINK_BYTES], struct sink *sink)
{
	return text_next_item(cursor, item, SINK_BYTES) && sink_read(item, sink);
}
