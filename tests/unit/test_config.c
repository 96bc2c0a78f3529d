/* The variables: the table against section 1 of the design, defaults, and the telling of bad values. */
#include "support.h"

/* The design's table of variables, in its order. "" stands for: none, all, standard error, the
 * hook's name, or a path that only the runtime can know. */
static const struct {
	const char *name, *fallback;
	enum config_kind kind;
	double minimum, maximum;
} design[] = {
	{"RETRY_ENABLED", "1", KIND_BOOL, 0, 1},
	{"RETRY_CONFIG", "", KIND_TEXT, 0, 0},
	{"RETRY_MAX_ATTEMPTS", "3", KIND_INTEGER, 1, 1000},
	{"RETRY_BASE_DELAY_MS", "1000", KIND_INTEGER, 0, 3600000},
	{"RETRY_MAX_DELAY_MS", "30000", KIND_INTEGER, 0, 3600000},
	{"RETRY_MULTIPLIER", "2.0", KIND_REAL, 1, 10},
	{"RETRY_JITTER", "full", KIND_JITTER, 0, 1},
	{"RETRY_TIMEOUT_MS", "60000", KIND_INTEGER, 0, 604800000},
	{"RETRY_HTTP_STATUS", "408,429,500,502,503,504", KIND_STATUSES, 400, 599},
	{"RETRY_METHODS", "GET,HEAD,PUT,DELETE,OPTIONS,TRACE", KIND_TOKENS, 0, 0},
	{"RETRY_HOSTS", "", KIND_HOSTS, 0, 0},
	{"RETRY_SKIP_HOSTS", "", KIND_HOSTS, 0, 0},
	{"RETRY_PROGRAMS", "", KIND_GLOBS, 0, 0},
	{"RETRY_SKIP_PROGRAMS", "", KIND_GLOBS, 0, 0},
	{"RETRY_NONBLOCK", "1", KIND_BOOL, 0, 1},
	{"RETRY_DNS", "1", KIND_BOOL, 0, 1},
	{"RETRY_CURL", "1", KIND_BOOL, 0, 1},
	{"RETRY_UNIX", "busy", KIND_CHOICE, 0, 0},
	{"RETRY_DEEPBIND", "auto", KIND_CHOICE, 0, 0},
	{"RETRY_RESUME", "0", KIND_BOOL, 0, 1},
	{"RETRY_STATE", "", KIND_TEXT, 0, 0},
	{"RETRY_BUDGET", "on", KIND_BOOL, 0, 1},
	{"RETRY_BUDGET_BURST", "10", KIND_REAL, 1, 1e6},
	{"RETRY_BUDGET_RATIO", "0.1", KIND_REAL, 0, 1000},
	{"RETRY_BUDGET_PER_SEC", "0.1", KIND_REAL, 0, 1e6},
	{"RETRY_BREAKER", "pass", KIND_CHOICE, 0, 0},
	{"RETRY_BREAKER_THRESHOLD", "5", KIND_INTEGER, 1, 1e6},
	{"RETRY_BREAKER_OPEN_MS", "30000", KIND_INTEGER, 1, 3600000},
	{"RETRY_FALLBACK", "", KIND_FALLBACK, 0, 0},
	{"RETRY_METRICS", "", KIND_SINKS, 0, 0},
	{"RETRY_METRICS_NAMESPACE", "RetryShim", KIND_TEXT, 0, 0},
	{"RETRY_OPERATION", "", KIND_TEXT, 0, 0},
	{"RETRY_DIAG", "0", KIND_BOOL, 0, 1},
	{"RETRY_DIAG_FILE", "", KIND_TEXT, 0, 0},
	{"RETRY_DIAG_DIR", "", KIND_TEXT, 0, 0},
	{"RETRY_DIAG_FORMAT", "text", KIND_CHOICE, 0, 0},
	{"RETRY_SEED", "", KIND_INTEGER, 0, 9007199254740991.0},
};

