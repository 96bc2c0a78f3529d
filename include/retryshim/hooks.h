/* Hooks: the interposed functions, and the engine that serves them all.
 *
 * A hook describes what happened in the engine's terms and obeys its verdict:
 *
 *     if (op_begin(&op, "connect", &target, start_ns, own_limit_ns))
 *         for (;;) {
 *             verdict = op_failed(&op, &failure, NULL);
 *             if (verdict.action == ACTION_DELIVER) break;
 *             wait until verdict.at_ns, in the hook's own way
 *             op_next_attempt(&op); try again; on success { op_succeeded(&op); break; }
 *         }
 *
 * Nothing is done, read or counted before an operation's first failure. A struct op lives where its
 * hook puts it (the stack, a curl handle's record), owns nothing and may be dropped at any moment:
 * siglongjmp and cancellation leave nothing behind. The engine changes errno; hooks keep it.
 */
#ifndef RETRYSHIM_HOOKS_H
#define RETRYSHIM_HOOKS_H

#include <stdbool.h>
#include <stdint.h>

#include "retryshim/config.h"
#include "retryshim/policy.h"

struct op {
	const struct config *config;
	const char *hook; /* a constant */
	struct target target;
	struct progress progress;
	uint64_t id;
	int replays; /* of the attempt that has just ended; see struct report_event */
	uint64_t random; /* for the next backoff: asked twice, the policy answers the same */
	/* Asked before a retry is granted: can the request's body be produced again? NULL: there is none. */
	bool (*rewind)(void *context);
	void *rewind_context;
};

/* Which family of hooks asks; each can be switched off. */
enum family { FAMILY_CONNECT, FAMILY_NONBLOCK, FAMILY_RESOLVE, FAMILY_CURL };

/* The configuration if this family is to be served in this process, else NULL. The first call of a
 * process also tells about malformed variables. */
const struct config *engine_config(enum family family);

/* Starts an operation at its first failed attempt. start_ns: when that attempt began; own_limit_ns:
 * the program's own bound as a span, 0 = none. False, op untouched, if the target is not ours. */
bool op_begin(struct op *op, const struct config *config, const char *hook, const struct target *target,
              int64_t start_ns, int64_t own_limit_ns);

/* What op_failed() would say now, rewinding aside; nothing is told, charged or changed. */
struct verdict op_expected(const struct op *op, const struct failure *failure);

/* Judges the attempt that just failed, tells it, and on ACTION_RETRY charges the backoff. `message`:
 * what libcurl calls the error; NULL where the policy has the words. */
struct verdict op_failed(struct op *op, const struct failure *failure, const char *message);

/* A verdict of ACTION_RETRY could not be carried out after all. */
void op_given_up(struct op *op, const struct verdict *verdict, enum reason reason, const char *message);

void op_next_attempt(struct op *op);

/* The operation's last attempt succeeded; silent if that was the first. */
void op_succeeded(struct op *op);

#endif
