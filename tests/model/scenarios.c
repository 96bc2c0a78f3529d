/* The programs. Descriptor 0 is the first socket's; epoll sets have the highest numbers. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "model.h"

enum { FIRST = 0, SET = LOW_FDS - 1, PORT = 1000, OTHER_PORT = 1001 };

#define ANY (1 << REFUSED | 1 << MADE)
#define ANY_AND_RESET (ANY | 1 << MADE_AND_RESET)

/* ---- what most programs do --------------------------------------------------------------------------------------- */

/* It was shown an event: did it connect? Then it sends. */
static void look(int fd)
{
	if (is_awaited(fd) && ask_error(fd) == 0 && is_awaited(fd))
		send_byte(fd);
}

static void wait_by_poll(int fd)
{
	int shown;
	do
		shown = await_poll(fd, POLLOUT, -1);
	while (shown == -1);
	if (shown > 0)
		look(fd);
}

static void connect_first(void) { begin_connect(PORT); }
static void poll_first(void) { wait_by_poll(FIRST); }
static void ask_first(void) { ask_error(FIRST); }
static void send_first(void) { send_byte(FIRST); }
static void receive_first(void) { receive(FIRST); }

static void select_first(void)
{
	while (await_select(FIRST, -1) == -1)
		;
	look(FIRST);
}

/* Python's connect_ex, and many others: connect() again is the question. */
static void connect_until_known(void)
{
	int error;
	do {
		while (await_poll(FIRST, POLLOUT, -1) == -1)
			;
		error = connect_more(FIRST);
	} while (error == EINPROGRESS || error == EALREADY);
}

static void connect_again_once(void) { connect_more(FIRST); }

static void poll_with_time_out(void)
{
	int shown = await_poll(FIRST, POLLOUT, 150);
	if (shown > 0)
		look(FIRST);
}

/* ---- what another thread does ---------------------------------------------------------------------------------------- */

static void close_first(void) { close_it(FIRST); }

/* The number comes back as another socket, which connects elsewhere. */
static void close_and_reuse(void)
{
	close_it(FIRST);
	int fd = begin_connect(OTHER_PORT);
	if (await_poll(fd, POLLOUT, -1) > 0)
		look(fd);
}

static void close_and_reuse_untouched(void)
{
	close_it(FIRST);
	int fd = kernel_socket();
	if (sock_of(fd)->error != 0 || ask_error(fd) != 0)
		violation("a socket that was never used has an error");
}

static void poll_duplicate(void) { wait_by_poll(duplicate(FIRST)); }

static void keep_duplicate(void)
{
	int fd = duplicate(FIRST);
	close_it(FIRST);
	wait_by_poll(fd);
}

static void ask_duplicate(void) { ask_error(duplicate(FIRST)); }

static void other_by_poll(void) { wait_by_poll(begin_connect(OTHER_PORT)); }
static void same_by_poll(void) { wait_by_poll(begin_connect(PORT)); }

static void first_by_poll(void) { wait_by_poll(begin_connect(PORT)); }

/* ---- epoll -------------------------------------------------------------------------------------------------------------- */

static void prepare_set(uint32_t events)
{
	begin_connect(PORT);
	watch(kernel_epoll_create(), EPOLL_CTL_ADD, FIRST, events);
}

static void set_level(void) { prepare_set(EPOLLOUT); }
static void set_edge(void) { prepare_set(EPOLLOUT | EPOLLIN | EPOLLET | EPOLLRDHUP); }
static void set_oneshot(void) { prepare_set(EPOLLOUT | EPOLLONESHOT); }

static void set_empty(void)
{
	begin_connect(PORT);
	kernel_epoll_create();
}

static void set_before_connect(void)
{
	kernel_epoll_create();
	int fd = kernel_socket();
	watch(SET, EPOLL_CTL_ADD, fd, EPOLLOUT | EPOLLIN | EPOLLET);
	struct epoll_event event;
	await_epoll(SET, 0, &event);
	sock_of(fd)->port = PORT;
	sock_of(fd)->exposed = false;
	connect_more(fd);
}

/* One event is enough, whatever kind of registration. */
static void epoll_first(void)
{
	struct epoll_event event;
	int got;
	do
		got = await_epoll(SET, -1, &event);
	while (got < 0);
	look(event.data.fd);
}

/* The other thread may take the event, or the registration away. */
static void epoll_for_a_while(void)
{
	struct epoll_event event;
	if (await_epoll(SET, 1000, &event) > 0)
		look(event.data.fd);
}

