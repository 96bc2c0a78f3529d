/* What the shim still knows of its settings when the program has changed its environment. */
#include <sys/auxv.h>

#include "host.h"

extern char **environ;

static bool secure;

/* Stands in for the C library's: a set-user-ID program without its rights. */
unsigned long getauxval(unsigned long type)
{
	static const char random_bytes[16] = "0123456789abcde";
	return type == AT_SECURE ? secure : type == AT_RANDOM ? (unsigned long)random_bytes : 0;
}

/* Before any constructor of a library. */
static void look_for_secure(int argc, char **argv, char **variables)
{
	(void)variables;
	secure = argc > 1 && strcmp(argv[1], "secure") == 0;
}

__attribute__((section(".preinit_array"), used)) static void (*const first)(int, char **, char **) = look_for_secure;

static int once(char **arguments)
{
	say("connect", error_name(connect_once(arguments[0])));
	return 0;
}

/* As setproctitle does: the memory of the variables serves as the title. */
static int overwrite(char **arguments)
{
	for (char **variable = environ; *variable != NULL; variable++)
		memset(*variable, 'x', strlen(*variable));
	return once(arguments);
}

static int clear(char **arguments)
{
	clearenv();
	return once(arguments);
}

/* Too late to count. */
static int set(char **arguments)
{
	setenv("RETRY_MAX_ATTEMPTS", "9", 1);
	setenv("RETRY_DIAG", "0", 1);
	return once(arguments);
}

static const struct scenario scenarios[] = {
	{"once", once}, {"overwrite", overwrite}, {"clear", clear}, {"set", set}, {"secure", once}};

int main(int argc, char **argv) { return RUN_SCENARIO(scenarios, argc, argv); }
