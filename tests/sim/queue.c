/* A binary heap. */
#include <stdlib.h>

#include "sim.h"

static bool before(const struct arrival *a, const struct arrival *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->serial < b->serial;
}

void queue_put(struct queue *queue, int64_t at_ns, size_t who, uint32_t ticket)
{
	if (queue->count == queue->room) {
		queue->room = queue->room == 0 ? 1024 : 2 * queue->room;
		queue->arrivals = realloc(queue->arrivals, queue->room * sizeof *queue->arrivals);
		if (queue->arrivals == NULL)
			abort();
	}
	struct arrival arrival = {.at_ns = at_ns, .serial = queue->serial++, .who = who, .ticket = ticket};
	size_t at = queue->count++;
	for (; at > 0 && before(&arrival, &queue->arrivals[(at - 1) / 2]); at = (at - 1) / 2)
		queue->arrivals[at] = queue->arrivals[(at - 1) / 2];
	queue->arrivals[at] = arrival;
}

bool queue_take(struct queue *queue, struct arrival *earliest)
{
	if (queue->count == 0)
		return false;
	*earliest = queue->arrivals[0];
	struct arrival last = queue->arrivals[--queue->count];
	size_t at = 0;
	for (;;) {
		size_t child = 2 * at + 1;
		if (child + 1 < queue->count && before(&queue->arrivals[child + 1], &queue->arrivals[child]))
			child++;
		if (child >= queue->count || !before(&queue->arrivals[child], &last))
			break;
		queue->arrivals[at] = queue->arrivals[child];
		at = child;
	}
	queue->arrivals[at] = last;
	return true;
}

void queue_free(struct queue *queue) { free(queue->arrivals); }
