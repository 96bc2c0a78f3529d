/* Registrations in epoll sets that were made by doors that we do not see: before the connect, or through io_uring.
 * They are read from /proc when a set tells of a failure that nobody is known to have. */
#include <poll.h>

#include "hooks/pending.h"

#define RELAXED memory_order_relaxed

enum {
	ONESHOT_FDS = 1 << 16,
	PRIVATE = EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE, /* EP_PRIVATE_BITS: left when EPOLLONESHOT has fired */
};

/* ---- what a fired EPOLLONESHOT was for ---------------------------------------------------------- */

static _Atomic(uint32_t) oneshots[ONESHOT_FDS]; /* untouched by programs that do not use it */

void pending_saw_oneshot(int fd, uint32_t events)
{
	if (fd >= 0 && fd < ONESHOT_FDS)
		atomic_store_explicit(&oneshots[fd], events, RELAXED);
}

/* A registration's events as the program gave them; 0 if that is not known. */
static uint32_t events_given(const struct epoll_registration *it)
{
	if ((it->events & EPOLLONESHOT) == 0 || (it->events & ~(uint32_t)PRIVATE) != 0)
		return it->events;
	return it->fd < ONESHOT_FDS ? atomic_load_explicit(&oneshots[it->fd], RELAXED) : 0;
}

/* Puts a registration of a quiet entry to silence: one that was learnt late, or that the program has modified
 * behind our back. */
void pending_mute_late(struct pending *entry, int epoll, struct watch *watch, const struct epoll_registration *changed)
{
	struct hold hold;
	hold_begin(&hold);
	enum pending_state state = pending_claim(entry);
	if (state == PENDING_QUIET) {
		if (changed != NULL)
			watch = pending_note(entry, epoll, changed);
		if (watch != NULL && (changed != NULL || atomic_load_explicit(&watch->muted, RELAXED) == ARMED))
			pending_mute_watch(entry, watch);
	}
	if (state != PENDING_FREE)
		pending_settle(entry, state);
	hold_end(&hold);
}

/* ---- registrations that were not seen ------------------------------------------------------------ */

enum { FAILED_MOST = 16 };

struct search {
	int epoll;
	/* Some of the failed, to be found by their inodes if they are registered as duplicates. */
	struct pending *failed[FAILED_MOST];
	int count;
	bool lost; /* the number of one of them is not its socket's any more */
};

static bool was_searched(const struct pending *entry, int epoll)
{
	return atomic_load_explicit(&entry->searched[epoll % PENDING_SEARCHED], RELAXED) == epoll + 1;
}

/* An entry that may be registered in this set without our knowledge, or otherwise than we know. The latter
 * is rare, and looked for a few times in each backoff. */
static bool is_candidate(struct pending *entry, int epoll)
{
	enum { FRUITLESS_MOST = 16 };
	if (pending_is_watched(entry, epoll))
		return pending_state(entry) == PENDING_QUIET && atomic_load_explicit(&entry->fruitless, RELAXED) < FRUITLESS_MOST;
	return !was_searched(entry, epoll);
}

static int descriptor_of(const struct pending *entry) { return atomic_load_explicit(&entry->numbers[0], RELAXED) - 1; }

static bool add_failed(struct search *search, struct pending *entry)
{
	if (search->count < FAILED_MOST)
		search->failed[search->count++] = entry;
	return true;
}

/* True if some candidate is in a state to have sent an event of failure. */
static bool collect_failed(struct search *search)
{
	enum { BATCH = 64 };
	struct pollfd polled[BATCH] = {0};
	struct pending *entries[BATCH], *entry;
	uint32_t index = 0;
	bool any = false;
	nfds_t count;
	do {
		for (count = 0; count < BATCH && (entry = pending_each(&index)) != NULL;) {
			if (!is_candidate(entry, search->epoll))
				continue;
			entries[count] = entry;
			polled[count++] = (struct pollfd){.fd = descriptor_of(entry)};
		}
		if (count != 0)
			real_poll()(polled, count, 0);
		for (nfds_t i = 0; i < count; i++) {
			bool lost = polled[i].fd < 0 || !pending_is(entries[i], polled[i].fd);
			if (!lost && polled[i].revents == 0)
				continue;
			any = add_failed(search, entries[i]);
			search->lost = search->lost || lost;
		}
	} while (count == BATCH);
	return any;
}

