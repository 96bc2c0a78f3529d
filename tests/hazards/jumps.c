/* siglongjmp out of a handler, a thousand times, and what is left afterwards. */
#include <netdb.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>

#include "host.h"

static sigjmp_buf back;

static void jump(int number)
{
	(void)number;
	siglongjmp(back, 1);
}

static void alarm_in_us(long us)
{
	struct itimerval timer = {.it_value = {.tv_usec = us}};
	setitimer(ITIMER_REAL, &timer, NULL);
}

/* Lower in the stack than whatever was jumped out of. */
static __attribute__((noinline)) int deeper(int (*function)(const char *), const char *argument)
{
	volatile char room[16384];
	room[0] = 0;
	room[sizeof room - 1] = 0;
	int result = function(argument);
	return room[0] == 0 ? result : 0;
}

/* The jump skips a close(): the loop below does it. */
static volatile int socket_in_use = -1;

static int connects_on_socket(const char *port)
{
	struct sockaddr_in to = loopback(port);
	return connect(socket_in_use, (const struct sockaddr *)&to, sizeof to);
}

static int look_up(const char *node)
{
	struct addrinfo *list = NULL;
	int code = getaddrinfo(node, "80", NULL, &list);
	if (code == 0)
		freeaddrinfo(list);
	return code;
}

/* What stays when everything was jumped out of: the descriptors, the mask, the thread's cancel state. */
static void say_leftovers(const struct descriptors *before, const sigset_t *mask_before)
{
	sigset_t mask;
	int cancel, different = 0;
	alarm_in_us(0);
	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	for (int number = 1; number < 65; number++)
		different += sigismember(&mask, number) != sigismember(mask_before, number);
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &cancel);
	say_descriptors(before);
	say_number("mask_changed", different);
	say("cancel", cancel == PTHREAD_CANCEL_ENABLE ? "enabled" : "disabled");
}

/* The instants sweep over the first milliseconds of a failing call: the diagnostics, the backoff. */
static void storm(int (*function)(const char *), const char *argument, int times, long step_us)
{
	static volatile int i, jumped;
	struct descriptors before;
	sigset_t mask;
	struct sigaction action = {.sa_handler = jump};
	descriptors_read(&before);
	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	sigaction(SIGALRM, &action, NULL);
	for (i = 0; i < times; i++) {
		socket_in_use = socket(AF_INET, SOCK_STREAM, 0);
		if (sigsetjmp(back, 1) != 0) {
			jumped = jumped + 1;
		} else {
			alarm_in_us(20 + i % 200 * step_us);
			function(argument);
			alarm_in_us(0);
		}
		close(socket_in_use);
	}
	say_leftovers(&before, &mask);
	say_number("jumped", jumped);
}

/* PORT TIMES: then, deeper in the stack, a connect that is to be recovered. */
static int connects(char **arguments)
{
	storm(connects_on_socket, arguments[0], atoi(arguments[1]), 10);
	say("connect", error_name(deeper(connect_and_read, arguments[0])));
	return 0;
}

/* PORT TIMES: jumps out of look-ups that back off. */
static int lookups(char **arguments)
{
	storm(look_up, "127.0.0.1", atoi(arguments[1]), 20);
	say("connect", error_name(deeper(connect_and_read, arguments[0])));
	return 0;
}

static const struct scenario scenarios[] = {{"connects", connects}, {"lookups", lookups}};

int main(int argc, char **argv) { return RUN_SCENARIO(scenarios, argc, argv); }
