/* Places of the matrix: from where, and when, a hook is called. */
#ifndef HAZARDS_MATRIX_WHEN_H
#define HAZARDS_MATRIX_WHEN_H

#include <spawn.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "matrix_tell.h"

extern char **environ;

void matrix_touch(void);
const char *matrix_run(const char *hook, const char *port);

/* ---- when --------------------------------------------------------------------------------------------- */

static void in_main(struct cell *cell) { whole(cell); }

static const struct cell *late_cell;

static void at_exit(void)
{
	struct descriptors before;
	struct cell cell = *late_cell;
	descriptors_read(&before);
	whole(&cell);
	tell_outcome(&cell);
	tell_number("descriptors_changed", descriptors_changed(&before));
}

static void in_exit(struct cell *cell)
{
	late_cell = cell;
	atexit(at_exit);
}

/* ---- threads ------------------------------------------------------------------------------------------ */

static void *runs(void *cell)
{
	whole(cell);
	return NULL;
}

static void in_thread(struct cell *cell)
{
	pthread_t thread;
	if (pthread_create(&thread, NULL, runs, cell) != 0)
		broken("pthread_create");
	pthread_join(thread, NULL);
}

static _Atomic(bool) has_returned;

static void closes(void *cell) { dispose(cell); }

static void *is_cancelled(void *cell)
{
	pthread_cleanup_push(closes, cell);
	prepare(cell);
	act(cell);
	has_returned = true;
	for (;;)
		pause();
	pthread_cleanup_pop(1);
	return NULL;
}

static void end_thread(pthread_t thread)
{
	void *result;
	pthread_cancel(thread);
	pthread_join(thread, &result);
	tell("thread", result == PTHREAD_CANCELED ? "cancelled" : "returned");
}

/* In its backoff, or when it has got its error; then another connects. */
static void in_cancelled_thread(struct cell *cell)
{
	pthread_t thread;
	struct cell other = *cell;
	if (pthread_create(&thread, NULL, is_cancelled, &other) != 0)
		broken("pthread_create");
	for (int turn = 0; turn < 2000 && !has_returned && diagnostics_lines() == 0; turn++)
		pause_ms(5);
	end_thread(thread);
	whole(cell);
}

static void *is_cancelled_before(void *cell)
{
	pthread_cleanup_push(closes, cell);
	prepare(cell);
	pthread_cancel(pthread_self());
	act(cell);
	pthread_testcancel();
	pthread_cleanup_pop(1);
	return NULL;
}

static void in_cancelled_thread_before(struct cell *cell)
{
	pthread_t thread;
	if (pthread_create(&thread, NULL, is_cancelled_before, cell) != 0)
		broken("pthread_create");
	end_thread(thread);
}

/* ---- a signal handler ------------------------------------------------------------------------------------- */

static struct cell *handled;

static void handle(int number)
{
	int error = errno;
	(void)number;
	act(handled);
	errno = error;
}

static void in_handler(struct cell *cell)
{
	struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};
	handled = cell;
	prepare(cell);
	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1);
	dispose(cell);
}

/* ---- children ----------------------------------------------------------------------------------------------- */

static void tell_status(pid_t child)
{
	int status = -1;
	if (child < 0 || waitpid(child, &status, 0) != child)
		broken("waitpid");
	tell_number("child", status);
}

static void in_forked(struct cell *cell)
{
	pid_t child = fork();
	if (child == 0) {
		whole(cell);
		_exit(0);
	}
	tell_status(child);
}

static void in_vforked(struct cell *cell)
{
	pid_t child = vfork();
	if (child == 0) {
		whole(cell);
		_exit(0);
	}
	tell_status(child);
}

static void in_spawned(struct cell *cell)
{
	pid_t child;
	char *argv[] = {arguments[0], "main", arguments[2], arguments[3], NULL};
	if (posix_spawn(&child, arguments[0], NULL, NULL, argv, environ) != 0)
		broken("posix_spawn");
	tell_status(child);
	keep_outcome(cell, "the child's");
}

/* ---- after dlclose of a plugin ---------------------------------------------------------------------------- */

/* The plugin's part: it calls what it can, and nothing comes of it. */
void matrix_touch(void)
{
	struct pollfd polled = {.fd = -1};
	struct timeval now = {0};
	struct addrinfo *list = NULL;
	struct sockaddr_in to = loopback("1");
	connect(-1, (const struct sockaddr *)&to, sizeof to);
	poll(&polled, 1, 0);
	select(0, NULL, NULL, NULL, &now);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	so_error(fd);
	close(fd);
	if (getaddrinfo("127.0.0.1", "1", NULL, &list) == 0)
		freeaddrinfo(list);
#ifdef WITH_CURL
	curl_easy_cleanup(curl_easy_init());
	curl_global_cleanup();
#endif
}

/* The same, and a whole cell. */
const char *matrix_run(const char *hook, const char *port)
{
	static struct cell cell;
	for (size_t i = 0; i < sizeof hooks / sizeof hooks[0]; i++)
		if (strcmp(hooks[i].name, hook) == 0)
			cell = (struct cell){.hook = &hooks[i], .port = port};
	whole(&cell);
	return cell.outcome;
}

static void *plug_in(void)
{
	void *plugin = dlopen("./plugin.so", RTLD_NOW | RTLD_LOCAL);
	if (plugin == NULL)
		broken(dlerror());
	return plugin;
}

/* libcurl comes and goes with the plugin, so its rows run in one that is plugged in again. */
static void in_unplugged(struct cell *cell)
{
	void *plugin = plug_in();
	((void (*)(void))dlsym(plugin, "matrix_touch"))();
	dlclose(plugin);
	tell("plugin", dlopen("./plugin.so", RTLD_NOW | RTLD_NOLOAD) == NULL ? "gone" : "there");
	if (cell->hook != NULL) {
		whole(cell);
		return;
	}
	plugin = plug_in();
	keep_outcome(cell, ((const char *(*)(const char *, const char *))dlsym(plugin, "matrix_run"))(arguments[2], cell->port));
	dlclose(plugin);
}

#endif
