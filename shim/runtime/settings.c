/* What holds in this process: the environment, parsed at the first need, and a configuration file. */
#include "runtime/settings.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "retryshim/rules.h"

/* The standard file is read when something has failed, that of RETRY_CONFIG with the environment. */
enum stage { UNREAD, PARSING, PARSED, LOADING, LOADED };
static _Atomic(int) stage;
static _Atomic(pid_t) worker; /* whose thread is at work, in PARSING and LOADING */
static _Atomic(const struct config *) current; /* what settings_config() looks at; NULL until it is known */

enum { FAULTS_KEPT = 20 };

static struct config config; /* by the environment alone */

/* By the file as well. In every process' zeroed memory: untouched, it costs nothing. */
static char text[RULES_BYTES + 1];
static struct rules rules; /* without any section: there is no file */
static struct config by_section[RULES_SECTIONS]; /* 0: where no section counts */
static struct config widest;                     /* the same as that, with what a section may switch on */
static struct {
	const char *path; /* NULL: none is to be read */
	const char *why;  /* it could not be: a reason, or "" for errno; NULL: it was, or is not there */
	int error;
	int count; /* of lines that are not used */
	struct {
		int line;
		const char *what;
		enum rules_fault fault;
	} fault[FAULTS_KEPT];
} file;

static const char *value_in_section(void *context, const char *name)
{
	return rules_value(&rules, *(const int *)context, config_find(name), settings_value(name), NULL);
}

static const char *environment_value(void *context, const char *name)
{
	(void)context;
	return settings_value(name);
}

/* ---- the file ------------------------------------------------------------------------------------------------------- */

static void keep_fault(void *context, int line, const char *what, enum rules_fault fault)
{
	(void)context;
	if (file.count < FAULTS_KEPT) {
		file.fault[file.count].line = line;
		file.fault[file.count].what = what;
		file.fault[file.count].fault = fault;
	}
	file.count++;
}

static void widen(const struct config *section)
{
	widest.enabled |= section->enabled;
	widest.nonblock |= section->nonblock;
	widest.dns |= section->dns;
	widest.curl |= section->curl;
	widest.resume |= section->resume;
	if (section->breaker == BREAKER_REJECT)
		widest.breaker = BREAKER_REJECT;
}

/* False if it may yet be there the next time. */
static bool read_file(void)
{
	ssize_t length = config_file_read(file.path, text, &file.why);
	if (length < 0) {
		bool standard = strcmp(file.path, CONFIG_FILE) == 0;
		file.error = errno;
		if (file.why[0] == '\0' && (errno == EMFILE || errno == ENFILE || errno == ENOMEM))
			return false;
		/* Nobody has said that it is there; a sandbox that denies to look is told of elsewhere. */
		if (file.why[0] == '\0' && standard && (errno == ENOENT || errno == ENOTDIR || errno == EPERM || errno == ENOSYS))
			file.why = NULL;
		return true;
	}
	file.why = NULL;
	rules_read(&rules, text, (size_t)length, keep_fault, NULL);
	for (int section = 0; section < rules.sections; section++)
		config_parse(&by_section[section], value_in_section, &section, NULL, NULL);
	widest = by_section[0];
	for (int section = 1; section < rules.sections; section++)
		widen(&by_section[section]);
	if (!match_takes_program(&by_section[0], settings_program()))
		widest.enabled = 0;
	return true;
}

/* ---- once a process ------------------------------------------------------------------------------------------------- */

/* Another thread is at work on what we need. It gets a tenth of a second to parse, which takes microseconds, but more where a
 * processor is emulated and busy; a second for a file, which may have to be waited for, unless we are the child of the process that
 * reads it, where that thread is not. So the bound is met only where it is the one that we interrupted. */