/* The entry of a registered descriptor: by its number, or by its inode if it is a duplicate. */
static struct pending *entry_of(const struct search *search, const struct epoll_registration *it)
{
	struct pending *entry = pending_of(it->fd);
	if (entry != NULL)
		return pending_is(entry, it->fd) ? entry : NULL;
	if (search->lost)
		return pending_duplicate(it->fd);
	for (int i = 0; it->inode != 0 && i < search->count; i++)
		if (socket_inode(descriptor_of(search->failed[i])) == it->inode)
			return pending_duplicate(it->fd);
	return NULL;
}

/* A registration that we know is another by now: the program has changed it behind our back. */
void pending_changed(struct pending *entry, int epoll, struct watch *watch, const struct epoll_registration *it)
{
	struct epoll_registration given = *it;
	if (atomic_load_explicit(&watch->data, RELAXED) == it->data && pending_is_muted_form(it->events))
		return;
	atomic_store_explicit(&entry->fruitless, 0, RELAXED);
	given.events = events_given(it);
	if (given.events != 0) {
		pending_mute_late(entry, epoll, watch, &given);
		return;
	}
	/* EPOLLONESHOT, by a door that we do not see, and fired: nobody knows what it was for. */
	atomic_store_explicit(&watch->epoll, 0, RELAXED);
	pending_expose(entry);
}

/* A registration of a claimed entry. False if it makes the entry one whose failures must be believed: no room,
 * or not known what it was for, so that we cannot mute it. */
static bool take_note(struct pending *entry, int epoll, const struct epoll_registration *it)
{
	struct epoll_registration given = *it;
	given.events = events_given(it);
	atomic_store_explicit(&entry->blind, true, RELAXED);
	atomic_store_explicit(&entry->extra, true, RELAXED);
	if (given.events != 0 && pending_note(entry, epoll, &given) != NULL)
		return true;
	atomic_store_explicit(&entry->crowded, true, RELAXED);
	return false;
}

static void found(void *context, const struct epoll_registration *it)
{
	const struct search *search = context;
	struct pending *entry = entry_of(search, it);
	enum pending_state state = entry != NULL ? pending_claim(entry) : PENDING_FREE;
	if (state == PENDING_FREE)
		return;
	/* Claimed, since another thread may be about to note and mute it. */
	struct watch *watch = pending_watch(entry, search->epoll, it->fd);
	bool believed = watch == NULL && pending_is(entry, it->fd) && !take_note(entry, search->epoll, it);
	pending_settle(entry, state);
	if (state == PENDING_QUIET && believed)
		pending_expose(entry);
	if (state == PENDING_QUIET && watch != NULL)
		pending_changed(entry, search->epoll, watch, it);
}

static void note_search(struct pending *entry, int epoll)
{
	if (pending_is_watched(entry, epoll))
		atomic_fetch_add_explicit(&entry->fruitless, 1, RELAXED);
	else
		atomic_store_explicit(&entry->searched[epoll % PENDING_SEARCHED], epoll + 1, RELAXED);
	atomic_store_explicit(&entry->extra, true, RELAXED);
}

/* An event of failure has come whose registration is not known. */
void pending_learn(int epoll)
{
	struct search search = {.epoll = epoll};
	struct pending *entry;
	uint32_t index = 0;
	struct hold hold;
	hold_begin(&hold);
	if (collect_failed(&search)) {
		epoll_list(epoll, found, &search);
		while ((entry = pending_each(&index)) != NULL)
			if (is_candidate(entry, epoll))
				note_search(entry, epoll);
	}
	hold_end(&hold);
}
