/* connect(2). A blocking stream socket connects again here, on the same descriptor; what is non-blocking
 * is handed over to the pending connects. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

#include "hooks/connect.h"
#include "hooks/pending.h"
#include "retryshim/runtime.h"

/* ---- tier 1, the typed pointer to the real function, is real_connect() of the runtime ----------- */

/* ---- tier 2: ours ----------------------------------------------------------------------------- */

/* A connect() call of the program. In memory, so that the healthy path saves no registers. */
struct attempt {
	int socket;
	socklen_t length;
	const struct sockaddr *address;
	uint64_t start; /* clock_mark() */
	int errno_before;
	int *errno_at; /* where this thread has it */
};

/* From here on its fields are read again, rather than kept in registers that have to be saved. */
#define KEEP_IN_MEMORY(it) __asm__("" : : "r"(&(it)) : "memory")

/* One that has failed at least once. */
struct call {
	int socket;
	const struct sockaddr *address; /* the program's, or the fallback's below */
	socklen_t length;
	struct sockaddr_storage fallback;
	struct stat identity; /* the socket behind the descriptor when the program called */
	struct timeval send_timeout;
	int64_t send_timeout_ns; /* 0 = none */
	uint64_t start;          /* clock_mark() of the first attempt */
	int64_t start_ns;
};

static int64_t timeval_ns(struct timeval time) { return time.tv_sec * NS_PER_S + time.tv_usec * 1000; }

/* Looks at a blocking socket, before its first backoff. */
static bool inspect(struct call *call)
{
	socklen_t size = sizeof call->send_timeout;
	if (real_getsockopt()(call->socket, SOL_SOCKET, SO_SNDTIMEO, &call->send_timeout, &size) == 0)
		call->send_timeout_ns = timeval_ns(call->send_timeout);
	return fstat(call->socket, &call->identity) == 0;
}

/* Another thread may have closed the descriptor during the backoff, and the number may be somebody
 * else's socket by now. */
static bool still_same_socket(const struct call *call)
{
	struct stat now;
	return fstat(call->socket, &now) == 0 && now.st_dev == call->identity.st_dev && now.st_ino == call->identity.st_ino;
}

static void restore_send_timeout(void *context)
{
	const struct call *call = context;
	setsockopt(call->socket, SOL_SOCKET, SO_SNDTIMEO, &call->send_timeout, sizeof call->send_timeout);
}

static int connect_in_time(void *context)
{
	const struct call *call = context;
	int64_t left_ns = call->start_ns + call->send_timeout_ns - clock_now_ns();
	if (left_ns < NS_PER_MS)
		left_ns = NS_PER_MS; /* 0 would mean for ever */
	struct timeval left = {.tv_sec = (time_t)(left_ns / NS_PER_S), .tv_usec = (suseconds_t)(left_ns % NS_PER_S / 1000)};
	setsockopt(call->socket, SOL_SOCKET, SO_SNDTIMEO, &left, sizeof left);
	return real_connect()(call->socket, call->address, call->length) == 0 ? 0 : errno;
}

/* SO_SNDTIMEO bounds one connect; the program meant the whole call. What is left of it is set for the
 * attempt and the program's value put back, also when the thread is cancelled in between. A handler
 * that leaves by siglongjmp leaves the shorter bound, on a socket that is still connecting. Returns 0
 * or the errno. */
static int connect_again(struct call *call)
{
	if (call->send_timeout_ns == 0)
		return real_connect()(call->socket, call->address, call->length) == 0 ? 0 : errno;
	int error = cancel_guarded(connect_in_time, restore_send_timeout, call);
	restore_send_timeout(call);
	return error;
}

static bool fall_back(struct call *call, struct op *op)
{
	if (!connect_fallback(op, &call->fallback, &call->length))
		return false;
	call->address = (const struct sockaddr *)&call->fallback;
	return true;
}

