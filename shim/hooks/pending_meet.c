/* Where the program meets a pending connect: events, a second connect(), SO_ERROR, send and recv. */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "hooks/pending.h"

/* For a claimed entry: the number is another socket's; ours may live on under a duplicate. Settles. */
static void not_ours(struct pending *entry, int fd, enum pending_state state)
{
	if (pending_of(fd) == entry)
		pending_forget_number(entry, fd);
	pending_settle(entry, state);
}

/* Claims the entry of a descriptor, if it is still that one's: between a look and the claim it may have been
 * dropped and made anew, for another. PENDING_FREE: nothing is claimed. */
static enum pending_state claim_for(struct pending *entry, int fd, enum pending_state (*claim)(struct pending *))
{
	enum pending_state state = claim(entry);
	if (state == PENDING_FREE || pending_is(entry, fd))
		return state;
	not_ours(entry, fd, state);
	return PENDING_FREE;
}

/* ---- events -------------------------------------------------------------------------------------- */

bool pending_has_failed(int fd)
{
	struct pollfd polled = {.fd = fd, .events = POLLOUT};
	return real_poll()(&polled, 1, 0) == 1 && (polled.revents & (POLLERR | POLLHUP)) != 0;
}

/* For a claimed entry; settles it. */
static enum sight met_failure(struct pending *entry, int fd, enum pending_state state)
{
	int pin = socket_pin(fd, pending_cookie(entry));
	if (pin < 0 && errno == EMFILE) {
		pending_abandon(entry, state);
		return SHOWN;
	}
	if (pin < 0) {
		not_ours(entry, fd, state);
		return SHOWN;
	}
	entry->sure = fd + 1;
	enum sight sight = pending_take_failure(entry, pin, state);
	socket_unpin(pin, fd);
	return sight;
}

