/* What is registered in an epoll set, by its /proc/self/fdinfo (proc_pid_fdinfo(5)): a line
 *
 *     tfd:        5 events:       19 data: 100000005  pos:0 ino:8a17 sdev:8
 *
 * for each descriptor (ep_show_fdinfo in fs/eventpoll.c; all but tfd and data in hexadecimal).
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "retryshim/runtime.h"

enum { CHUNK_BYTES = 4096 };

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

/* Reads the number behind `label`, moving *at past it. */
static bool read_field(const char **at, const char *label, int base, uint64_t *number)
{
	const char *found = strstr(*at, label);
	if (found == NULL)
		return false;
	found += strlen(label);
	while (*found == ' ')
		found++;
	if (digit_of(*found) >= base)
		return false;
	for (*number = 0; digit_of(*found) < base; found++)
		*number = *number * (uint64_t)base + (uint64_t)digit_of(*found);
	*at = found;
	return true;
}

static void read_line(const char *line, epoll_found *found, void *context)
{
	uint64_t fd, events;
	struct epoll_registration it = {0};
	if (!read_field(&line, "tfd:", 10, &fd) || !read_field(&line, "events:", 16, &events) ||
	    !read_field(&line, "data:", 16, &it.data))
		return;
	it.fd = (int)fd;
	it.events = (uint32_t)events;
	read_field(&line, "ino:", 16, &it.inode); /* Linux 4.13 and later */
	found(context, &it);
}

/* Hands each whole line on; returns how many bytes of a broken last one were moved to the front. */
static size_t read_lines(char *text, size_t length, epoll_found *found, void *context)
{
	char *line = text, *end;
	while ((end = memchr(line, '\n', length - (size_t)(line - text))) != NULL) {
		*end = '\0';
		read_line(line, found, context);
		line = end + 1;
	}
	size_t rest = length - (size_t)(line - text);
	memmove(text, line, rest);
	return rest;
}

static void path_of(int epoll, char path[48])
{
	static const char folder[] = "/proc/thread-self/fdinfo/";
	char digits[12];
	size_t at = sizeof digits;
	digits[--at] = '\0';
	do {
		digits[--at] = (char)('0' + epoll % 10);
		epoll /= 10;
	} while (epoll != 0);
	memcpy(path, folder, sizeof folder - 1);
	memcpy(path + sizeof folder - 1, digits + at, sizeof digits - at);
}

void epoll_list(int epoll, epoll_found *found, void *context)
{
	char path[48], text[CHUNK_BYTES];
	size_t kept = 0;
	ssize_t got;
	if (epoll < 0)
		return;
	path_of(epoll, path);
	int file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return;
	while ((got = read(file, text + kept, sizeof text - kept)) > 0) {
		kept = read_lines(text, kept + (size_t)got, found, context);
		if (kept == sizeof text) /* no line of the kernel's is that long */
			kept = 0;
	}
	close(file);
}
