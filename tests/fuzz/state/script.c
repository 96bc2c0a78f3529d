/* An input is what the file holds at first, then a script: time passes, operations fail, back off, look, succeed, are
 * killed, and somebody else writes anything anywhere. */
#include "world.h"

#include <string.h>

#include "cli/status.h"

enum { STEPS_MOST = 400 };

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

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	for (int i = 0; i < CONFIGS; i++)
		config_parse(&configs[i], look_up, (void *)(uintptr_t)environments[i], refused, NULL);
	PROMISE(freopen("/dev/null", "w", stdout) != NULL); /* where status writes */
	return 0;
}

/* ---- the command line's part ------------------------------------------------------------------------------ */

static const struct config *shown_by;

static const struct config *config_of(const char *name)
{
	(void)name;
	return shown_by;
}

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
	shown_by = config;
	int count = status_facts(config_of, &state, facts);
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
	case 2: operation_fail(world, op); break;
	case 3:
	case 4:
		if (op->stands == BACKS_OFF)
			operation_look(world, op);
		break;
	case 5: operation_end(world, op, true); break;
	case 6: operation_end(world, op, false); break;
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
		if (what & 32) {
			metrics_step(world, op);
			break;
		}
		show(op->config, what & 128 && !world->shown);
		world->shown |= what & 128;
		break;
	default: operation_check_alone(world, op); break;
	}
}

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
		state.header.series = STATE_SERIES;
		state.header.series_bytes = sizeof(struct series);
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
			operation_check_alone(&world, &world.operations[i]);
	return 0;
}
