/* The table of variables, and one value written into its field. */
#include "retryshim/config.h"

#include <string.h>

#include "policy/text.h"
#include "retryshim/policy.h"

#define DESTINATION SCOPE_DESTINATION
#define PROCESS SCOPE_PROCESS
#define FIELD(member) offsetof(struct config, member)
#define DAY_MS 86400000.0
#define HOUR_MS 3600000.0

/* The order of section 1 of the design, so that the two can be laid side by side. */
const struct config_variable config_variables[] = {
	{"RETRY_ENABLED", KIND_BOOL, DESTINATION, FIELD(enabled), 0, 1, "", "1", "0: pure pass-through"},
	{"RETRY_CONFIG", KIND_TEXT, SCOPE_ENVIRONMENT, FIELD(file), 0, 0, "", "",
	 "a file with settings, by destination too; off: not even /etc/retryshim.conf"},
	{"RETRY_MAX_ATTEMPTS", KIND_INTEGER, DESTINATION, FIELD(max_attempts), 1, 1000, "", "3",
	 "attempts in all, the first included; 1 = never retry"},
	{"RETRY_BASE_DELAY_MS", KIND_INTEGER, DESTINATION, FIELD(base_delay_ms), 0, HOUR_MS, "", "1000", "first backoff"},
	{"RETRY_MAX_DELAY_MS", KIND_INTEGER, DESTINATION, FIELD(max_delay_ms), 0, HOUR_MS, "", "30000", "cap on one backoff"},
	{"RETRY_MULTIPLIER", KIND_REAL, DESTINATION, FIELD(multiplier), 1, 10, "", "2.0", "growth of the backoff"},
	{"RETRY_JITTER", KIND_JITTER, DESTINATION, FIELD(jitter), 0, 1, "full|equal|decorrelated|none", "full",
	 "full, equal, decorrelated, none, or a factor 0..1 for d*(1+-f)"},
	{"RETRY_TIMEOUT_MS", KIND_INTEGER, DESTINATION, FIELD(timeout_ms), 0, 7 * DAY_MS, "", "60000",
	 "bound on one operation, attempts and backoffs together; 0 = none"},
	{"RETRY_HTTP_STATUS", KIND_STATUSES, DESTINATION, FIELD(http_status), 400, 599, "", "408,429,500,502,503,504",
	 "statuses worth a retry"},
	{"RETRY_METHODS", KIND_TOKENS, DESTINATION, FIELD(methods), 0, 0, "", "GET,HEAD,PUT,DELETE,OPTIONS,TRACE",
	 "methods that may be sent again after the server may have seen the request"},
	{"RETRY_HOSTS", KIND_HOSTS, PROCESS, FIELD(hosts), 0, 0, "", "", "only these: name globs, addresses, CIDR, each with optional :port; unix:GLOB"},
	{"RETRY_SKIP_HOSTS", KIND_HOSTS, PROCESS, FIELD(skip_hosts), 0, 0, "", "", "never these; wins over RETRY_HOSTS"},
	{"RETRY_PROGRAMS", KIND_GLOBS, PROCESS, FIELD(programs), 0, 0, "", "", "only programs of these names"},
	{"RETRY_SKIP_PROGRAMS", KIND_GLOBS, PROCESS, FIELD(skip_programs), 0, 0, "", "", "never programs of these names"},
	{"RETRY_NONBLOCK", KIND_BOOL, DESTINATION, FIELD(nonblock), 0, 1, "", "1", "0: leave non-blocking connects alone"},
	{"RETRY_DNS", KIND_BOOL, DESTINATION, FIELD(dns), 0, 1, "", "1", "0: leave name look-ups alone"},
	{"RETRY_CURL", KIND_BOOL, DESTINATION, FIELD(curl), 0, 1, "", "1", "0: leave libcurl alone"},
	{"RETRY_UNIX", KIND_CHOICE, DESTINATION, FIELD(unix_mode), 0, 0, "busy|all|off", "busy",
	 "unix sockets: busy (full backlog only), all (also not yet started), off"},
	{"RETRY_DEEPBIND", KIND_CHOICE, PROCESS, FIELD(deepbind), 0, 0, "auto|keep|drop", "auto",
	 "RTLD_DEEPBIND, which hides libcurl from us (PHP): auto (dropped where libcurl is needed), keep, drop"},
	{"RETRY_RESUME", KIND_BOOL, DESTINATION, FIELD(resume), 0, 1, "", "0", "1: resume a broken download where it stopped"},
	{"RETRY_STATE", KIND_TEXT, PROCESS, FIELD(state), 0, 0, "", "", "the host-shared state, a file; off: private to the process"},
	{"RETRY_BUDGET", KIND_BOOL, DESTINATION, FIELD(budget), 0, 1, "", "on", "off: no token bucket"},
	{"RETRY_BUDGET_BURST", KIND_REAL, DESTINATION, FIELD(budget_burst), 1, 1e6, "", "10", "size of the token bucket"},
	{"RETRY_BUDGET_RATIO", KIND_REAL, DESTINATION, FIELD(budget_ratio), 0, 1000, "", "0.1", "tokens that one success gives back"},
	{"RETRY_BUDGET_PER_SEC", KIND_REAL, DESTINATION, FIELD(budget_per_sec), 0, 1e6, "", "0.1", "tokens that drip in each second"},
	{"RETRY_BREAKER", KIND_CHOICE, DESTINATION, FIELD(breaker), 0, 0, "pass|reject|off", "pass",
	 "an open circuit: pass (one plain attempt), reject (at once), off"},
	{"RETRY_BREAKER_THRESHOLD", KIND_INTEGER, DESTINATION, FIELD(breaker_threshold), 1, 1e6, "", "5",
	 "failed operations in a row that open the circuit"},
	{"RETRY_BREAKER_OPEN_MS", KIND_INTEGER, DESTINATION, FIELD(breaker_open_ms), 1, HOUR_MS, "", "30000",
	 "how long until an open circuit lets one probe through"},
	{"RETRY_FALLBACK", KIND_FALLBACK, DESTINATION, FIELD(fallback), 0, 0, "", "", "host:port=host:port,... for when the attempts are used up"},
	{"RETRY_METRICS", KIND_SINKS, PROCESS, FIELD(metrics), 0, 0, "", "", "emf:FILE, emf:udp://HOST:PORT, statsd://HOST:PORT, prom:FILE"},
	{"RETRY_METRICS_NAMESPACE", KIND_TEXT, PROCESS, FIELD(metrics_namespace), 0, 0, "", "RetryShim", "namespace of the metrics"},
	{"RETRY_OPERATION", KIND_TEXT, DESTINATION, FIELD(operation), 0, 0, "", "", "names the operation instead of the hook's name"},
	{"RETRY_DIAG", KIND_BOOL, PROCESS, FIELD(diag), 0, 1, "", "0", "1: diagnostics on"},
	{"RETRY_DIAG_FILE", KIND_TEXT, PROCESS, FIELD(diag_file), 0, 0, "", "", "append diagnostics to this file (%p = pid) instead of standard error"},
	{"RETRY_DIAG_DIR", KIND_TEXT, PROCESS, FIELD(diag_dir), 0, 0, "", "", "one file an event in this directory: TIMESTAMP_retry_OPERATION.txt"},
	{"RETRY_DIAG_FORMAT", KIND_CHOICE, PROCESS, FIELD(diag_format), 0, 0, "text|json", "text", "text, or json (one object a line)"},
	{"RETRY_SEED", KIND_INTEGER, PROCESS, FIELD(seed), 0, 9007199254740991.0, "", "", "fixes the jitter, for tests"},
};

