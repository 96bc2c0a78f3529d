/* Reads an ELF file's headers, dynamic section and imported names. */
#include "cli/elf.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "retryshim/cli.h"

enum {
	SEGMENTS_MOST = 1170, /* more are refused by the kernel (load_elf_phdrs) */
	SECTIONS_MOST = 2048,
	ENTRIES_MOST = 4096,
	TEXT_MOST = 4096,
	SYMBOLS_MOST = 1 << 20,
	NAMES_BYTES_MOST = 64 << 20,
	SYMBOLS_AT_ONCE = 1024,
};

/* A record of the file, as it lies there. */
struct file {
	int fd;
	uint64_t size;
	bool wide, big;
	int segment_count;
	unsigned char *segments; /* the program headers */
	uint64_t section_offset;
	unsigned section_count, section_names;
};

/* ---- bytes ------------------------------------------------------------------------------------------ */

static bool get(const struct file *file, void *out, uint64_t offset, size_t size)
{
	return offset <= file->size && size <= file->size - offset &&
	       pread(file->fd, out, size, (off_t)offset) == (ssize_t)size;
}

static uint64_t number(const struct file *file, const unsigned char *at, size_t size)
{
	uint64_t value = 0;
	for (size_t i = 0; i < size; i++)
		value = value << 8 | at[file->big ? i : size - 1 - i];
	return value;
}

