/* The places of the host-shared state: which one is a destination's, which one a series'. */
#include <arpa/inet.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>

#include "retryshim/runtime.h"

/* The same address is another host in another network namespace, and the same instant another one in another time
 * namespace (time_namespaces(7)). */
static uint64_t mix_namespace(uint64_t hash, const char *path)
{
	struct stat status;
	if (stat(path, &status) != 0)
		return hash;
	hash = tag_mix(hash, &status.st_dev, sizeof status.st_dev);
	return tag_mix(hash, &status.st_ino, sizeof status.st_ino);
}

uint64_t state_tag(const struct target *target)
{
	uint64_t hash = mix_namespace(TAG_SEED, "/proc/thread-self/ns/net");
	hash = mix_namespace(hash, "/proc/thread-self/ns/time");
	char kind = target->is_unix ? 'u' : target->has_address ? 'a' : 'n';
	hash = tag_mix(hash, &kind, 1);
	hash = tag_mix(hash, &target->way, sizeof target->way);
	hash = tag_mix(hash, &target->way_hash, sizeof target->way_hash);
	if (target->is_unix && target->name[0] != '/' && target->name[0] != '@') /* a file of this folder; not abstract */
		hash = mix_namespace(hash, ".");
	hash = tag_mix(hash, &target->port, sizeof target->port);
	if (kind == 'a') {
		hash = tag_mix(hash, target->address, sizeof target->address);
	} else {
		for (const char *c = target->name; *c != '\0'; c++) { /* host names know no case (RFC 4343) */
			char lower = *c >= 'A' && *c <= 'Z' && !target->is_unix ? (char)(*c + 'a' - 'A') : *c;
			hash = tag_mix(hash, &lower, 1);
		}
	}
	return tag_end(hash);
}

/* "HOST:PORT (ADDRESS)", or another word that tells destinations of one name apart. */
static void write_name(const struct target *target, char name[STATE_NAME_BYTES])
{
	static const char ways[][12] = {[WAY_OTHER] = "another way", [WAY_LOOK_UP] = "look-up", [WAY_COMMAND] = ""};
	struct target address = {.has_address = true};
	char text[INET6_ADDRSTRLEN + 2] = "";
	target_format(target, name, STATE_NAME_BYTES);
	if (target->has_address && target->name[0] != '\0') {
		memcpy(address.address, target->address, sizeof address.address);
		target_format(&address, text, sizeof text);
	} else {
		strcpy(text, ways[target->way]);
	}
	if (text[0] != '\0' && strlen(name) + strlen(text) + 4 <= STATE_NAME_BYTES)
		strcat(strcat(strcat(name, " ("), text), ")");
}

enum { TURNS = 8 }; /* in which others may take a place from under us */

/* ---- any table -------------------------------------------------------------------------------------- */

/* A table of entries that begin with a struct place. Of `numbers` bytes behind that, each word is 0 in a new entry;
 * name() writes its name, from what the caller of find() handed on. */
struct table {
	char *first;
	size_t size, numbers;
	unsigned count, neighbours;
	void (*name)(struct place *place, const void *what);
};

static struct place *neighbour(const struct table *table, uint64_t tag, unsigned i)
{
	return (struct place *)(table->first + place_index(tag, i, table->count) * table->size);
}

/* What the last one left is cleared by whoever comes first: that may not be who took the place, and was killed. Two may be
 * at it, and the slower one should not clear what has been counted since: it leaves what is no longer what it has seen. */
static void prepare(const struct table *table, struct place *place, uint64_t tag, const void *what)
{
	uint64_t unready = tag & ~UINT64_C(1);
	void *behind = place + 1;
	_Atomic(uint64_t) *words = behind;
	for (size_t i = 0; i < table->numbers / sizeof *words; i++) {
		uint64_t left = atomic_load_explicit(&words[i], memory_order_relaxed);
		if (left == 0)
			continue;
		if (atomic_load_explicit(&place->tag, memory_order_acquire) != unready)
			return;
		atomic_compare_exchange_strong_explicit(&words[i], &left, 0, memory_order_relaxed, memory_order_relaxed);
	}
	if (atomic_load_explicit(&place->tag, memory_order_acquire) != unready)
		return;
	table->name(place, what);
	atomic_compare_exchange_strong(&place->tag, &unready, tag);
}

