/* dlopen(3), where a program hides libcurl from us.
 *
 * RTLD_DEEPBIND puts an object's own dependencies before every preload: PHP loads its extensions so, and
 * nothing of its curl_exec is seen, not even connect(). Where the object needs libcurl itself the flag is
 * left out, and nothing else is touched: other objects may well count on it.
 *
 * The loader looks at dlopen's return address for the caller's RUNPATH and namespace (dl_open_worker in
 * glibc's elf/dl-open.c), so the real one has to be jumped to, with our frame gone; no compiler promises that
 * of C. On other processors dlopen is not interposed.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "libc.h"
#include "retryshim/hooks.h"
#include "retryshim/runtime.h"

#if defined(__x86_64__) || defined(__aarch64__)

/* True if the program itself defines what libcurl would then bind to. Leaves no error for dlerror(3), which
 * dlopen empties anyway. */
static bool would_clash(void)
{
	static const char names[][16] = {"curl_easy_init", "SSL_CTX_new", "gnutls_init"};
	Dl_info own = {.dli_fbase = NULL};
	bool clash = false;
	dladdr((const void *)names, &own); /* our own curl_easy_init is no clash, whatever our file is called */
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		Dl_info info;
		void *found = dlsym(RTLD_DEFAULT, names[i]);
		if (found == NULL || dladdr(found, &info) == 0 || info.dli_fbase == own.dli_fbase)
			continue;
		const char *slash = strrchr(info.dli_fname, '/');
		clash = clash || strncmp(slash != NULL ? slash + 1 : info.dli_fname, "lib", 3) != 0;
	}
	dlerror();
	return clash;
}

static bool drops_deepbind(const char *file)
{
	const struct config *config = engine_config(FAMILY_CURL);
	if (config == NULL || config->deepbind == DEEPBIND_KEEP)
		return false;
	if (config->deepbind == DEEPBIND_DROP)
		return true;
	/* A bare name is the loader's to search for. */
	return file != NULL && strchr(file, '/') != NULL && object_needs(file, "libcurl") && !would_clash();
}

/* Where the stub below jumps to, and with which mode. */
__attribute__((used, visibility("hidden"))) _Atomic(void *) dlopen_real;

/* Stands in if libc has none. */
static void *no_dlopen(const char *file, int mode)
{
	(void)file, (void)mode;
	errno = ENOSYS;
	return NULL;
}

__attribute__((used, visibility("hidden"))) int dlopen_mode(const char *file, int mode)
{
	int saved = errno;
	if (atomic_load_explicit(&dlopen_real, memory_order_relaxed) == NULL) {
		void *real = real_libc_find("dlopen");
		atomic_store_explicit(&dlopen_real, real != NULL ? real : (void *)no_dlopen, memory_order_relaxed);
	}
	if ((mode & RTLD_DEEPBIND) != 0 && drops_deepbind(file))
		mode &= ~RTLD_DEEPBIND;
	errno = saved;
	return mode;
}

#if defined(__x86_64__)
__asm__(".pushsection .text\n"
        ".globl dlopen\n"
        ".type dlopen, @function\n"
        "dlopen:\n"
        "	.cfi_startproc\n"
        "	endbr64\n"
        "	pushq %rdi\n" /* aligns the stack, too */
        "	.cfi_adjust_cfa_offset 8\n"
        "	call dlopen_mode\n"
        "	popq %rdi\n"
        "	.cfi_adjust_cfa_offset -8\n"
        "	movl %eax, %esi\n"
        "	jmp *dlopen_real(%rip)\n"
        "	.cfi_endproc\n"
        ".size dlopen, . - dlopen\n"
        ".popsection\n");
#else
__asm__(".pushsection .text\n"
        ".globl dlopen\n"
        ".type dlopen, %function\n"
        "dlopen:\n"
        "	.cfi_startproc\n"
        "	hint #34\n" /* bti c */
        "	stp x29, x30, [sp, #-32]!\n"
        "	.cfi_def_cfa_offset 32\n"
        "	.cfi_offset x29, -32\n"
        "	.cfi_offset x30, -24\n"
        "	mov x29, sp\n"
        "	str x0, [sp, #16]\n"
        "	bl dlopen_mode\n"
        "	mov w1, w0\n"
        "	ldr x0, [sp, #16]\n"
        "	ldp x29, x30, [sp], #32\n"
        "	.cfi_restore x29\n"
        "	.cfi_restore x30\n"
        "	.cfi_def_cfa_offset 0\n"
        "	adrp x16, dlopen_real\n"
        "	ldr x16, [x16, #:lo12:dlopen_real]\n"
        "	br x16\n"
        "	.cfi_endproc\n"
        ".size dlopen, . - dlopen\n"
        ".popsection\n");
#endif

#endif
