/* A program with a malloc of its own: it counts, it can fail, and it can connect. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>

#include "host.h"

static _Atomic(long) calls;
static _Atomic(int) failing;
static const char *_Atomic port_to_try;
static int error_inside = -1;

/* Never gives back: these programs are short. */
static char pool[1 << 22];
static _Atomic(size_t) used;

void *malloc(size_t size)
{
	atomic_fetch_add(&calls, 1);
	const char *port = atomic_exchange(&port_to_try, NULL);
	if (port != NULL)
		error_inside = connect_and_read(port);
	if (atomic_load(&failing)) {
		errno = ENOMEM;
		return NULL;
	}
	size = (size + 31) & ~(size_t)15;
	size_t at = atomic_fetch_add(&used, size);
	if (at + size > sizeof pool)
		return NULL;
	*(size_t *)(void *)(pool + at) = size - 16;
	return pool + at + 16;
}

void free(void *pointer) { (void)pointer; }

void *calloc(size_t count, size_t size) { return malloc(count * size); /* fresh, so all zero */ }

void *realloc(void *pointer, size_t size)
{
	void *fresh = malloc(size);
	if (pointer == NULL || fresh == NULL)
		return fresh;
	size_t old = *(size_t *)(void *)((char *)pointer - 16);
	return memcpy(fresh, pointer, old < size ? old : size);
}

/* stdio has its buffer before anything is counted. */
static void settle(void) { say("started", "yes"); }

/* PORT: how much the whole life of a process allocates, and one connect of it. */
static int counts(char **arguments)
{
	long in_start = atomic_load(&calls);
	settle();
	long at = atomic_load(&calls);
	int error = connect_and_read(arguments[0]);
	long in_connect = atomic_load(&calls) - at;
	say("connect", error_name(error));
	say_number("in_start", in_start);
	say_number("in_connect", in_connect);
	return 0;
}

/* PORT: no memory at all, from before the first failure. */
static int fails(char **arguments)
{
	settle();
	atomic_store(&failing, 1);
	int error = connect_and_read(arguments[0]);
	atomic_store(&failing, 0);
	say("connect", error_name(error));
	return 0;
}

/* PORT: a malloc that connects, once. */
static int connects(char **arguments)
{
	struct descriptors before;
	settle();
	descriptors_read(&before);
	atomic_store(&port_to_try, arguments[0]);
	void *volatile memory = malloc(10);
	say("malloc", memory != NULL ? "ok" : "failed");
	say("connect", error_name(error_inside));
	say_descriptors(&before);
	return 0;
}

/* ---- how much stack a failing connect needs ----------------------------------------------------- */

static const char *thread_port;

static void *connects_here(void *result)
{
	*(int *)result = connect_once(thread_port);
	return NULL;
}

static char *paint(size_t size)
{
	char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (stack == MAP_FAILED)
		broken("mmap");
	memset(stack, 0x5a, size);
	return stack;
}

static int run_thread(char *stack, size_t size)
{
	pthread_t thread;
	pthread_attr_t attributes;
	int error = -1;
	pthread_attr_init(&attributes);
	if (pthread_attr_setstack(&attributes, stack, size) != 0 ||
	    pthread_create(&thread, &attributes, connects_here, &error) != 0)
		broken("thread");
	pthread_join(thread, NULL);
	return error;
}

/* PORT BYTES: connects on a thread with this stack, and says how much of it was touched. */
static int stack(char **arguments)
{
	size_t size = (size_t)atoi(arguments[1]), untouched = 0;
	char *bottom = paint(size);
	thread_port = arguments[0];
	int error = run_thread(bottom, size);
	while (untouched < size && bottom[untouched] == 0x5a)
		untouched++;
	say("connect", error_name(error));
	say_number("touched", (long)(size - untouched));
	say_number("left", (long)untouched);
	return 0;
}

static const struct scenario scenarios[] = {
	{"counts", counts}, {"fails", fails}, {"connects", connects}, {"stack", stack}};

int main(int argc, char **argv) { return RUN_SCENARIO(scenarios, argc, argv); }
