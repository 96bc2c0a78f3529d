/* The engine: policy, the host's state, clock and diagnostics brought together, once for all hooks. */
#include "retryshim/hooks.h"

#include <errno.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include <curl/curl.h>

#include "retryshim/report.h"
#include "retryshim/runtime.h"

_Atomic(int) engine_attention __attribute__((visibility("hidden")));

/* Which destinations have failed in this process, a bit for some of them each. */
static _Atomic(uint64_t) troubled;

static uint64_t trouble_of(uint64_t tag) { return UINT64_C(1) << (tag >> 58); }

static void note_trouble(uint64_t tag)
{
	atomic_fetch_or_explicit(&troubled, trouble_of(tag), memory_order_relaxed);
	atomic_fetch_or_explicit(&engine_attention, ATTENTION_TROUBLE, memory_order_relaxed);
}

static void tell_bad_value(void *context, const char *name, const char *value, const char *used)
{
	report_bad_value(context, name, value, used);
}

/* Once a process, and only where diagnostics are on: a second parse is cheaper than keeping a list. */
static void tell_bad_values(const struct config *config)
{
	static _Atomic(int) told;
	if (!config->diag || atomic_exchange_explicit(&told, 1, memory_order_relaxed) != 0)
		return;
	struct hold hold;
	hold_begin(&hold);
	settings_complaints(tell_bad_value, (void *)(uintptr_t)config);
	hold_end(&hold);
}

const struct config *engine_config(enum family family)
{
	const struct config *config = settings_config();
	if (config == NULL)
		return NULL;
	if ((family == FAMILY_RESOLVE && !config->dns) || (family == FAMILY_CURL && !config->curl) ||
	    (family == FAMILY_NONBLOCK && !config->nonblock))
		return NULL;
	if (config->diag)
		report_start();
	tell_bad_values(config);
	return config;
}

static const char *operation_of(const struct op *op)
{
	return op->config->operation[0] != '\0' ? op->config->operation : op->hook;
}

/* Whose attempt is judged; BROKE: the operation's own, once more, since the retry cannot be paid. */
enum whose { OWN, ANOTHERS, BROKE };

static void tell(const struct op *op, enum event event, const struct verdict *verdict, const char *message, enum whose whose)
{
	struct target fallback;
	if (!op->config->diag)
		return;
	struct report_event told = {
		.event = event,
		.op = op->id,
		.program = settings_program(),
		.trace_id = settings_trace_id(),
		.operation = operation_of(op),
		.target = &op->target,
		.attempt = op->progress.attempt,
		.max_attempts = (int)op->config->max_attempts,
		.replays = op->replays,
		.shared = whose == ANOTHERS,
		.message = message,
	};
	if (verdict != NULL) {
		told.max_attempts = verdict->max_attempts;
		told.class = &verdict->class;
		told.delay_ns = verdict->delay_ns;
		told.reason = verdict->reason;
	}
	if (event == EVENT_FALLBACK && op_fallback(op, &fallback))
		told.fallback = &fallback;
	struct hold hold;
	hold_begin(&hold);
	report_event(op->config, &told);
	hold_end(&hold);
}

bool op_begin(struct op *op, const struct config *config, const char *hook, const struct target *target,
              int64_t start_ns, int64_t own_limit_ns)
{
	if (!match_takes_host(config, target))
		return false;
	memset(op, 0, sizeof *op);
	op->config = config;
	op->hook = hook;
	op->target = *target;
	op->progress = (struct progress){.attempt = 1, .deadline_ns = deadline_of(config, start_ns, own_limit_ns)};
	op->id = random_id();
	op->random = random_bits(config->seed);
	return true;
}

/* ---- the fallback ---------------------------------------------------------------------------------- */

