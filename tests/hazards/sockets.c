/* What programs do to a socket, and to its descriptor, while its connect backs off. */
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "nonblock.h"

static short events_of(int fd, short events, int timeout_ms)
{
	struct pollfd polled = {.fd = fd, .events = events};
	return poll(&polled, 1, timeout_ms) == 1 ? polled.revents : 0;
}

/* Waits until poll tells of it. */
static int wait_and_report(int fd)
{
	events_of(fd, POLLOUT, 2 * LONG_MS);
	return report(fd);
}

/* WHERE */
static int recover(char **arguments) { return wait_and_report(connecting(arguments[0])); }

/* WHERE: the kernel gives up when a second is over. TCP_USER_TIMEOUT holds for later attempts too. */
static int impatient(char **arguments)
{
	int fd = socket_for(arguments[0]);
	unsigned int ms = 500;
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
	start_connect(fd, arguments[0]);
	return wait_and_report(fd);
}

/* WHERE: of another family than the socket's. */
static int wrong_family(char **arguments)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	start_connect(fd, arguments[0]);
	return report(fd);
}

/* WHERE: an IPv6 address as long as it was before it had a scope, and nothing readable behind it. */
static int without_scope(char **arguments)
{
	struct sockaddr_storage to;
	size_t page = (size_t)sysconf(_SC_PAGESIZE), length = offsetof(struct sockaddr_in6, sin6_scope_id);
	char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = socket_for(arguments[0]);
	if (pages == MAP_FAILED || mprotect(pages + page, page, PROT_NONE) != 0)
		broken("pages");
	address_of(arguments[0], &to);
	memcpy(pages + page - length, &to, length);
	int error = connect(fd, (struct sockaddr *)(pages + page - length), (socklen_t)length) == 0 ? 0 : errno;
	say("start", error_name(error));
	return wait_and_report(fd);
}

/* ---- closed, and the number used again ------------------------------------------------------------ */

static int new_socket(void) { return socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0); }

static int new_pipe(void)
{
	int ends[2];
	open_pipe(ends);
	put_byte(ends[1]);
	return ends[0];
}

static int new_file(void) { return open("/dev/null", O_RDWR); }

static const struct {
	const char *name;
	int (*make)(void);
	short events; /* that poll says at once, asked for IN and OUT */
} kinds[] = {{"socket", new_socket, POLLOUT | POLLHUP}, {"pipe", new_pipe, POLLIN}, {"file", new_file, POLLIN | POLLOUT}};

static int kind_of(const char *name)
{
	int kind = 0;
	while (strcmp(kinds[kind].name, name) != 0)
		kind++;
	return kind;
}

/* The number becomes another file's. */
static void replace(const char *how, int fd, int (*make)(void))
{
	int other = make();
	if (strcmp(how, "close") == 0)
		close(fd);
	else if (strcmp(how, "close_range") == 0)
		close_range((unsigned int)fd, (unsigned int)fd, 0);
	/* dup2 closes what was there */
	if (dup2(other, fd) != fd)
		broken("dup2");
	close(other);
}

/* HOW KIND WHERE: waits go on, with another connect that backs off as well, when its port opens. */
static int reuse(char **arguments)
{
	int kind = kind_of(arguments[1]), fd = backing_off(arguments[2]), wrong = 0;
	replace(arguments[0], fd, kinds[kind].make);
	say("now", "replaced");
	int other = connecting(arguments[2]);
	long start = now_ms();
	for (int turn = 0; turn < 3; turn++)
		wrong += events_of(fd, POLLIN | POLLOUT, LONG_MS) != kinds[kind].events;
	say("at_once", wrong == 0 && now_ms() - start < 1500 ? "yes" : "no");
	events_of(other, POLLOUT, 2 * LONG_MS);
	report(other);
	say("peer", peer_error(fd));
	say("afterwards", events_of(fd, POLLIN | POLLOUT, 0) == kinds[kind].events ? "same" : "changed");
	return 0;
}

/* WHERE: a fresh connect on the same number, of another socket, while the first backed off. */
static int reuse_by_connect(char **arguments)
{
	int fd = backing_off(arguments[0]);
	replace("dup2", fd, new_socket);
	start_connect(fd, arguments[0]);
	say("now", "replaced");
	return wait_and_report(fd);
}

