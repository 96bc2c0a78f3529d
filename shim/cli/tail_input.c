/* One file, pipe or terminal that events come from. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/tail.h"
#include "retryshim/cli.h"

enum { BLOCK_BYTES = 65536 };

static bool is_standard(const struct tail_input *input) { return strcmp(input->path, "-") == 0; }

/* "cannot open 'FILE': No such file or directory", of errno. */
static void complain(const struct tail_input *input, const char *what)
{
	const char *quote = is_standard(input) ? "" : "'";
	cli_error("%s %s%s%s: %s", what, quote, is_standard(input) ? "standard input" : input->path, quote, strerror(errno));
}

void tail_input_failed(const struct tail_input *input)
{
	complain(input, "cannot read");
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

/* A file that has become shorter has begun anew: "copytruncate", as logrotate(8) calls it. */
static void show_new(struct tail_input *input)
{
	struct stat file;
	if (fstat(input->fd, &file) != 0)
		tail_input_failed(input);
	if (file.st_size < input->offset) {
		input->offset = 0;
		input->lines.length = 0;
		input->skip = 0;
	}
	input->offset = tail_input_each(input, input->offset, file.st_size, show_line, input);
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
	input->fd = fd;
	input->by_name = !standard && S_ISREG(file.st_mode);
	input->device = file.st_dev;
	input->inode = file.st_ino;
	input->offset = 0;
	input->told = false;
	return true;
}

/* Once: a file that is awaited is asked for every second. */
static void tell_waiting(struct tail_input *input)
{
	if (!input->told)
		complain(input, "waiting for");
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
	show_new(input);
}

bool tail_input_begin(struct tail_input *input)
{
	const bool follow = input->tail->follow;
	bool opened = open_input(input);
	if (!opened && (errno != ENOENT || !follow)) {
		complain(input, "cannot open");
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
