/* The engine: policy, the host's state, clock and diagnostics brought together, once for all hooks. */
#include "hooks/engine.h"

#include <stdatomic.h>
#include <string.h>

#include "retryshim/report.h"

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

/* The same for the configuration file. */
static void tell_file_faults(const struct config *config)
{
	static _Atomic(int) told;
	struct settings_fault fault;
	if (!config->diag || atomic_load_explicit(&told, memory_order_relaxed) != 0 || !settings_file_fault(0, &fault) ||
	    atomic_exchange_explicit(&told, 1, memory_order_relaxed) != 0)
		return;
	struct hold hold;
	hold_begin(&hold);
	for (int number = 0; settings_file_fault(number, &fault); number++)
		report_unused_line(config, fault.path, fault.line, fault.what, fault.why, fault.error);
	hold_end(&hold);
}

/* A file may have changed what RETRY_BREAKER says, either way. */
static void attend_to_rejects(const struct config *config)
{
	bool rejects = config->breaker == BREAKER_REJECT, attends = (attention() & ATTENTION_REJECT) != 0;
	if (rejects && !attends)
		atomic_fetch_or(&engine_attention, ATTENTION_REJECT);
	else if (attends && !rejects)
		atomic_fetch_and(&engine_attention, ~ATTENTION_REJECT);
}

static bool serves(const struct config *config, enum family family)
{
	switch (family) {
	case FAMILY_RESOLVE: return config->dns;
	case FAMILY_CURL: return config->curl;
	case FAMILY_NONBLOCK: return config->nonblock;
	default: return true;
	}
}

const struct config *engine_config(enum family family)
{
	const struct config *config = settings_config();
	if (config == NULL)
		return NULL;
	attend_to_rejects(config);
	if (!serves(config, family))
		return NULL;
	if (config->diag)
		report_start();
	tell_bad_values(config);
	return config;
}

const struct config *engine_config_for(enum family family, const struct target *target)
{
	const struct config *config = settings_for(target);
	if (engine_config(family) == NULL || config == NULL)
		return NULL;
	tell_file_faults(config);
	return serves(config, family) ? config : NULL;
}

const char *engine_operation(const struct op *op)
{
	return op->config->operation[0] != '\0' ? op->config->operation : op->hook;
}

void engine_tell(const struct op *op, enum event event, const struct verdict *verdict, const char *message, enum whose whose)
{
	struct target fallback;
	engine_count_end(op, event, verdict != NULL ? verdict->reason : REASON_NONE);
	if (!op->config->diag)
		return;
	int64_t elapsed_ns = clock_now_ns() - op->start_ns;
	int most = verdict != NULL ? verdict->max_attempts : (int)op->config->max_attempts;
	bool on_top = op->fell_back && op->progress.attempt > most; /* the fallback's attempt */
	struct report_event told = {
		.event = event,
		.op = op->id,
		.program = settings_program(),
		.trace_id = settings_trace_id(),
		.operation = engine_operation(op),
		.target = &op->target,
		.attempt = op->progress.attempt,
		.max_attempts = most + on_top,
		.replays = op->replays,
		.shared = whose == ANOTHERS,
		.elapsed_ns = elapsed_ns > 0 ? elapsed_ns : 0,
		.message = message,
	};
	if (verdict != NULL) {
		told.class = &verdict->class;
		told.delay_ns = verdict->delay_ns;
		told.reason = verdict->reason;
	}
	if (event == EVENT_FALLBACK && match_fallback(op->config, &op->target, &fallback))
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
	op->start_ns = start_ns;
	op->failed_ns = start_ns;
	op->progress = (struct progress){.attempt = 1, .deadline_ns = deadline_of(config, start_ns, own_limit_ns)};
	op->id = random_id();
	op->random = random_bits(config->seed);
	return true;
}

/* ---- judging ------------------------------------------------------------------------------------- */

void engine_tell_no_state(const struct config *config, const char *path, const char *why, int error)
{
	report_unused(config, "RETRY_STATE", path, why, error, "this process keeps to itself what it learns");
}

