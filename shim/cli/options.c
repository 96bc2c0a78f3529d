/* The table of options, and how an argument becomes a variable's value. */
#include "cli/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "retryshim/cli.h"

/* In the order of config_variables[] as far as the help's sections allow. RETRY_ENABLED has no
 * option: whoever wants none of this runs the program without `retryshim run`. */
const struct run_option run_options[RUN_OPTIONS] = {
	{"Attempts and backoff:", "attempts", "RETRY_MAX_ATTEMPTS", FORM_PLAIN, "N", NULL},
	{NULL, "base-delay", "RETRY_BASE_DELAY_MS", FORM_DURATION, "DUR", NULL},
	{NULL, "max-delay", "RETRY_MAX_DELAY_MS", FORM_DURATION, "DUR", NULL},
	{NULL, "multiplier", "RETRY_MULTIPLIER", FORM_PLAIN, "X", NULL},
	{NULL, "jitter", "RETRY_JITTER", FORM_PLAIN, "J", NULL},
	{NULL, "timeout", "RETRY_TIMEOUT_MS", FORM_DURATION, "DUR", NULL},
	{NULL, "fallback", "RETRY_FALLBACK", FORM_PLAIN, "LIST", NULL},
	{NULL, "seed", "RETRY_SEED", FORM_PLAIN, "N", NULL},
	{"What is retried:", "http-status", "RETRY_HTTP_STATUS", FORM_PLAIN, "LIST", NULL},
	{NULL, "methods", "RETRY_METHODS", FORM_PLAIN, "LIST", NULL},
	{NULL, "hosts", "RETRY_HOSTS", FORM_PLAIN, "LIST", NULL},
	{NULL, "skip-hosts", "RETRY_SKIP_HOSTS", FORM_PLAIN, "LIST", NULL},
	{NULL, "programs", "RETRY_PROGRAMS", FORM_PLAIN, "LIST", NULL},
	{NULL, "skip-programs", "RETRY_SKIP_PROGRAMS", FORM_PLAIN, "LIST", NULL},
	{NULL, "no-nonblock", "RETRY_NONBLOCK", FORM_FLAG, NULL, "0"},
	{NULL, "no-dns", "RETRY_DNS", FORM_FLAG, NULL, "0"},
	{NULL, "no-curl", "RETRY_CURL", FORM_FLAG, NULL, "0"},
	{NULL, "unix", "RETRY_UNIX", FORM_PLAIN, "MODE", NULL},
	{NULL, "deepbind", "RETRY_DEEPBIND", FORM_PLAIN, "MODE", NULL},
	{NULL, "resume", "RETRY_RESUME", FORM_FLAG, NULL, "1"},
	{"Politeness, shared by all processes of the host:", "state", "RETRY_STATE", FORM_PATH_OR_WORD, "FILE|off", "off"},
	{NULL, "no-budget", "RETRY_BUDGET", FORM_FLAG, NULL, "off"},
	{NULL, "budget-burst", "RETRY_BUDGET_BURST", FORM_PLAIN, "X", NULL},
	{NULL, "budget-ratio", "RETRY_BUDGET_RATIO", FORM_PLAIN, "X", NULL},
	{NULL, "budget-per-sec", "RETRY_BUDGET_PER_SEC", FORM_PLAIN, "X", NULL},
	{NULL, "breaker", "RETRY_BREAKER", FORM_PLAIN, "MODE", NULL},
	{NULL, "breaker-threshold", "RETRY_BREAKER_THRESHOLD", FORM_PLAIN, "N", NULL},
	{NULL, "breaker-open", "RETRY_BREAKER_OPEN_MS", FORM_DURATION, "DUR", NULL},
	{"Metrics:", "metrics", "RETRY_METRICS", FORM_SINKS, "LIST", NULL},
	{NULL, "metrics-namespace", "RETRY_METRICS_NAMESPACE", FORM_PLAIN, "NAME", NULL},
	{NULL, "operation", "RETRY_OPERATION", FORM_PLAIN, "NAME", NULL},
	{"Settings by destination:", "config", "RETRY_CONFIG", FORM_PATH_OR_WORD, "FILE|off", "off"},
	{"Diagnostics:", "diag", "RETRY_DIAG", FORM_FLAG, NULL, "1"},
	{NULL, "diag-file", "RETRY_DIAG_FILE", FORM_PATH, "FILE", NULL},
	{NULL, "diag-dir", "RETRY_DIAG_DIR", FORM_PATH, "DIR", NULL},
	{NULL, "diag-format", "RETRY_DIAG_FORMAT", FORM_PLAIN, "text|json", NULL},
};

int run_option_for(const char *variable)
{
	for (int i = 0; i < RUN_OPTIONS; i++)
		if (strcmp(run_options[i].variable, variable) == 0)
			return i;
	return -1;
}

/* The words of a choice, for people: "a|b|c" -> "a, b or c". */
static char *choice_words(const char *choices)
{
	char *words = cli_format("%.*s", (int)strcspn(choices, "|"), choices);
	for (choices += strcspn(choices, "|"); *choices == '|';) {
		size_t length = strcspn(++choices, "|");
		const char *separator = choices[length] == '|' ? ", " : " or ";
		char *longer = cli_format("%s%s%.*s", words, separator, (int)length, choices);
		free(words);
		words = longer;
		choices += length;
	}
	return words;
}