const size_t config_variable_count = sizeof config_variables / sizeof config_variables[0];

/* Where an empty KIND_TEXT default points: config_text is never NULL. */
static const char nothing[] = "";

static bool set_integer(const struct config_variable *variable, const char *value, int64_t *field)
{
	int64_t number;
	if (!text_integer(value, &number) || (double)number < variable->minimum || (double)number > variable->maximum)
		return false;
	*field = number;
	return true;
}

static bool set_real(const struct config_variable *variable, const char *value, double *field)
{
	double number;
	if (!text_real(value, &number) || number < variable->minimum || number > variable->maximum)
		return false;
	*field = number;
	return true;
}

static bool set_bool(const char *value, int64_t *field)
{
	/* "on" and "off" are the design's own words for some of these; people write the others. */
	int64_t word = text_choice("0|off|false|no|1|on|true|yes", value);
	if (word < 0)
		return false;
	*field = word >= 4;
	return true;
}

static bool set_choice(const struct config_variable *variable, const char *value, int64_t *field)
{
	int64_t choice = text_choice(variable->choices, value);
	if (choice < 0)
		return false;
	*field = choice;
	return true;
}

static bool set_jitter(const struct config_variable *variable, const char *value, struct config *config)
{
	if (set_choice(variable, value, &config->jitter))
		return true;
	if (!set_real(variable, value, &config->jitter_factor))
		return false;
	config->jitter = JITTER_FACTOR;
	return true;
}

