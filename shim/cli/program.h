/* Which file a command line ends up in: through PATH, the interpreters of scripts, and programs such as env or nice that
 * start another one. Nothing is run. */
#ifndef RETRYSHIM_CLI_PROGRAM_H
#define RETRYSHIM_CLI_PROGRAM_H

#include "cli/elf.h"
#include "cli/findings.h"

struct program {
	char **words;   /* the command line, as it stands at the last step; ends with NULL */
	char *path;     /* the file; NULL: none was found */
	struct elf elf; /* of that file */
	bool is_elf;     /* else it is unknown */
	bool is_unreadable;
	char **set;     /* what env(1) sets on the way, "NAME=value"; ends with NULL, or is NULL */
	bool clears;    /* env -i */
	char *complaint; /* if it cannot be run: one sentence, without the name */
};

/* Follows a command line; what happens on the way is added to `findings`. CLI_OK, CLI_PROGRAM_MISSING or
 * CLI_PROGRAM_UNUSABLE, then with a complaint. program_free() in any case. `object`: the shim's path, or NULL; to see
 * whether it is there behind a chroot. */
int program_follow(char **words, const char *object, struct program *program, struct findings *findings);
void program_free(struct program *program);

/* A variable as the program will have it; NULL: none. */
const char *program_variable(const struct program *program, const char *name);

/* What execvp(3) would run; NULL, errno set, if there is nothing. To be freed. `path`: PATH, or NULL. */
char *program_find(const char *name, const char *path);

/* ---- wrappers (wrapper.c) --------------------------------------------------------------------------- */

/* If the program named words[0], at `path`, starts another one: its words, to be freed with what they point at, and
 * `findings` is told. NULL if it is no such program, or if what it starts is not clear or will not be reached. */
char **wrapper_follow(struct program *program, const char *path, const char *object, struct findings *findings);

/* ---- scripts (script.c) ----------------------------------------------------------------------------- */

/* The interpreter of a `#!` line and its argument, NULL if there is none; both to be freed. False: no such line. */
bool script_interpreter(const char *path, char **interpreter, char **argument);

/* True for a file that execvp(3) hands to /bin/sh, because no kernel takes it. */
bool script_is_text(const char *path);

/* What a shell script does to LD_PRELOAD, and what it becomes in the end. */
void script_inspect(const char *path, struct findings *findings);

bool script_is_shell(const char *interpreter);

/* ---- rights (rights.c) ------------------------------------------------------------------------------ */

/* Adds a finding if the kernel would start this file with other rights than ours: then the loader drops LD_PRELOAD. */
void rights_inspect(const char *path, struct findings *findings);

/* ---- words (wrapper.c) ------------------------------------------------------------------------------ */

/* A new list of words: `before` and then `after`, each of which ends with NULL, or is NULL. For words_free(). */
char **words_joined(char *const *before, char *const *after);
void words_free(char **words);

#endif
