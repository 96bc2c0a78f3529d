/* One operation's part in what the host knows: the policy's words, swapped. */
#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "retryshim/runtime.h"

/* ---- words ----------------------------------------------------------------------------------------- */

static uint64_t load(const _Atomic(uint64_t) *word) { return atomic_load_explicit(word, memory_order_acquire); }

static bool swap(_Atomic(uint64_t) *word, uint64_t *was, uint64_t becomes)
{
	return *was == becomes ||
	       atomic_compare_exchange_strong_explicit(word, was, becomes, memory_order_acq_rel, memory_order_acquire);
}

static void count(_Atomic(uint64_t) *counter) { atomic_fetch_add_explicit(counter, 1, memory_order_relaxed); }

static bool take_token(struct destination *it, const struct config *config, int64_t now_ns)
{
	uint64_t was = load(&it->bucket), becomes;
	do {
		becomes = was;
		if (!budget_take(config, &becomes, now_ns / NS_PER_MS))
			return false;
	} while (!swap(&it->bucket, &was, becomes));
	return true;
}

static void give_tokens(struct destination *it, const struct config *config, double tokens, int64_t now_ns)
{
	uint64_t was = load(&it->bucket);
	while (was != 0 && !swap(&it->bucket, &was, budget_give(config, was, tokens, now_ns / NS_PER_MS)))
		;
}

static void lower_floor(struct destination *it, const struct config *config, int64_t now_ns)
{
	uint64_t was = load(&it->floor);
	while (was != 0 && !swap(&it->floor, &was, floor_lower(config, was, now_ns / NS_PER_MS)))
		;
}

static void raise_floor(struct destination *it, const struct config *config, int64_t retry_after_ms, int64_t now_ns)
{
	uint64_t was = load(&it->floor);
	while (!swap(&it->floor, &was, floor_raise(config, was, retry_after_ms, now_ns / NS_PER_MS)))
		;
}

static void close_circuit(struct destination *it)
{
	uint64_t was = load(&it->circuit);
	while (was != 0 && !swap(&it->circuit, &was, circuit_succeeded()))
		;
}

/* ---- evidence -------------------------------------------------------------------------------------- */

