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

int64_t pending_drive(void)
{
	struct pending *entry;
	uint32_t index = 0;
	int64_t now_ns = clock_now_ns();
	int64_t next_ns = pending_next_due();
	if (next_ns > now_ns)
		return next_ns;
	pid_t self = getpid();
	while ((entry = pending_next(&index, now_ns)) != NULL) {
		enum pending_state state = pending_claim(entry);
		if (state == PENDING_QUIET && entry->owner == self) {
			pending_connect_again(entry);
			continue;
		}
		if (state == PENDING_QUIET) /* of the process that forked us: its own to connect, until we use it */
			pending_set_due(entry, 0);
		if (state != PENDING_FREE)
			pending_settle(entry, state);
	}
	return pending_next_due();
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

static bool is_lost(struct pending *entry)
{
	int pin = pending_pin(entry);
	if (pin >= 0 || errno == EMFILE) {
		if (pin >= 0)
			close(pin);
		entry->lost_ns = 0;
		return false;
	}
	if (entry->lost_ns == 0)
		entry->lost_ns = clock_now_ns();
	return clock_now_ns() - entry->lost_ns > LOST_NS;
}

/* The program has learned of its last failure by an error of send or recv, or does not care: most likely it
 * was the error of the attempt before. */
static void tell_left(struct pending *entry)
{
	if (entry->op.progress.attempt > 1)
		pending_judge(entry, -1, entry->error);
	pending_settle(entry, PENDING_FREE);
}

static void tidy(struct pending *entry)
{
	enum pending_state state = pending_claim(entry);
	if (state == PENDING_FREE)
		return;
	bool lost = is_lost(entry);
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
			pending_forget(entry);
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
