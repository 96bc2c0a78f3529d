/* What the shipped code does to memory: the functions that -fsanitize=thread calls. */
#include <stdio.h>
#include <string.h>

#include "model.h"

#include "hooks/pending.h"

/* ---- blocks ------------------------------------------------------------------------------------------- */

/* The sections that the shipped objects' variables were moved to. */
extern char __start_shipped_bss[], __stop_shipped_bss[];

enum { BLOCKS_MOST = 4096, REGION_BLOCKS_MOST = 1 << 16 };
char *memory_blocks[BLOCKS_MOST];
size_t memory_block_count;
static bool known[REGION_BLOCKS_MOST];

static bool is_shipped(const volatile void *address)
{
	return (const volatile char *)address >= __start_shipped_bss && (const volatile char *)address < __stop_shipped_bss;
}

static void written(const volatile void *address, size_t size)
{
	if (!is_shipped(address))
		return;
	char *base = __start_shipped_bss;
	size_t first = (size_t)((const volatile char *)address - base) / BLOCK_BYTES;
	size_t last = (size_t)((const volatile char *)address + size - 1 - base) / BLOCK_BYTES;
	for (size_t i = first; i <= last; i++) {
		if (i >= REGION_BLOCKS_MOST || memory_block_count >= BLOCKS_MOST)
			violation("the model has too little room");
		if (known[i])
			continue;
		known[i] = true;
		memory_blocks[memory_block_count++] = base + i * BLOCK_BYTES;
	}
}

void memory_pristine(size_t from)
{
	for (size_t i = from; i < memory_block_count; i++)
		memset(memory_blocks[i], 0, BLOCK_BYTES);
}

/* ---- what is shared ------------------------------------------------------------------------------------ */

enum { OBJECTS = 1 << 14 };

static struct object {
	const volatile void *address;
	uint8_t readers, writers; /* masks of threads */
	bool shared;
} objects[OBJECTS];

bool memory_learned, memory_is_tracked;

void memory_forget(void) { memset(objects, 0, sizeof objects); }

bool touched(const volatile void *address, bool writes)
{
	if (self == NULL || !memory_is_tracked)
		return false;
	size_t at = ((uintptr_t)address * UINT64_C(0x9e3779b97f4a7c15)) >> 50;
	while (objects[at % OBJECTS].address != NULL && objects[at % OBJECTS].address != address)
		at++;
	struct object *it = &objects[at % OBJECTS];
	it->address = address;
	it->readers |= (uint8_t)(1 << thread_number());
	if (writes)
		it->writers |= (uint8_t)(1 << thread_number());
	if (!it->shared && it->writers != 0 && (it->readers & (it->readers - 1)) != 0) {
		it->shared = true;
		memory_learned = true;
	}
	return it->shared;
}

/* ---- plain accesses --------------------------------------------------------------------------------------- */

static bool in_table(const volatile void *address)
{
	return (const volatile char *)address >= (const volatile char *)pending_table &&
	       (const volatile char *)address < (const volatile char *)(pending_table + PENDING_MOST);
}

static size_t entry_of(const volatile void *address)
{
	return (size_t)((const volatile char *)address - (const volatile char *)pending_table) / sizeof *pending_table;
}

/* A field that is not atomic. */
static void plainly(const volatile void *address)
{
	if (self == NULL || !in_table(address))
		return;
	size_t entry = entry_of(address);
	if (entry >= ENTRIES || world.holder[entry] != thread_number() + 1)
		violation("entry %zu: byte %zu is touched by who has not claimed it", entry,
		          (size_t)((const volatile char *)address - (const volatile char *)&pending_table[entry]));
}

static void word_becomes(const volatile void *address, uint64_t word)
{
	if (!in_table(address))
		return;
	size_t entry = entry_of(address);
	if ((const volatile void *)&pending_table[entry].word != address)
		return;
	uint64_t state = word & 0xff;
	if (entry >= ENTRIES)
		violation("the model has too little room");
	world.holder[entry] = (uint8_t)(state == PENDING_FILLING || state == PENDING_CLAIMED ? thread_number() + 1 : 0);
}

#define PLAIN(size)                                                               \
	void __tsan_read##size(void *p);                                                \
	void __tsan_read##size(void *p) { plainly(p); }                                 \
	void __tsan_write##size(void *p);                                               \
	void __tsan_write##size(void *p) { plainly(p); written(p, size); }              \
	void __tsan_unaligned_read##size(void *p);                                      \
	void __tsan_unaligned_read##size(void *p) { plainly(p); }                       \
	void __tsan_unaligned_write##size(void *p);                                     \
	void __tsan_unaligned_write##size(void *p) { plainly(p); written(p, size); }

PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

void __tsan_init(void);
void __tsan_init(void) {}
void __tsan_read_range(void *p, size_t size);
void __tsan_read_range(void *p, size_t size) { (void)size; plainly(p); }
void __tsan_write_range(void *p, size_t size);
void __tsan_write_range(void *p, size_t size) { plainly(p); written(p, size); }

/* What the shipped code's memset and memcpy are, which the compiler does not tell of. */
void *model_memset(void *to, int byte, size_t size);
void *model_memset(void *to, int byte, size_t size)
{
	plainly(to);
	written(to, size != 0 ? size : 1);
	return memset(to, byte, size);
}

void *model_memcpy(void *restrict to, const void *restrict from, size_t size);
void *model_memcpy(void *restrict to, const void *restrict from, size_t size)
{
	plainly(to);
	plainly(from);
	written(to, size != 0 ? size : 1);
	return memcpy(to, from, size);
}

/* ---- atomic accesses ---------------------------------------------------------------------------------------- */

static void access_atomic(const char *what, const volatile void *address, bool writes)
{
	if (!is_shipped(address) || self == NULL)
		return;
	if (writes)
		written(address, 1);
	if (touched(address, writes))
		point(what, (int)((const volatile char *)address - __start_shipped_bss));
}

/* ---- names, for who reads how it came to a violation -------------------------------------------------------- */

static const struct {
	const char *name;
	const volatile void *at;
	size_t size, each;
} variables[] = {
	{"count", &pending_count, sizeof pending_count, 0},
	{"failing_count", &pending_failing_count, sizeof pending_failing_count, 0},
	{"quiet_count", &pending_quiet_count, sizeof pending_quiet_count, 0},
	{"used", &pending_used, sizeof pending_used, 0},
	{"index", pending_index, sizeof pending_index, sizeof pending_index[0]},
	{"due", pending_dues, sizeof pending_dues, sizeof pending_dues[0]},
	{"cookie", pending_cookies, sizeof pending_cookies, sizeof pending_cookies[0]},
	{"data", pending_datas, sizeof pending_datas, sizeof pending_datas[0]},
	{"entry", pending_table, sizeof pending_table, sizeof pending_table[0]},
};

static const struct {
	const char *name;
	size_t from;
} fields[] = {
	{"word", offsetof(struct pending, word)}, {"numbers", offsetof(struct pending, numbers)}, {"extra", offsetof(struct pending, extra)},
	{"crowded", offsetof(struct pending, crowded)}, {"blind", offsetof(struct pending, blind)},
	{"fruitless", offsetof(struct pending, fruitless)}, {"searched", offsetof(struct pending, searched)},
	{"watches", offsetof(struct pending, watches)},
};

void memory_name(int offset, char *text, size_t size)
{
	const volatile char *address = __start_shipped_bss + offset;
	snprintf(text, size, "%d", offset);
	for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
		size_t within = (size_t)(address - (const volatile char *)variables[i].at), each = variables[i].each;
		if (address < (const volatile char *)variables[i].at || within >= variables[i].size)
			continue;
		const char *field = "";
		for (size_t j = 0; variables[i].at == (const volatile void *)pending_table && j < sizeof fields / sizeof fields[0]; j++)
			if (within % each >= fields[j].from)
				field = fields[j].name;
		snprintf(text, size, each != 0 ? "%s[%zu]%s%s" : "%s", variables[i].name, each != 0 ? within / each : 0, field[0] != '\0' ? "." : "", field);
	}
}

bool memory_is_access(const char *what)
{
	static const char *const accesses[] = {"load", "store", "exchange", "swap", "add", "sub", "and", "or"};
	for (size_t i = 0; i < sizeof accesses / sizeof accesses[0]; i++)
		if (strcmp(what, accesses[i]) == 0)
			return true;
	return false;
}

static void remember_word(const volatile void *address, uint64_t value)
{
	if (self == NULL)
		return;
	self->word = address;
	self->word_was = value;
}

