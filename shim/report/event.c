/* Events, as a line of text or of JSON, on their way to the sinks. */
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "report/line.h"
#include "report/sink.h"
#include "report/words.h"
#include "retryshim/report.h"

static int64_t wall_now_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void put_start(struct line *line)
{
	line_text(line, "retryshim[");
	line_unsigned(line, (uint64_t)getpid());
	line_text(line, "] ");
}

static void put_text(struct line *line, const struct report_event *event, const char *target)
{
	put_start(line);
	line_hex(line, event->op);
	if (event->trace_id[0] != '\0') {
		line_text(line, "/");
		line_text(line, event->trace_id);
	}
	line_text(line, " ");
	line_text(line, target);
	line_text(line, ": ");
	words_event(line, event);
}

static void json_time(struct line *line, int64_t wall_us)
{
	struct line stamp = {0};
	line_time(&stamp, wall_us);
	stamp.text[stamp.length] = '\0';
	line_json_string(line, "ts", stamp.text);
}

static void put_json(struct line *line, const struct report_event *event, const char *target, int64_t wall_us)
{
	line_json_open(line);
	json_time(line, wall_us);
	line_json_number(line, "pid", (uint64_t)getpid());
	line_json_string(line, "program", event->program);
	line_json_hex(line, "op", event->op);
	if (event->trace_id[0] != '\0')
		line_json_string(line, "trace_id", event->trace_id);
	line_json_string(line, "event", event_name(event->event));
	line_json_number(line, "attempt", (uint64_t)event->attempt);
	line_json_number(line, "max_attempts", (uint64_t)event->max_attempts);
	line_json_string(line, "operation", event->operation); /* of any length: behind what readers know an event by */
	line_json_string(line, "target", target);
	if (event->class != NULL) {
		line_json_string(line, "category", category_name(event->class->category));
		line_json_string(line, "severity", severity_name(event->class->severity));
		line_json_string(line, "error", event->class->symbol);
		line_json_string(line, "message", words_message(event));
	}
	if (event->replays > 0)
		line_json_number(line, "replays", (uint64_t)event->replays);
	if (event->shared)
		line_json_number(line, "shared", 1);
	if (event->event == EVENT_FALLBACK) {
		char to[TARGET_TEXT_MAX];
		target_format(event->fallback, to, sizeof to);
		line_json_string(line, "fallback", to);
	}
	if (event->event == EVENT_ATTEMPT_FAILED)
		line_json_number(line, "delay_ms", ((uint64_t)event->delay_ns + 500000) / 1000000);
	line_json_number(line, "elapsed_ms", ((uint64_t)event->elapsed_ns + 500000) / 1000000);
	if (event->reason != REASON_NONE)
		line_json_string(line, "reason", reason_name(event->reason));
	line_json_close(line);
}

void report_event(const struct config *config, const struct report_event *event)
{
	if (!config->diag || event->event == EVENT_NONE)
		return;
	int error = errno;
	char target[TARGET_TEXT_MAX];
	struct line line = {0};
	int64_t wall_us = wall_now_us();
	target_format(event->target, target, sizeof target);
	if (config->diag_format == DIAG_JSON)
		put_json(&line, event, target, wall_us);
	else
		put_text(&line, event, target);
	line_end(&line);
	sink_write(config, &line, event->operation, wall_us);
	errno = error;
}

/* "retryshim[PID] " or the members that every JSON line starts with. */
static void begin(struct line *line, const struct config *config, int64_t wall_us, const char *event)
{
	if (config->diag_format != DIAG_JSON) {
		put_start(line);
		return;
	}
	line_json_open(line);
	json_time(line, wall_us);
	line_json_number(line, "pid", (uint64_t)getpid());
	line_json_string(line, "event", event);
}

void report_unused(const struct config *config, const char *name, const char *value, const char *why, int error,
                   const char *consequence)
{
	if (!config->diag)
		return;
	int before = errno;
	struct line line = {0};
	int64_t wall_us = wall_now_us();
	char shown[257] = {0}, symbol[24];
	memcpy(shown, value, strnlen(value, sizeof shown - 1));
	errno_symbol(error, symbol, sizeof symbol);
	begin(&line, config, wall_us, "unused_value");
	if (config->diag_format == DIAG_JSON) {
		line_json_string(&line, "variable", name);
		line_json_string(&line, "value", shown);
		line_json_string(&line, "reason", why[0] != '\0' ? why : symbol);
		line_json_close(&line);
	} else {
		words_unused(&line, name, shown, why[0] != '\0' ? why : symbol);
		line_text(&line, "; ");
		line_text(&line, consequence);
		line_text(&line, ".");
	}
	line_end(&line);
	sink_write(config, &line, "config", wall_us);
	errno = before;
}

void report_unused_line(const struct config *config, const char *path, int line, const char *what, const char *why, int error)
{
	struct line where = {0};
	if (line == 0) {
		report_unused(config, "RETRY_CONFIG", path, why, error, "no setting of it holds");
		return;
	}
	line_text(&where, path);
	line_text(&where, ":");
	line_unsigned(&where, (uint64_t)line);
	line_text(&where, ": ");
	line_text(&where, what);
	line_end(&where);
	where.text[where.length - 1] = '\0'; /* for the newline */
	report_unused(config, "RETRY_CONFIG", where.text, why, error, "the line is skipped");
}

void report_bad_value(const struct config *config, const char *name, const char *value, const char *used)
{
	if (!config->diag)
		return;
	int error = errno;
	struct line line = {0};
	int64_t wall_us = wall_now_us();
	char shown[101] = {0};
	memcpy(shown, value, strnlen(value, sizeof shown - 1));
	begin(&line, config, wall_us, "bad_value");
	if (config->diag_format == DIAG_JSON) {
		line_json_string(&line, "variable", name);
		line_json_string(&line, "value", shown);
		line_json_string(&line, "default", used);
		line_json_close(&line);
	} else {
		words_bad_value(&line, name, shown, used);
	}
	line_end(&line);
	sink_write(config, &line, "config", wall_us);
	errno = error;
}
