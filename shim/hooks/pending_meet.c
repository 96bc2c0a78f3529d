/* Where the program meets a pending connect: events, a second connect(), SO_ERROR. */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "hooks/pending.h"
#include "hooks/waiting.h"

bool pending_holds(struct pending *entry, int fd)
{
	return pending_state(entry) > PENDING_FILLING && socket_cookie(fd) == pending_cookie(entry);
}

struct pending *pending_met(int fd)
{
	struct pending *entry = pending_of(fd);
	return entry != NULL && pending_holds(entry, fd) ? entry : NULL;
}

static bool is_same_socket(const struct pending *entry, int fd) { return socket_cookie(fd) == pending_cookie(entry); }

/* ---- instants ------------------------------------------------------------------------------------ */

/* Quiet entries of a process that forked us are its own to connect, until our program uses them. */
static void adopt(struct pending *entry)
{
	pid_t self = getpid();
	if (entry->owner == self)
		return;
	entry->owner = self;
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
		if (state == PENDING_QUIET)
			pending_set_due(entry, INT64_MAX);
		if (state != PENDING_FREE)
			pending_settle(entry, state);
	}
	return pending_next_due();
}

/* Claims an entry that the program asks about; one that is due connects first. */
static enum pending_state claim_driven(struct pending *entry)
{
	enum pending_state state = pending_claim(entry);
	if (state != PENDING_QUIET)
		return state;
	adopt(entry);
	if (entry->verdict.at_ns > clock_now_ns())
		return state;
	pending_connect_again(entry);
	return pending_claim(entry);
}

/* ---- events -------------------------------------------------------------------------------------- */

static enum sight met_failure(struct pending *entry, int fd, enum pending_state state)
{
	int pin = socket_pin(fd, pending_cookie(entry));
	if (pin < 0) {
		pending_settle(entry, PENDING_FREE);
		return SHOWN;
	}
	enum sight sight = pending_take_failure(entry, pin, state);
	close(pin);
	return sight;
}

static enum sight met(struct pending *entry, int fd, bool failed)
{
	enum pending_state state = pending_claim(entry);
	if (state == PENDING_FREE)
		return SHOWN;
	if ((state == PENDING_CONNECTING || state == PENDING_RECONNECTING) && failed)
		return met_failure(entry, fd, state);
	if (!is_same_socket(entry, fd)) {
		/* The number is another socket's by now. Ours may live on under a duplicate: what is quiet is
		 * looked for when it is due. */
		pending_settle(entry, state == PENDING_QUIET ? PENDING_QUIET : PENDING_FREE);
		return SHOWN;
	}
	switch (state) {
	case PENDING_QUIET:
		adopt(entry);
		pending_mute(entry);
		pending_settle(entry, PENDING_QUIET);
		return HIDDEN;
	case PENDING_LEFT: pending_settle(entry, PENDING_LEFT); return SHOWN;
	case PENDING_FAILED: pending_settle(entry, PENDING_FAILED); return SHOWN_FAILED;
	default: pending_succeed(entry, state); return SHOWN;
	}
}

enum sight pending_event_slow(struct pending *entry, int fd, bool failed)
{
	struct hold hold;
	int errno_before = errno;
	hold_begin(&hold);
	enum sight sight = met(entry, fd, failed);
	hold_end(&hold);
	errno = errno_before;
	return sight;
}

bool pending_is_quiet(int fd)
{
	struct pending *entry = pending_of(fd);
	if (entry == NULL)
		return false;
	enum pending_state state = pending_state(entry);
	if (state != PENDING_QUIET && state != PENDING_CLAIMED)
		return false;
	state = pending_claim(entry);
	if (state == PENDING_FREE)
		return false;
	bool quiet = state == PENDING_QUIET && is_same_socket(entry, fd);
	if (quiet)
		adopt(entry);
	pending_settle(entry, state);
	return quiet;
}

/* ---- a second connect() --------------------------------------------------------------------------- */

/* For a claimed entry; settles it. True: answered with *error. */
static bool answer_connect(struct pending *entry, enum pending_state state, int *error)
{
	*error = state == PENDING_FAILED ? entry->error : EALREADY;
	pending_settle(entry, state == PENDING_FAILED ? PENDING_FREE : state);
	return state == PENDING_FAILED || state == PENDING_QUIET;
}

bool pending_connect(struct pending *entry, const struct sockaddr *address, int *error)
{
	struct hold hold;
	bool answered = false, disconnects = address != NULL && address->sa_family == AF_UNSPEC;
	hold_begin(&hold);
	enum pending_state state = disconnects ? pending_claim(entry) : claim_driven(entry);
	if (disconnects && state != PENDING_FREE) {
		pending_arm(entry);
		pending_settle(entry, PENDING_FREE);
	} else if (state != PENDING_FREE) {
		answered = answer_connect(entry, state, error);
	}
	hold_end(&hold);
	return answered;
}

/* The program's own call has taken the error of an attempt from the kernel, by a connect() that reset the
 * socket, or by SO_ERROR. Returns what the program is to see: `pretence` if another attempt follows. The
 * entry is claimed, and settled. */
