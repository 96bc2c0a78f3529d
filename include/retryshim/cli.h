/* The `retryshim` command: its sub-commands, and what they share.
 *
 * A sub-command is one file in shim/cli, with others of its name where it has several subjects, and
 * one row of cli_commands (main.c). It gets its own arguments, argv[0] being its name, and returns
 * the exit status. It answers `--help` itself, so that `retryshim help NAME` works for every row. It
 * may write to stdout without checking: main.c checks the stream at exit, and turns a failed write
 * into CLI_FAILED.
 *
 * Everything here is single-threaded and belongs to a short-lived process: when memory runs out, it
 * says so and exits with CLI_FAILED. Strings that a function returns are the caller's to free.
 */
#ifndef RETRYSHIM_CLI_H
#define RETRYSHIM_CLI_H

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cli_status {
	CLI_OK = 0,
	CLI_FAILED = 1,             /* the work itself failed, such as a write to stdout */
	CLI_USAGE = 2,              /* bad arguments, or an installation that cannot work */
	CLI_PARTLY_REACHED = 1,     /* `retryshim check` */
	CLI_NOT_REACHED = 3,
	CLI_PROGRAM_UNUSABLE = 126, /* as env(1), nohup(1) and POSIX shells have it */
	CLI_PROGRAM_MISSING = 127,
};

struct cli_command {
	const char *name;
	int (*function)(int argc, char **argv);
	const char *help; /* one line */
};

extern const struct cli_command cli_commands[];
extern const size_t cli_command_count;

/* The row of this name, or NULL. */
const struct cli_command *cli_command_find(const char *name);

int cli_run(int argc, char **argv);
int cli_check(int argc, char **argv);
int cli_env(int argc, char **argv);
int cli_status(int argc, char **argv);
int cli_metrics(int argc, char **argv);
int cli_report(int argc, char **argv);
int cli_tail(int argc, char **argv);
int cli_help(int argc, char **argv);
int cli_version(int argc, char **argv);

/* One line "retryshim: ..." on stderr. */
void cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same, and a second line that points at `retryshim COMMAND --help` (COMMAND NULL: at the main
 * one). Returns CLI_USAGE, to be returned in turn. */
int cli_usage_error(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* For a sub-command without options: true if argv asks for help alone. */
bool cli_wants_help(int argc, char **argv);

/* Reads a sub-command's arguments by its table, which answers --help and --usage itself; leaves the process after a message
 * about wrong ones. `name` is "retryshim NAME", with which argp's messages start; it has to last, and may be written to. */
void cli_parse(const struct argp *parser, char *name, unsigned flags, int argc, char **argv, void *input);

bool cli_starts(const char *text, const char *prefix);

/* asprintf() that never fails. */
char *cli_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* `size` zeroed bytes, for free(); never fails either. */
void *cli_allocate(size_t size);

/* "NAME=value" and a newline on stdout, the value quoted for a POSIX shell where it has to be. */
void cli_print_variable(const char *name, const char *value);

/* True if stdout is a terminal that can move its cursor; and if it is to have colours, too. */
bool cli_on_terminal(void);
bool cli_wants_colours(void);

/* An absolute path of the same file; NULL, errno set, if the current directory has no path. */
char *cli_absolute_path(const char *path);

/* A well-formed RETRY_METRICS with the paths of its files made absolute; with the names of its hosts replaced by their
 * addresses, as far as they are found in time: others are named on stderr, and stay. */
char *cli_sinks_absolute(const char *list); /* NULL, errno set, without a current directory */
char *cli_sinks_looked_up(const char *list);

/* "200ms", "1.5s", "2m", "1h", or a bare number of milliseconds. False, *ms untouched, for anything
 * else: a sign, blanks, a part of a millisecond, more than int64_t holds. */
bool cli_duration_read(const char *text, int64_t *ms);

/* The shortest text that cli_duration_read() reads back as `ms` (>= 0), without a point. */
char *cli_duration_text(int64_t ms);

/* Path of libretryshim.so. NULL if there is none that can be read; *looked is then the list of
 * directories, each on an indented line of its own. */
char *cli_find_object(char **looked);

/* The same for programs of this kind: an object that is known to be of it; NULL if there is none. It is looked for in lib32,
 * lib64 and libx32 beside lib, and in the folders below lib and lib/retryshim, too. */
struct elf_kind;
char *cli_find_object_for(const struct elf_kind *kind);

/* True if ld.so(8) can be given this path in LD_PRELOAD, which has no way to quote its separators. */
bool cli_can_preload(const char *object);

/* LD_PRELOAD with `object` (NULL: none) in front of what was there (NULL: nothing). Every libretryshim.so of old
 * is left out, wherever it lies: two copies in one process would retry each other's retries. */
char *cli_preload_value(const char *object, const char *existing);

#endif
