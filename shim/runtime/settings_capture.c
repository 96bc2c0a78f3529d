/* The environment, copied at the start. */
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "runtime/settings.h"

extern char **environ;

/* More than one string of an environment can hold (execve(2)); untouched, it costs nothing. */
enum { CAPTURE_BYTES = 256 * 1024, PROGRAM_BYTES = 64, TRACE_ID_BYTES = 33 };

enum { NOT_YET, CAPTURING, CAPTURED };
static _Atomic(int) stage;
static char captured[CAPTURE_BYTES]; /* "NAME=value\0NAME=value\0\0" */
static char program[PROGRAM_BYTES];
static char trace_id[TRACE_ID_BYTES];

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
	int expected = NOT_YET;
	if (!atomic_compare_exchange_strong(&stage, &expected, CAPTURING))
		return;
	capture_program();
	capture_environment();
	atomic_store_explicit(&stage, CAPTURED, memory_order_release);
}

bool settings_captured(void) { return atomic_load_explicit(&stage, memory_order_acquire) == CAPTURED; }

const char *settings_value(const char *name)
{
	size_t length = strlen(name);
	for (const char *entry = captured; *entry != '\0'; entry += strlen(entry) + 1)
		if (strncmp(entry, name, length) == 0 && entry[length] == '=')
			return entry + length + 1;
	return NULL;
}

bool settings_diag_wanted(void)
{
	const char *value = settings_value("RETRY_DIAG");
	return value != NULL && value[0] != '\0' && strcmp(value, "0") != 0;
}

bool settings_reject_wanted(void)
{
	const char *value = settings_value("RETRY_BREAKER"), *file = settings_value("RETRY_CONFIG");
	return (value != NULL && strcasecmp(value, "reject") == 0) || (file != NULL && file[0] != '\0' && strcmp(file, "off") != 0);
}

const char *settings_program(void) { return program; }

const char *settings_trace_id(void) { return trace_id; }