static void add_and_wait(void)
{
	watch(SET, EPOLL_CTL_ADD, FIRST, EPOLLOUT);
	epoll_first();
}

/* The event may be another thread's before epoll_ctl has come back. */
static void add_first(void) { watch(SET, EPOLL_CTL_ADD, FIRST, EPOLLOUT); }

static void delete_first(void) { watch(SET, EPOLL_CTL_DEL, FIRST, 0); }
static void modify_first(void) { watch(SET, EPOLL_CTL_MOD, FIRST, EPOLLOUT | EPOLLIN); }
static void rearm_first(void) { watch(SET, EPOLL_CTL_MOD, FIRST, EPOLLOUT | EPOLLONESHOT); }

static void delete_and_add(void)
{
	watch(SET, EPOLL_CTL_DEL, FIRST, 0);
	watch(SET, EPOLL_CTL_ADD, FIRST, EPOLLOUT);
}

/* ---- signals ---------------------------------------------------------------------------------------------------------------- */

static void nothing(void) {}

/* At any moment between two steps of the first thread that does not hold signals. */
static void poll_in_handler(void) { await_poll(FIRST, POLLOUT, 0); }

/* ---- the table --------------------------------------------------------------------------------------------------------------- */

#define ROW(what, bound, deeper, comes_to, most, first, ...) \
	.name = what, .preemptions = bound, .deep = deeper, .outcomes = comes_to, .attempts = most, .before = first, .threads = {__VA_ARGS__}

