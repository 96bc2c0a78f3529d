/* What a shared object on disk says that it needs. The file may be anything: nothing in it is trusted, and
 * what cannot be read is simply not there. */
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "retryshim/runtime.h"

enum { SEGMENTS_MOST = 64, ENTRIES_MOST = 512, NAME_MOST = 256 };

struct image {
	int fd;
	int segments;
	ElfW(Phdr) segment[SEGMENTS_MOST];
};

static bool read_at(const struct image *image, void *out, size_t size, uint64_t offset)
{
	return offset <= INT64_MAX && pread(image->fd, out, size, (off_t)offset) == (ssize_t)size;
}

static bool read_segments(struct image *image)
{
	ElfW(Ehdr) header;
	if (!read_at(image, &header, sizeof header, 0) || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
	    header.e_ident[EI_CLASS] != (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32) ||
	    header.e_phentsize != sizeof(ElfW(Phdr)) || header.e_phnum > SEGMENTS_MOST)
		return false;
	image->segments = header.e_phnum;
	return read_at(image, image->segment, header.e_phnum * sizeof(ElfW(Phdr)), header.e_phoff);
}

/* Where a virtual address lies in the file; -1 if nowhere. */
static int64_t offset_of(const struct image *image, uint64_t address)
{
	for (int i = 0; i < image->segments; i++) {
		const ElfW(Phdr) *segment = &image->segment[i];
		if (segment->p_type == PT_LOAD && address >= segment->p_vaddr && address - segment->p_vaddr < segment->p_filesz)
			return (int64_t)(segment->p_offset + (address - segment->p_vaddr));
	}
	return -1;
}

static bool name_starts(const struct image *image, uint64_t offset, const char *prefix)
{
	char name[NAME_MOST];
	size_t length = strlen(prefix);
	return length <= sizeof name && read_at(image, name, length, offset) && memcmp(name, prefix, length) == 0;
}

static bool entries_need(const struct image *image, const ElfW(Phdr) *dynamic, const char *prefix)
{
	ElfW(Dyn) entry;
	int64_t names = -1;
	int count = 0;
	for (; count < ENTRIES_MOST && ((unsigned)count + 1) * sizeof entry <= dynamic->p_filesz; count++) {
		if (!read_at(image, &entry, sizeof entry, dynamic->p_offset + (unsigned)count * sizeof entry) ||
		    entry.d_tag == DT_NULL)
			break;
		if (entry.d_tag == DT_STRTAB)
			names = offset_of(image, entry.d_un.d_ptr);
	}
	for (int i = 0; i < count && names >= 0; i++)
		if (read_at(image, &entry, sizeof entry, dynamic->p_offset + (unsigned)i * sizeof entry) &&
		    entry.d_tag == DT_NEEDED && name_starts(image, (uint64_t)names + entry.d_un.d_val, prefix))
			return true;
	return false;
}

static bool image_needs(struct image *image, const char *prefix)
{
	struct stat status;
	if (fstat(image->fd, &status) != 0 || !S_ISREG(status.st_mode) || !read_segments(image))
		return false;
	for (int i = 0; i < image->segments; i++)
		if (image->segment[i].p_type == PT_DYNAMIC)
			return entries_need(image, &image->segment[i], prefix);
	return false;
}

bool object_needs(const char *path, const char *prefix)
{
	struct image image;
	struct stat status;
	struct hold hold;
	/* Before it is opened: that would let a FIFO's writer go on, and the loader wait for ever. */
	if (stat(path, &status) != 0 || !S_ISREG(status.st_mode))
		return false;
	hold_begin(&hold);
	image.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	bool needs = image.fd >= 0 && image_needs(&image, prefix);
	if (image.fd >= 0)
		close(image.fd);
	hold_end(&hold);
	return needs;
}
