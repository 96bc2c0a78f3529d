/* What a run has read and written. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/rerun.h"

enum { KEPT_MOST = 64 << 20, PIECE = 64 << 10 };

/* False if it cannot be kept. */
static bool keep(struct kept *kept, const char *bytes, size_t length)
{
	if (kept->length + length > KEPT_MOST)
		return false;
	if (kept->length + length > kept->size) {
		size_t size = kept->size * 2 > kept->length + length ? kept->size * 2 : kept->length + length + PIECE;
		char *longer = realloc(kept->bytes, size);
		if (longer == NULL)
			return false;
		kept->bytes = longer;
		kept->size = size;
	}
	memcpy(kept->bytes + kept->length, bytes, length);
	kept->length += length;
	return true;
}

static void shut(int *file)
{
	if (*file >= 0)
		close(*file);
	*file = -1;
}

/* A reader may be stuck: where there is no room, `waiting` lets the signals through that end us. So much as a pipe that has
 * room takes without waiting is written at a time. */
static bool write_all(int file, const char *bytes, size_t length, const sigset_t *waiting)
{
	while (length > 0) {
		struct pollfd room = {.fd = file, .events = POLLOUT};
		if (ppoll(&room, 1, NULL, waiting) < 0 && errno != EINTR)
			return false;
		ssize_t more = write(file, bytes, length < PIPE_BUF ? length : PIPE_BUF);
		if (more < 0 && errno != EINTR && errno != EAGAIN)
			return false;
		if (more > 0) {
			bytes += more;
			length -= (size_t)more;
		}
	}
	return true;
}

/* Our end does not block, and is no child's. */
static bool make_pipe(int ends[2], int ours)
{
	if (pipe2(ends, O_CLOEXEC) != 0)
		return false;
	fcntl(ends[ours], F_SETFL, O_NONBLOCK);
	return true;
}

/* ---- input ----------------------------------------------------------------------------------------- */

void input_open(struct input *input)
{
	struct stat status;
	*input = (struct input){.kind = INPUT_DIRECT, .pipe = -1};
	if (fstat(STDIN_FILENO, &status) != 0)
		return;
	if (S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode))
		input->kind = INPUT_KEPT;
	else if (S_ISREG(status.st_mode) && (input->start = lseek(STDIN_FILENO, 0, SEEK_CUR)) >= 0)
		input->kind = INPUT_FILE;
}

bool input_begin(struct input *input, int *child)
{
	int ends[2];
	*child = -1;
	if (input->kind != INPUT_KEPT)
		return true;
	if (!make_pipe(ends, 1))
		return false;
	*child = ends[0];
	input->pipe = ends[1];
	input->given = 0;
	return true;
}

/* Nothing is read ahead: what one run leaves in the pipe is for who comes after us. */
struct pollfd input_source(const struct input *input)
{
	bool wanted = input->pipe >= 0 && !input->ended && input->given == input->kept.length;
	return (struct pollfd){.fd = wanted ? STDIN_FILENO : -1, .events = POLLIN};
}

/* Always looked at while it is open: its other end may be closed. */
struct pollfd input_sink(const struct input *input)
{
	return (struct pollfd){.fd = input->pipe, .events = input->given < input->kept.length ? POLLOUT : 0};
}

