/* Real functions of libc. */
#include <dlfcn.h>
#include <errno.h>

#include "retryshim/runtime.h"
#include "libc.h"

_Thread_local uintptr_t depth_frame __attribute__((tls_model("initial-exec"), visibility("hidden")));

void *real_libc_find(const char *name) { return libc_has_loader() ? dlsym(RTLD_NEXT, name) : symbol_find_next(name); }

/* What a slot starts with. Two threads may both look: they find the same. */
#define FIND(type, name, missing, parameters, arguments)                      \
	static type find_##name parameters                                          \
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

FIND(int, connect, -1, (int a, const struct sockaddr *b, socklen_t c), (a, b, c))
FIND(int, getsockopt, -1, (int a, int b, int c, void *d, socklen_t *e), (a, b, c, d, e))
FIND(int, poll, -1, (struct pollfd *a, nfds_t b, int c), (a, b, c))
FIND(int, ppoll, -1, (struct pollfd *a, nfds_t b, const struct timespec *c, const sigset_t *d), (a, b, c, d))
FIND(int, select, -1, (int a, fd_set *b, fd_set *c, fd_set *d, struct timeval *e), (a, b, c, d, e))
FIND(int, pselect, -1, (int a, fd_set *b, fd_set *c, fd_set *d, const struct timespec *e, const sigset_t *f), (a, b, c, d, e, f))
FIND(int, epoll_ctl, -1, (int a, int b, int c, struct epoll_event *d), (a, b, c, d))
FIND(int, epoll_wait, -1, (int a, struct epoll_event *b, int c, int d), (a, b, c, d))
FIND(int, epoll_pwait, -1, (int a, struct epoll_event *b, int c, int d, const sigset_t *e), (a, b, c, d, e))
FIND(int, epoll_pwait2, -1, (int a, struct epoll_event *b, int c, const struct timespec *d, const sigset_t *e), (a, b, c, d, e))
FIND(ssize_t, send, -1, (int a, const void *b, size_t c, int d), (a, b, c, d))
FIND(ssize_t, sendto, -1, (int a, const void *b, size_t c, int d, const struct sockaddr *e, socklen_t f), (a, b, c, d, e, f))
FIND(ssize_t, sendmsg, -1, (int a, const struct msghdr *b, int c), (a, b, c))
FIND(ssize_t, write, -1, (int a, const void *b, size_t c), (a, b, c))
FIND(ssize_t, writev, -1, (int a, const struct iovec *b, int c), (a, b, c))
FIND(ssize_t, recv, -1, (int a, void *b, size_t c, int d), (a, b, c, d))
FIND(ssize_t, recvfrom, -1, (int a, void *b, size_t c, int d, struct sockaddr *e, socklen_t *f), (a, b, c, d, e, f))
FIND(ssize_t, recvmsg, -1, (int a, struct msghdr *b, int c), (a, b, c))
FIND(ssize_t, read, -1, (int a, void *b, size_t c), (a, b, c))
FIND(ssize_t, readv, -1, (int a, const struct iovec *b, int c), (a, b, c))
FIND(ssize_t, __read_chk, -1, (int a, void *b, size_t c, size_t d), (a, b, c, d))
FIND(ssize_t, __recv_chk, -1, (int a, void *b, size_t c, size_t d, int e), (a, b, c, d, e))
FIND(ssize_t, __recvfrom_chk, -1, (int a, void *b, size_t c, size_t d, int e, struct sockaddr *f, socklen_t *g), (a, b, c, d, e, f, g))
FIND(int, getaddrinfo, EAI_SYSTEM, (const char *a, const char *b, const struct addrinfo *c, struct addrinfo **d), (a, b, c, d))

#if LIBC_TIME64
FIND(int, __getsockopt64, -1, (int a, int b, int c, void *d, socklen_t *e), (a, b, c, d, e))
FIND(int, __ppoll64, -1, (struct pollfd *a, nfds_t b, const struct wide_timespec *c, const sigset_t *d), (a, b, c, d))
FIND(int, __select64, -1, (int a, fd_set *b, fd_set *c, fd_set *d, struct wide_timeval *e), (a, b, c, d, e))
FIND(int, __pselect64, -1, (int a, fd_set *b, fd_set *c, fd_set *d, const struct wide_timespec *e, const sigset_t *f), (a, b, c, d, e, f))
FIND(int, __epoll_pwait2_time64, -1, (int a, struct epoll_event *b, int c, const struct wide_timespec *d, const sigset_t *e), (a, b, c, d, e))
FIND(ssize_t, __sendmsg64, -1, (int a, const struct msghdr *b, int c), (a, b, c))
FIND(ssize_t, __recvmsg64, -1, (int a, struct msghdr *b, int c), (a, b, c))
#endif
