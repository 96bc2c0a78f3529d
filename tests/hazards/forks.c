/* Children: forked before and during a backoff, by vfork, posix_spawn and system. */
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include "host.h"

extern char **environ;

static char *self, *port;

static void *connects(void *unused)
{
	(void)unused;
	connect_once(port);
	return NULL;
}

/* Children that fail and back off for ever; the test kills the process group. */
static void fork_children(int count)
{
	for (int i = 0; i < count; i++) {
		pid_t child = fork();
		if (child < 0)
			broken("fork");
		if (child == 0) {
			connect_once(port);
			_exit(0);
		}
	}
}

static int reap(void)
{
	int status, failed = 0;
	while (wait(&status) > 0)
		failed += status != 0;
	say_number("children_failed", failed);
	return 0;
}

/* PORT COUNT: no failure before the fork. The parent fails as well. */
static int before(char **arguments)
{
	port = arguments[0];
	fork_children(atoi(arguments[1]));
	connect_once(port);
	return reap();
}

/* PORT COUNT: one thread backs off while the other forks. */
static int during(char **arguments)
{
	pthread_t thread;
	port = arguments[0];
	pthread_create(&thread, NULL, connects, NULL);
	await_diagnostics(1);
	fork_children(atoi(arguments[1]));
	return reap();
}

static int status_of(pid_t child)
{
	int status = -1;
	if (child < 0 || waitpid(child, &status, 0) != child)
		broken("waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* PORT: a child that shares our memory recovers; then we do, in turn. */
static int by_vfork(char **arguments)
{
	struct descriptors all;
	descriptors_read(&all);
	pid_t child = vfork();
	if (child == 0)
		_exit(connect_and_read(arguments[0]) == 0 ? 42 : 1);
	say_number("child", status_of(child));
	say("connect", error_name(connect_and_read(arguments[0])));
	say_descriptors(&all);
	return 0;
}

/* PORT: the child is killed in the middle of its backoff, and leaves our memory as it is. */
static int vfork_killed(char **arguments)
{
	struct sigaction action = {.sa_handler = SIG_DFL};
	sigaction(SIGALRM, &action, NULL);
	pid_t child = vfork();
	if (child == 0) {
		alarm(1);
		_exit(connect_and_read(arguments[0]));
	}
	say_number("child", status_of(child));
	say("connect", error_name(connect_and_read(arguments[0])));
	return 0;
}

static int child(char **arguments) { return connect_and_read(arguments[0]) == 0 ? 42 : 1; }

/* PORT */
static int by_spawn(char **arguments)
{
	pid_t pid;
	char *argv[] = {self, "child", arguments[0], NULL};
	if (posix_spawn(&pid, self, NULL, NULL, argv, environ) != 0)
		broken("posix_spawn");
	say_number("child", status_of(pid));
	return 0;
}

/* PORT */
static int by_system(char **arguments)
{
	char command[4096];
	snprintf(command, sizeof command, "exec %s child %s", self, arguments[0]);
	int status = system(command);
	say_number("child", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
	return 0;
}

static const struct scenario scenarios[] = {
	{"before", before},     {"during", during},       {"vfork", by_vfork}, {"vfork-killed", vfork_killed},
	{"spawn", by_spawn}, {"system", by_system}, {"child", child},
};

int main(int argc, char **argv)
{
	self = argv[0];
	return RUN_SCENARIO(scenarios, argc, argv);
}
