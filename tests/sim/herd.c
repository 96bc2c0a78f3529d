/* Many processes whose server's port is closed: for a while, or for good. */
#include <math.h>
#include <errno.h>
#include <stdlib.h>

#include "sim.h"

#define START_NS NS_PER_S
#define ROUND_TRIP_NS INT64_C(200000)
#define END_NS INT64_C(90000000000)

struct crowd {
	const struct herd *herd;
	unsigned connects_in[HERD_BINS];
	size_t connects;
};

static void is_refused(struct world *world, struct process *process)
{
	process_failed(world, process, &(struct failure){.source = SOURCE_CONNECT, .code = ECONNREFUSED, .retry_after_ms = -1});
}

static void connects(struct world *world, struct process *process)
{
	struct crowd *crowd = world->experiment;
	size_t bin = (size_t)(world->now_ns / (HERD_BIN_MS * NS_PER_MS));
	crowd->connects_in[bin]++; /* world_run() ends with the last one */
	crowd->connects++;
	process_after(world, process, ROUND_TRIP_NS, world->now_ns < crowd->herd->closed_ns ? is_refused : process_succeeded);
}

static unsigned busiest(const struct crowd *crowd, size_t bins)
{
	unsigned most = 0;
	for (size_t i = 0; i + bins <= HERD_BINS; i++) {
		unsigned sum = 0;
		for (size_t n = 0; n < bins; n++)
			sum += crowd->connects_in[i + n];
		most = sum > most ? sum : most;
	}
	return most;
}

/* `late_s` has room for one more a process. */
static void collect(const struct world *world, const struct crowd *crowd, struct herd_result *result, double *late_s)
{
	const struct herd *herd = crowd->herd;
	int64_t last_ns = 0;
	for (size_t i = 0; i < world->count; i++) {
		const struct process *process = &world->processes[i];
		if (process->succeeded)
			late_s[result->succeeded++] = (double)(process->end_ns - herd->closed_ns) / (double)NS_PER_S;
		last_ns = process->end_ns > last_ns ? process->end_ns : last_ns;
	}
	double runs = (double)herd->runs;
	result->last_s += (double)last_ns / (double)NS_PER_S / runs;
	result->busiest_share += busiest(crowd, 1) / (double)crowd->connects / runs;
	result->busiest_second += busiest(crowd, 1000 / HERD_BIN_MS) / runs;
	result->connects += crowd->connects;
	result->operations += world->count;
}

void herd_run(const struct herd *herd, enum strategy strategy, struct herd_result *result)
{
	struct config config;
	double *late_s = calloc(herd->processes * herd->runs, sizeof *late_s);
	if (late_s == NULL)
		abort();
	*result = (struct herd_result){0};
	world_config(&config, herd->environment);
	for (size_t n = 0; n < herd->runs; n++) {
		struct crowd crowd = {.herd = herd};
		struct world world;
		world_begin(&world, strategy, &config, herd->processes, n);
		world.attempt = connects;
		world.experiment = &crowd;
		for (size_t i = 0; i < world.count; i++)
			process_start(&world, &world.processes[i], (int64_t)(chance_fraction(&world.seed) * (double)START_NS));
		world_run(&world, END_NS);
		collect(&world, &crowd, result, late_s);
		for (size_t i = 0; n == 0 && i < HERD_BINS; i++)
			result->connects_in[i] = crowd.connects_in[i];
		world_free(&world);
	}
	result->median_late_s = quantile(late_s, result->succeeded, 0.5);
	result->late_95_s = quantile(late_s, result->succeeded, 0.95);
	free(late_s);
}

static double per_operation(const struct herd_result *result) { return (double)result->connects / (double)result->operations; }

