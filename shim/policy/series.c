/* What the host counts for its operators; host.h has the layout. */
#include <string.h>

#include "retryshim/host.h"

uint64_t tag_mix(uint64_t hash, const void *bytes, size_t length)
{
	const unsigned char *byte = bytes;
	for (size_t i = 0; i < length; i++) /* FNV-1a */
		hash = (hash ^ byte[i]) * UINT64_C(0x100000001b3);
	return hash;
}

uint64_t tag_end(uint64_t hash)
{
	hash ^= hash >> 32;
	hash *= UINT64_C(0x9e3779b97f4a7c15);
	hash |= 1;
	return hash != 1 ? hash : 3;
}

/* ---- labels ----------------------------------------------------------------------------------------- */

static bool is_visible(char c) { return c >= ' ' && c <= '~'; }

/* Fills the whole array: what is hashed and stored is all of it. */
static void set_text(char *to, size_t size, const char *text)
{
	memset(to, 0, size);
	for (size_t i = 0; i < size - 1 && text[i] != '\0'; i++)
		to[i] = is_visible(text[i]) ? text[i] : '?';
	if (to[0] == '\0')
		to[0] = '?'; /* an empty dimension is none */
}

void labels_set(struct labels *labels, const char *operation, const struct target *target, enum category category)
{
	char text[TARGET_TEXT_MAX];
	target_format(target, text, sizeof text);
	set_text(labels->operation, sizeof labels->operation, operation);
	set_text(labels->target, sizeof labels->target, text);
	labels->category = category;
}

/* Word by word: all labels of a host are hashed whenever they are shown. */
static uint64_t mix_text(uint64_t hash, const char *text, size_t size)
{
	for (size_t i = 0; i < size; i += sizeof(uint64_t)) {
		uint64_t word;
		memcpy(&word, text + i, sizeof word);
		hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		hash ^= hash >> 32;
	}
	return hash;
}

uint64_t labels_tag(const struct labels *labels)
{
	uint64_t hash = mix_text(TAG_SEED + labels->category, labels->operation, sizeof labels->operation);
	return tag_end(mix_text(hash, labels->target, sizeof labels->target));
}

/* ---- series ----------------------------------------------------------------------------------------- */

static uint64_t load(const _Atomic(uint64_t) *word) { return atomic_load_explicit(word, memory_order_relaxed); }

static void read_text(char *to, const _Atomic(uint64_t) *words, size_t size)
{
	for (size_t i = 0; i < size / sizeof(uint64_t); i++) {
		uint64_t word = load(&words[i]);
		memcpy(to + i * sizeof word, &word, sizeof word);
	}
}

/* As labels_set() makes one: no byte but visible ones, up to an end. */
static bool is_label(const char *text, size_t size)
{
	size_t length = strnlen(text, size);
	for (size_t i = 0; i < size; i++)
		if (i < length ? !is_visible(text[i]) : text[i] != '\0')
			return false;
	return length > 0 && length < size;
}

/* Whatever the place holds: texts with an end. */
static void read_labels(const struct series *series, struct labels *labels)
{
	read_text(labels->operation, series->operation, sizeof labels->operation);
	read_text(labels->target, series->target, sizeof labels->target);
	labels->category = (enum category)(load(&series->category) % CATEGORIES);
}

static const struct series *neighbour(const struct state *state, uint64_t tag, unsigned n)
{
	return &state->series[((tag >> 8) + n) % STATE_SERIES];
}

bool series_stands(const struct state *state, int i)
{
	const struct series *series = &state->series[i];
	struct labels labels;
	uint64_t tag = atomic_load_explicit(&series->place.tag, memory_order_acquire);
	if ((tag & 1) == 0)
		return false;
	read_labels(series, &labels);
	if (!is_label(labels.operation, sizeof labels.operation) || !is_label(labels.target, sizeof labels.target) ||
	    labels_tag(&labels) != tag)
		return false;
	for (unsigned n = 0; n < STATE_NEIGHBOURS; n++)
		if (load(&neighbour(state, tag, n)->place.tag) == tag)
			return neighbour(state, tag, n) == series;
	return false;
}

static void sum(struct counts *counts, const struct series *series)
{
	counts->attempts += load(&series->attempts);
	counts->delay_ms += load(&series->delay_ms);
	counts->recovered += load(&series->recovered);
	counts->exhausted += load(&series->exhausted);
	for (int reason = 0; reason < REASONS; reason++)
		counts->given_up[reason] += load(&series->given_up[reason]);
}

void series_read(const struct state *state, int i, struct labels *labels, struct counts *counts)
{
	uint64_t tag = load(&state->series[i].place.tag);
	read_labels(&state->series[i], labels);
	labels->operation[sizeof labels->operation - 1] = labels->target[sizeof labels->target - 1] = '\0';
	memset(counts, 0, sizeof *counts);
	for (unsigned n = 0; n < STATE_NEIGHBOURS; n++)
		if (load(&neighbour(state, tag, n)->place.tag) == tag)
			sum(counts, neighbour(state, tag, n));
}

static void add(_Atomic(uint64_t) *counter, uint64_t value) { atomic_fetch_add_explicit(counter, value, memory_order_relaxed); }

void series_add(struct state *state, struct series *series, enum metric metric, enum reason reason, uint64_t value)
{
	switch (metric) {
	case METRIC_ATTEMPT: add(&series->attempts, 1); break;
	case METRIC_DELAY: add(&series->delay_ms, value); break;
	case METRIC_RECOVERED: add(&series->recovered, 1); break;
	case METRIC_EXHAUSTED: add(&series->exhausted, 1); break;
	case METRIC_GIVEN_UP: add(&series->given_up[reason], 1); break;
	case METRICS: break;
	}
	atomic_fetch_add_explicit(&state->header.counted, 1, memory_order_release);
}
