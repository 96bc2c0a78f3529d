/* The registrations of pending sockets in epoll sets.
 *
 * During its backoff a socket is closed for the kernel and reports POLLOUT | POLLHUP without end, whatever
 * events are asked for. So its registrations are muted: modified to EPOLLET | EPOLLONESHOT without
 * events, each fires once more with EPOLLHUP, which is swallowed, and is silent from then on. They stay
 * in their sets: a program that modifies or deletes one behind our back (libuv does, through io_uring)
 * is answered by the kernel, and the event that is swallowed wakes another thread that waits on the
 * set, which then knows when to connect again. EPOLLEXCLUSIVE cannot be modified; those are taken out.
 *
 * What a program registers after its connect is followed; what it registered before, or through io_uring,
 * is read from /proc when the set first tells of the failure.
 */
#include <errno.h>
#include <poll.h>

#include "hooks/pending.h"
#include "hooks/waiting.h"

#define RELAXED memory_order_relaxed

enum { MUTE = EPOLLET | EPOLLONESHOT, ONESHOT_FDS = 1 << 16, REPORTED = EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM | EPOLLRDHUP };

static bool in_set(const struct watch *watch, int epoll) { return atomic_load_explicit(&watch->epoll, RELAXED) == epoll + 1; }

/* Asks the kernel about a registration; 0 or the errno. */
static int control(const struct watch *watch, int operation, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.u64 = atomic_load_explicit(&watch->data, RELAXED)};
	int epoll = atomic_load_explicit(&watch->epoll, RELAXED) - 1;
	return real_epoll_ctl()(epoll, operation, atomic_load_explicit(&watch->fd, RELAXED), &event) == 0 ? 0 : errno;
}

static void mute(struct watch *watch)
{
	bool exclusive = (atomic_load_explicit(&watch->events, RELAXED) & EPOLLEXCLUSIVE) != 0;
	int error = control(watch, exclusive ? EPOLL_CTL_DEL : EPOLL_CTL_MOD, (uint32_t)MUTE);
	if (error == 0)
		atomic_store_explicit(&watch->muted, exclusive ? DEPARTED : MUTED, RELAXED);
	else if (!exclusive || atomic_load_explicit(&watch->muted, RELAXED) != DEPARTED)
		atomic_store_explicit(&watch->epoll, 0, RELAXED); /* no longer registered */
}

void pending_mute(struct pending *entry)
{
	for (int i = 0; i < PENDING_WATCHES; i++)
		if (atomic_load_explicit(&entry->watches[i].epoll, RELAXED) != 0)
			mute(&entry->watches[i]);
}

void pending_arm(struct pending *entry)
{
	for (int i = 0; i < PENDING_WATCHES; i++) {
		struct watch *watch = &entry->watches[i];
		int muted = atomic_load_explicit(&watch->muted, RELAXED);
		if (atomic_load_explicit(&watch->epoll, RELAXED) == 0 || muted == ARMED)
			continue;
		atomic_store_explicit(&watch->muted, ARMED, RELAXED);
		if (control(watch, muted == DEPARTED ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, atomic_load_explicit(&watch->events, RELAXED)) != 0)
			atomic_store_explicit(&watch->epoll, 0, RELAXED);
	}
}

/* ---- following the program ------------------------------------------------------------------------ */

static struct watch *watch_of(struct pending *entry, int epoll, int fd)
{
	for (int i = 0; i < PENDING_WATCHES; i++)
		if (in_set(&entry->watches[i], epoll) && atomic_load_explicit(&entry->watches[i].fd, RELAXED) == fd)
			return &entry->watches[i];
	return NULL;
}

static struct watch *free_watch(struct pending *entry)
{
	for (int i = 0; i < PENDING_WATCHES; i++)
		if (atomic_load_explicit(&entry->watches[i].epoll, RELAXED) == 0)
			return &entry->watches[i];
	return NULL;
}

/* A registration is as described now. */
static struct watch *note(struct pending *entry, int epoll, int fd, uint32_t events, uint64_t data, enum muted muted)
{
	struct watch *watch = watch_of(entry, epoll, fd);
	if (watch == NULL && (watch = free_watch(entry)) == NULL)
		return NULL;
	atomic_store_explicit(&watch->fd, fd, RELAXED);
	atomic_store_explicit(&watch->events, events, RELAXED);
	atomic_store_explicit(&watch->data, data, RELAXED);
	atomic_store_explicit(&watch->muted, (int)muted, RELAXED);
	atomic_store_explicit(&watch->epoll, epoll + 1, RELAXED);
	pending_watch_changed(entry, watch);
	return watch;
}

