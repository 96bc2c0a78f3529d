/* The mark that every healthy call takes, against the clock that it stands for. */
#include "retryshim/runtime.h"
#include "support.h"

/* Lets the counter run, so that its rate is known. */
static void spin_ms(int64_t span_ms)
{
	int64_t end_ns = clock_now_ns() + span_ms * NS_PER_MS;
	while (clock_now_ns() < end_ns)
		;
}

static void a_mark_is_its_instant(void **state)
{
	(void)state;
	clock_start();
	spin_ms(5);
	for (int round = 0; round < 50; round++) {
		int64_t before_ns = clock_now_ns();
		uint64_t mark = clock_mark();
		int64_t after_ns = clock_now_ns();
		spin_ms(2);
		int64_t instant_ns = clock_of_mark(mark);
		assert_true(instant_ns >= before_ns - NS_PER_MS && instant_ns <= after_ns + NS_PER_MS);
	}
}

/* A counter that jumps, or a hook that came before our constructor: an instant of the process' life. */
static void a_bad_mark_is_clamped(void **state)
{
	(void)state;
	int64_t start_ns = clock_now_ns();
	clock_start();
	spin_ms(1);
	int64_t before_ns = clock_now_ns();
	assert_true(clock_of_mark(UINT64_MAX) >= before_ns);
	int64_t origin_ns = clock_of_mark(0);
	assert_true(origin_ns >= start_ns && origin_ns <= before_ns);
}

static void a_mark_before_the_start_is_now(void **state)
{
	(void)state;
	int64_t before_ns = clock_now_ns();
	assert_true(clock_of_mark(clock_mark()) >= before_ns);
}

int main(void)
{
	/* This one first: nothing has called clock_start() yet. */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_mark_before_the_start_is_now),
		cmocka_unit_test(a_mark_is_its_instant),
		cmocka_unit_test(a_bad_mark_is_clamped),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
