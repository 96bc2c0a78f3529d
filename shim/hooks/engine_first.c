/* First attempts: nearly always nobody's business. */
#include "hooks/engine.h"

_Atomic(int) engine_attention __attribute__((visibility("hidden")));

/* Which destinations have failed in this process, a bit for some of them each. */
static _Atomic(uint64_t) troubled;

static uint64_t trouble_of(uint64_t tag) { return UINT64_C(1) << (tag >> 58); }

void engine_note_trouble(uint64_t tag)
{
	atomic_fetch_or(&troubled, trouble_of(tag));
	atomic_fetch_or(&engine_attention, ATTENTION_TROUBLE);
}

/* Until the next failure. */
static void forget_trouble(uint64_t tag)
{
	if ((atomic_fetch_and(&troubled, ~trouble_of(tag)) & ~trouble_of(tag)) != 0)
		return;
	atomic_fetch_and(&engine_attention, ~ATTENTION_TROUBLE);
	if (atomic_load(&troubled) != 0) /* another thread's, in between */
		atomic_fetch_or(&engine_attention, ATTENTION_TROUBLE);
}

void engine_note_success(const struct config *config, const struct target *target)
{
	if (!match_takes_host(config, target))
		return;
	uint64_t tag = state_tag(target);
	if ((atomic_load_explicit(&troubled, memory_order_relaxed) & trouble_of(tag)) == 0)
		return;
	struct destination *it = state_destination(config, target, tag, false, engine_tell_no_state);
	if (it == NULL || share_saw_success(NULL, it, config, clock_now_ns()))
		forget_trouble(tag);
}

void engine_succeeded(enum family family, const struct target *target)
{
	const struct config *config = engine_config_for(family, target);
	if (config != NULL)
		engine_note_success(config, target);
}

enum rejection op_rejected(struct op *op, enum source source, int *code)
{
	struct target to;
	struct evidence opening;
	if (op->config->breaker != BREAKER_REJECT) /* another destination's may */
		return NOT_REJECTED;
	uint64_t tag = state_tag(&op->target);
	struct destination *it = state_destination(op->config, &op->target, tag, false, engine_tell_no_state);
	if (it == NULL)
		return NOT_REJECTED;
	bool refused = share_refused(it, op->config, clock_now_ns(), &opening);
	if (!refused) {
		if (circuit_state(atomic_load_explicit(&it->circuit, memory_order_relaxed)) != CIRCUIT_CLOSED)
			engine_note_trouble(tag); /* it is the probe: its success has to be told */
		return NOT_REJECTED;
	}
	*code = circuit_error(op->config, source, &opening);
	op->failure = (struct failure){.source = source, .code = *code, .retry_after_ms = -1};
	bool falls_back = op_fallback(op, &to);
	op->leaves = falls_back;
	return falls_back ? REJECTED_FALLBACK : REJECTED;
}

void op_tell_rejection(struct op *op, enum rejection rejection, const char *message)
{
	bool falls_back = rejection == REJECTED_FALLBACK;
	struct verdict verdict = {.class = classify(op->config, &op->failure), .max_attempts = (int)op->config->max_attempts,
	                          .reason = falls_back ? REASON_NONE : REASON_BREAKER};
	if (!falls_back)
		engine_tell_obstacle(op);
	engine_tell(op, falls_back ? EVENT_FALLBACK : EVENT_GIVEN_UP, &verdict, message, OWN);
}
