/* The series, and how they are shown. */
#include "world.h"

#include <string.h>

#include "retryshim/report.h"

static void set_labels(struct input *input, const struct operation *op, struct labels *labels)
{
	static const char *const operations[] = {"connect", "a \"name\"\\", "", "\xff\n"};
	uint8_t which = byte(input);
	char longer[300];
	memset(longer, which, sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	labels_set(labels, which < 128 ? operations[which % 4] : longer, &op->target, (enum category)(which % (CATEGORY_PERMANENT + 1)));
}

static void count(struct world *world, const struct labels *labels)
{
	struct labels told;
	uint8_t metric = byte(&world->input) % METRICS;
	struct series *series = state_series_place(&state, labels, world->now_ns / NS_PER_MS);
	PROMISE(series != NULL && series >= state.series && series < state.series + STATE_SERIES);
	PROMISE(series_is(series, labels));
	series_add(series, metric, byte(&world->input) % REASONS, number(&world->input, 8));
	if (series_read(&state, (int)(series - state.series), &told))
		PROMISE(memcmp(told.operation, labels->operation, sizeof told.operation) == 0 &&
		        memcmp(told.target, labels->target, sizeof told.target) == 0 && told.category == labels->category);
}

static void overwrite_series(struct world *world, const struct labels *labels)
{
	uint64_t where = (labels_tag(labels) >> 8) + byte(&world->input) % SERIES_NEIGHBOURS;
	uint64_t which = byte(&world->input) % (sizeof(struct series) / 8), value = word(world);
	memcpy((char *)&state.series[where % STATE_SERIES] + 8 * which, &value, sizeof value);
}

/* A line's text, and no sample twice: its reader would refuse the whole. */
static void put(void *lines, const char *text, size_t length)
{
	PROMISE(length > 1 && length <= 1200 && text[length - 1] == '\n');
	for (size_t i = 0; i < length - 1; i++)
		PROMISE(text[i] >= ' ' && text[i] <= '~' && text[i] != '\\');
	*(int *)lines += 1;
}

static void show_series(void)
{
	int lines = 0, series = 0;
	static struct report_scratch scratch;
	struct labels labels, others;
	report_exposition(&state, &scratch, put, &lines);
	for (int i = 0; i < STATE_SERIES; i++) {
		if (!series_read(&state, i, &labels))
			continue;
		PROMISE(strlen(labels.operation) < sizeof labels.operation && strlen(labels.target) < sizeof labels.target);
		series++;
		for (int j = 0; j < i; j++)
			PROMISE(!series_read(&state, j, &others) || labels_tag(&others) != labels_tag(&labels));
	}
	PROMISE(lines >= 10 + 4 * series);
}

void metrics_step(struct world *world, const struct operation *op)
{
	struct labels labels;
	uint8_t what = byte(&world->input);
	set_labels(&world->input, op, &labels);
	switch (what % 4) {
	case 0:
		if (!world->shown)
			show_series();
		world->shown = true;
		break;
	case 1: overwrite_series(world, &labels); break;
	default: count(world, &labels); break;
	}
}