struct destination *engine_destination(const struct op *op, bool make)
{
	if (op->tag == 0 || op->leaves)
		return NULL;
	return state_destination(op->config, &op->target, op->tag, make, engine_tell_no_state);
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
		it = state_destination(op->config, &op->target, tag, false, engine_tell_no_state);
	struct standing standing = standing_of(op, it, &class, now_ns);
	return decide(op->config, &op->progress, failure, &standing, now_ns, op->random);
}

/* A backoff begins, or the operation is over. */
struct verdict engine_judge(struct op *op, struct destination *it, int64_t now_ns, enum whose whose)
{
	const struct config *config = op->config;
	struct failure failure = op->failure;
	struct class class = classify(config, &failure);
	struct standing standing = standing_of(op, it, &class, now_ns);
	standing.no_token = standing.no_token || whose == BROKE;
	struct verdict verdict = decide(config, &op->progress, &failure, &standing, now_ns, op->random);
	if (verdict.action == ACTION_RETRY && whose == OWN && op->rewind != NULL) {
		failure.unrewindable = !op->rewind(op->rewind_context); /* asked last: it calls the program, and moves its stream */
		if (failure.unrewindable)
			verdict = decide(config, &op->progress, &failure, &standing, now_ns, op->random);
		it = engine_destination(op, true); /* that may have taken any time */
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
		engine_tell_obstacle(op);
	if (verdict.event != EVENT_ATTEMPT_FAILED && it != NULL)
		share_ended(&op->share, it, config, &failure, &verdict, now_ns);
	engine_tell(op, verdict.event, &verdict, op->message, whose);
	return verdict;
}

struct verdict op_failed(struct op *op, const struct failure *failure, const char *message)
{
	int64_t now_ns = clock_now_ns();
	struct class class = classify(op->config, failure);
	bool first = op->tag == 0;
	op->failure = *failure;
	op->failed_ns = now_ns;
	op->message = message;
	if (class.retried && first) {
		op->tag = state_tag(&op->target);
		engine_note_trouble(op->tag);
	}
	struct destination *it = engine_destination(op, true);
	if (it != NULL && first)
		share_begin(&op->share, it, op->config, now_ns);
	if (it != NULL && class.retried)
		share_failed(&op->share, it, op->config, failure, &class, now_ns);
	else if (it != NULL && class.reached)
		share_saw_success(&op->share, it, op->config, now_ns);
	else if (class.reached && attention())
		engine_note_success(op->config, &op->target);
	return engine_judge(op, it, now_ns, OWN);
}

/* ---- ends ----------------------------------------------------------------------------------------- */

static void withdraw(struct op *op)
{
	struct destination *it = engine_destination(op, false);
	if (it != NULL)
		share_withdraw(&op->share, it, op->config, clock_now_ns());
}

void op_dropped(struct op *op)
{
	withdraw(op);
	engine_count_end(op, EVENT_NONE, REASON_NONE);
}

void op_given_up(struct op *op, const struct verdict *verdict, enum reason reason, const char *message)
{
	struct verdict given_up = *verdict;
	given_up.reason = reason;
	withdraw(op);
	engine_tell(op, EVENT_GIVEN_UP, &given_up, message, OWN);
}

void op_leaves(struct op *op)
{
	withdraw(op);
	op->leaves = true;
}

void op_exhausted(struct op *op, const struct verdict *verdict)
{
	withdraw(op);
	engine_tell(op, EVENT_EXHAUSTED, verdict, op->message, OWN);
}

void op_next_attempt(struct op *op)
{
	struct destination *it = engine_destination(op, true);
	if (it != NULL)
		share_sent(&op->share, it);
	op->progress.attempt++;
	engine_count_retry(op);
}

void op_succeeded(struct op *op)
{
	if (op->progress.attempt <= 1)
		return;
	struct destination *it = engine_destination(op, true);
	if (it != NULL)
		share_succeeded(&op->share, it, op->config, clock_now_ns());
	engine_tell(op, EVENT_SUCCEEDED, NULL, NULL, OWN);
}
