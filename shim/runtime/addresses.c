/* What getaddrinfo handed out: which name an address belongs to, and which addresses are its siblings.
 *
 * A ring of lists, each behind a sequence lock: odd while it is written, so that a reader that meets a
 * writer looks elsewhere and nobody waits. Fields are copied racily and thrown away if the sequence
 * moved; they are relaxed atomics for that (Boehm, "Can Seqlocks Get Along With Programming Language
 * Memory Models?").
 */
#include <netinet/in.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>
#include <unistd.h>

#include "retryshim/runtime.h"

enum { LISTS = 64, ADDRESSES = 16, NAME_WORDS = HOST_NAME_MAX_BYTES / 8 };

struct list {
	_Atomic(uint32_t) sequence;
	_Atomic(uint32_t) count;
	_Atomic(uint32_t) tried;      /* a bit an address */
	_Atomic(uint64_t) owner;      /* the thread that asked, see thread_mark() */
	_Atomic(uint64_t) name[NAME_WORDS];
	_Atomic(uint64_t) address[ADDRESSES][2];
};

static struct list lists[LISTS];
static _Atomic(uint32_t) newest; /* how many were ever begun */

#define RELAXED memory_order_relaxed

static uint64_t thread_mark(void) { return (uint64_t)(uintptr_t)&depth_frame; }

static bool address_of(const struct sockaddr *address, socklen_t length, uint8_t out[16], uint16_t *port)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	if (address->sa_family == AF_INET && length >= sizeof(struct sockaddr_in)) {
		struct sockaddr_in in;
		memcpy(&in, address, sizeof in);
		memcpy(out, mapped, sizeof mapped);
		memcpy(out + 12, &in.sin_addr, 4);
		*port = ntohs(in.sin_port);
		return true;
	}
	if (address->sa_family == AF_INET6 && length >= sizeof(struct sockaddr_in6)) {
		struct sockaddr_in6 in6;
		memcpy(&in6, address, sizeof in6);
		memcpy(out, &in6.sin6_addr, 16);
		*port = ntohs(in6.sin6_port);
		return true;
	}
	return false;
}

static void words_of(const uint8_t address[16], uint64_t words[2]) { memcpy(words, address, 16); }

static bool same_address(struct list *list, uint32_t index, const uint64_t words[2])
{
	return atomic_load_explicit(&list->address[index][0], RELAXED) == words[0] &&
	       atomic_load_explicit(&list->address[index][1], RELAXED) == words[1];
}

/* Index of an address in a list, or -1. */
static int find_address(struct list *list, const uint64_t words[2])
{
	uint32_t count = atomic_load_explicit(&list->count, RELAXED);
	for (uint32_t i = 0; i < count && i < ADDRESSES; i++)
		if (same_address(list, i, words))
			return (int)i;
	return -1;
}

static void write_name(struct list *list, const char *node)
{
	uint64_t words[NAME_WORDS] = {0};
	memcpy(words, node, strnlen(node, sizeof words - 1));
	for (size_t i = 0; i < NAME_WORDS; i++) {
		atomic_store_explicit(&list->name[i], words[i], RELAXED);
		if (memchr(&words[i], '\0', 8) != NULL)
			return; /* a reader stops there too */
	}
}

static void write_addresses(struct list *list, const struct addrinfo *info)
{
	atomic_store_explicit(&list->count, 0, RELAXED);
	atomic_store_explicit(&list->tried, 0, RELAXED);
	for (; info != NULL; info = info->ai_next) {
		uint8_t address[16];
		uint64_t words[2];
		uint16_t port;
		uint32_t count = atomic_load_explicit(&list->count, RELAXED);
		if (count == ADDRESSES)
			return;
		if (!address_of(info->ai_addr, info->ai_addrlen, address, &port))
			continue;
		words_of(address, words);
		if (find_address(list, words) >= 0) /* the same, for another socket type */
			continue;
		atomic_store_explicit(&list->address[count][0], words[0], RELAXED);
		atomic_store_explicit(&list->address[count][1], words[1], RELAXED);
		atomic_store_explicit(&list->count, count + 1, RELAXED);
	}
}

