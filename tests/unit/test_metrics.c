/* Metrics: what is counted, where sinks say that it goes, and how each format writes it. */
#include <stdlib.h>

#include "report/metrics.h"
#include "retryshim/runtime.h"
#include "support.h"

/* ---- policy ----------------------------------------------------------------------------------------- */

static void ends_and_their_metrics(void **state)
{
	(void)state;
	CHECK_INT("succeeded", metric_of(EVENT_SUCCEEDED), METRIC_RECOVERED);
	CHECK_INT("exhausted", metric_of(EVENT_EXHAUSTED), METRIC_EXHAUSTED);
	CHECK_INT("given_up", metric_of(EVENT_GIVEN_UP), METRIC_GIVEN_UP);
	CHECK_INT("attempt_failed: a retry counts when it is sent", metric_of(EVENT_ATTEMPT_FAILED), METRICS);
	CHECK_INT("not_retryable", metric_of(EVENT_NOT_RETRYABLE), METRICS);
	CHECK_INT("fallback", metric_of(EVENT_FALLBACK), METRICS);
}

static void ends_that_are_due(void **state)
{
	(void)state;
	for (int attempt = 1; attempt <= 2; attempt++) {
		CHECK_INT("succeeded", metric_is_due(EVENT_SUCCEEDED, attempt), true);
		CHECK_INT("exhausted", metric_is_due(EVENT_EXHAUSTED, attempt), true);
		CHECK_INT("given_up", metric_is_due(EVENT_GIVEN_UP, attempt), true);
		CHECK_INT("attempt_failed is no end", metric_is_due(EVENT_ATTEMPT_FAILED, attempt), false);
		CHECK_INT("nor is a fallback", metric_is_due(EVENT_FALLBACK, attempt), false);
		CHECK_INT("not_retryable, after retries", metric_is_due(EVENT_NOT_RETRYABLE, attempt), attempt > 1);
		CHECK_INT("untold, after retries", metric_is_due(EVENT_NONE, attempt), attempt > 1);
	}
}

static void sinks(void **state)
{
	static const struct {
		const char *text;
		int kind; /* -1: malformed */
		const char *where;
	} rows[] = {
		{"emf:/tmp/x", SINK_EMF_FILE, "/tmp/x"},
		{"emf:udp", SINK_EMF_FILE, "udp"},
		{"prom:x", SINK_PROM, "x"},
		{"prom:a,b", SINK_PROM, "a,b"}, /* one item: who parts the list is sink_next() */
		{"emf:udp://127.0.0.1:25888", SINK_EMF_UDP, "127.0.0.1:25888"},
		{"emf:udp://localhost:25888", SINK_EMF_UDP, "localhost:25888"},
		{"statsd://h:8125", SINK_STATSD, "h:8125"},
		{"statsd://[::1]:8125", SINK_STATSD, "[::1]:8125"},
		{"emf:", -1, ""}, {"prom:", -1, ""}, {"emf:udp://h", -1, ""}, {"emf:udp://", -1, ""}, {"emf:udp://h:0", -1, ""},
		{"statsd://h", -1, ""}, {"statsd:h:1", -1, ""}, {"statsd://h:1/x", -1, ""}, {"statsd://:1", -1, ""}, {"prom:a\nb", -1, ""},
		{"EMF:x", -1, ""}, {"/tmp/x", -1, ""}, {"", -1, ""}, {"statsd://h:65536", -1, ""}, {"statsd://[::1:1", -1, ""},
	};
	char target[TARGET_TEXT_MAX];
	struct sink sink;
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		CHECK_INT(rows[i].text, sink_read(rows[i].text, &sink), rows[i].kind >= 0);
		if (rows[i].kind < 0)
			continue;
		CHECK_INT(rows[i].text, sink.kind, rows[i].kind);
		target_format(&sink.target, target, sizeof target);
		CHECK_TEXT(rows[i].text, sink.path != NULL ? sink.path : target, rows[i].where);
	}
}

static void localhost_needs_no_look_up(void **state)
{
	struct sink sink;
	(void)state;
	CHECK_INT("name", sink_read("statsd://h:1", &sink) && sink.target.has_address, false);
	CHECK_INT("localhost", sink_read("statsd://LocalHost:1", &sink) && sink.target.has_address, true);
	CHECK_INT("127.0.0.1", sink.target.address[12] == 127 && sink.target.address[15] == 1, true);
}

