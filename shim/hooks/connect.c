/* connect(2) on blocking stream sockets: the same descriptor connects again. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "retryshim/hooks.h"
#include "retryshim/runtime.h"

/* ---- tier 1, the typed pointer to the real function, is real_connect() of the runtime ----------- */

/* ---- tier 2: ours ----------------------------------------------------------------------------- */

/* One connect() call of the program that has failed at least once. */
struct call {
	int socket;
	const struct sockaddr *address;
	socklen_t length;
	struct stat identity; /* the socket behind the descriptor when the program called */
	struct timeval send_timeout;
	int64_t send_timeout_ns; /* 0 = none */
	uint64_t start;          /* clock_mark() of the first attempt */
	int64_t start_ns;
};

static int64_t timeval_ns(struct timeval time) { return time.tv_sec * NS_PER_S + time.tv_usec * 1000; }

/* Looks at the socket; false if it is none of ours: no stream, or non-blocking. */
static bool inspect(struct call *call)
{
	int type = 0;
	socklen_t size = sizeof type;
	if (getsockopt(call->socket, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM)
		return false;
	int flags = fcntl(call->socket, F_GETFL);
	if (flags < 0 || (flags & O_NONBLOCK) != 0)
		return false;
	size = sizeof call->send_timeout;
	if (getsockopt(call->socket, SOL_SOCKET, SO_SNDTIMEO, &call->send_timeout, &size) == 0)
		call->send_timeout_ns = timeval_ns(call->send_timeout);
	return fstat(call->socket, &call->identity) == 0;
}

/* bind(2) came first: then EADDRNOTAVAIL speaks of the program's own choice. The kernel forgets the
 * port that it chose itself when a connect fails (inet_unhash in tcp_v4_connect's error path). */
static bool is_bound(int socket)
{
	struct sockaddr_storage local = {0};
	socklen_t length = sizeof local;
	if (getsockname(socket, (struct sockaddr *)&local, &length) != 0)
		return false;
	if (local.ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)&local;
		return in->sin_port != 0 || in->sin_addr.s_addr != htonl(INADDR_ANY);
	}
	if (local.ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&local;
		return in6->sin6_port != 0 || !IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
	}
	return false;
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

/* SO_SNDTIMEO bounds one connect; the program meant the whole call. What is left of it is set for the
 * attempt and the program's value put back, also when the thread is cancelled in between. A handler
 * that leaves by siglongjmp leaves the shorter bound, on a socket that is still connecting. Returns 0
 * or the errno. */
static int connect_again(struct call *call)
{
	if (call->send_timeout_ns == 0)
		return real_connect()(call->socket, call->address, call->length) == 0 ? 0 : errno;
	int64_t left_ns = call->start_ns + call->send_timeout_ns - clock_now_ns();
	if (left_ns < NS_PER_MS)
		left_ns = NS_PER_MS; /* 0 would mean for ever */
	struct timeval left = {.tv_sec = left_ns / NS_PER_S, .tv_usec = left_ns % NS_PER_S / 1000};
	int error;
	pthread_cleanup_push(restore_send_timeout, call);
	setsockopt(call->socket, SOL_SOCKET, SO_SNDTIMEO, &left, sizeof left);
	error = real_connect()(call->socket, call->address, call->length) == 0 ? 0 : errno;
	pthread_cleanup_pop(1);
	return error;
}

/* Backs off and connects again until there is an outcome: 0, or the true last errno. */
static int retry(struct call *call, struct op *op, struct failure *failure)
{
	for (;;) {
		struct verdict verdict = op_failed(op, failure, NULL);
		if (verdict.action == ACTION_DELIVER)
			return failure->code;
		if (sleep_until(verdict.at_ns) == SLEEP_INTERRUPTED) {
			op_given_up(op, &verdict, REASON_SIGNAL, NULL);
			return failure->code;
		}
		if (!still_same_socket(call)) {
			op_given_up(op, &verdict, REASON_UNSAFE, NULL);
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

/* Whether this failure is ours to recover; fills what the engine needs. The socket comes first: with
 * EBADF the kernel has not looked at the address either. */
static bool takes(struct call *call, const struct config *config, struct target *target, struct failure *failure)
{
	if (!inspect(call) || !address_is_readable(call, failure->code))
		return false;
	if (!addresses_describe(call->address, call->length, target))
		return false;
	if (target->is_unix && config->unix_mode == UNIX_OFF)
		return false;
	failure->unix_socket = target->is_unix;
	failure->bound_socket = failure->code == EADDRNOTAVAIL && is_bound(call->socket);
	/* The program itself goes on to the next address of the name: nothing to tell, nothing to wait for. */
	return !classify(config, failure).retried || !addresses_untried_left(target);
}

/* A connect has failed with `error`. Returns the errno that the program is to see, 0 = connected. */
static int recover(struct call *call, int error)
{
	struct op op;
	struct target target;
	struct failure failure = {.source = SOURCE_CONNECT, .code = error};
	const struct config *config = engine_config(FAMILY_CONNECT);
	if (config == NULL)
		return error;
	call->start_ns = clock_of_mark(call->start);
	struct hold hold;
	hold_begin(&hold);
	bool ours = takes(call, config, &target, &failure) &&
	            op_begin(&op, config, "connect", &target, call->start_ns, call->send_timeout_ns);
	hold_end(&hold);
	if (!ours)
		return error;
	error = retry(call, &op, &failure);
	addresses_round_over(&target);
	return error;
}

/* Apart, so that the healthy path below needs no stack for it. */
static __attribute__((noinline)) int shim_connect(struct call *call, int errno_before)
{
	int error = errno;
	if (errno_is_failure(error) && !depth_nested() && !sleep_interrupted_here())
		error = recover(call, error);
	/* A connect that succeeds at once leaves errno alone, and programs have come to print it. */
	errno = error == 0 ? errno_before : error;
	return error == 0 ? 0 : -1;
}

/* ---- tier 3: exported ------------------------------------------------------------------------- */

__attribute__((visibility("default"))) int connect(int socket, const struct sockaddr *address, socklen_t length)
{
	connect_function *real = real_connect();
	if (real == NULL) {
		errno = ENOSYS;
		return -1;
	}
	int errno_before = errno;
	uint64_t start = clock_mark();
	int result = real(socket, address, length);
	if (__builtin_expect(result == 0, 1))
		return result;
	struct call call = {.socket = socket, .address = address, .length = length, .start = start};
	return shim_connect(&call, errno_before);
}
