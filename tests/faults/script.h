/* The script: what the server does to each connection or request in turn. */
#ifndef FAULTS_SCRIPT_H
#define FAULTS_SCRIPT_H

#include "text.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STEP_HEADERS_MAX 32
#define STEP_LINES_MAX   64
#define STEP_ERROR_SIZE  256

enum step_kind {
	STEP_ANSWER,
	STEP_RESET,
	STEP_CLOSE,
	STEP_GREET,
	STEP_DIALOG,
	STEP_FORWARD,
	STEP_RESET_AFTER,
	STEP_EMPTY,
	STEP_RESET_MID,
	STEP_PARTIAL_HEADER,
	STEP_PARTIAL_BODY,
	STEP_HANG,
	STEP_KINDS
};

struct step_header {
	const char *name;
	struct bytes value;
	int64_t date_in_ns; /* the value is the HTTP date this far in the future; -1 = it is `value` */
};

/* Texts point into `storage`. A number that was not given is -1, a duration 0. */
struct step {
	char *storage;
	const char *name; /* "503", "reset": as the log tells it */
	enum step_kind kind;
	int status; /* of an answer */
	struct step_header headers[STEP_HEADERS_MAX];
	size_t header_count;
	struct bytes lines[STEP_LINES_MAX]; /* of a dialogue; of a greeting, its only one */
	size_t line_count;
	const char *host, *port; /* of forward */
	struct bytes reason, body; /* data is NULL when not given */
	int64_t size, offset;      /* bytes of the made body; where in the pattern it starts */
	int64_t bytes;             /* how much is sent before the fault, or read for reset-mid */
	int64_t piece;
	int64_t interim; /* status of the block sent first */
	int64_t delay_ns, gap_ns, slow_ns;
	int64_t for_ns;                /* of hang; -1 = until the client closes */
	int64_t chunked, close, reset; /* 1 = yes */
};

struct script {
	pthread_mutex_t lock;
	struct step *steps;
	size_t count;
	size_t next;
};

/* Adds the step that `text` describes. False, with a message of at most STEP_ERROR_SIZE bytes in
 * `error`, if it describes none. Steps live as long as the process. */
bool script_add(struct script *script, const char *text, char *error);

/* The next step, for a request; the last one for ever once they are used up. */
const struct step *script_take(struct script *script);

/* The same at accept: NULL, and nothing taken, unless the next step is of the connection level. */
const struct step *script_take_at_accept(struct script *script);

/* All steps and modifiers, for people: on the heap, the caller frees; NULL without memory. */
char *script_help(void);

#endif
