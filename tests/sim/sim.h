/* A simulation over the shipped policy: the objects of shim/policy and shim/runtime/share.o, a virtual clock, no
 * sleep, no socket. The same seed, and so the same output, each time.
 */
#ifndef SIM_H
#define SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "retryshim/config.h"
#include "retryshim/host.h"
#include "retryshim/policy.h"
#include "retryshim/runtime.h"

/* ---- chance.c -------------------------------------------------------------------------------------- */

uint64_t chance_bits(uint64_t *seed);
double chance_fraction(uint64_t *seed); /* uniform in [0, 1) */
double chance_normal(uint64_t *seed, double mean, double deviation);
double chance_exponential(uint64_t *seed, double mean);

/* ---- queue.c: what is going to happen, earliest first --------------------------------------------------- */

struct arrival {
	int64_t at_ns;
	uint64_t serial; /* of two at one instant, the one that was put in first */
	size_t who;
	uint32_t ticket; /* of no interest to the queue */
};

struct queue {
	struct arrival *arrivals;
	size_t count, room;
	uint64_t serial;
};

void queue_put(struct queue *queue, int64_t at_ns, size_t who, uint32_t ticket);
bool queue_take(struct queue *queue, struct arrival *earliest); /* false if there is none */
void queue_free(struct queue *queue);

/* ---- process.c: processes with one operation each, as shim/hooks/engine.c conducts it ----------------------- */

enum strategy {
	SHARED,     /* the shim; one state for the host */
	PRIVATE,    /* RETRY_STATE=off */
	CURL_RETRY, /* no shim; curl --retry, which waits 1, 2, 4 s ... 600 s (tool_operate.c) */
	STRATEGIES,
};

extern const char *const strategy_names[STRATEGIES];

struct world;
struct process;
typedef void step(struct world *world, struct process *process);

struct process {
	step *next;      /* what its event means. It has one at a time: another one takes its place */
	uint32_t ticket; /* of that event */
	struct progress progress;
	struct share share;
	struct destination *destination;
	struct failure failure;
	struct verdict verdict;
	uint64_t id, random;
	bool has_failed, asleep;
	int64_t again_ns; /* when it looked last, it was to look again then */
	/* For the experiments. */
	int64_t start_ns, end_ns;
	int sent;
	bool succeeded;
};

struct world {
	enum strategy strategy;
	const struct config *config;
	int64_t now_ns;
	uint64_t seed;
	struct queue queue;
	struct process *processes;
	size_t count;
	struct destination *destinations; /* one, or one a process */
	step *attempt; /* sends, and decides by process_after() what comes of it */
	void *experiment;
};

/* Default values, but for those of `environment`: "NAME=value", then NULL. */
void world_config(struct config *config, const char *const *environment);

void world_begin(struct world *world, enum strategy strategy, const struct config *config, size_t count, uint64_t seed);
void world_run(struct world *world, int64_t end_ns);
void world_free(struct world *world);

void process_start(struct world *world, struct process *process, int64_t at_ns);
void process_after(struct world *world, struct process *process, int64_t delay_ns, step *next);
void process_failed(struct world *world, struct process *process, const struct failure *failure);
void process_succeeded(struct world *world, struct process *process);

/* ---- the experiments -------------------------------------------------------------------------------------- */

/* True if each of the strategies comes out as the published ones do. */
bool occ_report(FILE *out);

/* Processes that start within a second, while their server's port is closed. */
enum { HERD_BIN_MS = 100, HERD_BINS = 900 };

struct herd {
	size_t processes, runs;
	int64_t closed_ns; /* from 0 to then; INT64_MAX = for ever */
	const char *const *environment;
};

struct herd_result { /* of all runs together, what is not said otherwise */
	size_t operations, connects, succeeded;
	double busiest_share, busiest_second;      /* the runs' mean */
	double median_late_s, late_95_s;           /* succeeded operations, after the port has opened */
	double last_s;                             /* the last one's end, the runs' mean */
	unsigned connects_in[HERD_BINS];           /* the first run */
};

void herd_run(const struct herd *herd, enum strategy strategy, struct herd_result *result);
/* True if it comes out as it should: all recover, and the server is spared. */
bool herd_report(FILE *out, const char *plot_path);

void brownout_report(FILE *out);

/* Connects over time, a panel a strategy. */
bool plot_write(const char *path, const struct herd *herd, const struct herd_result results[STRATEGIES]);

/* The value below which `share` of the values lie; sorts them. */
double quantile(double *values, size_t count, double share);

#endif
