/* Evidence among two and three processes: every order of their steps, not samples.
 *
 * A step is one atomic access: between loading a word and swapping it anything may happen. The processes are those of
 * shim/runtime/share.c, written as tables of steps; what the words mean is the shipped policy. All states that can be
 * reached are visited once. Time is a few ticks; a scheduler may let it pass at any moment ("hurried": processes are
 * as slow as they like), or only when everybody waits ("calm": they are quick against a backoff).
 */
#include <stdlib.h>

#include "support.h"

#include "retryshim/host.h"

enum { PROCESSES_MOST = 3, ATTEMPTS = 3, NEVER = 99 };

enum pc { TRY, TELL_LOAD, TELL_SWAP, RELEASE, BACK_OFF, CLAIM, LOOK, LOOK_EVIDENCE, TAKE_OVER, COUNT_IT, ENTER_WAIT, WAKE, SUCCEEDED, EXHAUSTED, DEAD };

struct process {
	uint8_t pc, attempts, sent;
	uint8_t probing; /* it is sending because it holds the claim */
	uint8_t good;    /* what it is telling */
	struct waiter waiter;
	uint64_t seen; /* the word that it has loaded */
	uint64_t told;
	uint8_t waits_until, news, counts_us; /* in LOOK */
	uint8_t asleep; /* in futex(2): until it is woken, whatever the word becomes */
	uint8_t then;   /* WAKE: what follows */
};

struct world {
	uint8_t now, up_at, news;
	uint64_t evidence, claim;
	uint8_t last_failure, last_success; /* when somebody really got that from the server; 0 = never */
	struct process process[PROCESSES_MOST];
};

struct scenario {
	const char *name;
	int processes;
	int last_tick;
	bool calm;
	bool may_die; /* one process, the first, at any moment */
	uint8_t backoff[PROCESSES_MOST], most, pace; /* ticks */
};

/* ---- the set of visited states ---------------------------------------------------------------------- */

static struct world *visited;
static size_t visited_size, visited_count;

static uint64_t hash_of(const struct world *world)
{
	const unsigned char *byte = (const unsigned char *)world;
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	for (size_t i = 0; i < sizeof *world; i++)
		hash = (hash ^ byte[i]) * UINT64_C(0x100000001b3);
	return hash ^ hash >> 29;
}

static bool is_empty(const struct world *world) { return world->up_at == 0; }

static bool insert(struct world *table, size_t size, const struct world *world)
{
	size_t at = hash_of(world) & (size - 1);
	for (; !is_empty(&table[at]); at = (at + 1) & (size - 1))
		if (memcmp(&table[at], world, sizeof *world) == 0)
			return false;
	table[at] = *world;
	return true;
}

static bool visit(const struct world *world)
{
	if (visited_count * 2 >= visited_size) {
		size_t size = visited_size != 0 ? visited_size * 2 : 1 << 16;
		struct world *table = calloc(size, sizeof *table);
		assert_non_null(table);
		for (size_t i = 0; i < visited_size; i++)
			if (!is_empty(&visited[i]))
				insert(table, size, &visited[i]);
		free(visited);
		visited = table;
		visited_size = size;
	}
	bool is_new = insert(visited, visited_size, world);
	visited_count += is_new;
	return is_new;
}

/* ---- the processes ---------------------------------------------------------------------------------- */

static bool is_over(const struct process *it) { return it->pc >= SUCCEEDED; }

/* A wake, or its instant, gets a waiting process on. */
static bool waits(const struct world *world, const struct process *it) { return it->asleep && it->waits_until > world->now; }

static void try(struct world *world, struct process *it)
{
	it->sent++;
	it->attempts++;
	it->good = world->now >= world->up_at;
	it->told = evidence_word(&(struct evidence){.at_us = world->now, .ok = it->good, .source = SOURCE_CONNECT, .code = it->good ? 0 : 111});
	it->waiter.failed_us = world->now;
	*(it->good ? &world->last_success : &world->last_failure) = world->now;
	it->pc = TELL_LOAD;
}

static void go_on_telling(struct world *world, struct process *it)
{
	if (world->evidence != it->seen) {
		it->pc = TELL_LOAD;
		return;
	}
	struct evidence before = evidence_read(it->seen), after = evidence_read(it->told);
	if (before.at_us <= after.at_us && !(before.ok && after.ok))
		world->evidence = it->told;
	it->pc = RELEASE;
}

