/* The registrations of pending sockets in epoll sets.
 *
 * During its backoff a socket is closed for the kernel and reports POLLOUT | POLLHUP without end, whatever
 * events are asked for. So its registrations are muted: modified to EPOLLET | EPOLLONESHOT without
 * events, each fires once more with EPOLLHUP, which is swallowed, and is silent from then on. They stay
 * in their sets: a program that modifies or deletes one behind our back (libuv does, through io_uring)
 * is answered by the kernel, and the event that is swallowed wakes another thread that waits on the
 * set, which then knows when to connect again. EPOLLEXCLUSIVE cannot be modified: those are taken out and put
 * in again.
 *
 * A registration is named by a descriptor's number, so each is touched only while that number is still the
 * entry's socket; a program's epoll_ctl on a number that we are at work on waits for our claim.
 */
#include <errno.h>

#include "hooks/pending.h"

#define RELAXED memory_order_relaxed

enum { MUTE = EPOLLET | EPOLLONESHOT };

bool pending_is_muted_form(uint32_t events)
{
	return (events & ~(uint32_t)(EPOLLERR | EPOLLHUP)) == (uint32_t)MUTE; /* fired, the last two are gone */
}

/* ---- muting and arming ---------------------------------------------------------------------------- */

/* Asks the kernel about a registration; 0 or the errno. */
static int control(const struct pending *entry, const struct watch *watch, int operation, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.u64 = atomic_load_explicit(&watch->data, RELAXED)};
	int epoll = atomic_load_explicit(&watch->epoll, RELAXED) - 1, fd = atomic_load_explicit(&watch->fd, RELAXED);
	if (entry->sure != fd + 1 && !pending_is(entry, fd))
		return ENOENT; /* the number is another's, and so is what is registered under it */
	return real_epoll_ctl()(epoll, operation, fd, &event) == 0 ? 0 : errno;
}

/* Gives a registration the events; false if it is none any more. */
static bool modify(const struct pending *entry, const struct watch *watch, uint32_t events)
{
	if ((atomic_load_explicit(&watch->events, RELAXED) & EPOLLEXCLUSIVE) == 0)
		return control(entry, watch, EPOLL_CTL_MOD, events) == 0;
	return control(entry, watch, EPOLL_CTL_DEL, 0) == 0 && control(entry, watch, EPOLL_CTL_ADD, events) == 0;
}

void pending_mute_watch(struct pending *entry, struct watch *watch)
{
	if (modify(entry, watch, (uint32_t)MUTE))
		atomic_store_explicit(&watch->muted, MUTED, RELAXED);
	else
		atomic_store_explicit(&watch->epoll, 0, RELAXED);
}

void pending_mute(struct pending *entry)
{
	for (int i = 0; i < PENDING_WATCHES; i++)
		if (atomic_load_explicit(&entry->watches[i].epoll, RELAXED) > 0)
			pending_mute_watch(entry, &entry->watches[i]);
}

void pending_arm(struct pending *entry)
{
	for (int i = 0; i < PENDING_WATCHES; i++) {
		struct watch *watch = &entry->watches[i];
		if (atomic_load_explicit(&watch->epoll, RELAXED) <= 0 || atomic_load_explicit(&watch->muted, RELAXED) == ARMED)
			continue;
		atomic_store_explicit(&watch->muted, ARMED, RELAXED);
		if (!modify(entry, watch, atomic_load_explicit(&watch->events, RELAXED)))
			atomic_store_explicit(&watch->epoll, 0, RELAXED);
	}
}

/* ---- what is registered --------------------------------------------------------------------------- */

static bool in_set(const struct watch *watch, int epoll) { return atomic_load_explicit(&watch->epoll, memory_order_acquire) == epoll + 1; }

bool pending_is_watched(const struct pending *entry, int epoll)
{
	for (int i = 0; i < PENDING_WATCHES; i++)
		if (in_set(&entry->watches[i], epoll))
			return true;
	return false;
}

struct watch *pending_watch(struct pending *entry, int epoll, int fd)
{
	for (int i = 0; i < PENDING_WATCHES; i++)
		if (in_set(&entry->watches[i], epoll) && atomic_load_explicit(&entry->watches[i].fd, RELAXED) == fd)
			return &entry->watches[i];
	return NULL;
}

