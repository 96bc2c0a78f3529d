/* /etc/ld.so.cache, where ldconfig(8) keeps which library lies where: glibc's sysdeps/generic/dl-cache.h. Root writes it;
 * still, nothing in it is trusted. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/libraries.h"
#include "retryshim/cli.h"

enum { CACHE_BYTES_MOST = 64 << 20 };

struct header {
	char magic[20]; /* no zero behind it */
	uint32_t count;
	uint32_t string_bytes;
	unsigned char flags[4];
	uint32_t extensions;
	uint32_t unused[3];
};

struct entry {
	int32_t flags;
	uint32_t name, path; /* from the header's first byte */
	uint32_t os_version;
	uint64_t hardware;
};

static const char magic[] = "glibc-ld.so.cache1.1";

struct cache {
	char *bytes; /* with a zero behind them; NULL: there is none */
	size_t size;
};

static struct cache read_cache(void)
{
	struct cache cache = {NULL, 0};
	struct stat status;
	int fd = elf_open("/etc/ld.so.cache");
	if (fd < 0)
		return cache;
	if (fstat(fd, &status) == 0 && status.st_size > 0 && status.st_size <= CACHE_BYTES_MOST) {
		cache.bytes = cli_allocate((size_t)status.st_size + 1);
		ssize_t got = pread(fd, cache.bytes, (size_t)status.st_size, 0);
		cache.size = got > 0 ? (size_t)got : 0;
	}
	close(fd);
	return cache;
}

/* It lies for as long as the command runs, which asks for it a hundred times. The header is the file's first byte, or behind
 * a table of an older form. */
static const char *cached_header(size_t *size)
{
	static struct cache cache;
	static const char *start;
	static bool is_read;
	if (!is_read) {
		is_read = true;
		cache = read_cache();
		start = cache.size > 0 ? memmem(cache.bytes, cache.size, magic, sizeof magic - 1) : NULL;
	}
	*size = start != NULL ? cache.size - (size_t)(start - cache.bytes) : 0;
	return *size >= sizeof(struct header) ? start : NULL;
}

char *libraries_cached(const char *name, bool (*takes)(const char *path, void *context), void *context)
{
	struct header header;
	struct entry entry;
	size_t size;
	const char *start = cached_header(&size);
	if (start == NULL)
		return NULL;
	memcpy(&header, start, sizeof header);
	for (uint32_t i = 0; i < header.count && sizeof header + ((uint64_t)i + 1) * sizeof entry <= size; i++) {
		memcpy(&entry, start + sizeof header + i * sizeof entry, sizeof entry);
		if (entry.name < size && entry.path < size && strcmp(start + entry.name, name) == 0 &&
		    takes(start + entry.path, context))
			return cli_format("%s", start + entry.path);
	}
	return NULL;
}