static char *allowed_duration(const struct config_variable *variable)
{
	char *low = cli_duration_text((int64_t)variable->minimum), *high = cli_duration_text((int64_t)variable->maximum);
	char *text = cli_format("a duration from %s to %s (200ms, 1.5s, 2m, 1h; a bare number is milliseconds)", low, high);
	free(low);
	free(high);
	return text;
}

static char *allowed_words(const struct config_variable *variable)
{
	char *words = choice_words(variable->choices);
	char *text = variable->kind == KIND_JITTER ? cli_format("%s, or a factor from 0 to 1", words) : cli_format("%s", words);
	free(words);
	return text;
}

/* What a variable takes, as the end of "'...' is not ...". */
static char *allowed(const struct config_variable *variable)
{
	switch (variable->kind) {
	case KIND_BOOL: return cli_format("0 or 1");
	case KIND_INTEGER: return cli_format("a whole number from %.0f to %.0f", variable->minimum, variable->maximum);
	case KIND_REAL: return cli_format("a number from %.0f to %.0f", variable->minimum, variable->maximum);
	case KIND_CHOICE:
	case KIND_JITTER: return allowed_words(variable);
	case KIND_STATUSES:
		return cli_format("a comma list of HTTP statuses from %.0f to %.0f", variable->minimum, variable->maximum);
	case KIND_TOKENS: return cli_format("a comma list of HTTP methods");
	case KIND_HOSTS:
		return cli_format("a comma list of name globs, addresses or CIDR, each with optional :port, or unix:GLOB");
	case KIND_GLOBS: return cli_format("a comma list of names, which may hold * and ?");
	case KIND_FALLBACK: return cli_format("a comma list of host:port=host:port");
	case KIND_SINKS:
		return cli_format("a comma list of emf:FILE, emf:udp://HOST:PORT, statsd://HOST:PORT or prom:FILE");
	case KIND_TEXT: return cli_format("printable text");
	}
	return cli_format("valid");
}

static char *refusal(const struct run_option *option, const struct config_variable *variable, const char *value)
{
	char *what = option->form == FORM_DURATION ? allowed_duration(variable) : allowed(variable);
	char *sentence = cli_format("--%s: '%s' is not %s", option->name, value, what);
	free(what);
	return sentence;
}

/* A well-formed argument as its variable's value; NULL, errno set, without a current directory. */
static char *converted(const struct run_option *option, const char *argument)
{
	switch (option->form) {
	case FORM_PATH: return cli_absolute_path(argument);
	case FORM_PATH_OR_WORD:
		return strcmp(argument, option->flag) == 0 ? cli_format("%s", argument) : cli_absolute_path(argument);
	case FORM_SINKS: return cli_sinks_absolute(argument);
	default: return cli_format("%s", argument);
	}
}

/* An empty value means the default to the object. Taking it is right only where that default is
 * empty too: whoever writes --methods '' wants no method, not six. */
static bool takes(const struct run_option *option, const struct config_variable *variable, const char *value)
{
	bool path = option->form == FORM_PATH || option->form == FORM_PATH_OR_WORD;
	if (value[0] == '\0' && (path || variable->fallback[0] != '\0'))
		return false;
	return config_accepts(variable, value);
}

static char *duration_value(const struct run_option *option, const struct config_variable *variable,
                            const char *argument, char **complaint)
{
	int64_t ms;
	char *value = cli_duration_read(argument, &ms) ? cli_format("%lld", (long long)ms) : NULL;
	if (value != NULL && takes(option, variable, value))
		return value;
	free(value);
	*complaint = refusal(option, variable, argument);
	return NULL;
}

char *run_option_value(const struct run_option *option, const char *argument, char **complaint)
{
	const struct config_variable *variable = config_find(option->variable);
	if (option->form == FORM_FLAG)
		return cli_format("%s", option->flag);
	if (option->form == FORM_DURATION)
		return duration_value(option, variable, argument, complaint);
	if (!takes(option, variable, argument)) {
		*complaint = refusal(option, variable, argument);
		return NULL;
	}
	char *value = converted(option, argument);
	if (value == NULL) {
		*complaint = cli_format("--%s: no path for the current directory: %s", option->name, strerror(errno));
		return NULL;
	}
	/* Again: the current directory's own name may hold a comma or a line break. */
	if (takes(option, variable, value))
		return value;
	*complaint = refusal(option, variable, value);
	free(value);
	return NULL;
}

static char *default_text(const struct run_option *option, const struct config_variable *variable)
{
	int64_t ms;
	if (option->form == FORM_DURATION && cli_duration_read(variable->fallback, &ms))
		return cli_duration_text(ms);
	return cli_format("%s", variable->fallback);
}

char *run_option_help(const struct run_option *option)
{
	const struct config_variable *variable = config_find(option->variable);
	if (option->form == FORM_FLAG) {
		/* The table says "0: leave libcurl alone"; a flag has no value to speak of. */
		size_t value = strcspn(variable->help, ": ");
		const char *help = variable->help[value] == ':' ? variable->help + value + 2 : variable->help;
		return cli_format("%s (%s=%s)", help, option->variable, option->flag);
	}
	char *standard = default_text(option, variable);
	char *help = cli_format("%s (%s%s%s%s)", variable->help, standard[0] != '\0' ? "default " : "", standard,
	                        standard[0] != '\0' ? "; " : "", option->variable);
	free(standard);
	return help;
}
