/* What `retryshim tail` is made of. For tail*.c alone.
 *
 * Every byte of the files is another's: what reaches a terminal has been through status_shown().
 */
#ifndef RETRYSHIM_CLI_TAIL_H
#define RETRYSHIM_CLI_TAIL_H

#include <jansson.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "retryshim/policy.h"

/* ---- an event in words (tail_words.c) ------------------------------------------------------------ */

/* As the text diagnostics say it; what they have no words for, or not all of it, as NAME key=value... To be freed. */
char *tail_words(const json_t *event);

/* A target as target_format() has written it, read back; what is no such text leaves it empty. */
struct target tail_target(const char *text);

/* ---- lines, shown (tail_show.c) ------------------------------------------------------------------ */

struct tail_view {
	const char *programs, *events; /* comma lists of globs; NULL: all */
	const char *targets;           /* as RETRY_HOSTS has them; NULL: all */
	bool others;                   /* lines that hold no event, too */
	bool trace, colours;
};

bool tail_wanted(const struct tail_view *view, const char *line, size_t length);

/* On stdout, if it is wanted. */
void tail_show(const struct tail_view *view, const char *line, size_t length);

/* What was shown arrives now, or the command ends. */
void tail_flush(void);

/* ---- bytes into lines (tail_lines.c) ------------------------------------------------------------- */

/* Many times as long as an event may be: what is longer is none, and its rest not kept. */
enum { TAIL_LINE_BYTES = 65536 };

struct tail_lines {
	size_t length; /* of a line whose end is still to come */
	char text[TAIL_LINE_BYTES];
};

/* Gets a line without its newline. */
typedef void tail_taker(void *context, const char *line, size_t length);

void tail_lines_feed(struct tail_lines *lines, const char *bytes, size_t length, tail_taker *take, void *context);

/* What has no newline is a line all the same: nothing follows. */
void tail_lines_end(struct tail_lines *lines, tail_taker *take, void *context);

/* ---- inputs (tail_input.c, tail_past.c) ---------------------------------------------------------- */

struct tail {
	struct tail_view view;
	bool follow;
	bool from_start; /* `lines` are passed over; else the last `lines` are shown */
	uint64_t lines;
	int inotify; /* -1: none */
	int count;
	struct tail_input *inputs;
};

/* As long as an event may be: its time is among them, and tells it from any other. */
enum { TAIL_MARK_BYTES = 1024 };

/* A regular file is followed by its name. Anything else is read as it comes, to its end; a FIFO that is followed has
 * none. */
struct tail_input {
	const struct tail *tail;
	const char *path; /* "-": standard input */
	bool by_name;
	bool told; /* that it is waited for */
	int fd;    /* -1: not there, or done with */
	int watch; /* of inotify(7), on the file; -1: none */
	dev_t device;
	ino_t inode;
	off_t offset;  /* by_name: read up to here */
	char mark[TAIL_MARK_BYTES]; /* by_name: what stood before it, mark_length of it */
	size_t mark_length;
	struct pollfd *end; /* NULL: not waited for */
	uint64_t skip; /* lines that would be shown are passed over, so many */
	struct tail_lines lines;
};

/* Opens it and shows what the options ask of what it holds. False, after a message, if it cannot be read. */
bool tail_input_begin(struct tail_input *input);

/* True while something may come. */
bool tail_input_live(const struct tail_input *input);

/* By name: shows what is new, in the file and in another one that has taken its name. */
void tail_input_follow(struct tail_input *input);

/* Not by name: shows what is there to be read. */
void tail_input_drain(struct tail_input *input);

/* The lines of [from, to), from a line's start on. Returns where it has ended: before `to` if the file was cut off. */
off_t tail_input_each(struct tail_input *input, off_t from, off_t to, tail_taker *take, void *context);

/* Ends the command: errno is of a read. */
__attribute__((noreturn)) void tail_input_failed(const struct tail_input *input);

/* Where in the first `end` bytes to begin, for the last tail->lines to be shown; sets input->skip. */
off_t tail_past(struct tail_input *input, off_t end);

/* ---- waiting (tail_follow.c) --------------------------------------------------------------------- */

/* Until nothing more can come. */
void tail_follow(struct tail *tail);

#endif
