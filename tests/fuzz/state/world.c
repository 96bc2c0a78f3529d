/* The file, and what others write into it. */
#include "world.h"

#include <errno.h>
#include <string.h>

struct state state;

void set_target(struct target *target, uint8_t kind, uint8_t which)
{
	memset(target, 0, sizeof *target);
	target->port = (uint16_t)(80 + which);
	target->is_unix = kind % 4 == 3;
	target->has_address = kind % 4 == 1 || kind % 4 == 2;
	memset(target->address, which, sizeof target->address);
	if (kind % 4 == 0 || kind % 4 == 2)
		memset(target->name, which, kind < 128 ? 30 : sizeof target->name - 1);
	if (target->is_unix)
		strcpy(target->name, "/run/a\nsocket");
}

uint64_t tag_of(uint8_t which) { return (uint64_t)which << 40 | (uint64_t)(which % DESTINATION_NEIGHBOURS) << 8 | 3; }

struct destination *place(struct world *world, uint64_t tag, const struct target *target, bool make)
{
	struct destination *it = state_place(&state, tag, target, make, world->now_ns / NS_PER_MS);
	PROMISE(it != NULL || !make);
	if (it == NULL)
		return NULL;
	PROMISE(it >= state.destinations && it < state.destinations + STATE_DESTINATIONS);
	PROMISE(((char *)it - (char *)state.destinations) % (int)sizeof *it == 0);
	PROMISE(it->place.tag == tag);
	return it;
}

struct destination *place_of(struct world *world, struct operation *op)
{
	return place(world, op->tag, &op->target, true);
}

/* ---- what others write ----------------------------------------------------------------------------------- */

uint64_t word(struct world *world)
{
	struct input *input = &world->input;
	uint8_t kind = byte(input);
	int64_t apart_ms = (int16_t)number(input, 2), at_ms = world->now_ns / NS_PER_MS + apart_ms * (kind & 0x80 ? 1000 : 1);
	struct evidence evidence = {.at_us = at_ms * 1000, .ok = kind & 0x40, .source = SOURCE_CONNECT, .code = ECONNREFUSED};
	uint64_t least = number(input, 1);
	switch (kind & 7) {
	case 0: return 0;
	case 1: return (uint64_t)at_ms;
	case 2: return evidence_word(&evidence);
	case 3: return claim_word(at_ms * 1000, least);
	case 4: return (uint64_t)at_ms << 22 | least;            /* circuit, floor */
	case 5: return (uint64_t)at_ms << 30 | least * 1000;     /* bucket */
	case 6: return tag_of((uint8_t)least) & ~(uint64_t)(kind >> 6 & 1);
	default: return number(input, 8);
	}
}

void overwrite(struct world *world)
{
	uint64_t where = byte(&world->input) % PLACES, which = byte(&world->input) % (sizeof(struct destination) / 8);
	uint64_t value = word(world);
	memcpy((char *)&state.destinations[where] + 8 * which, &value, sizeof value);
}

void fill(struct input *input)
{
	size_t length = (size_t)(input->end - input->at), each = length < 1024 ? length : 1024;
	for (size_t at = 0; each != 0 && at < sizeof state; at += each)
		memcpy((char *)&state + at, input->at, sizeof state - at < each ? sizeof state - at : each);
	input->at += each;
}
