/* What chaos.c and chaosserver.c agree on: dice that fall alike each time, and bodies of which each byte is known. */
#ifndef CHAOS_CONTENT_H
#define CHAOS_CONTENT_H

#include <stddef.h>
#include <stdint.h>

enum { TRANSFERS_MOST = 1 << 17, UPLOAD = 0 }; /* UPLOAD: `which` of a request's body; no response has it */

/* splitmix64 */
static inline uint64_t mixed(uint64_t value)
{
	value += UINT64_C(0x9e3779b97f4a7c15);
	value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
	return value ^ value >> 31;
}

static inline uint64_t dice_of(uint64_t seed, uint64_t number, uint64_t attempt)
{
	return mixed(mixed(mixed(seed) ^ number) ^ attempt);
}

/* 0 to sides - 1 */
static inline unsigned roll(uint64_t *dice, size_t sides)
{
	*dice = mixed(*dice);
	return (unsigned)((*dice >> 11) % sides);
}

/* Byte `at` of the body `which` of a transfer. */
static inline unsigned char content(unsigned id, unsigned which, size_t at)
{
	return (unsigned char)(mixed((uint64_t)id << 40 ^ (uint64_t)which << 20 ^ at / 8) >> at % 8 * 8);
}

static inline void content_fill(unsigned id, unsigned which, size_t at, char *out, size_t length)
{
	for (size_t i = 0; i < length; i++)
		out[i] = (char)content(id, which, at + i);
}

/* Index of the first byte that is wrong; `length` if all are right. */
static inline size_t content_right(unsigned id, unsigned which, size_t at, const char *bytes, size_t length)
{
	size_t i = 0;
	while (i < length && bytes[i] == (char)content(id, which, at + i))
		i++;
	return i;
}

#endif
