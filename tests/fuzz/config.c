/* The environment: the RETRY_* variables, and TRACEPARENT.
 *
 * An input is an environment, a string a line, as it is captured once in a process: settings_capture.c is part of this file,
 * so that it can begin anew.
 */
#include "fuzz.h"

#include <math.h>

#include "runtime/settings_capture.c"

enum { ENTRIES_MOST = 64 };

/* As section 1 of the design has them, once more. */
static const struct number {
	const char *name;
	size_t offset;
	double least, most, otherwise;
	bool is_real;
} numbers[] = {
#define INTEGER(name, member, least, most, otherwise) {name, offsetof(struct config, member), least, most, otherwise, false}
#define REAL(name, member, least, most, otherwise) {name, offsetof(struct config, member), least, most, otherwise, true}
	INTEGER("RETRY_MAX_ATTEMPTS", max_attempts, 1, 1000, 3), INTEGER("RETRY_BASE_DELAY_MS", base_delay_ms, 0, 3600000, 1000),
	INTEGER("RETRY_MAX_DELAY_MS", max_delay_ms, 0, 3600000, 30000), REAL("RETRY_MULTIPLIER", multiplier, 1, 10, 2),
	INTEGER("RETRY_TIMEOUT_MS", timeout_ms, 0, 604800000, 60000), REAL("RETRY_BUDGET_BURST", budget_burst, 1, 1e6, 10),
	REAL("RETRY_BUDGET_RATIO", budget_ratio, 0, 1000, 0.1), REAL("RETRY_BUDGET_PER_SEC", budget_per_sec, 0, 1e6, 0.1),
	INTEGER("RETRY_BREAKER_THRESHOLD", breaker_threshold, 1, 1e6, 5), INTEGER("RETRY_BREAKER_OPEN_MS", breaker_open_ms, 1, 3600000, 30000),
	INTEGER("RETRY_SEED", seed, 0, 9007199254740991.0, -1),
};

static const struct word {
	const char *name, *words;
	size_t offset;
	int64_t otherwise;
	bool is_bool;
} words[] = {
#define BOOL(name, member, otherwise) {name, "0 off false no 1 on true yes", offsetof(struct config, member), otherwise, true}
#define CHOICE(name, member, choices) {name, choices, offsetof(struct config, member), 0, false}
	BOOL("RETRY_ENABLED", enabled, 1), BOOL("RETRY_NONBLOCK", nonblock, 1), BOOL("RETRY_DNS", dns, 1), BOOL("RETRY_CURL", curl, 1),
	BOOL("RETRY_RESUME", resume, 0), BOOL("RETRY_BUDGET", budget, 1), BOOL("RETRY_DIAG", diag, 0),
	CHOICE("RETRY_UNIX", unix_mode, "busy all off"), CHOICE("RETRY_DEEPBIND", deepbind, "auto keep drop"),
	CHOICE("RETRY_BREAKER", breaker, "pass reject off"), CHOICE("RETRY_DIAG_FORMAT", diag_format, "text json"),
};

static const struct kept {
	const char *name;
	size_t offset;
	const char *otherwise;
} texts[] = {
#define TEXT(name, member, otherwise) {name, offsetof(struct config, member), otherwise}
	TEXT("RETRY_CONFIG", file, ""), TEXT("RETRY_METHODS", methods, "GET,HEAD,PUT,DELETE,OPTIONS,TRACE"), TEXT("RETRY_HOSTS", hosts, ""),
	TEXT("RETRY_SKIP_HOSTS", skip_hosts, ""), TEXT("RETRY_PROGRAMS", programs, ""), TEXT("RETRY_SKIP_PROGRAMS", skip_programs, ""),
	TEXT("RETRY_STATE", state, ""), TEXT("RETRY_FALLBACK", fallback, ""), TEXT("RETRY_METRICS", metrics, ""),
	TEXT("RETRY_METRICS_NAMESPACE", metrics_namespace, "RetryShim"), TEXT("RETRY_OPERATION", operation, ""),
	TEXT("RETRY_DIAG_FILE", diag_file, ""), TEXT("RETRY_DIAG_DIR", diag_dir, ""),
};