void addresses_remember(const char *node, const struct addrinfo *info)
{
	if (node == NULL || info == NULL)
		return;
	uint32_t turn = atomic_fetch_add_explicit(&newest, 1, RELAXED);
	struct list *list = &lists[turn % LISTS];
	uint32_t sequence = atomic_load_explicit(&list->sequence, RELAXED);
	/* Someone is still writing here, 64 lists later: forget this one. */
	if ((sequence & 1) != 0 ||
	    !atomic_compare_exchange_strong_explicit(&list->sequence, &sequence, sequence + 1, memory_order_acquire, RELAXED))
		return;
	atomic_thread_fence(memory_order_release);
	atomic_store_explicit(&list->owner, thread_mark(), RELAXED);
	write_name(list, node);
	write_addresses(list, info);
	atomic_store_explicit(&list->sequence, sequence + 2, memory_order_release);
}

/* The newest list that holds the address; one that this thread asked for is preferred, since other
 * threads work on lists of their own for the same name. NULL if there is none. *sequence is what it
 * must still be when the caller has read what it wants. */
static struct list *find_list(const uint64_t words[2], uint32_t *sequence)
{
	struct list *found = NULL;
	uint32_t end = atomic_load_explicit(&newest, RELAXED);
	uint32_t begin = end > LISTS ? end - LISTS : 0;
	for (uint32_t turn = end; turn-- > begin;) {
		struct list *list = &lists[turn % LISTS];
		uint32_t before = atomic_load_explicit(&list->sequence, memory_order_acquire);
		if ((before & 1) != 0 || find_address(list, words) < 0)
			continue;
		bool own = atomic_load_explicit(&list->owner, RELAXED) == thread_mark();
		if (found == NULL || own) {
			found = list;
			*sequence = before;
		}
		if (own)
			break;
	}
	return found;
}

static bool unchanged(struct list *list, uint32_t sequence)
{
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&list->sequence, RELAXED) == sequence;
}

/* The name of a list; must be checked by unchanged() afterwards. */
static void copy_name(struct list *list, char name[HOST_NAME_MAX_BYTES])
{
	uint64_t words[NAME_WORDS] = {0};
	for (size_t i = 0; i < NAME_WORDS; i++) {
		words[i] = atomic_load_explicit(&list->name[i], RELAXED);
		if (memchr(&words[i], '\0', 8) != NULL)
			break;
	}
	memcpy(name, words, HOST_NAME_MAX_BYTES);
	name[HOST_NAME_MAX_BYTES - 1] = '\0'; /* ends, whatever was read */
}

static void read_name(const uint64_t words[2], char *name)
{
	uint32_t sequence;
	char copy[HOST_NAME_MAX_BYTES];
	struct list *list = find_list(words, &sequence);
	if (list == NULL)
		return;
	copy_name(list, copy);
	if (unchanged(list, sequence) && !target_set_address(&(struct target){0}, copy))
		memcpy(name, copy, HOST_NAME_MAX_BYTES);
}

static int copy_addresses(struct list *list, uint8_t out[TARGET_ADDRESSES][16])
{
	uint32_t count = atomic_load_explicit(&list->count, RELAXED);
	int copied = 0;
	for (; (uint32_t)copied < count && copied < TARGET_ADDRESSES; copied++) {
		uint64_t words[2] = {atomic_load_explicit(&list->address[copied][0], RELAXED),
		                     atomic_load_explicit(&list->address[copied][1], RELAXED)};
		memcpy(out[copied], words, sizeof words);
	}
	return copied;
}

