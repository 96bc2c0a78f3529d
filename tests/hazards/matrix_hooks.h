/* The hooks of the matrix, a row each. They use no heap and no stdio: the places are what they are. */
#ifndef HAZARDS_MATRIX_HOOKS_H
#define HAZARDS_MATRIX_HOOKS_H

#include <dlfcn.h>
#include <netdb.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "matrix.h"

/* ---- connect ---------------------------------------------------------------------------------------- */

static void open_socket(struct cell *cell, int flags)
{
	cell->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
	if (cell->fd < 0)
		broken("socket");
}

static void prepare_blocking(struct cell *cell) { open_socket(cell, 0); }

static void prepare_nonblocking(struct cell *cell) { open_socket(cell, SOCK_NONBLOCK); }

static int connect_cell(const struct cell *cell)
{
	struct sockaddr_in to = loopback(cell->port);
	return connect(cell->fd, (const struct sockaddr *)&to, sizeof to) == 0 ? 0 : errno;
}

static const char *by_connect(struct cell *cell) { return error_name(connect_cell(cell)); }

/* Again until there is an outcome, as ruby and perl do. */
static const char *by_second_connect(struct cell *cell)
{
	int error = connect_cell(cell);
	long end = now_ms() + 2 * LONG_MS;
	while ((error == EINPROGRESS || error == EALREADY) && now_ms() < end) {
		pause_ms(5);
		error = connect_cell(cell);
	}
	return error_name(error == EISCONN ? 0 : error);
}

/* ---- waits ------------------------------------------------------------------------------------------ */

static const char *outcome_of(const struct cell *cell, int result, int error)
{
	if (result <= 0)
		return result == 0 ? "the wait's time is over" : error_name(error);
	return error_name(so_error(cell->fd));
}

static const char *by_look(struct cell *cell, const char *wait)
{
	struct look look = {.fd = cell->fd, .other = -1, .timeout_ms = 2 * LONG_MS};
	int error = connect_cell(cell);
	if (error != EINPROGRESS)
		return error_name(error);
	look_by(wait, &look);
	return outcome_of(cell, look.result, look.error);
}

static const char *by_poll(struct cell *cell) { return by_look(cell, "poll"); }

static const char *by_ppoll(struct cell *cell) { return by_look(cell, "ppoll"); }

static const char *by_select(struct cell *cell) { return by_look(cell, "select"); }

static const char *by_pselect(struct cell *cell) { return by_look(cell, "pselect"); }

/* What fortified programs call. */
int __poll_chk(struct pollfd *fds, nfds_t count, int timeout_ms, size_t size);
int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask, size_t size);

static const char *by_poll_chk(struct cell *cell)
{
	struct pollfd polled = {.fd = cell->fd, .events = POLLOUT};
	int error = connect_cell(cell);
	if (error != EINPROGRESS)
		return error_name(error);
	int result = __poll_chk(&polled, 1, 2 * LONG_MS, sizeof polled);
	return outcome_of(cell, result, errno);
}

static const char *by_ppoll_chk(struct cell *cell)
{
	struct pollfd polled = {.fd = cell->fd, .events = POLLOUT};
	struct timespec time;
	int error = connect_cell(cell);
	if (error != EINPROGRESS)
		return error_name(error);
	int result = __ppoll_chk(&polled, 1, timespec_of(2 * LONG_MS, &time), NULL, sizeof polled);
	return outcome_of(cell, result, errno);
}

static void prepare_set(struct cell *cell)
{
	prepare_nonblocking(cell);
	cell->set = epoll_create1(EPOLL_CLOEXEC);
	if (cell->set < 0)
		broken("epoll_create1");
}

static int register_cell(const struct cell *cell)
{
	struct epoll_event event = {.events = EPOLLOUT, .data.fd = cell->fd};
	return epoll_ctl(cell->set, EPOLL_CTL_ADD, cell->fd, &event) == 0 ? 0 : errno;
}

static void prepare_registered(struct cell *cell)
{
	prepare_set(cell);
	if (register_cell(cell) != 0)
		broken("epoll_ctl");
}

/* 0 if there is something to wait for. */
static int start_registered(const struct cell *cell)
{
	int error = connect_cell(cell);
	return error == EINPROGRESS ? register_cell(cell) : error;
}

