/* Private to the engine, which serves all hooks:
 *
 *   engine.c           an operation: begun, judged, ended, told
 *   engine_backoff.c   its backoffs: what others find out meanwhile
 *   engine_fallback.c  another address, where attempts at the first are used up
 *   engine_first.c     first attempts: those that are not to be made, and successes that are worth telling
 *   engine_metrics.c   what operators count
 */
#ifndef RETRYSHIM_HOOKS_ENGINE_H
#define RETRYSHIM_HOOKS_ENGINE_H

#include "retryshim/hooks.h"

/* Whose attempt is judged; BROKE: the operation's own, once more, since the retry cannot be paid. */
enum whose { OWN, ANOTHERS, BROKE };

void engine_tell(const struct op *op, enum event event, const struct verdict *verdict, const char *message, enum whose whose);

/* A retry goes out; the operation is over, as this event tells. */
void engine_count_retry(const struct op *op);
void engine_count_end(const struct op *op, enum event event, enum reason reason);

/* The Operation: RETRY_OPERATION, or the hook's name. */
const char *engine_operation(const struct op *op);

/* What the host knows of the operation's destination; NULL if nothing of it counts there. */
struct destination *engine_destination(const struct op *op, bool make);

/* A backoff begins, or the operation is over: told, and charged. */
struct verdict engine_judge(struct op *op, struct destination *it, int64_t now_ns, enum whose whose);

/* A fallback was wanted: if there is one that does not fit, that is told. */
void engine_tell_obstacle(const struct op *op);

/* A first attempt has got through at a destination with this configuration. */
void engine_note_success(const struct config *config, const struct target *target);

/* From now on successes at this destination are worth telling. */
void engine_note_trouble(uint64_t tag);

void engine_tell_no_state(const struct config *config, const char *path, const char *why, int error);

#endif
