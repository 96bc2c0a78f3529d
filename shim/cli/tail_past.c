/* Where the last lines of a file begin, without reading what is far before them. */
#include <string.h>
#include <unistd.h>

#include "cli/tail.h"

struct count {
	const struct tail_view *view;
	uint64_t lines;
};

static void count_line(void *context, const char *line, size_t length)
{
	struct count *count = context;
	if (tail_wanted(count->view, line, length))
		count->lines++;
}

/* How many lines of [from, to) would be shown. `from` is a line's start, `to` one as well, or the file's end. */
static uint64_t count_lines(struct tail_input *input, off_t from, off_t to)
{
	struct count count = {&input->tail->view, 0};
	tail_input_each(input, from, to, count_line, &count);
	if (input->tail->follow)
		input->lines.length = 0; /* it will be shown when it is whole */
	else
		tail_lines_end(&input->lines, count_line, &count);
	return count.lines;
}

/* The first start of a line in [from, to); `to` if there is none. */
static off_t line_start(struct tail_input *input, off_t from, off_t to)
{
	char block[16384];
	while (from > 0 && from < to) {
		size_t wanted = to - from < (off_t)sizeof block ? (size_t)(to - from) : sizeof block;
		ssize_t length = pread(input->fd, block, wanted, from);
		if (length < 0)
			tail_input_failed(input);
		const char *newline = length > 0 ? memchr(block, '\n', (size_t)length) : NULL;
		if (newline != NULL)
			return from + (newline + 1 - block);
		if (length == 0)
			return to;
		from += length;
	}
	return from;
}

/* Looks twice as far back until there are enough: a file with few lines to show is read twice at most, and a line
 * without an end does not make it worse. */
off_t tail_past(struct tail_input *input, off_t end)
{
	const uint64_t wanted = input->tail->lines;
	off_t begin = end, span = 65536;
	uint64_t found = 0;
	do {
		off_t start = line_start(input, end > span ? end - span : 0, begin);
		found += count_lines(input, start, begin);
		begin = start;
		span = span > end / 2 ? end : 2 * span;
	} while (begin > 0 && found < wanted);
	input->skip = found > wanted ? found - wanted : 0;
	return begin;
}
