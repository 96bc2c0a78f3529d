/* Signals during a backoff. The test sends them; the program only says how its connect ended. */
#include <signal.h>
#include <sys/wait.h>

#include "host.h"

static volatile sig_atomic_t handled;
static const char *handler_port;
static volatile int handler_error;

static void count(int number)
{
	(void)number;
	handled = handled + 1;
}

static void on_signal(int number, void (*handler)(int), int flags)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
	if (sigaction(number, &action, NULL) != 0)
		broken("sigaction");
}

static int report(int error, const struct descriptors *before)
{
	say("connect", error_name(error));
	say_number("handled", handled);
	say_descriptors(before);
	return 0;
}

static int once(char **arguments)
{
	struct descriptors before;
	descriptors_read(&before);
	return report(connect_and_read(arguments[0]), &before);
}

/* PORT restart|interrupt */
static int handler(char **arguments)
{
	on_signal(SIGALRM, count, strcmp(arguments[1], "restart") == 0 ? SA_RESTART : 0);
	return once(arguments);
}

static int child_ignored(char **arguments)
{
	on_signal(SIGCHLD, SIG_IGN, 0);
	return once(arguments);
}

static void connects(int number)
{
	(void)number;
	handled = handled + 1;
	int error = errno;
	handler_error = connect_and_read(handler_port);
	errno = error;
}

/* PORT: a handler connects while the program does nothing of the kind. */
static int inside(char **arguments)
{
	handler_port = arguments[0];
	on_signal(SIGALRM, connects, SA_RESTART);
	struct descriptors before;
	descriptors_read(&before);
	raise(SIGALRM);
	return report(handler_error, &before);
}

/* PORT: a handler connects while the program itself backs off. */
static int both(char **arguments)
{
	handler_port = arguments[0];
	on_signal(SIGALRM, connects, SA_RESTART);
	once(arguments);
	say("handler", error_name(handler_error));
	return 0;
}

/* PORT: a child ends during the backoff, and SIGCHLD has its default action. */
static int child_ends(char **arguments)
{
	struct descriptors before;
	descriptors_read(&before);
	pid_t child = fork();
	if (child == 0) {
		await_diagnostics(1);
		_exit(0);
	}
	int error = connect_and_read(arguments[0]);
	waitpid(child, NULL, 0);
	return report(error, &before);
}

static const struct scenario scenarios[] = {
	{"once", once},     {"handler", handler}, {"child-ignored", child_ignored},
	{"inside", inside}, {"both", both},       {"child-ends", child_ends},
};

int main(int argc, char **argv) { return RUN_SCENARIO(scenarios, argc, argv); }
