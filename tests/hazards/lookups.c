/* getaddrinfo(3) that fails for a while, see resolver.c. */
#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "host.h"

static volatile sig_atomic_t handled;

static void count(int number)
{
	(void)number;
	handled = handled + 1;
}

static const char *code_name(int code)
{
	return code == 0 ? "ok" : code == EAI_AGAIN ? "EAI_AGAIN" : gai_strerror(code);
}

static int look_up(void)
{
	struct addrinfo *list = NULL;
	int code = getaddrinfo("127.0.0.1", "80", NULL, &list);
	if (code == 0)
		freeaddrinfo(list);
	return code;
}

/* Handler flags: restart or interrupt. */
static int once(char **arguments)
{
	struct descriptors before;
	struct sigaction action = {.sa_handler = count};
	action.sa_flags = strcmp(arguments[0], "restart") == 0 ? SA_RESTART : 0;
	sigaction(SIGALRM, &action, NULL);
	descriptors_read(&before);
	say("lookup", code_name(look_up()));
	say_number("handled", handled);
	say_descriptors(&before);
	return 0;
}

/* With the number of connect() calls that reached the C library meanwhile. */
static int nested(char **arguments)
{
	(void)arguments;
	long (*connects)(void) = (long (*)(void))dlsym(RTLD_DEFAULT, "tally_connects");
	if (connects == NULL)
		broken("tally");
	say("lookup", code_name(look_up()));
	say_number("connects", connects());
	return 0;
}

static void *looks_up(void *unused)
{
	look_up();
	return unused;
}

static int cancelled(char **arguments)
{
	pthread_t thread;
	void *result;
	struct descriptors before;
	(void)arguments;
	descriptors_read(&before);
	pthread_create(&thread, NULL, looks_up, NULL);
	await_diagnostics(1);
	pthread_cancel(thread);
	pthread_join(thread, &result);
	say("thread", result == PTHREAD_CANCELED ? "cancelled" : "returned");
	say_descriptors(&before);
	return 0;
}

static void *looks_up_well(void *found)
{
	atomic_fetch_add((_Atomic(int) *)found, look_up() == 0);
	return NULL;
}

/* In eight threads. */
static int many(char **arguments)
{
	enum { COUNT = 8 };
	pthread_t threads[COUNT];
	_Atomic(int) found = 0;
	(void)arguments;
	for (int i = 0; i < COUNT; i++)
		pthread_create(&threads[i], NULL, looks_up_well, &found);
	for (int i = 0; i < COUNT; i++)
		pthread_join(threads[i], NULL);
	say_number("found", found);
	return 0;
}

static const struct scenario scenarios[] = {{"once", once}, {"nested", nested}, {"cancelled", cancelled}, {"many", many}};

int main(int argc, char **argv) { return RUN_SCENARIO(scenarios, argc, argv); }
