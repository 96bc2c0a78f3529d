/* Diagnostics and metrics of any event, as text and as JSON, read by those who read them: a JSON library, `retryshim tail`, and
 * the rules of the metrics' receivers. */
#include "fuzz.h"

#include <jansson.h>
#include <regex.h>

#include "cli/events.h"
#include "cli/tail.h"
#include "report/metrics.h"
#include "report/sink.h"
#include "retryshim/cli.h"

/* ---- where events go ------------------------------------------------------------------------------------------ */

static struct line written;
static int writes;

void sink_write(const struct config *config, const struct line *line, const char *operation, int64_t wall_us)
{
	PROMISE(config->diag && operation != NULL && wall_us > 0);
	written = *line;
	writes++;
}

static regex_t statsd_shape;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	PROMISE(regcomp(&statsd_shape, "^[]A-Za-z0-9._/[-]+\\.Retry[A-Za-z]+:[0-9]+\\|(c|ms)\\|#operation:[^,|# ]+,target:[^,|# ]+,category:[a-z_]+"
	                "(,reason:[a-z_-]+)?$", REG_EXTENDED | REG_NOSUB) == 0);
	return 0;
}

/* One line, and nothing in it that a terminal or a reader of lines would act on. */
static void check_line(const struct line *line)
{
	PROMISE(line->length > 1 && line->length <= sizeof line->text && line->text[line->length - 1] == '\n');
	for (size_t i = 0; i + 1 < line->length; i++)
		PROMISE((unsigned char)line->text[i] >= ' ' && line->text[i] != 0x7f);
}

static json_t *parsed(const struct line *line)
{
	json_error_t error;
	json_t *json = json_loadb(line->text, line->length, JSON_REJECT_DUPLICATES, &error);
	PROMISE(json_is_object(json));
	return json;
}

/* ---- events --------------------------------------------------------------------------------------------------- */

static bool is_ascii(const char *text)
{
	for (; *text != '\0'; text++)
		if (*text < ' ' || *text > '~')
			return false;
	return true;
}

static void check_same(const json_t *json, const char *key, const char *text)
{
	if (is_ascii(text) && json_object_get(json, key) != NULL)
		PROMISE(strcmp(event_text(json, key), text) == 0);
}

/* The same event in text and in JSON: what tail makes of the one is the other. */
static void check_words(struct config *config, const struct report_event *event)
{
	config->diag_format = DIAG_JSON;
	report_event(config, event);
	json_t *json = event_read(written.text, written.length);
	char *words = tail_words(json);
	json_decref(json);
	config->diag_format = DIAG_TEXT;
	report_event(config, event);
	char target[TARGET_TEXT_MAX], *text = cli_format("%.*s", (int)written.length - 1, written.text);
	target_format(event->target, target, sizeof target);
	char *behind = cli_format("%s: ", target), *at = strstr(text, behind);
	PROMISE(at != NULL && strcmp(at + strlen(behind), words) == 0);
	free(words);
	free(text);
	free(behind);
}

static void check_event(struct config *config, const struct report_event *event)
{
	writes = 0;
	config->diag_format = DIAG_TEXT;
	report_event(config, event);
	PROMISE(writes == (event->event != EVENT_NONE));
	if (event->event == EVENT_NONE)
		return;
	check_line(&written);
	bool is_short = written.length < 400;
	config->diag_format = DIAG_JSON;
	report_event(config, event);
	check_line(&written);
	is_short &= written.length < 900;
	json_t *json = parsed(&written), *read = event_read(written.text, written.length);
	PROMISE(read != NULL && json_equal(json, read));
	PROMISE(strcmp(event_text(json, "event"), event_name(event->event)) == 0);
	check_same(json, "operation", event->operation);
	check_same(json, "program", event->program);
	if (is_short) {
		PROMISE(event_number(json, "attempt", -1) == event->attempt && event_number(json, "max_attempts", -1) == event->max_attempts);
		PROMISE(event_number(json, "elapsed_ms", -1) == event->elapsed_ns / NS_PER_MS);
	}
	json_decref(json);
	json_decref(read);
	bool plain = is_ascii(event->operation) && event->operation[0] != '\0' && is_ascii(event->message);
	if (is_short && plain && event->attempt > 0 && event->max_attempts > 0 && event->event != EVENT_NONE)
		check_words(config, event);
}

/* ---- settings ------------------------------------------------------------------------------------------------- */

static void check_setting(struct config *config, const char *name, const char *value, const char *text)
{
	for (int format = DIAG_TEXT; format <= DIAG_JSON; format++) {
		config->diag_format = format;
		for (int which = 0; which < 2; which++) {
			if (which == 0)
				report_bad_value(config, name, value, text);
			else
				report_unused(config, name, value, text, 2, text);
			check_line(&written);
			if (format != DIAG_JSON)
				continue;
			json_decref(parsed(&written));
			json_t *read = event_read(written.text, written.length);
			PROMISE((read != NULL) == (event_text(read, "variable")[0] != '\0'));
			PROMISE(read != NULL || strlen(name) > 100 || name[0] == '\0');
			json_decref(read);
		}
	}
}

