/* A library that opens others on its own behalf: its own RUNPATH and its own folder are what counts. */
#include <dlfcn.h>
#include <stddef.h>

const char *opened_there(const char *name, int mode);

/* "ok", or what dlerror() says. The result is looked at, lest the call becomes a jump. */
const char *opened_there(const char *name, int mode)
{
	void *volatile handle = dlopen(name, mode);
	const char *text = handle == NULL ? dlerror() : "ok";
	return text != NULL ? text : "none";
}
