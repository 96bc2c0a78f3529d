/* The rules, each once. */
#include "retryshim/policy.h"

static int smaller(int a, int b) { return a < b ? a : b; }

static int attempts_allowed(const struct config *config, const struct progress *progress, const struct class *class)
{
	int most = (int)config->max_attempts;
	if (class->attempt_cap == 0)
		return most;
	return smaller(most, progress->attempt + class->attempt_cap - 1 - progress->capped_retries);
}

static struct verdict deliver(struct verdict verdict, enum event event, enum reason reason)
{
	verdict.action = ACTION_DELIVER;
	verdict.event = event;
	verdict.reason = reason;
	return verdict;
}

static struct verdict give_up(struct verdict verdict, enum reason reason)
{
	return deliver(verdict, EVENT_GIVEN_UP, reason);
}

/* What is left when the destination itself is to be left alone: another address, or the outcome. */
static struct verdict end(struct verdict verdict, const struct standing *standing, bool possible, int64_t now_ns,
                          enum event event, enum reason reason)
{
	if (!standing->has_fallback || !possible)
		return deliver(verdict, event, reason);
	verdict.action = ACTION_RETRY;
	verdict.event = EVENT_FALLBACK;
	verdict.at_ns = now_ns;
	return verdict;
}

/* The delay, between a floor for everyone and Retry-After for this operation. */
static int64_t delay_of(const struct config *config, const struct progress *progress, const struct standing *standing,
                        uint64_t random)
{
	int64_t delay_ns = backoff_ns(config, progress->attempt + 1, progress->previous_delay_ns, random);
	/* Up to a quarter above, by bits that the backoff has not used. */
	int64_t floor_ns = standing->floor_ns + standing->floor_ns / 4 * (int64_t)(random & 0x3ff) / 1024;
	return delay_ns > floor_ns ? delay_ns : floor_ns;
}

struct verdict decide(const struct config *config, const struct progress *progress, const struct failure *failure,
                      const struct standing *standing, int64_t now_ns, uint64_t random)
{
	static const struct standing nothing;
	struct verdict verdict = {.class = classify(config, failure)};
	bool possible = !failure->unrewindable && now_ns < progress->deadline_ns; /* another attempt, at once */
	verdict.max_attempts = attempts_allowed(config, progress, &verdict.class);
	if (standing == NULL)
		standing = &nothing;

	if (verdict.class.not_a_failure)
		return deliver(verdict, EVENT_NONE, REASON_NONE);
	if (!verdict.class.retried)
		return deliver(verdict, EVENT_NOT_RETRYABLE, REASON_NONE);
	if (failure->delivered && !failure->resumable)
		return give_up(verdict, REASON_DELIVERED);
	if ((failure->sent || verdict.class.perhaps_sent) && !failure->repeatable && !failure->refused)
		return give_up(verdict, REASON_UNSAFE);
	if (progress->attempt >= verdict.max_attempts)
		return end(verdict, standing, possible, now_ns, EVENT_EXHAUSTED, REASON_NONE);
	if (failure->unrewindable)
		return give_up(verdict, REASON_REWIND);
	if (standing->circuit_open)
		return end(verdict, standing, possible, now_ns, EVENT_GIVEN_UP, REASON_BREAKER);

	int64_t delay_ns = delay_of(config, progress, standing, random);
	verdict.most_ns = backoff_most_ns(config, progress->attempt + 1, progress->previous_delay_ns);
	if (failure->retry_after_ms > 0) {
		if (failure->retry_after_ms > config->max_delay_ms ||
		    failure->retry_after_ms * NS_PER_MS >= progress->deadline_ns - now_ns)
			return give_up(verdict, REASON_RETRY_AFTER);
		if (delay_ns < failure->retry_after_ms * NS_PER_MS)
			delay_ns = failure->retry_after_ms * NS_PER_MS;
	}
	/* An attempt that starts at the deadline has no time left: "past it" includes the instant. */
	if (progress->deadline_ns != INT64_MAX && delay_ns >= progress->deadline_ns - now_ns)
		return give_up(verdict, REASON_DEADLINE);
	if (standing->no_token)
		return end(verdict, standing, possible, now_ns, EVENT_GIVEN_UP, REASON_BUDGET);

	verdict.action = ACTION_RETRY;
	verdict.event = EVENT_ATTEMPT_FAILED;
	verdict.delay_ns = delay_ns;
	verdict.at_ns = now_ns + delay_ns;
	if (verdict.most_ns < delay_ns)
		verdict.most_ns = delay_ns;
	return verdict;
}

int64_t deadline_of(const struct config *config, int64_t start_ns, int64_t own_ns)
{
	int64_t span_ns = config->timeout_ms * NS_PER_MS;
	if (own_ns > 0 && (span_ns == 0 || own_ns < span_ns))
		span_ns = own_ns;
	int64_t deadline_ns;
	if (span_ns == 0 || __builtin_add_overflow(start_ns, span_ns, &deadline_ns))
		return INT64_MAX;
	return deadline_ns;
}

const char *reason_name(enum reason reason)
{
	switch (reason) {
	case REASON_NONE: break;
	case REASON_DEADLINE: return "deadline";
	case REASON_BUDGET: return "budget";
	case REASON_BREAKER: return "breaker";
	case REASON_UNSAFE: return "unsafe";
	case REASON_REWIND: return "rewind";
	case REASON_DELIVERED: return "delivered";
	case REASON_RETRY_AFTER: return "retry_after";
	case REASON_SIGNAL: return "signal";
	case REASONS: break;
	}
	return "";
}

const char *event_name(enum event event)
{
	switch (event) {
	case EVENT_NONE: break;
	case EVENT_ATTEMPT_FAILED: return "attempt_failed";
	case EVENT_SUCCEEDED: return "succeeded";
	case EVENT_EXHAUSTED: return "exhausted";
	case EVENT_GIVEN_UP: return "given_up";
	case EVENT_NOT_RETRYABLE: return "not_retryable";
	case EVENT_FALLBACK: return "fallback";
	}
	return "";
}
