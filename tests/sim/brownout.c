/* A server at 90 % load that has half its capacity for five seconds: a queue, and requests that nobody waits for any
 * longer but which are served all the same. Each request is a GET of a new process, given up after a second by a
 * low-speed limit: CURLOPT_TIMEOUT would bound the operation with all its attempts, and leave nothing to retry. */
#include <math.h>
#include <stdlib.h>

#include <curl/curl.h>

#include "sim.h"

#define END_S 60
#define SLOW_FROM_NS (10 * NS_PER_S)
#define SLOW_TO_NS (15 * NS_PER_S)
#define PATIENCE_NS NS_PER_S
#define ARRIVALS_A_SECOND 900.0
#define SERVICE_NS NS_PER_MS /* 1,000 requests a second */

struct server {
	int64_t free_ns;                    /* when it will have served all that it has got */
	double *latency_s[END_S];           /* of the requests sent in each second, whoever still waits */
	size_t requests[END_S], room[END_S];
	size_t answered[END_S], sent;
};

static void note_latency(struct server *server, int64_t now_ns, int64_t latency_ns)
{
	size_t second = (size_t)(now_ns / NS_PER_S), n = server->requests[second]++;
	if (n == server->room[second]) {
		server->room[second] = 2 * n + 1024;
		server->latency_s[second] = realloc(server->latency_s[second], server->room[second] * sizeof(double));
		if (server->latency_s[second] == NULL)
			abort();
	}
	server->latency_s[second][n] = (double)latency_ns / (double)NS_PER_S;
}

static void is_late(struct world *world, struct process *process)
{
	process_failed(world, process, &(struct failure){.source = SOURCE_CURL, .code = CURLE_OPERATION_TIMEDOUT, .retry_after_ms = -1,
	                                                 .sent = true, .repeatable = true});
}

static void is_answered(struct world *world, struct process *process)
{
	struct server *server = world->experiment;
	server->answered[world->now_ns / NS_PER_S]++;
	process_succeeded(world, process);
}

static void request(struct world *world, struct process *process)
{
	struct server *server = world->experiment;
	int64_t begin_ns = server->free_ns > world->now_ns ? server->free_ns : world->now_ns;
	bool slow = begin_ns >= SLOW_FROM_NS && begin_ns < SLOW_TO_NS;
	server->free_ns = begin_ns + (slow ? 2 : 1) * SERVICE_NS;
	int64_t latency_ns = server->free_ns - world->now_ns;
	note_latency(server, world->now_ns, latency_ns);
	server->sent++;
	if (latency_ns <= PATIENCE_NS)
		process_after(world, process, latency_ns, is_answered);
	else
		process_after(world, process, PATIENCE_NS, is_late);
}

/* The first second after the brown-out in which half of the requests took less than a tenth; -1: none. */
static int back_after_s(const struct server *server)
{
	const int slow_to_s = SLOW_TO_NS / NS_PER_S;
	for (int second = slow_to_s; second < END_S; second++)
		if (quantile(server->latency_s[second], server->requests[second], 0.5) < 0.1)
			return second - slow_to_s;
	return -1;
}

static double answered_a_second(const struct server *server, int from_s)
{
	const int seconds = 10;
	size_t answered = 0;
	for (int second = from_s; second < from_s + seconds; second++)
		answered += server->answered[second];
	return (double)answered / seconds;
}

static void report(FILE *out, const char *name, const struct world *world, const struct server *server)
{
	const int slow_to_s = SLOW_TO_NS / NS_PER_S;
	size_t begun = 0, succeeded = 0;
	for (size_t i = 0; i < world->count; i++) {
		begun += world->processes[i].sent > 0;
		succeeded += world->processes[i].succeeded;
	}
	fprintf(out, "| %s | %.1f %% | %.2f | %.0f a second | %.0f a second | ", name, 100.0 * (double)succeeded / (double)begun,
	        (double)server->sent / (double)begun, answered_a_second(server, slow_to_s), answered_a_second(server, END_S - 10));
	int back_s = back_after_s(server);
	if (back_s < 0)
		fprintf(out, "not within %d s |\n", END_S - slow_to_s);
	else
		fprintf(out, "after %d s |\n", back_s);
}

static void run(FILE *out, const char *name, enum strategy strategy, const char *setting)
{
	const char *const environment[] = {setting, NULL};
	struct config config;
	struct world world;
	struct server server = {0};
	uint64_t seed = 1; /* the same arrivals for each strategy */
	world_config(&config, environment);
	world_begin(&world, strategy, &config, (size_t)(ARRIVALS_A_SECOND * END_S * 1.1), seed);
	world.attempt = request;
	world.experiment = &server;
	double at_s = chance_exponential(&seed, 1 / ARRIVALS_A_SECOND);
	for (size_t i = 0; i < world.count && at_s < END_S; i++) {
		process_start(&world, &world.processes[i], (int64_t)(at_s * (double)NS_PER_S));
		at_s += chance_exponential(&seed, 1 / ARRIVALS_A_SECOND);
	}
	world_run(&world, END_S * NS_PER_S);
	report(out, name, &world, &server);
	for (int second = 0; second < END_S; second++)
		free(server.latency_s[second]);
	world_free(&world);
}

void brownout_report(FILE *out)
{
	fprintf(out, "## A server at 90 %% load that has half its capacity for 5 s, 3 attempts each\n\n");
	fprintf(out, "| | operations succeeded | requests an operation | answered in the 10 s after | in the last 10 s of %d |"
	             " back to a median < 100 ms |\n", END_S);
	fprintf(out, "| --- | ---: | ---: | ---: | ---: | ---: |\n");
	run(out, "no retries", SHARED, "RETRY_MAX_ATTEMPTS=1");
	for (int i = 0; i < STRATEGIES; i++)
		run(out, strategy_names[i], (enum strategy)i, NULL);
	fprintf(out, "\nWhat has piled up (2,000 requests) takes 20 s to work off, if nobody adds to it.\n\n");
}