static const char *by_epoll_wait(struct cell *cell)
{
	struct epoll_event event;
	int error = start_registered(cell);
	if (error != 0)
		return error_name(error);
	int result = epoll_wait(cell->set, &event, 1, 2 * LONG_MS);
	return outcome_of(cell, result, errno);
}

static const char *by_epoll_pwait(struct cell *cell)
{
	struct epoll_event event;
	int error = start_registered(cell);
	if (error != 0)
		return error_name(error);
	int result = epoll_pwait(cell->set, &event, 1, 2 * LONG_MS, NULL);
	return outcome_of(cell, result, errno);
}

static const char *by_epoll_pwait2(struct cell *cell)
{
	struct epoll_event event;
	struct timespec time;
	int error = start_registered(cell);
	if (error != 0)
		return error_name(error);
	int result = epoll_pwait2(cell->set, &event, 1, timespec_of(2 * LONG_MS, &time), NULL);
	return outcome_of(cell, result, errno);
}

/* The program asks for something else in the backoff, after a look that shows nothing. */
static const char *by_epoll_ctl(struct cell *cell)
{
	struct epoll_event event, other = {.events = EPOLLOUT | EPOLLRDHUP, .data.fd = cell->fd};
	int error = start_registered(cell);
	if (error != 0)
		return error_name(error);
	int result = epoll_wait(cell->set, &event, 1, 0);
	if (result == 0 && epoll_ctl(cell->set, EPOLL_CTL_MOD, cell->fd, &other) == 0)
		result = epoll_wait(cell->set, &event, 1, 2 * LONG_MS);
	return outcome_of(cell, result, errno);
}

/* Registered before its connect, when nobody takes note of it. */
static const char *by_epoll_before(struct cell *cell)
{
	struct epoll_event event;
	int error = connect_cell(cell);
	if (error != EINPROGRESS)
		return error_name(error);
	int result = epoll_wait(cell->set, &event, 1, 2 * LONG_MS);
	return outcome_of(cell, result, errno);
}

/* ---- no wait at all ----------------------------------------------------------------------------------- */

static const char *by_so_error(struct cell *cell)
{
	int error = connect_cell(cell);
	long end = now_ms() + 2 * LONG_MS;
	if (error != EINPROGRESS)
		return error_name(error);
	while ((error = so_error(cell->fd)) == 0 && strcmp(peer_error(cell->fd), "ok") != 0 && now_ms() < end)
		pause_ms(5);
	return error_name(error);
}

/* ---- send and receive --------------------------------------------------------------------------------- */

static char byte_out[] = "r", byte_in[1];

static struct iovec *vector_of(char *byte)
{
	static struct iovec vector;
	vector = (struct iovec){byte, 1};
	return &vector;
}

static int by_send(struct cell *cell) { return (int)send(cell->fd, byte_out, 1, MSG_NOSIGNAL); }

static int by_sendto(struct cell *cell) { return (int)sendto(cell->fd, byte_out, 1, MSG_NOSIGNAL, NULL, 0); }

static int by_sendmsg(struct cell *cell)
{
	return (int)sendmsg(cell->fd, &(struct msghdr){.msg_iov = vector_of(byte_out), .msg_iovlen = 1}, MSG_NOSIGNAL);
}

static int by_write(struct cell *cell) { return (int)write(cell->fd, byte_out, 1); }

static int by_writev(struct cell *cell) { return (int)writev(cell->fd, vector_of(byte_out), 1); }

static int by_recv(struct cell *cell) { return (int)recv(cell->fd, byte_in, 1, 0); }

static int by_recvfrom(struct cell *cell) { return (int)recvfrom(cell->fd, byte_in, 1, 0, NULL, NULL); }

static int by_recvmsg(struct cell *cell)
{
	return (int)recvmsg(cell->fd, &(struct msghdr){.msg_iov = vector_of(byte_in), .msg_iovlen = 1}, 0);
}

static int by_read(struct cell *cell) { return (int)read(cell->fd, byte_in, 1); }

