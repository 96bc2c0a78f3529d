/* The state file under libFuzzer: any bytes in it, and operations that work on them.
 *
 * An input is what the file holds at first, then a script: time passes, operations fail, back off, look, succeed, are
 * killed, and somebody else writes anything anywhere. Operations are conducted as shim/hooks/engine.c does. What must
 * hold whatever the file says is a PROMISE(); the header that it is from is named there.
 */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "cli/status.h"
#include "retryshim/runtime.h"

#define PROMISE(holds)                                                                                \
	do {                                                                                          \
		if (!(holds)) {                                                                       \
			fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, __LINE__, #holds);   \
			abort();                                                                      \
		}                                                                                     \
	} while (0)

enum { OPERATIONS = 4, PLACES = 16, NEIGHBOURS = 8, STEPS_MOST = 400, TURNS_MOST = 16 };

/* ---- the input --------------------------------------------------------------------------------------- */

/* Zeros behind its end. */
struct input {
	const uint8_t *at, *end;
};

static uint8_t byte(struct input *input) { return input->at < input->end ? *input->at++ : 0; }

static uint64_t number(struct input *input, int bytes)
{
	uint64_t value = 0;
	for (int i = 0; i < bytes; i++)
		value |= (uint64_t)byte(input) << 8 * i;
	return value;
}

/* ---- configurations ------------------------------------------------------------------------------------- */

static const char *const environments[][14] = {
	{NULL},
	{"RETRY_BREAKER", "reject", "RETRY_MAX_ATTEMPTS", "2", "RETRY_BREAKER_THRESHOLD", "1", "RETRY_BREAKER_OPEN_MS", "50", NULL},
	{"RETRY_BASE_DELAY_MS", "0", "RETRY_MAX_ATTEMPTS", "1000", "RETRY_JITTER", "none", NULL},
	{"RETRY_BASE_DELAY_MS", "3600000", "RETRY_MAX_DELAY_MS", "3600000", "RETRY_MULTIPLIER", "10", "RETRY_TIMEOUT_MS", "0",
	 "RETRY_MAX_ATTEMPTS", "1000", NULL},
	{"RETRY_BUDGET", "off", "RETRY_BREAKER", "off", "RETRY_JITTER", "equal", "RETRY_MAX_ATTEMPTS", "50", NULL},
	{"RETRY_BUDGET_BURST", "1000000", "RETRY_BUDGET_RATIO", "1", "RETRY_BUDGET_PER_SEC", "1000", "RETRY_JITTER", "decorrelated",
	 NULL},
	{"RETRY_BUDGET_BURST", "1", "RETRY_BUDGET_PER_SEC", "0", NULL},
	{"RETRY_TIMEOUT_MS", "700", "RETRY_BASE_DELAY_MS", "300", "RETRY_MULTIPLIER", "1", "RETRY_MAX_ATTEMPTS", "10", NULL},
};
enum { CONFIGS = sizeof environments / sizeof environments[0] };
static struct config configs[CONFIGS];

static const char *look_up(void *pairs, const char *name)
{
	for (const char *const *pair = pairs; pair[0] != NULL; pair += 2)
		if (strcmp(pair[0], name) == 0)
			return pair[1];
	return NULL;
}

static void refused(void *context, const char *name, const char *value, const char *used)
{
	(void)context;
	fprintf(stderr, "%s=%s is refused, %s stands\n", name, value, used);
	abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	for (int i = 0; i < CONFIGS; i++)
		config_parse(&configs[i], look_up, (void *)(uintptr_t)environments[i], refused, NULL);
	PROMISE(freopen("/dev/null", "w", stdout) != NULL); /* where status writes */
	return 0;
}

/* ---- the words, each by itself --------------------------------------------------------------------------- */

static void check_budget(const struct config *config, uint64_t word, int64_t now_ms, double gift)
{
	int64_t size = budget_milli(config, 0, now_ms), before = budget_milli(config, word, now_ms);
	PROMISE(before >= 0 && before <= size);
	uint64_t given = budget_give(config, word, gift, now_ms), taken = word;
	PROMISE(budget_milli(config, given, now_ms) >= before && budget_milli(config, given, now_ms) <= size);
	if (budget_take(config, &taken, now_ms) && config->budget) {
		PROMISE(before >= 1000);
		PROMISE(budget_milli(config, taken, now_ms) <= before - 999);
	} else {
		PROMISE(taken == word);
	}
}

