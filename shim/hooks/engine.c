/* The engine: policy, clock and diagnostics brought together, once for all hooks. */
#include "retryshim/hooks.h"

#include <stdatomic.h>
#include <stddef.h>

#include "retryshim/report.h"
#include "retryshim/runtime.h"

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

static void tell(const struct op *op, enum event event, const struct verdict *verdict, const char *message)
{
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
		.message = message,
	};
	if (verdict != NULL) {
		told.max_attempts = verdict->max_attempts;
		told.class = &verdict->class;
		told.delay_ns = verdict->delay_ns;
		told.reason = verdict->reason;
	}
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
	op->config = config;
	op->hook = hook;
	op->target = *target;
	op->progress = (struct progress){.attempt = 1, .deadline_ns = deadline_of(config, start_ns, own_limit_ns)};
	op->id = random_id();
	op->random = random_bits(config->seed);
	op->replays = 0;
	op->rewind = NULL;
	return true;
}

struct verdict op_expected(const struct op *op, const struct failure *failure)
{
	return decide(op->config, &op->progress, failure, clock_now_ns(), op->random);
}

struct verdict op_failed(struct op *op, const struct failure *failure, const char *message)
{
	int64_t now_ns = clock_now_ns();
	struct verdict verdict = decide(op->config, &op->progress, failure, now_ns, op->random);
	if (verdict.action == ACTION_RETRY && op->rewind != NULL && !op->rewind(op->rewind_context)) {
		/* Asked last: rewinding calls the program, and moves its stream. */
		struct failure stuck = *failure;
		stuck.unrewindable = true;
		verdict = decide(op->config, &op->progress, &stuck, now_ns, op->random);
	}
	if (verdict.action == ACTION_RETRY) {
		op->progress.previous_delay_ns = verdict.delay_ns;
		op->random = random_bits(op->config->seed);
		op->progress.capped_retries += verdict.class.attempt_cap != 0;
	}
	tell(op, verdict.event, &verdict, message);
	return verdict;
}

void op_given_up(struct op *op, const struct verdict *verdict, enum reason reason, const char *message)
{
	struct verdict given_up = *verdict;
	given_up.reason = reason;
	tell(op, EVENT_GIVEN_UP, &given_up, message);
}

void op_next_attempt(struct op *op) { op->progress.attempt++; }

void op_succeeded(struct op *op)
{
	if (op->progress.attempt > 1)
		tell(op, EVENT_SUCCEEDED, NULL, NULL);
}