static void wake(_Atomic(uint32_t) *futex)
{
	atomic_fetch_add_explicit(futex, 1, memory_order_release);
	syscall(SYS_futex, futex, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

_Atomic(uint32_t) *share_news(const struct share *share, struct destination *it)
{
	return share->parked ? &it->results : &it->successes;
}

/* The latest wins: an attempt that has hung for long tells nothing against a later one. Of successes the first since a
 * failure: waiters reckon their start from it. */
static void tell(_Atomic(uint64_t) *word, const struct evidence *evidence)
{
	uint64_t was = load(word);
	do {
		struct evidence before = evidence_read(was);
		int64_t later_us = before.at_us - evidence->at_us;
		if (later_us > 0 && later_us < SHARE_CLOCK_SKEW_US)
			return;
		if (before.ok && evidence->ok && later_us <= 0 && was != 0)
			return;
	} while (!swap(word, &was, evidence_word(evidence)));
}

/* Gives its claim back; true if it had one. */
static bool let_go(struct share *share, struct destination *it)
{
	uint64_t claim = share->waiter.claim;
	share->waiter.claim = 0;
	return claim != 0 && swap(&it->claim, &claim, 0);
}

static void testify(struct share *share, struct destination *it, const struct failure *failure, int64_t now_ns)
{
	struct evidence evidence = {.at_us = now_ns / 1000, .ok = failure == NULL};
	if (failure != NULL) {
		evidence.source = failure->source;
		evidence.code = failure->code;
	}
	tell(&it->evidence, &evidence);
	if (share != NULL)
		let_go(share, it);
	wake(&it->results);
	if (evidence.ok)
		wake(&it->successes);
}

/* ---- an operation ---------------------------------------------------------------------------------- */

void share_begin(struct share *share, struct destination *it, const struct config *config, int64_t now_ns)
{
	memset(share, 0, sizeof *share);
	count(&it->attempts);
	uint64_t was = load(&it->circuit), becomes;
	do {
		becomes = was;
		share->probes = circuit_probe(config, &becomes, now_ns / NS_PER_MS) || circuit_let_through(config, was);
	} while (!swap(&it->circuit, &was, becomes));
}

void share_standing(const struct share *share, struct destination *it, const struct config *config,
                    const struct class *class, int64_t now_ns, struct standing *standing)
{
	int64_t now_ms = now_ns / NS_PER_MS;
	uint64_t circuit = load(&it->circuit);
	bool begun = share->waiter.failed_us != 0;
	standing->circuit_open = !share->probes && !(!begun && circuit_let_through(config, circuit)) && circuit_refuses(config, circuit, now_ms);
	standing->floor_ns = floor_ms(config, load(&it->floor), now_ms) * NS_PER_MS;
	uint64_t bucket = load(&it->bucket);
	uint64_t claim = load(&it->claim);
	bool rides = class->connection_evidence && claim != share->waiter.claim &&
	             claim_stands(claim, now_ns / 1000, config->max_delay_ms * 1000);
	standing->no_token = !rides && !budget_take(config, &bucket, now_ms);
}

void share_failed(struct share *share, struct destination *it, const struct config *config, const struct failure *failure,
                  const struct class *class, int64_t now_ns)
{
	struct evidence told = {.at_us = now_ns / 1000, .source = failure->source, .code = failure->code};
	share->waiter.failed_us = told.at_us;
	share->evident = class->connection_evidence;
	tell(&it->failure, &told);
	if (class->reached) {
		close_circuit(it);
		testify(share, it, NULL, now_ns);
		if (floor_is_asked_for(failure))
			raise_floor(it, config, failure->retry_after_ms, now_ns);
	} else if (share->evident) {
		testify(share, it, failure, now_ns);
	} else if (let_go(share, it)) {
		wake(&it->results);
	}
}

void share_withdraw(struct share *share, struct destination *it, const struct config *config, int64_t now_ns)
{
	if (let_go(share, it))
		wake(&it->results);
	if (share->paid)
		give_tokens(it, config, 1, now_ns);
	share->paid = false;
}

/* Claims the destination's next attempt for `at_us`, and pays for it. */
static enum course claim(struct share *share, struct destination *it, const struct config *config, uint64_t was,
                       int64_t at_us, int64_t now_ns)
{
	uint64_t word = claim_word(at_us, share->id);
	if (!share->paid && !(share->paid = take_token(it, config, now_ns)))
		return COURSE_BROKE;
	if (!swap(&it->claim, &was, word))
		return COURSE_WAIT;
	share->waiter.claim = word;
	return COURSE_GO;
}

bool share_back_off(struct share *share, struct destination *it, const struct config *config, const struct verdict *verdict,
                    int64_t deadline_ns, uint64_t id, uint64_t random, int64_t now_ns)
{
	struct waiter *waiter = &share->waiter;
	int64_t now_us = now_ns / 1000, most_us = verdict->most_ns / 1000;
	share->id = id;
	waiter->at_us = verdict->at_ns / 1000;
	waiter->limit_us = now_us + most_us;
	waiter->patience_us = most_us;
	waiter->pace_us = evidence_pace_us(config, most_us);
	/* Time must be left for an attempt of its own. */
	waiter->end_us = deadline_ns == INT64_MAX ? INT64_MAX : (verdict->at_ns / 2 + deadline_ns / 2) / 1000;
	waiter->spread_us = (int64_t)((random >> 32) * (uint64_t)evidence_spread_us(config) >> 32);
	if (!share->evident)
		return share->paid = take_token(it, config, now_ns);
	for (int turn = 0; turn < SHARE_TURNS; turn++) {
		uint64_t was = load(&it->claim);
		if (claim_stands(was, now_us, most_us))
			return true;
		switch (claim(share, it, config, was, waiter->at_us, now_ns)) {
		case COURSE_GO: return true;
		case COURSE_BROKE: return false;
		default: break;
		}
	}
	return true;
}

static struct view look(struct share *share, struct destination *it, const struct config *config, int64_t now_ns)
{
	struct view view;
	int64_t now_us = now_ns / 1000;
	if (!share->evident) {
		bool waits = now_us < share->waiter.at_us;
		return (struct view){.course = waits ? COURSE_WAIT : COURSE_GO, .until_us = share->waiter.at_us};
	}
	for (int turn = 0; turn < SHARE_TURNS; turn++) {
		uint64_t was = load(&it->claim);
		view = evidence_look(&share->waiter, load(&it->evidence), was, now_us);
		if (view.course != COURSE_CLAIM)
			return view;
		view.course = claim(share, it, config, was, now_us, now_ns);
		if (view.course != COURSE_WAIT)
			return view;
	}
	view.course = COURSE_GO; /* others are at it all the time: nobody is held up for long */
	return view;
}

struct view share_look(struct share *share, struct destination *it, const struct config *config, int64_t now_ns)
{
	/* Before the look: what comes after it must not be slept through. */
	uint32_t successes = atomic_load_explicit(&it->successes, memory_order_acquire);
	uint32_t results = atomic_load_explicit(&it->results, memory_order_acquire);
	struct view view = look(share, it, config, now_ns);
	share->parked = view.parked;
	share->seen = view.parked ? results : successes;
	return view;
}

void share_counts(struct share *share, struct destination *it, const struct config *config, int64_t failed_us, int64_t now_ns)
{
	share_withdraw(share, it, config, now_ns);
	give_tokens(it, config, config->budget_ratio, now_ns);
	/* Not the latest evidence: what has come since the look is news to the next one. */
	share->waiter.failed_us = failed_us;
}

void share_sent(struct share *share, struct destination *it)
{
	share->paid = false;
	count(&it->attempts);
	count(&it->retries);
}

bool share_refused(struct destination *it, const struct config *config, int64_t now_ns, struct evidence *opening)
{
	uint64_t was = load(&it->circuit), becomes;
	do {
		becomes = was;
		if (circuit_refuses(config, was, now_ns / NS_PER_MS)) {
			*opening = evidence_read(load(&it->opened_by));
			return true;
		}
		circuit_probe(config, &becomes, now_ns / NS_PER_MS);
	} while (!swap(&it->circuit, &was, becomes));
	return false;
}

/* ---- ends ------------------------------------------------------------------------------------------ */

void share_succeeded(struct share *share, struct destination *it, const struct config *config, int64_t now_ns)
{
	share->paid = false;
	count(&it->recoveries);
	share_saw_success(share, it, config, now_ns);
}

bool share_saw_success(struct share *share, struct destination *it, const struct config *config, int64_t now_ns)
{
	close_circuit(it);
	give_tokens(it, config, config->budget_ratio, now_ns);
	lower_floor(it, config, now_ns);
	uint64_t evidence = load(&it->evidence);
	if (evidence != 0 && !evidence_read(evidence).ok)
		testify(share, it, NULL, now_ns);
	else if (share != NULL)
		let_go(share, it);
	return load(&it->circuit) == 0 && load(&it->bucket) == 0 && load(&it->floor) == 0;
}

void share_ended(struct share *share, struct destination *it, const struct config *config, const struct failure *failure,
                 const struct verdict *verdict, int64_t now_ns)
{
	share_withdraw(share, it, config, now_ns);
	if (verdict->event == EVENT_EXHAUSTED || verdict->event == EVENT_FALLBACK)
		count(&it->exhausted);
	if (!circuit_counts(verdict))
		return;
	struct evidence opening = {.at_us = now_ns / 1000, .source = failure->source, .code = failure->code};
	uint64_t was = load(&it->circuit), becomes;
	do
		becomes = circuit_failed(config, was, share->probes, now_ns / NS_PER_MS);
	while (!swap(&it->circuit, &was, becomes));
	if (circuit_state(becomes) == CIRCUIT_OPEN && circuit_since_ms(becomes) == now_ns / NS_PER_MS)
		atomic_store_explicit(&it->opened_by, evidence_word(&opening), memory_order_relaxed);
}