#define ATOMIC(bits, type)                                                                                          \
	type __tsan_atomic##bits##_load(const volatile type *p, int order);                                               \
	type __tsan_atomic##bits##_load(const volatile type *p, int order)                                                \
	{                                                                                                                 \
		(void)order;                                                                                                    \
		access_atomic("load", p, false);                                                                                \
		type value = *p;                                                                                                \
		if (bits == 64)                                                                                                 \
			remember_word(p, (uint64_t)value);                                                                            \
		return value;                                                                                                   \
	}                                                                                                                 \
	void __tsan_atomic##bits##_store(volatile type *p, type value, int order);                                        \
	void __tsan_atomic##bits##_store(volatile type *p, type value, int order)                                         \
	{                                                                                                                 \
		(void)order;                                                                                                    \
		access_atomic("store", p, true);                                                                                \
		written(p, 1);                                                                                                  \
		*p = value;                                                                                                     \
		word_becomes(p, (uint64_t)value);                                                                               \
	}                                                                                                                 \
	type __tsan_atomic##bits##_exchange(volatile type *p, type value, int order);                                     \
	type __tsan_atomic##bits##_exchange(volatile type *p, type value, int order)                                      \
	{                                                                                                                 \
		(void)order;                                                                                                    \
		access_atomic("exchange", p, true);                                                                             \
		written(p, 1);                                                                                                  \
		type before = *p;                                                                                               \
		*p = value;                                                                                                     \
		return before;                                                                                                  \
	}                                                                                                                 \
	int __tsan_atomic##bits##_compare_exchange_strong(volatile type *p, type *was, type becomes, int order, int otherwise); \
	int __tsan_atomic##bits##_compare_exchange_strong(volatile type *p, type *was, type becomes, int order, int otherwise)  \
	{                                                                                                                 \
		(void)order, (void)otherwise;                                                                                   \
		access_atomic("swap", p, true);                                                                                 \
		written(p, 1);                                                                                                  \
		if (*p != *was) {                                                                                               \
			*was = *p;                                                                                                    \
			return 0;                                                                                                     \
		}                                                                                                               \
		*p = becomes;                                                                                                   \
		word_becomes(p, (uint64_t)becomes);                                                                             \
		return 1;                                                                                                       \
	}                                                                                                                 \
	int __tsan_atomic##bits##_compare_exchange_weak(volatile type *p, type *was, type becomes, int order, int otherwise); \
	int __tsan_atomic##bits##_compare_exchange_weak(volatile type *p, type *was, type becomes, int order, int otherwise)  \
	{                                                                                                                 \
		return __tsan_atomic##bits##_compare_exchange_strong(p, was, becomes, order, otherwise);                        \
	}

#define FETCH(bits, type, name, operator)                                                                           \
	type __tsan_atomic##bits##_fetch_##name(volatile type *p, type value, int order);                                 \
	type __tsan_atomic##bits##_fetch_##name(volatile type *p, type value, int order)                                  \
	{                                                                                                                 \
		(void)order;                                                                                                    \
		access_atomic(#name, p, true);                                                                                  \
		written(p, 1);                                                                                                  \
		type before = *p;                                                                                               \
		*p = (type)(before operator value);                                                                             \
		return before;                                                                                                  \
	}

ATOMIC(8, uint8_t)
ATOMIC(16, uint16_t)
ATOMIC(32, uint32_t)
ATOMIC(64, uint64_t)
FETCH(32, uint32_t, add, +)
FETCH(32, uint32_t, sub, -)
FETCH(32, uint32_t, and, &)
FETCH(32, uint32_t, or, |)
FETCH(64, uint64_t, add, +)
FETCH(64, uint64_t, and, &)
FETCH(64, uint64_t, or, |)

/* ---- the end --------------------------------------------------------------------------------------------------- */

/* Its next user finds it as the first one did: what is left of a watch would be taken for that one's. */
static bool is_blank(const struct pending *entry)
{
	for (int i = 0; i < PENDING_WATCHES; i++)
		if (entry->watches[i].epoll != 0)
			return false;
	return true;
}

void memory_check_end(void)
{
	uint32_t entries = 0, failing = 0, quiet = 0;
	for (uint32_t i = 0; i < pending_used; i++) {
		enum pending_state state = pending_state(&pending_table[i]);
		if (state == PENDING_FILLING || state == PENDING_CLAIMED)
			violation("entry %u is never given back", i);
		entries += state != PENDING_FREE;
		failing += pending_table[i].failing;
		quiet += pending_dues[i] != 0;
		if (state == PENDING_FREE &&
		    (pending_table[i].failing || pending_dues[i] != 0 || pending_cookies[i] != 0 || !is_blank(&pending_table[i])))
			violation("entry %u is free and has something left", i);
	}
	if (entries != pending_count || failing != pending_failing_count || quiet != pending_quiet_count)
		violation("counters: %u of %u entries, %u of %u failing, %u of %u quiet", pending_count, entries, pending_failing_count, failing,
		          pending_quiet_count, quiet);
}