static void check_circuit(const struct config *config, uint64_t word, bool probe, int64_t now_ms)
{
	PROMISE(circuit_state(word) <= CIRCUIT_HALF_OPEN && circuit_failures(word) >= 0 && circuit_since_ms(word) >= 0);
	/* Left alone it lets somebody through when its time is over. */
	PROMISE(!circuit_refuses(config, word, now_ms) || !circuit_refuses(config, word, now_ms + config->breaker_open_ms));
	uint64_t becomes = word;
	if (circuit_probe(config, &becomes, now_ms))
		PROMISE(circuit_state(becomes) == CIRCUIT_HALF_OPEN && circuit_refuses(config, becomes, now_ms));
	else
		PROMISE(becomes == word);
	becomes = circuit_failed(config, word, probe, now_ms);
	PROMISE(circuit_failures(becomes) >= 1 || config->breaker == BREAKER_OFF);
}

static void check_floor(const struct config *config, uint64_t word, int64_t retry_after_ms, int64_t now_ms)
{
	int64_t cap = config->max_delay_ms * 4 / 5, floor = floor_ms(config, word, now_ms);
	PROMISE(floor >= 0 && floor <= cap);
	int64_t raised = floor_ms(config, floor_raise(config, word, retry_after_ms, now_ms), now_ms);
	PROMISE(raised >= floor && raised <= cap);
	int64_t lowered = floor_ms(config, floor_lower(config, word, now_ms), now_ms);
	PROMISE(lowered >= 0 && lowered <= floor);
}

static void check_evidence(uint64_t word)
{
	struct evidence evidence = evidence_read(word);
	PROMISE(evidence.at_us >= 0 && evidence.code >= -4096 && evidence.code < 4096);
	PROMISE(evidence_word(&evidence) == word);
}

/* ---- the world ------------------------------------------------------------------------------------------- */

static struct state state;

struct operation {
	const struct config *config;
	struct target target;
	uint64_t tag, id;
	struct share share;
	struct progress progress;
	struct verdict verdict;
	struct failure failure;
	enum { IDLE, BACKS_OFF, SENT } stands;
};

struct world {
	struct input input;
	int64_t now_ns;
	struct operation operations[OPERATIONS];
	bool shown; /* all of it: that takes long */
};

static void set_target(struct target *target, uint8_t kind, uint8_t which)
{
	memset(target, 0, sizeof *target);
	target->port = (uint16_t)(80 + which);
	target->is_unix = kind % 4 == 3;
	target->has_address = kind % 4 == 1 || kind % 4 == 2;
	memset(target->address, which, sizeof target->address);
	if (kind % 4 == 0 || kind % 4 == 2)
		memset(target->name, which, kind < 128 ? 30 : sizeof target->name - 1);
	if (target->is_unix)
		strcpy(target->name, "/run/a\nsocket");
}

/* So that all of them meet in the first places of the file, and the input need not fill all. */
static uint64_t tag_of(uint8_t which) { return (uint64_t)which << 40 | (uint64_t)(which % NEIGHBOURS) << 8 | 3; }

static struct destination *place(struct world *world, uint64_t tag, const struct target *target, bool make)
{
	struct destination *it = state_place(&state, tag, target, make, world->now_ns / NS_PER_MS);
	PROMISE(it != NULL || !make);
	if (it == NULL)
		return NULL;
	PROMISE(it >= state.destinations && it < state.destinations + STATE_DESTINATIONS);
	PROMISE(((char *)it - (char *)state.destinations) % (int)sizeof *it == 0);
	PROMISE(it->tag == tag);
	return it;
}

static struct destination *place_of(struct world *world, struct operation *op)
{
	return place(world, op->tag, &op->target, true);
}

/* ---- one operation, as engine.c conducts it ------------------------------------------------------------- */

