/* What time does to pending connects. */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "hooks/pending.h"

/* ---- instants ------------------------------------------------------------------------------------ */

void pending_adopt(struct pending *entry)
{
	entry->lost_ns = 0;
	entry->owner = getpid();
	if (pending_due(entry) == 0)
		pending_set_due(entry, entry->verdict.at_ns);
}

/* The process that first had something to drive: another one is a forked child of it. */
static _Atomic(pid_t) first_owner;

void pending_owned_by(pid_t process)
{
	pid_t none = 0;
	if (atomic_load_explicit(&first_owner, memory_order_relaxed) == 0)
		atomic_compare_exchange_strong_explicit(&first_owner, &none, process, memory_order_relaxed, memory_order_relaxed);
}

void pending_inherit(int epoll)
{
	struct pending *entry;
	uint32_t index = 0;
	pid_t self = getpid();
	if (atomic_load_explicit(&first_owner, memory_order_relaxed) == self)
		return;
	while ((entry = pending_each(&index)) != NULL) {
		if (pending_state(entry) != PENDING_QUIET || !pending_is_watched(entry, epoll))
			continue;
		enum pending_state state = pending_claim(entry);
		if (state == PENDING_QUIET && entry->owner != self)
			pending_adopt(entry);
		if (state != PENDING_FREE)
			pending_settle(entry, state);
	}
}

int64_t pending_drive(void)
{
	struct pending *entry;
	uint32_t index = 0;
	int64_t now_ns = clock_now_ns();
	if (pending_next_due(0) > now_ns)
		return pending_next_due(now_ns);
	pid_t self = getpid();
	while ((entry = pending_next(&index, now_ns)) != NULL) {
		enum pending_state state = pending_claim(entry);
		/* What a process that forked us has quiet is its own to connect, until our program uses it. */
		if (state == PENDING_QUIET && entry->owner == self)
			pending_connect_again(entry);
		else if (state != PENDING_FREE)
			pending_settle(entry, state);
	}
	return pending_next_due(now_ns);
}

enum pending_state pending_claim_driven(struct pending *entry)
{
	enum pending_state state = pending_claim(entry);
	if (state != PENDING_QUIET)
		return state;
	pending_adopt(entry);
	if (entry->verdict.at_ns > clock_now_ns())
		return state;
	pending_connect_again(entry);
	return pending_claim(entry);
}

/* ---- what nobody asked about any more ------------------------------------------------------------ */

/* How long an entry without a descriptor is kept, for a duplicate that may turn up. */
#define LOST_NS (30 * NS_PER_S)

static bool has_number(const struct pending *entry)
{
	for (int i = 0; i < PENDING_NUMBERS; i++) {
		int fd = atomic_load_explicit(&entry->numbers[i], memory_order_relaxed) - 1;
		if (fd >= 0 && pending_is(entry, fd))
			return true;
	}
	for (int i = 0; i < PENDING_WATCHES; i++)
		if (atomic_load_explicit(&entry->watches[i].epoll, memory_order_relaxed) > 0 &&
		    pending_is(entry, atomic_load_explicit(&entry->watches[i].fd, memory_order_relaxed)))
			return true;
	return false;
}

static bool is_lost(struct pending *entry)
{
	if (has_number(entry))
		entry->lost_ns = 0;
	else if (entry->lost_ns == 0)
		entry->lost_ns = clock_now_ns();
	return entry->lost_ns != 0 && clock_now_ns() - entry->lost_ns > LOST_NS;
}

/* The program has learned of its last failure by an error of send or recv, or does not care: most likely it
 * was the error of the attempt before. */
static void tell_left(struct pending *entry)
{
	if (entry->op.progress.attempt > 1)
		pending_tell_last(entry, -1, entry->error);
	pending_settle(entry, PENDING_FREE);
}

static void tidy(struct pending *entry)
{
	enum pending_state state = pending_claim(entry);
	if (state == PENDING_FREE)
		return;
	bool lost = is_lost(entry);
	if (lost && (state == PENDING_QUIET || state == PENDING_RECONNECTING))
		op_given_up(&entry->op, &entry->verdict, REASON_UNSAFE, NULL);
	if (state == PENDING_LEFT && entry->lost_ns != 0)
		tell_left(entry);
	else
		pending_settle(entry, lost || (state == PENDING_CONNECTING && entry->lost_ns != 0) ? PENDING_FREE : state);
}

/* A first attempt that has connected needs nobody's verdict. */
static bool has_connected(struct pending *entry)
{
	int fd = atomic_load_explicit(&entry->numbers[0], memory_order_relaxed) - 1;
	struct pollfd polled = {.fd = fd, .events = POLLOUT};
	return pending_state(entry) == PENDING_CONNECTING && fd >= 0 && real_poll()(&polled, 1, 0) == 1 &&
	       (polled.revents & (POLLERR | POLLHUP | POLLNVAL)) == 0;
}

static void tidy_all(void)
{
	struct pending *entry;
	uint32_t index = 0;
	struct hold hold;
	hold_begin(&hold);
	while ((entry = pending_each(&index)) != NULL) {
		if (has_connected(entry))
			pending_event(entry, atomic_load_explicit(&entry->numbers[0], memory_order_relaxed) - 1, false);
		else
			tidy(entry);
	}
	hold_end(&hold);
}

void pending_tidy(uint64_t mark)
{
	/* A second, or what the processor's counter makes of it: some tenths to half a minute. */
	enum { PERIOD = 1 << 30 };
	static _Atomic(uint64_t) last;
	uint64_t before = atomic_load_explicit(&last, memory_order_relaxed);
	if (before != 0 && mark - before < PERIOD)
		return;
	int errno_before = errno;
	if (atomic_compare_exchange_strong_explicit(&last, &before, mark, memory_order_relaxed, memory_order_relaxed) && before != 0)
		tidy_all();
	errno = errno_before;
}