const struct scenario scenarios[] = {
	{ROW("poll", 2, 4, ANY_AND_RESET, 3, connect_first, poll_first)},
	{ROW("select", 2, 4, ANY_AND_RESET, 3, connect_first, select_first)},
	{ROW("epoll, level", 2, 4, ANY_AND_RESET, 3, set_level, epoll_first)},
	{ROW("epoll, edge", 2, 4, ANY_AND_RESET, 3, set_edge, epoll_first)},
	{ROW("epoll, oneshot", 2, 4, ANY_AND_RESET, 3, set_oneshot, epoll_first)},
	{ROW("epoll, registered before the connect", 2, 4, ANY_AND_RESET, 3, set_before_connect, epoll_first)},
	{ROW("connect until it is known", 2, 4, ANY_AND_RESET, 3, connect_first, connect_until_known)},
	{ROW("poll with a time-out", 2, 4, ANY, 3, connect_first, poll_with_time_out)},
	{ROW("poll; the first attempt fails at once", 2, 4, ANY, 3, connect_first, poll_first), .at_once = 1},
	{ROW("poll; the second attempt fails at once", 2, 4, ANY, 3, connect_first, poll_first), .at_once = 2},

	{ROW("poll; a signal", 2, 4, ANY, 3, connect_first, poll_first), .handler = nothing},
	{ROW("poll; a signal whose handler polls", 2, 4, ANY, 3, connect_first, poll_first), .handler = poll_in_handler},
	{ROW("epoll, level; a signal", 2, 4, ANY, 3, set_level, epoll_first), .handler = nothing},
	{ROW("poll; time passes at any moment", 2, 4, ANY, 3, connect_first, poll_first), .hurried = true},
	{ROW("poll with a time-out; time passes at any moment", 2, 4, ANY, 3, connect_first, poll_with_time_out), .hurried = true},
	{ROW("epoll, level; time passes at any moment", 2, 4, ANY, 3, set_level, epoll_first), .hurried = true},
	{ROW("poll, and SO_ERROR; time passes at any moment", 2, 3, ANY, 2, connect_first, poll_first, ask_first), .hurried = true},
	{ROW("epoll, level, and SO_ERROR; time passes", 2, 2, ANY, 2, set_level, epoll_first, ask_first), .hurried = true},

	{ROW("poll, and poll", 1, 3, ANY, 2, connect_first, poll_first, poll_first)},
	{ROW("poll, and SO_ERROR", 2, 3, ANY, 2, connect_first, poll_first, ask_first)},
	{ROW("poll, and send", 2, 3, ANY, 2, connect_first, poll_first, send_first)},
	{ROW("poll, and recv", 2, 3, ANY, 2, connect_first, poll_first, receive_first)},
	/* At 3 it does not hold: a connect() that is interrupted before the kernel has it, while another thread meets the failure and
	 * begins the backoff, starts an attempt by itself; then poll may show the old failure of a socket that is connecting. */
	{ROW("poll, and connect again", 2, 2, ANY, 2, connect_first, poll_first, connect_again_once)},
	{ROW("poll with a time-out, and close", 2, 3, ANY, 2, connect_first, poll_with_time_out, close_first)},
	{ROW("poll with a time-out, and close and connect", 1, 2, ANY, 2, connect_first, poll_with_time_out, close_and_reuse)},
	{ROW("poll with a time-out, and close and socket", 2, 3, ANY, 2, connect_first, poll_with_time_out, close_and_reuse_untouched)},
	{ROW("poll, and poll of a duplicate", 1, 3, ANY, 2, connect_first, poll_first, poll_duplicate)},
	{ROW("poll with a time-out, and a duplicate that stays", 2, 3, ANY, 2, connect_first, poll_with_time_out, keep_duplicate)},
	{ROW("poll, and SO_ERROR of a duplicate", 2, 3, ANY, 2, connect_first, poll_first, ask_duplicate)},
	{ROW("poll, and poll of another", 0, 1, ANY, 2, NULL, first_by_poll, other_by_poll)},
	{ROW("poll, and poll of another to the same place", 0, 1, ANY, 2, NULL, first_by_poll, same_by_poll)},

	{ROW("select, and SO_ERROR", 2, 3, ANY, 2, connect_first, select_first, ask_first)},
	{ROW("select, and poll", 1, 3, ANY, 2, connect_first, select_first, poll_first)},

	{ROW("epoll, level, and again", 1, 2, ANY, 2, set_level, epoll_for_a_while, epoll_for_a_while)},
	{ROW("epoll, edge, and again", 1, 2, ANY, 2, set_edge, epoll_for_a_while, epoll_for_a_while)},
	{ROW("epoll, oneshot, and again", 1, 2, ANY, 2, set_oneshot, epoll_for_a_while, epoll_for_a_while)},
	{ROW("epoll, level, and SO_ERROR", 2, 2, ANY, 2, set_level, epoll_first, ask_first)},
	{ROW("epoll, edge, and SO_ERROR", 2, 2, ANY, 2, set_edge, epoll_for_a_while, ask_first)},
	{ROW("epoll, level, and DEL", 2, 2, ANY, 2, set_level, epoll_for_a_while, delete_first)},
	{ROW("epoll, level, and MOD", 2, 2, ANY, 2, set_level, epoll_first, modify_first)},
	{ROW("epoll, oneshot, and MOD", 2, 2, ANY, 2, set_oneshot, epoll_first, rearm_first)},
	{ROW("epoll, level, and DEL and ADD", 2, 2, ANY, 2, set_level, epoll_first, delete_and_add)},
	{ROW("epoll, level, and close", 2, 2, ANY, 2, set_level, epoll_for_a_while, close_first)},
	{ROW("epoll, level, and close and connect", 1, 2, ANY, 2, set_level, epoll_for_a_while, close_and_reuse)},
	{ROW("epoll, and poll", 1, 2, ANY, 2, set_level, epoll_first, poll_first)},
	{ROW("poll, and ADD and epoll", 1, 2, ANY, 2, set_empty, poll_first, add_and_wait)},
	{ROW("epoll, and ADD", 2, 2, ANY, 2, set_empty, epoll_for_a_while, add_first)},
	{ROW("poll with a time-out, and ADD", 2, 2, ANY, 2, set_empty, poll_with_time_out, add_first)},
};
const size_t scenario_count = sizeof scenarios / sizeof scenarios[0];

/* Each in a process of its own: one that fails, or crashes, does not hide the others. */
static bool holds(const struct scenario *scenario, int preemptions)
{
	int status = 0;
	pid_t child = fork();
	if (child == 0) {
		explore(scenario, preemptions);
		exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
		fprintf(stderr, "[%s] does not hold (status %x)\n", scenario->name, (unsigned)status);
		return false;
	}
	return true;
}

static bool is_asked_for(const char *name, const char *asked)
{
	for (size_t i = 0; i < scenario_count; i++)
		if (strcmp(scenarios[i].name, asked) == 0)
			return strcmp(name, asked) == 0;
	return strstr(name, asked) != NULL;
}

/* model [deep] [NAME]: that scenario, or those whose names have that in them. */
int main(int count, char **arguments)
{
	bool deep = count > 1 && strcmp(arguments[1], "deep") == 0;
	const char *only = count > 1 + deep ? arguments[1 + deep] : "";
	int failed = 0;
	for (size_t i = 0; i < scenario_count; i++)
		if (is_asked_for(scenarios[i].name, only))
			failed += !holds(&scenarios[i], deep ? scenarios[i].deep : scenarios[i].preemptions);
	return failed != 0;
}
