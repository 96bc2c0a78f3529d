/* The environment, copied at the start and parsed at the first need. */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <strings.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "retryshim/runtime.h"

extern char **environ;

/* More than one string of an environment can hold (execve(2)); untouched, it costs nothing. */
enum { CAPTURE_BYTES = 256 * 1024, PROGRAM_BYTES = 64, TRACE_ID_BYTES = 33 };

enum stage { STAGE_NONE, STAGE_CAPTURING, STAGE_CAPTURED, STAGE_PARSING, STAGE_READY };

static _Atomic(int) stage;
static char captured[CAPTURE_BYTES]; /* "NAME=value\0NAME=value\0\0" */
static char program[PROGRAM_BYTES];
static char trace_id[TRACE_ID_BYTES];
static struct config config;

/* TRACEPARENT: version "-" trace-id "-" parent-id "-" flags, lower-case hex; all zeros is invalid. */
static void capture_trace_id(const char *value)
{
	static const char hex[] = "0123456789abcdef";
	const char *id = value + 3;
	if (strspn(value, hex) != 2 || value[2] != '-' || memcmp(value, "ff", 2) == 0)
		return;
	if (strspn(id, hex) != 32 || id[32] != '-' || strspn(id, "0") == 32)
		return;
	if (strspn(id + 33, hex) != 16 || id[49] != '-' || strspn(id + 33, "0") == 16 || strspn(id + 50, hex) != 2)
		return;
	/* Version 00 ends here; a later one may go on behind a dash (section 4.3). */
	if (id[52] != '\0' && (memcmp(value, "00", 2) == 0 || id[52] != '-'))
		return;
	memcpy(trace_id, id, 32);
}

static void capture_program(void)
{
	const char *name = program_invocation_short_name;
	if (name == NULL)
		return;
	if (name[0] == '-') /* a login shell */
		name++;
	size_t length = strnlen(name, sizeof program - 1);
	memcpy(program, name, length);
}

static void capture_environment(void)
{
	size_t used = 0;
	/* What secure_getenv(3) does: in a set-user-ID program the caller's variables do not count. */
	if (getauxval(AT_SECURE) != 0 || environ == NULL)
		return;
	for (char **entry = environ; *entry != NULL; entry++) {
		const char *text = *entry;
		if (text[0] == 'T' && strncmp(text, "TRACEPARENT=", 12) == 0)
			capture_trace_id(text + 12);
		if (text[0] != 'R' || strncmp(text, "RETRY_", 6) != 0)
			continue;
		size_t size = strlen(text) + 1;
		if (size >= sizeof captured - used) /* one byte stays for the end mark */
			continue;
		memcpy(captured + used, text, size);
		used += size;
	}
}

void settings_capture(void)
{
	int none = STAGE_NONE;
	if (!atomic_compare_exchange_strong(&stage, &none, STAGE_CAPTURING))
		return;
	capture_program();
	capture_environment();
	atomic_store_explicit(&stage, STAGE_CAPTURED, memory_order_release);
}

static const char *captured_value(void *context, const char *name)
{
	(void)context;
	size_t length = strlen(name);
	for (const char *entry = captured; *entry != '\0'; entry += strlen(entry) + 1)
		if (strncmp(entry, name, length) == 0 && entry[length] == '=')
			return entry + length + 1;
	return NULL;
}

bool settings_diag_wanted(void)
{
	const char *value = captured_value(NULL, "RETRY_DIAG");
	return value != NULL && value[0] != '\0' && strcmp(value, "0") != 0;
}

bool settings_reject_wanted(void)
{
	const char *value = captured_value(NULL, "RETRY_BREAKER");
	return value != NULL && strcasecmp(value, "reject") == 0;
}

/* Another thread is at work on what we need: parsing takes microseconds, so the bound is met only
 * where that thread is the one that we interrupted. */
static bool wait_until_ready(void)
{
	for (int turn = 0; turn < 1000; turn++) {
		if (atomic_load_explicit(&stage, memory_order_acquire) == STAGE_READY)
			return true;
		sched_yield();
	}
	return false;
}

static bool parse_once(void)
{
	settings_capture();
	int expected = STAGE_CAPTURED;
	if (!atomic_compare_exchange_strong(&stage, &expected, STAGE_PARSING))
		return expected == STAGE_READY || wait_until_ready();
	config_parse(&config, captured_value, NULL, NULL, NULL);
	if (!match_takes_program(&config, program))
		config.enabled = 0;
	atomic_store_explicit(&stage, STAGE_READY, memory_order_release);
	return true;
}

/* Left in the middle, it would never be ready. */
static bool parse_undisturbed(void)
{
	struct hold hold;
	hold_begin(&hold);
	bool ready = parse_once();
	hold_end(&hold);
	return ready;
}

const struct config *settings_config(void)
{
	if (atomic_load_explicit(&stage, memory_order_acquire) != STAGE_READY && !parse_undisturbed())
		return NULL;
	return config.enabled ? &config : NULL;
}

void settings_complaints(config_complaint *complain, void *context)
{
	struct config scratch;
	config_parse(&scratch, captured_value, NULL, complain, context);
}

const char *settings_program(void) { return program; }

const char *settings_trace_id(void) { return trace_id; }