/* A member of a record, by its place in <elf.h>'s structure of the file's word size. */
#define MEMBER(file, record, type, member)                                                                            \
	((file)->wide ? number(file, (record) + offsetof(Elf64_##type, member), sizeof(((Elf64_##type *)0)->member))      \
	              : number(file, (record) + offsetof(Elf32_##type, member), sizeof(((Elf32_##type *)0)->member)))
#define SIZE_OF(file, type) ((file)->wide ? sizeof(Elf64_##type) : sizeof(Elf32_##type))

/* The text at this offset, of at most `limit` bytes; NULL if it does not end there. To be freed. */
static char *text_at(const struct file *file, uint64_t offset, uint64_t most)
{
	char text[TEXT_MOST];
	if (offset > file->size)
		return NULL;
	if (most > file->size - offset)
		most = file->size - offset;
	size_t limit = most < sizeof text ? (size_t)most : sizeof text;
	if (!get(file, text, offset, limit) || memchr(text, '\0', limit) == NULL)
		return NULL;
	return cli_format("%s", text);
}

/* ---- headers ---------------------------------------------------------------------------------------- */

static const unsigned char *segment(const struct file *file, int index)
{
	return file->segments + (size_t)index * SIZE_OF(file, Phdr);
}

static enum elf_result read_header(struct file *file, struct elf *elf)
{
	unsigned char header[sizeof(Elf64_Ehdr)] = "";
	if (!get(file, header, 0, SELFMAG) || memcmp(header, ELFMAG, SELFMAG) != 0)
		return ELF_IS_NOT;
	size_t here = file->size < sizeof header ? (size_t)file->size : sizeof header;
	if (here < sizeof(Elf32_Ehdr) || !get(file, header, 0, here))
		return ELF_BROKEN;
	file->wide = header[EI_CLASS] == ELFCLASS64;
	file->big = header[EI_DATA] == ELFDATA2MSB;
	if ((!file->wide && header[EI_CLASS] != ELFCLASS32) || (!file->big && header[EI_DATA] != ELFDATA2LSB) ||
	    here < SIZE_OF(file, Ehdr))
		return ELF_BROKEN;
	elf->type = (uint16_t)MEMBER(file, header, Ehdr, e_type);
	elf->kind = (struct elf_kind){file->wide, file->big, (uint16_t)MEMBER(file, header, Ehdr, e_machine), ELF_LIBC_UNKNOWN};
	file->segment_count = (int)MEMBER(file, header, Ehdr, e_phnum);
	file->section_offset = MEMBER(file, header, Ehdr, e_shoff);
	file->section_count = (unsigned)MEMBER(file, header, Ehdr, e_shnum);
	file->section_names = (unsigned)MEMBER(file, header, Ehdr, e_shstrndx);
	if (MEMBER(file, header, Ehdr, e_shentsize) != SIZE_OF(file, Shdr))
		file->section_count = 0;
	if (file->segment_count < 1 || file->segment_count > SEGMENTS_MOST ||
	    MEMBER(file, header, Ehdr, e_phentsize) != SIZE_OF(file, Phdr))
		return ELF_BROKEN;
	size_t size = (size_t)file->segment_count * SIZE_OF(file, Phdr);
	file->segments = cli_allocate(size);
	return get(file, file->segments, MEMBER(file, header, Ehdr, e_phoff), size) ? ELF_READ : ELF_BROKEN;
}

/* Where a virtual address lies in the file, and how much of its segment follows; false if nowhere. */
static bool offset_of(const struct file *file, uint64_t address, uint64_t *offset, uint64_t *rest)
{
	for (int i = 0; i < file->segment_count; i++) {
		const unsigned char *it = segment(file, i);
		uint64_t start = MEMBER(file, it, Phdr, p_vaddr), size = MEMBER(file, it, Phdr, p_filesz);
		if (MEMBER(file, it, Phdr, p_type) != PT_LOAD || address < start || address - start >= size)
			continue;
		*offset = MEMBER(file, it, Phdr, p_offset) + (address - start);
		*rest = size - (address - start);
		return true;
	}
	return false;
}

/* Runs over the section headers until one is taken. */
static bool any_section(const struct file *file, bool (*takes)(const struct file *, const unsigned char *section, void *),
                        void *context)
{
	unsigned char section[sizeof(Elf64_Shdr)];
	for (unsigned i = 0; i < file->section_count && i < SECTIONS_MOST; i++)
		if (get(file, section, file->section_offset + i * SIZE_OF(file, Shdr), SIZE_OF(file, Shdr)) &&
		    takes(file, section, context))
			return true;
	return false;
}

static bool is_go_section(const struct file *file, const unsigned char *section, void *names)
{
	static const char wanted[] = ".go.buildinfo";
	char name[sizeof wanted];
	return get(file, name, *(uint64_t *)names + MEMBER(file, section, Shdr, sh_name), sizeof name) &&
	       memcmp(name, wanted, sizeof name) == 0;
}

static bool has_go_section(const struct file *file)
{
	unsigned char section[sizeof(Elf64_Shdr)];
	if (!get(file, section, file->section_offset + (uint64_t)file->section_names * SIZE_OF(file, Shdr), SIZE_OF(file, Shdr)))
		return false;
	uint64_t names = MEMBER(file, section, Shdr, sh_offset);
	return any_section(file, is_go_section, &names);
}

/* ---- the dynamic section ---------------------------------------------------------------------------- */

struct dynamic {
	uint64_t strings, strings_size; /* in the file */
	uint64_t symbols, symbol_count; /* 0 = none */
	uint64_t hash, gnu_hash;        /* addresses, 0 = none */
	uint64_t rpath, runpath;
	int needed_count;
	uint64_t needed[ELF_NEEDED_MOST];
};

static void take_entry(const struct file *file, struct dynamic *dynamic, struct elf *elf, uint64_t tag, uint64_t value)
{
	uint64_t rest;
	switch (tag) {
	case DT_STRTAB: offset_of(file, value, &dynamic->strings, &dynamic->strings_size); break;
	case DT_SYMTAB: offset_of(file, value, &dynamic->symbols, &rest); break;
	case DT_HASH: dynamic->hash = value; break;
	case DT_GNU_HASH: dynamic->gnu_hash = value; break;
	case DT_RPATH: dynamic->rpath = value; break;
	case DT_RUNPATH: dynamic->runpath = value; break;
	case DT_FLAGS_1: elf->no_default = (value & DF_1_NODEFLIB) != 0; break;
	case DT_NEEDED:
		if (dynamic->needed_count < ELF_NEEDED_MOST)
			dynamic->needed[dynamic->needed_count++] = value;
		break;
	default: break;
	}
}

static char *dynamic_text(const struct file *file, const struct dynamic *dynamic, uint64_t at)
{
	return at < dynamic->strings_size ? text_at(file, dynamic->strings + at, dynamic->strings_size - at) : NULL;
}

static void read_entries(const struct file *file, const unsigned char *table, struct dynamic *dynamic, struct elf *elf)
{
	unsigned char entry[sizeof(Elf64_Dyn)];
	size_t size = SIZE_OF(file, Dyn);
	uint64_t offset = MEMBER(file, table, Phdr, p_offset), most = MEMBER(file, table, Phdr, p_filesz) / size;
	for (uint64_t i = 0; i < most && i < ENTRIES_MOST && get(file, entry, offset + i * size, size); i++) {
		uint64_t tag = MEMBER(file, entry, Dyn, d_tag);
		if (tag == DT_NULL)
			break;
		take_entry(file, dynamic, elf, tag, MEMBER(file, entry, Dyn, d_un));
	}
	elf->rpath = dynamic->rpath != 0 ? dynamic_text(file, dynamic, dynamic->rpath) : NULL;
	elf->runpath = dynamic->runpath != 0 ? dynamic_text(file, dynamic, dynamic->runpath) : NULL;
	for (int i = 0; i < dynamic->needed_count; i++) {
		char *name = dynamic_text(file, dynamic, dynamic->needed[i]);
		if (name != NULL)
			elf->needed[elf->needed_count++] = name;
	}
}

/* ---- imported names --------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	enum elf_import import;
} imports[] = {
	{"connect", ELF_CONNECT},
	{"getaddrinfo", ELF_LOOKUP},
	{"syscall", ELF_SYSCALL},
	{"dlopen", ELF_DLOPEN},
	{"dlmopen", ELF_DLOPEN},
};

static bool is_symbol_section(const struct file *file, const unsigned char *section, void *context)
{
	struct dynamic *dynamic = context;
	if (MEMBER(file, section, Shdr, sh_type) != SHT_DYNSYM || MEMBER(file, section, Shdr, sh_offset) != dynamic->symbols)
		return false;
	dynamic->symbol_count = MEMBER(file, section, Shdr, sh_size) / SIZE_OF(file, Sym);
	return true;
}

/* The dynamic section does not say how many symbols there are. Without section headers a hash table tells: DT_HASH all,
 * DT_GNU_HASH where those begin that are not imported. */
static void count_symbols(const struct file *file, struct dynamic *dynamic)
{
	unsigned char words[8];
	uint64_t offset, rest;
	if (any_section(file, is_symbol_section, dynamic))
		return;
	uint64_t address = dynamic->hash != 0 ? dynamic->hash : dynamic->gnu_hash;
	if (address != 0 && offset_of(file, address, &offset, &rest) && get(file, words, offset, sizeof words))
		dynamic->symbol_count = number(file, words + 4, 4);
}

static unsigned imports_named(const struct file *file, const struct dynamic *dynamic, const char *names, uint64_t names_size)
{
	unsigned char symbols[SYMBOLS_AT_ONCE * sizeof(Elf64_Sym)];
	size_t size = SIZE_OF(file, Sym);
	unsigned found = 0;
	uint64_t count = dynamic->symbol_count < SYMBOLS_MOST ? dynamic->symbol_count : SYMBOLS_MOST;
	for (uint64_t i = 0; i < count; i += SYMBOLS_AT_ONCE) {
		size_t now = count - i < SYMBOLS_AT_ONCE ? (size_t)(count - i) : SYMBOLS_AT_ONCE;
		if (!get(file, symbols, dynamic->symbols + i * size, now * size))
			break;
		for (const unsigned char *it = symbols; it < symbols + now * size; it += size) {
			uint64_t name = MEMBER(file, it, Sym, st_name);
			if (MEMBER(file, it, Sym, st_shndx) != SHN_UNDEF || name >= names_size)
				continue;
			for (size_t k = 0; k < sizeof imports / sizeof imports[0]; k++)
				if (strcmp(names + name, imports[k].name) == 0)
					found |= imports[k].import;
		}
	}
	return found;
}

static unsigned read_imports(const struct file *file, struct dynamic *dynamic)
{
	size_t size = dynamic->strings_size < NAMES_BYTES_MOST ? (size_t)dynamic->strings_size : NAMES_BYTES_MOST;
	if (dynamic->strings > file->size)
		return 0;
	if (size > file->size - dynamic->strings)
		size = (size_t)(file->size - dynamic->strings);
	count_symbols(file, dynamic);
	if (dynamic->symbols == 0 || dynamic->symbol_count == 0 || size == 0)
		return 0;
	char *names = cli_allocate(size + 1); /* ends with a zero, whatever the file does */
	unsigned found = get(file, names, dynamic->strings, size) ? imports_named(file, dynamic, names, size) : 0;
	free(names);
	return found;
}

/* ---- the whole -------------------------------------------------------------------------------------- */

/* A program's by its loader, a library's by what it needs. */
static enum elf_libc libc_of(const struct elf *elf)
{
	if (elf->interpreter != NULL) {
		const char *slash = strrchr(elf->interpreter, '/'), *name = slash != NULL ? slash + 1 : elf->interpreter;
		if (cli_starts(name, "ld-musl-"))
			return ELF_LIBC_MUSL;
		return cli_starts(name, "ld-linux") || cli_starts(name, "ld64.so.") || cli_starts(name, "ld.so.") || cli_starts(name, "ld-2.")
		           ? ELF_LIBC_GLIBC
		           : ELF_LIBC_OTHER;
	}
	for (int i = 0; i < elf->needed_count; i++) {
		if (cli_starts(elf->needed[i], "libc.musl-") || strcmp(elf->needed[i], "libc.so") == 0)
			return ELF_LIBC_MUSL;
		if (cli_starts(elf->needed[i], "libc.so."))
			return ELF_LIBC_GLIBC;
	}
	return ELF_LIBC_UNKNOWN;
}

static enum elf_result read_all(struct file *file, struct elf *elf)
{
	struct dynamic dynamic = {.strings_size = 0};
	bool has_dynamic = false;
	enum elf_result result = read_header(file, elf);
	for (int i = 0; result == ELF_READ && i < file->segment_count; i++) {
		const unsigned char *it = segment(file, i);
		uint64_t type = MEMBER(file, it, Phdr, p_type);
		if (type == PT_INTERP && elf->interpreter == NULL) {
			elf->interpreter = text_at(file, MEMBER(file, it, Phdr, p_offset), MEMBER(file, it, Phdr, p_filesz));
			result = elf->interpreter != NULL ? ELF_READ : ELF_BROKEN;
		}
		if (type == PT_DYNAMIC && !has_dynamic) {
			read_entries(file, it, &dynamic, elf);
			has_dynamic = true;
		}
	}
	if (result != ELF_READ)
		return result;
	elf->imports = has_dynamic ? read_imports(file, &dynamic) : 0;
	elf->go = has_go_section(file);
	elf->kind.libc = libc_of(elf);
	return ELF_READ;
}

int elf_open(const char *path)
{
	struct stat status;
	/* Before it is opened: that would let a FIFO's writer go on. */
	if (stat(path, &status) != 0)
		return -1;
	if (!S_ISREG(status.st_mode)) {
		errno = EISDIR;
		return -1;
	}
	return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

enum elf_result elf_read(const char *path, struct elf *elf)
{
	struct stat status;
	struct file file = {.fd = elf_open(path)};
	memset(elf, 0, sizeof *elf);
	if (file.fd < 0)
		return ELF_UNREADABLE;
	enum elf_result result = ELF_UNREADABLE;
	if (fstat(file.fd, &status) == 0 && status.st_size >= 0) {
		file.size = (uint64_t)status.st_size;
		result = read_all(&file, elf);
	}
	int error = errno;
	free(file.segments);
	close(file.fd);
	if (result != ELF_READ)
		elf_free(elf);
	errno = error;
	return result;
}

void elf_free(struct elf *elf)
{
	free(elf->interpreter);
	free(elf->rpath);
	free(elf->runpath);
	for (int i = 0; i < elf->needed_count; i++)
		free(elf->needed[i]);
	memset(elf, 0, sizeof *elf);
}
