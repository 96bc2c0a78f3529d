/* Random bits without a system call that a sandbox may deny, and without state that fork copies. */
#include <sys/auxv.h>
#include <time.h>
#include <unistd.h>

#include "retryshim/runtime.h"

static _Atomic(uint64_t) drawn; /* how many so far: two draws in one nanosecond still differ */

/* splitmix64's finisher (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators"). */
static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

/* The kernel's 16 random bytes of this program (getauxval(3)) are shared by all its forked children,
 * which the process id and the clock tell apart. */
static uint64_t process_entropy(void)
{
	const unsigned char *bytes = (const unsigned char *)getauxval(AT_RANDOM);
	uint64_t entropy = 0;
	for (int i = 0; bytes != NULL && i < 8; i++)
		entropy = entropy << 8 | bytes[i];
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	entropy = mix(entropy ^ (uint64_t)now.tv_nsec);
	entropy = mix(entropy ^ (uint64_t)now.tv_sec);
	return mix(entropy ^ (uint64_t)getpid());
}

uint64_t random_bits(int64_t seed)
{
	uint64_t n = atomic_fetch_add_explicit(&drawn, 1, memory_order_relaxed);
	return mix((seed >= 0 ? mix((uint64_t)seed) : process_entropy()) + n * UINT64_C(0x9e3779b97f4a7c15));
}

uint64_t random_id(void)
{
	/* Its own stream, so that RETRY_SEED repeats the jitter and not the ids. */
	static _Atomic(uint64_t) ids;
	return mix(process_entropy() + atomic_fetch_add_explicit(&ids, 1, memory_order_relaxed));
}
