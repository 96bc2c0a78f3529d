/* An SVG to be read on a light and on a dark page: no background, middling greys. */
#include <stdio.h>

#include "sim.h"

enum { WIDTH = 720, LEFT = 52, RIGHT = 16, TOP = 34, PANEL = 110, GAP = 34, BOTTOM = 40, SECONDS = 12, BINS = SECONDS * 1000 / HERD_BIN_MS };
#define GREY "#808080"
#define PLOT_WIDTH (WIDTH - LEFT - RIGHT)

static const char *const titles[STRATEGIES] = {"retryshim", "retryshim, RETRY_STATE=off: each process for itself", "curl --retry"};
static const char *const colours[STRATEGIES] = {"#2a9d6f", "#3f87c9", "#d0743c"};

static double x_of(double seconds) { return LEFT + seconds * PLOT_WIDTH / SECONDS; }

/* A step line, filled down to the axis. */
static void curve(FILE *out, const unsigned *connects, double base, double scale, const char *colour)
{
	fprintf(out, "<path fill='%s' fill-opacity='0.35' stroke='%s' stroke-width='1' d='M%.1f %.1f", colour, colour, x_of(0), base);
	for (int bin = 0; bin < BINS; bin++)
		fprintf(out, "V%.1fH%.1f", base - connects[bin] * scale, x_of((bin + 1) * HERD_BIN_MS / 1000.0));
	fprintf(out, "V%.1f'/>\n", base);
}

static void axes(FILE *out, double base, double scale, unsigned every, unsigned most)
{
	for (unsigned value = 0; value <= most; value += every) {
		double y = base - value * scale;
		fprintf(out, "<path stroke='" GREY "' stroke-opacity='%s' d='M%d %.1fH%d'/>", value == 0 ? "0.9" : "0.3", LEFT, y, WIDTH - RIGHT);
		fprintf(out, "<text x='%d' y='%.1f' text-anchor='end'>%u</text>\n", LEFT - 6, y + 4, value);
	}
}

static void panel(FILE *out, int strategy, double top, const struct herd *herd, const struct herd_result *result, unsigned most)
{
	double base = top + PANEL, scale = (double)PANEL / most, opens_s = (double)herd->closed_ns / (double)NS_PER_S;
	fprintf(out, "<rect x='%d' y='%.1f' width='%.1f' height='%d' fill='" GREY "' fill-opacity='0.12'/>\n", LEFT, top, x_of(opens_s) - LEFT, PANEL);
	axes(out, base, scale, most > 250 ? 100 : 50, most);
	curve(out, result->connects_in, base, scale, colours[strategy]);
	fprintf(out, "<text x='%d' y='%.1f' font-weight='bold'>%s</text>\n", LEFT, top - 8, titles[strategy]);
	if (strategy == 0)
		fprintf(out, "<text x='%.1f' y='%.1f' text-anchor='end'>port closed</text>\n", x_of(opens_s) - 6, top + 16);
}

bool plot_write(const char *path, const struct herd *herd, const struct herd_result results[STRATEGIES])
{
	const int height = TOP + STRATEGIES * PANEL + (STRATEGIES - 1) * GAP + BOTTOM;
	unsigned most = 0;
	for (int i = 0; i < STRATEGIES; i++)
		for (int bin = 0; bin < BINS; bin++)
			most = results[i].connects_in[bin] > most ? results[i].connects_in[bin] : most;
	most = (most + 49) / 50 * 50;
	FILE *out = fopen(path, "w");
	if (out == NULL) {
		perror(path);
		return false;
	}
	fprintf(out, "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %d %d' font-family='sans-serif' font-size='12' fill='" GREY "'>\n", WIDTH, height);
	fprintf(out, "<title>Connects per %d ms at a server whose port is closed for 5 s, %zu processes</title>\n", HERD_BIN_MS, herd->processes);
	for (int i = 0; i < STRATEGIES; i++)
		panel(out, i, TOP + i * (PANEL + GAP), herd, &results[i], most);
	for (int second = 0; second <= SECONDS; second += 2)
		fprintf(out, "<text x='%.1f' y='%d' text-anchor='middle'>%d%s</text>\n", x_of(second), height - BOTTOM + 18, second, second == 0 ? " s" : "");
	fprintf(out, "<text x='%d' y='%d' text-anchor='end'>connects per %d ms, %zu processes</text>\n</svg>\n", WIDTH - RIGHT, TOP - 8, HERD_BIN_MS,
	        herd->processes);
	return fclose(out) == 0;
}
