/* Exit statuses that are worth another run. */
#include "support.h"

static void lists(void **state)
{
	static const struct {
		const char *list;
		int status;
		bool in;
	} rows[] = {
		{"1", 1, true}, {"1", 2, false}, {"1,7", 7, true}, {" 1 , 7 ", 7, true}, {"1,100-120", 100, true},
		{"1,100-120", 120, true}, {"1,100-120", 121, false}, {"1,100-120", 99, false}, {"1-255", 255, true},
		{"1-125", 126, false}, {"137", 137, true}, {"5-5", 5, true},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		CHECK_INT(rows[i].list, statuses_valid(rows[i].list), true);
		CHECK_INT(rows[i].list, statuses_have(rows[i].list, rows[i].status), rows[i].in);
		CHECK_INT(rows[i].list, statuses_have(rows[i].list, 0), false);
	}
}

static void malformed_ones(void **state)
{
	static const char *const rows[] = {"", ",", "1,", "0", "0-3", "256", "1-256", "3-1", "-", "1-", "-1", "x", "1-2-3", "1 2", "99999999999"};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		CHECK_INT(rows[i], statuses_valid(rows[i]), false);
}

/* A command is judged by its status alone, belongs to no host, and tells nothing of one. */
static void commands(void **state)
{
	char text[TARGET_TEXT_MAX];
	struct config config = config_with("RETRY_HOSTS", "db:1", "RETRY_SKIP_HOSTS", "make");
	struct failure failure = {.source = SOURCE_COMMAND, .code = 137, .retry_after_ms = -1, .repeatable = true};
	struct target target = {.way = WAY_COMMAND, .name = "make"};
	(void)state;
	struct class class = classify(&config, &failure);
	CHECK_TEXT("symbol", class.symbol, "exit 137");
	CHECK_INT("retried", class.retried, true);
	CHECK_INT("category", class.category, CATEGORY_TRANSIENT);
	CHECK_INT("evidence", class.connection_evidence || class.reached || class.perhaps_sent, false);
	failure.repeatable = false;
	CHECK_INT("retried", classify(&config, &failure).retried, false);
	CHECK_INT("hosts", match_takes_host(&config, &target), true);
	target_format(&target, text, sizeof text);
	CHECK_TEXT("target", text, "command:make");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(lists), cmocka_unit_test(malformed_ones), cmocka_unit_test(commands)};
	return cmocka_run_group_tests_name("statuses", tests, NULL, NULL);
}
