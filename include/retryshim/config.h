/* Configuration: the RETRY_* variables, parsed and checked.
 *
 * Pure: config_parse() reads the values that its caller looked up, writes one struct config, and
 * touches nothing else. One table (config_variables) serves the parser, the diagnostics about bad
 * values and the command line tool.
 */
#ifndef RETRYSHIM_CONFIG_H
#define RETRYSHIM_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum jitter { JITTER_FULL, JITTER_EQUAL, JITTER_DECORRELATED, JITTER_NONE, JITTER_FACTOR };
enum unix_mode { UNIX_BUSY, UNIX_ALL, UNIX_OFF };
enum breaker_mode { BREAKER_PASS, BREAKER_REJECT, BREAKER_OFF };
enum deepbind { DEEPBIND_AUTO, DEEPBIND_KEEP, DEEPBIND_DROP };
enum diag_format { DIAG_TEXT, DIAG_JSON };

/* A value kept as text. It points into memory that outlives the config (the captured environment);
 * "" when unset, never NULL after config_parse(). */
typedef const char *config_text;

/* HTTP statuses 400..599, a bit each: bit 0 of word 0 is status 400. */
struct status_set {
	uint64_t bits[4];
};

struct config {
	int64_t enabled;
	config_text file; /* the configuration file: a path, "off", or "" for the standard one */
	int64_t max_attempts; /* the first one included */
	int64_t base_delay_ms;
	int64_t max_delay_ms;
	double multiplier;
	int64_t jitter;       /* enum jitter */
	double jitter_factor; /* of JITTER_FACTOR: 0..1 */
	int64_t timeout_ms;   /* one operation; 0 = no bound */
	struct status_set http_status;
	config_text methods;
	config_text hosts, skip_hosts;
	config_text programs, skip_programs;
	int64_t nonblock, dns, curl;
	int64_t unix_mode; /* enum unix_mode */
	int64_t deepbind;  /* enum deepbind */
	int64_t resume;
	config_text state; /* a path, "off", or "" for the default path */
	int64_t budget;
	double budget_burst, budget_ratio, budget_per_sec;
	int64_t breaker; /* enum breaker_mode */
	int64_t breaker_threshold;
	int64_t breaker_open_ms;
	config_text fallback;
	config_text metrics;
	config_text metrics_namespace;
	config_text operation; /* "" = the hook's name */
	int64_t diag;
	config_text diag_file, diag_dir;
	int64_t diag_format; /* enum diag_format */
	int64_t seed;        /* -1 = none */
};

/* What a value of a variable must look like. */
enum config_kind {
	KIND_BOOL,     /* 0 or 1; also on/off, true/false, yes/no */
	KIND_INTEGER,  /* min..max */
	KIND_REAL,     /* min..max, a decimal point whatever the locale */
	KIND_CHOICE,   /* one word of choices, in the order of its enum */
	KIND_JITTER,   /* a word of choices, or a factor 0..1 */
	KIND_STATUSES, /* comma list of 400..599 */
	KIND_TOKENS,   /* comma list of HTTP tokens */
	KIND_HOSTS,    /* comma list of host patterns, see match_host() */
	KIND_GLOBS,    /* comma list of name globs */
	KIND_FALLBACK, /* comma list of host:port=host:port */
	KIND_SINKS,    /* comma list of metrics sinks */
	KIND_TEXT,     /* anything printable */
};

/* For what it can differ; in a configuration file (rules.h). */
enum config_scope {
	SCOPE_DESTINATION,
	SCOPE_PROCESS,     /* not in a section of a file */
	SCOPE_ENVIRONMENT, /* nowhere in a file */
};

enum { CONFIG_CHOICES = 40, CONFIG_HELP = 132 };

/* Fixed arrays, not pointers: a pointer here is a relocation in every process that loads us. */
struct config_variable {
	char name[28];
	enum config_kind kind;
	enum config_scope scope;
	size_t offset;                /* of its field in struct config */
	double minimum, maximum;      /* KIND_INTEGER, KIND_REAL */
	char choices[CONFIG_CHOICES]; /* KIND_CHOICE, KIND_JITTER: "a|b|c" */
	char fallback[44];            /* the default, in the variable's own syntax */
	char help[CONFIG_HELP];       /* one line for people */
};

extern const struct config_variable config_variables[];
extern const size_t config_variable_count;

/* Looks a variable's value up by its full name; NULL if it is not set. */
typedef const char *config_lookup(void *context, const char *name);

/* Told of each value that was refused. `used` is the default that stands instead. */
typedef void config_complaint(void *context, const char *name, const char *value, const char *used);

/* Fills *config from the variables that `lookup` finds. Unset and empty variables take their
 * default; so do malformed ones, each told to `complain` (which may be NULL). Never fails. Texts in
 * *config point at the looked-up values or at constants: the values must stay where they are. */
void config_parse(struct config *config, config_lookup *lookup, void *lookup_context,
                  config_complaint *complain, void *complain_context);

/* True if `value` is well-formed for `variable`; what config_parse() would accept. */
bool config_accepts(const struct config_variable *variable, const char *value);

/* The variable of this name ("RETRY_..."), or NULL. */
const struct config_variable *config_find(const char *name);

bool status_set_has(const struct status_set *set, long status);

#endif