static bool wait_until(int wanted)
{
	enum { YIELDS = 1000, TURNS_TO_PARSE = YIELDS + 100, TURNS_TO_LOAD = YIELDS + 1000 };
	static const struct timespec moment = {.tv_nsec = NS_PER_MS};
	for (int turn = 0; turn < (wanted == LOADED ? TURNS_TO_LOAD : TURNS_TO_PARSE); turn++) {
		if (atomic_load_explicit(&stage, memory_order_acquire) != wanted - 1)
			break;
		pid_t its = atomic_load_explicit(&worker, memory_order_relaxed);
		if (its != 0 && its != getpid())
			break;
		if (turn < YIELDS)
			sched_yield();
		else
			clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL);
	}
	return atomic_load_explicit(&stage, memory_order_acquire) >= wanted;
}

/* From one stage to the next, by one thread's work. */
static bool advance(int before, int after, bool (*work)(void))
{
	int expected = before;
	if (!atomic_compare_exchange_strong(&stage, &expected, before + 1))
		return expected >= after || wait_until(after);
	if (after == LOADED) /* healthy processes do not ask */
		atomic_store_explicit(&worker, getpid(), memory_order_relaxed);
	bool done = work();
	atomic_store_explicit(&stage, done ? after : before, memory_order_release);
	return done;
}

static bool parse(void)
{
	config_parse(&config, environment_value, NULL, NULL, NULL);
	/* Said there, it is the last word. */
	if (!match_takes_program(&config, settings_program()))
		config.enabled = 0;
	file.path = config_file_path(&config);
	if (file.path == NULL || config.file[0] == '\0')
		atomic_store_explicit(&current, &config, memory_order_release);
	return true;
}

static bool load(void)
{
	if (!read_file())
		return false;
	atomic_store_explicit(&current, rules.sections > 0 ? &widest : &config, memory_order_release);
	return true;
}

/* Under a hold: left in the middle, it would never be ready. */
static bool reach(int wanted)
{
	struct hold hold;
	hold_begin(&hold);
	settings_capture();
	bool reached = settings_captured() && advance(UNREAD, PARSED, parse);
	if (reached && file.path != NULL && (wanted == LOADED || config.file[0] != '\0'))
		reached = advance(PARSED, LOADED, load) || wanted == PARSED;
	hold_end(&hold);
	return reached;
}

/* Still, by a thread that we cannot wait for: the file may say that nothing is to be retried. */
static bool is_loading(void) { return atomic_load_explicit(&stage, memory_order_acquire) == LOADING; }

const struct config *settings_config(void)
{
	const struct config *known = atomic_load_explicit(&current, memory_order_acquire);
	if (known == NULL) {
		if (!reach(PARSED))
			return NULL;
		known = atomic_load_explicit(&current, memory_order_acquire);
		if (known == NULL && is_loading())
			return NULL;
		if (known == NULL) /* its file could not be opened this time */
			known = &config;
	}
	return known->enabled ? known : NULL;
}

const struct config *settings_for(const struct target *target)
{
	const struct config *known = settings_config();
	if (known == NULL)
		return NULL;
	if (atomic_load_explicit(&stage, memory_order_acquire) != LOADED)
		reach(LOADED);
	if (is_loading())
		return NULL;
	if (atomic_load_explicit(&stage, memory_order_acquire) != LOADED || rules.sections == 0)
		return &config;
	const struct config *its = &by_section[rules_section(&rules, target)];
	return its->enabled && widest.enabled ? its : NULL;
}

/* ---- what is wrong with it ------------------------------------------------------------------------------------------ */

void settings_complaints(config_complaint *complain, void *context)
{
	struct config scratch;
	config_parse(&scratch, environment_value, NULL, complain, context);
}

bool settings_file_fault(int number, struct settings_fault *fault)
{
	if (atomic_load_explicit(&stage, memory_order_acquire) != LOADED)
		return false;
	*fault = (struct settings_fault){.path = file.path, .what = ""};
	if (file.why != NULL) {
		fault->why = file.why;
		fault->error = file.error;
		return number == 0;
	}
	if (number >= file.count || number >= FAULTS_KEPT)
		return false;
	fault->line = file.fault[number].line;
	fault->what = file.fault[number].what;
	fault->why = rules_fault_text(file.fault[number].fault);
	return true;
}
