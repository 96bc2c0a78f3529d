/* The options of `retryshim run` that stand for a variable each. For run.c and options.c alone. */
#ifndef RETRYSHIM_CLI_OPTIONS_H
#define RETRYSHIM_CLI_OPTIONS_H

#include "retryshim/config.h"

/* How an option's argument becomes its variable's value. */
enum argument_form {
	FORM_FLAG,         /* no argument: run_option.flag is the value */
	FORM_PLAIN,        /* as it is written */
	FORM_DURATION,     /* 1.5s -> 1500 */
	FORM_PATH,         /* made absolute: the program may change its directory */
	FORM_PATH_OR_WORD, /* the same, except for the word in run_option.flag */
	FORM_SINKS,        /* a comma list, its files made absolute */
};

struct run_option {
	const char *section; /* heading of the help, at the first option under it; else NULL */
	const char *name;    /* without the dashes */
	const char *variable;
	enum argument_form form;
	const char *argument; /* how the help writes it; NULL for FORM_FLAG */
	const char *flag;
};

enum { RUN_OPTIONS = 36 };
extern const struct run_option run_options[RUN_OPTIONS];

/* Index of the option that sets this variable, or -1. */
int run_option_for(const char *variable);

/* What `argument` (unused for FORM_FLAG) puts into the variable; to be freed. If it is refused,
 * NULL, and *complaint is one sentence that says what is allowed; to be freed as well. */
char *run_option_value(const struct run_option *option, const char *argument, char **complaint);

/* The option's line in the help, with its default and its variable; to be freed. */
char *run_option_help(const struct run_option *option);

#endif
