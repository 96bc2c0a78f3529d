/* The AWS Architecture Blog's model ("Exponential Backoff And Jitter", 2015): clients update one versioned row each
 * once, and who was overtaken between its read and its write starts again after a backoff. */
#include <math.h>

#include "sim.h"

enum { CLIENTS = 100, RUNS = 600 };
#define WITHIN 0.03

enum at { AT_SERVER_READ, AT_CLIENT_READ, AT_SERVER_WRITE, AT_CLIENT_WRITTEN };

struct client {
	enum at at; /* where its message arrives next */
	int version, failures;
	bool written;
	int64_t previous_ns;
};

struct outcome {
	double calls, ms;
};

static int64_t message_ns(uint64_t *seed) { return (int64_t)(fabs(chance_normal(seed, 10, 2)) * (double)NS_PER_MS); }

/* False: its work is done. */
static bool arrive(struct client *client, const struct config *config, int *version, struct outcome *sum, uint64_t *seed,
                   int64_t *delay_ns)
{
	*delay_ns = message_ns(seed);
	switch (client->at) {
	case AT_SERVER_READ: client->version = *version; break;
	case AT_CLIENT_READ: break;
	case AT_SERVER_WRITE:
		sum->calls++;
		client->written = client->version == *version;
		*version += client->written;
		break;
	case AT_CLIENT_WRITTEN:
		if (client->written)
			return false;
		/* The blog's first backoff is base * 2, our second one. */
		client->previous_ns = backoff_ns(config, ++client->failures + 2, client->previous_ns, chance_bits(seed));
		*delay_ns += client->previous_ns;
		client->at = AT_SERVER_READ;
		return true;
	}
	client->at++;
	return true;
}

static void run(const struct config *config, uint64_t *seed, struct outcome *sum)
{
	struct client clients[CLIENTS] = {0};
	struct queue queue = {0};
	struct arrival arrival;
	int64_t delay_ns, end_ns = 0;
	int version = 0;
	for (size_t i = 0; i < CLIENTS; i++)
		queue_put(&queue, message_ns(seed), i, 0);
	while (queue_take(&queue, &arrival)) {
		end_ns = arrival.at_ns;
		if (arrive(&clients[arrival.who], config, &version, sum, seed, &delay_ns))
			queue_put(&queue, arrival.at_ns + delay_ns, arrival.who, 0);
	}
	sum->ms += (double)end_ns / (double)NS_PER_MS;
	queue_free(&queue);
}

bool occ_report(FILE *out)
{
	static const struct {
		const char *name, *setting;
		struct outcome published;
	} jitters[] = {
		{"none", "RETRY_JITTER=none", {1860, 63637}},
		{"equal", "RETRY_JITTER=equal", {811, 6620}},
		{"full", "RETRY_JITTER=full", {797, 4924}},
		{"decorrelated", "RETRY_JITTER=decorrelated", {999, 4585}},
	};
	bool all = true;
	uint64_t seed = 1;
	fprintf(out, "## %d clients of one row (the AWS Architecture Blog's model, %d runs)\n\n", CLIENTS, RUNS);
	fprintf(out, "| `RETRY_JITTER` | calls | published | deviation | completion, ms | published | deviation |\n");
	fprintf(out, "| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n");
	for (size_t i = 0; i < sizeof jitters / sizeof jitters[0]; i++) {
		const char *environment[] = {"RETRY_BASE_DELAY_MS=5", "RETRY_MAX_DELAY_MS=2000", jitters[i].setting, NULL};
		const struct outcome *published = &jitters[i].published;
		struct outcome sum = {0};
		struct config config;
		world_config(&config, environment);
		for (int n = 0; n < RUNS; n++)
			run(&config, &seed, &sum);
		double calls = sum.calls / RUNS, ms = sum.ms / RUNS;
		double calls_off = calls / published->calls - 1, ms_off = ms / published->ms - 1;
		bool within = fabs(calls_off) <= WITHIN && fabs(ms_off) <= WITHIN;
		all = all && within;
		fprintf(out, "| %s | %.0f | %.0f | %+.1f %% | %.0f | %.0f | %+.1f %%%s |\n", jitters[i].name, calls, published->calls,
		        100 * calls_off, ms, published->ms, 100 * ms_off, within ? "" : " (!)");
	}
	fprintf(out, "\n%s\n\n", all ? "All within 3 %." : "Off by more than 3 %: not the same model, or not the same backoff.");
	return all;
}
