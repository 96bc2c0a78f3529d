/* What epoll_wait returned: whose events they are, and which the program is to see.
 *
 * An event carries the program's own data and nothing else. What was registered after a connect is known from
 * following epoll_ctl; what was registered before, or through io_uring, is read from /proc when a set
 * tells of a failure that nobody is known to have. Two descriptors may have the same data: where that makes a
 * difference, /proc is asked too.
 */
#include <errno.h>
#include <poll.h>

#include "hooks/pending.h"

#define RELAXED memory_order_relaxed

enum {
	ONESHOT_FDS = 1 << 16,
	FAILURE = EPOLLERR | EPOLLHUP,
	REPORTED = EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM | EPOLLRDHUP,
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
static void mute_late(struct pending *entry, int epoll, struct watch *watch, const struct epoll_registration *changed)
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
static void changed(struct pending *entry, int epoll, struct watch *watch, const struct epoll_registration *it)
{
	struct epoll_registration given = *it;
	if (atomic_load_explicit(&watch->data, RELAXED) == it->data && pending_is_muted_form(it->events))
		return;
	atomic_store_explicit(&entry->fruitless, 0, RELAXED);
	given.events = events_given(it);
	if (given.events != 0)
		mute_late(entry, epoll, watch, &given);
	else /* EPOLLONESHOT, by a door that we do not see, and fired */
		pending_expose(entry);
}

static void found(void *context, const struct epoll_registration *registered)
{
	const struct search *search = context;
	struct epoll_registration it = *registered;
	it.events = events_given(registered);
	struct pending *entry = entry_of(search, &it);
	struct watch *watch = entry != NULL ? pending_watch(entry, search->epoll, it.fd) : NULL;
	if (entry == NULL)
		return;
	if (watch != NULL) {
		if (pending_state(entry) == PENDING_QUIET)
			changed(entry, search->epoll, watch, registered);
		return;
	}
	atomic_store_explicit(&entry->blind, true, RELAXED);
	atomic_store_explicit(&entry->extra, true, RELAXED);
	/* No room, or not known what it was for: a set that we cannot mute must be believed. */
	if (it.events == 0 || pending_note(entry, search->epoll, &it) == NULL) {
		atomic_store_explicit(&entry->crowded, true, RELAXED);
		if (pending_state(entry) == PENDING_QUIET)
			pending_expose(entry);
	}
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
static void learn(int epoll)
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

/* ---- events that are not certainly ours ---------------------------------------------------------- */

struct question {
	int fd;
	uint64_t data;
	struct epoll_registration own; /* what the kernel has of ours; fd -1 if it has nothing */
	bool shared;                   /* another descriptor has the same data */
};

static void compare(void *context, const struct epoll_registration *it)
{
	struct question *question = context;
	if (it->fd == question->fd)
		question->own = *it;
	else if (it->data == question->data)
		question->shared = true;
}

static struct question ask(int epoll, const struct watch *watch, uint64_t data)
{
	struct question question = {.fd = atomic_load_explicit(&watch->fd, RELAXED), .data = data, .own.fd = -1};
	struct hold hold;
	hold_begin(&hold);
	epoll_list(epoll, compare, &question);
	hold_end(&hold);
	return question;
}

/* An event with the data of a muted registration. */
static enum sight sight_of_muted(struct pending *entry, int epoll, struct watch *watch, const struct epoll_event *event)
{
	int muted = MUTED;
	if ((event->events & ~(uint32_t)FAILURE) == 0 &&
	    atomic_compare_exchange_strong_explicit(&watch->muted, &muted, SILENT, RELAXED, RELAXED))
		return HIDDEN; /* its last one */
	struct question question = ask(epoll, watch, event->data.u64);
	if (question.own.fd >= 0 && !pending_is_muted_form(question.own.events)) {
		changed(entry, epoll, watch, &question.own);
		return pending_state(entry) == PENDING_FAILED ? SHOWN_FAILED : HIDDEN;
	}
	if (!question.shared) /* of the failure that has been met already, by another thread */
		return HIDDEN;
	if (question.own.fd < 0) { /* the socket is gone from the set */
		atomic_store_explicit(&watch->epoll, 0, RELAXED);
		return SHOWN;
	}
	return (event->events & FAILURE) != 0 ? pending_expose(entry) : SHOWN;
}

/* An event without a registration that is known: nobody's, or of one that was deleted meanwhile, or of a
 * healthy connect registered in a way that we have not seen. Most programs put the descriptor there. */
static enum sight sight_of_unknown(const struct epoll_event *event)
{
	struct pending *entry = pending_of((int)(uint32_t)event->data.u64);
	if (entry == NULL)
		return SHOWN;
	if ((event->events & FAILURE) != 0)
		return pending_expose(entry);
	if ((event->events & EPOLLOUT) != 0)
		pending_forget(entry);
	return SHOWN;
}

/* ---- events --------------------------------------------------------------------------------------- */

struct look {
	int epoll;
	bool exposes;
	bool learned;
	uint32_t asked; /* what the program registered for the event at hand */
};

static struct watch *watch_for(struct look *look, const struct epoll_event *event, struct pending **entry)
{
	struct watch *watch = pending_watched(look->epoll, event->data.u64, entry);
	if (watch != NULL || (event->events & FAILURE) == 0)
		return watch;
	if (!look->learned)
		learn(look->epoll);
	look->learned = true;
	/* Another thread may have learnt it. */
	return pending_watched(look->epoll, event->data.u64, entry);
}

static enum sight sight_of(struct look *look, const struct epoll_event *event)
{
	struct pending *entry;
	struct watch *watch = watch_for(look, event, &entry);
	bool failed = (event->events & FAILURE) != 0;
	if (watch == NULL)
		return sight_of_unknown(event);
	look->asked = atomic_load_explicit(&watch->events, RELAXED);
	if (atomic_load_explicit(&watch->muted, RELAXED) != ARMED)
		return sight_of_muted(entry, look->epoll, watch, event);
	if (look->exposes && failed)
		return pending_expose(entry);
	/* Who asks for EPOLLOUT hears of a connection by it: what comes without is of another descriptor. */
	if (!failed && (event->events & EPOLLOUT) == 0 && (look->asked & EPOLLOUT) != 0)
		return SHOWN;
	enum sight sight = pending_event(entry, atomic_load_explicit(&watch->fd, RELAXED), failed);
	if (sight == OUTDATED)
		return ask(look->epoll, watch, event->data.u64).shared ? SHOWN : HIDDEN;
	if (sight == HIDDEN && atomic_load_explicit(&watch->muted, RELAXED) == ARMED)
		mute_late(entry, look->epoll, watch, NULL);
	return sight;
}

int pending_epoll_events(int epoll, struct epoll_event *events, int count, bool exposes)
{
	int shown = 0, errno_before = errno;
	struct look look = {.epoll = epoll, .exposes = exposes};
	for (int i = 0; i < count; i++) {
		look.asked = 0;
		enum sight sight = sight_of(&look, &events[i]);
		if (sight == HIDDEN)
			continue;
		if (sight == SHOWN_FAILED)
			events[i].events |= EPOLLERR | (look.asked & (uint32_t)REPORTED);
		if (shown != i)
			events[shown] = events[i];
		shown++;
	}
	errno = errno_before;
	return shown;
}
