/* Looks into the table of pending connects: by descriptor, socket, instant and epoll_data. */
#include <errno.h>

#include "hooks/pending.h"

#define RELAXED memory_order_relaxed

_Atomic(bool) pending_further_watches;

/* ---- by descriptor -------------------------------------------------------------------------------- */

void pending_forget_number(struct pending *entry, int fd)
{
	for (int i = 0; i < PENDING_NUMBERS; i++)
		if (atomic_load_explicit(&entry->numbers[i], RELAXED) == fd + 1)
			atomic_store_explicit(&entry->numbers[i], 0, RELAXED);
	pending_unindex(fd, entry);
}

/* A duplicate was met. */
static void add_number(struct pending *entry, int fd)
{
	uint16_t none = 0, own = (uint16_t)(pending_number(entry) + 1);
	if ((unsigned)fd >= PENDING_FDS || pending_of(fd) != NULL)
		return;
	for (int i = 1; i < PENDING_NUMBERS; i++) {
		int free = 0;
		if (!atomic_compare_exchange_strong_explicit(&entry->numbers[i], &free, fd + 1, RELAXED, RELAXED))
			continue;
		atomic_store_explicit(&entry->extra, true, RELAXED);
		if (!atomic_compare_exchange_strong_explicit(&pending_index[fd], &none, own, memory_order_release, RELAXED))
			atomic_store_explicit(&entry->numbers[i], 0, RELAXED);
		return;
	}
}

struct pending *pending_duplicate(int fd)
{
	int errno_before = errno;
	uint64_t cookie = socket_cookie(fd);
	errno = errno_before;
	if (cookie == 0)
		return NULL;
	uint32_t end = atomic_load_explicit(&pending_used, RELAXED);
	for (uint32_t i = 0; i < end; i++) {
		if (atomic_load_explicit(&pending_cookies[i], RELAXED) != cookie)
			continue;
		add_number(&pending_table[i], fd);
		return &pending_table[i];
	}
	return NULL;
}

/* The number is another socket's by now. */
static void forget_stale(struct pending *entry, int fd)
{
	struct hold hold;
	hold_begin(&hold);
	enum pending_state state = pending_claim(entry);
	if (state != PENDING_FREE) {
		if (pending_of(fd) == entry && !pending_is(entry, fd))
			pending_forget_number(entry, fd);
		pending_settle(entry, state);
	}
	hold_end(&hold);
}

struct pending *pending_resolve(int fd)
{
	struct pending *entry = pending_of(fd);
	int errno_before = errno;
	if (entry != NULL && !pending_is(entry, fd)) {
		forget_stale(entry, fd);
		entry = NULL;
	}
	if (entry == NULL)
		entry = pending_duplicate(fd);
	errno = errno_before;
	return entry;
}

uint64_t pending_cookie(const struct pending *entry)
{
	return atomic_load_explicit(&pending_cookies[pending_number(entry)], RELAXED);
}

bool pending_is(const struct pending *entry, int fd)
{
	uint64_t cookie = pending_cookie(entry);
	return cookie != 0 && socket_cookie(fd) == cookie;
}

struct pending *pending_each(uint32_t *index)
{
	uint32_t end = atomic_load_explicit(&pending_used, RELAXED);
	while (*index < end) {
		struct pending *entry = &pending_table[(*index)++];
		if (pending_state(entry) >= PENDING_CLAIMED)
			return entry;
	}
	return NULL;
}

/* ---- instants ------------------------------------------------------------------------------------ */

void pending_set_due(struct pending *entry, int64_t due_ns)
{
	int64_t before = atomic_exchange_explicit(&pending_dues[pending_number(entry)], due_ns, RELAXED);
	if (before == 0 && due_ns != 0)
		atomic_fetch_add_explicit(&pending_quiet_count, 1, RELAXED);
	if (before != 0 && due_ns == 0)
		atomic_fetch_sub_explicit(&pending_quiet_count, 1, RELAXED);
}

int64_t pending_due(const struct pending *entry)
{
	return atomic_load_explicit(&pending_dues[pending_number(entry)], RELAXED);
}

int64_t pending_next_due(int64_t after_ns)
{
	int64_t next = INT64_MAX;
	uint32_t end = atomic_load_explicit(&pending_used, RELAXED);
	for (uint32_t i = 0; i < end; i++) {
		int64_t due_ns = atomic_load_explicit(&pending_dues[i], RELAXED);
		if (due_ns > after_ns && due_ns < next)
			next = due_ns;
	}
	return next;
}

struct pending *pending_next(uint32_t *index, int64_t now_ns)
{
	uint32_t end = atomic_load_explicit(&pending_used, RELAXED);
	for (; *index < end; ++*index) {
		int64_t due_ns = atomic_load_explicit(&pending_dues[*index], RELAXED);
		if (due_ns != 0 && due_ns <= now_ns)
			return &pending_table[(*index)++];
	}
	return NULL;
}

/* ---- watches ------------------------------------------------------------------------------------- */

static struct watch *watch_in(struct pending *entry, int epoll, uint64_t data)
{
	for (int i = 0; i < PENDING_WATCHES; i++) {
		struct watch *watch = &entry->watches[i];
		if (atomic_load_explicit(&watch->epoll, memory_order_acquire) == epoll + 1 &&
		    atomic_load_explicit(&watch->data, RELAXED) == data)
			return watch;
	}
	return NULL;
}

enum { BEST = 3 };

/* Two sockets may share their data. What is not muted is more likely to have sent an event; but failure alone,
 * without another event, is what the muted ones send, once. */
static int rank_of(const struct watch *watch, uint32_t events)
{
	bool bare = (events & ~(uint32_t)(EPOLLERR | EPOLLHUP)) == 0;
	if (watch == NULL)
		return 0;
	switch (atomic_load_explicit(&watch->muted, RELAXED)) {
	case ARMED: return bare ? 2 : BEST;
	case MUTED: return bare ? BEST : 2;
	default: return 1;
	}
}

struct watch *pending_watched(int epoll, const struct epoll_event *event, struct pending **entry)
{
	struct watch *watch = NULL;
	uint64_t data = event->data.u64;
	uint32_t end = atomic_load_explicit(&pending_used, RELAXED);
	bool all = atomic_load_explicit(&pending_further_watches, RELAXED);
	/* Most programs put the descriptor there. */
	if ((*entry = pending_of((int)(uint32_t)data)) != NULL)
		watch = watch_in(*entry, epoll, data);
	for (uint32_t i = 0; i < end && rank_of(watch, event->events) < BEST; i++) {
		if (!all && atomic_load_explicit(&pending_datas[i], RELAXED) != data)
			continue;
		struct watch *found = watch_in(&pending_table[i], epoll, data);
		if (rank_of(found, event->events) <= rank_of(watch, event->events))
			continue;
		watch = found;
		*entry = &pending_table[i];
	}
	if (watch == NULL)
		*entry = NULL;
	return watch;
}

void pending_watch_changed(struct pending *entry, struct watch *watch)
{
	if (watch == entry->watches) {
		atomic_store_explicit(&pending_datas[pending_number(entry)], atomic_load_explicit(&watch->data, RELAXED), RELAXED);
		return;
	}
	atomic_store_explicit(&entry->extra, true, RELAXED);
	atomic_store_explicit(&pending_further_watches, true, RELAXED);
}
