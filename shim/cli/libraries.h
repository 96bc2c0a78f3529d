/* The libraries that a program is linked with, found as its loader would find them.
 *
 * By reading, not by asking the loader (LD_TRACE_LOADED_OBJECTS=1): the loader is a program that the file itself names, and
 * would run with its rights. */
#ifndef RETRYSHIM_CLI_LIBRARIES_H
#define RETRYSHIM_CLI_LIBRARIES_H

#include "cli/elf.h"

struct library {
	char *name; /* as it is asked for */
	char *path; /* NULL: it was not found */
	struct elf elf;
	const struct library *parent; /* which asked for it first; NULL: the program */
	struct library *next;
};

/* All of them, direct ones first; at most 1024. `search`: LD_LIBRARY_PATH, or NULL. To be freed. */
struct library *libraries_find(const char *program, const struct elf *elf, const char *search);
void libraries_free(struct library *libraries);

/* ld.so.cache (libraries_cache.c). Calls `takes` for each path that it has for this name until one is taken: that one,
 * to be freed, or NULL. */
char *libraries_cached(const char *name, bool (*takes)(const char *path, void *context), void *context);

#endif
