/* The attempts of a pending connect: they fail, are judged, and are made again.
 *
 * connect(2) on a socket whose attempt has failed returns that attempt's error and resets the socket
 * (__inet_stream_connect in net/ipv4/af_inet.c); the connect after that starts afresh. So the failed
 * attempt's error is taken by connect: if the socket has not failed after all, it answers EALREADY or
 * EISCONN and nothing has changed. What does not need the error is decided before, so that a final
 * failure stays in the kernel, untouched.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "hooks/connect.h"
#include "hooks/pending.h"

static int connect_to(const struct pending *entry, int fd)
{
	return real_connect()(fd, &entry->address.any, entry->length) == 0 ? 0 : errno;
}

bool pending_is_under_way(int error) { return error == EINPROGRESS || error == EALREADY || error == EINTR; }

/* ---- verdicts ------------------------------------------------------------------------------------- */

bool pending_begin(struct pending *entry, int fd, int error)
{
	struct target target;
	/* What is not known stands for a failure that is retried. */
	struct failure failure = {.source = SOURCE_CONNECT, .code = error != 0 ? error : ECONNREFUSED};
	const struct config *config = connect_takes(FAMILY_NONBLOCK, fd, &entry->address.any, entry->length, &target, &failure);
	if (config == NULL ||
	    !op_begin(&entry->op, config, "connect", &target, clock_of_mark(entry->start), 0))
		return false;
	connect_set_socket(&entry->op, fd, entry->address.any.sa_family);
	return true;
}

struct verdict pending_judge(struct pending *entry, int fd, int error)
{
	struct failure failure = {
		.source = SOURCE_CONNECT,
		.code = error,
		.unix_socket = entry->op.target.is_unix,
		.bound_socket = error == EADDRNOTAVAIL && socket_is_bound(fd),
	};
	entry->error = error;
	struct verdict verdict = op_failed(&entry->op, &failure, NULL);
	if (verdict.action == ACTION_DELIVER)
		addresses_round_over(&entry->op.target);
	return verdict;
}

/* Until then, or a glance at what others have learned. */
static void set_alarm(struct pending *entry, int64_t again_ns) { pending_set_due(entry, op_glance_ns(&entry->op, again_ns)); }

void pending_tell_last(struct pending *entry, int fd, int error)
{
	struct verdict verdict = pending_judge(entry, fd, error);
	if (verdict.action == ACTION_RETRY) /* there was no token, or an open circuit, a moment ago */
		op_given_up(&entry->op, &verdict, REASON_UNSAFE, NULL);
}

static void back_off(struct pending *entry, int fd, const struct verdict *verdict)
{
	if (entry->error != ECONNREFUSED)
		socket_drain_errors(fd);
	atomic_store_explicit(&entry->fruitless, 0, memory_order_relaxed);
	entry->verdict = *verdict;
	entry->owner = getpid();
	pending_owned_by(entry->owner);
	/* Before the registrations fall silent: who is woken by that goes to sleep again until then. */
	set_alarm(entry, verdict->at_ns);
	pending_mute(entry);
	pending_settle(entry, PENDING_QUIET);
}

void pending_fail(struct pending *entry)
{
	addresses_round_over(&entry->op.target);
	pending_arm(entry);
	pending_settle(entry, PENDING_FAILED);
}

bool pending_retries(struct pending *entry, int fd, int error, bool resets)
{
	struct verdict verdict = pending_judge(entry, fd, error);
	if (verdict.action != ACTION_RETRY)
		return false;
	if (resets)
		connect_to(entry, fd);
	back_off(entry, fd, &verdict);
	return true;
}

static void note_first_success(const struct pending *entry)
{
	struct target target;
	if (addresses_describe(&entry->address.any, entry->length, &target))
		engine_succeeded(FAMILY_NONBLOCK, &target);
}

void pending_succeed(struct pending *entry, enum pending_state state)
{
	if (state == PENDING_RECONNECTING) {
		op_succeeded(&entry->op);
		addresses_round_over(&entry->op.target);
	} else if (state == PENDING_CONNECTING && (attention() & ATTENTION_TROUBLE) != 0) {
		note_first_success(entry);
	}
	pending_settle(entry, PENDING_FREE);
}

void pending_abandon(struct pending *entry, enum pending_state state)
{
	if (state == PENDING_RECONNECTING) {
		op_given_up(&entry->op, &entry->verdict, REASON_UNSAFE, NULL);
		addresses_round_over(&entry->op.target);
	}
	pending_settle(entry, PENDING_FREE);
}

/* ---- attempts ------------------------------------------------------------------------------------ */

/* As things stand, and whatever the error is. */
static bool would_retry(const struct pending *entry)
{
	struct failure failure = {.source = SOURCE_CONNECT, .code = ECONNREFUSED};
	return op_expected(&entry->op, &failure).action == ACTION_RETRY;
}

bool pending_is_retryable(const struct pending *entry, int fd, bool seen)
{
	if (atomic_load_explicit(&entry->crowded, memory_order_relaxed) || socket_blocking(fd) != NON_BLOCKING)
		return false;
	switch (socket_use(fd)) {
	case SOCKET_UNANSWERED: return true;
	case SOCKET_ANSWERED: return !seen && !atomic_load_explicit(&entry->blind, memory_order_relaxed);
	default: return false;
	}
}

