/* What the host counts for its operators; host.h has the layout. */
#include <string.h>

#include "retryshim/host.h"

/* ---- labels ----------------------------------------------------------------------------------------- */

static bool is_plain(char c) { return c >= ' ' && c <= '~' && c != '"' && c != '\\'; }

/* Fills the whole array: what is hashed and stored is all of it. */
static void set_text(char *to, size_t size, const char *text)
{
	memset(to, 0, size);
	for (size_t i = 0; i < size - 1 && text[i] != '\0'; i++)
		to[i] = is_plain(text[i]) ? text[i] : '?';
	if (to[strspn(to, " ")] == '\0')
		to[0] = '?'; /* a dimension of nothing, or blanks, is none */
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

/* As labels_set() makes one: no byte but plain ones, up to an end. */
static bool is_label(const char *text, size_t size)
{
	size_t length = strnlen(text, size);
	for (size_t i = 0; i < size; i++)
		if (i < length ? !is_plain(text[i]) : text[i] != '\0')
			return false;
	return length > 0 && length < size;
}

/* Whatever the place holds. */
static void read_labels(const struct series *series, struct labels *labels)
{
	read_text(labels->operation, series->operation, sizeof labels->operation);
	read_text(labels->target, series->target, sizeof labels->target);
	labels->category = (enum category)(load(&series->category) % CATEGORIES);
}

static const struct series *neighbour(const struct state *state, uint64_t tag, unsigned i)
{
	return &state->series[place_index(tag, i, STATE_SERIES)];
}

bool series_is(const struct series *series, const struct labels *labels)
{
	struct labels found;
	read_labels(series, &found);
	return memcmp(found.operation, labels->operation, sizeof found.operation) == 0 &&
	       memcmp(found.target, labels->target, sizeof found.target) == 0 && found.category == labels->category;
}

int series_read(const struct state *state, int i, struct labels *labels)
{
	const struct series *series = &state->series[i];
	uint64_t tag = atomic_load_explicit(&series->place.tag, memory_order_acquire);
	int places = 0;
	if ((tag & 1) == 0)
		return 0;
	read_labels(series, labels);
	if (!is_label(labels->operation, sizeof labels->operation) || !is_label(labels->target, sizeof labels->target) ||
	    labels_tag(labels) != tag)
		return 0;
	for (unsigned n = 0; n < SERIES_NEIGHBOURS; n++) {
		if (load(&neighbour(state, tag, n)->place.tag) != tag)
			continue;
		if (places == 0 && neighbour(state, tag, n) != series)
			return 0;
		places++;
	}
	return places;
}

static void add_up(struct counts *counts, const struct series *series)
{
	counts->attempts += load(&series->attempts);
	counts->delay_ms += load(&series->delay_ms);
	counts->recovered += load(&series->recovered);
	counts->exhausted += load(&series->exhausted);
	for (int reason = 0; reason < REASONS; reason++)
		counts->given_up[reason] += load(&series->given_up[reason]);
}

void series_sum(const struct state *state, int i, int places, struct counts *counts)
{
	uint64_t tag = load(&state->series[i].place.tag);
	memset(counts, 0, sizeof *counts);
	add_up(counts, &state->series[i]);
	for (unsigned n = 0; n < SERIES_NEIGHBOURS && places > 1; n++) {
		const struct series *other = neighbour(state, tag, n);
		if (other != &state->series[i] && load(&other->place.tag) == tag)
			add_up(counts, other);
	}
}
