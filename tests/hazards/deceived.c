/* Ways in which a failure could be taken for success, or somebody else's descriptor be touched. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <time.h>

#include "host.h"

static const char *port;

static int new_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	return fd >= 0 ? fd : (broken("socket"), -1);
}

static void begin_connect_on(int fd)
{
	struct sockaddr_in to = loopback(port);
	if (connect(fd, (const struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS)
		broken("connect");
}

static int begin_connect(void)
{
	int fd = new_socket();
	begin_connect_on(fd);
	return fd;
}

static int error_of(int fd)
{
	int error = -1;
	socklen_t size = sizeof error;
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : -1;
}

static bool is_connected(int fd)
{
	struct sockaddr_in peer;
	socklen_t size = sizeof peer;
	return getpeername(fd, (struct sockaddr *)&peer, &size) == 0;
}

static int poll_for(int fd, int timeout_ms) { return poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, timeout_ms); }

static int add(int epoll, int fd, uint32_t events, uint64_t data)
{
	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = events, .data.u64 = data});
}

/* The truth about a socket that an event was shown of. */
static void say_outcome(int fd)
{
	int error = error_of(fd);
	say("error", error_name(error));
	say("connected", is_connected(fd) ? "yes" : "no");
	say("deceived", error == 0 && !is_connected(fd) ? "yes" : "no");
}

static double cpu_seconds(void)
{
	struct timespec used;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

/* ---- waits that begin before there is anything ---------------------------------------------------- */

static int set;

static void *reacts(void *timeout)
{
	struct epoll_event event;
	if (epoll_wait(set, &event, 1, (int)(intptr_t)timeout) != 1)
		broken("epoll_wait");
	say_outcome(event.data.fd);
	return NULL;
}

/* PORT TIMEOUT: a reactor waits; another thread connects, and registers with it. */
static int reactor(char **arguments)
{
	pthread_t thread;
	port = arguments[0];
	set = epoll_create1(0);
	pthread_create(&thread, NULL, reacts, (void *)(intptr_t)atoi(arguments[1]));
	pause_ms(100);
	int fd = begin_connect();
	add(set, fd, EPOLLOUT, (uint64_t)fd);
	pthread_join(thread, NULL);
	return 0;
}

/* ---- several threads on one set ------------------------------------------------------------------ */

enum { SOCKETS = 1200 };

static _Atomic(int) stop, deceptions, seen[4096];

static void *works(void *unused)
{
	struct epoll_event event;
	while (!stop) {
		if (epoll_wait(set, &event, 1, 100) < 1 || seen[event.data.fd])
			continue;
		/* Another worker may have read the error this moment, and be held up before it says so. */
		if (error_of(event.data.fd) != 0) {
			seen[event.data.fd] = 1;
			continue;
		}
		for (int turn = 0; turn < 20 && !seen[event.data.fd]; turn++)
			pause_ms(1);
		if (!seen[event.data.fd] && !stop)
			deceptions++;
	}
	return unused;
}

/* PORT THREADS: sockets that all fail; nobody may be told that one of them is well. */
static int workers(char **arguments)
{
	pthread_t thread[8];
	long count = atol(arguments[1]);
	port = arguments[0];
	set = epoll_create1(0);
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){4096, 4096});
	for (long i = 0; i < count; i++)
		pthread_create(&thread[i], NULL, works, NULL);
	for (int i = 0; i < SOCKETS; i++) {
		int fd = begin_connect();
		add(set, fd, EPOLLOUT, (uint64_t)fd);
		pause_ms(1);
	}
	pause_ms(500);
	stop = 1;
	for (long i = 0; i < count; i++)
		pthread_join(thread[i], NULL);
	say_number("deceptions", deceptions);
	return 0;
}

/* ---- a descriptor that is closed while another thread reads its SO_ERROR --------------------------- */

static _Atomic(int) current, phase;

