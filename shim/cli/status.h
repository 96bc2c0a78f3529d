/* What `retryshim status` is made of. For status*.c, and others that show the state file or a name to people.
 *
 * Every byte of the file is another's: names go through status_shown() to a terminal and status_json_string() into
 * JSON, numbers are what the policy makes of the words.
 */
#ifndef RETRYSHIM_CLI_STATUS_H
#define RETRYSHIM_CLI_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "retryshim/config.h"
#include "retryshim/host.h"

/* ---- the file (status_file.c) -------------------------------------------------------------------- */

/* The file that this option (NULL = not given) or the environment names; NULL, after a message, where it is off. *config:
 * the environment's. */
const char *status_path(const char *path, struct config *config);

enum status_file { STATUS_FILE_READ, STATUS_FILE_MISSING, STATUS_FILE_UNUSABLE /* after a message */ };

/* Copies the file. An empty one is read as zeros. */
enum status_file status_file_read(const char *path, struct state *state);

/* Forgets the destinations of this name, as shown or as it stands in the file; NULL: all. *forgotten: how many. */
enum status_file status_file_forget(const char *path, const char *name, int *forgotten);

/* The place's name, terminated; false if no destination is there. */
bool status_name(const struct destination *it, char name[STATE_NAME_BYTES + 1]);

/* ---- the facts (status_facts.c) ------------------------------------------------------------------ */

enum { STATUS_UNKNOWN = -1 }; /* nothing to tell, or the file holds nonsense */

struct status_facts {
	char target[STATE_NAME_BYTES + 1]; /* any bytes */
	enum circuit circuit;
	int failures;        /* operations in a row */
	int64_t probe_in_ms; /* until an operation may probe, 0 = the next one; STATUS_UNKNOWN: closed */
	int64_t tokens_milli, burst_milli; /* thousandths; STATUS_UNKNOWN with RETRY_BUDGET=off */
	int64_t floor_ms;                  /* 0 = none */
	char failure[40];                  /* the latest one's symbol; "" = none */
	int64_t failure_age_ms;            /* or STATUS_UNKNOWN */
	uint64_t attempts, retries, recoveries, exhausted;
};

/* What holds for a destination, by the name of its place. */
typedef const struct config *status_config(const char *name);

/* Fills in what the state knows, the latest failure first. Returns how many. */
int status_facts(status_config *config_of, const struct state *state, struct status_facts facts[STATE_DESTINATIONS]);

const char *status_circuit_name(enum circuit circuit);

/* ---- how they are shown (status_table.c, status_json.c, status_text.c) --------------------------- */

/* A line each under a line of titles; at most `lines` in all, the rest counted in the last one. */
void status_table(const struct status_facts *facts, int count, int lines, bool colours);

/* One object, on one line. */
void status_json(const char *path, const struct status_facts *facts, int count);

/* The text with '?' for what a terminal should not get: control characters, and what is no text in this locale;
 * "-" for an empty one. To be freed. */
char *status_shown(const char *text);

/* Columns of a terminal that a shown text takes. */
int status_width(const char *shown);

/* The text in quotes, on stdout; U+FFFD for each byte that is no UTF-8. */
void status_json_string(const char *text);

#endif
