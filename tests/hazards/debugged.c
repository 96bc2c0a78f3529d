/* Waits that a debugger looks at: no connect is under way in the whole program. */
#include <signal.h>
#include <sys/time.h>

#include "every_wait.h"

static int ends[2];

/* WAIT...: each finds a byte at once. */
static int ready(char **names)
{
	if (pipe(ends) != 0 || write(ends[1], "x", 1) != 1)
		broken("pipe");
	for (; *names != NULL; names++)
		say(*names, wait_by(*names, ends[0]) == 1 ? "ready" : error_name(errno));
	return 0;
}

static void handler(int number)
{
	(void)number;
	if (write(ends[1], "x", 1) != 1)
		_exit(98);
}

/* WAIT...: each is ended by a signal, whose handler then makes it ready. */
static int interrupted(char **names)
{
	const struct itimerval once = {.it_value.tv_usec = 20000};
	char byte;
	signal(SIGALRM, handler);
	for (; *names != NULL; names++) {
		if (pipe(ends) != 0)
			broken("pipe");
		setitimer(ITIMER_REAL, &once, NULL);
		int result = wait_by(*names, ends[0]), error = errno;
		say(*names, result == 1 ? "ready" : error_name(error));
		if (wait_by(*names, ends[0]) != 1 || read(ends[0], &byte, 1) != 1)
			broken(*names);
	}
	return 0;
}

static const struct scenario scenarios[] = {{"ready", ready}, {"interrupted", interrupted}};

int main(int argc, char **argv) { return RUN_SCENARIO(scenarios, argc, argv); }
