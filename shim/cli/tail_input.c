/* One file, pipe or terminal that events come from. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "cli/tail.h"
#include "retryshim/cli.h"

enum { BLOCK_BYTES = 65536 };

static bool is_standard(const struct tail_input *input) { return strcmp(input->path, "-") == 0; }

/* "cannot read 'FILE': No such file or directory" */
static void complain(const struct tail_input *input, const char *what, const char *why)
{
	const char *quote = is_standard(input) ? "" : "'";
	cli_error("%s %s%s%s: %s", what, quote, is_standard(input) ? "standard input" : input->path, quote, why);
}

void tail_input_failed(const struct tail_input *input)
{
	complain(input, "cannot read", strerror(errno));
	exit(CLI_FAILED);
}

bool tail_input_live(const struct tail_input *input) { return input->by_name ? input->tail->follow : input->fd >= 0; }

/* ---- reading --------------------------------------------------------------------------------------- */

off_t tail_input_each(struct tail_input *input, off_t from, off_t to, tail_taker *take, void *context)
{
	char block[BLOCK_BYTES];
	while (from < to) {
		ssize_t length = pread(input->fd, block, to - from < BLOCK_BYTES ? (size_t)(to - from) : BLOCK_BYTES, from);
		if (length < 0)
			tail_input_failed(input);
		if (length == 0)
			break;
		tail_lines_feed(&input->lines, block, (size_t)length, take, context);
		tail_flush();
		from += length;
	}
	return from;
}

static void show_line(void *context, const char *line, size_t length)
{
	struct tail_input *input = context;
	if (input->skip == 0)
		tail_show(&input->tail->view, line, length);
	else if (tail_wanted(&input->tail->view, line, length))
		input->skip--;
}

/* Fills `mark` with what stands before the offset, and returns how much that is. */
static size_t read_mark(const struct tail_input *input, char mark[TAIL_MARK_BYTES])
{
	size_t length = input->offset < TAIL_MARK_BYTES ? (size_t)input->offset : TAIL_MARK_BYTES;
	ssize_t got = pread(input->fd, mark, length, input->offset - (off_t)length);
	if (got < 0)
		tail_input_failed(input);
	return (size_t)got;
}

/* A file that has become shorter has begun anew ("copytruncate", as logrotate(8) calls it), and so has one that has
 * grown past its old length since, and holds something else there. */
static bool was_cut_off(const struct tail_input *input, off_t size)
{
	char mark[TAIL_MARK_BYTES];
	return size < input->offset || read_mark(input, mark) != input->mark_length ||
	       memcmp(mark, input->mark, input->mark_length) != 0;
}

static void read_new(struct tail_input *input, off_t size)
{
	input->offset = tail_input_each(input, input->offset, size, show_line, input);
	input->mark_length = read_mark(input, input->mark);
}

static void show_new(struct tail_input *input)
{
	struct stat file;
	if (fstat(input->fd, &file) != 0)
		tail_input_failed(input);
	if (was_cut_off(input, file.st_size)) {
		cli_error("'%s' was cut off", input->path);
		input->offset = 0;
		input->lines.length = 0;
		input->skip = 0;
	}
	read_new(input, file.st_size);
}

static void leave(struct tail_input *input)
{
	tail_lines_end(&input->lines, show_line, input);
	tail_flush();
	if (input->watch >= 0)
		inotify_rm_watch(input->tail->inotify, input->watch);
	if (input->fd != STDIN_FILENO)
		close(input->fd);
	input->watch = input->fd = -1;
	input->skip = 0;
}

void tail_input_drain(struct tail_input *input)
{
	char block[BLOCK_BYTES];
	ssize_t length = read(input->fd, block, sizeof block);
	if (length < 0 && errno != EAGAIN && errno != EINTR)
		tail_input_failed(input);
	if (length > 0) {
		tail_lines_feed(&input->lines, block, (size_t)length, show_line, input);
		tail_flush();
	} else if (length == 0) {
		leave(input);
	}
}

/* ---- opening --------------------------------------------------------------------------------------- */

