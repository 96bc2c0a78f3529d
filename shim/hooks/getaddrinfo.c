/* getaddrinfo(3): looked up again when the name service was out of reach for a moment. */
#include <errno.h>
#include <netdb.h>

#include "hooks/curl_real.h"
#include "retryshim/hooks.h"
#include "retryshim/runtime.h"

/* ---- tier 1, the typed pointer to the real function, is real_getaddrinfo() of the runtime ------- */

/* ---- tier 2: ours ----------------------------------------------------------------------------- */

/* The program's arguments. */
struct lookup {
	const char *node, *service;
	const struct addrinfo *hints;
	struct addrinfo **list;
	uint64_t start; /* clock_mark() */
};

/* Name service modules connect through our symbols; the guard keeps them to one attempt. */
static int look_up(const struct lookup *lookup)
{
	uintptr_t depth = depth_enter();
	int code = real_getaddrinfo()(lookup->node, lookup->service, lookup->hints, lookup->list);
	depth_leave(depth);
	return code;
}

/* Returns the outcome, with the last failure's errno in *error (EAI_SYSTEM is explained by it). */
static int retry(const struct lookup *lookup, struct op *op, int code, int *error)
{
	for (;;) {
		struct failure failure = {.source = SOURCE_RESOLVE, .code = code, .system_errno = *error};
		struct verdict verdict = op_failed(op, &failure, NULL);
		if (verdict.action == ACTION_DELIVER)
			return code;
		switch (op_wait(op, &verdict)) {
		case AWAITED_GO: break;
		case AWAITED_OVER: return code;
		case AWAITED_SIGNAL: op_given_up(op, &verdict, REASON_SIGNAL, NULL); return code;
		}
		op_next_attempt(op);
		code = look_up(lookup);
		*error = errno;
		if (code == 0) {
			op_succeeded(op);
			return 0;
		}
	}
}

static int recover(const struct lookup *lookup, int code, const void *caller)
{
	int error = errno;
	struct op op;
	struct target target = {0};
	const struct config *config = engine_config(FAMILY_RESOLVE);
	/* libcurl resolves in threads of its own and must be able to abandon them at its own time-outs:
	 * the transfer's operation retries, not the look-up inside it. */
	if (config != NULL && !curl_real_is_caller(caller)) {
		target_set_lookup(&target, lookup->node, lookup->service);
		config = engine_config_for(FAMILY_RESOLVE, &target);
		if (config != NULL && op_begin(&op, config, "getaddrinfo", &target, clock_of_mark(lookup->start), 0))
			code = retry(lookup, &op, code, &error);
	}
	errno = error;
	return code;
}

/* RETRY_BREAKER=reject, and the name service has been out of reach for this name. */
static bool rejected(const struct lookup *lookup, const void *caller, int *code)
{
	struct op op;
	struct target target = {0};
	const struct config *config = engine_config(FAMILY_RESOLVE);
	if (config == NULL || config->breaker != BREAKER_REJECT || curl_real_is_caller(caller) || depth_nested() || sleep_interrupted_here())
		return false;
	target_set_lookup(&target, lookup->node, lookup->service);
	config = engine_config_for(FAMILY_RESOLVE, &target);
	if (config == NULL || !op_begin(&op, config, "getaddrinfo", &target, clock_now_ns(), 0) ||
	    op_rejected(&op, SOURCE_RESOLVE, code) == NOT_REJECTED)
		return false;
	op_tell_rejection(&op, REJECTED, NULL);
	return true;
}

static void note_success(const struct lookup *lookup)
{
	int error = errno;
	struct target target = {0};
	target_set_lookup(&target, lookup->node, lookup->service);
	engine_succeeded(FAMILY_RESOLVE, &target);
	errno = error;
}

static int shim_getaddrinfo(const struct lookup *lookup, const void *caller)
{
	int errno_before = errno;
	int code;
	if ((attention() & ATTENTION_REJECT) != 0 && rejected(lookup, caller, &code))
		return code;
	errno = errno_before;
	code = look_up(lookup);
	if (code == 0 && (attention() & ATTENTION_TROUBLE) != 0 && !depth_nested())
		note_success(lookup);
	if (code != 0 && !depth_nested() && !sleep_interrupted_here()) {
		code = recover(lookup, code, caller);
		if (code == 0)
			errno = errno_before;
	}
	if (code == 0)
		addresses_remember(lookup->node, *lookup->list);
	return code;
}

/* ---- tier 3: exported ------------------------------------------------------------------------- */

__attribute__((visibility("default"))) int getaddrinfo(const char *node, const char *service,
                                                       const struct addrinfo *hints, struct addrinfo **list)
{
	struct lookup lookup = {node, service, hints, list, clock_mark()};
	return shim_getaddrinfo(&lookup, __builtin_return_address(0));
}