static void judge(struct world *world, struct operation *op, struct destination *it, bool broke)
{
	const struct config *config = op->config;
	struct standing standing = {0};
	struct class class = classify(config, &op->failure);
	uint64_t random = number(&world->input, 8);
	share_standing(&op->share, it, config, &class, world->now_ns, &standing);
	PROMISE(standing.floor_ns >= 0 && standing.floor_ns <= config->max_delay_ms * 4 / 5 * NS_PER_MS);
	standing.no_token |= broke;
	op->verdict = decide(config, &op->progress, &op->failure, &standing, world->now_ns, random);
	if (op->verdict.event == EVENT_ATTEMPT_FAILED &&
	    !share_back_off(&op->share, it, config, &op->verdict, op->progress.deadline_ns, op->id, random * 7, world->now_ns)) {
		standing.no_token = true;
		op->verdict = decide(config, &op->progress, &op->failure, &standing, world->now_ns, random);
		PROMISE(op->verdict.action == ACTION_DELIVER);
	}
	if (op->verdict.action == ACTION_RETRY) {
		PROMISE(op->verdict.delay_ns >= 0 && op->verdict.delay_ns <= config->max_delay_ms * NS_PER_MS);
		PROMISE(op->verdict.at_ns < op->progress.deadline_ns);
		op->progress.previous_delay_ns = op->verdict.delay_ns;
		op->progress.capped_retries += op->verdict.class.attempt_cap != 0;
		op->stands = BACKS_OFF;
	} else {
		share_ended(&op->share, it, config, &op->failure, &op->verdict, world->now_ns);
		op->stands = IDLE;
	}
}

static void fail(struct world *world, struct operation *op)
{
	static const struct failure kinds[] = {
		{.source = SOURCE_CONNECT, .code = ECONNREFUSED, .retry_after_ms = -1},
		{.source = SOURCE_CONNECT, .code = ENOBUFS, .retry_after_ms = -1},
		{.source = SOURCE_RESOLVE, .code = EAI_AGAIN, .retry_after_ms = -1},
		{.source = SOURCE_CURL, .code = CURLE_COULDNT_CONNECT, .retry_after_ms = -1},
		{.source = SOURCE_CURL, .code = CURLE_RECV_ERROR, .retry_after_ms = -1, .repeatable = true},
		{.source = SOURCE_HTTP, .code = 503, .retry_after_ms = -1, .repeatable = true},
		{.source = SOURCE_HTTP, .code = 429, .retry_after_ms = 0, .repeatable = true},
	};
	if (op->stands == BACKS_OFF)
		return;
	uint8_t kind = byte(&world->input);
	op->failure = kinds[kind % (sizeof kinds / sizeof kinds[0])];
	if (op->failure.retry_after_ms == 0)
		op->failure.retry_after_ms = (int64_t)number(&world->input, 3);
	struct destination *it = place_of(world, op);
	struct class class = classify(op->config, &op->failure);
	if (op->stands == IDLE) {
		op->progress = (struct progress){.attempt = 1, .deadline_ns = deadline_of(op->config, world->now_ns, 0)};
		share_begin(&op->share, it, op->config, world->now_ns);
	}
	share_failed(&op->share, it, op->config, &op->failure, &class, world->now_ns);
	judge(world, op, it, false);
}

/* host.h: until the backoff's end; then for another's attempt to begin, till limit_us, and patience_us for its end; when
 * the destination is back, for the share of the spread; and never past the deadline. */
static void check_wait(const struct world *world, const struct operation *op, const struct view *view)
{
	const struct waiter *waiter = &op->share.waiter;
	int64_t now_us = world->now_ns / 1000, most_us = now_us + waiter->patience_us;
	PROMISE(view->until_us > now_us);
	PROMISE(waiter->spread_us >= 0 && waiter->spread_us <= evidence_spread_us(op->config));
	PROMISE(waiter->at_us <= waiter->limit_us + 1 && waiter->at_us <= waiter->end_us); /* 1: rounding */
	if (most_us < waiter->limit_us)
		most_us = waiter->limit_us;
	if (!view->parked && now_us < waiter->at_us)
		most_us = waiter->at_us;
	else if (!view->parked)
		most_us = now_us + waiter->spread_us;
	PROMISE(view->until_us <= most_us);
	PROMISE(!view->parked || view->until_us <= waiter->end_us);
	PROMISE(op->progress.deadline_ns == INT64_MAX || view->until_us * 1000 < op->progress.deadline_ns);
}

