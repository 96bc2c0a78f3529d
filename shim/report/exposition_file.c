/* prom:FILE, for node_exporter's textfile collector: written under another name, then renamed, so that whoever reads it
 * sees all of it. The other name is the writers' lock as well. Who finds it taken leaves the file to the one who is at it,
 * and leaves a mark, by which that one knows that it is not done. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "report/metrics.h"
#include "report/sink.h"

/* A writer needs far less than a millisecond. STALE_S: one that was killed leaves its file behind. TURNS: as many a writer
 * takes at most while others are turned away; what is still missing then comes with the next count. */
enum { TURNS = 16, STALE_S = 2, BUFFER_BYTES = 65536 };

static const char suffix[] = ".tmp"; /* the collector reads *.prom */

/* ---- its text ---------------------------------------------------------------------------------------- */

/* Too much for a thread's stack. */
struct room {
	struct report_scratch scratch;
	char buffer[BUFFER_BYTES];
};

struct writer {
	int file, error;
	size_t length;
	struct room *room;
};

static void flush(struct writer *writer)
{
	if (writer->error == 0 && writer->length != 0 && !sink_write_quietly(writer->file, writer->room->buffer, writer->length))
		writer->error = errno;
	writer->length = 0;
}

static void put(void *context, const char *text, size_t length)
{
	struct writer *writer = context;
	if (length > BUFFER_BYTES - writer->length)
		flush(writer);
	memcpy(writer->room->buffer + writer->length, text, length);
	writer->length += length;
}

static int write_text(int file, const struct state *state)
{
	struct writer writer = {.file = file};
	writer.room = mmap(NULL, sizeof *writer.room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (writer.room == MAP_FAILED)
		return errno;
	report_exposition(state, &writer.room->scratch, put, &writer);
	flush(&writer);
	munmap(writer.room, sizeof *writer.room);
	return writer.error;
}

/* ---- its name ---------------------------------------------------------------------------------------- */

/* How long ago the file was written, by the kernel's own clock: libfaketime may show the program another one. */
static int64_t age_s(const struct stat *file)
{
	struct timespec now = {0};
	syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
	int64_t age = now.tv_sec - file->st_mtime;
	return age >= 0 ? age : -age;
}

static int open_other(const char *other)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY; /* O_EXCL: and no link is followed */
	struct stat theirs;
	int file = open(other, flags, 0644);
	if (file >= 0 || errno != EEXIST || lstat(other, &theirs) != 0)
		return file;
	bool at_work = S_ISREG(theirs.st_mode) && theirs.st_uid == geteuid() && age_s(&theirs) <= STALE_S;
	errno = EBUSY;
	return !at_work && unlink(other) == 0 ? open(other, flags, 0644) : -1;
}

/* Takes room for as much as there was, and a line. It may not be able to: all that it saves is time. Beyond RLIMIT_FSIZE
 * some file systems would send SIGXFSZ (shmem_fallocate in mm/shmem.c). */
static void reserve(int file, off_t size)
{
	struct rlimit most;
	size += REPORT_LINE_MAX;
	if (getrlimit(RLIMIT_FSIZE, &most) == 0 && (most.rlim_cur == RLIM_INFINITY || (rlim_t)size <= most.rlim_cur))
		fallocate(file, FALLOC_FL_KEEP_SIZE, 0, size);
}

/* What is there and is no file must not be renamed away. The mode that the operator has given a file stays; its room is
 * taken beforehand, since ext4 would do so in rename(2), at once and for long (auto_da_alloc in ext4(5)). */
static int prepare(const char *path, int file, const char **why)
{
	struct stat old;
	if (lstat(path, &old) != 0)
		return errno == ENOENT ? 0 : errno;
	*why = S_ISREG(old.st_mode) ? "" : "it is no regular file";
	if (!S_ISREG(old.st_mode))
		return EINVAL;
	if (fchmod(file, old.st_mode & 0777) != 0 && errno != EPERM)
		return errno;
	reserve(file, old.st_size);
	return 0;
}

/* False once somebody has taken the lock for a dead writer's. */
static bool is_ours(const char *other, int file)
{
	struct stat ours, there;
	return fstat(file, &ours) == 0 && lstat(other, &there) == 0 && ours.st_ino == there.st_ino && ours.st_dev == there.st_dev;
}

/* ---- a turn ------------------------------------------------------------------------------------------ */

static int save_once(const char *path, const char *other, const struct state *state, const char **why)
{
	int file = open_other(other);
	if (file < 0)
		return errno;
	int error = prepare(path, file, why);
	if (error == 0)
		error = write_text(file, state);
	if (!is_ours(other, file))
		error = EBUSY; /* by whoever has taken it */
	else if (error != 0)
		unlink(other);
	else if (rename(other, path) != 0)
		error = errno;
	close(file);
	return error;
}

/* What was counted before the mark is left is in the text of whoever begins to write after it. */
static int save_or_leave(const char *path, const char *other, struct state *state, const char **why)
{
	int error = save_once(path, other, state, why);
	if (error != EBUSY)
		return error;
	atomic_fetch_add(&state->header.turned_away, 1);
	return save_once(path, other, state, why); /* for who has finished without having seen the mark */
}

/* True if it was written in this very second. */
static bool is_fresh(const char *path)
{
	struct stat file;
	return lstat(path, &file) == 0 && S_ISREG(file.st_mode) && age_s(&file) == 0;
}

int exposition_save(const char *path, struct state *state, bool soon, const char **why)
{
	char other[SINK_BYTES + sizeof suffix];
	size_t length = strlen(path);
	if (soon && is_fresh(path))
		return 0;
	if (length > SINK_BYTES)
		return ENAMETOOLONG;
	memcpy(other, path, length);
	memcpy(other + length, suffix, sizeof suffix);
	for (int turn = 0; turn < TURNS; turn++) {
		uint64_t turned_away = atomic_load(&state->header.turned_away);
		int error = save_or_leave(path, other, state, why);
		if (error == EBUSY)
			return 0;
		if (error != 0 || atomic_load(&state->header.turned_away) == turned_away)
			return error;
	}
	return 0;
}
