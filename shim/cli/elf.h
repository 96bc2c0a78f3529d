/* What an ELF file says of itself. It is read and never run, and may hold any bytes, of either word size and byte order:
 * nothing in it is trusted, what does not fit is not there, and every loop and allocation has a bound. */
#ifndef RETRYSHIM_CLI_ELF_H
#define RETRYSHIM_CLI_ELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum elf_libc { ELF_LIBC_UNKNOWN, ELF_LIBC_GLIBC, ELF_LIBC_MUSL, ELF_LIBC_OTHER };

/* What decides whether one file can be loaded beside another. */
struct elf_kind {
	bool wide; /* 64-bit */
	bool big;  /* the most significant byte first */
	uint16_t machine;
	enum elf_libc libc;
};

enum elf_difference { ELF_SAME, ELF_OTHER_WORD_SIZE, ELF_OTHER_PROCESSOR, ELF_OTHER_LIBC };

/* Functions that it takes from libraries, a bit each. */
enum elf_import {
	ELF_CONNECT = 1 << 0,
	ELF_LOOKUP = 1 << 1, /* getaddrinfo */
	ELF_SYSCALL = 1 << 2,
	ELF_DLOPEN = 1 << 3,
};

enum { ELF_NEEDED_MOST = 256 };

struct elf {
	struct elf_kind kind;
	uint16_t type;     /* ET_EXEC, ET_DYN ... */
	bool go;           /* it has the Go linker's section */
	bool no_default;   /* DF_1_NODEFLIB */
	unsigned imports;  /* enum elf_import */
	char *interpreter; /* its loader; NULL = none, it is static or a library */
	char *rpath, *runpath;
	int needed_count;
	char *needed[ELF_NEEDED_MOST];
};

enum elf_result {
	ELF_READ,
	ELF_UNREADABLE, /* errno says why; EISDIR for all that is no regular file */
	ELF_IS_NOT,     /* a regular file of another format */
	ELF_BROKEN,     /* it begins as one, and no kernel would take it */
};

/* Unless it returns ELF_READ there is nothing to free. */
enum elf_result elf_read(const char *path, struct elf *elf);
void elf_free(struct elf *elf);

/* Opens a regular file that may be anything, without waiting for it; -1, errno as above. */
int elf_open(const char *path);

enum elf_difference elf_difference(const struct elf_kind *one, const struct elf_kind *other);

/* "x86-64", or "i386, 32-bit". To be freed. */
char *elf_processor_name(const struct elf_kind *kind);
const char *elf_libc_name(enum elf_libc libc);

/* How Debian names the folder of libraries of this kind, "" if that is not known. */
const char *elf_triplet(const struct elf_kind *kind);

/* What a look through all its bytes shows (elf_scan.c). */
enum elf_sight {
	ELF_SEEN_GO = 1 << 0,
	ELF_SEEN_LIBCURL_NAME = 1 << 1, /* the file name of libcurl's library */
	ELF_SEEN_LIBCURL = 1 << 2,      /* libcurl's own version string */
	ELF_SEEN_CONNECT = 1 << 3,      /* the raw system call in its code */
	ELF_SEEN_IO_URING = 1 << 4,
};

/* 0 if it cannot be read. Looks at half a gigabyte at most. */
unsigned elf_scan(const char *path, const struct elf_kind *kind);

#endif