static struct view look(struct world *world, struct operation *op)
{
	struct destination *it = place_of(world, op);
	struct view view = share_look(&op->share, it, op->config, world->now_ns);
	PROMISE(share_news(&op->share, it) == &it->results || share_news(&op->share, it) == &it->successes);
	switch (view.course) {
	case COURSE_WAIT:
		check_wait(world, op, &view);
		return view;
	case COURSE_GO:
		share_sent(&op->share, it);
		op->progress.attempt++;
		op->stands = SENT;
		return view;
	case COURSE_COUNTS:
		PROMISE(view.until_us > op->share.waiter.failed_us && view.until_us <= world->now_ns / 1000);
		share_counts(&op->share, it, op->config, view.until_us, world->now_ns);
		op->progress.attempt++;
		break;
	default: PROMISE(view.course == COURSE_BROKE && op->config->budget); break;
	}
	judge(world, op, it, view.course == COURSE_BROKE);
	PROMISE(view.course == COURSE_COUNTS || op->stands == IDLE);
	return view;
}

/* Nobody else is alive any more: its backoff ends all the same, and in time. */
static void check_alone(struct world *world, struct operation *op)
{
	const struct waiter *waiter = &op->share.waiter;
	int64_t now_us = world->now_ns / 1000, last_us = waiter->limit_us > now_us ? waiter->limit_us : now_us;
	last_us += waiter->patience_us + waiter->spread_us + 1; /* 1: rounding */
	for (int turn = 0; op->stands == BACKS_OFF; turn++) {
		PROMISE(turn < TURNS_MOST);
		struct view view = look(world, op);
		if (view.course != COURSE_WAIT)
			return;
		PROMISE(view.until_us <= last_us);
		world->now_ns = view.until_us * 1000 + 999;
	}
}

static void end(struct world *world, struct operation *op, bool success)
{
	struct destination *it = place_of(world, op);
	if (success && op->stands == SENT)
		share_succeeded(&op->share, it, op->config, world->now_ns);
	else if (op->stands == BACKS_OFF)
		share_withdraw(&op->share, it, op->config, world->now_ns);
	PROMISE(op->stands != BACKS_OFF || (!op->share.paid && op->share.waiter.claim == 0));
	op->stands = IDLE;
}

/* ---- what others write ----------------------------------------------------------------------------------- */

/* Any word; or one that a process may have written a while ago, or will have when its clock is wrong. */
static uint64_t word(struct world *world)
{
	struct input *input = &world->input;
	uint8_t kind = byte(input);
	int64_t apart_ms = (int16_t)number(input, 2), at_ms = world->now_ns / NS_PER_MS + apart_ms * (kind & 0x80 ? 1000 : 1);
	struct evidence evidence = {.at_us = at_ms * 1000, .ok = kind & 0x40, .source = SOURCE_CONNECT, .code = ECONNREFUSED};
	uint64_t least = number(input, 1);
	switch (kind & 7) {
	case 0: return 0;
	case 1: return (uint64_t)at_ms;
	case 2: return evidence_word(&evidence);
	case 3: return claim_word(at_ms * 1000, least);
	case 4: return (uint64_t)at_ms << 22 | least;            /* circuit, floor */
	case 5: return (uint64_t)at_ms << 30 | least * 1000;     /* bucket */
	case 6: return tag_of((uint8_t)least) & ~(uint64_t)(kind >> 6 & 1);
	default: return number(input, 8);
	}
}

static void overwrite(struct world *world)
{
	uint64_t where = byte(&world->input) % PLACES, which = byte(&world->input) % (sizeof(struct destination) / 8);
	uint64_t value = word(world);
	memcpy((char *)&state.destinations[where] + 8 * which, &value, sizeof value);
}

/* All of the file, from the rest of the input, again and again. */
static void fill(struct input *input)
{
	size_t length = (size_t)(input->end - input->at), each = length < 1024 ? length : 1024;
	for (size_t at = 0; each != 0 && at < sizeof state; at += each)
		memcpy((char *)&state + at, input->at, sizeof state - at < each ? sizeof state - at : each);
	input->at += each;
}

/* ---- the command line's part ------------------------------------------------------------------------------ */

