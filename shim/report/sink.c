/* Standard error, a file, a directory: opened, written and closed for each event. */
#include "report/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

static _Atomic(int) started;
static dev_t stderr_device;
static ino_t stderr_inode;
static bool stderr_known;

void report_start(void)
{
	struct stat status;
	if (atomic_exchange(&started, 1) != 0 || fstat(STDERR_FILENO, &status) != 0)
		return;
	stderr_device = status.st_dev;
	stderr_inode = status.st_ino;
	stderr_known = true;
}

static bool stderr_is_ours(void)
{
	struct stat status;
	return stderr_known && fstat(STDERR_FILENO, &status) == 0 && status.st_dev == stderr_device &&
	       status.st_ino == stderr_inode;
}

/* The signal that a failed write(2) has raised; 0 = none. */
static int signal_of(int error) { return error == EPIPE ? SIGPIPE : error == EFBIG ? SIGXFSZ : 0; }

static void take_back(int number)
{
	const struct timespec at_once = {0, 0};
	sigset_t one;
	sigemptyset(&one);
	sigaddset(&one, number);
	sigtimedwait(&one, NULL, &at_once);
}

/* Writing to a pipe without a reader raises SIGPIPE; to a file beyond RLIMIT_FSIZE, SIGXFSZ; to the terminal from the
 * background perhaps SIGTTOU. None of them may end or stop a program that did not write itself. The first two are aimed
 * at the writing thread (signal(7)), so they are still pending here and can be taken back. */
bool sink_write_quietly(int file, const char *text, size_t length)
{
	sigset_t held, before, pending;
	struct pollfd ready = {.fd = file, .events = POLLOUT};
	sigemptyset(&held);
	sigaddset(&held, SIGPIPE);
	sigaddset(&held, SIGXFSZ);
	sigaddset(&held, SIGTTOU);
	if (poll(&ready, 1, 0) == 0) /* a full pipe: lose the line, not the program's time */
		return true;
	if (sigprocmask(SIG_BLOCK, &held, &before) != 0)
		return false;
	sigpending(&pending);
	ssize_t written = write(file, text, length);
	int error = errno, raised = written < 0 ? signal_of(error) : 0;
	if (raised != 0 && sigismember(&pending, raised) != 1)
		take_back(raised);
	sigprocmask(SIG_SETMASK, &before, NULL);
	errno = written >= 0 ? ENOSPC : error; /* the next byte would have failed, for want of room */
	return written == (ssize_t)length;
}

static void write_stderr(const char *text, size_t length)
{
	if (stderr_is_ours())
		sink_write_quietly(STDERR_FILENO, text, length);
}

/* Named once a process and variable: a full disk must not turn into a flood. */
static void name_failed_sink(_Atomic(int) *named, const char *variable, const char *value, int error)
{
	struct line line = {0};
	char symbol[24], shown[257] = {0}; /* the reason must not fall off the line's end */
	if (atomic_exchange(named, 1) != 0)
		return;
	memcpy(shown, value, strnlen(value, sizeof shown - 1));
	errno_symbol(error, symbol, sizeof symbol);
	line_text(&line, "retryshim[");
	line_unsigned(&line, (uint64_t)getpid());
	line_text(&line, "] ");
	line_text(&line, variable);
	line_text(&line, "=");
	line_text(&line, shown);
	line_text(&line, " cannot be written (");
	line_text(&line, symbol);
	line_text(&line, "); its diagnostics are lost.");
	line_end(&line);
	write_stderr(line.text, line.length);
}

static bool append_piece(char *path, size_t size, size_t *used, const char *piece, size_t length)
{
	if (length >= size - *used)
		return false;
	memcpy(path + *used, piece, length);
	*used += length;
	path[*used] = '\0';
	return true;
}

/* A file's name with %p replaced by the process id; false if it is too long. */
static bool expand_path(const char *pattern, char *path, size_t size)
{
	size_t used = 0;
	for (const char *from = pattern;; from += 2) {
		struct line pid = {0};
		const char *mark = strstr(from, "%p");
		size_t plain = mark != NULL ? (size_t)(mark - from) : strlen(from);
		if (!append_piece(path, size, &used, from, plain))
			return false;
		if (mark == NULL)
			return true;
		line_unsigned(&pid, (uint64_t)getpid());
		if (!append_piece(path, size, &used, pid.text, pid.length))
			return false;
		from = mark;
	}
}

/* O_NONBLOCK: opening a FIFO that nobody reads must fail, not wait. */
static int open_sink(const char *path, int flags)
{
	return open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | flags, 0644);
}

static int append_to(const char *path, const char *text, size_t length)
{
	int file = open_sink(path, O_APPEND);
	int error = file >= 0 && sink_write_quietly(file, text, length) ? 0 : errno;
	if (file >= 0)
		close(file);
	return error;
}

/* Apart: most names need no expansion, and small stacks have no room for a path. */
static __attribute__((noinline)) int append_expanded(const char *pattern, const char *text, size_t length)
{
	char path[PATH_BYTES];
	return expand_path(pattern, path, sizeof path) ? append_to(path, text, length) : ENAMETOOLONG;
}

int sink_append(const char *pattern, const char *text, size_t length)
{
	return strstr(pattern, "%p") != NULL ? append_expanded(pattern, text, length) : append_to(pattern, text, length);
}

static void write_file(const struct config *config, const struct line *line)
{
	static _Atomic(int) named;
	int error = sink_append(config->diag_file, line->text, line->length);
	if (error != 0)
		name_failed_sink(&named, "RETRY_DIAG_FILE", config->diag_file, error);
}

/* An operation may be named freely (RETRY_OPERATION); a file name may not. */
static void line_file_name(struct line *name, const char *operation, int64_t wall_us)
{
	line_compact_time(name, wall_us);
	line_text(name, "_retry_");
	size_t start = name->length;
	line_text(name, operation);
	for (size_t i = start; i < name->length; i++)
		if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", name->text[i]) == NULL)
			name->text[i] = '_';
	if (name->length > 200)
		name->length = 200;
	line_text(name, ".txt");
}

static void write_directory(const struct config *config, const struct line *line, const char *operation, int64_t wall_us)
{
	static _Atomic(int) named;
	int file = -1;
	errno = ENAMETOOLONG;
	/* Two events of one microsecond: the later one takes the next that is free. */
	for (int turn = 0; turn < 1000 && file < 0; turn++) {
		char path[PATH_BYTES];
		size_t used = 0;
		struct line name = {0};
		line_file_name(&name, operation, wall_us + turn);
		if (!append_piece(path, sizeof path, &used, config->diag_dir, strlen(config->diag_dir)) ||
		    !append_piece(path, sizeof path, &used, "/", 1) || !append_piece(path, sizeof path, &used, name.text, name.length))
			break;
		file = open_sink(path, O_EXCL);
		if (file < 0 && errno != EEXIST)
			break;
	}
	if (file < 0 || !sink_write_quietly(file, line->text, line->length))
		name_failed_sink(&named, "RETRY_DIAG_DIR", config->diag_dir, errno);
	if (file >= 0)
		close(file);
}

void sink_write(const struct config *config, const struct line *line, const char *operation, int64_t wall_us)
{
	if (config->diag_file[0] != '\0')
		write_file(config, line);
	if (config->diag_dir[0] != '\0')
		write_directory(config, line, operation, wall_us);
	if (config->diag_file[0] == '\0' && config->diag_dir[0] == '\0')
		write_stderr(line->text, line->length);
}
