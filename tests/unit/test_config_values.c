/* One value of one variable: what is taken, what it becomes, what is refused. */
#include <stdlib.h>

#include "support.h"

static void count_complaint(void *context, const char *name, const char *value, const char *used)
{
	(void)name, (void)value, (void)used;
	++*(int *)context;
}

static struct config parse_one(const char *name, const char *value, int *complaints)
{
	const char *pairs[] = {name, value, NULL};
	struct config config;
	*complaints = 0;
	config_parse(&config, lookup_pair, pairs, count_complaint, complaints);
	return config;
}

/* Parser and config_accepts() must be of one mind. */
static struct config check_taken(const char *name, const char *value, bool taken)
{
	int complaints;
	char row[600];
	snprintf(row, sizeof row, "%s=%s", name, value);
	struct config config = parse_one(name, value, &complaints);
	CHECK_INT(row, complaints, taken ? 0 : 1);
	CHECK_INT(row, config_accepts(config_find(name), value), taken);
	return config;
}

static void integers(void **state)
{
	static const struct {
		const char *name, *minimum, *maximum, *below, *above;
	} rows[] = {
		{"RETRY_MAX_ATTEMPTS", "1", "1000", "0", "1001"},
		{"RETRY_BASE_DELAY_MS", "0", "3600000", "-1", "3600001"},
		{"RETRY_MAX_DELAY_MS", "0", "3600000", "-1", "3600001"},
		{"RETRY_TIMEOUT_MS", "0", "604800000", "-1", "604800001"},
		{"RETRY_BREAKER_THRESHOLD", "1", "1000000", "0", "1000001"},
		{"RETRY_BREAKER_OPEN_MS", "1", "3600000", "0", "3600001"},
		{"RETRY_SEED", "0", "9007199254740991", "-1", "9007199254740992"},
	};
	static const char *const bad[] = {
		"9223372036854775807", "9223372036854775808", "18446744073709551617", "99999999999999999999999999",
		" 5", "5 ", "\t5", "5\n", "+5", "-5", "--5", "0x5", "5x", "5.0", "5,0", "5e0", "5ms", "five", "1 000", "1_0", ".", "-",
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const char *good[] = {rows[i].minimum, "5", "007", "500", rows[i].maximum};
		for (size_t n = 0; n < COUNT(good); n++) {
			struct config config = check_taken(rows[i].name, good[n], true);
			int64_t field;
			memcpy(&field, (char *)&config + config_find(rows[i].name)->offset, sizeof field);
			CHECK_INT(rows[i].name, field, strtoll(good[n], NULL, 10));
		}
		check_taken(rows[i].name, rows[i].below, false);
		check_taken(rows[i].name, rows[i].above, false);
		for (size_t n = 0; n < COUNT(bad); n++)
			check_taken(rows[i].name, bad[n], false);
	}
}

static void reals(void **state)
{
	static const struct {
		const char *name, *minimum, *maximum, *below, *above;
	} rows[] = {
		{"RETRY_MULTIPLIER", "1.0", "10.0", "0.999999", "10.000001"},
		{"RETRY_BUDGET_BURST", "1", "1000000", "0.9", "1000000.1"},
		{"RETRY_BUDGET_RATIO", "0", "1000", "-0.1", "1000.001"},
		{"RETRY_BUDGET_PER_SEC", "0.0", "1000000", "-1", "1000001"},
	};
	static const char *const bad[] = {"1e0", "+1", " 1", "1 ", "1,5", "1.5.", "1.5.5", ".", "0x1", "inf", "nan", "1.5f", "1e999",
	                                  "99999999999999999999999999999999999999", "-1", "one"};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const char *good[] = {rows[i].minimum, "1.", "1.5", "01.25", "1.3333333333333333333333", rows[i].maximum};
		for (size_t n = 0; n < COUNT(good); n++) {
			struct config config = check_taken(rows[i].name, good[n], true);
			double field, want = strtod(good[n], NULL);
			memcpy(&field, (char *)&config + config_find(rows[i].name)->offset, sizeof field);
			if (field < want * (1 - 1e-12) || field > want * (1 + 1e-12))
				fail_msg("%s=%s became %.17g", rows[i].name, good[n], field);
		}
		check_taken(rows[i].name, rows[i].below, false);
		check_taken(rows[i].name, rows[i].above, false);
		for (size_t n = 0; n < COUNT(bad); n++)
			check_taken(rows[i].name, bad[n], false);
	}
}