static bool is_mapped(const uint8_t address[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	return memcmp(address, mapped, sizeof mapped) == 0;
}

/* Of the addresses that a name was last looked up to, one that the socket can have. */
static bool choose_address(struct target *to, int family)
{
	addresses_candidates(to);
	for (int i = 0; i < to->candidates; i++) {
		if (family == AF_INET && !is_mapped(to->candidate[i]))
			continue;
		memcpy(to->address, to->candidate[i], sizeof to->address);
		return to->has_address = true;
	}
	return false;
}

/* Why this operation cannot use its fallback, in words; NULL = it can. */
static const char *fallback_obstacle(const struct op *op, struct target *to)
{
	bool is_v4 = to->has_address && is_mapped(to->address);
	if (op->family == 0 || (!to->has_address && op->may_look_up))
		return NULL;
	if (op->family != AF_INET && op->family != AF_INET6)
		return "the socket is of another address family";
	if (!to->has_address)
		return choose_address(to, op->family) ? NULL : "a non-blocking connect cannot wait for a look-up: give an address";
	return op->family == AF_INET && !is_v4 ? "the socket is of another address family" : NULL;
}

bool op_fallback(const struct op *op, struct target *to)
{
	return !op->fell_back && op->target.way != WAY_LOOK_UP && match_fallback(op->config, &op->target, to) &&
	       fallback_obstacle(op, to) == NULL;
}

/* It was wanted, and there is one that does not fit. */
static void tell_obstacle(const struct op *op)
{
	char text[TARGET_TEXT_MAX];
	struct target to;
	const char *why;
	if (op->fell_back || op->target.way == WAY_LOOK_UP || !match_fallback(op->config, &op->target, &to) || (why = fallback_obstacle(op, &to)) == NULL)
		return;
	target_format(&to, text, sizeof text);
	report_unused(op->config, "RETRY_FALLBACK", text, why, 0, "the error stands");
}

/* ---- judging ------------------------------------------------------------------------------------- */

static void tell_no_state(const struct config *config, const char *path, const char *why, int error)
{
	report_unused(config, "RETRY_STATE", path, why, error, "this process keeps to itself what it learns");
}

static struct destination *destination_of(const struct op *op, bool make)
{
	if (op->tag == 0 || op->leaves)
		return NULL;
	return state_destination(op->config, &op->target, op->tag, make, tell_no_state);
}

static struct standing standing_of(const struct op *op, struct destination *it, const struct class *class, int64_t now_ns)
{
	struct standing standing = {0};
	struct target to;
	if (it != NULL)
		share_standing(&op->share, it, op->config, class, now_ns, &standing);
	standing.has_fallback = op->config->fallback[0] != '\0' && op_fallback(op, &to);
	return standing;
}

struct verdict op_expected(const struct op *op, const struct failure *failure)
{
	int64_t now_ns = clock_now_ns();
	struct class class = classify(op->config, failure);
	uint64_t tag = op->tag != 0 || !class.retried ? op->tag : state_tag(&op->target);
	struct destination *it = NULL;
	if (tag != 0 && !op->leaves)
		it = state_destination(op->config, &op->target, tag, false, NULL);
	struct standing standing = standing_of(op, it, &class, now_ns);
	return decide(op->config, &op->progress, failure, &standing, now_ns, op->random);
}

/* Asked last: rewinding calls the program, and moves its stream. */
static bool rewinds(const struct op *op) { return op->rewind == NULL || op->rewind(op->rewind_context); }

/* A backoff begins, or the operation is over. */
static struct verdict judge(struct op *op, struct destination *it, int64_t now_ns, enum whose whose)
{
	const struct config *config = op->config;
	struct failure failure = op->failure;
	struct class class = classify(config, &failure);
	struct standing standing = standing_of(op, it, &class, now_ns);
	standing.no_token = standing.no_token || whose == BROKE;
	struct verdict verdict = decide(config, &op->progress, &failure, &standing, now_ns, op->random);
	if (verdict.action == ACTION_RETRY && whose == OWN && !rewinds(op)) {
		failure.unrewindable = true;
		verdict = decide(config, &op->progress, &failure, &standing, now_ns, op->random);
	}
	if (verdict.event == EVENT_ATTEMPT_FAILED && it != NULL &&
	    !share_back_off(&op->share, it, config, &verdict, op->progress.deadline_ns, op->id, random_bits(config->seed), now_ns)) {
		standing.no_token = true; /* another operation has taken it meanwhile */
		verdict = decide(config, &op->progress, &failure, &standing, now_ns, op->random);
	}
	if (verdict.action == ACTION_RETRY) {
		op->progress.previous_delay_ns = verdict.delay_ns;
		op->random = random_bits(config->seed);
		op->progress.capped_retries += verdict.class.attempt_cap != 0;
	}
	op->leaves = op->leaves || verdict.event == EVENT_FALLBACK;
	if (config->fallback[0] != '\0' && (verdict.event == EVENT_EXHAUSTED || verdict.event == EVENT_GIVEN_UP))
		tell_obstacle(op);
	if (verdict.event != EVENT_ATTEMPT_FAILED && it != NULL)
		share_ended(&op->share, it, config, &failure, &verdict, now_ns);
	tell(op, verdict.event, &verdict, op->message, whose);
	return verdict;
}

struct verdict op_failed(struct op *op, const struct failure *failure, const char *message)
{
	int64_t now_ns = clock_now_ns();
	struct class class = classify(op->config, failure);
	bool first = op->tag == 0;
	op->failure = *failure;
	op->message = message;
	if (class.retried && first) {
		op->tag = state_tag(&op->target);
		note_trouble(op->tag);
	}
	struct destination *it = destination_of(op, true);
	if (it != NULL && first)
		share_begin(&op->share, it, op->config, now_ns);
	if (it != NULL && class.retried)
		share_failed(&op->share, it, op->config, failure, &class, now_ns);
	return judge(op, it, now_ns, OWN);
}

/* ---- backing off ---------------------------------------------------------------------------------- */

/* Another's attempt has failed, or there is no token for the one that would be ours. */
static enum due end_backoff(struct op *op, struct destination *it, struct verdict *verdict, const struct view *view, int64_t now_ns)
{
	if (view->course == COURSE_COUNTS) {
		share_counts(&op->share, it, op->config, view->until_us, now_ns);
		op->progress.attempt++;
	}
	*verdict = judge(op, it, now_ns, view->course == COURSE_COUNTS ? ANOTHERS : BROKE);
	if (verdict->action == ACTION_DELIVER)
		return DUE_OVER;
	return verdict->event == EVENT_FALLBACK ? DUE_GO : DUE_LATER;
}

enum due op_due(struct op *op, struct verdict *verdict, int64_t *again_ns)
{
	int64_t now_ns = clock_now_ns();
	struct destination *it = verdict->event == EVENT_FALLBACK ? NULL : destination_of(op, true);
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
	struct destination *it = op->share.evident ? destination_of(op, false) : NULL;
	if (it == NULL)
		return sleep_until(again_ns);
	return sleep_for_news(again_ns, share_news(&op->share, it), op->share.seen);
}

enum awaited op_wait(struct op *op, struct verdict *verdict)
{
	const int64_t rest_ns = 5 * NS_PER_MS;
	int64_t again_ns, before_ns = 0;
	for (;;) {
		switch (op_due(op, verdict, &again_ns)) {
		case DUE_GO: return AWAITED_GO;
		case DUE_OVER: return AWAITED_OVER;
		case DUE_LATER: break;
		}
		/* News that change nothing, again and again, must not keep a processor busy. */
		if (again_ns == before_ns && again_ns > clock_now_ns() + rest_ns && sleep_until(clock_now_ns() + rest_ns) == SLEEP_INTERRUPTED)
			return AWAITED_SIGNAL;
		before_ns = again_ns;
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

/* ---- ends ----------------------------------------------------------------------------------------- */

void op_dropped(struct op *op)
{
	struct destination *it = destination_of(op, false);
	if (it != NULL)
		share_withdraw(&op->share, it, op->config, clock_now_ns());
}

void op_given_up(struct op *op, const struct verdict *verdict, enum reason reason, const char *message)
{
	struct verdict given_up = *verdict;
	given_up.reason = reason;
	op_dropped(op);
	tell(op, EVENT_GIVEN_UP, &given_up, message, OWN);
}

void op_next_attempt(struct op *op)
{
	struct destination *it = destination_of(op, true);
	if (it != NULL)
		share_sent(&op->share, it);
	op->progress.attempt++;
}

void op_succeeded(struct op *op)
{
	if (op->progress.attempt <= 1)
		return;
	struct destination *it = destination_of(op, true);
	if (it != NULL)
		share_succeeded(&op->share, it, op->config, clock_now_ns());
	tell(op, EVENT_SUCCEEDED, NULL, NULL, OWN);
}

/* ---- first attempts ------------------------------------------------------------------------------- */

void engine_succeeded(const struct config *config, const struct target *target)
{
	if (!match_takes_host(config, target))
		return;
	uint64_t tag = state_tag(target);
	if ((atomic_load_explicit(&troubled, memory_order_relaxed) & trouble_of(tag)) == 0)
		return;
	struct destination *it = state_destination(config, target, tag, false, NULL);
	if (it != NULL)
		share_saw_success(NULL, it, config, clock_now_ns());
}

/* What is in the file may be anything: only what could have opened a circuit is handed to the program. */
static int opening_code(const struct config *config, enum source source, const struct evidence *opening)
{
	struct failure failure = {.source = opening->source, .code = opening->code, .retry_after_ms = -1};
	if (opening->source == source && classify(config, &failure).connection_evidence)
		return opening->code;
	switch (source) {
	case SOURCE_CONNECT: return ECONNREFUSED;
	case SOURCE_RESOLVE: return EAI_AGAIN;
	default: return opening->source == SOURCE_RESOLVE ? CURLE_COULDNT_RESOLVE_HOST : CURLE_COULDNT_CONNECT;
	}
}

enum rejection op_rejected(struct op *op, enum source source, int *code)
{
	struct target to;
	struct evidence opening;
	uint64_t tag = state_tag(&op->target);
	struct destination *it = state_destination(op->config, &op->target, tag, false, NULL);
	if (it == NULL)
		return NOT_REJECTED;
	bool refused = share_refused(it, op->config, clock_now_ns(), &opening);
	if (!refused) {
		if (circuit_state(atomic_load_explicit(&it->circuit, memory_order_relaxed)) != CIRCUIT_CLOSED)
			note_trouble(tag); /* it is the probe: its success has to be told */
		return NOT_REJECTED;
	}
	*code = opening_code(op->config, source, &opening);
	op->failure = (struct failure){.source = source, .code = *code, .retry_after_ms = -1};
	struct verdict verdict = {.class = classify(op->config, &op->failure), .max_attempts = (int)op->config->max_attempts,
	                          .reason = REASON_BREAKER};
	bool falls_back = op_fallback(op, &to);
	op->leaves = falls_back;
	if (falls_back)
		verdict.reason = REASON_NONE;
	else
		tell_obstacle(op);
	tell(op, falls_back ? EVENT_FALLBACK : EVENT_GIVEN_UP, &verdict, op->message, OWN);
	return falls_back ? REJECTED_FALLBACK : REJECTED;
}
