/* What the RETRY_* variables and the configuration file come to, for a program that would be started now. */
#ifndef RETRYSHIM_CLI_SETTINGS_H
#define RETRYSHIM_CLI_SETTINGS_H

#include "retryshim/rules.h"
#include "retryshim/runtime.h"

/* What is wrong with a line (0: with the whole file), or NULL. */
struct settings_complaint {
	int line;
	char *what, *why;
};

struct cli_settings {
	const char *path; /* of the file; NULL: there is none, or none is wanted */
	struct rules rules;
	struct settings_complaint *complaints;
	int count;
	char text[RULES_BYTES + 1];
};

/* By this environment and its file. The result lives as long as the process. */
const struct cli_settings *cli_settings(void);

/* The value of a variable that holds for a destination (NULL: for none that a section is about), and whose it is. NULL with
 * ORIGIN_DEFAULT. */
const char *cli_settings_value(const struct target *target, const struct config_variable *variable, enum rules_origin *origin);

/* All of them. */
void cli_settings_config(const struct target *target, struct config *config);

#endif