/* Words: booleans, choices and jitter. want -1: refused. */
static void words(void **state)
{
	static const struct {
		const char *name, *value;
		int64_t want;
	} rows[] = {
		{"RETRY_ENABLED", "0", 0}, {"RETRY_ENABLED", "1", 1}, {"RETRY_ENABLED", "off", 0}, {"RETRY_ENABLED", "on", 1},
		{"RETRY_ENABLED", "false", 0}, {"RETRY_ENABLED", "TRUE", 1}, {"RETRY_ENABLED", "no", 0}, {"RETRY_ENABLED", "Yes", 1},
		{"RETRY_ENABLED", "2", -1}, {"RETRY_ENABLED", "00", -1}, {"RETRY_ENABLED", "-0", -1}, {"RETRY_ENABLED", " 0", -1},
		{"RETRY_ENABLED", "0 ", -1}, {"RETRY_ENABLED", "o", -1}, {"RETRY_ENABLED", "0|off", -1}, {"RETRY_ENABLED", "|", -1},
		{"RETRY_NONBLOCK", "0", 0}, {"RETRY_NONBLOCK", "x", -1}, {"RETRY_DNS", "0", 0}, {"RETRY_DNS", "x", -1},
		{"RETRY_CURL", "0", 0}, {"RETRY_CURL", "x", -1}, {"RETRY_RESUME", "1", 1}, {"RETRY_RESUME", "x", -1},
		{"RETRY_BUDGET", "off", 0}, {"RETRY_BUDGET", "x", -1}, {"RETRY_DIAG", "1", 1}, {"RETRY_DIAG", "x", -1},
		{"RETRY_UNIX", "busy", UNIX_BUSY}, {"RETRY_UNIX", "all", UNIX_ALL}, {"RETRY_UNIX", "off", UNIX_OFF},
		{"RETRY_UNIX", "ALL", UNIX_ALL}, {"RETRY_UNIX", "al", -1}, {"RETRY_UNIX", "alle", -1}, {"RETRY_UNIX", "0", -1},
		{"RETRY_UNIX", "busy|all", -1}, {"RETRY_UNIX", " all", -1}, {"RETRY_UNIX", "all,off", -1},
		{"RETRY_DEEPBIND", "auto", DEEPBIND_AUTO}, {"RETRY_DEEPBIND", "keep", DEEPBIND_KEEP},
		{"RETRY_DEEPBIND", "drop", DEEPBIND_DROP}, {"RETRY_DEEPBIND", "1", -1},
		{"RETRY_BREAKER", "pass", BREAKER_PASS}, {"RETRY_BREAKER", "reject", BREAKER_REJECT},
		{"RETRY_BREAKER", "off", BREAKER_OFF}, {"RETRY_BREAKER", "on", -1},
		{"RETRY_DIAG_FORMAT", "text", DIAG_TEXT}, {"RETRY_DIAG_FORMAT", "json", DIAG_JSON}, {"RETRY_DIAG_FORMAT", "xml", -1},
		{"RETRY_JITTER", "full", JITTER_FULL}, {"RETRY_JITTER", "equal", JITTER_EQUAL},
		{"RETRY_JITTER", "decorrelated", JITTER_DECORRELATED}, {"RETRY_JITTER", "none", JITTER_NONE},
		{"RETRY_JITTER", "0", JITTER_FACTOR}, {"RETRY_JITTER", "0.25", JITTER_FACTOR}, {"RETRY_JITTER", "1", JITTER_FACTOR},
		{"RETRY_JITTER", "0.30000000000000004", JITTER_FACTOR}, {"RETRY_JITTER", "1.01", -1}, {"RETRY_JITTER", "-0.1", -1},
		{"RETRY_JITTER", "0,5", -1}, {"RETRY_JITTER", "fully", -1}, {"RETRY_JITTER", "factor", -1}, {"RETRY_JITTER", " 0.5", -1},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct config config = check_taken(rows[i].name, rows[i].value, rows[i].want >= 0);
		int64_t field;
		memcpy(&field, (char *)&config + config_find(rows[i].name)->offset, sizeof field);
		if (rows[i].want >= 0)
			CHECK_INT(rows[i].value, field, rows[i].want);
	}
	int complaints;
	struct config config = parse_one("RETRY_JITTER", "0.25", &complaints);
	CHECK_INT("factor * 100", config.jitter_factor * 100, 25);
	config = parse_one("RETRY_JITTER", "7", &complaints);
	CHECK_INT("refused factor", config.jitter_factor * 100, 0);
	CHECK_INT("refused factor", config.jitter, JITTER_FULL);
}

