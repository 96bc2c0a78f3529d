/* Rules: a configuration file, for where no environment is set, and for settings by destination.
 *
 *     # comment
 *     max_attempts = 5                    the global section: before the first header
 *     [db.internal:5432, 10.0.0.0/8]      a section: destinations as in RETRY_HOSTS
 *     max_attempts = 10
 *
 * A setting is a variable in lower case without RETRY_. An empty value stands for the variable's default. Of two
 * lines of the same name in a section the later one counts; of sections that match a destination the first one.
 *
 * Pure, like the rest of the policy: reading the file is the caller's.
 */
#ifndef RETRYSHIM_RULES_H
#define RETRYSHIM_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "retryshim/config.h"
#include "retryshim/policy.h"

enum {
	RULES_BYTES = 65536,   /* of a file */
	RULES_SECTIONS = 64,   /* with the global one, number 0 */
	RULES_SETTINGS = 1024, /* in all sections together */
};

struct rules {
	int sections; /* at least 1 once rules_read() was called */
	const char *patterns[RULES_SECTIONS];
	int settings;
	struct rule {
		uint16_t variable; /* index into config_variables */
		uint16_t section;
		const char *value;
	} setting[RULES_SETTINGS];
};

/* What is wrong with a line; rules_fault_text() says it as the end of "LINE is not used (...)". */
enum rules_fault {
	FAULT_NO_SETTING,  /* neither "name = value" nor a header */
	FAULT_NAME,        /* no variable is called so */
	FAULT_VALUE,       /* the variable does not take this value */
	FAULT_ENVIRONMENT, /* means something in the environment only */
	FAULT_PROCESS,     /* in a section, and means something for a whole process only */
	FAULT_PATTERNS,    /* of a header */
	FAULT_MANY,        /* sections or settings */
	RULES_FAULTS,
};

/* Told of each line that is skipped. `what`: the name or the header, as it stands there. The lines below a skipped
 * header are skipped with it, untold. */
typedef void rules_complaint(void *context, int line, const char *what, enum rules_fault fault);

/* Reads a file's text (length bytes, without NUL, and text[length] is one), cutting it into the strings that *rules points
 * at from then on. complain may be NULL. Never fails. */
void rules_read(struct rules *rules, char *text, size_t length, rules_complaint *complain, void *context);

const char *rules_fault_text(enum rules_fault fault);

/* The section that counts for this destination; 0 = the global one alone. */
int rules_section(const struct rules *rules, const struct target *target);

/* Whose value of a variable counts, from the last word to the first. */
enum rules_origin { ORIGIN_SECTION, ORIGIN_ENVIRONMENT, ORIGIN_GLOBAL, ORIGIN_DEFAULT };

/* The value of this variable that counts in this section; NULL with ORIGIN_DEFAULT. `environment`: the variable's own value
 * there, NULL = not set; a malformed one does not count. origin may be NULL. */
const char *rules_value(const struct rules *rules, int section, const struct config_variable *variable, const char *environment,
                        enum rules_origin *origin);

#endif