/* Backs off and connects again until there is an outcome: 0, or the true last errno. */
static int retry(struct call *call, struct op *op, struct failure *failure)
{
	for (;;) {
		struct verdict verdict = op_failed(op, failure, NULL);
		if (verdict.action == ACTION_DELIVER)
			return failure->code;
		switch (op_wait(op, &verdict)) {
		case AWAITED_GO: break;
		case AWAITED_OVER: return failure->code;
		case AWAITED_SIGNAL: op_given_up(op, &verdict, REASON_SIGNAL, NULL); return failure->code;
		}
		if (!still_same_socket(call)) {
			op_given_up(op, &verdict, REASON_UNSAFE, NULL);
			return failure->code;
		}
		if (verdict.event == EVENT_FALLBACK && !fall_back(call, op)) {
			op_exhausted(op, &verdict);
			return failure->code;
		}
		op_next_attempt(op);
		failure->code = connect_again(call);
		if (failure->code == 0) {
			op_succeeded(op);
			return 0;
		}
	}
}

/* A program may pass any pointer; the kernel answers EFAULT where we would crash. It refuses a length
 * that no address has before it looks (move_addr_to_kernel in net/socket.c). */
static bool address_is_readable(const struct call *call, int error)
{
	return error != EFAULT && call->length <= sizeof(struct sockaddr_storage);
}

const struct config *connect_takes(enum family family, int socket, const struct sockaddr *address, socklen_t length,
                                   struct target *target, struct failure *failure)
{
	if (!addresses_describe(address, length, target))
		return NULL;
	const struct config *config = engine_config_for(family, target);
	if (config == NULL || (target->is_unix && config->unix_mode == UNIX_OFF))
		return NULL;
	failure->unix_socket = target->is_unix;
	failure->bound_socket = failure->code == EADDRNOTAVAIL && socket_is_bound(socket);
	/* The program itself goes on to the next address of the name: nothing to tell, nothing to wait for. */
	return !classify(config, failure).retried || !addresses_untried_left(target) ? config : NULL;
}

/* A connect of a blocking socket has failed. Returns the errno that the program is to see, 0 = connected. */
static int recover(struct call *call, int error)
{
	struct op op;
	struct target target;
	struct failure failure = {.source = SOURCE_CONNECT, .code = error};
	const struct config *config = NULL;
	if (engine_config(FAMILY_CONNECT) == NULL)
		return error;
	call->start_ns = clock_of_mark(call->start);
	struct hold hold;
	hold_begin(&hold);
	if (inspect(call))
		config = connect_takes(FAMILY_CONNECT, call->socket, call->address, call->length, &target, &failure);
	bool ours = config != NULL &&
	            op_begin(&op, config, "connect", &target, call->start_ns, call->send_timeout_ns);
	hold_end(&hold);
	if (!ours)
		return error;
	connect_set_socket(&op, call->socket, call->address->sa_family);
	op.may_look_up = true;
	error = retry(call, &op, &failure);
	addresses_round_over(&target);
	return error;
}

/* A connect has failed. The socket comes before the address: with EBADF the kernel has not looked at the
 * address either. */
static __attribute__((noinline)) int failed(int socket, const struct sockaddr *address, socklen_t length, uint64_t start, int error)
{
	struct call call = {.socket = socket, .address = address, .length = length, .start = start};
	if (!socket_is_stream(socket) || !address_is_readable(&call, error))
		return error;
	switch (socket_blocking(socket)) {
	case BLOCKING: return recover(&call, error);
	case NON_BLOCKING: return pending_refused(socket, address, length, start, error);
	default: return error;
	}
}

/* The call has failed. Apart, so that the healthy path needs no stack for it. */
static __attribute__((noinline)) int shim_connect(const struct attempt *it)
{
	int error = errno;
	if (errno_is_failure(error) && !depth_nested() && !sleep_interrupted_here())
		error = failed(it->socket, it->address, it->length, it->start, error);
	/* A connect that succeeds at once leaves errno alone, and programs have come to print it. */
	errno = error == 0 ? it->errno_before : error;
	return error == 0 ? 0 : -1;
}

static inline __attribute__((always_inline)) int connect_once(const struct attempt *it)
{
	int result = real_connect()(it->socket, it->address, it->length);
	KEEP_IN_MEMORY(*it);
	if (__builtin_expect(result == 0, 1))
		return result;
	if (*it->errno_at == EINPROGRESS)
		return pending_remember(it->socket, it->address, it->length, it->start);
	return shim_connect(it);
}

