/* Real functions of libc. */
#include <dlfcn.h>
#include <errno.h>

#include "retryshim/runtime.h"

_Thread_local uintptr_t depth_frame __attribute__((tls_model("initial-exec"), visibility("hidden")));

void *real_libc_find(const char *name) { return dlsym(RTLD_NEXT, name); }

/* What a slot starts with. Two threads may both look: they find the same. */
#define FIND(name, missing, parameters, arguments)                            \
	static int find_##name parameters                                           \
	{                                                                           \
		name##_function *real = (name##_function *)real_libc_find(#name);         \
		if (real == NULL) {                                                       \
			errno = ENOSYS;                                                         \
			return missing;                                                         \
		}                                                                         \
		atomic_store_explicit(&real_##name##_slot, real, memory_order_relaxed);   \
		return real arguments;                                                    \
	}                                                                           \
	_Atomic(name##_function *) real_##name##_slot = find_##name;

FIND(connect, -1, (int a, const struct sockaddr *b, socklen_t c), (a, b, c))
FIND(getsockopt, -1, (int a, int b, int c, void *d, socklen_t *e), (a, b, c, d, e))
FIND(poll, -1, (struct pollfd *a, nfds_t b, int c), (a, b, c))
FIND(ppoll, -1, (struct pollfd *a, nfds_t b, const struct timespec *c, const sigset_t *d), (a, b, c, d))
FIND(select, -1, (int a, fd_set *b, fd_set *c, fd_set *d, struct timeval *e), (a, b, c, d, e))
FIND(pselect, -1, (int a, fd_set *b, fd_set *c, fd_set *d, const struct timespec *e, const sigset_t *f), (a, b, c, d, e, f))
FIND(epoll_ctl, -1, (int a, int b, int c, struct epoll_event *d), (a, b, c, d))
FIND(epoll_wait, -1, (int a, struct epoll_event *b, int c, int d), (a, b, c, d))
FIND(epoll_pwait, -1, (int a, struct epoll_event *b, int c, int d, const sigset_t *e), (a, b, c, d, e))
FIND(epoll_pwait2, -1, (int a, struct epoll_event *b, int c, const struct timespec *d, const sigset_t *e), (a, b, c, d, e))
FIND(getaddrinfo, EAI_SYSTEM, (const char *a, const char *b, const struct addrinfo *c, struct addrinfo **d), (a, b, c, d))
