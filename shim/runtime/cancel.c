/* pthread_cancel(3), and whether there is anybody to call it.
 *
 * In glibc before 2.34 what serves it is in libpthread, which a program without threads has not loaded: nobody cancels
 * there. */
#include <pthread.h>

#include "retryshim/runtime.h"

/* What is not there is looked for once more each time: libpthread may come with a plugin. */
static void *found_once(_Atomic(void *) *slot, const char *name)
{
	void *found = atomic_load_explicit(slot, memory_order_relaxed);
	if (found == NULL) {
		found = symbol_find(name);
		atomic_store_explicit(slot, found, memory_order_relaxed);
	}
	return found;
}

bool thread_is_alone(void)
{
	/* glibc 2.32 and later; where it is missing there may be threads. */
	static _Atomic(void *) slot;
	const volatile char *single = found_once(&slot, "__libc_single_threaded");
	return single != NULL && *single != 0;
}

void cancel_test(void)
{
	static _Atomic(void *) slot;
	void (*test)(void) = (void (*)(void))found_once(&slot, "pthread_testcancel");
	if (test != NULL)
		test();
}

#if defined(__GLIBC__)

/* What pthread_cleanup_push(3) and pop call, found in time. */
struct registry {
	__typeof__(__pthread_register_cancel) *enter;
	__typeof__(__pthread_unregister_cancel) *leave;
	__typeof__(__pthread_unwind_next) *unwind;
};
#define __pthread_register_cancel(buffer) registry.enter(buffer)
#define __pthread_unregister_cancel(buffer) registry.leave(buffer)
#define __pthread_unwind_next(buffer) registry.unwind(buffer)

static bool find_registry(struct registry *registry)
{
	static _Atomic(void *) slots[3];
	registry->enter = (__typeof__(registry->enter))found_once(&slots[0], "__pthread_register_cancel");
	registry->leave = (__typeof__(registry->leave))found_once(&slots[1], "__pthread_unregister_cancel");
	registry->unwind = (__typeof__(registry->unwind))found_once(&slots[2], "__pthread_unwind_next");
	return registry->enter != NULL && registry->leave != NULL && registry->unwind != NULL;
}

#else

struct registry {
	char unused;
};

static bool find_registry(struct registry *registry)
{
	(void)registry;
	return true;
}

#endif

int cancel_guarded(int (*work)(void *), void (*clean_up)(void *), void *context)
{
	struct registry registry;
	int result;
	if (!find_registry(&registry))
		return work(context);
	pthread_cleanup_push(clean_up, context);
	result = work(context);
	pthread_cleanup_pop(0);
	return result;
}