static void take_piece(struct input *input)
{
	char piece[PIECE];
	ssize_t length = read(STDIN_FILENO, piece, sizeof piece);
	if (length < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (length <= 0) {
		input->ended = true;
		return;
	}
	if (keep(&input->kept, piece, (size_t)length))
		return;
	/* All that was kept has been given: it makes room. */
	input->lost = true;
	input->kept.length = input->given = 0;
	keep(&input->kept, piece, (size_t)length);
}

void input_go_on(struct input *input, short source, short sink)
{
	if ((sink & POLLERR) != 0)
		shut(&input->pipe); /* the command reads no more */
	if (source != 0 && input->pipe >= 0)
		take_piece(input);
	if (input->pipe >= 0 && input->given < input->kept.length) {
		ssize_t more = write(input->pipe, input->kept.bytes + input->given, input->kept.length - input->given);
		if (more > 0)
			input->given += (size_t)more;
		else if (errno != EAGAIN && errno != EINTR)
			shut(&input->pipe);
	}
	if (input->pipe >= 0 && input->ended && input->given == input->kept.length)
		shut(&input->pipe);
}

void input_end(struct input *input) { shut(&input->pipe); }

bool input_can_rewind(const struct input *input) { return !input->lost; }

bool input_rewind(struct input *input)
{
	return input->kind != INPUT_FILE || lseek(STDIN_FILENO, input->start, SEEK_SET) == input->start;
}

/* ---- output ---------------------------------------------------------------------------------------- */

static bool is_log(const struct stat *status)
{
	struct stat errors;
	return fstat(STDERR_FILENO, &errors) == 0 && errors.st_dev == status->st_dev && errors.st_ino == status->st_ino;
}

void output_open(struct output *output, bool all, const sigset_t *waiting)
{
	struct stat status;
	*output = (struct output){.kind = OUTPUT_DIRECT, .waiting = *waiting, .pipe = -1};
	if (all || fstat(STDOUT_FILENO, &status) != 0 || is_log(&status))
		return;
	int flags = fcntl(STDOUT_FILENO, F_GETFL);
	output->start = lseek(STDOUT_FILENO, 0, SEEK_CUR);
	if (S_ISREG(status.st_mode) && (flags & O_APPEND) == 0 && output->start == status.st_size)
		output->kind = OUTPUT_FILE;
	else if (S_ISREG(status.st_mode) || S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode))
		output->kind = OUTPUT_HELD;
}

bool output_begin(struct output *output, int *child)
{
	int ends[2];
	*child = -1;
	if (output->kind != OUTPUT_HELD)
		return true;
	if (!make_pipe(ends, 0))
		return false;
	*child = ends[1];
	output->pipe = ends[0];
	return true;
}

struct pollfd output_source(const struct output *output) { return (struct pollfd){.fd = output->pipe, .events = POLLIN}; }

/* False at the end, or where there is no more now. */
static bool take_output(struct output *output)
{
	char piece[PIECE];
	ssize_t length = read(output->pipe, piece, sizeof piece);
	if (length < 0 && errno == EINTR)
		return true;
	if (length <= 0) {
		if (length == 0 || errno != EAGAIN)
			shut(&output->pipe);
		return false;
	}
	if (!output->delivered && keep(&output->held, piece, (size_t)length))
		return true;
	if (!output->delivered)
		output_deliver(output);
	output->delivered = true;
	if (!write_all(STDOUT_FILENO, piece, (size_t)length, &output->waiting))
		shut(&output->pipe); /* as the command itself would learn it */
	return output->pipe >= 0;
}

void output_go_on(struct output *output, short source)
{
	if (source != 0)
		take_output(output);
}

/* As much as the command can have left in it: others may go on writing. */
void output_end(struct output *output)
{
	int pieces = output->pipe >= 0 ? fcntl(output->pipe, F_GETPIPE_SZ) / PIECE + 1 : 0;
	while (pieces-- > 0 && output->pipe >= 0 && take_output(output))
		;
}

bool output_can_rewind(const struct output *output) { return !output->delivered; }

bool output_rewind(struct output *output)
{
	shut(&output->pipe);
	output->held.length = 0;
	return output->kind != OUTPUT_FILE || (ftruncate(STDOUT_FILENO, output->start) == 0 &&
	                                       lseek(STDOUT_FILENO, output->start, SEEK_SET) == output->start);
}

bool output_deliver(struct output *output)
{
	size_t length = output->held.length;
	output->held.length = 0;
	return write_all(STDOUT_FILENO, output->held.bytes, length, &output->waiting);
}

void output_leave(struct output *output)
{
	if (output->pipe >= 0 && fork() == 0) {
		sigprocmask(SIG_SETMASK, &output->waiting, NULL);
		/* Nothing else is kept open for as long as that takes. */
		if (dup2(output->pipe, STDIN_FILENO) < 0)
			_exit(1);
		close(STDERR_FILENO);
		closefrom(STDERR_FILENO + 1);
		fcntl(STDIN_FILENO, F_SETFL, 0);
		output->pipe = STDIN_FILENO;
		output->delivered = true;
		while (take_output(output))
			;
		_exit(0);
	}
	shut(&output->pipe);
}
