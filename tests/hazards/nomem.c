/* Preloaded behind the shim: an allocator that fails when the program says so. */
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

_Atomic(int) nomem_failing;

/* glibc's own, under the names that are not interposed. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *pointer, size_t size);

#define UNLESS_FAILING(call) (nomem_failing == 0 ? (call) : (errno = ENOMEM, (void *)NULL))

void *malloc(size_t size) { return UNLESS_FAILING(__libc_malloc(size)); }

void *calloc(size_t count, size_t size) { return UNLESS_FAILING(__libc_calloc(count, size)); }

void *realloc(void *pointer, size_t size) { return UNLESS_FAILING(__libc_realloc(pointer, size)); }
