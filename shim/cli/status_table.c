/* The facts for people: columns as wide as they need to be. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/status.h"
#include "retryshim/cli.h"

/* ---- cells: texts to be freed --------------------------------------------------------------------- */

/* In the greatest unit that it fills: more is not read at a glance. */
static char *span(int64_t seconds)
{
	static const struct {
		int64_t seconds;
		char name;
	} units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
	size_t i = 0;
	while (i < sizeof units / sizeof units[0] - 1 && seconds < units[i].seconds)
		i++;
	return cli_format("%" PRId64 "%c", seconds / units[i].seconds, units[i].name);
}

static char *tenths(int64_t milli) { return cli_format("%" PRId64 ".%d", milli / 1000, (int)(milli % 1000 / 100)); }

static char *target_cell(const struct status_facts *facts) { return status_shown(facts->target); }

static char *circuit_cell(const struct status_facts *facts)
{
	const char *name = status_circuit_name(facts->circuit);
	if (facts->circuit != CIRCUIT_OPEN)
		return cli_format("%s", name);
	if (facts->probe_in_ms == 0)
		return cli_format("%s, probe due", name);
	char *wait = span((facts->probe_in_ms + 999) / 1000); /* never "in 0s" */
	char *cell = cli_format("%s, probe in %s", name, wait);
	free(wait);
	return cell;
}

static char *tokens_cell(const struct status_facts *facts)
{
	if (facts->tokens_milli == STATUS_UNKNOWN)
		return cli_format("off");
	bool whole = facts->burst_milli % 1000 == 0;
	char *tokens = tenths(facts->tokens_milli);
	char *burst = whole ? cli_format("%" PRId64, facts->burst_milli / 1000) : tenths(facts->burst_milli);
	char *cell = cli_format("%s/%s", tokens, burst);
	free(tokens);
	free(burst);
	return cell;
}

static char *floor_cell(const struct status_facts *facts)
{
	return facts->floor_ms != 0 ? cli_duration_text(facts->floor_ms) : cli_format("-");
}

static char *failure_cell(const struct status_facts *facts)
{
	return cli_format("%s", facts->failure[0] != '\0' ? facts->failure : "-");
}

static char *when_cell(const struct status_facts *facts)
{
	if (facts->failure_age_ms == STATUS_UNKNOWN)
		return cli_format("-");
	char *age = span(facts->failure_age_ms / 1000);
	char *cell = cli_format("%s ago", age);
	free(age);
	return cell;
}

static char *count(uint64_t number) { return cli_format("%" PRIu64, number); }

static char *attempts_cell(const struct status_facts *facts) { return count(facts->attempts); }
static char *retries_cell(const struct status_facts *facts) { return count(facts->retries); }
static char *recoveries_cell(const struct status_facts *facts) { return count(facts->recoveries); }
static char *exhausted_cell(const struct status_facts *facts) { return count(facts->exhausted); }

/* ---- columns --------------------------------------------------------------------------------------- */

enum { COLUMN_CIRCUIT = 1, COLUMN_FLOOR = 3, COLUMNS = 10 };

static const struct column {
	const char *title;
	char *(*cell)(const struct status_facts *facts);
	bool right;
} columns[COLUMNS] = {
	{"TARGET", target_cell, false},
	[COLUMN_CIRCUIT] = {"CIRCUIT", circuit_cell, false},
	{"TOKENS", tokens_cell, true},
	[COLUMN_FLOOR] = {"FLOOR", floor_cell, true},
	{"LAST FAILURE", failure_cell, false},
	{"WHEN", when_cell, true},
	{"ATTEMPTS", attempts_cell, true},
	{"RETRIES", retries_cell, true},
	{"RECOVERIES", recoveries_cell, true},
	{"EXHAUSTED", exhausted_cell, true},
};

struct layout {
	int width[COLUMNS]; /* 0: not shown */
	bool colours;
};

static struct layout lay_out(const struct status_facts *facts, int count)
{
	struct layout layout = {{0}, false};
	bool floors = false;
	for (int i = 0; i < count; i++)
		floors = floors || facts[i].floor_ms != 0;
	for (int c = 0; c < COLUMNS; c++) {
		if (c == COLUMN_FLOOR && !floors)
			continue;
		layout.width[c] = (int)strlen(columns[c].title);
		for (int i = 0; i < count; i++) {
			char *cell = columns[c].cell(&facts[i]);
			int width = status_width(cell);
			if (width > layout.width[c])
				layout.width[c] = width;
			free(cell);
		}
	}
	return layout;
}

static const char *colour_of(enum circuit circuit)
{
	switch (circuit) {
	case CIRCUIT_OPEN: return "\033[31m";      /* red */
	case CIRCUIT_HALF_OPEN: return "\033[33m"; /* yellow */
	case CIRCUIT_CLOSED: break;
	}
	return "\033[32m"; /* green */
}

static void put_cell(const struct layout *layout, int column, const char *text, const char *colour)
{
	int pad = layout->width[column] - status_width(text);
	if (layout->width[column] == 0)
		return;
	printf("%s%*s", column == 0 ? "" : "  ", columns[column].right ? pad : 0, "");
	printf("%s%s%s", colour, text, colour[0] != '\0' ? "\033[0m" : "");
	printf("%*s", columns[column].right ? 0 : pad, "");
}

static void put_line(const struct layout *layout, const struct status_facts *facts)
{
	for (int c = 0; c < COLUMNS; c++) {
		char *cell = columns[c].cell(facts);
		put_cell(layout, c, cell, c == COLUMN_CIRCUIT && layout->colours ? colour_of(facts->circuit) : "");
		free(cell);
	}
	putchar('\n');
}

void status_table(const struct status_facts *facts, int count, int lines, bool colours)
{
	struct layout layout = lay_out(facts, count);
	layout.colours = colours;
	int shown = count <= lines - 1 ? count : lines > 2 ? lines - 2 : 0;
	for (int c = 0; c < COLUMNS; c++)
		put_cell(&layout, c, columns[c].title, "");
	putchar('\n');
	for (int i = 0; i < shown; i++)
		put_line(&layout, &facts[i]);
	if (shown < count)
		printf("... and %d more\n", count - shown);
}
