/* Where C libraries differ: the compiler puts this before every file of shim/ (-include in the Makefile).
 *
 * glibc: the object asks for no symbol that 2.17 does not have, so that one build serves every distribution since then;
 * tests/elf.sh looks. What has moved between its libraries, or has got a new version with the same meaning, is asked
 * for by its first version. What came later is looked up when it is needed (runtime/cancel.c), or done without.
 * musl: no versions of symbols.
 */
#ifndef RETRYSHIM_LIBC_H
#define RETRYSHIM_LIBC_H

/* 32-bit processors: files and inodes as the kernel numbers them; and the names of a program with 64-bit time are
 * hooks of ours (hooks/time64.c), which no header may turn ours into. */
#undef _FILE_OFFSET_BITS
#undef _TIME_BITS
#if !defined(__LP64__)
#define _FILE_OFFSET_BITS 64
#endif

#include <dlfcn.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

_Static_assert(sizeof(off_t) == 8 && sizeof(ino_t) == 8, "the state file is the same for all processes of a host");

/* What the kernel's calls take for a time, whatever libc's is: two longs; on 32-bit processors, since Linux 5.1, also two
 * numbers of 64 bits, by calls of other names. */
struct kernel_time {
	long s, ns;
};

/* The kernel's own time, where a library may show the program another one (libfaketime). False if it is not to be had. */
static inline bool kernel_clock_ns(clockid_t clock, int64_t *now_ns)
{
	const int64_t ns_per_s = 1000000000;
	struct kernel_time now;
#if defined(SYS_clock_gettime64)
	struct {
		int64_t s, ns;
	} wide;
	if (syscall(SYS_clock_gettime64, clock, &wide) == 0) {
		*now_ns = wide.s * ns_per_s + wide.ns;
		return true;
	}
#endif
	if (syscall(SYS_clock_gettime, clock, &now) != 0)
		return false;
	*now_ns = now.s * ns_per_s + now.ns;
	return true;
}

#if defined(__GLIBC__)

/* Glibc before 2.34 has them in libdl, which not every program has loaded: then they are NULL. */
#pragma weak dlsym
#pragma weak dlvsym
#pragma weak dlopen
#pragma weak dlclose
#pragma weak dlerror
#pragma weak dladdr

#define LIBC_FIRST(name, version) __asm__(".symver " #name "," #name "@GLIBC_" version)
#define LIBC_LOADER(version)    \
	LIBC_FIRST(dlsym, version);   \
	LIBC_FIRST(dlclose, version); \
	LIBC_FIRST(dlerror, version); \
	LIBC_FIRST(dladdr, version)

/* LIBC_STAT_VERSION: the number that stands for libc's struct stat. */
#if defined(__x86_64__) && defined(__LP64__)
LIBC_LOADER("2.2.5");
LIBC_FIRST(dlvsym, "2.2.5");
#elif defined(__aarch64__)
LIBC_LOADER("2.17");
LIBC_FIRST(dlvsym, "2.17");
#elif defined(__i386__)
#define LIBC_STAT_VERSION 3
LIBC_LOADER("2.0");
LIBC_FIRST(dlvsym, "2.1");
LIBC_FIRST(dlopen, "2.1");
__asm__(".symver fcntl64,fcntl@GLIBC_2.0");
#elif defined(__arm__)
#define LIBC_STAT_VERSION 3
LIBC_LOADER("2.4");
LIBC_FIRST(dlvsym, "2.4");
LIBC_FIRST(dlopen, "2.4");
__asm__(".symver fcntl64,fcntl@GLIBC_2.4");
#endif

/* Since 2.33 stat(2) and its kin are symbols; before, and still, they are these. Where libc's struct is the kernel's own, the
 * call is that of today's libc: the old one is none that a sandbox expects. */
#if defined(__LP64__) && defined(SYS_newfstatat)
#define stat(path, status) (int)syscall(SYS_newfstatat, AT_FDCWD, path, status, 0)
#define lstat(path, status) (int)syscall(SYS_newfstatat, AT_FDCWD, path, status, AT_SYMLINK_NOFOLLOW)
#define fstat(file, status) (int)syscall(SYS_fstat, file, status)
#elif defined(LIBC_STAT_VERSION)
int __xstat64(int version, const char *path, struct stat *status);
int __lxstat64(int version, const char *path, struct stat *status);
int __fxstat64(int version, int file, struct stat *status);
#define stat(path, status) __xstat64(LIBC_STAT_VERSION, path, status)
#define lstat(path, status) __lxstat64(LIBC_STAT_VERSION, path, status)
#define fstat(file, status) __fxstat64(LIBC_STAT_VERSION, file, status)
#endif

static inline bool libc_has_loader(void) { return dlsym != NULL; }

/* Programs built for 64-bit time on a 32-bit processor call other names. */
#define LIBC_TIME64 (__SIZEOF_LONG__ == 4)

#else

#define dlvsym(where, name, version) dlsym(where, name)
#define RTLD_DEEPBIND 0
static inline bool libc_has_loader(void) { return true; }
#define LIBC_TIME64 0

/* What the fortified names that we export end with; nobody calls them there. */
_Noreturn static inline void __chk_fail(void) { __builtin_trap(); }

#endif
#endif