/* WHERE: connect(AF_UNSPEC) makes it a fresh socket. */
static int unspec(char **arguments)
{
	struct sockaddr none = {.sa_family = AF_UNSPEC};
	int fd = backing_off(arguments[0]);
	say("unspec", connect(fd, &none, sizeof none) == 0 ? "ok" : error_name(errno));
	say("peer", peer_error(fd));
	say("error", error_name(so_error(fd)));
	say("fresh", events_of(fd, POLLIN | POLLOUT, LONG_MS) == (POLLOUT | POLLHUP) ? "yes" : "no");
	pause_ms(300); /* longer than the backoff would have been */
	say("fresh_still", events_of(fd, POLLIN | POLLOUT, 0) == (POLLOUT | POLLHUP) ? "yes" : "no");
	start_connect(fd, arguments[0]);
	say("now", "again");
	return wait_and_report(fd);
}

/* POLL|SELECT WHERE: a duplicate is polled, the original may be closed or another file by then. */
static int duplicate(char **arguments)
{
	int fd = connecting(arguments[1]);
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 20);
	if (strcmp(arguments[0], "open") != 0)
		close(fd);
	if (strcmp(arguments[0], "reused") == 0 && new_file() != fd)
		broken("reuse");
	return wait_and_report(copy);
}

/* WHERE: the socket under three numbers in one call, which must not be busy. */
static int triplicate(char **arguments)
{
	int fd = connecting(arguments[0]);
	struct pollfd fds[3] = {{.fd = fd, .events = POLLOUT}};
	for (int i = 1; i < 3; i++)
		fds[i] = (struct pollfd){.fd = fcntl(fd, F_DUPFD_CLOEXEC, 20), .events = POLLOUT};
	long cpu = cpu_ms();
	say_number("result", poll(fds, 3, 2 * LONG_MS));
	say("busy", cpu_ms() - cpu > 150 ? "yes" : "no");
	return report(fd);
}

/* ---- data ----------------------------------------------------------------------------------------- */

static volatile sig_atomic_t broken_pipes;

static void count(int number)
{
	(void)number;
	broken_pipes = broken_pipes + 1;
}

/* WHERE: what the data path says in the backoff: never an end of file. */
static int receive(char **arguments)
{
	char byte;
	int fd = backing_off(arguments[0]);
	ssize_t got = recv(fd, &byte, 1, 0);
	say("recv", got < 0 ? error_name(errno) : "end of file");
	got = read(fd, &byte, 1);
	say("read", got < 0 ? error_name(errno) : "end of file");
	struct iovec vector = {&byte, 1};
	struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
	got = recvmsg(fd, &message, 0);
	say("message", got < 0 ? error_name(errno) : "end of file");
	say("peer", peer_error(fd));
	return wait_and_report(fd);
}

/* WHERE: a program that writes before it knows. */
static int transmit(char **arguments)
{
	signal(SIGPIPE, count);
	int fd = backing_off(arguments[0]);
	say("send", send(fd, "x", 1, 0) < 0 ? error_name(errno) : "ok");
	say("write", write(fd, "x", 1) < 0 ? error_name(errno) : "ok");
	char byte = 'x';
	struct iovec vector = {&byte, 1};
	struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
	say("message", sendmsg(fd, &message, 0) < 0 ? error_name(errno) : "ok");
	say_number("broken_pipes", broken_pipes);
	return wait_and_report(fd);
}

/* Without a wait of ours: until the peer has reset it. */
static void await_reset(int fd)
{
	struct tcp_info info = {0};
	socklen_t size = sizeof info;
	long end = now_ms() + LONG_MS;
	do {
		pause_ms(1);
		size = sizeof info;
		if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0)
			broken("TCP_INFO");
	} while (info.tcpi_state != TCP_CLOSE && now_ms() < end);
}

/* silent|sent WHERE: the server accepts, and resets before we look: at once, or when it has our request. */
static int reset(char **arguments)
{
	int fd = connecting(arguments[1]);
	if (strcmp(arguments[0], "sent") == 0)
		say_number("sent", send(fd, "GET / HTTP/1.0\r\n\r\n", 18, MSG_NOSIGNAL));
	await_reset(fd);
	return wait_and_report(fd);
}

/* ---- forks ---------------------------------------------------------------------------------------- */

static void child_idles(int fd) { (void)fd; }

static void child_closes(int fd) { close(fd); }

/* Other descriptors alone. */
static void child_waits(int fd)
{
	int ends[2];
	(void)fd;
	open_pipe(ends);
	for (int i = 0; i < 20; i++)
		events_of(ends[0], POLLIN, 10);
}

static const struct {
	const char *name;
	void (*act)(int fd);
} children[] = {{"idles", child_idles}, {"closes", child_closes}, {"waits", child_waits}};

