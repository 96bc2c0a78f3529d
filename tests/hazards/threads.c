/* Many threads fail at once and recover at once. */
#include <pthread.h>

#include "host.h"

enum { MOST = 256 };

static const char *port;
static pthread_barrier_t together;
static int errors[MOST];

static void *connects(void *error)
{
	pthread_barrier_wait(&together);
	*(int *)error = connect_and_read(port);
	return NULL;
}

/* PORT COUNT */
static int many(char **arguments)
{
	pthread_t thread[MOST];
	struct descriptors before;
	long count = atol(arguments[1]), connected = 0;
	port = arguments[0];
	descriptors_read(&before);
	pthread_barrier_init(&together, NULL, (unsigned)count);
	for (long i = 0; i < count; i++)
		if (pthread_create(&thread[i], NULL, connects, &errors[i]) != 0)
			broken("pthread_create");
	for (long i = 0; i < count; i++) {
		pthread_join(thread[i], NULL);
		connected += errors[i] == 0;
	}
	say_number("connected", connected);
	say_descriptors(&before);
	return 0;
}

static const struct scenario scenarios[] = {{"many", many}};

int main(int argc, char **argv) { return RUN_SCENARIO(scenarios, argc, argv); }
