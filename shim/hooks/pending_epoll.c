/* What epoll_wait returned: whose events they are, and which the program is to see.
 *
 * An event carries the program's own data and nothing else. Two descriptors may have the same: where that makes a
 * difference, /proc is asked what is registered.
 */
#include <errno.h>

#include "hooks/pending.h"

#define RELAXED memory_order_relaxed

enum { FAILURE = EPOLLERR | EPOLLHUP, REPORTED = EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM | EPOLLRDHUP };

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

struct look {
	int epoll;
	bool exposes;
	bool learned;
	uint32_t asked; /* what the program registered for the event at hand */
};

static enum sight sight_of(struct look *look, const struct epoll_event *event);

/* An event with the data of a muted registration. */
static enum sight sight_of_muted(struct look *look, struct pending *entry, struct watch *watch, const struct epoll_event *event)
{
	int epoll = look->epoll;
	int muted = MUTED;
	if ((event->events & ~(uint32_t)FAILURE) == 0 &&
	    atomic_compare_exchange_strong_explicit(&watch->muted, &muted, SILENT, RELAXED, RELAXED))
		return HIDDEN; /* its last one */
	struct question question = ask(epoll, watch, event->data.u64);
	if (question.own.fd >= 0 && !pending_is_muted_form(question.own.events)) {
		pending_changed(entry, epoll, watch, &question.own);
		return pending_state(entry) == PENDING_FAILED ? SHOWN_FAILED : HIDDEN;
	}
	if (!question.shared) /* of the failure that has been met already, by another thread */
		return HIDDEN;
	if (question.own.fd < 0) { /* the socket is gone from the set: whose is it then? */
		atomic_store_explicit(&watch->epoll, 0, RELAXED);
		return sight_of(look, event);
	}
	return (event->events & FAILURE) != 0 ? pending_expose(entry) : SHOWN;
}

/* An event without a registration that is known: nobody's, or of one that was deleted meanwhile, or of a
 * healthy connect registered in a way that we have not seen. Most programs put the descriptor there. */
static enum sight sight_of_unknown(int epoll, const struct epoll_event *event)
{
	int fd = (int)(uint32_t)event->data.u64;
	struct pending *entry = pending_of(fd);
	if (entry == NULL || pending_is_watched(entry, epoll)) /* with other data, then */
		return SHOWN;
	if ((event->events & FAILURE) != 0)
		return pending_expose(entry);
	if ((event->events & EPOLLOUT) != 0 && pending_state(entry) == PENDING_CONNECTING)
		pending_event(entry, fd, false);
	return SHOWN;
}

/* ---- events --------------------------------------------------------------------------------------- */

static struct watch *watch_for(struct look *look, const struct epoll_event *event, struct pending **entry)
{
	struct watch *watch = pending_watched(look->epoll, event, entry);
	if (watch != NULL || (event->events & FAILURE) == 0)
		return watch;
	if (!look->learned)
		pending_learn(look->epoll);
	look->learned = true;
	/* Another thread may have learnt it. */
	return pending_watched(look->epoll, event, entry);
}

static enum sight sight_of(struct look *look, const struct epoll_event *event)
{
	struct pending *entry;
	struct watch *watch = watch_for(look, event, &entry);
	bool failed = (event->events & FAILURE) != 0;
	if (watch == NULL)
		return sight_of_unknown(look->epoll, event);
	look->asked = atomic_load_explicit(&watch->events, RELAXED);
	if (atomic_load_explicit(&watch->muted, RELAXED) != ARMED)
		return sight_of_muted(look, entry, watch, event);
	if (look->exposes && failed)
		return pending_expose(entry);
	/* Who asks for EPOLLOUT hears of a connection by it: what comes without is of another descriptor. */
	if (!failed && (event->events & EPOLLOUT) == 0 && (look->asked & EPOLLOUT) != 0)
		return SHOWN;
	enum sight sight = pending_event(entry, atomic_load_explicit(&watch->fd, RELAXED), failed);
	if (sight == OUTDATED)
		return ask(look->epoll, watch, event->data.u64).shared ? SHOWN : HIDDEN;
	if (sight == HIDDEN && atomic_load_explicit(&watch->muted, RELAXED) == ARMED)
		pending_mute_late(entry, look->epoll, watch, NULL);
	return sight;
}

static __attribute__((noinline)) int settle_each(int epoll, struct epoll_event *events, int count, bool exposes)
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

/* The number of the entry that has this data in its first watch, + 1; 0 = none. */
static inline __attribute__((always_inline)) uint32_t find_first(int epoll, uint64_t data)
{
	uint32_t end = atomic_load_explicit(&pending_used, RELAXED);
	for (uint32_t i = 0; i < end; i++)
		if (atomic_load_explicit(&pending_datas[i], RELAXED) == data &&
		    atomic_load_explicit(&pending_table[i].watches[0].epoll, RELAXED) == epoll + 1)
			return i + 1;
	return 0;
}

/* True if the event is understood by the first watch of the entry of this number, and all is well with it. */
static inline __attribute__((always_inline)) bool is_well(int epoll, const struct epoll_event *event, uint32_t number)
{
	const struct watch *watch = &pending_at(number)->watches[0];
	return atomic_load_explicit(&watch->epoll, memory_order_acquire) == epoll + 1 &&
	       atomic_load_explicit(&watch->data, RELAXED) == event->data.u64 &&
	       ((event->events & EPOLLOUT) != 0 || (atomic_load_explicit(&watch->events, RELAXED) & EPOLLOUT) == 0) &&
	       pending_went_well(number);
}

/* Nearly always all of them are well. */
static __attribute__((noinline)) int settle_all(int epoll, struct epoll_event *events, int count, bool exposes)
{
	bool well = !atomic_load_explicit(&pending_further_watches, RELAXED);
	for (int i = 0; i < count && well; i++) {
		uint32_t number = pending_number_of((int)(uint32_t)events[i].data.u64);
		if (number == 0)
			number = find_first(epoll, events[i].data.u64);
		well = (events[i].events & FAILURE) == 0 && (number == 0 || is_well(epoll, &events[i], number - 1));
	}
	return well ? count : settle_each(epoll, events, count, exposes);
}

/* Of a single one the program nearly always has put the descriptor there. In few instructions, calling nothing. */
int pending_epoll_events(int epoll, struct epoll_event *events, int count, bool exposes)
{
	uint32_t number = pending_number_of((int)(uint32_t)events->data.u64);
	if (count != 1 || number == 0 || (events->events & FAILURE) != 0 || atomic_load_explicit(&pending_further_watches, RELAXED) ||
	    !is_well(epoll, events, number - 1))
		return settle_all(epoll, events, count, exposes);
	return count;
}