/* What fortified programs call. */
ssize_t __read_chk(int fd, void *data, size_t size, size_t room);
ssize_t __recv_chk(int fd, void *data, size_t size, size_t room, int flags);
ssize_t __recvfrom_chk(int fd, void *data, size_t size, size_t room, int flags, struct sockaddr *from, socklen_t *length);

static int by___read_chk(struct cell *cell) { return (int)__read_chk(cell->fd, byte_in, 1, 1); }

static int by___recv_chk(struct cell *cell) { return (int)__recv_chk(cell->fd, byte_in, 1, 1, 0); }

static int by___recvfrom_chk(struct cell *cell) { return (int)__recvfrom_chk(cell->fd, byte_in, 1, 1, 0, NULL, NULL); }

static int by_readv(struct cell *cell) { return (int)readv(cell->fd, vector_of(byte_in), 1); }

static const char *until_done(struct cell *cell, int (*io)(struct cell *))
{
	int result;
	long end = now_ms() + 2 * LONG_MS;
	while ((result = io(cell)) < 0 && errno == EAGAIN && now_ms() < end)
		pause_ms(5);
	return result == 1 ? "ok" : result == 0 ? "end of file" : error_name(errno);
}

/* The failure of a socket that nobody has waited for is the kernel's to tell, so there is a look first. */
static const char *by_io(struct cell *cell)
{
	struct pollfd polled = {.fd = cell->fd, .events = POLLOUT};
	int error = connect_cell(cell);
	if (error != EINPROGRESS)
		return error_name(error);
	if (poll(&polled, 1, 0) < 0)
		return error_name(errno);
	return until_done(cell, cell->hook->io);
}

/* ---- others ------------------------------------------------------------------------------------------- */

static const char *by_getaddrinfo(struct cell *cell)
{
	const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
	struct addrinfo *list = NULL;
	int code = getaddrinfo("127.0.0.1", cell->port, &hints, &list);
	if (code == 0)
		freeaddrinfo(list);
	return code == 0 ? "ok" : code == EAI_AGAIN ? "EAI_AGAIN" : gai_strerror(code);
}

/* dlopen_plugin.c has one of this name, too. */
int contested(void);
int contested(void) { return 1; }

/* An object that needs libcurl: "ok" where it gets the names of the program, and libcurl's would be ours. */
static const char *by_dlopen(struct cell *cell)
{
	static char complaint[sizeof cell->outcome];
	void *handle = dlopen("./needs.so", RTLD_NOW | RTLD_DEEPBIND);
	int (*asks)(void) = handle != NULL ? (int (*)(void))dlsym(handle, "asks") : NULL;
	if (asks == NULL) {
		snprintf(complaint, sizeof complaint, "%s", dlerror());
		return complaint;
	}
	const char *outcome = asks() == 1 ? "ok" : "its own names";
	dlclose(handle);
	return outcome;
}

#ifdef WITH_CURL
#include "matrix_curl.h"
#endif

/* ---- the table ---------------------------------------------------------------------------------------- */

