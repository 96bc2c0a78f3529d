/* The state file: any bytes in it, and operations that work on them.
 *
 *   script.c     the input: what the file holds at first, then a script
 *   world.c      the file, and what others write into it
 *   operation.c  operations, conducted as shim/hooks/engine.c does
 *   words.c      the file's words, each by itself
 *   metrics.c    series, and how they are shown
 */
#ifndef RETRYSHIM_TESTS_FUZZ_WORLD_H
#define RETRYSHIM_TESTS_FUZZ_WORLD_H

#include "../fuzz.h"
#include "retryshim/runtime.h"

enum { OPERATIONS = 4, PLACES = 16 };

struct operation {
	const struct config *config;
	struct target target;
	uint64_t tag, id;
	struct share share;
	struct progress progress;
	struct verdict verdict;
	struct failure failure;
	enum { IDLE, BACKS_OFF, SENT } stands;
};

struct world {
	struct input input;
	int64_t now_ns;
	struct operation operations[OPERATIONS];
	bool shown; /* all of it: that takes long */
};

/* ---- world.c */
extern struct state state;
void set_target(struct target *target, uint8_t kind, uint8_t which);
/* So that all of them meet in the first places of the file, and the input need not fill all. */
uint64_t tag_of(uint8_t which);
struct destination *place(struct world *world, uint64_t tag, const struct target *target, bool make);
struct destination *place_of(struct world *world, struct operation *op);
/* Any word; or one that a process may have written a while ago, or will have when its clock is wrong. */
uint64_t word(struct world *world);
void overwrite(struct world *world);
/* All of the file, from the rest of the input, again and again. */
void fill(struct input *input);

/* ---- operation.c */
void operation_fail(struct world *world, struct operation *op);
struct view operation_look(struct world *world, struct operation *op);
/* Nobody else is alive any more: its backoff ends all the same, and in time. */
void operation_check_alone(struct world *world, struct operation *op);
void operation_end(struct world *world, struct operation *op, bool success);

/* ---- words.c */
void check_budget(const struct config *config, uint64_t word, int64_t now_ms, double gift);
void check_circuit(const struct config *config, uint64_t word, bool probe, int64_t now_ms);
void check_floor(const struct config *config, uint64_t word, int64_t retry_after_ms, int64_t now_ms);
void check_evidence(uint64_t word);

/* ---- metrics.c */
void metrics_step(struct world *world, const struct operation *op);

#endif
