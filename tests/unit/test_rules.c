/* A configuration file: its lines, what is wrong with them, and whose section counts. */
#include "support.h"

#include "retryshim/rules.h"

static struct rules rules;
static char text[RULES_BYTES + 1];
static char told[1024]; /* "LINE WHAT: FAULT\n" of each complaint */

static void tell(void *context, int line, const char *what, enum rules_fault fault)
{
	size_t used = strlen(told);
	(void)context;
	snprintf(told + used, sizeof told - used, "%d %s: %d\n", line, what, (int)fault);
}

static void read_text(const char *file)
{
	told[0] = '\0';
	assert_true(strlen(file) < sizeof text);
	strcpy(text, file);
	rules_read(&rules, text, strlen(text), tell, NULL);
}

static const char *value_at(const char *host, const char *name)
{
	struct target target = {0};
	target_set_url(&target, host);
	const char *value = rules_value(&rules, rules_section(&rules, &target), config_find(name), NULL, NULL);
	return value != NULL ? value : "(none)";
}

static void settings_and_sections(void **state)
{
	static const struct {
		const char *file, *host, *name, *value;
	} rows[] = {
		{"", "db:1", "RETRY_MAX_ATTEMPTS", "(none)"},
		{"max_attempts = 5", "db:1", "RETRY_MAX_ATTEMPTS", "5"},
		{"max_attempts=5\n", "db:1", "RETRY_MAX_ATTEMPTS", "5"},
		{" \t max_attempts \t=\t 5 \t\r\n", "db:1", "RETRY_MAX_ATTEMPTS", "5"},
		{"max_attempts = 5\nmax_attempts = 6\n", "db:1", "RETRY_MAX_ATTEMPTS", "6"},
		{"# max_attempts = 5\n; max_attempts = 6\n\n", "db:1", "RETRY_MAX_ATTEMPTS", "(none)"},
		{"fallback =\n", "db:1", "RETRY_FALLBACK", ""},
		{"fallback = a:1=b:2\n", "db:1", "RETRY_FALLBACK", "a:1=b:2"},
		{"operation = a # b\n", "db:1", "RETRY_OPERATION", "a # b"},
		/* Sections. */
		{"[db:1]\nmax_attempts = 7", "db:1", "RETRY_MAX_ATTEMPTS", "7"},
		{"[db:1]\nmax_attempts = 7", "db:2", "RETRY_MAX_ATTEMPTS", "(none)"},
		{"[db:1]\nmax_attempts = 7", "DB:1", "RETRY_MAX_ATTEMPTS", "7"},
		{"max_attempts = 5\n[db:1]\nresume = 1", "db:1", "RETRY_MAX_ATTEMPTS", "5"},
		{"max_attempts = 5\n[db:1]\nresume = 1", "db:2", "RETRY_MAX_ATTEMPTS", "5"},
		{"  [ db , *.internal:5432 ]  \n  max_attempts = 7", "x.internal:5432", "RETRY_MAX_ATTEMPTS", "7"},
		{"[10.0.0.0/8]\nmax_attempts = 7", "10.9.8.7:80", "RETRY_MAX_ATTEMPTS", "7"},
		{"[[2001:db8::1]:80]\nmax_attempts = 7", "[2001:db8::1]:80", "RETRY_MAX_ATTEMPTS", "7"},
		/* The first that matches; one header after the other is no mistake. */
		{"[db]\nmax_attempts = 7\n[*]\nmax_attempts = 8", "db:1", "RETRY_MAX_ATTEMPTS", "7"},
		{"[db]\nmax_attempts = 7\n[*]\nmax_attempts = 8", "other:1", "RETRY_MAX_ATTEMPTS", "8"},
		{"[db]\n[*]\nmax_attempts = 8", "db:1", "RETRY_MAX_ATTEMPTS", "(none)"},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		read_text(rows[i].file);
		CHECK_TEXT(rows[i].file, value_at(rows[i].host, rows[i].name), rows[i].value);
		CHECK_TEXT(rows[i].file, told, "");
	}
}

/* A section, the environment, the global section, the default. */
static void whose_value_counts(void **state)
{
	static const struct {
		const char *file, *environment, *value;
		enum rules_origin origin;
	} rows[] = {
		{"max_attempts=5\n[db]\nmax_attempts=6", "7", "6", ORIGIN_SECTION},
		{"max_attempts=5\n[db]\nmax_attempts=", "7", "", ORIGIN_SECTION},
		{"max_attempts=5\n[db]\nresume=1", "7", "7", ORIGIN_ENVIRONMENT},
		{"max_attempts=5\n[other]\nmax_attempts=6", "7", "7", ORIGIN_ENVIRONMENT},
		{"max_attempts=5", "", "5", ORIGIN_GLOBAL},
		{"max_attempts=5", "0", "5", ORIGIN_GLOBAL}, /* malformed */
		{"max_attempts=5", NULL, "5", ORIGIN_GLOBAL},
		{"", NULL, NULL, ORIGIN_DEFAULT},
		{"", "0", NULL, ORIGIN_DEFAULT},
	};
	struct target target = {0};
	(void)state;
	target_set_url(&target, "db:1");
	for (size_t i = 0; i < COUNT(rows); i++) {
		enum rules_origin origin;
		read_text(rows[i].file);
		const char *value = rules_value(&rules, rules_section(&rules, &target), config_find("RETRY_MAX_ATTEMPTS"),
		                                rows[i].environment, &origin);
		CHECK_INT(rows[i].file, origin, rows[i].origin);
		CHECK_INT(rows[i].file, value == NULL, rows[i].value == NULL);
		if (value != NULL)
			CHECK_TEXT(rows[i].file, value, rows[i].value);
	}
}

