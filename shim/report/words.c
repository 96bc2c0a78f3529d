/* The texts of section 1 of the design. */
#include "report/words.h"

const char *words_message(const struct report_event *event)
{
	return event->message != NULL ? event->message : event->class->message;
}

/* "ERROR: message." */
static void put_error(struct line *line, const struct report_event *event)
{
	line_text(line, event->class->symbol);
	if (words_message(event)[0] != '\0') {
		line_text(line, ": ");
		line_text(line, words_message(event));
	}
	line_text(line, ".");
}

static void text_attempt_failed(struct line *line, const struct report_event *event)
{
	line_text(line, "Retry attempt ");
	line_unsigned(line, (uint64_t)event->attempt);
	line_text(line, "/");
	line_unsigned(line, (uint64_t)event->max_attempts);
	line_text(line, " failed: ");
	put_error(line, event);
	line_text(line, " Next attempt in ");
	line_seconds(line, event->delay_ns);
}

static void text_succeeded(struct line *line, const struct report_event *event)
{
	line_text(line, event->operation);
	line_text(line, " succeeded on attempt ");
	line_unsigned(line, (uint64_t)event->attempt);
	line_text(line, " after ");
	line_unsigned(line, (uint64_t)event->attempt - 1);
	line_text(line, " retries.");
}

static void text_exhausted(struct line *line, const struct report_event *event)
{
	line_text(line, "All ");
	line_unsigned(line, (uint64_t)event->max_attempts);
	line_text(line, " attempts failed for ");
	line_text(line, event->operation);
	line_text(line, ". Returning ");
	line_text(line, event->class->symbol);
	line_text(line, ".");
}

static void text_given_up(struct line *line, const struct report_event *event)
{
	line_text(line, "Giving up ");
	line_text(line, event->operation);
	line_text(line, " after attempt ");
	line_unsigned(line, (uint64_t)event->attempt);
	line_text(line, " (");
	line_text(line, reason_name(event->reason));
	line_text(line, "): ");
	put_error(line, event);
}

static void text_not_retryable(struct line *line, const struct report_event *event)
{
	line_text(line, "Non-retryable error in ");
	line_text(line, event->operation);
	line_text(line, ": ");
	put_error(line, event);
}

static void text_fallback(struct line *line, const struct report_event *event)
{
	char to[TARGET_TEXT_MAX];
	target_format(event->fallback, to, sizeof to);
	line_text(line, "Falling back to ");
	line_text(line, to);
	line_text(line, " for ");
	line_text(line, event->operation);
	line_text(line, " after attempt ");
	line_unsigned(line, (uint64_t)event->attempt);
	line_text(line, ": ");
	put_error(line, event);
}

void words_event(struct line *line, const struct report_event *event)
{
	switch (event->event) {
	case EVENT_ATTEMPT_FAILED: text_attempt_failed(line, event); break;
	case EVENT_SUCCEEDED: text_succeeded(line, event); break;
	case EVENT_EXHAUSTED: text_exhausted(line, event); break;
	case EVENT_GIVEN_UP: text_given_up(line, event); break;
	case EVENT_NOT_RETRYABLE: text_not_retryable(line, event); break;
	case EVENT_FALLBACK: text_fallback(line, event); break;
	case EVENT_NONE: break;
	}
	if (event->shared)
		line_text(line, " [another's attempt]");
	if (event->replays > 0) {
		line_text(line, " [replayed by libcurl: ");
		line_unsigned(line, (uint64_t)event->replays);
		line_text(line, "]");
	}
}

static void put_setting(struct line *line, const char *name, const char *value)
{
	line_text(line, name);
	line_text(line, "=");
	line_text(line, value);
}

void words_unused(struct line *line, const char *name, const char *value, const char *why)
{
	put_setting(line, name, value);
	line_text(line, " is not used (");
	line_text(line, why);
	line_text(line, ")");
}

void words_bad_value(struct line *line, const char *name, const char *value, const char *used)
{
	put_setting(line, name, value);
	line_text(line, " is not valid; using ");
	line_text(line, used[0] != '\0' ? used : "nothing");
	line_text(line, " instead.");
}
