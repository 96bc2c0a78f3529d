/* One operation, as engine.c conducts it. */
#include "world.h"

#include <errno.h>
#include <netdb.h>

#include <curl/curl.h>

static void judge(struct world *world, struct operation *op, struct destination *it, bool broke)
{
	const struct config *config = op->config;
	struct standing standing = {0};
	struct class class = classify(config, &op->failure);
	uint64_t random = number(&world->input, 8);
	share_standing(&op->share, it, config, &class, world->now_ns, &standing);
	PROMISE(standing.floor_ns >= 0 && standing.floor_ns <= config->max_delay_ms * 4 / 5 * NS_PER_MS);
	standing.no_token |= broke;
	op->verdict = decide(config, &op->progress, &op->failure, &standing, world->now_ns, random);
	if (op->verdict.event == EVENT_ATTEMPT_FAILED &&
	    !share_back_off(&op->share, it, config, &op->verdict, op->progress.deadline_ns, op->id, random * 7, world->now_ns)) {
		standing.no_token = true;
		op->verdict = decide(config, &op->progress, &op->failure, &standing, world->now_ns, random);
		PROMISE(op->verdict.action == ACTION_DELIVER);
	}
	if (op->verdict.action == ACTION_RETRY) {
		PROMISE(op->verdict.delay_ns >= 0 && op->verdict.delay_ns <= config->max_delay_ms * NS_PER_MS);
		PROMISE(op->verdict.at_ns < op->progress.deadline_ns);
		op->progress.previous_delay_ns = op->verdict.delay_ns;
		op->progress.capped_retries += op->verdict.class.attempt_cap != 0;
		op->stands = BACKS_OFF;
	} else {
		share_ended(&op->share, it, config, &op->failure, &op->verdict, world->now_ns);
		op->stands = IDLE;
	}
}

void operation_fail(struct world *world, struct operation *op)
{
	static const struct failure kinds[] = {
		{.source = SOURCE_CONNECT, .code = ECONNREFUSED, .retry_after_ms = -1},
		{.source = SOURCE_CONNECT, .code = ENOBUFS, .retry_after_ms = -1},
		{.source = SOURCE_RESOLVE, .code = EAI_AGAIN, .retry_after_ms = -1},
		{.source = SOURCE_CURL, .code = CURLE_COULDNT_CONNECT, .retry_after_ms = -1},
		{.source = SOURCE_CURL, .code = CURLE_RECV_ERROR, .retry_after_ms = -1, .repeatable = true},
		{.source = SOURCE_HTTP, .code = 503, .retry_after_ms = -1, .repeatable = true},
		{.source = SOURCE_HTTP, .code = 429, .retry_after_ms = 0, .repeatable = true},
	};
	if (op->stands == BACKS_OFF)
		return;
	uint8_t kind = byte(&world->input);
	op->failure = kinds[kind % (sizeof kinds / sizeof kinds[0])];
	if (op->failure.retry_after_ms == 0)
		op->failure.retry_after_ms = (int64_t)number(&world->input, 3);
	struct destination *it = place_of(world, op);
	struct class class = classify(op->config, &op->failure);
	if (op->stands == IDLE) {
		op->progress = (struct progress){.attempt = 1, .deadline_ns = deadline_of(op->config, world->now_ns, 0)};
		share_begin(&op->share, it, op->config, world->now_ns);
	}
	share_failed(&op->share, it, op->config, &op->failure, &class, world->now_ns);
	judge(world, op, it, false);
}

/* host.h: until the backoff's end; then for another's attempt to begin, till limit_us, and patience_us for its end; when
 * the destination is back, for the share of the spread; and never past the deadline. */
static void check_wait(const struct world *world, const struct operation *op, const struct view *view)
{
	const struct waiter *waiter = &op->share.waiter;
	int64_t now_us = world->now_ns / 1000, most_us = now_us + waiter->patience_us;
	PROMISE(view->until_us > now_us);
	PROMISE(waiter->spread_us >= 0 && waiter->spread_us <= evidence_spread_us(op->config));
	PROMISE(waiter->at_us <= waiter->limit_us + 1 && waiter->at_us <= waiter->end_us); /* 1: rounding */
	if (most_us < waiter->limit_us)
		most_us = waiter->limit_us;
	if (!view->parked && now_us < waiter->at_us)
		most_us = waiter->at_us;
	else if (!view->parked)
		most_us = now_us + waiter->spread_us;
	PROMISE(view->until_us <= most_us);
	PROMISE(!view->parked || view->until_us <= waiter->end_us);
	PROMISE(op->progress.deadline_ns == INT64_MAX || view->until_us * 1000 < op->progress.deadline_ns);
}

struct view operation_look(struct world *world, struct operation *op)
{
	struct destination *it = place_of(world, op);
	struct view view = share_look(&op->share, it, op->config, world->now_ns);
	PROMISE(share_news(&op->share, it) == &it->results || share_news(&op->share, it) == &it->successes);
	switch (view.course) {
	case COURSE_WAIT:
		check_wait(world, op, &view);
		return view;
	case COURSE_GO:
		share_sent(&op->share, it);
		op->progress.attempt++;
		op->stands = SENT;
		return view;
	case COURSE_COUNTS:
		PROMISE(view.until_us > op->share.waiter.failed_us && view.until_us <= world->now_ns / 1000);
		share_counts(&op->share, it, op->config, view.until_us, world->now_ns);
		op->progress.attempt++;
		break;
	default: PROMISE(view.course == COURSE_BROKE && op->config->budget); break;
	}
	judge(world, op, it, view.course == COURSE_BROKE);
	PROMISE(view.course == COURSE_COUNTS || op->stands == IDLE);
	return view;
}

void operation_check_alone(struct world *world, struct operation *op)
{
	enum { TURNS_MOST = 16 };
	const struct waiter *waiter = &op->share.waiter;
	int64_t now_us = world->now_ns / 1000, last_us = waiter->limit_us > now_us ? waiter->limit_us : now_us;
	last_us += waiter->patience_us + waiter->spread_us + 1; /* 1: rounding */
	for (int turn = 0; op->stands == BACKS_OFF; turn++) {
		PROMISE(turn < TURNS_MOST);
		struct view view = operation_look(world, op);
		if (view.course != COURSE_WAIT)
			return;
		PROMISE(view.until_us <= last_us);
		world->now_ns = view.until_us * 1000 + 999;
	}
}

void operation_end(struct world *world, struct operation *op, bool success)
{
	struct destination *it = place_of(world, op);
	if (success && op->stands == SENT)
		share_succeeded(&op->share, it, op->config, world->now_ns);
	else if (op->stands == BACKS_OFF)
		share_withdraw(&op->share, it, op->config, world->now_ns);
	PROMISE(op->stands != BACKS_OFF || (!op->share.paid && op->share.waiter.claim == 0));
	op->stands = IDLE;
}
