#include "reader.h"
#include "net.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

bool reader_fill(struct reader *reader)
{
	if (reader->start > 0) {
		memmove(reader->data, reader->data + reader->start, reader->end - reader->start);
		reader->end -= reader->start;
		reader->start = 0;
	}
	if (reader->end == READER_SIZE)
		return false;
	if (reader->deadline_ns) {
		int64_t left = reader->deadline_ns - net_now_ns();
		if (left <= 0 || !net_wait(reader->fd, POLLIN, left))
			return false;
	}
	ssize_t got;
	do
		got = recv(reader->fd, reader->data + reader->end, READER_SIZE - reader->end, 0);
	while (got < 0 && errno == EINTR);
	if (got <= 0)
		return false;
	reader->end += (size_t)got;
	return true;
}

char *reader_line(struct reader *reader, size_t *length)
{
	size_t searched = 0;
	char *newline;
	for (;;) {
		size_t have = reader->end - reader->start;
		char *from = reader->data + reader->start + searched;
		newline = memchr(from, '\n', have - searched);
		if (newline)
			break;
		searched = have;
		if (!reader_fill(reader))
			return NULL;
	}
	char *line = reader->data + reader->start;
	size_t size = (size_t)(newline - line);
	reader->start += size + 1;
	if (size > 0 && line[size - 1] == '\r')
		size--;
	line[size] = '\0';
	if (length)
		*length = size;
	return line;
}

static size_t block_end(const char *data, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (data[i] != '\n')
			continue;
		if (i + 1 < length && data[i + 1] == '\n')
			return i + 2;
		if (i + 2 < length && data[i + 1] == '\r' && data[i + 2] == '\n')
			return i + 3;
	}
	return 0;
}

size_t reader_block(struct reader *reader)
{
	for (;;) {
		/* RFC 9112, 2.2: a server ignores blank lines before the request line. */
		while (reader->start < reader->end && strchr("\r\n", reader->data[reader->start]) &&
		       reader->data[reader->start] != '\0')
			reader->start++;
		size_t length = block_end(reader->data + reader->start, reader->end - reader->start);
		if (length > 0)
			return length;
		if (!reader_fill(reader))
			return 0;
	}
}
