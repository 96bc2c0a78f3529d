/* Places of the host-shared state: who gets which, and who has to leave. */
#include <stdlib.h>

#include "retryshim/runtime.h"
#include "support.h"

static struct state *host;

static struct labels labels_of(int number)
{
	struct labels labels;
	struct target target = {.port = 80};
	char operation[32];
	snprintf(operation, sizeof operation, "operation-%d", number);
	strcpy(target.name, "h");
	labels_set(&labels, operation, &target, CATEGORY_NETWORK);
	return labels;
}

static struct series *place(int number, int64_t now_ms)
{
	struct labels labels = labels_of(number);
	return state_series_place(host, &labels, now_ms);
}

/* How many of the first `count` numbers still have what has been counted for them. */
static int still_there(int first, int count)
{
	int there = 0;
	for (int number = first; number < first + count; number++) {
		struct labels labels = labels_of(number), read;
		for (int i = 0; i < STATE_SERIES; i++)
			there += series_read(host, i, &read) != 0 && memcmp(&read, &labels, sizeof read) == 0 && host->series[i].exhausted == 1;
	}
	return there;
}

static void make(int first, int count, int64_t now_ms)
{
	for (int number = first; number < first + count; number++)
		series_add(place(number, now_ms), METRIC_EXHAUSTED, REASON_NONE, 0);
}

static void the_same_labels_have_the_same_place(void **state)
{
	(void)state;
	memset(host, 0, sizeof *host);
	struct series *first = place(1, 1000);
	CHECK_INT("again", place(1, 2000) == first, true);
	CHECK_INT("others", place(2, 2000) == first, false);
}

/* Others look at the clock a moment after us. */
static void what_was_used_a_moment_later_is_not_nonsense(void **state)
{
	(void)state;
	memset(host, 0, sizeof *host);
	make(0, 30, 1001);
	make(100, 30, 1000);
	CHECK_INT("all", still_there(0, 30) + still_there(100, 30), 60);
}

static void nonsense_goes_before_what_is_old(void **state)
{
	(void)state;
	memset(host, 0, sizeof *host);
	make(0, STATE_SERIES, 1000);
	int before = still_there(0, STATE_SERIES);
	for (int i = 0; i < STATE_SERIES; i++)
		if (i % 2 == 0)
			host->series[i].place.used = UINT64_MAX / 2;
	make(1000, 40, 2000);
	CHECK_INT("the new ones", still_there(1000, 40), 40);
	int sensible = 0;
	for (int i = 0; i < STATE_SERIES; i++)
		sensible += host->series[i].place.used == 1000;
	CHECK_RANGE("the old ones", sensible, before / 2 - 8, STATE_SERIES / 2); /* a few stood where nonsense had no neighbour */
}

static void a_new_one_begins_at_zero(void **state)
{
	(void)state;
	memset(host, 0, sizeof *host);
	for (int number = 0; number < 2000; number++) { /* each place many times over */
		struct series *series = place(number, 1000 + number);
		assert_non_null(series);
		CHECK_INT("count", series->exhausted, 0);
		series_add(series, METRIC_EXHAUSTED, REASON_NONE, 0);
	}
	CHECK_INT("the latest", still_there(1990, 10), 10);
}

/* Whoever took it was killed before it was ready. */
static void a_place_that_was_left_unready_is_made(void **state)
{
	(void)state;
	memset(host, 0, sizeof *host);
	struct series *series = place(1, 1000);
	series->exhausted = 7;
	series->place.tag &= ~UINT64_C(1);
	memset((char *)series->operation, 'x', sizeof series->operation);
	CHECK_INT("same", place(1, 2000) == series, true);
	CHECK_INT("ready", series->place.tag & 1, 1);
	CHECK_INT("cleared", series->exhausted, 0);
	series->exhausted = 1;
	CHECK_INT("named", still_there(1, 1), 1);
}

static void a_wrong_name_is_put_right(void **state)
{
	(void)state;
	memset(host, 0, sizeof *host);
	struct series *series = place(1, 1000);
	series->exhausted = 1;
	memset((char *)series->operation, 'x', sizeof series->operation - 8);
	CHECK_INT("hidden", still_there(1, 1), 0);
	place(1, 2000);
	CHECK_INT("shown", still_there(1, 1), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_labels_have_the_same_place), cmocka_unit_test(what_was_used_a_moment_later_is_not_nonsense),
		cmocka_unit_test(nonsense_goes_before_what_is_old), cmocka_unit_test(a_new_one_begins_at_zero),
		cmocka_unit_test(a_place_that_was_left_unready_is_made), cmocka_unit_test(a_wrong_name_is_put_right),
	};
	host = calloc(1, sizeof *host);
	int failed = host != NULL ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
	free(host);
	return failed;
}