static void lists_of_sinks(void **state)
{
	const char *list = "emf:a , nonsense,,prom:b";
	char item[SINK_BYTES];
	struct sink sink;
	(void)state;
	CHECK_INT("first", sink_next(&list, item, &sink) && sink.kind == SINK_EMF_FILE, true);
	CHECK_TEXT("blanks", sink.path, "a");
	CHECK_INT("malformed", sink_next(&list, item, &sink), false);
	CHECK_INT("empty", sink_next(&list, item, &sink), false);
	CHECK_INT("last", sink_next(&list, item, &sink) && sink.kind == SINK_PROM, true);
	assert_null(list);
}

static void namespaces(void **state)
{
	static const struct {
		const char *set, *used;
	} rows[] = {
		{"RetryShim", "RetryShim"}, {"K8sCluster/Retry", "K8sCluster/Retry"}, {"a b:c#d.e-f_g", "a b:c#d.e-f_g"},
		{"a\"b\\c{d}", "a_b_c_d_"}, {"\xc3\xbc", "__"}, {":x", "_x"}, {"  ", "_ "},
	};
	char used[NAMESPACE_BYTES];
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const char *pairs[] = {"RETRY_METRICS_NAMESPACE", rows[i].set, NULL};
		struct config config = config_of(pairs);
		metric_namespace(&config, used);
		CHECK_TEXT(rows[i].set, used, rows[i].used);
	}
	memset(used, 'x', sizeof used);
	metric_namespace(&(struct config){.metrics_namespace = ""}, used);
	CHECK_TEXT("empty", used, "_");
}

/* ---- series ----------------------------------------------------------------------------------------- */

static struct state *host; /* zeros */

static struct labels labels_of(const char *operation, const char *name, uint16_t port)
{
	struct labels labels;
	struct target target = {.port = port};
	snprintf(target.name, sizeof target.name, "%s", name);
	labels_set(&labels, operation, &target, CATEGORY_NETWORK);
	return labels;
}

/* As state_places.c does it. */
static struct series *stand(const struct labels *labels, unsigned neighbour)
{
	uint64_t tag = labels_tag(labels);
	struct series *series = &host->series[place_index(tag, neighbour, STATE_SERIES)];
	series->place.tag = tag;
	series->category = labels->category;
	memcpy((char *)series->operation, labels->operation, sizeof labels->operation);
	memcpy((char *)series->target, labels->target, sizeof labels->target);
	return series;
}

static int place_of(const struct series *series) { return (int)(series - host->series); }

