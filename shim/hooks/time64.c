/* What programs with 64-bit time call on 32-bit processors (_TIME_BITS=64, glibc 2.34): where a connect is pending, the
 * function of the usual name with the time in its own measure; else their own real one. io.c has sendmsg and recvmsg. */
#include <limits.h>
#include <sys/socket.h>

#include "hooks/pending.h"
#include "hooks/waiting.h"
#include "libc.h"

#if LIBC_TIME64

/* ---- tier 1, the typed pointers to the real functions, are real_NAME() of the runtime ------------- */

/* ---- tier 2: ours --------------------------------------------------------------------------------- */

/* What a time_t of 32 bits cannot hold is 68 years off, or negative and refused. */
static time_t seconds(int64_t s) { return s > INT32_MAX ? INT32_MAX : s < 0 ? -1 : (time_t)s; }

static const struct timespec *narrowed(const struct wide_timespec *wide, struct timespec *narrow)
{
	if (wide == NULL)
		return NULL;
	*narrow = (struct timespec){.tv_sec = seconds(wide->tv_sec), .tv_nsec = wide->tv_nsec};
	return narrow;
}

/* glibc takes whole seconds out of the microseconds, as the kernel does, before it looks at what is left. */
static __attribute__((noinline)) int shim_select64(int count, fd_set *reading, fd_set *writing, fd_set *exceptions,
                                                   struct wide_timeval *wide)
{
	const int64_t us_per_s = 1000000;
	struct timeval narrow = {.tv_sec = -1};
	if (wide != NULL && wide->tv_sec >= 0 && wide->tv_usec >= 0)
		narrow = (struct timeval){.tv_sec = seconds(wide->tv_sec < INT32_MAX ? wide->tv_sec + wide->tv_usec / us_per_s : INT32_MAX),
		                          .tv_usec = (suseconds_t)(wide->tv_usec % us_per_s)};
	int result = select(count, reading, writing, exceptions, wide != NULL ? &narrow : NULL);
	if (wide != NULL && narrow.tv_sec >= 0)
		*wide = (struct wide_timeval){.tv_sec = narrow.tv_sec, .tv_usec = narrow.tv_usec};
	return result;
}

/* ---- tier 3: exported ----------------------------------------------------------------------------- */

#define EXPORT __attribute__((visibility("default")))

int __getsockopt64(int socket, int level, int name, void *value, socklen_t *length);
int __ppoll64(struct pollfd *fds, nfds_t count, const struct wide_timespec *timeout, const sigset_t *mask);
int __select64(int count, fd_set *reading, fd_set *writing, fd_set *exceptions, struct wide_timeval *timeout);
int __pselect64(int count, fd_set *reading, fd_set *writing, fd_set *exceptions, const struct wide_timespec *timeout,
                const sigset_t *mask);
int __epoll_pwait2_time64(int epoll, struct epoll_event *events, int most, const struct wide_timespec *timeout, const sigset_t *mask);

/* The other options than SO_ERROR may hold a time. */
EXPORT int __getsockopt64(int socket, int level, int name, void *value, socklen_t *length)
{
	if (pending_any() && level == SOL_SOCKET && name == SO_ERROR)
		return getsockopt(socket, level, name, value, length);
	return real___getsockopt64()(socket, level, name, value, length);
}

EXPORT int __ppoll64(struct pollfd *fds, nfds_t count, const struct wide_timespec *timeout, const sigset_t *mask)
{
	struct timespec narrow;
	if (pending_any())
		return ppoll(fds, count, narrowed(timeout, &narrow), mask);
	int result = real___ppoll64()(fds, count, timeout, mask);
	const uintptr_t asked[] = {(uintptr_t)fds, count, (uintptr_t)timeout, (uintptr_t)mask};
	return result > 0 && pending_any() ? late_ppoll(result, asked) : result;
}

EXPORT int __select64(int count, fd_set *reading, fd_set *writing, fd_set *exceptions, struct wide_timeval *timeout)
{
	if (pending_any())
		return shim_select64(count, reading, writing, exceptions, timeout);
	int result = real___select64()(count, reading, writing, exceptions, timeout);
	const uintptr_t asked[] = {(uintptr_t)count, (uintptr_t)reading, (uintptr_t)writing};
	return result > 0 && pending_any() ? late_select(result, asked) : result;
}

EXPORT int __pselect64(int count, fd_set *reading, fd_set *writing, fd_set *exceptions, const struct wide_timespec *timeout,
                       const sigset_t *mask)
{
	struct timespec narrow;
	if (pending_any())
		return pselect(count, reading, writing, exceptions, narrowed(timeout, &narrow), mask);
	int result = real___pselect64()(count, reading, writing, exceptions, timeout, mask);
	const uintptr_t asked[] = {(uintptr_t)count, (uintptr_t)reading, (uintptr_t)writing};
	return result > 0 && pending_any() ? late_pselect(result, asked) : result;
}

EXPORT int __epoll_pwait2_time64(int epoll, struct epoll_event *events, int most, const struct wide_timespec *timeout, const sigset_t *mask)
{
	struct timespec narrow;
	if (pending_any())
		return epoll_pwait2(epoll, events, most, narrowed(timeout, &narrow), mask);
	int result = real___epoll_pwait2_time64()(epoll, events, most, timeout, mask);
	const uintptr_t asked[] = {(uintptr_t)epoll, (uintptr_t)events, (uintptr_t)narrowed(timeout, &narrow), (uintptr_t)mask};
	return result > 0 && pending_any() ? late_epoll_pwait2(result, asked) : result;
}

#endif