static void bad_lines_are_named_and_skipped(void **state)
{
	static const struct {
		const char *file, *told;
	} rows[] = {
		{"nonsense", "1 nonsense: 0\n"},
		{"\n\n= 5", "3 : 1\n"},
		{"max_atempts = 5", "1 max_atempts: 1\n"},
		{"max_attempt = 5", "1 max_attempt: 1\n"},
		{"max_attempts_ = 5", "1 max_attempts_: 1\n"},
		{"RETRY_MAX_ATTEMPTS = 5", "1 RETRY_MAX_ATTEMPTS: 1\n"},
		{"MAX_ATTEMPTS = 5", "1 MAX_ATTEMPTS: 1\n"},
		{"max_attempts = 0", "1 max_attempts: 2\n"},
		{"max_attempts = 5 # why", "1 max_attempts: 2\n"},
		{"config = /x", "1 config: 3\n"},
		{"[db]\nconfig = /x", "2 config: 3\n"},
		{"[db]\nstate = off\nhosts = a\ndiag = 1", "2 state: 4\n3 hosts: 4\n4 diag: 4\n"},
		{"[]\nmax_attempts = 6", "1 []: 5\n"},
		{"[\nmax_attempts = 6", "1 [: 5\n"},
		{"[db\nmax_attempts = 6", "1 [db: 5\n"},
		{"[db:99999]\nmax_attempts = 6", "1 [db:99999]: 5\n"},
		{"[db] # why\nmax_attempts = 6", "1 [db] # why: 5\n"},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		read_text(rows[i].file);
		CHECK_TEXT(rows[i].file, told, rows[i].told);
		CHECK_INT(rows[i].file, rules.settings, 0);
	}
	for (int fault = 0; fault < RULES_FAULTS; fault++)
		assert_true(strlen(rules_fault_text((enum rules_fault)fault)) > 10);
}

static void a_bad_line_harms_no_other(void **state)
{
	(void)state;
	read_text("max_attempts = 5\nbase_delay = 1\n[db:x]\nmax_attempts = 6\n[web]\nmax_attempts = x\nmax_delay_ms = 9\n");
	CHECK_TEXT("told", told, "2 base_delay: 1\n3 [db:x]: 5\n6 max_attempts: 2\n");
	CHECK_TEXT("global", value_at("db:1", "RETRY_MAX_ATTEMPTS"), "5");
	CHECK_TEXT("section", value_at("web:1", "RETRY_MAX_DELAY_MS"), "9");
}

static void every_variable_has_its_name(void **state)
{
	(void)state;
	for (size_t i = 0; i < config_variable_count; i++) {
		const struct config_variable *variable = &config_variables[i];
		char line[128], name[64];
		strcpy(name, variable->name + 6);
		for (char *at = name; *at != '\0'; at++)
			*at = *at >= 'A' && *at <= 'Z' ? (char)(*at + 32) : *at;
		snprintf(line, sizeof line, "%s = %s", name, variable->fallback);
		read_text(line);
		CHECK_INT(name, rules.settings, variable->scope != SCOPE_ENVIRONMENT);
		snprintf(line, sizeof line, "[*]\n%s = %s", name, variable->fallback);
		read_text(line);
		CHECK_INT(name, rules.settings, variable->scope == SCOPE_DESTINATION);
	}
}

static void too_much_is_told(void **state)
{
	char *at = text;
	(void)state;
	told[0] = '\0';
	for (int i = 1; i <= RULES_SECTIONS; i++)
		at += sprintf(at, "[h%d]\nresume=1\n", i);
	rules_read(&rules, text, (size_t)(at - text), tell, NULL);
	CHECK_TEXT("sections", told, "127 [h64]: 6\n");
	CHECK_TEXT("last", value_at("h63:1", "RETRY_RESUME"), "1");
	CHECK_TEXT("too many", value_at("h64:1", "RETRY_RESUME"), "(none)");
	told[0] = '\0';
	at = text;
	for (int i = 0; i <= RULES_SETTINGS; i++)
		at += sprintf(at, "resume=1\n");
	rules_read(&rules, text, (size_t)(at - text), tell, NULL);
	CHECK_TEXT("settings", told, "1025 resume: 6\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(settings_and_sections),      cmocka_unit_test(bad_lines_are_named_and_skipped),
		cmocka_unit_test(whose_value_counts), cmocka_unit_test(a_bad_line_harms_no_other),  cmocka_unit_test(every_variable_has_its_name),
		cmocka_unit_test(too_much_is_told),
	};
	return cmocka_run_group_tests_name("rules", tests, NULL, NULL);
}