static void release(struct world *world, struct process *it, enum pc next)
{
	if (it->waiter.claim != 0 && world->claim == it->waiter.claim)
		world->claim = 0;
	it->waiter.claim = 0;
	it->probing = 0;
	world->news++; /* share.c's wake(): the word changes, and then who sleeps by it is woken */
	it->pc = WAKE;
	it->then = (uint8_t)next;
}

static void wake(const struct scenario *scenario, struct world *world, struct process *it)
{
	for (int i = 0; i < scenario->processes; i++)
		world->process[i].asleep = 0;
	it->pc = it->then;
	it->then = 0;
}

/* FUTEX_WAIT: the kernel compares the word with what was seen before the look, and puts the process to sleep, in one. */
static void enter_wait(const struct world *world, struct process *it)
{
	it->asleep = world->news == it->news;
	it->pc = LOOK;
}

static void back_off(const struct scenario *scenario, struct world *world, struct process *it, int number)
{
	if (it->attempts >= ATTEMPTS) {
		it->pc = EXHAUSTED;
		return;
	}
	it->waiter.at_us = world->now + scenario->backoff[number];
	it->waiter.limit_us = world->now + scenario->most;
	it->waiter.patience_us = scenario->most;
	it->waiter.end_us = NEVER;
	it->waiter.pace_us = scenario->pace;
	it->seen = world->claim;
	it->pc = CLAIM;
}

static void claim_at(struct world *world, struct process *it, int number, int64_t at_us, enum pc then, enum pc otherwise)
{
	if (world->claim == it->seen) {
		world->claim = it->waiter.claim = claim_word(at_us, (uint64_t)number * 2 + 3);
		it->pc = (uint8_t)then;
		it->probing = then == TRY;
	} else {
		it->pc = (uint8_t)otherwise;
	}
	it->waits_until = 0;
}

static void look(struct world *world, struct process *it)
{
	struct view view = evidence_look(&it->waiter, world->evidence, it->seen, world->now);
	struct evidence evidence = evidence_read(world->evidence);
	switch (view.course) {
	case COURSE_WAIT:
		it->pc = ENTER_WAIT;
		it->waits_until = (uint8_t)view.until_us;
		return;
	case COURSE_GO:
		it->probing = it->waiter.claim != 0 && it->waiter.claim == it->seen && !(evidence.ok && evidence.at_us > it->waiter.failed_us);
		it->pc = TRY;
		return;
	case COURSE_COUNTS:
		if (view.until_us <= it->waiter.failed_us || view.until_us > world->last_failure)
			fail_msg("a failure counts that is not one of another's since");
		it->counts_us = (uint8_t)view.until_us;
		it->pc = COUNT_IT;
		return;
	default: it->pc = TAKE_OVER;
	}
}

static void step(const struct scenario *scenario, struct world *world, int number)
{
	struct process *it = &world->process[number];
	switch ((enum pc)it->pc) {
	case TRY: try(world, it); break;
	case TELL_LOAD:
		it->seen = world->evidence;
		it->pc = TELL_SWAP;
		break;
	case TELL_SWAP: go_on_telling(world, it); break;
	case RELEASE: release(world, it, it->good ? SUCCEEDED : BACK_OFF); break;
	case BACK_OFF: back_off(scenario, world, it, number); break;
	case CLAIM:
		it->waits_until = 0;
		if (claim_stands(it->seen, world->now, scenario->most))
			it->pc = LOOK;
		else
			claim_at(world, it, number, it->waiter.at_us, LOOK, BACK_OFF);
		break;
	case ENTER_WAIT: enter_wait(world, it); break;
	case WAKE: wake(scenario, world, it); break;
	case LOOK:
		it->asleep = 0;
		it->news = world->news;
		it->seen = world->claim;
		it->pc = LOOK_EVIDENCE;
		break;
	case LOOK_EVIDENCE: look(world, it); break;
	case TAKE_OVER: claim_at(world, it, number, world->now, TRY, LOOK); break;
	case COUNT_IT:
		it->attempts++;
		it->waiter.failed_us = it->counts_us;
		release(world, it, BACK_OFF);
		break;
	default: break;
	}
	if (is_over(it)) { /* what it has seen does not tell states apart any more */
		struct process over = {.pc = it->pc, .attempts = it->attempts, .sent = it->sent};
		*it = over;
	}
}

/* ---- what must hold in every state ------------------------------------------------------------------ */

static const struct scenario *running;
static int most_sent, fewest_sent;

/* Whose sleep the word has left behind is about to be woken, unless who was to has died. */
static void check_sleep(const struct world *world)
{
	bool wakes = running->may_die;
	for (int i = 0; i < running->processes; i++)
		wakes = wakes || world->process[i].pc == WAKE;
	for (int i = 0; i < running->processes && !wakes; i++)
		if (world->process[i].asleep && world->process[i].news != world->news)
			fail_msg("[%s] process %d sleeps through news", running->name, i);
}