static enum sight met(struct pending *entry, int fd, bool failed)
{
	enum pending_state state = pending_claim(entry);
	if (state == PENDING_FREE)
		return SHOWN;
	if (failed && (state == PENDING_CONNECTING || state == PENDING_RECONNECTING))
		return met_failure(entry, fd, state);
	if (!pending_is(entry, fd)) {
		not_ours(entry, fd, state);
		return SHOWN;
	}
	switch (state) {
	case PENDING_CONNECTING:
	case PENDING_RECONNECTING:
		/* An event of another descriptor with the same epoll_data says nothing of ours. */
		if (socket_is_connected(fd))
			pending_succeed(entry, state);
		else
			pending_settle(entry, state == PENDING_CONNECTING ? PENDING_FREE : state);
		return SHOWN;
	case PENDING_QUIET:
		pending_adopt(entry);
		pending_settle(entry, PENDING_QUIET);
		return HIDDEN;
	case PENDING_FAILED: pending_settle(entry, state); return SHOWN_FAILED;
	default: pending_settle(entry, state); return SHOWN;
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

enum sight pending_expose(struct pending *entry)
{
	struct hold hold;
	int errno_before = errno;
	enum sight sight = SHOWN;
	hold_begin(&hold);
	enum pending_state state = pending_claim(entry);
	switch (state) {
	case PENDING_FREE: break;
	case PENDING_CONNECTING:
	case PENDING_RECONNECTING: pending_abandon(entry, state); break;
	case PENDING_QUIET:
		op_given_up(&entry->op, &entry->verdict, REASON_UNSAFE, NULL);
		pending_fail(entry);
		sight = SHOWN_FAILED;
		break;
	default:
		sight = state == PENDING_FAILED ? SHOWN_FAILED : SHOWN;
		pending_settle(entry, state);
	}
	hold_end(&hold);
	errno = errno_before;
	return sight;
}

enum sight pending_polled(int fd, bool failed)
{
	/* A duplicate fails with its socket. */
	struct pending *entry = failed ? pending_resolve(fd) : pending_of(fd);
	if (entry == NULL)
		return SHOWN;
	enum sight sight = pending_event(entry, fd, failed);
	if (sight == OUTDATED)
		return HIDDEN;
	/* What cannot be found by its number could not be left out of the next wait. */
	return sight == HIDDEN && pending_of(fd) != entry ? pending_expose(entry) : sight;
}

int64_t pending_quiet_until(int fd)
{
	struct pending *entry = pending_of(fd);
	if (entry == NULL)
		return 0;
	enum pending_state state = pending_state(entry);
	if (state != PENDING_QUIET && state != PENDING_CLAIMED)
		return 0;
	state = claim_for(entry, fd, pending_claim);
	if (state == PENDING_QUIET)
		pending_adopt(entry);
	int64_t until_ns = state == PENDING_QUIET ? pending_due(entry) : 0;
	if (state != PENDING_FREE)
		pending_settle(entry, state);
	return until_ns;
}

/* ---- a second connect() --------------------------------------------------------------------------- */

struct pending *pending_met(int fd)
{
	struct pending *entry = pending_any_failing() ? pending_resolve(fd) : pending_of(fd);
	return entry != NULL && pending_is(entry, fd) ? entry : NULL;
}

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
	enum pending_state state = disconnects ? pending_claim(entry) : pending_claim_driven(entry);
	if (disconnects && state != PENDING_FREE) {
		if (state == PENDING_QUIET || state == PENDING_RECONNECTING)
			op_given_up(&entry->op, &entry->verdict, REASON_UNSAFE, NULL);
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
static int taken(struct pending *entry, int pin, enum pending_state state, int error, int pretence)
{
	if (state == PENDING_LEFT) {
		pending_tell_last(entry, pin, error);
		pending_settle(entry, PENDING_FREE);
	} else if (socket_blocking(pin) != NON_BLOCKING || (state == PENDING_CONNECTING && !pending_begin(entry, pin, error))) {
		pending_abandon(entry, state);
	} else if (pending_retries(entry, pin, error, pretence != EALREADY)) {
		return pretence;
	} else {
		pending_settle(entry, PENDING_FREE);
	}
	return error;
}

/* The same for the program's descriptor, whatever other threads make of it meanwhile. */
static int taken_pinned(struct pending *entry, int fd, enum pending_state state, int error, int pretence)
{
	int pin = socket_pin(fd, pending_cookie(entry));
	/* What connect() has reset tells nothing any more; a program that calls it again has sent nothing. */
	bool is_reset = pretence == EALREADY;
	if (pin < 0 || (state != PENDING_LEFT && !is_reset && !pending_is_retryable(entry, pin, true)))
		pending_abandon(entry, state);
	else
		error = taken(entry, pin, state, error, pretence);
	socket_unpin(pin, fd);
	return error;
}

/* True if the error that connect(2) has taken is still the latest attempt's: the socket lies as that call has left it
 * (tcp_disconnect in net/ipv4/tcp.c: closed, and not shut down). Another thread may have found it so, and connected again. */
static bool is_as_reset(int fd)
{
	struct pollfd polled = {.fd = fd, .events = POLLIN | POLLOUT};
	return real_poll()(&polled, 1, 0) == 1 && polled.revents == (POLLOUT | POLLHUP);
}

int pending_connected(struct pending *entry, int fd, int error)
{
	struct hold hold;
	if (pending_is_under_way(error))
		return error;
	hold_begin(&hold);
	enum pending_state state = claim_for(entry, fd, pending_claim);
	bool made = error == 0 || error == EISCONN, outdated = !made && !is_as_reset(fd);
	if (state == PENDING_FREE)
		error = outdated ? EALREADY : error;
	else if (made)
		pending_succeed(entry, state);
	else if (outdated || state == PENDING_QUIET || state == PENDING_FAILED)
		answer_connect(entry, state, &error); /* another thread has met the failure since, and the operation has gone on */
	else
		error = taken_pinned(entry, fd, state, error, EALREADY);
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

int pending_error(struct pending *entry, int fd, int error)
{
	struct hold hold;
	int errno_before = errno;
	if (error == 0 && pending_state(entry) == PENDING_CONNECTING)
		return 0;
	hold_begin(&hold);
	enum pending_state state = claim_for(entry, fd, pending_claim_driven);
	if (state == PENDING_FREE)
		;
	else if (error == 0 || state == PENDING_QUIET || state == PENDING_FAILED)
		error = answer_no_error(entry, fd, state);
	else
		error = taken_pinned(entry, fd, state, error, 0);
	hold_end(&hold);
	errno = errno_before;
	return error;
}

/* ---- send and recv --------------------------------------------------------------------------------- */

/* Of a claimed entry: a later attempt that has failed is met here, since the call itself would take its error. Returns the
 * state, claimed. */
static enum pending_state claim_met(struct pending *entry, int fd, enum pending_state state)
{
	if (state != PENDING_RECONNECTING || !pending_has_failed(fd))
		return state;
	met_failure(entry, fd, state);
	return claim_for(entry, fd, pending_claim);
}

int pending_io(int fd)
{
	struct hold hold;
	int errno_before = errno, error = 0;
	struct pending *entry = pending_of(fd);
	if (entry == NULL || pending_state(entry) < PENDING_CLAIMED || pending_state(entry) == PENDING_CONNECTING)
		return 0;
	hold_begin(&hold);
	enum pending_state state = claim_met(entry, fd, claim_for(entry, fd, pending_claim_driven));
	if (state == PENDING_QUIET && socket_blocking(fd) != NON_BLOCKING) {
		/* The program has made it blocking meanwhile, and would wait here for the connection. */
		op_given_up(&entry->op, &entry->verdict, REASON_UNSAFE, NULL);
		pending_fail(entry);
		state = pending_claim(entry);
	}
	if (state == PENDING_QUIET)
		error = EAGAIN;
	if (state == PENDING_FAILED)
		error = entry->error;
	if (state != PENDING_FREE)
		pending_settle(entry, state == PENDING_FAILED ? PENDING_FREE : state);
	hold_end(&hold);
	errno = errno_before;
	return error;
}

void pending_io_failed(int fd, int error)
{
	struct hold hold;
	struct failure failure = {.source = SOURCE_CONNECT, .code = error};
	struct pending *entry = pending_of(fd);
	if (entry == NULL || pending_state(entry) != PENDING_LEFT)
		return;
	hold_begin(&hold);
	enum pending_state state = claim_for(entry, fd, pending_claim);
	/* EAGAIN, EINVAL, EFAULT are the call's own. */
	if (state == PENDING_LEFT && classify(entry->op.config, &failure).retried)
		taken_pinned(entry, fd, state, error, 0);
	else if (state != PENDING_FREE)
		pending_settle(entry, state);
	hold_end(&hold);
	errno = error;
}

void pending_io_done(int fd)
{
	struct hold hold;
	int errno_before = errno;
	struct pending *entry = pending_of(fd);
	if (entry == NULL || pending_state(entry) != PENDING_RECONNECTING)
		return;
	hold_begin(&hold);
	enum pending_state state = claim_for(entry, fd, pending_claim);
	if (state == PENDING_RECONNECTING && socket_is_connected(fd))
		pending_succeed(entry, state);
	else if (state != PENDING_FREE)
		pending_settle(entry, state);
	hold_end(&hold);
	errno = errno_before;
}
