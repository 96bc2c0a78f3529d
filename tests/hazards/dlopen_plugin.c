/* What dlopens.c opens. Compiled as it is, or with one of
 *   LACKS       it calls a function that nobody has
 *   NESTS=NAME  its constructor opens NAME
 *   TRACES      its constructor tells who called it, and uses the stack as only an aligned one can be used
 *   LEAVES      its constructor ends the thread */
#include <dlfcn.h>
#include <execinfo.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

int contested(void);
int asks(void);
int missing_function(void);

/* The program has one of this name, too; which one asks() gets is what RTLD_DEEPBIND decides. */
int contested(void) { return 2; }
int asks(void) { return contested(); }

#ifdef LACKS
int lacks(void);
int lacks(void) { return missing_function(); }
#endif

#ifdef NESTS
__attribute__((constructor)) static void nest(void)
{
	void *handle = dlopen(NESTS, RTLD_NOW | RTLD_DEEPBIND);
	int (*inner)(void) = handle != NULL ? (int (*)(void))dlsym(handle, "asks") : NULL;
	printf("nested=%d\n", inner != NULL ? inner() : -1);
}
#endif

#ifdef TRACES
/* Every frame's object and function: a hook that is still on the stack would be one of them. */
static void tell_frames(void)
{
	void *frames[64];
	int count = backtrace(frames, 64);
	for (int i = 0; i < count; i++) {
		Dl_info info;
		const char *file = dladdr(frames[i], &info) != 0 ? strrchr(info.dli_fname, '/') : NULL;
		printf("frame=%s\n", file != NULL ? file : "?");
	}
}

__attribute__((constructor)) static void trace(void)
{
	volatile __attribute__((aligned(16))) double numbers[2] = {1.5, 2.25};
	printf("numbers=%.3f %.3f\n", numbers[0], numbers[1]);
	printf("misaligned=%d\n", (int)((uintptr_t)__builtin_frame_address(0) & 15));
	tell_frames();
}
#endif

#ifdef LEAVES
__attribute__((constructor)) static void leave(void) { pthread_exit(NULL); }
#endif
