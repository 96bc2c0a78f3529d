/* A thread is cancelled in a wait while nothing is pending: unwinding goes through the wait's frame into the caller's, whose
 * cleanup runs. Built with -fexceptions. Usage: unwound WAIT */
#include <pthread.h>
#include <stdatomic.h>

#include "every_wait.h"

static const char *name;
static int cleaned;
static _Atomic(pid_t) waiting; /* the thread */

static void clean(const volatile int *kept)
{
	if (*kept == 42)
		cleaned++;
}

static void *waits(void *ends)
{
	/* Its address is in a frame below which the wait's lies. */
	volatile int kept __attribute__((cleanup(clean))) = 42;
	waiting = gettid();
	say("woken", wait_by(name, *(int *)ends) < 0 ? "failed" : "ready");
	return NULL;
}

static bool sleeps(void)
{
	char path[64], state = '?';
	snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)waiting);
	FILE *file = fopen(path, "r");
	if (file == NULL || fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		state = '?';
	if (file != NULL)
		fclose(file);
	return state == 'S';
}

int main(int argc, char **argv)
{
	int ends[2];
	pthread_t thread;
	void *result;
	name = argc > 1 ? argv[1] : "poll";
	if (pipe(ends) != 0 || pthread_create(&thread, NULL, waits, ends) != 0)
		return 1;
	while (waiting == 0 || !sleeps())
		usleep(1000);
	pthread_cancel(thread);
	pthread_join(thread, &result);
	say("thread", result == PTHREAD_CANCELED ? "cancelled" : "returned");
	say("cleaned", cleaned == 1 ? "yes" : "no");
	return 0;
}