/* The socket has a connect under way. */
static __attribute__((noinline)) int shim_connect_again(struct pending *entry, const struct attempt *it)
{
	int error;
	if (!pending_connect(entry, it->address, &error)) {
		errno = it->errno_before;
		if (real_connect()(it->socket, it->address, it->length) == 0)
			return pending_connected(entry, it->socket, 0);
		error = errno;
		if (error == EINPROGRESS) /* another connect than the one that we know */
			pending_remember(it->socket, it->address, it->length, it->start);
		else
			error = pending_connected(entry, it->socket, error);
	}
	errno = error;
	return -1;
}

/* ---- first attempts that are not to be made, or worth telling ---- */

/* The kernel has not seen the address yet: it may be any pointer. */
static bool copy_address(const struct sockaddr *address, socklen_t length, struct sockaddr_storage *copy)
{
	struct iovec to = {.iov_base = copy, .iov_len = length};
	struct iovec from = {.iov_base = (void *)(uintptr_t)address, .iov_len = length};
	memset(copy, 0, sizeof *copy);
	return length <= sizeof *copy && process_vm_readv(getpid(), &to, 1, &from, 1, 0) == (ssize_t)length;
}

/* RETRY_BREAKER=reject. True: the call fails with *error. It may go to `fallback` instead, then *address is that. */
static bool rejected(int socket, const struct sockaddr **address, socklen_t *length, struct sockaddr_storage *fallback, int *error)
{
	struct op op;
	struct target target;
	struct sockaddr_storage copy;
	struct failure none = {.source = SOURCE_CONNECT};
	enum blocking blocking;
	const struct config *config = engine_config(FAMILY_CONNECT);
	if (config == NULL || config->breaker != BREAKER_REJECT || !socket_is_stream(socket) ||
	    !copy_address(*address, *length, &copy) ||
	    (config = connect_takes(FAMILY_CONNECT, socket, (const struct sockaddr *)&copy, *length, &target, &none)) == NULL ||
	    (blocking = socket_blocking(socket)) == BLOCKING_UNKNOWN || (blocking == NON_BLOCKING && !config->nonblock) ||
	    !op_begin(&op, config, "connect", &target, clock_now_ns(), 0))
		return false;
	connect_set_socket(&op, socket, copy.ss_family);
	op.may_look_up = blocking == BLOCKING;
	enum rejection rejection = op_rejected(&op, SOURCE_CONNECT, error);
	if (rejection == NOT_REJECTED)
		return false;
	if (rejection == REJECTED_FALLBACK && !connect_fallback(&op, fallback, length))
		rejection = REJECTED;
	op_tell_rejection(&op, rejection, NULL);
	if (rejection == REJECTED_FALLBACK)
		*address = (const struct sockaddr *)fallback;
	return rejection == REJECTED;
}

static void note_success(int socket, const struct sockaddr *address, socklen_t length)
{
	struct target target;
	if (engine_config(FAMILY_CONNECT) != NULL && socket_is_stream(socket) && addresses_describe(address, length, &target))
		engine_succeeded(FAMILY_CONNECT, &target);
}

static __attribute__((noinline)) int shim_connect_attended(const struct attempt *asked)
{
	int error = 0;
	struct attempt it = *asked;
	struct sockaddr_storage fallback;
	bool outermost = !depth_nested() && !sleep_interrupted_here();
	if (outermost && (attention() & ATTENTION_REJECT) != 0 && rejected(it.socket, &it.address, &it.length, &fallback, &error)) {
		errno = error;
		return -1;
	}
	errno = it.errno_before;
	int result = connect_once(&it);
	if (result == 0 && outermost && (attention() & ATTENTION_TROUBLE) != 0) {
		note_success(it.socket, it.address, it.length);
		errno = it.errno_before;
	}
	return result;
}

/* ---- tier 3: exported ------------------------------------------------------------------------- */

__attribute__((visibility("default"))) int connect(int socket, const struct sockaddr *address, socklen_t length)
{
	struct attempt it;
	struct pending *entry;
	it.socket = socket;
	it.length = length;
	it.address = address;
	it.start = clock_mark();
	it.errno_at = &errno;
	it.errno_before = *it.errno_at;
	KEEP_IN_MEMORY(it);
	if (pending_any() && (entry = pending_met(it.socket)) != NULL)
		return shim_connect_again(entry, &it);
	if (attention())
		return shim_connect_attended(&it);
	return connect_once(&it);
}