static bool report_outage(FILE *out, const char *plot_path)
{
	static const char *const environment[] = {"RETRY_MAX_ATTEMPTS=10", NULL};
	static const struct herd herd = {.processes = 1000, .runs = 20, .closed_ns = 5 * NS_PER_S, .environment = environment};
	struct herd_result results[STRATEGIES];
	fprintf(out, "## An outage of 5 s, %zu processes, 10 attempts each (%zu runs)\n\n", herd.processes, herd.runs);
	fprintf(out, "| | succeeded | attempts an operation | late, median | late, 95 %% | busiest 100 ms |\n");
	fprintf(out, "| --- | ---: | ---: | ---: | ---: | ---: |\n");
	for (int i = 0; i < STRATEGIES; i++) {
		struct herd_result *result = &results[i];
		herd_run(&herd, (enum strategy)i, result);
		fprintf(out, "| %s | %.1f %% | %.2f | %.2f s | %.2f s | %.1f %% of all connects |\n", strategy_names[i],
		        100.0 * (double)result->succeeded / (double)result->operations, per_operation(result), result->median_late_s,
		        result->late_95_s, 100 * result->busiest_share);
	}
	fprintf(out, "\nLate: after the port has opened.");
	if (plot_write(plot_path, &herd, results))
		fprintf(out, " Connects over time: %s", plot_path);
	fprintf(out, "\n\n");
	return results[SHARED].succeeded == results[SHARED].operations && per_operation(&results[SHARED]) <= 2.1;
}

/* Default settings: the attempts that draw short backoffs are used up before the server is back, with or without us. What
 * must not happen is that they end the others' too. */
static bool report_short_outages(FILE *out)
{
	static const char *const environment[] = {NULL};
	static const struct herd herds[] = {
		{.processes = 20, .runs = 100, .closed_ns = NS_PER_S, .environment = environment},
		{.processes = 100, .runs = 50, .closed_ns = NS_PER_S, .environment = environment},
		{.processes = 1000, .runs = 20, .closed_ns = NS_PER_S, .environment = environment},
	};
	bool none_lost = true;
	fprintf(out, "## A second's outage, 3 attempts each: how many succeed\n\n");
	fprintf(out, "| processes | retryshim | retryshim, `RETRY_STATE=off` | `curl --retry` |\n| ---: | ---: | ---: | ---: |\n");
	for (size_t i = 0; i < sizeof herds / sizeof herds[0]; i++) {
		double succeeded[STRATEGIES];
		fprintf(out, "| %zu", herds[i].processes);
		for (int strategy = 0; strategy < STRATEGIES; strategy++) {
			struct herd_result result;
			herd_run(&herds[i], (enum strategy)strategy, &result);
			succeeded[strategy] = 100.0 * (double)result.succeeded / (double)result.operations;
			fprintf(out, " | %.1f %%", succeeded[strategy]);
		}
		fprintf(out, " |\n");
		none_lost = none_lost && succeeded[SHARED] >= succeeded[PRIVATE] - 1;
	}
	fprintf(out, "\n");
	return none_lost;
}

static bool report_no_server(FILE *out)
{
	static const char *const environment[] = {NULL};
	static const struct herd herd = {.processes = 1000, .runs = 20, .closed_ns = INT64_MAX, .environment = environment};
	fprintf(out, "## No server at all, %zu processes, 3 attempts each (%zu runs)\n\n", herd.processes, herd.runs);
	bool polite = true;
	fprintf(out, "| | attempts an operation | connects a second | busiest second | the last one gives up |\n");
	fprintf(out, "| --- | ---: | ---: | ---: | ---: |\n");
	for (int i = 0; i < STRATEGIES; i++) {
		struct herd_result result;
		herd_run(&herd, (enum strategy)i, &result);
		fprintf(out, "| %s | %.2f | %.0f | %.0f | after %.1f s |\n", strategy_names[i], per_operation(&result),
		        (double)result.connects / (double)herd.runs / result.last_s, result.busiest_second, result.last_s);
		polite = polite && (i != SHARED || per_operation(&result) <= 1.15);
	}
	fprintf(out, "\n");
	return polite;
}

bool herd_report(FILE *out, const char *plot_path)
{
	bool outage = report_outage(out, plot_path), shorter = report_short_outages(out), no_server = report_no_server(out);
	return outage && shorter && no_server;
}
