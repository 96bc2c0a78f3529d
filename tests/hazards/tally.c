/* Preloaded behind the shim: counts the connect() calls that reach the C library. */
#include <dlfcn.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <stddef.h>

static _Atomic(long) connects;

long tally_connects(void);
long tally_connects(void) { return connects; }

int connect(int file, const struct sockaddr *address, socklen_t length)
{
	static _Atomic(void *) next;
	if (next == NULL)
		next = dlsym(RTLD_NEXT, "connect");
	connects++;
	return ((int (*)(int, const struct sockaddr *, socklen_t))next)(file, address, length);
}