void addresses_candidates(struct target *target)
{
	uint32_t end = atomic_load_explicit(&newest, RELAXED);
	uint32_t begin = end > LISTS ? end - LISTS : 0;
	for (uint32_t turn = end; turn-- > begin;) {
		struct list *list = &lists[turn % LISTS];
		char name[HOST_NAME_MAX_BYTES];
		uint32_t sequence = atomic_load_explicit(&list->sequence, memory_order_acquire);
		copy_name(list, name);
		if ((sequence & 1) != 0 || strcasecmp(name, target->name) != 0)
			continue;
		int count = copy_addresses(list, target->candidate);
		if (unchanged(list, sequence)) {
			target->candidates = count;
			return;
		}
	}
}

static bool describe_unix(const struct sockaddr *address, socklen_t length, struct target *target)
{
	const size_t start = offsetof(struct sockaddr_un, sun_path);
	const char *path = (const char *)address + start;
	if (length <= start)
		return false;
	size_t bytes = length - start < sizeof target->name - 1 ? length - start : sizeof target->name - 1;
	target->is_unix = true;
	/* An abstract name starts with a zero byte, shown as '@' (unix(7), and ss(8) does so too). */
	bool abstract = path[0] == '\0';
	for (size_t i = 0; i < bytes && (abstract || path[i] != '\0'); i++)
		target->name[i] = path[i] == '\0' ? '@' : path[i];
	return true;
}

bool addresses_describe(const struct sockaddr *address, socklen_t length, struct target *target)
{
	uint64_t words[2];
	memset(target, 0, sizeof *target);
	if (address == NULL || length < sizeof(sa_family_t))
		return false;
	if (address->sa_family == AF_UNIX)
		return describe_unix(address, length, target);
	if (!address_of(address, length, target->address, &target->port))
		return false;
	target->has_address = true;
	words_of(target->address, words);
	read_name(words, target->name);
	return true;
}

/* Asks the kernel for a route: connecting a datagram socket looks one up and sends nothing
 * (udp_connect in net/ipv4/datagram.c). Without a descriptor to ask with, there may be one. */
static bool has_route(const uint64_t words[2])
{
	uint8_t address[16];
	memcpy(address, words, sizeof address);
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(9)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(9)};
	bool v4 = address_is_v4(address);
	memcpy(&in.sin_addr, address + 12, 4);
	memcpy(&in6.sin6_addr, address, 16);
	int probe = socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (probe < 0)
		return true;
	int rc = v4 ? real_connect()(probe, (const struct sockaddr *)&in, sizeof in)
	            : real_connect()(probe, (const struct sockaddr *)&in6, sizeof in6);
	close(probe);
	return rc == 0;
}

bool addresses_untried_left(const struct target *target)
{
	uint64_t words[2], others[ADDRESSES][2];
	uint32_t sequence, untried = 0;
	if (!target->has_address)
		return false;
	words_of(target->address, words);
	struct list *list = find_list(words, &sequence);
	if (list == NULL)
		return false;
	int self = find_address(list, words);
	if (self < 0)
		return false;
	uint32_t tried = atomic_fetch_or_explicit(&list->tried, 1U << self, RELAXED) | 1U << self;
	uint32_t count = atomic_load_explicit(&list->count, RELAXED);
	for (uint32_t i = 0; i < count && i < ADDRESSES; i++) {
		if ((tried >> i & 1) != 0)
			continue;
		others[untried][0] = atomic_load_explicit(&list->address[i][0], RELAXED);
		others[untried++][1] = atomic_load_explicit(&list->address[i][1], RELAXED);
	}
	if (!unchanged(list, sequence))
		return false;
	for (uint32_t i = 0; i < untried; i++)
		if (has_route(others[i]))
			return true;
	return false;
}

void addresses_round_over(const struct target *target)
{
	uint64_t words[2];
	uint32_t sequence;
	if (!target->has_address)
		return;
	words_of(target->address, words);
	struct list *list = find_list(words, &sequence);
	if (list != NULL)
		atomic_store_explicit(&list->tried, 0, RELAXED);
}