/* The folder's watch tells of a file that comes, or takes the name of another. Without any, all is seen a little later. */
static void watch(struct tail_input *input)
{
	char *path = cli_format("%s", input->path);
	if (input->fd >= 0)
		input->watch = inotify_add_watch(input->tail->inotify, input->path, IN_MODIFY);
	inotify_add_watch(input->tail->inotify, dirname(path), IN_CREATE | IN_MOVED_TO);
	free(path);
}

/* A FIFO ends when its last writer closes it, as the shim does after each event; not while we could write as well. One
 * that we may only read stays as it is; so does a pipe without a name, such as bash's <(...): its end is for good. */
static int without_end(int fd)
{
	struct statfs system;
	char *path = cli_format("/proc/self/fd/%d", fd); /* by its own name there might be another by now */
	bool named = fstatfs(fd, &system) == 0 && system.f_type != PIPEFS_MAGIC;
	int both = named ? open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC) : -1;
	free(path);
	if (both < 0)
		return fd;
	close(fd);
	return both;
}

/* As cat(1) has it: what it shows would be read again, without an end. */
static void refuse_output(const struct tail_input *input, const struct stat *file)
{
	struct stat output;
	if (!S_ISREG(file->st_mode) || fstat(STDOUT_FILENO, &output) != 0 || output.st_dev != file->st_dev ||
	    output.st_ino != file->st_ino)
		return;
	complain(input, "cannot read", "it is standard output as well");
	exit(CLI_FAILED);
}

/* False, errno set, if it cannot be read. O_NONBLOCK: a pipe that nobody writes to yet would hold up the others. */
static bool open_input(struct tail_input *input)
{
	struct stat file = {0};
	bool standard = is_standard(input);
	int fd = standard ? STDIN_FILENO : open(input->path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	int error = fd < 0 || fstat(fd, &file) != 0 ? errno : S_ISDIR(file.st_mode) ? EISDIR : 0;
	if (error != 0) {
		if (fd > STDIN_FILENO)
			close(fd);
		errno = error;
		return false;
	}
	refuse_output(input, &file);
	input->fd = S_ISFIFO(file.st_mode) && !standard && input->tail->follow ? without_end(fd) : fd;
	input->by_name = !standard && S_ISREG(file.st_mode);
	input->device = file.st_dev;
	input->inode = file.st_ino;
	input->offset = 0;
	input->mark_length = 0;
	input->told = false;
	return true;
}

/* Once: a file that is awaited is asked for every second. */
static void tell_waiting(struct tail_input *input)
{
	if (!input->told)
		complain(input, "waiting for", strerror(errno));
	input->told = true;
}

static void show_past(struct tail_input *input)
{
	const struct tail *tail = input->tail;
	struct stat file;
	if (fstat(input->fd, &file) != 0)
		tail_input_failed(input);
	if (tail->from_start)
		input->skip = tail->lines;
	else
		input->offset = tail_past(input, file.st_size);
	read_new(input, file.st_size);
}

bool tail_input_begin(struct tail_input *input)
{
	const bool follow = input->tail->follow;
	bool opened = open_input(input);
	if (!opened && (errno != ENOENT || !follow)) {
		complain(input, "cannot read", strerror(errno));
		return false;
	}
	if (!opened)
		tell_waiting(input);
	if (input->by_name && follow)
		watch(input);
	if (opened && input->by_name)
		show_past(input);
	if (opened && input->by_name && !follow)
		leave(input);
	return true;
}

/* Another file has its name, or it is deleted: held, it would keep its place on the disk. One that was renamed goes on
 * until another comes. */
static bool is_over(const struct tail_input *input)
{
	struct stat named, held;
	if (stat(input->path, &named) == 0)
		return named.st_dev != input->device || named.st_ino != input->inode;
	return fstat(input->fd, &held) == 0 && held.st_nlink == 0;
}

void tail_input_follow(struct tail_input *input)
{
	if (input->fd >= 0) {
		show_new(input);
		if (!is_over(input))
			return;
		show_new(input); /* what came before it was over */
		leave(input);
	}
	if (!open_input(input)) {
		if (errno != ENOENT)
			tell_waiting(input);
		return;
	}
	if (input->by_name) {
		watch(input);
		show_new(input);
	}
}
