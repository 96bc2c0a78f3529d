/* The places of the host-shared state: which one is a destination's. */
#include <arpa/inet.h>
#include <string.h>
#include <sys/stat.h>

#include "retryshim/runtime.h"

enum { NEIGHBOURS = 8 };

static uint64_t mix(uint64_t hash, const void *bytes, size_t length)
{
	const unsigned char *byte = bytes;
	for (size_t i = 0; i < length; i++) /* FNV-1a */
		hash = (hash ^ byte[i]) * UINT64_C(0x100000001b3);
	return hash;
}

/* The same address is another host in another network namespace, and the same instant another one in another time
 * namespace (time_namespaces(7)). */
static uint64_t mix_namespace(uint64_t hash, const char *path)
{
	struct stat status;
	if (stat(path, &status) != 0)
		return hash;
	hash = mix(hash, &status.st_dev, sizeof status.st_dev);
	return mix(hash, &status.st_ino, sizeof status.st_ino);
}

uint64_t state_tag(const struct target *target)
{
	uint64_t hash = mix_namespace(UINT64_C(0xcbf29ce484222325), "/proc/thread-self/ns/net");
	hash = mix_namespace(hash, "/proc/thread-self/ns/time");
	char kind = target->is_unix ? 'u' : target->has_address ? 'a' : 'n';
	hash = mix(hash, &kind, 1);
	hash = mix(hash, &target->way, sizeof target->way);
	hash = mix(hash, &target->way_hash, sizeof target->way_hash);
	if (target->is_unix && target->name[0] != '/' && target->name[0] != '@') /* a file of this folder; not abstract */
		hash = mix_namespace(hash, ".");
	hash = mix(hash, &target->port, sizeof target->port);
	if (kind == 'a') {
		hash = mix(hash, target->address, sizeof target->address);
	} else {
		for (const char *c = target->name; *c != '\0'; c++) { /* host names know no case (RFC 4343) */
			char lower = *c >= 'A' && *c <= 'Z' && !target->is_unix ? (char)(*c + 'a' - 'A') : *c;
			hash = mix(hash, &lower, 1);
		}
	}
	hash ^= hash >> 32;
	hash *= UINT64_C(0x9e3779b97f4a7c15);
	hash |= 1;
	return hash != 1 ? hash : 3;
}

/* "HOST:PORT (ADDRESS)", or another word that tells destinations of one name apart. */
static void write_name(const struct target *target, char name[STATE_NAME_BYTES])
{
	static const char ways[][12] = {[WAY_OTHER] = "another way", [WAY_LOOK_UP] = "look-up"};
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

/* Two may do so at once, and write the same. */
static void set_name(struct destination *it, const struct target *target)
{
	union {
		char text[STATE_NAME_BYTES];
		uint64_t words[STATE_NAME_BYTES / 8];
	} name = {{0}};
	write_name(target, name.text);
	for (size_t i = 0; i < sizeof name.words / sizeof name.words[0]; i++)
		atomic_store_explicit(&it->name[i], name.words[i], memory_order_relaxed);
}

/* What the last one left is cleared by whoever comes first: that may not be who took the place, and was killed. */
static void prepare(struct destination *it, uint64_t tag, const struct target *target)
{
	_Atomic(uint64_t) *words[] = {&it->bucket,   &it->circuit,  &it->floor,    &it->evidence,   &it->claim,    &it->failure,
	                              &it->opened_by, &it->attempts, &it->retries, &it->recoveries, &it->exhausted};
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		atomic_store_explicit(words[i], 0, memory_order_relaxed);
	set_name(it, target);
	uint64_t unready = tag & ~UINT64_C(1);
	atomic_compare_exchange_strong(&it->tag, &unready, tag);
}

static struct destination *find(struct state *state, uint64_t tag, const struct target *target)
{
	for (int i = 0; i < NEIGHBOURS; i++) {
		struct destination *it = &state->destinations[((tag >> 8) + (unsigned)i) % STATE_DESTINATIONS];
		uint64_t found = atomic_load_explicit(&it->tag, memory_order_acquire);
		if ((found | 1) != tag)
			continue;
		if (found != tag)
			prepare(it, tag, target);
		return it;
	}
	return NULL;
}

/* The least used of the places where the tag may stand, and what stands there. */
static struct destination *oldest(struct state *state, uint64_t tag, int64_t now_ms, uint64_t *found)
{
	struct destination *oldest = NULL;
	uint64_t oldest_used = UINT64_MAX;
	for (int i = 0; i < NEIGHBOURS; i++) {
		struct destination *it = &state->destinations[((tag >> 8) + (unsigned)i) % STATE_DESTINATIONS];
		uint64_t there = atomic_load_explicit(&it->tag, memory_order_acquire);
		uint64_t used = atomic_load_explicit(&it->used, memory_order_relaxed) + 1;
		if (there == 0 || used > (uint64_t)now_ms + 1) /* free, or nonsense */
			used = 0;
		if (used >= oldest_used)
			continue;
		oldest = it;
		oldest_used = used;
		*found = there;
	}
	return oldest;
}

struct destination *state_place(struct state *state, uint64_t tag, const struct target *target, bool make, int64_t now_ms)
{
	struct destination *it = find(state, tag, target);
	for (int turn = 0; it == NULL && make && turn < NEIGHBOURS; turn++) {
		uint64_t found = 0;
		struct destination *taken = oldest(state, tag, now_ms, &found);
		if (atomic_compare_exchange_strong(&taken->tag, &found, tag & ~UINT64_C(1)))
			prepare(taken, tag, target);
		it = find(state, tag, target);
	}
	if (it != NULL)
		atomic_store_explicit(&it->used, (uint64_t)now_ms, memory_order_relaxed);
	return it;
}