static void table_agrees_with_the_design(void **state)
{
	(void)state;
	assert_int_equal(config_variable_count, COUNT(design));
	for (size_t i = 0; i < COUNT(design); i++) {
		const struct config_variable *variable = &config_variables[i];
		CHECK_TEXT(design[i].name, variable->name, design[i].name);
		CHECK_TEXT(design[i].name, variable->fallback, design[i].fallback);
		CHECK_INT(design[i].name, variable->kind, design[i].kind);
		CHECK_INT(design[i].name, variable->minimum, design[i].minimum);
		CHECK_INT(design[i].name, variable->maximum, design[i].maximum);
		CHECK_INT(design[i].name, strlen(variable->help) > 10, true);
		CHECK_INT(design[i].name, config_accepts(variable, variable->fallback), true);
		CHECK_INT(design[i].name, config_find(design[i].name) == variable, true);
		/* Each its own field, inside the struct. */
		CHECK_INT(design[i].name, variable->offset + sizeof(int64_t) <= sizeof(struct config), true);
		for (size_t other = 0; other < i; other++)
			CHECK_INT(design[i].name, config_variables[other].offset != variable->offset, true);
	}
}

static void find_wants_the_full_name(void **state)
{
	static const char *const names[] = {"", "RETRY_", "RETRY_DIA", "RETRY_DIAGS", "retry_diag", "DIAG", " RETRY_DIAG"};
	(void)state;
	for (size_t i = 0; i < COUNT(names); i++)
		CHECK_INT(names[i], config_find(names[i]) == NULL, true);
}

static void check_defaults(const char *row, const struct config *config)
{
	static const int statuses[] = {408, 429, 500, 502, 503, 504};
	const struct {
		const char *name;
		int64_t value, want;
	} numbers[] = {
		{"enabled", config->enabled, 1}, {"max_attempts", config->max_attempts, 3},
		{"base_delay_ms", config->base_delay_ms, 1000}, {"max_delay_ms", config->max_delay_ms, 30000},
		{"multiplier * 10", (int64_t)(config->multiplier * 10), 20}, {"jitter", config->jitter, JITTER_FULL},
		{"jitter_factor", config->jitter_factor != 0, 0}, {"timeout_ms", config->timeout_ms, 60000},
		{"nonblock", config->nonblock, 1}, {"dns", config->dns, 1}, {"curl", config->curl, 1},
		{"unix_mode", config->unix_mode, UNIX_BUSY}, {"deepbind", config->deepbind, DEEPBIND_AUTO}, {"resume", config->resume, 0}, {"budget", config->budget, 1},
		{"burst", (int64_t)config->budget_burst, 10}, {"ratio * 1000", (int64_t)(config->budget_ratio * 1000), 100},
		{"per_sec * 1000", (int64_t)(config->budget_per_sec * 1000), 100}, {"breaker", config->breaker, BREAKER_PASS},
		{"threshold", config->breaker_threshold, 5}, {"open_ms", config->breaker_open_ms, 30000},
		{"diag", config->diag, 0}, {"diag_format", config->diag_format, DIAG_TEXT}, {"seed", config->seed, -1},
	};
	const char *const texts[][2] = {
		{config->methods, "GET,HEAD,PUT,DELETE,OPTIONS,TRACE"}, {config->hosts, ""}, {config->skip_hosts, ""},
		{config->programs, ""}, {config->skip_programs, ""}, {config->state, ""}, {config->fallback, ""},
		{config->metrics, ""}, {config->metrics_namespace, "RetryShim"}, {config->operation, ""},
		{config->diag_file, ""}, {config->diag_dir, ""},
	};
	for (size_t i = 0; i < COUNT(numbers); i++)
		if (numbers[i].value != numbers[i].want)
			fail_msg("[%s] %s is %lld, not %lld", row, numbers[i].name, (long long)numbers[i].value,
			         (long long)numbers[i].want);
	for (size_t i = 0; i < COUNT(texts); i++)
		CHECK_TEXT(row, texts[i][0], texts[i][1]);
	for (int status = -1; status < 1100; status++) {
		bool listed = false;
		for (size_t i = 0; i < COUNT(statuses); i++)
			listed = listed || statuses[i] == status;
		CHECK_INT(row, status_set_has(&config->http_status, status), listed);
	}
}

