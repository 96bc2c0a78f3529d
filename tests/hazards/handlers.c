/* What a handler that interrupts connect()'s backoff may do. The test sends the signal. */
#include <setjmp.h>
#include <signal.h>

#include "host.h"

static const char *handler_port;
static sigjmp_buf back;

static long now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Says what came of it when it is over: the program itself is asleep, and prints nothing meanwhile. */
static void connects(int number)
{
	int error = errno;
	long start = now_ms();
	(void)number;
	say("handler", error_name(connect_once(handler_port)));
	say_number("handler_ms", now_ms() - start);
	errno = error;
}

static void jumps(int number)
{
	(void)number;
	siglongjmp(back, 1);
}

static void on_alarm(void (*handler)(int))
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
	if (sigaction(SIGALRM, &action, NULL) != 0)
		broken("sigaction");
}

/* PORT HANDLER_PORT */
static int nested(char **arguments)
{
	handler_port = arguments[1];
	on_alarm(connects);
	say("connect", error_name(connect_and_read(arguments[0])));
	return 0;
}

/* Lower in the stack than the connect that was jumped out of. */
static __attribute__((noinline)) int deeper(const char *port)
{
	volatile char room[65536];
	room[0] = 0;
	room[sizeof room - 1] = 0;
	int error = connect_and_read(port);
	return room[0] == 0 ? error : EPROTO;
}

/* PORT OTHER_PORT */
static int jumped(char **arguments)
{
	on_alarm(jumps);
	if (sigsetjmp(back, 1) == 0) {
		connect_once(arguments[0]);
		say("first", "not left");
		return 0;
	}
	say("connect", error_name(deeper(arguments[1])));
	return 0;
}

static const struct scenario scenarios[] = {{"nested", nested}, {"jumped", jumped}};

int main(int argc, char **argv) { return RUN_SCENARIO(scenarios, argc, argv); }
