/* prom:FILE, for node_exporter's textfile collector: each change writes it anew, under another name, and renames that, so
 * that whoever reads it sees all of it. The other name is the writers' lock as well: who finds it taken leaves the file to
 * the one who is at it, and who looks again, when done, whether anything has been counted meanwhile. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "report/metrics.h"
#include "report/sink.h"

/* A writer needs far less than a millisecond; STALE_S: one that was killed leaves its file behind. */
enum { TURNS = 4, STALE_S = 2, PATH_BYTES = 4096, BUFFER_BYTES = 65536 };

static const char suffix[] = ".tmp"; /* the collector reads *.prom */

struct writer {
	int file, error;
	size_t length;
	char *buffer; /* BUFFER_BYTES: too much for a thread's stack */
};

static void flush(struct writer *writer)
{
	if (writer->error == 0 && writer->length != 0 && !sink_write_quietly(writer->file, writer->buffer, writer->length))
		writer->error = errno;
	writer->length = 0;
}

static void put(void *context, const char *text, size_t length)
{
	struct writer *writer = context;
	if (length > BUFFER_BYTES - writer->length)
		flush(writer);
	memcpy(writer->buffer + writer->length, text, length); /* no line is longer than the buffer */
	writer->length += length;
}

_Static_assert(sizeof((struct line *)0)->text <= BUFFER_BYTES, "a line fits");

/* By the kernel's own clock: libfaketime may show the program another one. */
static bool is_stale(const char *path)
{
	struct stat status;
	struct timespec now = {0};
	syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
	return lstat(path, &status) == 0 && (now.tv_sec - status.st_mtime > STALE_S || status.st_mtime - now.tv_sec > STALE_S);
}

static int open_other(const char *other)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY; /* O_EXCL: and no link is followed */
	int file = open(other, flags, 0644);
	if (file < 0 && errno == EEXIST && is_stale(other) && unlink(other) == 0)
		file = open(other, flags, 0644);
	return file;
}

/* The mode that the operator has given the file stays. What is there and is no file must not be renamed away. */
static bool may_replace(const char *path, int file)
{
	struct stat status;
	if (lstat(path, &status) != 0)
		return true;
	return S_ISREG(status.st_mode) && (fchmod(file, status.st_mode & 0777) == 0 || errno == EPERM);
}

/* The two files change names, and what was the old one goes: a rename(2) onto a file makes ext4 allocate the new one's
 * blocks at once (auto_da_alloc in ext4(5)), which took longer than all the rest. */
static int take_the_place(const char *other, const char *path)
{
	if (syscall(SYS_renameat2, AT_FDCWD, other, AT_FDCWD, path, RENAME_EXCHANGE) == 0)
		return unlink(other);
	return rename(other, path);
}

static int write_all(const char *path, const char *other, int file, const struct state *state, const char **why)
{
	struct writer writer = {.file = file};
	if (!may_replace(path, file)) {
		*why = "it is no regular file";
		return EINVAL;
	}
	writer.buffer = mmap(NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (writer.buffer == MAP_FAILED)
		return errno;
	report_exposition(state, put, &writer);
	flush(&writer);
	munmap(writer.buffer, BUFFER_BYTES);
	if (writer.error == 0 && take_the_place(other, path) != 0 && errno != ENOENT) /* taken for stale, and written by another */
		writer.error = errno;
	return writer.error;
}

/* *busy: another is at it. */
static int save_once(const char *path, const char *other, const struct state *state, const char **why, bool *busy)
{
	int file = open_other(other), error = errno;
	*busy = file < 0 && error == EEXIST;
	if (file < 0)
		return *busy ? 0 : error;
	error = write_all(path, other, file, state, why);
	close(file);
	if (error != 0)
		unlink(other);
	return error;
}

int exposition_save(const char *path, const struct state *state, const char **why)
{
	char other[PATH_BYTES];
	size_t length = strlen(path);
	bool busy = false;
	if (length >= sizeof other - sizeof suffix)
		return ENAMETOOLONG;
	memcpy(other, path, length);
	memcpy(other + length, suffix, sizeof suffix);
	for (int turn = 0; turn < TURNS && !busy; turn++) {
		uint64_t counted = atomic_load_explicit(&state->header.counted, memory_order_acquire);
		int error = save_once(path, other, state, why, &busy);
		if (error != 0)
			return error;
		if (atomic_load_explicit(&state->header.counted, memory_order_acquire) == counted)
			break;
	}
	return 0;
}