/* ---- a lookup that gives one value for one name, or for all; complaints counted --------------- */

struct told {
	const char *name, *value; /* what lookup gives; name "*" = all */
	int complaints, lookups;
	char what[256]; /* of the last complaint: name=value, used */
};

static const char *lookup_told(void *context, const char *name)
{
	struct told *told = context;
	told->lookups++;
	return strcmp(told->name, "*") == 0 || strcmp(told->name, name) == 0 ? told->value : NULL;
}

static void count_complaint(void *context, const char *name, const char *value, const char *used)
{
	struct told *told = context;
	told->complaints++;
	snprintf(told->what, sizeof told->what, "%s=%s, %s", name, value, used);
}

static struct config parse_told(struct told *told)
{
	struct config config;
	memset(&config, 0xa5, sizeof config); /* nothing may be left as it was */
	config_parse(&config, lookup_told, told, count_complaint, told);
	return config;
}

static void defaults(void **state)
{
	static struct told rows[] = {{.name = "none", .value = "x"}, {.name = "*", .value = ""}, {.name = "*", .value = NULL}};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct config config = parse_told(&rows[i]);
		check_defaults(rows[i].value == NULL ? "unset" : rows[i].value[0] == '\0' ? "empty" : "others set", &config);
		CHECK_INT("complaints", rows[i].complaints, 0);
		CHECK_INT("lookups", rows[i].lookups, COUNT(design));
	}
}

/* A value bad for each kind: the default stands, told once, with name, value and default. */
static void every_bad_value_is_told_once(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(design); i++) {
		struct told told = {.name = design[i].name, .value = "\x01,,"};
		struct config config = parse_told(&told);
		char want[256];
		snprintf(want, sizeof want, "%s=\x01,,, %s", design[i].name, design[i].fallback);
		CHECK_INT(design[i].name, told.complaints, 1);
		CHECK_TEXT(design[i].name, told.what, want);
		check_defaults(design[i].name, &config);
	}
	struct told all = {.name = "*", .value = "\x7f"};
	struct config config = parse_told(&all);
	CHECK_INT("all bad", all.complaints, COUNT(design));
	check_defaults("all bad", &config);
	config_parse(&config, lookup_told, &all, NULL, NULL);
	check_defaults("nobody to tell", &config);
}

/* A text is kept where it is, not copied. */
static void texts_point_at_the_value(void **state)
{
	static const char *const rows[][2] = {
		{"RETRY_METHODS", "GET,POST"}, {"RETRY_HOSTS", "*.example.org:443"}, {"RETRY_SKIP_HOSTS", "10.0.0.0/8"},
		{"RETRY_PROGRAMS", "curl"}, {"RETRY_SKIP_PROGRAMS", "ssh*"}, {"RETRY_STATE", "off"},
		{"RETRY_FALLBACK", "a:1=b:2"}, {"RETRY_METRICS", "prom:/tmp/x"},
		{"RETRY_METRICS_NAMESPACE", "K8sCluster/Retry"}, {"RETRY_OPERATION", "upload"},
		{"RETRY_DIAG_FILE", "/tmp/diag.%p"}, {"RETRY_DIAG_DIR", "/tmp"},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct told told = {.name = rows[i][0], .value = rows[i][1]};
		struct config config = parse_told(&told);
		const char *kept;
		memcpy(&kept, (const char *)&config + config_find(rows[i][0])->offset, sizeof kept);
		CHECK_INT(rows[i][0], kept == rows[i][1], true);
		CHECK_INT(rows[i][0], told.complaints, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table_agrees_with_the_design), cmocka_unit_test(find_wants_the_full_name),
		cmocka_unit_test(defaults), cmocka_unit_test(every_bad_value_is_told_once),
		cmocka_unit_test(texts_point_at_the_value),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
