/* Hooks: the interposed functions, and the engine that serves them all.
 *
 * A hook describes what happened in the engine's terms and obeys its verdict:
 *
 *     config = engine_config_for(FAMILY_CONNECT, &target)
 *     if (config != NULL && op_begin(&op, config, "connect", &target, start_ns, own_limit_ns))
 *         for (;;) {
 *             verdict = op_failed(&op, &failure, NULL);
 *             if (verdict.action == ACTION_DELIVER) break;
 *             wait in the hook's own way until op_due() says DUE_GO, or that it is over (or op_wait())
 *             op_next_attempt(&op); try again; on success { op_succeeded(&op); break; }
 *         }
 *
 * Nothing is done, read or counted before an operation's first failure, unless RETRY_BREAKER=reject asks for it. A
 * struct op lives where its hook puts it (the stack, a curl handle's record), owns nothing but a claim that expires
 * (host.h) and may be dropped at any moment: siglongjmp and cancellation leave nothing behind. The engine changes errno;
 * hooks keep it.
 */
#ifndef RETRYSHIM_HOOKS_H
#define RETRYSHIM_HOOKS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "retryshim/config.h"
#include "retryshim/policy.h"
#include "retryshim/runtime.h"

struct op {
	const struct config *config;
	const char *hook; /* a constant */
	struct target target;
	struct progress progress;
	int64_t start_ns; /* when its first attempt began */
	uint64_t id;
	int replays; /* of the attempt that has just ended; see struct report_event */
	uint64_t random; /* for the next backoff: asked twice, the policy answers the same */
	/* Asked before a retry is granted: can the request's body be produced again? NULL: there is none. */
	bool (*rewind)(void *context);
	void *rewind_context;
	/* What the host has to do with it. */
	uint64_t tag;           /* of its destination; 0: nothing of it has failed that is retried */
	struct share share;
	struct failure failure; /* the latest one of its own */
	int64_t failed_ns;      /* and when */
	const char *message;    /* and its words */
	int64_t slept_ns;       /* when op_sleep() was last called */
	bool leaves;            /* the destination is given up, for the fallback */
	bool fell_back;         /* its attempts go to the fallback's address */
	/* Of a connect: the socket's address family, which a fallback has to share; and it may wait for a look-up. Others
	 * leave it to libcurl: 0. */
	int family;
	bool v6_only; /* an AF_INET6 socket that takes no mapped addresses */
	bool may_look_up;
	const char *fallback_obstacle; /* why it can go nowhere else, in words; NULL = it can */
};

/* Which family of hooks asks; each can be switched off. */
enum family { FAMILY_CONNECT, FAMILY_NONBLOCK, FAMILY_RESOLVE, FAMILY_CURL };

/* The configuration if this family may be served in this process, else NULL: for what has not failed, and costs as little.
 * The first call of a process also tells about malformed variables. */
const struct config *engine_config(enum family family);

/* What holds for this destination; NULL if this family, or all, is switched off for it. Once something has failed, or
 * where a file was named that may reject. The first call also tells what is wrong with a configuration file. */
const struct config *engine_config_for(enum family family, const struct target *target);

/* Starts an operation at its first failed attempt; config: its destination's. start_ns: when that attempt began; own_limit_ns:
 * the program's own bound as a span, 0 = none. False, op untouched, if the target is not ours. */
bool op_begin(struct op *op, const struct config *config, const char *hook, const struct target *target,
              int64_t start_ns, int64_t own_limit_ns);

/* What op_failed() would say now, rewinding aside; nothing is told, charged or changed. */
struct verdict op_expected(const struct op *op, const struct failure *failure);

/* Judges the attempt that just failed, tells it, and on ACTION_RETRY charges the backoff. `message`:
 * what libcurl calls the error, a constant; NULL where the policy has the words. */
struct verdict op_failed(struct op *op, const struct failure *failure, const char *message);

/* In the backoff that `verdict` began: is it over? DUE_LATER: ask again at *again_ns. Another's attempt may have failed
 * and count as this operation's: that is told, and *verdict is about the next backoff then, or, with DUE_OVER, the
 * operation's end. */
enum due { DUE_LATER, DUE_GO, DUE_OVER };
enum due op_due(struct op *op, struct verdict *verdict, int64_t *again_ns);

/* For who sleeps: until again_ns, or till there is news of the destination. Cancellation and signals as with
 * sleep_until(). op_wait() is the whole of it. */
enum slept op_sleep(struct op *op, int64_t again_ns);
enum awaited { AWAITED_GO, AWAITED_OVER, AWAITED_SIGNAL };
enum awaited op_wait(struct op *op, struct verdict *verdict);

/* For who cannot sleep: when to ask again, which is before again_ns where there may be news. */
int64_t op_glance_ns(const struct op *op, int64_t again_ns);

/* A verdict of ACTION_RETRY could not be carried out after all. */
void op_given_up(struct op *op, const struct verdict *verdict, enum reason reason, const char *message);

/* A fallback could not be gone to after all: the error that stands is the outcome. */
void op_exhausted(struct op *op, const struct verdict *verdict);

/* Another attempt goes out; with a verdict of EVENT_FALLBACK, to where op_fallback() says. */
void op_next_attempt(struct op *op);
bool op_fallback(const struct op *op, struct target *to);

/* The operation's last attempt succeeded; silent if that was the first. */
void op_succeeded(struct op *op);

/* What becomes of it from now on says nothing of its destination. */
void op_leaves(struct op *op);

/* The operation is left without an outcome that anybody told. */
void op_dropped(struct op *op);

/* ---- first attempts ------------------------------------------------------------------------------ */

/* What first attempts have to look out for; 0 in a healthy process. */
enum { ATTENTION_TROUBLE = 1, /* something has failed here: successes are worth telling */ ATTENTION_REJECT = 2 };
extern _Atomic(int) engine_attention __attribute__((visibility("hidden")));

static inline int attention(void)
{
	int bits = atomic_load_explicit(&engine_attention, memory_order_relaxed);
	return __builtin_expect(bits != 0, 0) ? bits : 0;
}

/* A first attempt has got through. */
void engine_succeeded(enum family family, const struct target *target);

/* RETRY_BREAKER=reject, and the circuit of this operation, which has just begun, is open: not even a first attempt is
 * made. REJECTED: *code is the error that opened it, in terms of `source`. REJECTED_FALLBACK: op_fallback() says where it
 * goes instead. The hook tells which of the two it has come to; `message`: as with op_failed(). */
enum rejection { NOT_REJECTED, REJECTED, REJECTED_FALLBACK };
enum rejection op_rejected(struct op *op, enum source source, int *code);
void op_tell_rejection(struct op *op, enum rejection rejection, const char *message);

#endif
