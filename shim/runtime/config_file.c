/* A configuration file, read whole. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "retryshim/runtime.h"

/* The standard file counts in programs of all users, also in those with more rights than their caller. */
static const char *distrust(const struct stat *file, bool standard)
{
	if (!S_ISREG(file->st_mode))
		return "it is no regular file";
	if (file->st_size > RULES_BYTES)
		return "it is longer than 65536 bytes";
	if (standard && file->st_uid != 0)
		return "it does not belong to root";
	if (standard && (file->st_mode & (S_IWGRP | S_IWOTH)) != 0)
		return "others than root may write to it";
	return NULL;
}

static ssize_t read_whole(int file, char *text)
{
	size_t used = 0;
	while (used < RULES_BYTES) {
		/* Not read(2), which is ours. */
		ssize_t more = pread(file, text + used, RULES_BYTES - used, (off_t)used);
		if (more < 0 && errno == EINTR)
			continue;
		if (more < 0)
			return -1;
		if (more == 0)
			break;
		used += (size_t)more;
	}
	text[used] = '\0';
	return (ssize_t)used;
}

ssize_t config_file_read(const char *path, char text[RULES_BYTES + 1], const char **why)
{
	struct stat status;
	*why = "";
	bool standard = strcmp(path, CONFIG_FILE) == 0;
	int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* a FIFO must not be waited for */
	if (file < 0)
		return -1;
	ssize_t length = -1;
	if (fstat(file, &status) == 0 && (*why = distrust(&status, standard)) == NULL) {
		*why = "";
		length = read_whole(file, text);
		if (length >= 0 && strlen(text) != (size_t)length) {
			*why = "it is no text";
			length = -1;
		}
	}
	int error = errno;
	close(file);
	errno = error;
	return length;
}

const char *config_file_path(const struct config *environment)
{
	if (!environment->enabled || strcmp(environment->file, "off") == 0)
		return NULL;
	return environment->file[0] != '\0' ? environment->file : CONFIG_FILE;
}