/* in-flight|quiet CHILD WHERE: the child lives on until the parent has connected. */
static int forked(char **arguments)
{
	int ends[2], status = -1, fd = connecting(arguments[2]);
	char byte;
	if (strcmp(arguments[0], "quiet") == 0)
		back_off(fd);
	open_pipe(ends);
	pid_t child = fork();
	if (child == 0) {
		for (size_t i = 0; i < sizeof children / sizeof children[0]; i++)
			if (strcmp(children[i].name, arguments[1]) == 0)
				children[i].act(fd);
		close(ends[1]);
		_exit(read(ends[0], &byte, 1) == 0 ? 42 : 1);
	}
	wait_and_report(fd);
	close(ends[1]);
	waitpid(child, &status, 0);
	say_number("child", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	return 0;
}

/* in-flight|quiet WHERE: the parent closes it, the child goes on. */
static int inherited(char **arguments)
{
	int status = -1, fd = connecting(arguments[1]);
	if (strcmp(arguments[0], "quiet") == 0)
		back_off(fd);
	fflush(stdout);
	pid_t child = fork();
	if (child == 0)
		exit(wait_and_report(fd));
	close(fd);
	waitpid(child, &status, 0);
	return status != 0;
}

/* in-flight|quiet WHERE: both wait for it. */
static int shared(char **arguments)
{
	int status = -1, fd = connecting(arguments[1]);
	if (strcmp(arguments[0], "quiet") == 0)
		back_off(fd);
	pid_t child = fork();
	if (child == 0) {
		say_number("child_events", events_of(fd, POLLOUT, 2 * LONG_MS));
		say("child_connect", error_name(so_error(fd)));
		_exit(strcmp(peer_error(fd), "ok") == 0 ? 42 : 1);
	}
	events_of(fd, POLLOUT, 2 * LONG_MS);
	waitpid(child, &status, 0);
	say_number("child", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
	return report(fd);
}

/* ---- several addresses of one name ---------------------------------------------------------------- */

static struct addrinfo *look_up(const char *name, const char *port)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
	if (getaddrinfo(name, port, &hints, &list) != 0)
		broken("getaddrinfo");
	return list;
}

static int connecting_to(const struct addrinfo *address)
{
	int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (connect(fd, address->ai_addr, address->ai_addrlen) != 0 && errno != EINPROGRESS)
		broken("connect");
	return fd;
}

/* NAME PORT: one address after the other. */
static int addresses(char **arguments)
{
	long start = now_ms();
	char text[32];
	int turn = 0, error = -1;
	for (struct addrinfo *at = look_up(arguments[0], arguments[1]); at != NULL && error != 0; at = at->ai_next) {
		int fd = connecting_to(at);
		snprintf(text, sizeof text, "connect_%d", ++turn);
		events_of(fd, POLLOUT, 2 * LONG_MS);
		error = so_error(fd);
		say(text, error_name(error));
		if (turn == 1)
			say_number("first_ms", now_ms() - start);
		if (error == 0)
			say_greeting(fd);
		close(fd);
	}
	say("connect", error_name(error));
	return 0;
}

/* NAME PORT: both at once, as happy eyeballs (RFC 8305) do in the end. */
static int eyeballs(char **arguments)
{
	struct addrinfo *list = look_up(arguments[0], arguments[1]);
	long start = now_ms();
	struct pollfd fds[2] = {{.fd = connecting_to(list), .events = POLLOUT}, {.fd = connecting_to(list->ai_next), .events = POLLOUT}};
	int left = 2, error = -1;
	while (left > 0 && error != 0 && poll(fds, 2, 2 * LONG_MS) > 0)
		for (int i = 0; i < 2; i++) {
			if (fds[i].revents == 0)
				continue;
			error = so_error(fds[i].fd);
			say(i == 0 ? "connect_1" : "connect_2", error_name(error));
			if (left-- == 2)
				say_number("first_ms", now_ms() - start);
			if (error == 0)
				say_greeting(fds[i].fd);
			fds[i].fd = -1;
		}
	say("connect", error_name(error));
	return 0;
}

static const struct scenario scenarios[] = {
	{"recover", recover},
	{"impatient", impatient},
	{"wrong-family", wrong_family},
	{"without-scope", without_scope},
	{"reuse", reuse},
	{"reuse-by-connect", reuse_by_connect},
	{"unspec", unspec},
	{"duplicate", duplicate},
	{"triplicate", triplicate},
	{"receive", receive},
	{"transmit", transmit},
	{"reset", reset},
	{"forked", forked},
	{"inherited", inherited},
	{"shared", shared},
	{"addresses", addresses},
	{"eyeballs", eyeballs},
};

int main(int argc, char **argv) { return RUN_SCENARIO(scenarios, argc, argv); }
