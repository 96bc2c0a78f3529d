/* A preload behind the shim: the first INJECT_COUNT connects to INJECT_PORT fail with INJECT_ERRNO, as the
 * kernel's do that no test can provoke. */
#include <dlfcn.h>

#include "host.h"

int connect(int fd, const struct sockaddr *address, socklen_t length)
{
	static _Atomic(int) failed;
	const struct sockaddr_in *to = (const struct sockaddr_in *)address;
	const char *count = getenv("INJECT_COUNT"), *error = getenv("INJECT_ERRNO"), *port = getenv("INJECT_PORT");
	if (count != NULL && error != NULL && port != NULL && address->sa_family == AF_INET &&
	    ntohs(to->sin_port) == atoi(port) && failed < atoi(count)) {
		failed++;
		errno = atoi(error);
		return -1;
	}
	return ((int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "connect"))(fd, address, length);
}
