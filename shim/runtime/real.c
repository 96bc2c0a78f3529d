/* Real functions of libc. */
#include <dlfcn.h>

#include "retryshim/runtime.h"

_Thread_local uintptr_t depth_frame __attribute__((tls_model("initial-exec"), visibility("hidden")));

void *real_libc(_Atomic(void *) *slot, const char *name)
{
	void *function = atomic_load_explicit(slot, memory_order_relaxed);
	if (__builtin_expect(function == NULL, 0)) {
		/* Two threads may both look: they find the same. */
		function = dlsym(RTLD_NEXT, name);
		atomic_store_explicit(slot, function, memory_order_relaxed);
	}
	return function;
}
