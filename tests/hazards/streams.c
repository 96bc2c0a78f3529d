/* Who owns descriptor 2, and what a connect does to the program's streams. */
#include <poll.h>
#include <signal.h>

#include "host.h"

static volatile sig_atomic_t broken_pipes;

static void count(int number)
{
	(void)number;
	broken_pipes = broken_pipes + 1;
}

static int once(char **arguments)
{
	struct descriptors before;
	descriptors_read(&before);
	say("connect", error_name(connect_and_read(arguments[0])));
	say_descriptors(&before);
	return 0;
}

/* PORT: descriptor 2 becomes a socket, as it does in a daemon that closes its streams. */
static int socket_at_2(char **arguments)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0 || dup2(pair[0], STDERR_FILENO) != STDERR_FILENO)
		broken("socketpair");
	once(arguments);
	struct pollfd ready = {.fd = pair[1], .events = POLLIN};
	say("socket_got", poll(&ready, 1, 0) == 0 ? "nothing" : "something");
	return 0;
}

/* PORT FILE */
static int file_at_2(char **arguments)
{
	close(STDERR_FILENO);
	if (open(arguments[1], O_WRONLY | O_CREAT | O_TRUNC, 0600) != STDERR_FILENO)
		broken(arguments[1]);
	once(arguments);
	say_number("file_bytes", lseek(STDERR_FILENO, 0, SEEK_END));
	return 0;
}

/* PORT: started without descriptor 2, so that the connecting socket takes it; keeps the connection for
 * a moment and says nothing on it. */
static int closed_at_2(char **arguments)
{
	struct sockaddr_in to = loopback(arguments[0]);
	char text[16];
	int file = socket(AF_INET, SOCK_STREAM, 0);
	say_number("socket", file);
	say("connect", error_name(connect(file, (const struct sockaddr *)&to, sizeof to) == 0 ? 0 : errno));
	shutdown(file, SHUT_WR);
	while (read(file, text, sizeof text) > 0)
		;
	return 0;
}

/* PORT: with a handler for SIGPIPE, and with the signal pending and blocked. */
static int pipe_signal(char **arguments)
{
	sigset_t set, pending;
	signal(SIGPIPE, count);
	once(arguments);
	say_number("handled", broken_pipes);
	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	sigprocmask(SIG_BLOCK, &set, NULL);
	raise(SIGPIPE);
	connect_once(arguments[0]);
	sigpending(&pending);
	say("pending", sigismember(&pending, SIGPIPE) == 1 ? "kept" : "lost");
	return 0;
}

static const struct scenario scenarios[] = {{"once", once},
                                            {"socket", socket_at_2},
                                            {"file", file_at_2},
                                            {"closed", closed_at_2},
                                            {"pipe-signal", pipe_signal}};

int main(int argc, char **argv) { return RUN_SCENARIO(scenarios, argc, argv); }