/* The first one of a name counts; one that is empty is none. */
static const char *value_of(char **entries, const char *name)
{
	size_t length = strlen(name);
	for (; *entries != NULL; entries++)
		if (strncmp(*entries, name, length) == 0 && (*entries)[length] == '=')
			return (*entries)[length + 1] != '\0' ? *entries + length + 1 : NULL;
	return NULL;
}

/* ---- each kind, another way --------------------------------------------------------------------------------- */

static bool check_number(const struct config *parsed, const struct number *number, const char *value)
{
	const void *field = (const char *)parsed + number->offset;
	double is = number->is_real ? *(const double *)field : (double)*(const int64_t *)field;
	size_t digits = value != NULL ? strspn(value, number->is_real ? "0123456789." : "0123456789") : 0;
	bool shaped = value != NULL && digits == strlen(value) && strspn(value, ".") != digits;
	const char *point = shaped ? strchr(value, '.') : NULL;
	double read = shaped && (point == NULL || strchr(point + 1, '.') == NULL) ? strtod(value, NULL) : -1;
	/* strtod(3) rounds better: next to a bound either may be right. */
	if (number->is_real && (fabs(read - number->least) < 1e-12 || fabs(read - number->most) < 1e-6))
		read = is == number->otherwise && is != number->least ? -1 : is;
	bool good = read >= number->least && read <= number->most;
	double expected = good ? read : number->otherwise;
	PROMISE(fabs(is - expected) <= 1e-12 * fabs(expected));
	PROMISE((is >= number->least && is <= number->most) || number->otherwise < 0);
	return good;
}

/* The place of `value` among words, -1 for none. */
static int among(const char *list, const char *value)
{
	int place = 0, found = -1;
	char *copy = strdup(list), *rest = copy, *one;
	for (; (one = strsep(&rest, " ")) != NULL; place++)
		if (value != NULL && strcasecmp(one, value) == 0)
			found = place;
	free(copy);
	return found;
}

static bool check_word(const struct config *parsed, const struct word *word, const char *value)
{
	int64_t is = *(const int64_t *)((const char *)parsed + word->offset);
	int place = among(word->words, value);
	PROMISE(is == (place < 0 ? word->otherwise : word->is_bool ? place / 4 : place));
	return place >= 0;
}

/* Printable, and no item of a list empty; what more a list's items have to be, patterns.c and numbers.c look at. */
static bool check_text(const struct config *parsed, const struct kept *text, const char *value)
{
	const char *is = *(const config_text *)((const char *)parsed + text->offset);
	bool good = value != NULL && config_accepts(config_find(text->name), value);
	PROMISE(is != NULL && strcmp(is, good ? value : text->otherwise) == 0);
	for (const char *c = is; *c != '\0' && strstr(is, "unix:") == NULL; c++) /* a socket's path may hold anything */
		PROMISE(((unsigned char)*c >= ' ' || *c == '\t') && *c != 0x7f);
	return good;
}

static bool check_jitter(const struct config *parsed, const char *value)
{
	int place = among("full equal decorrelated none", value);
	PROMISE(parsed->jitter >= JITTER_FULL && parsed->jitter <= JITTER_FACTOR);
	PROMISE(parsed->jitter_factor >= 0 && parsed->jitter_factor <= 1);
	if (parsed->jitter == JITTER_FACTOR) {
		PROMISE(value != NULL && place < 0 && value[strspn(value, "0123456789.")] == '\0');
		return true;
	}
	PROMISE(parsed->jitter == (place < 0 ? JITTER_FULL : place));
	return place >= 0;
}

static bool check_statuses(const struct config *parsed, const char *value)
{
	char *copy = strdup(value != NULL ? value : ""), *rest = copy, *item;
	bool in[600] = {false}, good = value != NULL;
	while ((item = strsep(&rest, ",")) != NULL) {
		item += strspn(item, " \t");
		size_t digits = strspn(item, "0123456789"), blanks = strspn(item + digits, " \t");
		int64_t status = digits != 0 && digits <= 7 && item[digits + blanks] == '\0' ? atoi(item) : -1;
		good &= status >= 400 && status <= 599;
		if (status >= 400 && status <= 599)
			in[status] = true;
	}
	free(copy);
	for (int status = 0; status < 1000; status++) {
		bool usual = status == 408 || status == 429 || status == 500 || (status >= 502 && status <= 504);
		PROMISE(status_set_has(&parsed->http_status, status) == (good ? status < 600 && in[status] : usual));
	}
	return good;
}