static bool has_room(struct pending *entry)
{
	for (int i = 0; i < PENDING_WATCHES; i++)
		if (atomic_load_explicit(&entry->watches[i].epoll, RELAXED) == 0)
			return true;
	return false;
}

/* One that nobody else looks at until it has its epoll set: who follows the program has no claim. */
static struct watch *take_watch(struct pending *entry)
{
	for (int i = 0; i < PENDING_WATCHES; i++) {
		int none = 0;
		if (atomic_compare_exchange_strong_explicit(&entry->watches[i].epoll, &none, -1, RELAXED, RELAXED))
			return &entry->watches[i];
	}
	return NULL;
}

struct watch *pending_note(struct pending *entry, int epoll, const struct epoll_registration *it)
{
	struct watch *watch = pending_watch(entry, epoll, it->fd);
	bool known = watch != NULL; /* another thread may have learnt of it, and muted it */
	if (!known && (watch = take_watch(entry)) == NULL)
		return NULL;
	atomic_store_explicit(&watch->fd, it->fd, RELAXED);
	atomic_store_explicit(&watch->events, it->events, RELAXED);
	atomic_store_explicit(&watch->data, it->data, RELAXED);
	if (!known)
		atomic_store_explicit(&watch->muted, ARMED, RELAXED);
	atomic_store_explicit(&watch->epoll, epoll + 1, memory_order_release);
	pending_watch_changed(entry, watch);
	return watch;
}

static void forget(struct pending *entry, int epoll, int fd)
{
	struct watch *watch;
	while ((watch = pending_watch(entry, epoll, fd)) != NULL)
		atomic_store_explicit(&watch->epoll, 0, RELAXED);
}

/* ---- following the program ------------------------------------------------------------------------ */

static struct epoll_registration registration(int fd, const struct epoll_event *event)
{
	return (struct epoll_registration){.fd = fd, .events = event->events, .data = event->data.u64};
}

/* While a socket is not quiet the kernel has answered, and we take note. */
static void follow(struct pending *entry, int epoll, int operation, int fd, const struct epoll_event *event)
{
	if (operation == EPOLL_CTL_DEL) {
		forget(entry, epoll, fd);
		return;
	}
	struct epoll_registration it = registration(fd, event);
	if (pending_note(entry, epoll, &it) == NULL)
		atomic_store_explicit(&entry->crowded, true, RELAXED);
}

/* The kernel reads the event before it looks at the descriptor, and answers a bad pointer where we would
 * crash (do_epoll_ctl in fs/eventpoll.c). */
static bool is_readable(int epoll, int operation, struct epoll_event *event)
{
	return real_epoll_ctl()(epoll, operation, -1, event) == 0 || errno != EFAULT;
}

/* A quiet socket: what the program asks for is kept, and the kernel gets its muted form. 0 or the errno. */
static int control_quiet(struct pending *entry, int epoll, int operation, int fd, struct epoll_event *event)
{
	struct watch *watch = pending_watch(entry, epoll, fd);
	bool was_exclusive = watch != NULL && (atomic_load_explicit(&watch->events, RELAXED) & EPOLLEXCLUSIVE) != 0;
	if (operation == EPOLL_CTL_DEL) {
		if (real_epoll_ctl()(epoll, operation, fd, event) != 0)
			return errno;
		forget(entry, epoll, fd);
		return 0;
	}
	if (!is_readable(epoll, operation, event))
		return EFAULT;
	/* Exclusive ones are checked by the kernel as they are, and cannot be modified. */
	bool exclusive = (event->events & EPOLLEXCLUSIVE) != 0;
	if (operation == EPOLL_CTL_MOD && (was_exclusive || exclusive))
		return EINVAL;
	struct epoll_event asked = {.events = exclusive ? event->events : (uint32_t)MUTE, .data = event->data};
	if (real_epoll_ctl()(epoll, operation, fd, &asked) != 0)
		return errno;
	struct epoll_registration it = registration(fd, event);
	watch = pending_note(entry, epoll, &it);
	if (watch != NULL)
		pending_mute_watch(entry, watch);
	return 0;
}