static bool has_failed(int fd)
{
	struct pollfd polled = {.fd = fd, .events = POLLOUT};
	return real_poll()(&polled, 1, 0) == 1 && (polled.revents & (POLLERR | POLLHUP)) != 0;
}

enum sight pending_take_failure(struct pending *entry, int pin, enum pending_state state)
{
	/* An event of the backoff before it, that another thread has just ended: what follows would believe it. */
	if (state == PENDING_RECONNECTING && !has_failed(pin)) {
		pending_settle(entry, state);
		return OUTDATED;
	}
	if (!pending_is_retryable(entry, pin, false) || (state == PENDING_CONNECTING && !pending_begin(entry, pin, 0))) {
		pending_abandon(entry, state);
		return SHOWN;
	}
	if (!would_retry(entry)) {
		addresses_round_over(&entry->op.target);
		pending_settle(entry, PENDING_LEFT);
		return SHOWN;
	}
	int error = connect_to(entry, pin);
	if (error == 0 || error == EISCONN) {
		pending_succeed(entry, state);
		return SHOWN;
	}
	if (error == EINPROGRESS) { /* another process or thread has taken the error, and we have just connected again */
		op_next_attempt(&entry->op);
		pending_settle(entry, PENDING_RECONNECTING);
		return HIDDEN;
	}
	if (pending_is_under_way(error)) {
		pending_settle(entry, state);
		return OUTDATED;
	}
	if (error == ECONNABORTED) { /* the error was taken before, by the program's send or recv: it knows */
		pending_abandon(entry, state);
		return SHOWN;
	}
	if (pending_retries(entry, pin, error, false))
		return HIDDEN;
	pending_fail(entry);
	return SHOWN_FAILED;
}

/* Pins the socket by one of its numbers, which is told too: a number that is another's by now is forgotten. */
static int pin_number(struct pending *entry, int fd, int *socket)
{
	int pin = fd >= 0 ? socket_pin(fd, pending_cookie(entry)) : -1;
	if (fd >= 0 && pin < 0 && errno == EBADF)
		pending_forget_number(entry, fd);
	if (pin >= 0) {
		entry->sure = fd + 1;
		*socket = fd;
	}
	return pin;
}

/* A descriptor of the entry's socket, for socket_unpin(); -1 with errno EMFILE, or EBADF if there is none. */
static int pin_any(struct pending *entry, int *socket)
{
	int pin = -1;
	errno = EBADF;
	for (int i = 0; pin < 0 && errno != EMFILE && i < PENDING_NUMBERS; i++)
		pin = pin_number(entry, atomic_load_explicit(&entry->numbers[i], memory_order_relaxed) - 1, socket);
	for (int i = 0; pin < 0 && errno != EMFILE && i < PENDING_WATCHES; i++)
		if (atomic_load_explicit(&entry->watches[i].epoll, memory_order_relaxed) > 0)
			pin = pin_number(entry, atomic_load_explicit(&entry->watches[i].fd, memory_order_relaxed), socket);
	return pin;
}

static bool fall_back(struct pending *entry)
{
	struct sockaddr_storage to;
	socklen_t length;
	if (!connect_fallback(&entry->op, &to, &length) || length > sizeof entry->address)
		return false;
	memcpy(&entry->address, &to, length);
	entry->length = length;
	return true;
}

/* Nobody has it any more, as far as we know: closed by the program, or kept as a duplicate that we have not
 * met yet. It is kept for a while, without an instant. */
static void lose(struct pending *entry)
{
	if (entry->lost_ns == 0)
		entry->lost_ns = clock_now_ns();
	op_dropped(&entry->op);
	pending_set_due(entry, 0);
	pending_settle(entry, PENDING_QUIET);
}

static void attempt(struct pending *entry, int pin)
{
	if (entry->verdict.event == EVENT_FALLBACK && !fall_back(entry)) {
		op_exhausted(&entry->op, &entry->verdict);
		pending_fail(entry);
		return;
	}
	op_next_attempt(&entry->op);
	int error = connect_to(entry, pin);
	if (error == 0 || error == EISCONN) {
		pending_arm(entry);
		pending_succeed(entry, PENDING_RECONNECTING);
	} else if (pending_is_under_way(error)) {
		pending_arm(entry);
		pending_settle(entry, PENDING_RECONNECTING);
	} else if (!pending_retries(entry, pin, error, false)) {
		pending_fail(entry);
	}
}

void pending_connect_again(struct pending *entry)
{
	int64_t again_ns;
	switch (op_due(&entry->op, &entry->verdict, &again_ns)) {
	case DUE_LATER:
		set_alarm(entry, again_ns);
		pending_settle(entry, PENDING_QUIET);
		return;
	case DUE_OVER: pending_fail(entry); return;
	case DUE_GO: break;
	}
	int socket = -1, pin = pin_any(entry, &socket);
	if (pin < 0 && errno != EMFILE) {
		lose(entry);
	} else if (pin < 0 || socket_blocking(pin) != NON_BLOCKING) {
		op_given_up(&entry->op, &entry->verdict, REASON_UNSAFE, NULL);
		pending_fail(entry);
	} else {
		attempt(entry, pin);
	}
	socket_unpin(pin, socket);
}