/* ---- TRACEPARENT -------------------------------------------------------------------------------------------- */

static bool is_hex(const char *text, size_t length)
{
	bool any = false;
	for (size_t i = 0; i < length; i++) {
		if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f')))
			return false;
		any |= text[i] != '0';
	}
	return any || length == 2;
}

static bool is_trace(const char *value)
{
	size_t length = strlen(value);
	if (length < 55 || (length > 55 && (value[55] != '-' || strncmp(value, "00", 2) == 0)))
		return false;
	return value[2] == '-' && value[35] == '-' && value[52] == '-' && is_hex(value, 2) && strncmp(value, "ff", 2) != 0 &&
	       is_hex(value + 3, 32) && is_hex(value + 36, 16) && is_hex(value + 53, 2);
}

/* ---- all of it ---------------------------------------------------------------------------------------------- */

static int complaints;

static void complain(void *context, const char *name, const char *value, const char *used)
{
	PROMISE(strcmp(value_of(context, name), value) == 0 && strcmp(used, config_find(name)->fallback) == 0);
	complaints++;
}

/* Returns how many are refused. */
static int check_config(const struct config *parsed, char **entries)
{
	int set = 0, good = 0;
	for (size_t i = 0; i < config_variable_count; i++)
		set += value_of(entries, config_variables[i].name) != NULL;
	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
		good += check_number(parsed, &numbers[i], value_of(entries, numbers[i].name));
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		good += check_word(parsed, &words[i], value_of(entries, words[i].name));
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		good += check_text(parsed, &texts[i], value_of(entries, texts[i].name));
	good += check_jitter(parsed, value_of(entries, "RETRY_JITTER"));
	good += check_statuses(parsed, value_of(entries, "RETRY_HTTP_STATUS"));
	PROMISE(config_variable_count == sizeof numbers / sizeof numbers[0] + sizeof words / sizeof words[0] + sizeof texts / sizeof texts[0] + 2);
	return set - good;
}

static void begin_anew(size_t bytes)
{
	memset(captured, 0, bytes < sizeof captured ? bytes : sizeof captured);
	memset(trace_id, 0, sizeof trace_id);
	memset(program, 0, sizeof program);
	stage = NOT_YET;
}

static const char *captured_value(void *context, const char *name)
{
	(void)context;
	return settings_value(name);
}

static void check_environment(char **entries)
{
	const char *trace = value_of(entries, "TRACEPARENT");
	char **before = environ;
	environ = entries;
	settings_capture();
	environ = before;
	struct config config;
	complaints = 0;
	config_parse(&config, captured_value, NULL, complain, entries);
	PROMISE(complaints == check_config(&config, entries));
	PROMISE(!config.diag || settings_diag_wanted());
	/* A file that is named may want it, too. */
	PROMISE(settings_reject_wanted() || config.breaker != BREAKER_REJECT);
	PROMISE(config.breaker == BREAKER_REJECT || !settings_reject_wanted() || value_of(entries, "RETRY_CONFIG") != NULL);
	if (trace != NULL && is_trace(trace))
		PROMISE(strlen(settings_trace_id()) == 32 && memcmp(settings_trace_id(), trace + 3, 32) == 0);
	else
		PROMISE(settings_trace_id()[0] == '\0');
}

/* A line that begins with a digit or a letter of this range is of a variable of the table, so that few bytes suffice. */
static char *next_entry(struct input *input)
{
	char *text = text_line(input), *entry;
	size_t variable = (unsigned char)text[0] - (size_t)'0';
	if (strchr(text, '=') != NULL || variable >= config_variable_count)
		return text;
	if (asprintf(&entry, "%s=%s", config_variables[variable].name, text + 1) < 0)
		abort();
	free(text);
	return entry;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, data + size};
	char *entries[ENTRIES_MOST + 1] = {NULL};
	size_t bytes = 1;
	for (int i = 0; i < ENTRIES_MOST && input.at < input.end; i++) {
		entries[i] = next_entry(&input);
		bytes += strlen(entries[i]) + 1;
	}
	check_environment(entries);
	begin_anew(bytes);
	for (int i = 0; entries[i] != NULL; i++)
		free(entries[i]);
	return 0;
}
