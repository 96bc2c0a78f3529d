/* What the host programs share. They tell on standard output, a line `name=value` each, and end with
 * status 0 unless the scenario itself could not be set up. */
#ifndef HAZARDS_HOST_H
#define HAZARDS_HOST_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

static UNUSED void say(const char *name, const char *value)
{
	printf("%s=%s\n", name, value);
	fflush(stdout);
}

static UNUSED void say_number(const char *name, long value)
{
	printf("%s=%ld\n", name, value);
	fflush(stdout);
}

static UNUSED _Noreturn void broken(const char *what)
{
	fprintf(stderr, "host: %s: %s\n", what, strerror(errno));
	exit(99);
}

#if defined(__GLIBC__)
static UNUSED const char *error_name(int error) { return error == 0 ? "ok" : strerrorname_np(error); }
#else /* musl has no such function; what the tests ask for */
static UNUSED const char *error_name(int error)
{
	static const struct {
		int error;
		const char *name;
	} names[] = {{0, "ok"}, {EINPROGRESS, "EINPROGRESS"}, {ECONNREFUSED, "ECONNREFUSED"}, {EALREADY, "EALREADY"},
	             {EISCONN, "EISCONN"}, {ENOTCONN, "ENOTCONN"}, {EINTR, "EINTR"}, {EAGAIN, "EAGAIN"}};
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (names[i].error == error)
			return names[i].name;
	return strerror(error);
}
#endif

static UNUSED struct sockaddr_in loopback(const char *port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return to;
}

/* connect(2) on a blocking socket to a port of this host; returns 0 or the errno. No heap, no stdio:
 * for handlers and the like. The socket is closed again. */
static UNUSED int connect_once(const char *port)
{
	struct sockaddr_in to = loopback(port);
	int file = socket(AF_INET, SOCK_STREAM, 0);
	if (file < 0)
		return errno;
	int error = connect(file, (const struct sockaddr *)&to, sizeof to) == 0 ? 0 : errno;
	close(file);
	return error;
}

/* As above, and proves that the connection is one: reads what the server greets with. */
static UNUSED int connect_and_read(const char *port)
{
	char text[16];
	struct sockaddr_in to = loopback(port);
	int file = socket(AF_INET, SOCK_STREAM, 0);
	if (file < 0)
		return errno;
	int error = connect(file, (const struct sockaddr *)&to, sizeof to) == 0 ? 0 : errno;
	if (error == 0 && read(file, text, sizeof text) <= 0)
		error = EPROTO;
	close(file);
	return error;
}

/* Every descriptor, and which file it is. */
struct descriptors {
	struct {
		dev_t device;
		ino_t inode;
	} file[256];
};

static UNUSED void descriptors_read(struct descriptors *all)
{
	memset(all, 0, sizeof *all);
	for (int file = 0; file < 256; file++) {
		struct stat status;
		if (fstat(file, &status) != 0)
			continue;
		all->file[file].device = status.st_dev;
		all->file[file].inode = status.st_ino;
	}
}

static UNUSED long descriptors_changed(const struct descriptors *before)
{
	struct descriptors now;
	long changed = 0;
	descriptors_read(&now);
	for (int file = 0; file < 256; file++)
		changed += before->file[file].device != now.file[file].device || before->file[file].inode != now.file[file].inode;
	return changed;
}

static UNUSED void say_descriptors(const struct descriptors *before)
{
	say_number("descriptors_changed", descriptors_changed(before));
}

static UNUSED void pause_ms(long ms)
{
	struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
	while (nanosleep(&time, &time) != 0)
		;
}

static UNUSED int diagnostics_lines(void)
{
	int found = 0;
	FILE *file = fopen(getenv("RETRY_DIAG_FILE"), "r");
	if (file == NULL)
		return 0;
	for (int c = getc(file); c != EOF; c = getc(file))
		found += c == '\n';
	fclose(file);
	return found;
}

/* Waits until the diagnostics hold this many lines: until a backoff has begun. */
static UNUSED void await_diagnostics(int lines)
{
	for (int turn = 0; turn < 2000; turn++) {
		if (diagnostics_lines() >= lines)
			return;
		pause_ms(5);
	}
	errno = ETIMEDOUT;
	broken("diagnostics");
}

/* One row a scenario of a program: argv[1] names it, the rest are its arguments. */
struct scenario {
	const char *name;
	int (*function)(char **arguments);
};

static UNUSED int run_scenario(const struct scenario *scenarios, size_t count, int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < count; i++)
		if (strcmp(argv[1], scenarios[i].name) == 0)
			return scenarios[i].function(argv + 2);
	fprintf(stderr, "host: no such scenario\n");
	return 99;
}

#define RUN_SCENARIO(scenarios, argc, argv) run_scenario(scenarios, sizeof(scenarios) / sizeof(scenarios)[0], argc, argv)

#endif
