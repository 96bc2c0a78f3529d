/* getsockopt(2): SO_ERROR is where most programs learn how a connect ended. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "hooks/pending.h"

/* ---- tier 1, the typed pointer to the real function, is real_getsockopt() of the runtime --------- */

/* ---- tier 2: ours --------------------------------------------------------------------------------- */

static __attribute__((noinline)) int shim_error(int socket, void *value, socklen_t *length)
{
	int errno_before = errno, error = 0;
	int result = real_getsockopt()(socket, SOL_SOCKET, SO_ERROR, value, length);
	struct pending *entry = pending_of(socket);
	if (result != 0 || thread_held)
		return result;
	/* While a socket is quiet, a duplicate of it must not say that all is well. */
	if (pending_any_failing())
		entry = pending_resolve(socket);
	if (entry == NULL)
		return result;
	size_t size = *length < sizeof error ? *length : sizeof error;
	memcpy(&error, value, size);
	error = pending_error(entry, socket, error);
	memcpy(value, &error, size);
	errno = errno_before;
	return result;
}

/* ---- tier 3: exported ----------------------------------------------------------------------------- */

__attribute__((visibility("default"))) int getsockopt(int socket, int level, int name, void *restrict value, socklen_t *restrict length)
{
	if (pending_any() && level == SOL_SOCKET && name == SO_ERROR)
		return shim_error(socket, value, length);
	return real_getsockopt()(socket, level, name, value, length);
}