/* ---- metrics -------------------------------------------------------------------------------------------------- */

static void check_emf(const struct config *config, const struct report_metric *metric)
{
	struct line line = {0};
	emf_line(&line, config, metric, 1794000000000);
	check_line(&line);
	json_t *json = parsed(&line), *aws = json_object_get(json, "_aws");
	const json_t *directive = json_array_get(json_object_get(aws, "CloudWatchMetrics"), 0);
	const char *namespace = event_text(directive, "Namespace");
	PROMISE(json_is_integer(json_object_get(aws, "Timestamp")));
	PROMISE(namespace[0] != '\0' && namespace[0] != ':' && strlen(namespace) <= 255);
	static const char *const dimensions[] = {"Operation", "Target", "Category"};
	for (int i = 0; i < 3; i++) {
		const char *value = event_text(json, dimensions[i]);
		PROMISE(value[strspn(value, " ")] != '\0' && strlen(value) <= 1024 && is_ascii(value));
	}
	size_t i;
	json_t *definition;
	json_array_foreach(json_object_get(directive, "Metrics"), i, definition)
		PROMISE(json_is_integer(json_object_get(json, event_text(definition, "Name"))));
	PROMISE(i == (metric->metric == METRIC_ATTEMPT ? 2 : 1));
	json_decref(json);
}

static void check_statsd(const struct config *config, const struct report_metric *metric)
{
	struct line line = {0};
	statsd_lines(&line, config, metric);
	PROMISE(line.length > 1 && line.length <= sizeof line.text - 1);
	char *copy = cli_format("%.*s", (int)line.length, line.text), *rest = copy, *one;
	int lines = 0;
	for (; (one = strsep(&rest, "\n")) != NULL && rest != NULL; lines++)
		PROMISE(regexec(&statsd_shape, one, 0, NULL, 0) == 0);
	PROMISE(one[0] == '\0' && lines == (metric->metric == METRIC_ATTEMPT ? 2 : 1));
	free(copy);
}

/* ---- an input ------------------------------------------------------------------------------------------------- */

static void set_target(struct target *target, uint8_t kind, const char *text)
{
	memset(target, 0, sizeof *target);
	target->port = (uint16_t)(kind * 257);
	target->is_unix = (kind & 3) == 3;
	if ((kind & 3) != 1 || !target_set_address(target, text))
		strncpy(target->name, text, sizeof target->name - 1);
}

/* Where a fallback goes is a name or an address, as RETRY_FALLBACK takes it. */
static void set_fallback(struct target *target, const char *text)
{
	char *url = cli_format("any://%s", text);
	memset(target, 0, sizeof *target);
	target_set_url(target, url);
	if (!is_ascii(target->name) || (target->name[0] == '\0' && !target->has_address) || strpbrk(target->name, ":[]@/ ") != NULL)
		*target = (struct target){.name = "standby", .port = 1};
	free(url);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const traces[] = {"", "0af7651916cd43dd8448eb211c80319c"};
	struct input input = {data, data + size};
	uint8_t what = byte(&input), kind = byte(&input);
	struct target target, fallback;
	struct labels labels;
	struct class class = {.category = (enum category)(what % CATEGORIES), .severity = (enum severity)(what & 1)};
	int64_t ms = (int64_t)number(&input, 4), count = (int64_t)number(&input, 2);
	char *operation = text_line(&input), *program = text_line(&input), *where = text_line(&input), *message = text_line(&input);
	char *other = text_line(&input), *namespace = text_line(&input);
	struct config config = {.diag = 1, .diag_file = "", .diag_dir = "", .metrics_namespace = namespace};
	program[strnlen(program, 63)] = '\0'; /* as long as settings_program() may be */
	errno_symbol(what, class.symbol, sizeof class.symbol);
	set_target(&target, kind, where);
	set_fallback(&fallback, other);
	const struct report_event event = {
		.event = (enum event)(what % (EVENT_FALLBACK + 1)), .op = number(&input, 8), .program = program, .trace_id = traces[what >> 7],
		.operation = operation, .target = &target, .attempt = (int)count + 1, .max_attempts = kind + 1, .shared = kind & 64,
		.fallback = &fallback, .replays = kind >> 6, .class = &class, .message = message, .delay_ns = ms * NS_PER_MS,
		.elapsed_ns = ms * 2 * NS_PER_MS, .reason = what % (EVENT_FALLBACK + 1) == EVENT_GIVEN_UP ? (enum reason)(1 + kind % (REASONS - 1)) : REASON_NONE,
	};
	check_event(&config, &event);
	check_setting(&config, program, message, other);
	labels_set(&labels, operation, &target, class.category);
	const struct report_metric metric = {
		.metric = (enum metric)(what % METRICS), .delay_ms = ms, .reason = (enum reason)(kind % REASONS), .labels = &labels,
		.op = event.op, .program = program, .trace_id = event.trace_id, .attempt = event.attempt, .error = class.symbol,
	};
	check_emf(&config, &metric);
	check_statsd(&config, &metric);
	free(operation);
	free(program);
	free(where);
	free(message);
	free(other);
	free(namespace);
	return 0;
}
