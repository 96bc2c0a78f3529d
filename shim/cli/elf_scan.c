/* Looks through a whole file for what no header tells. */
#include "cli/elf.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "retryshim/cli.h"

enum { WINDOW = 1 << 20, LONGEST = 64, SCAN_MOST_MB = 512, INSTRUCTIONS_BETWEEN = 16 };

#define BYTES(text) (text), sizeof(text) - 1

/* `follow` has to begin within INSTRUCTIONS_BETWEEN bytes behind `bytes`: a system call's number is loaded into its
 * register, and then comes the instruction. Compilers put them close together; in chromium, node, clang, gdb and php (400 MB) no other
 * bytes look so. */
static const struct sign {
	const char *bytes;
	size_t length;
	size_t alignment;
	const char *follow;
	size_t follow_length;
	enum elf_sight sight;
	uint16_t machine; /* EM_NONE = any */
} signs[] = {
	{BYTES("\xff Go buildinf:"), 16, BYTES(""), ELF_SEEN_GO, EM_NONE},
	{BYTES("libcurl.so.4"), 1, BYTES(""), ELF_SEEN_LIBCURL_NAME, EM_NONE},
	{BYTES("libcurl-gnutls.so.4"), 1, BYTES(""), ELF_SEEN_LIBCURL_NAME, EM_NONE},
	{BYTES("libcurl/7."), 1, BYTES(""), ELF_SEEN_LIBCURL, EM_NONE},
	{BYTES("libcurl/8."), 1, BYTES(""), ELF_SEEN_LIBCURL, EM_NONE},
	{BYTES("\xb8\x2a\x00\x00\x00"), 1, BYTES("\x0f\x05"), ELF_SEEN_CONNECT, EM_X86_64}, /* mov $42,%eax; syscall */
	{BYTES("\xb8\xa9\x01\x00\x00"), 1, BYTES("\x0f\x05"), ELF_SEEN_IO_URING, EM_X86_64}, /* 425: io_uring_setup */
	{BYTES("\xb8\xaa\x01\x00\x00"), 1, BYTES("\x0f\x05"), ELF_SEEN_IO_URING, EM_X86_64}, /* 426: io_uring_enter */
	{BYTES("\x68\x19\x80\xd2"), 4, BYTES("\x01\x00\x00\xd4"), ELF_SEEN_CONNECT, EM_AARCH64}, /* mov x8, #203; svc #0 */
	{BYTES("\x68\x19\x80\x52"), 4, BYTES("\x01\x00\x00\xd4"), ELF_SEEN_CONNECT, EM_AARCH64}, /* mov w8, #203 */
	{BYTES("\x28\x35\x80\xd2"), 4, BYTES("\x01\x00\x00\xd4"), ELF_SEEN_IO_URING, EM_AARCH64}, /* mov x8, #425 */
	{BYTES("\x28\x35\x80\x52"), 4, BYTES("\x01\x00\x00\xd4"), ELF_SEEN_IO_URING, EM_AARCH64},
	{BYTES("\x48\x35\x80\xd2"), 4, BYTES("\x01\x00\x00\xd4"), ELF_SEEN_IO_URING, EM_AARCH64}, /* mov x8, #426 */
	{BYTES("\x48\x35\x80\x52"), 4, BYTES("\x01\x00\x00\xd4"), ELF_SEEN_IO_URING, EM_AARCH64},
};

/* True if it begins among the first `size` bytes of the window, which lies at `start` in the file. */
static bool is_in(const struct sign *sign, const char *window, size_t size, size_t available, uint64_t start)
{
	const char *at = window, *end = window + available;
	while ((at = memmem(at, (size_t)(end - at), sign->bytes, sign->length)) != NULL && (size_t)(at - window) < size) {
		const char *behind = at + sign->length;
		size_t near = INSTRUCTIONS_BETWEEN + sign->follow_length;
		if ((size_t)(end - behind) < near)
			near = (size_t)(end - behind);
		if ((start + (size_t)(at - window)) % sign->alignment == 0 &&
		    memmem(behind, near, sign->follow, sign->follow_length) != NULL)
			return true;
		at++;
	}
	return false;
}

static unsigned scan(int fd, const struct elf_kind *kind)
{
	char *window = cli_allocate(WINDOW + LONGEST);
	unsigned seen = 0;
	for (uint64_t start = 0; start < (uint64_t)SCAN_MOST_MB << 20; start += WINDOW) {
		ssize_t got = pread(fd, window, WINDOW + LONGEST, (off_t)start);
		if (got <= 0)
			break;
		size_t available = (size_t)got, size = available < WINDOW ? available : WINDOW;
		for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++)
			if ((seen & signs[i].sight) == 0 && (signs[i].machine == EM_NONE || signs[i].machine == kind->machine) &&
			    is_in(&signs[i], window, size, available, start))
				seen |= signs[i].sight;
	}
	free(window);
	return seen;
}

unsigned elf_scan(const char *path, const struct elf_kind *kind)
{
	int fd = elf_open(path);
	unsigned seen = fd >= 0 ? scan(fd, kind) : 0;
	if (fd >= 0)
		close(fd);
	return seen;
}
