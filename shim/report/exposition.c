/* The host's counters in Prometheus' text format (version 0.0.4). */
#include <string.h>

#include "report/metrics.h"

enum family { RETRIES, DELAY, RECOVERED, EXHAUSTED, GIVEN_UP, FAMILIES };

static const struct {
	char name[40], help[64];
} families[FAMILIES] = {
	[RETRIES] = {"retryshim_retries_total", "Attempts after the first that were sent."},
	[DELAY] = {"retryshim_retry_delay_seconds_total", "Time that was waited for them."},
	[RECOVERED] = {"retryshim_recovered_total", "Operations that a retry has saved."},
	[EXHAUSTED] = {"retryshim_exhausted_total", "Operations that used up their attempts."},
	[GIVEN_UP] = {"retryshim_given_up_total", "Operations that could not be retried, by the reason."},
};

struct writer {
	void (*put)(void *context, const char *text, size_t length);
	void *context;
	struct line line;
};

static void put_line(struct writer *writer)
{
	line_end(&writer->line);
	writer->put(writer->context, writer->line.text, writer->line.length);
	writer->line.length = 0;
}

/* {operation="...", or ",target="...: labels hold nothing that had to be escaped. */
static void put_label(struct line *line, const char *start, const char *value)
{
	line_text(line, start);
	line_text(line, "=\"");
	line_text(line, value);
}

/* What every sample of a series begins with, behind the name. */
static void prepare(struct report_scratch *scratch, int i, const struct labels *labels)
{
	struct line line = {0};
	put_label(&line, "{operation", labels->operation);
	put_label(&line, "\",target", labels->target);
	put_label(&line, "\",category", category_name(labels->category));
	scratch->length[i] = (uint8_t)line.length;
	memcpy(scratch->text[i], line.text, line.length);
}

_Static_assert(sizeof "{operation=\"\",target=\"\",category=\"rate_limit" + LABEL_OPERATION_BYTES + LABEL_TARGET_BYTES < REPORT_LABELS_BYTES &&
               REPORT_LABELS_BYTES <= UINT8_MAX + 1, "a series' labels");

static void put_sample(struct writer *writer, enum family family, const struct report_scratch *scratch, int i, enum reason reason, uint64_t value)
{
	struct line *line = &writer->line;
	line_text(line, families[family].name);
	line_bytes(line, scratch->text[i], scratch->length[i]);
	if (reason != REASON_NONE)
		put_label(line, "\",reason", reason_name(reason));
	line_text(line, "\"} ");
	if (family == DELAY) {
		line_unsigned(line, value / 1000);
		line_text(line, ".");
		line_padded(line, value % 1000, 3);
	} else {
		line_unsigned(line, value);
	}
	put_line(writer);
}

static void put_series(struct writer *writer, enum family family, const struct report_scratch *scratch, int i, const struct counts *counts)
{
	switch (family) {
	case RETRIES: put_sample(writer, family, scratch, i, REASON_NONE, counts->attempts); break;
	case DELAY: put_sample(writer, family, scratch, i, REASON_NONE, counts->delay_ms); break;
	case RECOVERED: put_sample(writer, family, scratch, i, REASON_NONE, counts->recovered); break;
	case EXHAUSTED: put_sample(writer, family, scratch, i, REASON_NONE, counts->exhausted); break;
	case GIVEN_UP:
		for (enum reason reason = REASON_NONE + 1; reason < REASONS; reason++)
			if (counts->given_up[reason] != 0)
				put_sample(writer, family, scratch, i, reason, counts->given_up[reason]);
		break;
	case FAMILIES: break;
	}
}

static void put_head(struct writer *writer, enum family family)
{
	struct line *line = &writer->line;
	line_text(line, "# HELP ");
	line_text(line, families[family].name);
	line_text(line, " ");
	line_text(line, families[family].help);
	put_line(writer);
	line_text(line, "# TYPE ");
	line_text(line, families[family].name);
	line_text(line, " counter");
	put_line(writer);
}

void report_exposition(const struct state *state, struct report_scratch *scratch,
                       void (*put)(void *context, const char *text, size_t length), void *context)
{
	struct writer writer = {.put = put, .context = context};
	struct labels labels;
	struct counts counts;
	for (int i = 0; i < STATE_SERIES; i++) {
		scratch->places[i] = (uint8_t)series_read(state, i, &labels);
		if (scratch->places[i] != 0)
			prepare(scratch, i, &labels);
	}
	/* All samples of a name have to stand together. */
	for (enum family family = 0; family < FAMILIES; family++) {
		put_head(&writer, family);
		for (int i = 0; i < STATE_SERIES; i++)
			if (scratch->places[i] != 0) {
				series_sum(state, i, scratch->places[i], &counts);
				put_series(&writer, family, scratch, i, &counts);
			}
	}
}