#ifdef SYS_poll /* older architectures have both, and glibc calls the first */
#define CALL_poll SYS_poll
#define CALL_select SYS_select
#define CALL_epoll_wait SYS_epoll_wait
#else
#define CALL_poll SYS_ppoll
#define CALL_select SYS_pselect6
#define CALL_epoll_wait SYS_epoll_pwait
#endif
#define IO(name, exchange, call) \
	{#name, prepare_nonblocking, by_io, exchange, {SYS_clock_nanosleep, CALL_poll, call}, by_##name}

static const struct hook hooks[] = {
	{"connect", prepare_blocking, by_connect, WHOLE, {0}, NULL},
	{"connect-again", prepare_nonblocking, by_second_connect, WHOLE, {SYS_clock_nanosleep}, NULL},
	{"poll", prepare_nonblocking, by_poll, WHOLE, {SYS_clock_nanosleep, CALL_poll}, NULL},
	{"ppoll", prepare_nonblocking, by_ppoll, WHOLE, {SYS_clock_nanosleep, SYS_ppoll}, NULL},
	{"__poll_chk", prepare_nonblocking, by_poll_chk, WHOLE, {SYS_clock_nanosleep, CALL_poll}, NULL},
	{"__ppoll_chk", prepare_nonblocking, by_ppoll_chk, WHOLE, {SYS_clock_nanosleep, SYS_ppoll}, NULL},
	{"select", prepare_nonblocking, by_select, WHOLE, {SYS_clock_nanosleep, CALL_select, SYS_pselect6}, NULL},
	{"pselect", prepare_nonblocking, by_pselect, WHOLE, {SYS_clock_nanosleep, SYS_pselect6}, NULL},
	{"epoll_wait", prepare_set, by_epoll_wait, WHOLE, {SYS_clock_nanosleep, SYS_epoll_ctl, CALL_epoll_wait}, NULL},
	{"epoll_pwait", prepare_set, by_epoll_pwait, WHOLE, {SYS_clock_nanosleep, SYS_epoll_ctl, SYS_epoll_pwait}, NULL},
	{"epoll_pwait2", prepare_set, by_epoll_pwait2, WHOLE, {SYS_clock_nanosleep, SYS_epoll_ctl, SYS_epoll_pwait2}, NULL},
	{"epoll_ctl", prepare_set, by_epoll_ctl, WHOLE, {SYS_clock_nanosleep, SYS_epoll_ctl, CALL_epoll_wait}, NULL},
	{"epoll-before", prepare_registered, by_epoll_before, WHOLE, {SYS_clock_nanosleep, CALL_epoll_wait}, NULL},
	{"getsockopt", prepare_nonblocking, by_so_error, WHOLE, {SYS_clock_nanosleep, SYS_getpeername}, NULL},
	IO(send, SENT, SYS_sendto),
	IO(sendto, SENT, SYS_sendto),
	IO(sendmsg, SENT, SYS_sendmsg),
	IO(write, SENT, SYS_write),
	IO(writev, SENT, SYS_writev),
	IO(recv, RECEIVED, SYS_recvfrom),
	IO(recvfrom, RECEIVED, SYS_recvfrom),
	IO(recvmsg, RECEIVED, SYS_recvmsg),
	IO(read, RECEIVED, SYS_read),
	IO(readv, RECEIVED, SYS_readv),
	IO(__read_chk, RECEIVED, SYS_read),
	IO(__recv_chk, RECEIVED, SYS_recvfrom),
	IO(__recvfrom_chk, RECEIVED, SYS_recvfrom),
	{"getaddrinfo", NULL, by_getaddrinfo, NONE, {SYS_clock_nanosleep, SYS_brk, SYS_mmap, SYS_munmap, SYS_getrandom}, NULL},
	{"dlopen", NULL, by_dlopen, NONE, {0}, NULL},
#ifdef WITH_CURL
	{"curl_easy_perform", prepare_easy, by_easy, NONE, {0}, NULL},
	{"curl_multi_poll", prepare_multi, by_multi_poll, NONE, {0}, NULL},
	{"curl_multi_wait", prepare_multi, by_multi_wait, NONE, {0}, NULL},
	{"curl_multi_socket_action", prepare_events, by_events, NONE, {0}, NULL},
#endif
};

/* ---- a cell's parts ----------------------------------------------------------------------------------- */

static void prepare(struct cell *cell)
{
	cell->fd = cell->set = -1;
	if (cell->hook->prepare != NULL)
		cell->hook->prepare(cell);
}

/* What is left of the exchange: proof that the connection is one, and that it carries what is sent once. */
static const char *exchange(struct cell *cell)
{
	const char *sent = cell->hook->exchange == SENT ? "ok" : until_done(cell, by_write);
	return cell->hook->exchange == RECEIVED || strcmp(sent, "ok") != 0 ? sent : until_done(cell, by_read);
}

static __attribute__((noinline)) void act(struct cell *cell)
{
	const char *outcome = cell->hook->call(cell);
	if (strcmp(outcome, "ok") == 0 && cell->hook->exchange != NONE)
		outcome = exchange(cell);
	keep_outcome(cell, outcome);
}

static void dispose(struct cell *cell)
{
#ifdef WITH_CURL
	dispose_curl(cell);
#endif
	if (cell->set >= 0)
		close(cell->set);
	if (cell->fd >= 0)
		close(cell->fd);
}

static void whole(struct cell *cell)
{
	prepare(cell);
	act(cell);
	dispose(cell);
}

#endif
