/* prom:FILE, for node_exporter's textfile collector: written under another name, then renamed, so that whoever reads it
 * sees all of it. A lock on the file of the other name makes its process the writer; the kernel takes it from who dies. Who
 * is not the writer leaves a mark, and goes: the writer, when done, knows by it that it is not. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "libc.h"
#include "report/metrics.h"
#include "report/sink.h"

/* TURNS: as many a writer takes at most while others leave marks; what is still missing then comes with the next count.
 * SOON_MS: so old may the file be where its operation's next count is waited for. */
enum { TURNS = 16, SOON_MS = 100, BUFFER_BYTES = 65536, RESERVE_MOST = 262144 };

enum { BUSY = -1 }; /* no errno: another is the writer */

static const char suffix[] = ".tmp"; /* the collector reads *.prom */

/* ---- its text ---------------------------------------------------------------------------------------- */

/* The writer's. Too much for a thread's stack; untouched, it costs nothing. */
static struct {
	struct state copy; /* its series */
	struct report_scratch scratch;
	char buffer[BUFFER_BYTES];
} room;

struct writer {
	int file, error;
	size_t length;
};

static void flush(struct writer *writer)
{
	if (writer->error == 0 && writer->length != 0 && !sink_write_quietly(writer->file, room.buffer, writer->length))
		writer->error = errno;
	writer->length = 0;
}

static void put(void *context, const char *text, size_t length)
{
	struct writer *writer = context;
	if (length > BUFFER_BYTES - writer->length)
		flush(writer);
	memcpy(room.buffer + writer->length, text, length);
	writer->length += length;
}

/* Copies from the state's file. That may be cut off at any time, the more so while we wait for a disk: touching what is
 * gone would be SIGBUS, and is EFAULT to the kernel. False then. */
static bool read_state(void *copy, const void *of_state, size_t size)
{
	struct iovec to = {copy, size}, from = {(void *)(uintptr_t)of_state, size};
	ssize_t got = process_vm_readv(getpid(), &to, 1, &from, 1, 0);
	bool denied = got < 0 && errno != EFAULT;
	if (denied)
		memcpy(copy, of_state, size);
	return denied || got == (ssize_t)size;
}

static int write_text(int file, const struct state *state)
{
	struct writer writer = {.file = file};
	if (read_state(room.copy.series, state->series, sizeof state->series))
		report_exposition(&room.copy, &room.scratch, put, &writer);
	else
		writer.error = EFAULT;
	flush(&writer);
	return writer.error;
}

/* ---- the lock ---------------------------------------------------------------------------------------- */

/* A process' locks do not part its threads (fcntl(2)): which process has one at work. After a fork in the middle it is
 * another's. */
static _Atomic(pid_t) saving;

static bool enter(void)
{
	pid_t ours = getpid(), before = atomic_load(&saving);
	return before != ours && atomic_compare_exchange_strong(&saving, &before, ours);
}

static void leave(void) { atomic_store(&saving, 0); }

/* False if the name has another file by now: what we have opened has been renamed. */
static bool is_there(const char *other, const struct stat *ours)
{
	struct stat there;
	return lstat(other, &there) == 0 && ours->st_ino == there.st_ino && ours->st_dev == there.st_dev;
}

/* 0, BUSY or an errno. */
static int lock(const char *other, int file)
{
	struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	struct stat ours;
	if (fstat(file, &ours) != 0)
		return errno;
	if (!S_ISREG(ours.st_mode) || ours.st_uid != geteuid() || ours.st_nlink > 1)
		return EPERM; /* planted */
	if (fcntl(file, F_SETLK, &all) != 0)
		return errno == EACCES || errno == EAGAIN ? BUSY : errno;
	return is_there(other, &ours) ? 0 : BUSY;
}

/* ---- a turn ------------------------------------------------------------------------------------------ */

/* Takes room for as much as there was: ext4 would do so in rename(2), at once and for long (auto_da_alloc in ext4(5)). It
 * may not be able to: all that it saves is time. Beyond RLIMIT_FSIZE some file systems would send SIGXFSZ (shmem_fallocate
 * in mm/shmem.c). */
static void reserve(int file, off_t size)
{
	struct rlimit most;
	size = size < RESERVE_MOST ? size + REPORT_LINE_MAX : RESERVE_MOST;
	if (getrlimit(RLIMIT_FSIZE, &most) == 0 && (most.rlim_cur == RLIM_INFINITY || (rlim_t)size <= most.rlim_cur))
		fallocate(file, FALLOC_FL_KEEP_SIZE, 0, size);
}

/* What is there and is no file must not be renamed away. The mode that the operator has given a file stays. */
static int prepare(const char *path, int file, const char **why)
{
	struct stat old;
	if (ftruncate(file, 0) != 0) /* a killed writer's */
		return errno;
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

static int write_and_rename(const char *path, const char *other, int file, const struct state *state, const char **why)
{
	int error = prepare(path, file, why);
	if (error == 0)
		error = write_text(file, state);
	if (error == 0 && rename(other, path) != 0)
		error = errno;
	if (error != 0)
		unlink(other);
	return error;
}

static int save_once(const char *path, const char *other, const struct state *state, const char **why)
{
	if (!enter())
		return BUSY;
	int file = open(other, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0644);
	int error = file >= 0 ? lock(other, file) : errno;
	if (error == 0)
		error = write_and_rename(path, other, file, state, why);
	if (file >= 0)
		close(file);
	leave();
	return error;
}

/* How many marks there are; as many as before where that cannot be told any more. */
static uint64_t marks(const struct state *state, uint64_t before)
{
	uint64_t now;
	return read_state(&now, &state->header.turned_away, sizeof now) ? now : before;
}

/* What was counted before the mark is left is in the text of whoever becomes the writer after it. */
static int save_or_leave(const char *path, const char *other, struct state *state, const char **why)
{
	int error = save_once(path, other, state, why);
	if (error != BUSY)
		return error;
	atomic_fetch_add(&state->header.turned_away, 1);
	return save_once(path, other, state, why); /* for who has finished without having seen the mark */
}

/* By the kernel's own clock: libfaketime may show the program another one. */
static bool is_fresh(const char *path)
{
	struct stat file;
	int64_t now_ns;
	if (lstat(path, &file) != 0 || !kernel_clock_ns(CLOCK_REALTIME, &now_ns))
		return false;
	int64_t age_ms = (now_ns - file.st_mtim.tv_sec * NS_PER_S - file.st_mtim.tv_nsec) / NS_PER_MS;
	return age_ms >= 0 && age_ms < SOON_MS;
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
		uint64_t before = marks(state, 0);
		int error = save_or_leave(path, other, state, why);
		if (error == BUSY)
			return 0;
		if (error != 0 || marks(state, before) == before)
			return error;
	}
	return 0;
}