static void *asks(void *unused)
{
	while (phase >= 0) {
		if (phase != 1)
			continue;
		int fd = current;
		phase = 2;
		error_of(fd);
		int asked = 2;
		atomic_compare_exchange_strong(&phase, &asked, 3);
	}
	return unused;
}

/* PORT: a fresh socket on the same number is never connected. */
static int closed_under(char **arguments)
{
	pthread_t thread;
	unsigned random = 1;
	long foreign = 0;
	port = arguments[0];
	pthread_create(&thread, NULL, asks, NULL);
	for (int round = 0; round < 5000; round++) {
		int fd = begin_connect();
		current = fd;
		phase = 1;
		while (phase == 1)
			;
		for (int spin = rand_r(&random) % 20000; spin > 0; spin--)
			__asm__ volatile("");
		close(fd);
		int fresh = new_socket(), error = 0;
		socklen_t size = sizeof error;
		while (phase != 3)
			sched_yield();
		syscall(SYS_getsockopt, fresh, SOL_SOCKET, SO_ERROR, &error, &size);
		foreign += error != 0 || is_connected(fresh);
		close(fresh);
	}
	phase = -1;
	pthread_join(thread, NULL);
	say_number("foreign", foreign);
	return 0;
}

/* ---- sockets that live on under another number ----------------------------------------------------- */

/* PORT WHEN: moved while it connects or backs off, the old number taken by another connect or left free. */
static int moved(char **arguments)
{
	port = arguments[0];
	int fd = begin_connect();
	if (strchr(arguments[1], 'q') != NULL)
		poll_for(fd, 0);
	int high = fcntl(fd, F_DUPFD, 50);
	close(fd);
	if (strchr(arguments[1], 'r') != NULL)
		say("reused", begin_connect() == fd ? "yes" : "no");
	if (strchr(arguments[1], 'w') != NULL) /* until long after the backoff */
		poll(NULL, 0, 300);
	say_number("ready", poll_for(high, 10000));
	say_outcome(high);
	return 0;
}

/* PORT: the old number becomes a healthy socket in an epoll set, which is heard of. */
static int replaced(char **arguments)
{
	int pair[2];
	struct epoll_event event;
	port = arguments[0];
	set = epoll_create1(0);
	int fd = begin_connect(), high = fcntl(fd, F_DUPFD, 50);
	close(fd);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) != 0)
		broken("socketpair");
	add(set, pair[0], EPOLLIN, 7);
	poll_for(high, 0);
	close(high);
	if (write(pair[1], "x", 1) != 1)
		broken("write");
	say("same_number", pair[0] == fd ? "yes" : "no");
	say_number("heard", epoll_wait(set, &event, 1, 5000));
	return 0;
}

/* PORT: two duplicates are polled for, and neither makes the poll spin. */
static int duplicates(char **arguments)
{
	port = arguments[0];
	int fd = begin_connect();
	struct pollfd polled[3] = {{.fd = fd, .events = POLLOUT}, {.fd = dup(fd), .events = POLLOUT}, {.fd = dup(fd), .events = POLLOUT}};
	double before = cpu_seconds();
	say_number("ready", poll(polled, 3, 600));
	say_number("cpu_ms", (long)((cpu_seconds() - before) * 1000));
	return 0;
}

/* ---- data that two registrations share --------------------------------------------------------------- */

/* PORT level|edge: a pipe with the same data is readable while the socket backs off. */
static int shared(char **arguments)
{
	int ends[2];
	struct epoll_event event = {0};
	port = arguments[0];
	set = epoll_create1(0);
	if (pipe(ends) != 0)
		broken("pipe");
	int fd = begin_connect();
	uint32_t edge = strcmp(arguments[1], "edge") == 0 ? EPOLLET : 0;
	add(set, fd, EPOLLOUT | edge, 7);
	add(set, ends[0], EPOLLIN | edge, 7);
	say_number("hidden", epoll_wait(set, &event, 1, 0));
	if (write(ends[1], "x", 1) != 1)
		broken("write");
	say_number("heard", epoll_wait(set, &event, 1, 5000));
	say("event", event.events == EPOLLIN ? "IN" : "another");
	return 0;
}