/* For a claimed entry, which it gives back in *state. True: answered with *error. */
static bool answer_quiet(struct pending *entry, enum pending_state *state, int epoll, int operation, int fd, struct epoll_event *event,
                         int *error)
{
	if (*state != PENDING_QUIET || !pending_is(entry, fd))
		return false;
	if (operation != EPOLL_CTL_DEL && pending_watch(entry, epoll, fd) == NULL && !has_room(entry)) {
		/* No room to keep what it asks for: the retries end, and the kernel speaks for itself. */
		op_given_up(&entry->op, &entry->verdict, REASON_UNSAFE, NULL);
		pending_fail(entry);
		*state = PENDING_FREE;
		return false;
	}
	*error = control_quiet(entry, epoll, operation, fd, event);
	return true;
}

/* Something has failed: nobody mutes or arms a registration while the program changes it. */
static int control_claimed(struct pending *entry, int epoll, int operation, int fd, struct epoll_event *event)
{
	int errno_before = errno, error = 0;
	struct hold hold;
	hold_begin(&hold);
	enum pending_state state = pending_claim(entry);
	if (!answer_quiet(entry, &state, epoll, operation, fd, event, &error)) {
		error = real_epoll_ctl()(epoll, operation, fd, event) == 0 ? 0 : errno;
		if (error == 0 && state != PENDING_FREE && pending_is(entry, fd))
			follow(entry, epoll, operation, fd, event);
	}
	if (state != PENDING_FREE)
		pending_settle(entry, state);
	hold_end(&hold);
	errno = error != 0 ? error : errno_before;
	return error != 0 ? -1 : 0;
}

/* The entry has been dropped, and may be another socket's by now. What that one has muted is its own: we note what is not. */
static void take_back(struct pending *entry, int epoll, int fd)
{
	struct watch *watch = pending_watch(entry, epoll, fd);
	if (watch != NULL && atomic_load_explicit(&watch->muted, RELAXED) == ARMED)
		atomic_store_explicit(&watch->epoll, 0, RELAXED);
}

static void change_again(struct pending *entry, uint64_t cookie, int epoll, int operation, int fd, struct epoll_event *event)
{
	int errno_before = errno;
	struct hold hold;
	hold_begin(&hold);
	enum pending_state state = pending_claim(entry);
	bool ours = state != PENDING_FREE && pending_cookie(entry) == cookie && pending_is(entry, fd);
	if (!ours) {
		take_back(entry, epoll, fd);
	} else {
		forget(entry, epoll, fd);
		if (operation != EPOLL_CTL_DEL)
			follow(entry, epoll, operation, fd, event);
	}
	struct watch *watch = ours ? pending_watch(entry, epoll, fd) : NULL;
	if (watch != NULL && state == PENDING_QUIET)
		pending_mute_watch(entry, watch);
	else if (operation == EPOLL_CTL_MOD || (watch != NULL && (event->events & EPOLLEXCLUSIVE) == 0))
		real_epoll_ctl()(epoll, EPOLL_CTL_MOD, fd, event);
	if (state != PENDING_FREE)
		pending_settle(entry, state);
	hold_end(&hold);
	errno = errno_before;
}

void pending_changed_meanwhile(struct pending *entry, bool claimed, uint64_t cookie, int epoll, int operation, int fd,
                               struct epoll_event *event)
{
	enum pending_state state = pending_state(entry);
	if (claimed || state == PENDING_CLAIMED) /* which may not have been counted yet */
		change_again(entry, cookie, epoll, operation, fd, event);
	else if (state < PENDING_CLAIMED || pending_cookie(entry) != cookie)
		take_back(entry, epoll, fd);
}

int pending_epoll_ctl(struct pending *entry, int epoll, int operation, int fd, struct epoll_event *event)
{
	if (pending_state(entry) != PENDING_CONNECTING)
		return control_claimed(entry, epoll, operation, fd, event);
	/* A healthy one takes no claim, and looks afterwards whether somebody has. */
	uint32_t claims = atomic_load_explicit(&entry->claims, memory_order_acquire);
	uint64_t cookie = pending_cookie(entry);
	int result = real_epoll_ctl()(epoll, operation, fd, event);
	if (result != 0)
		return result;
	if (pending_state(entry) > PENDING_CLAIMED)
		follow(entry, epoll, operation, fd, event);
	bool claimed = atomic_fetch_add_explicit(&entry->claims, 0, memory_order_acq_rel) != claims;
	if (claimed || pending_state(entry) != PENDING_CONNECTING || pending_cookie(entry) != cookie)
		pending_changed_meanwhile(entry, claimed, cookie, epoll, operation, fd, event);
	return result;
}