static bool set_statuses(const char *value, struct status_set *set)
{
	struct status_set parsed = {{0}};
	for (const char *item = value; item != NULL;) {
		char token[8];
		int64_t status;
		if (!text_next_item(&item, token, sizeof token) || !text_integer(token, &status))
			return false;
		if (status < 400 || status > 599)
			return false;
		parsed.bits[(status - 400) / 64] |= UINT64_C(1) << ((status - 400) % 64);
	}
	*set = parsed;
	return true;
}

/* An unset number has no default only where "none" is one of its meanings (RETRY_SEED). */
static void set_nothing(const struct config_variable *variable, void *field)
{
	if (variable->kind == KIND_INTEGER)
		*(int64_t *)field = -1;
	else
		*(config_text *)field = nothing;
}

static bool is_sink(const char *item)
{
	struct sink sink;
	return sink_read(item, &sink);
}

static bool text_is_valid(enum config_kind kind, const char *value)
{
	switch (kind) {
	case KIND_TOKENS: return text_list_valid(value, text_is_token);
	case KIND_GLOBS: return text_list_valid(value, text_is_printable);
	case KIND_HOSTS: return match_hosts_valid(value);
	case KIND_FALLBACK: return text_list_valid(value, text_is_fallback);
	case KIND_SINKS: return text_list_valid(value, is_sink);
	default: return text_is_printable(value);
	}
}

/* Writes a non-empty value into its field; false, field untouched, if it is malformed. */
static bool set_value(const struct config_variable *variable, const char *value, struct config *config)
{
	void *field = (char *)config + variable->offset;
	switch (variable->kind) {
	case KIND_BOOL: return set_bool(value, field);
	case KIND_INTEGER: return set_integer(variable, value, field);
	case KIND_REAL: return set_real(variable, value, field);
	case KIND_CHOICE: return set_choice(variable, value, field);
	case KIND_JITTER: return set_jitter(variable, value, config);
	case KIND_STATUSES: return set_statuses(value, field);
	default:
		if (!text_is_valid(variable->kind, value))
			return false;
		*(config_text *)field = value;
		return true;
	}
}

void config_parse(struct config *config, config_lookup *lookup, void *lookup_context,
                  config_complaint *complain, void *complain_context)
{
	memset(config, 0, sizeof *config);
	for (size_t i = 0; i < config_variable_count; i++) {
		const struct config_variable *variable = &config_variables[i];
		const char *value = lookup(lookup_context, variable->name);
		bool set = value != NULL && value[0] != '\0';
		if (set && set_value(variable, value, config))
			continue;
		if (variable->fallback[0] == '\0')
			set_nothing(variable, (char *)config + variable->offset);
		else
			set_value(variable, variable->fallback, config);
		if (set && complain != NULL)
			complain(complain_context, variable->name, value, variable->fallback);
	}
}

bool config_accepts(const struct config_variable *variable, const char *value)
{
	struct config scratch;
	memset(&scratch, 0, sizeof scratch);
	return value[0] == '\0' || set_value(variable, value, &scratch);
}

const struct config_variable *config_find(const char *name)
{
	for (size_t i = 0; i < config_variable_count; i++)
		if (strcmp(config_variables[i].name, name) == 0)
			return &config_variables[i];
	return NULL;
}

bool status_set_has(const struct status_set *set, long status)
{
	if (status < 400 || status > 599)
		return false;
	return (set->bits[(status - 400) / 64] >> ((status - 400) % 64)) & 1;
}
