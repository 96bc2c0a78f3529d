/* Hashes of keys, for the places of the host-shared state. */
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
