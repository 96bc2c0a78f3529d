/* The libc behind the shim: a getaddrinfo() that fails as often as the environment says, and may
 * connect on the way, as a name service module does. Preloaded after the shim. */
#include <dlfcn.h>
#include <netdb.h>
#include <stdatomic.h>

#include "host.h"

typedef int getaddrinfo_function(const char *, const char *, const struct addrinfo *, struct addrinfo **);

static int from_environment(const char *name)
{
	const char *value = getenv(name);
	return value == NULL ? 0 : atoi(value);
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **list)
{
	static _Atomic(int) calls;
	int delay_ms = from_environment("RESOLVER_DELAY_MS");
	if (delay_ms != 0)
		pause_ms(delay_ms);
	if (getenv("RESOLVER_CONNECTS") != NULL)
		connect_once(getenv("RESOLVER_CONNECTS"));
	if (atomic_fetch_add(&calls, 1) < from_environment("RESOLVER_FAILURES")) {
		errno = EIO;
		return EAI_AGAIN;
	}
	return ((getaddrinfo_function *)dlsym(RTLD_NEXT, "getaddrinfo"))(node, service, hints, list);
}
