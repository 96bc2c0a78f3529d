/* What happens while the first thread that needs the configuration file is still reading it. */
#include <pthread.h>
#include <sys/wait.h>

#include "host.h"

static int reading[2], goes_on[2];

/* Stands in for the C library's: a disk that is slow. The program reads nothing by it. */
ssize_t pread(int file, void *to, size_t size, off_t from)
{
	char byte = 0;
	if (from == 0 && (write(reading[1], "x", 1) != 1 || read(goes_on[0], &byte, 1) != 1))
		broken("pipe");
	return lseek(file, from, SEEK_SET) == from ? read(file, to, size) : -1;
}

static void *connect_first(void *where)
{
	say("first", error_name(connect_once(where)));
	return NULL;
}

static pthread_t start_reading(char *where)
{
	char byte;
	pthread_t thread;
	if (pipe(reading) != 0 || pipe(goes_on) != 0 || pthread_create(&thread, NULL, connect_first, where) != 0 ||
	    read(reading[0], &byte, 1) != 1)
		broken("start");
	return thread;
}

static void finish_reading(pthread_t thread)
{
	if (write(goes_on[1], "x", 1) != 1)
		broken("pipe");
	pthread_join(thread, NULL);
}

/* WHERE: a child is forked, and connects. */
static int child(char **arguments)
{
	pthread_t thread = start_reading(arguments[0]);
	pid_t pid = fork();
	if (pid == 0) {
		say("child", error_name(connect_once(arguments[0])));
		exit(0);
	}
	waitpid(pid, NULL, 0);
	finish_reading(thread);
	return 0;
}

static void *go_on_soon(void *thread)
{
	usleep(200 * 1000); /* longer than one would spin */
	finish_reading(*(pthread_t *)thread);
	return NULL;
}

/* WHERE: another thread connects, too. */
static int other(char **arguments)
{
	pthread_t thread = start_reading(arguments[0]), waker;
	if (pthread_create(&waker, NULL, go_on_soon, &thread) != 0)
		broken("thread");
	say("other", error_name(connect_once(arguments[0])));
	pthread_join(waker, NULL);
	return 0;
}

static const struct scenario scenarios[] = {{"child", child}, {"other", other}};

int main(int argc, char **argv) { return RUN_SCENARIO(scenarios, argc, argv); }
