/* An operation's backoffs. Others may find out meanwhile whether the destination is back. */
#include "hooks/engine.h"

#define REST_NS (5 * NS_PER_MS)

/* Another's attempt has failed, or there is no token for the one that would be ours. */
static enum due end_backoff(struct op *op, struct destination *it, struct verdict *verdict, const struct view *view, int64_t now_ns)
{
	if (view->course == COURSE_COUNTS) {
		share_counts(&op->share, it, op->config, view->until_us, now_ns);
		op->progress.attempt++;
	}
	*verdict = engine_judge(op, it, now_ns, view->course == COURSE_COUNTS ? ANOTHERS : BROKE);
	if (verdict->action == ACTION_DELIVER)
		return DUE_OVER;
	return verdict->event == EVENT_FALLBACK ? DUE_GO : DUE_LATER;
}

enum due op_due(struct op *op, struct verdict *verdict, int64_t *again_ns)
{
	int64_t now_ns = clock_now_ns();
	struct destination *it = verdict->event == EVENT_FALLBACK ? NULL : engine_destination(op, true);
	*again_ns = verdict->at_ns;
	if (it == NULL)
		return now_ns >= verdict->at_ns ? DUE_GO : DUE_LATER;
	struct view view = share_look(&op->share, it, op->config, now_ns);
	switch (view.course) {
	case COURSE_GO: return DUE_GO;
	case COURSE_WAIT: *again_ns = view.until_us * 1000 + 999; return DUE_LATER;
	default: break;
	}
	enum due due = end_backoff(op, it, verdict, &view, now_ns);
	*again_ns = verdict->at_ns;
	return due;
}

enum slept op_sleep(struct op *op, int64_t again_ns)
{
	struct destination *it = op->share.evident ? engine_destination(op, false) : NULL;
	if (it == NULL)
		return sleep_until(again_ns);
	/* News that come all the time, and change nothing, must not keep a processor busy. */
	int64_t now_ns = clock_now_ns(), rested_ns = op->slept_ns + REST_NS;
	if (now_ns < rested_ns && again_ns > rested_ns && sleep_until(rested_ns) == SLEEP_INTERRUPTED)
		return SLEEP_INTERRUPTED;
	op->slept_ns = now_ns;
	return sleep_for_news(again_ns, share_news(&op->share, it), op->share.seen);
}

enum awaited op_wait(struct op *op, struct verdict *verdict)
{
	int64_t again_ns;
	for (;;) {
		switch (op_due(op, verdict, &again_ns)) {
		case DUE_GO: return AWAITED_GO;
		case DUE_OVER: return AWAITED_OVER;
		case DUE_LATER: break;
		}
		if (op_sleep(op, again_ns) == SLEEP_INTERRUPTED)
			return AWAITED_SIGNAL;
	}
}

int64_t op_glance_ns(const struct op *op, int64_t again_ns)
{
	const int64_t glance_ns = 100 * NS_PER_MS;
	int64_t now_ns = clock_now_ns();
	return op->share.evident && again_ns - now_ns > glance_ns ? now_ns + glance_ns : again_ns;
}
