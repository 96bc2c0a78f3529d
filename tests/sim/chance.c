/* Random numbers that are the same each time. */
#include <math.h>
#include <stdlib.h>

#include "sim.h"

uint64_t chance_bits(uint64_t *seed) /* splitmix64 */
{
	uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

double chance_fraction(uint64_t *seed) { return (double)(chance_bits(seed) >> 11) * 0x1p-53; }

double chance_normal(uint64_t *seed, double mean, double deviation) /* Box and Muller */
{
	double radius = sqrt(-2 * log(1 - chance_fraction(seed)));
	return mean + deviation * radius * cos(2 * M_PI * chance_fraction(seed));
}

double chance_exponential(uint64_t *seed, double mean) { return -mean * log(1 - chance_fraction(seed)); }

static int compare(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;
	return (left > right) - (left < right);
}

double quantile(double *values, size_t count, double share)
{
	if (count == 0)
		return NAN;
	qsort(values, count, sizeof *values, compare);
	size_t at = (size_t)((double)count * share);
	return values[at < count ? at : count - 1];
}