static void forget(struct pending *entry, int epoll, int fd)
{
	struct watch *watch = watch_of(entry, epoll, fd);
	if (watch != NULL)
		atomic_store_explicit(&watch->epoll, 0, RELAXED);
}

/* While a socket is not quiet the kernel has answered, and we take note. */
static void follow(struct pending *entry, int epoll, int operation, int fd, const struct epoll_event *event)
{
	if (operation == EPOLL_CTL_DEL)
		forget(entry, epoll, fd);
	else
		note(entry, epoll, fd, event->events, event->data.u64, ARMED);
}

/* What the kernel would say of an EPOLLEXCLUSIVE registration that we have taken out. */
static int answer_departed(struct watch *watch, int operation)
{
	switch (operation) {
	case EPOLL_CTL_ADD: return EEXIST;
	case EPOLL_CTL_DEL: atomic_store_explicit(&watch->epoll, 0, RELAXED); return 0;
	default: return EINVAL;
	}
}

/* A quiet socket: what the program asks for is kept, and the kernel gets its muted form. 0 or the errno. */
static int control_quiet(struct pending *entry, int epoll, int operation, int fd, const struct epoll_event *event)
{
	struct watch *watch = watch_of(entry, epoll, fd);
	if (watch != NULL && atomic_load_explicit(&watch->muted, RELAXED) == DEPARTED)
		return answer_departed(watch, operation);
	struct epoll_event muted = {0};
	if (operation != EPOLL_CTL_DEL) {
		if (event == NULL)
			return EFAULT;
		muted = (struct epoll_event){.events = (uint32_t)MUTE, .data = event->data};
	}
	if (operation == EPOLL_CTL_ADD && (event->events & EPOLLEXCLUSIVE) != 0)
		muted.events = event->events; /* checked by the kernel, and taken out again */
	if (real_epoll_ctl()(epoll, operation, fd, &muted) != 0)
		return errno;
	if (operation == EPOLL_CTL_DEL) {
		forget(entry, epoll, fd);
		return 0;
	}
	watch = note(entry, epoll, fd, event->events, event->data.u64, MUTED);
	if (watch != NULL && (event->events & EPOLLEXCLUSIVE) != 0)
		mute(watch);
	return 0;
}

/* The entry is claimed, quiet, and the descriptor's. */
static int shim_control(struct pending *entry, int epoll, int operation, int fd, struct epoll_event *event)
{
	int error = control_quiet(entry, epoll, operation, fd, event);
	pending_settle(entry, PENDING_QUIET);
	return error;
}

int pending_epoll_ctl(struct pending *entry, int epoll, int operation, int fd, struct epoll_event *event)
{
	int errno_before = errno, error = 0;
	enum pending_state state = pending_state(entry);
	if (state == PENDING_QUIET || state == PENDING_CLAIMED) {
		struct hold hold;
		hold_begin(&hold);
		state = pending_claim(entry);
		bool quiet = state == PENDING_QUIET && socket_cookie(fd) == pending_cookie(entry);
		if (quiet)
			error = shim_control(entry, epoll, operation, fd, event);
		else if (state != PENDING_FREE)
			pending_settle(entry, state);
		hold_end(&hold);
		errno = error != 0 ? error : errno_before;
		if (quiet)
			return error != 0 ? -1 : 0;
	}
	int result = real_epoll_ctl()(epoll, operation, fd, event);
	if (result == 0 && state > PENDING_CLAIMED)
		follow(entry, epoll, operation, fd, event);
	return result;
}

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
	enum { PRIVATE = EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE }; /* EP_PRIVATE_BITS */
	if ((it->events & EPOLLONESHOT) == 0 || (it->events & ~(uint32_t)PRIVATE) != 0)
		return it->events;
	return it->fd < ONESHOT_FDS ? atomic_load_explicit(&oneshots[it->fd], RELAXED) : 0;
}

/* ---- registrations that were not seen ------------------------------------------------------------ */

struct search {
	int epoll;
	bool found;
};

static bool is_watched(const struct pending *entry, int epoll)
{
	for (int i = 0; i < PENDING_WATCHES; i++)
		if (in_set(&entry->watches[i], epoll))
			return true;
	return false;
}