static void status_lists(void **state)
{
	static const struct {
		const char *value;
		int first, last; /* in the list; 0 = the value is refused */
	} rows[] = {
		{"503", 503, 503}, {"400,599", 400, 599}, {" 408 ,\t429 ", 408, 429}, {"503,503", 503, 503}, {"463,464", 463, 464},
		{"0503", 503, 503}, {"399", 0, 0}, {"600", 0, 0}, {"503,", 0, 0}, {",503", 0, 0}, {"500,,503", 0, 0}, {",", 0, 0},
		{"5xx", 0, 0}, {"500-599", 0, 0}, {"500 503", 0, 0}, {"500;503", 0, 0}, {"-503", 0, 0}, {"+503", 0, 0}, {"0x1f7", 0, 0},
		{"503.0", 0, 0}, {"4294967799", 0, 0}, {"18446744073709552119", 0, 0}, {"503,200", 0, 0}, {"200,503", 0, 0},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct config config = check_taken("RETRY_HTTP_STATUS", rows[i].value, rows[i].first != 0);
		int found = 0;
		for (int status = 400; status < 600; status++)
			found += status_set_has(&config.http_status, status);
		if (rows[i].first == 0) {
			CHECK_INT(rows[i].value, found, 6); /* the default, whole: no half of a refused list */
			continue;
		}
		CHECK_INT(rows[i].value, found, rows[i].first == rows[i].last ? 1 : 2);
		CHECK_INT(rows[i].value, status_set_has(&config.http_status, rows[i].first), true);
		CHECK_INT(rows[i].value, status_set_has(&config.http_status, rows[i].last), true);
		CHECK_INT(rows[i].value, status_set_has(&config.http_status, 400 - 64), false);
	}
}

static void texts(void **state)
{
	static const struct {
		const char *name, *value;
		bool taken;
	} rows[] = {
		{"RETRY_METHODS", "POST", true}, {"RETRY_METHODS", "GET, PATCH", true}, {"RETRY_METHODS", "M-SEARCH", true},
		{"RETRY_METHODS", "GET POST", false}, {"RETRY_METHODS", "GET,", false}, {"RETRY_METHODS", "G(T", false},
		{"RETRY_METHODS", "G\xc3\x8bT", false}, {"RETRY_METHODS", "GET;POST", false},
		{"RETRY_HOSTS", "a,b:80,[::1]:443,10.0.0.0/8,unix:/run/*", true}, {"RETRY_HOSTS", "a b", false},
		{"RETRY_HOSTS", "a:99999", false}, {"RETRY_HOSTS", "a,,b", false}, {"RETRY_SKIP_HOSTS", "10.0.0.0/33", false},
		{"RETRY_SKIP_HOSTS", "10.0.0.0/32", true}, {"RETRY_PROGRAMS", "curl,git-*", true},
		{"RETRY_PROGRAMS", "my program", true}, {"RETRY_PROGRAMS", "a\x1b[31m", false}, {"RETRY_PROGRAMS", ",", false},
		{"RETRY_SKIP_PROGRAMS", "s?h", true}, {"RETRY_SKIP_PROGRAMS", "a,\n", false}, {"RETRY_STATE", "/dev/shm/x", true},
		{"RETRY_STATE", "a\tb", false}, {"RETRY_FALLBACK", "a:1=b:2,[::1]:3=c:4", true}, {"RETRY_FALLBACK", "a=b", false},
		{"RETRY_METRICS", "emf:/tmp/e,statsd://h:8125", true}, {"RETRY_METRICS", "syslog:", false},
		{"RETRY_METRICS_NAMESPACE", "K8sCluster/Retry", true}, {"RETRY_METRICS_NAMESPACE", "a\nb", false},
		{"RETRY_OPERATION", "h\xc3\xb6len", true}, {"RETRY_OPERATION", "a\x7f", false},
		{"RETRY_DIAG_FILE", "/tmp/with blank.%p", true}, {"RETRY_DIAG_FILE", "\r", false},
		{"RETRY_DIAG_DIR", ".", true}, {"RETRY_DIAG_DIR", "a\x01", false},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		check_taken(rows[i].name, rows[i].value, rows[i].taken);
}

/* Very long values end in a refusal or are kept whole. */
static void long_values(void **state)
{
	static char text[70000];
	(void)state;
	memset(text, '1', sizeof text - 1);
	for (size_t i = 0; i < config_variable_count; i++) {
		enum config_kind kind = config_variables[i].kind;
		CHECK_INT(config_variables[i].name, config_accepts(&config_variables[i], text), kind == KIND_TEXT);
	}
	for (size_t at = 3; at < sizeof text - 1; at += 4)
		text[at] = ',';
	CHECK_INT("hosts", config_accepts(config_find("RETRY_HOSTS"), text), true);
	CHECK_INT("methods", config_accepts(config_find("RETRY_METHODS"), text), true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(integers), cmocka_unit_test(reals), cmocka_unit_test(words),
		cmocka_unit_test(status_lists), cmocka_unit_test(texts), cmocka_unit_test(long_values),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
