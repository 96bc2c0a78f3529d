/* What `retryshim check` looks at, for check*.c; and for run.c, which asks the first part of it. */
#ifndef RETRYSHIM_CLI_CHECK_H
#define RETRYSHIM_CLI_CHECK_H

#include "cli/findings.h"
#include "cli/program.h"
#include "retryshim/config.h"

/* The object that suits this program: `object`, if nothing is known against it; else another one that is installed
 * beside it, or NULL; to be freed. The findings say what and why. */
char *check_object(const struct program *program, const char *object, struct findings *findings);

/* What stands in the way of any preload, as far as headers tell it: no loader, no libc. True if nothing does. */
bool check_loading(const struct program *program, struct findings *findings);

/* How it reaches the network: reads all its libraries. `seen`: by elf_scan(). */
void check_network(const struct program *program, unsigned seen, const struct config *config, struct findings *findings);

#endif
