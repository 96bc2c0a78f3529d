/* Preloaded behind the shim: tells with which flags dlopen() came on, and passes it on itself. */
#include <dlfcn.h>
#include <stdio.h>

void *dlopen(const char *name, int mode)
{
	void *(*next)(const char *, int) = (void *(*)(const char *, int))dlsym(RTLD_NEXT, "dlopen");
	printf("mode=0x%x\n", (unsigned)mode);
	fflush(stdout);
	return next(name, mode);
}