static void show(const struct config *config, bool all)
{
	static struct status_facts facts[STATE_DESTINATIONS];
	char name[STATE_NAME_BYTES + 1];
	for (int i = 0; i < PLACES; i++) {
		memset(name, 'x', sizeof name);
		status_name(&state.destinations[i], name);
		PROMISE(memchr(name, '\0', sizeof name) != NULL);
		char *shown = status_shown(name);
		PROMISE(strlen(shown) >= 1 && strlen(shown) <= sizeof name && status_width(shown) <= (int)sizeof name * 2);
		for (const char *c = shown; *c != '\0'; c++)
			PROMISE((unsigned char)*c >= 0x20 && *c != 0x7f);
		free(shown);
	}
	if (!all)
		return;
	int count = status_facts(config, &state, facts);
	PROMISE(count >= 0 && count <= STATE_DESTINATIONS);
	status_json("fuzz", facts, count);
	status_table(facts, count, 20, true);
}

/* ---- the script ------------------------------------------------------------------------------------------- */

static void step(struct world *world)
{
	struct input *input = &world->input;
	uint8_t what = byte(input);
	struct operation *op = &world->operations[(what >> 4) % OPERATIONS];
	int64_t now_ms = world->now_ns / NS_PER_MS;
	struct evidence opening;
	struct target target;
	uint64_t any;
	switch (what & 15) {
	case 0: world->now_ns += (int64_t)number(input, 2) * 1000; break;
	case 1: world->now_ns += (int64_t)number(input, 2) * NS_PER_MS; break;
	case 2: fail(world, op); break;
	case 3:
	case 4:
		if (op->stands == BACKS_OFF)
			look(world, op);
		break;
	case 5: end(world, op, true); break;
	case 6: end(world, op, false); break;
	case 7: /* killed */
		memset(&op->share, 0, sizeof op->share);
		op->stands = IDLE;
		break;
	case 8: /* another one in its place */
		if (op->stands != IDLE)
			break;
		op->config = &configs[byte(input) % CONFIGS];
		op->tag = tag_of(byte(input));
		break;
	case 9: share_saw_success(NULL, place_of(world, op), op->config, world->now_ns); break;
	case 10: share_refused(place_of(world, op), op->config, world->now_ns, &opening); break;
	case 11: overwrite(world); break;
	case 12:
		any = number(input, 8) | 1;
		set_target(&target, byte(input), byte(input));
		place(world, any != 1 ? any : 3, &target, what & 16);
		break;
	case 13:
		any = word(world);
		check_budget(op->config, any, now_ms, (double)byte(input) / 16);
		check_circuit(op->config, any, what & 64, now_ms);
		check_floor(op->config, any, (int64_t)number(input, 3) - 1, now_ms);
		check_evidence(any);
		break;
	case 14:
		show(op->config, what & 128 && !world->shown);
		world->shown |= what & 128;
		break;
	default: check_alone(world, op); break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world world = {.input = {data, data + size}};
	uint8_t mode = byte(&world.input);
	memset(&state, 0, sizeof state);
	if (mode & 1)
		fill(&world.input);
	if (mode & 2) {
		memset(&state.header, 0, sizeof state.header);
		state.header.magic = STATE_MAGIC;
		state.header.layout = STATE_LAYOUT;
		state.header.destinations = STATE_DESTINATIONS;
		state.header.destination_bytes = sizeof(struct destination);
	}
	PROMISE(state_header_valid(&state.header) || !(mode & 2));
	world.now_ns = (mode & 4 ? 30 : 1000000) * NS_PER_S + mode;
	for (int i = 0; i < OPERATIONS; i++) {
		struct operation *op = &world.operations[i];
		op->config = &configs[(mode >> 3) % CONFIGS];
		op->tag = tag_of((uint8_t)(i / 2));
		op->id = (uint64_t)i + 1;
		set_target(&op->target, (uint8_t)i, (uint8_t)(i / 2));
	}
	for (int i = 0; i < STEPS_MOST && world.input.at < world.input.end; i++)
		step(&world);
	for (int i = 0; i < OPERATIONS; i++)
		if (world.operations[i].stands == BACKS_OFF)
			check_alone(&world, &world.operations[i]);
	return 0;
}
