/* RETRY_FALLBACK: whether an operation has somewhere else to go. */
#include "hooks/engine.h"

#include <string.h>

#include "retryshim/report.h"

/* Of the addresses that a name was last looked up to, one that the socket can have. */
static bool choose_address(struct target *to, const struct op *op)
{
	addresses_candidates(to);
	for (int i = 0; i < to->candidates; i++) {
		if (address_is_v4(to->candidate[i]) ? op->v6_only : op->family == AF_INET)
			continue;
		memcpy(to->address, to->candidate[i], sizeof to->address);
		return to->has_address = true;
	}
	return false;
}

/* Why this operation cannot use its fallback, in words; NULL = it can. */
static const char *fallback_obstacle(const struct op *op, struct target *to)
{
	bool is_v4 = to->has_address && address_is_v4(to->address);
	if (op->fallback_obstacle != NULL)
		return op->fallback_obstacle;
	if (op->family == 0 || (!to->has_address && op->may_look_up))
		return NULL;
	if (op->family != AF_INET && op->family != AF_INET6)
		return "the socket is of another address family";
	if (!to->has_address)
		return choose_address(to, op) ? NULL : "a non-blocking connect cannot wait for a look-up: give an address";
	bool fits = op->family == AF_INET ? is_v4 : !(is_v4 && op->v6_only);
	return fits ? NULL : "the socket is of another address family";
}

bool op_fallback(const struct op *op, struct target *to)
{
	return !op->fell_back && op->target.way != WAY_LOOK_UP && match_fallback(op->config, &op->target, to) &&
	       fallback_obstacle(op, to) == NULL;
}

/* It was wanted, and there is one that does not fit. */
void engine_tell_obstacle(const struct op *op)
{
	char text[TARGET_TEXT_MAX];
	struct target to;
	const char *why;
	if (op->fell_back || op->target.way == WAY_LOOK_UP || !match_fallback(op->config, &op->target, &to))
		return;
	if ((why = fallback_obstacle(op, &to)) == NULL)
		return;
	target_format(&to, text, sizeof text);
	report_unused(op->config, "RETRY_FALLBACK", text, why, 0, "the error stands");
}
