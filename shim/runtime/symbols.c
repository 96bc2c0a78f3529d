/* Symbols of loaded objects, found without dlsym(3): a program may have come without it (glibc before 2.34), and where it
 * finds nothing it allocates. */
#include <elf.h>
#include <link.h>
#include <string.h>

#include "retryshim/runtime.h"

/* An object's dynamic symbols; what it lacks is NULL. */
struct symbols {
	const ElfW(Sym) *symbols;
	const char *names;
	const ElfW(Half) *versions;
	const uint32_t *gnu_hash, *hash;
};

struct search {
	const char *name;
	bool next;   /* behind our own object alone */
	bool passed; /* that has been met */
	void *found;
};

/* glibc's loader writes addresses where the file has offsets; musl's, and the vdso's, stay offsets. */
static const void *at(const struct dl_phdr_info *object, uintptr_t pointer)
{
	return (const void *)(pointer < object->dlpi_addr ? object->dlpi_addr + pointer : pointer);
}

static struct symbols symbols_of(const struct dl_phdr_info *object, const ElfW(Dyn) *entry)
{
	struct symbols of = {0};
	for (; entry->d_tag != DT_NULL; entry++) {
		const void *address = at(object, entry->d_un.d_ptr);
		switch (entry->d_tag) {
		case DT_SYMTAB: of.symbols = address; break;
		case DT_STRTAB: of.names = address; break;
		case DT_VERSYM: of.versions = address; break;
		case DT_GNU_HASH: of.gnu_hash = address; break;
		case DT_HASH: of.hash = address; break;
		default: break;
		}
	}
	return of;
}

/* The default version of it, if it has versions. */
static bool defines(const struct symbols *of, uint32_t index, const char *name)
{
	const ElfW(Sym) *symbol = &of->symbols[index];
	const uint16_t hidden = 0x8000;
	unsigned type = symbol->st_info & 0xf;
	return symbol->st_shndx != SHN_UNDEF && (type == STT_FUNC || type == STT_OBJECT) &&
	       (of->versions == NULL || (of->versions[index] & hidden) == 0) && strcmp(of->names + symbol->st_name, name) == 0;
}

/* Buckets' count, first symbol, filter's words, shift; the filter, in words of the processor's; buckets; hashes. */
static uint32_t find_by_gnu_hash(const struct symbols *of, const char *name)
{
	const uint32_t *table = of->gnu_hash, *buckets = table + 4 + table[2] * (sizeof(ElfW(Addr)) / sizeof *table);
	const uint32_t *hashes = buckets + table[0];
	uint32_t hash = 5381;
	for (const unsigned char *c = (const unsigned char *)name; *c != '\0'; c++)
		hash = hash * 33 + *c;
	uint32_t index = table[0] != 0 ? buckets[hash % table[0]] : 0;
	for (; index >= table[1] && index != 0; index++) {
		uint32_t its = hashes[index - table[1]];
		if ((its | 1) == (hash | 1) && defines(of, index, name))
			return index;
		if ((its & 1) != 0) /* the bucket's last */
			break;
	}
	return 0;
}

/* The older table says how many symbols there are; what is asked for is asked once. */
static uint32_t find_one_by_one(const struct symbols *of, const char *name)
{
	for (uint32_t index = 1; index < of->hash[1]; index++)
		if (defines(of, index, name))
			return index;
	return 0;
}

static void *find_in(const struct dl_phdr_info *object, const ElfW(Dyn) *dynamic, const char *name)
{
	struct symbols of = symbols_of(object, dynamic);
	uint32_t index = 0;
	if (of.symbols == NULL || of.names == NULL)
		return NULL;
	if (of.gnu_hash != NULL)
		index = find_by_gnu_hash(&of, name);
	else if (of.hash != NULL)
		index = find_one_by_one(&of, name);
	return index != 0 ? (void *)(object->dlpi_addr + of.symbols[index].st_value) : NULL;
}

static bool is_ours(const struct dl_phdr_info *object)
{
	static const char here;
	for (int i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
		if (segment->p_type == PT_LOAD && (ElfW(Addr))&here - (object->dlpi_addr + segment->p_vaddr) < segment->p_memsz)
			return true;
	}
	return false;
}

static int look(struct dl_phdr_info *object, size_t size, void *context)
{
	struct search *search = context;
	(void)size;
	if (is_ours(object)) {
		search->passed = true;
		return 0;
	}
	for (int i = 0; i < object->dlpi_phnum && (search->passed || !search->next); i++)
		if (object->dlpi_phdr[i].p_type == PT_DYNAMIC)
			search->found = find_in(object, (const ElfW(Dyn) *)(object->dlpi_addr + object->dlpi_phdr[i].p_vaddr), search->name);
	return search->found != NULL;
}

void *symbol_find(const char *name)
{
	struct search search = {.name = name};
	dl_iterate_phdr(look, &search);
	return search.found;
}

void *symbol_find_next(const char *name)
{
	struct search search = {.name = name, .next = true};
	dl_iterate_phdr(look, &search);
	return search.found;
}