/* An entry that may be registered in this set, without our knowledge. */
static bool is_candidate(const struct pending *entry, int epoll)
{
	return !is_watched(entry, epoll) && atomic_load_explicit(&entry->searched, RELAXED) != epoll + 1;
}

/* The entry of a registered descriptor: by its number, or by its inode if it is a duplicate. */
static struct pending *entry_of(const struct epoll_registration *it, int epoll)
{
	struct pending *entry = pending_of(it->fd);
	uint32_t index = 0;
	if (entry != NULL)
		return pending_holds(entry, it->fd) ? entry : NULL;
	while (it->inode != 0 && (entry = pending_each(&index)) != NULL)
		if (is_candidate(entry, epoll) && socket_inode(atomic_load_explicit(&entry->fd, RELAXED)) == it->inode)
			return pending_duplicate(it->fd);
	return NULL;
}

static void found(void *context, const struct epoll_registration *it)
{
	struct search *search = context;
	uint32_t events = events_given(it);
	struct pending *entry = events != 0 ? entry_of(it, search->epoll) : NULL;
	if (entry == NULL || watch_of(entry, search->epoll, it->fd) != NULL)
		return;
	note(entry, search->epoll, it->fd, events, it->data, ARMED);
	search->found = true;
}

/* True if some entry that is not known in this set is in a state to have sent an event of failure. */
static bool has_failed_candidate(int epoll)
{
	enum { BATCH = 64 };
	struct pollfd polled[BATCH];
	struct pending *entry;
	uint32_t index = 0;
	nfds_t count;
	do {
		count = 0;
		while (count < BATCH && (entry = pending_each(&index)) != NULL)
			if (is_candidate(entry, epoll))
				polled[count++] = (struct pollfd){.fd = atomic_load_explicit(&entry->fd, RELAXED)};
		if (count == 0 || real_poll()(polled, count, 0) <= 0)
			continue;
		for (nfds_t i = 0; i < count; i++)
			if (polled[i].revents != 0)
				return true;
	} while (count == BATCH);
	return false;
}

/* An event of failure has come whose registration is not known. True if something was learnt. */
static bool learn(int epoll)
{
	struct search search = {.epoll = epoll};
	struct pending *entry;
	uint32_t index = 0;
	if (!has_failed_candidate(epoll))
		return false;
	epoll_list(epoll, found, &search);
	while ((entry = pending_each(&index)) != NULL)
		if (!is_watched(entry, epoll))
			atomic_store_explicit(&entry->searched, epoll + 1, RELAXED);
	return search.found;
}

/* ---- events --------------------------------------------------------------------------------------- */

/* The last gasp of a registration that we have muted. */
static bool is_muted_event(const struct watch *watch, uint32_t events)
{
	return atomic_load_explicit(&watch->muted, RELAXED) == MUTED && (events & ~(uint32_t)(EPOLLERR | EPOLLHUP)) == 0;
}

static enum sight sight_of(int epoll, const struct epoll_event *event, bool *learned, uint32_t *asked)
{
	struct pending *entry;
	bool failed = (event->events & (EPOLLERR | EPOLLHUP)) != 0;
	struct watch *watch = pending_watched(epoll, event->data.u64, &entry);
	if (watch == NULL && failed && !*learned) {
		*learned = true;
		if (learn(epoll))
			watch = pending_watched(epoll, event->data.u64, &entry);
	}
	if (watch == NULL) {
		/* Registered in a way that we have not seen; most programs put the descriptor there. */
		entry = failed || (event->events & EPOLLOUT) == 0 ? NULL : pending_of((int)(uint32_t)event->data.u64);
		if (entry != NULL)
			pending_forget(entry);
		return SHOWN;
	}
	*asked = atomic_load_explicit(&watch->events, RELAXED);
	if (is_muted_event(watch, event->events))
		return HIDDEN;
	return pending_event(entry, atomic_load_explicit(&watch->fd, RELAXED), failed);
}

int pending_epoll_events(int epoll, struct epoll_event *events, int count)
{
	int shown = 0;
	bool learned = false;
	for (int i = 0; i < count; i++) {
		uint32_t asked = 0;
		enum sight sight = sight_of(epoll, &events[i], &learned, &asked);
		if (sight == HIDDEN)
			continue;
		if (sight == SHOWN_FAILED)
			events[i].events |= EPOLLERR | (asked & (uint32_t)REPORTED);
		if (shown != i)
			events[shown] = events[i];
		shown++;
	}
	return shown;
}