static void labels_are_visible_ascii(void **state)
{
	struct labels labels = labels_of("a\xc3\xbc\"b\\\n'c", "h", 80);
	char longest[300];
	(void)state;
	CHECK_TEXT("other bytes", labels.operation, "a??" "?b?" "?'c");
	CHECK_TEXT("target", labels.target, "h:80");
	memset(longest, 'x', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	labels = labels_of(longest, longest, 80);
	CHECK_INT("cut", strlen(labels.operation), LABEL_OPERATION_BYTES - 1);
	CHECK_INT("cut", strlen(labels.target), LABEL_TARGET_BYTES - 1);
	labels = labels_of("", "", 0);
	CHECK_TEXT("empty", labels.operation, "?");
	CHECK_TEXT("empty", labels.target, "?");
	labels = labels_of("  ", "h", 80);
	CHECK_TEXT("blanks", labels.operation, "? ");
}

static void each_label_makes_another_series(void **state)
{
	struct labels one = labels_of("connect", "h", 80), other = one;
	(void)state;
	CHECK_INT("same", labels_tag(&one) == labels_tag(&other), true);
	other.category = CATEGORY_RESOURCE;
	CHECK_INT("category", labels_tag(&one) == labels_tag(&other), false);
	other = labels_of("connect", "h", 81);
	CHECK_INT("target", labels_tag(&one) == labels_tag(&other), false);
	other = labels_of("connecth", ":80", 0);
	CHECK_INT("operation", labels_tag(&one) == labels_tag(&other), false);
	CHECK_INT("bit 0", labels_tag(&one) & 1, 1);
}

static void what_is_counted_is_read(void **state)
{
	struct labels labels = labels_of("connect", "h", 80), read;
	struct counts counts;
	(void)state;
	memset(host, 0, sizeof *host);
	struct series *series = stand(&labels, 3);
	series_add(series, METRIC_ATTEMPT, REASON_NONE, 1);
	series_add(series, METRIC_DELAY, REASON_NONE, 412);
	series_add(series, METRIC_RECOVERED, REASON_NONE, 1);
	series_add(series, METRIC_EXHAUSTED, REASON_NONE, 1);
	series_add(series, METRIC_GIVEN_UP, REASON_DEADLINE, 1);
	series_add(series, METRIC_GIVEN_UP, REASON_DEADLINE, 1);
	CHECK_INT("read", series_read(host, place_of(series), &read), 1);
	series_sum(host, place_of(series), 1, &counts);
	CHECK_INT("labels", memcmp(&labels, &read, sizeof labels), 0);
	CHECK_INT("attempts", counts.attempts, 1);
	CHECK_INT("delay", counts.delay_ms, 412);
	CHECK_INT("recovered", counts.recovered, 1);
	CHECK_INT("exhausted", counts.exhausted, 1);
	CHECK_INT("given up", counts.given_up[REASON_DEADLINE], 2);
	CHECK_INT("other reasons", counts.given_up[REASON_BUDGET], 0);
}

/* Two processes may have made it at once; a reader must not meet its labels twice. */
static void a_series_that_stands_twice_is_told_once(void **state)
{
	struct labels labels = labels_of("connect", "h", 80), read;
	struct counts counts;
	(void)state;
	memset(host, 0, sizeof *host);
	struct series *first = stand(&labels, 1), *second = stand(&labels, 4), *stray = stand(&labels, SERIES_NEIGHBOURS);
	series_add(first, METRIC_ATTEMPT, REASON_NONE, 1);
	series_add(second, METRIC_ATTEMPT, REASON_NONE, 1);
	series_add(stray, METRIC_ATTEMPT, REASON_NONE, 1);
	CHECK_INT("first", series_read(host, place_of(first), &read), 2);
	series_sum(host, place_of(first), 2, &counts);
	CHECK_INT("the sum", counts.attempts, 2);
	CHECK_INT("second", series_read(host, place_of(second), &read), false);
	CHECK_INT("where nobody would look for it", series_read(host, place_of(stray), &read), false);
}

static void nonsense_is_no_series(void **state)
{
	struct labels labels = labels_of("connect", "h", 80), read;
	(void)state;
	memset(host, 0, sizeof *host);
	CHECK_INT("free", series_read(host, 0, &read), false);
	struct series *series = stand(&labels, 0), whole = *series;
	int place = place_of(series);
	CHECK_INT("whole", series_read(host, place, &read), true);
	series->place.tag &= ~UINT64_C(1);
	CHECK_INT("being made", series_read(host, place, &read), false);
	*series = whole;
	series->category = CATEGORY_RESOURCE;
	CHECK_INT("another category", series_read(host, place, &read), false);
	*series = whole;
	series->target[0] ^= 1;
	CHECK_INT("other labels", series_read(host, place, &read), false);
	*series = whole;
	memset((char *)series->operation, 'x', sizeof series->operation);
	CHECK_INT("no end", series_read(host, place, &read), false);
	labels.operation[0] = '\n';
	series = stand(&labels, 0);
	CHECK_INT("not visible", series_read(host, place_of(series), &read), false);
}

/* ---- formats ---------------------------------------------------------------------------------------- */

static const char *text_of(struct line *line)
{
	line->text[line->length] = '\0';
	return line->text;
}

static void statsd(void **state)
{
	const char *pairs[] = {"RETRY_METRICS_NAMESPACE", "K8s/a b", NULL};
	struct config config = config_of(pairs);
	struct labels labels = labels_of("a,b|c#d e", "h", 80);
	struct report_metric metric = {.metric = METRIC_ATTEMPT, .delay_ms = 412, .labels = &labels};
	struct line line = {0};
	(void)state;
	statsd_lines(&line, &config, &metric);
	CHECK_TEXT("retry", text_of(&line),
	           "K8s.a_b.RetryAttempt:1|c|#operation:a_b_c_d_e,target:h:80,category:network\n"
	           "K8s.a_b.RetryDelayMs:412|ms|#operation:a_b_c_d_e,target:h:80,category:network\n");
	line.length = 0;
	metric = (struct report_metric){.metric = METRIC_GIVEN_UP, .reason = REASON_RETRY_AFTER, .labels = &labels};
	statsd_lines(&line, &config, &metric);
	CHECK_TEXT("given up", text_of(&line),
	           "K8s.a_b.RetryGivenUp:1|c|#operation:a_b_c_d_e,target:h:80,category:network,reason:retry_after\n");
}

/* The longest of everything, and bytes that are written as two: what CloudWatch needs fits, and the datagram's bound holds. */
static void longest_lines_are_whole(void **state)
{
	char longest[300];
	memset(longest, '"', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	const char *pairs[] = {"RETRY_METRICS_NAMESPACE", longest, NULL};
	struct config config = config_of(pairs);
	struct labels labels = labels_of(longest, longest, 80);
	labels.category = CATEGORY_RATE_LIMIT;
	struct report_metric metric = {.metric = METRIC_ATTEMPT, .delay_ms = INT64_MAX, .labels = &labels, .program = longest,
	                               .trace_id = longest, .error = longest, .op = UINT64_MAX, .reason = REASON_RETRY_AFTER};
	struct line line = {0};
	(void)state;
	emf_line(&line, &config, &metric, 4102444800000);
	CHECK_RANGE("emf", line.length, 800, REPORT_LINE_MAX);
	assert_non_null(strstr(text_of(&line), ",\"RetryDelayMs\":9223372036854775807,\"op\":\"ffffffffffffffff\""));
	CHECK_TEXT("end", text_of(&line) + line.length - 2, "}\n");
	line.length = 0;
	statsd_lines(&line, &config, &metric);
	CHECK_RANGE("statsd", line.length, 500, REPORT_LINE_MAX);
	CHECK_TEXT("end", text_of(&line) + line.length - 40, ",category:rate_limit,reason:retry_after\n");
}

static void gather(void *text, const char *more, size_t length) { strncat(text, more, length); }

static void exposition(void **state)
{
	static char text[4096];
	static struct report_scratch scratch;
	struct labels labels = labels_of("a{b}", "h", 80);
	(void)state;
	memset(host, 0, sizeof *host);
	struct series *series = stand(&labels, 0);
	series_add(series, METRIC_ATTEMPT, REASON_NONE, 1);
	series_add(series, METRIC_DELAY, REASON_NONE, 1042);
	series_add(series, METRIC_GIVEN_UP, REASON_SIGNAL, 1);
	text[0] = '\0';
	report_exposition(host, &scratch, gather, text);
	CHECK_TEXT("all", text,
	           "# HELP retryshim_retries_total Attempts after the first that were sent.\n"
	           "# TYPE retryshim_retries_total counter\n"
	           "retryshim_retries_total{operation=\"a{b}\",target=\"h:80\",category=\"network\"} 1\n"
	           "# HELP retryshim_retry_delay_seconds_total Time that was waited for them.\n"
	           "# TYPE retryshim_retry_delay_seconds_total counter\n"
	           "retryshim_retry_delay_seconds_total{operation=\"a{b}\",target=\"h:80\",category=\"network\"} 1.042\n"
	           "# HELP retryshim_recovered_total Operations that a retry has saved.\n"
	           "# TYPE retryshim_recovered_total counter\n"
	           "retryshim_recovered_total{operation=\"a{b}\",target=\"h:80\",category=\"network\"} 0\n"
	           "# HELP retryshim_exhausted_total Operations that used up their attempts.\n"
	           "# TYPE retryshim_exhausted_total counter\n"
	           "retryshim_exhausted_total{operation=\"a{b}\",target=\"h:80\",category=\"network\"} 0\n"
	           "# HELP retryshim_given_up_total Operations that could not be retried, by the reason.\n"
	           "# TYPE retryshim_given_up_total counter\n"
	           "retryshim_given_up_total{operation=\"a{b}\",target=\"h:80\",category=\"network\",reason=\"signal\"} 1\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ends_and_their_metrics), cmocka_unit_test(ends_that_are_due), cmocka_unit_test(sinks), cmocka_unit_test(localhost_needs_no_look_up),
		cmocka_unit_test(lists_of_sinks), cmocka_unit_test(namespaces), cmocka_unit_test(labels_are_visible_ascii),
		cmocka_unit_test(each_label_makes_another_series), cmocka_unit_test(what_is_counted_is_read),
		cmocka_unit_test(a_series_that_stands_twice_is_told_once), cmocka_unit_test(nonsense_is_no_series), cmocka_unit_test(statsd),
		cmocka_unit_test(longest_lines_are_whole), cmocka_unit_test(exposition),
	};
	host = calloc(1, sizeof *host);
	int failed = host != NULL ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
	free(host);
	return failed;
}