/* PORT: in more epoll sets than are followed. Whoever shows the failure tells the truth. */
static int many_sets(char **arguments)
{
	int sets[6], deceived = 0;
	struct epoll_event event;
	port = arguments[0];
	int fd = begin_connect();
	for (int i = 0; i < 6; i++) {
		sets[i] = epoll_create1(0);
		add(sets[i], fd, EPOLLOUT, (uint64_t)fd);
	}
	bool known = false; /* the program has been told the error, which the kernel says once */
	for (int i = 0; i < 6; i++)
		if (epoll_wait(sets[i], &event, 1, 0) == 1) {
			known = known || error_of(fd) != 0;
			deceived += !known;
		}
	say_number("deceived", deceived);
	return 0;
}

/* ---- connections that were made --------------------------------------------------------------------- */

/* A connection that the program has heard of is reset: its own business, however it was registered. */
static int reset(char **arguments)
{
	struct sockaddr_in to = loopback("0"), before, after;
	socklen_t size = sizeof to;
	struct epoll_event event = {0};
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd = new_socket();
	(void)arguments;
	set = epoll_create1(0);
	if (bind(listener, (struct sockaddr *)&to, sizeof to) != 0 || listen(listener, 1) != 0 ||
	    getsockname(listener, (struct sockaddr *)&to, &size) != 0)
		broken("listen");
	add(set, fd, EPOLLOUT | EPOLLET, UINT64_C(0x1234567890));
	if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 || errno != EINPROGRESS)
		broken("connect");
	say_number("heard", epoll_wait(set, &event, 1, 5000));
	int accepted = accept(listener, NULL, NULL);
	size = sizeof before;
	getsockname(fd, (struct sockaddr *)&before, &size);
	setsockopt(accepted, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
	close(accepted);
	say_number("reset", epoll_wait(set, &event, 1, 5000));
	size = sizeof after;
	getsockname(fd, (struct sockaddr *)&after, &size);
	say("same_port", before.sin_port == after.sin_port ? "yes" : "no");
	say("error", error_name(error_of(fd)));
	return 0;
}

/* ---- select ------------------------------------------------------------------------------------------ */

/* PORT: one set given twice, as perl does. */
static int same_set(char **arguments)
{
	fd_set given, *again = &given;
	struct timeval limit = {.tv_sec = 10};
	__asm__("" : "+r"(again)); /* or the compiler objects */
	port = arguments[0];
	int fd = begin_connect();
	FD_ZERO(&given);
	FD_SET(fd, &given);
	say_number("ready", select(fd + 1, NULL, &given, again, &limit));
	say_outcome(fd);
	return 0;
}

/* PORT: a count far beyond the set, which the kernel cuts to the size of its table. */
static int short_set(char **arguments)
{
	struct {
		fd_set given;
		volatile char behind[4096];
	} memory = {0};
	long changed = 0;
	port = arguments[0];
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){20000, 20000});
	int fd = begin_connect();
	FD_SET(fd, &memory.given);
	memset((char *)memory.behind, 0x55, sizeof memory.behind);
	say_number("ready", select(20000, NULL, &memory.given, NULL, &(struct timeval){.tv_sec = 10}));
	for (size_t i = 0; i < sizeof memory.behind; i++)
		changed += memory.behind[i] != 0x55;
	say_number("changed", changed);
	say_outcome(fd);
	return 0;
}

static const struct scenario scenarios[] = {
	{"reactor", reactor},     {"workers", workers}, {"closed-under", closed_under}, {"moved", moved},
	{"replaced", replaced},   {"duplicates", duplicates}, {"shared", shared},       {"many-sets", many_sets},
	{"reset", reset},         {"same-set", same_set},     {"short-set", short_set},
};

int main(int argc, char **argv) { return RUN_SCENARIO(scenarios, argc, argv); }
