/* Buffered reading from one socket. */
#ifndef FAULTS_READER_H
#define FAULTS_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define READER_SIZE 65536

/* data[start..end) was read and not yet taken. The socket stays the caller's. */
struct reader {
	int fd;
	int64_t deadline_ns; /* on net_now_ns()'s clock; 0 = none */
	size_t start, end;
	char data[READER_SIZE + 1];
};

/* One more read, behind what is there; false at the stream's end, an error, the deadline, or when
 * READER_SIZE bytes are waiting to be taken. */
bool reader_fill(struct reader *reader);

/* Takes one line, without its CRLF or LF; NULL if none comes. Valid until the next call. A NUL in
 * the line shortens it for string functions: *length (NULL = not wanted) counts everything. */
char *reader_line(struct reader *reader, size_t *length);

/* Length of the header block that starts at data[start], its blank line included; 0 if the stream
 * ends before, or it does not fit. The block is not taken. Blank lines before it are. */
size_t reader_block(struct reader *reader);

#endif
