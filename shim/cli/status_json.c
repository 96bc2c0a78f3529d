/* The facts for programs. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/status.h"

static void number_or_null(const char *key, int64_t number)
{
	if (number == STATUS_UNKNOWN)
		printf(",\"%s\":null", key);
	else
		printf(",\"%s\":%" PRId64, key, number);
}

/* Integers throughout: a decimal point is the locale's. */
static void thousandths_or_null(const char *key, int64_t milli)
{
	if (milli == STATUS_UNKNOWN)
		printf(",\"%s\":null", key);
	else
		printf(",\"%s\":%" PRId64 ".%03d", key, milli / 1000, (int)(milli % 1000));
}

static void destination(const struct status_facts *facts)
{
	printf("{\"target\":");
	status_json_string(facts->target);
	printf(",\"circuit\":\"%s\",\"failures_in_a_row\":%d", status_circuit_name(facts->circuit), facts->failures);
	number_or_null("probe_in_ms", facts->probe_in_ms);
	thousandths_or_null("tokens", facts->tokens_milli);
	thousandths_or_null("burst", facts->burst_milli);
	number_or_null("floor_ms", facts->floor_ms);
	printf(facts->failure[0] != '\0' ? ",\"last_failure\":\"%s\"" : ",\"last_failure\":null%s", facts->failure);
	number_or_null("last_failure_age_ms", facts->failure_age_ms);
	printf(",\"attempts\":%" PRIu64 ",\"retries\":%" PRIu64 ",\"recoveries\":%" PRIu64 ",\"exhausted\":%" PRIu64 "}",
	       facts->attempts, facts->retries, facts->recoveries, facts->exhausted);
}

void status_json(const char *path, const struct status_facts *facts, int count)
{
	printf("{\"path\":");
	status_json_string(path);
	printf(",\"destinations\":[");
	for (int i = 0; i < count; i++) {
		printf("%s", i == 0 ? "" : ",");
		destination(&facts[i]);
	}
	puts("]}");
}
