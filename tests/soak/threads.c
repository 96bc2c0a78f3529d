/* Eight threads a round, two for each way to wait. */
#include "exchange.h"

#include <pthread.h>

#define THREADS (2 * WAYS)

struct part {
	int number, first;
	int *results;
};

static void *work(void *context)
{
	const struct part *part = context;
	for (int n = part->first; n < op_count; n += THREADS) {
		struct op op = make_op(part->number, n);
		part->results[n] = exchange(&op, (enum way)(part->first % WAYS));
	}
	return NULL;
}

static void round_of(int number, int *results)
{
	pthread_t threads[THREADS];
	struct part parts[THREADS];
	for (int i = 0; i < THREADS; i++) {
		parts[i] = (struct part){.number = number, .first = i, .results = results};
		if (pthread_create(&threads[i], NULL, work, &parts[i]) != 0)
			abort();
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

int main(int argc, char **argv)
{
	return argc == 6 ? run_rounds(argv, round_of) : 2;
}