static int taken(struct pending *entry, int fd, enum pending_state state, int error, int pretence)
{
	if (state == PENDING_LEFT) {
		pending_judge(entry, fd, error);
		pending_settle(entry, PENDING_FREE);
	} else if (socket_blocking(fd) != NON_BLOCKING || (state == PENDING_CONNECTING && !pending_begin(entry, fd, error))) {
		pending_abandon(entry, state);
	} else if (pending_retries(entry, fd, error, pretence != EALREADY)) {
		return pretence;
	} else {
		pending_settle(entry, PENDING_FREE);
	}
	return error;
}

int pending_connected(struct pending *entry, int fd, int error)
{
	struct hold hold;
	if (pending_is_under_way(error))
		return error;
	hold_begin(&hold);
	enum pending_state state = pending_claim(entry);
	if (state == PENDING_FREE)
		;
	else if (error == 0 || error == EISCONN)
		pending_succeed(entry, state);
	else if (state == PENDING_CONNECTING || state == PENDING_RECONNECTING || state == PENDING_LEFT)
		error = taken(entry, fd, state, error, EALREADY);
	else
		pending_settle(entry, state);
	hold_end(&hold);
	return error;
}

int pending_refused(int fd, const struct sockaddr *address, socklen_t length, uint64_t start, int error)
{
	struct hold hold;
	if (engine_config(FAMILY_NONBLOCK) == NULL)
		return error;
	hold_begin(&hold);
	struct pending *entry = pending_new(fd, address, length, start);
	if (entry == NULL)
		;
	else if (pending_begin(entry, fd, error) && pending_retries(entry, fd, error, false))
		error = EINPROGRESS;
	else
		pending_settle(entry, PENDING_FREE);
	hold_end(&hold);
	return error;
}

/* ---- SO_ERROR ------------------------------------------------------------------------------------- */

/* SO_ERROR was 0: not over, or it went well and the program has not looked by other means. */
static int answer_no_error(struct pending *entry, int fd, enum pending_state state)
{
	int error = state == PENDING_FAILED ? entry->error : 0;
	if (state == PENDING_RECONNECTING && socket_is_connected(fd))
		pending_succeed(entry, state);
	else
		pending_settle(entry, state == PENDING_FAILED ? PENDING_FREE : state);
	return error;
}

/* For a claimed entry; settles it. */
static int answer_error(struct pending *entry, int fd, enum pending_state state, int error)
{
	if (error == 0 || state == PENDING_QUIET || state == PENDING_FAILED)
		return answer_no_error(entry, fd, state);
	if (state != PENDING_LEFT && !socket_untouched(fd)) {
		pending_abandon(entry, state);
		return error;
	}
	return taken(entry, fd, state, error, 0);
}

int pending_error(struct pending *entry, int fd, int error)
{
	struct hold hold;
	if (error == 0 && pending_state(entry) == PENDING_CONNECTING)
		return 0;
	hold_begin(&hold);
	enum pending_state state = claim_driven(entry);
	if (state != PENDING_FREE && !is_same_socket(entry, fd))
		pending_settle(entry, state);
	else if (state != PENDING_FREE)
		error = answer_error(entry, fd, state, error);
	hold_end(&hold);
	return error;
}

/* ---- what nobody asked about any more -------------------------------------------------------------- */

static void tidy_one(struct pending *entry, int fd, short events)
{
	struct hold hold;
	if ((events & (POLLERR | POLLHUP | POLLNVAL)) == 0) {
		if (events != 0)
			pending_event(entry, fd, false);
		return;
	}
	hold_begin(&hold);
	enum pending_state state = pending_claim(entry);
	if (state == PENDING_LEFT && entry->tidied) {
		/* The program has learned of it by an error of send or recv, or gave up: most likely it was the
		 * error of the attempt before. */
		if (entry->op.progress.attempt > 1)
			pending_judge(entry, fd, entry->error);
		pending_settle(entry, PENDING_FREE);
	} else if (state != PENDING_FREE) {
		entry->tidied = true;
		pending_settle(entry, state == PENDING_QUIET || is_same_socket(entry, fd) ? state : PENDING_FREE);
	}
	hold_end(&hold);
}

static void tidy_all(void)
{
	enum { BATCH = 64 };
	struct pollfd polled[BATCH];
	struct pending *entries[BATCH], *entry;
	uint32_t index = 0;
	nfds_t count;
	do {
		count = 0;
		while (count < BATCH && (entry = pending_each(&index)) != NULL) {
			if (pending_state(entry) == PENDING_QUIET)
				continue;
			entries[count] = entry;
			polled[count++] = (struct pollfd){.fd = atomic_load_explicit(&entry->fd, memory_order_relaxed), .events = POLLOUT};
		}
		if (count == 0 || real_poll()(polled, count, 0) <= 0)
			continue;
		for (nfds_t i = 0; i < count; i++)
			tidy_one(entries[i], polled[i].fd, polled[i].revents);
	} while (count == BATCH);
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