static struct place *find(const struct table *table, uint64_t tag, const void *what)
{
	for (unsigned i = 0; i < table->neighbours; i++) {
		struct place *place = neighbour(table, tag, i);
		uint64_t found = atomic_load_explicit(&place->tag, memory_order_acquire);
		if ((found | 1) != tag)
			continue;
		if (found != tag)
			prepare(table, place, tag, what);
		return place;
	}
	return NULL;
}

/* How readily a place is taken: first what is free, then what nobody can have used at such an instant, then the oldest. */
static uint64_t rank(uint64_t tag, uint64_t used, int64_t now_ms)
{
	const int64_t skew_ms = SHARE_CLOCK_SKEW_US / 1000; /* between processors, and since we looked at the clock */
	if (tag == 0)
		return 0;
	return used > (uint64_t)(now_ms + skew_ms) ? 1 : used + 2;
}

/* The one of the places where the tag may stand that is taken first, and what stands there. */
static struct place *oldest(const struct table *table, uint64_t tag, int64_t now_ms, uint64_t *found)
{
	struct place *oldest = NULL;
	uint64_t lowest = UINT64_MAX;
	for (unsigned i = 0; i < table->neighbours; i++) {
		struct place *place = neighbour(table, tag, i);
		uint64_t there = atomic_load_explicit(&place->tag, memory_order_acquire);
		uint64_t it = rank(there, atomic_load_explicit(&place->used, memory_order_relaxed), now_ms);
		if (it >= lowest)
			continue;
		oldest = place;
		lowest = it;
		*found = there;
	}
	return oldest;
}

static struct place *place_in(const struct table *table, uint64_t tag, const void *what, bool make, int64_t now_ms)
{
	struct place *place = find(table, tag, what);
	for (int turn = 0; place == NULL && make && turn < TURNS; turn++) {
		uint64_t found = 0;
		struct place *taken = oldest(table, tag, now_ms, &found);
		if (atomic_compare_exchange_strong(&taken->tag, &found, tag & ~UINT64_C(1))) {
			atomic_store_explicit(&taken->used, (uint64_t)now_ms, memory_order_relaxed); /* not the oldest any more */
			prepare(table, taken, tag, what);
		}
		place = find(table, tag, what);
	}
	if (place != NULL)
		atomic_store_explicit(&place->used, (uint64_t)now_ms, memory_order_relaxed);
	return place;
}

static void store_text(_Atomic(uint64_t) *words, const char *text, size_t size)
{
	for (size_t i = 0; i < size / sizeof *words; i++) {
		uint64_t word;
		memcpy(&word, text + i * sizeof word, sizeof word);
		atomic_store_explicit(&words[i], word, memory_order_relaxed);
	}
}

/* ---- the two ---------------------------------------------------------------------------------------- */

static void name_destination(struct place *place, const void *target)
{
	char name[STATE_NAME_BYTES] = {0};
	write_name(target, name);
	store_text(((struct destination *)place)->name, name, sizeof name);
}

struct destination *state_place(struct state *state, uint64_t tag, const struct target *target, bool make, int64_t now_ms)
{
	const struct table table = {
		.first = (char *)state->destinations,
		.size = sizeof *state->destinations,
		.numbers = offsetof(struct destination, successes) - sizeof(struct place),
		.count = STATE_DESTINATIONS,
		.neighbours = DESTINATION_NEIGHBOURS,
		.name = name_destination,
	};
	return (struct destination *)place_in(&table, tag, target, make, now_ms);
}

static void name_series(struct place *place, const void *what)
{
	struct series *series = (struct series *)place;
	const struct labels *labels = what;
	atomic_store_explicit(&series->category, labels->category, memory_order_relaxed);
	store_text(series->operation, labels->operation, sizeof labels->operation);
	store_text(series->target, labels->target, sizeof labels->target);
}

struct series *state_series_place(struct state *state, const struct labels *labels, int64_t now_ms)
{
	const struct table table = {
		.first = (char *)state->series,
		.size = sizeof *state->series,
		.numbers = offsetof(struct series, category) - sizeof(struct place),
		.count = STATE_SERIES,
		.neighbours = SERIES_NEIGHBOURS,
		.name = name_series,
	};
	uint64_t tag = labels_tag(labels);
	struct series *series = (struct series *)place_in(&table, tag, labels, true, now_ms);
	/* Who was slow to name a place that has been taken by another since has named it wrongly. */
	if (series != NULL && !series_is(series, labels) && atomic_load(&series->place.tag) == tag)
		name_series(&series->place, labels);
	return series;
}