static void check(const struct world *world)
{
	int probing = 0;
	check_sleep(world);
	for (int i = 0; i < running->processes; i++) {
		const struct process *it = &world->process[i];
		probing += it->probing && it->pc == TRY;
		if (it->attempts > ATTEMPTS)
			fail_msg("[%s] more attempts than allowed", running->name);
		if (it->asleep && it->waits_until > it->waiter.limit_us && it->waits_until > world->now + running->most)
			fail_msg("[%s] a wait beyond the longest backoff", running->name);
		if (it->sent > it->attempts)
			fail_msg("[%s] an attempt was sent that does not count", running->name);
	}
	/* With claims that no slowness makes expire. */
	if (running->calm && !running->may_die && probing > 1)
		fail_msg("[%s] two probers at once", running->name);
	struct evidence evidence = evidence_read(world->evidence);
	if (evidence.ok ? evidence.at_us > world->last_success : evidence.at_us > world->last_failure)
		fail_msg("[%s] evidence of what never was", running->name);
}

static void check_end(const struct world *world)
{
	int sent = 0;
	for (int i = 0; i < running->processes; i++) {
		const struct process *it = &world->process[i];
		/* Where time may run away, the scenario's may end before a backoff does. */
		if (!is_over(it) && (running->calm || !waits(world, it)))
			fail_msg("[%s] process %d never ends: pc %d", running->name, i, it->pc);
		sent += it->sent;
	}
	if (sent > most_sent)
		most_sent = sent;
	if (sent < fewest_sent)
		fewest_sent = sent;
}

static void explore(const struct world *world)
{
	bool moved = false, all_wait = true;
	if (!visit(world))
		return;
	check(world);
	for (int i = 0; i < running->processes; i++) {
		const struct process *it = &world->process[i];
		if (is_over(it) || waits(world, it))
			continue;
		struct world next = *world;
		step(running, &next, i);
		all_wait = false;
		moved = true;
		explore(&next);
	}
	if (running->may_die && !is_over(&world->process[0])) {
		struct world next = *world;
		next.process[0] = (struct process){.pc = DEAD};
		explore(&next);
	}
	if (world->now < running->last_tick && (all_wait || !running->calm)) {
		bool any = false;
		for (int i = 0; i < running->processes; i++)
			any = any || !is_over(&world->process[i]);
		if (any) {
			struct world next = *world;
			next.now++;
			moved = true;
			explore(&next);
		}
	}
	if (!moved)
		check_end(world);
}

static void run(const struct scenario *scenario, int up_at)
{
	struct world world = {.now = 1, .up_at = (uint8_t)up_at};
	running = scenario;
	visited_count = 0;
	if (visited != NULL)
		memset(visited, 0, visited_size * sizeof *visited);
	explore(&world);
}

/* Server down for ever: everybody ends, and how many attempts go out in the best and the worst order. Then: it comes
 * back at each tick. */
static void all_orders(void **state)
{
	static const struct {
		struct scenario scenario;
		int most_sent;
	} rows[] = {
		{{"two, calm", 2, 20, true, false, {2, 3}, 4, 3}, 5},
		{{"two, alike", 2, 20, true, false, {2, 2}, 3, 3}, 5},
		{{"two, one impatient", 2, 20, true, false, {1, 5}, 7, 3}, 6},
		{{"three, calm", 3, 24, true, false, {2, 3, 4}, 6, 3}, 7},
		{{"two, hurried", 2, 6, false, false, {2, 3}, 4, 3}, 6},
		{{"two, the first dies", 2, 14, true, true, {2, 3}, 4, 3}, 5},
		{{"three, the first dies", 3, 16, true, true, {2, 2, 3}, 5, 3}, 7},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct scenario *scenario = &rows[i].scenario;
		most_sent = 0;
		fewest_sent = NEVER;
		run(scenario, NEVER);
		print_message("%s: %zu states, %d to %d attempts sent of %d\n", scenario->name, visited_count, fewest_sent, most_sent,
		              scenario->processes * ATTEMPTS);
		CHECK_RANGE(scenario->name, most_sent, 1, rows[i].most_sent);
		for (int up_at = 1; up_at < scenario->last_tick; up_at++)
			run(scenario, up_at);
	}
	free(visited);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(all_orders)};
	return cmocka_run_group_tests_name("interleavings", tests, NULL, NULL);
}
