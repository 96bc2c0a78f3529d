/* Real functions of libc. */
#include <dlfcn.h>

#include "retryshim/runtime.h"

_Thread_local uintptr_t depth_frame __attribute__((tls_model("initial-exec"), visibility("hidden")));

_Atomic(void *) real_connect_slot __attribute__((visibility("hidden")));
_Atomic(void *) real_poll_slot __attribute__((visibility("hidden")));
_Atomic(void *) real_getsockopt_slot __attribute__((visibility("hidden")));

void *real_libc_find(_Atomic(void *) *slot, const char *name)
{
	/* Two threads may both look: they find the same. */
	void *function = dlsym(RTLD_NEXT, name);
	atomic_store_explicit(slot, function, memory_order_relaxed);
	return function;
}
