/* The table of pending connects. */
#include "hooks/pending.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RELAXED memory_order_relaxed

_Atomic(uint32_t) pending_count;
_Atomic(uint32_t) pending_failing_count;
_Atomic(uint32_t) pending_quiet_count;
_Atomic(uint16_t) pending_index[PENDING_FDS];
struct pending pending_table[PENDING_MOST];

_Atomic(uint32_t) pending_used;
_Atomic(int64_t) pending_dues[PENDING_MOST];
_Atomic(uint64_t) pending_cookies[PENDING_MOST];
_Atomic(uint64_t) pending_datas[PENDING_MOST];

static enum pending_state state_in(uint64_t word) { return (enum pending_state)(word & 0xff); }

static uint64_t word_of(enum pending_state state, pid_t claimer) { return (uint64_t)(uint32_t)claimer << 32 | state; }

/* ---- making and dropping ------------------------------------------------------------------------- */

static inline bool take(struct pending *entry)
{
	uint64_t word = word_of(PENDING_FREE, 0);
	return atomic_compare_exchange_strong_explicit(&entry->word, &word, word_of(PENDING_FILLING, 0), memory_order_acquire, RELAXED);
}

static __attribute__((noinline)) struct pending *take_any(void)
{
	for (uint32_t i = 0; i < PENDING_MOST; i++)
		if (take(&pending_table[i]))
			return &pending_table[i];
	return NULL;
}

static __attribute__((noinline)) void use_up_to(uint32_t number)
{
	uint32_t high = atomic_load_explicit(&pending_used, RELAXED);
	while (high <= number && !atomic_compare_exchange_weak_explicit(&pending_used, &high, number + 1, RELAXED, RELAXED))
		;
}

/* Low descriptors have low entries: what is in use stays together. */
static inline __attribute__((always_inline)) struct pending *take_free(int fd)
{
	struct pending *entry = &pending_table[(unsigned)fd % PENDING_MOST];
	if (__builtin_expect(!take(entry), 0) &&
	    (atomic_load_explicit(&pending_count, RELAXED) >= PENDING_MOST || (entry = take_any()) == NULL))
		return NULL;
	if (__builtin_expect(atomic_load_explicit(&pending_used, RELAXED) <= pending_number(entry), 0))
		use_up_to(pending_number(entry));
	return entry;
}

void pending_unindex(int fd, const struct pending *entry)
{
	uint16_t own = (uint16_t)(pending_number(entry) + 1);
	if ((unsigned)fd < PENDING_FDS && atomic_load_explicit(&pending_index[fd], RELAXED) == own)
		atomic_compare_exchange_strong_explicit(&pending_index[fd], &own, 0, RELAXED, RELAXED);
}

/* What few entries have. */
static __attribute__((noinline)) void clear_extra(struct pending *entry)
{
	for (int i = 1; i < PENDING_NUMBERS; i++)
		pending_unindex(atomic_exchange_explicit(&entry->numbers[i], 0, RELAXED) - 1, entry);
	for (int i = 0; i < PENDING_SEARCHED; i++)
		atomic_store_explicit(&entry->searched[i], 0, RELAXED);
	for (int i = 1; i < PENDING_WATCHES; i++)
		atomic_store_explicit(&entry->watches[i].epoll, 0, RELAXED);
	if (entry->failing)
		atomic_fetch_sub_explicit(&pending_failing_count, 1, RELAXED);
	entry->failing = false;
	entry->lost_ns = 0;
	atomic_store_explicit(&entry->crowded, false, RELAXED);
	atomic_store_explicit(&entry->blind, false, RELAXED);
	atomic_store_explicit(&entry->extra, false, RELAXED);
}

/* Of an entry that nobody else looks at: FILLING, or claimed. */
static void drop(struct pending *entry)
{
	if (atomic_load_explicit(&entry->extra, RELAXED))
		clear_extra(entry);
	pending_drop_plain(entry, pending_number(entry));
}

void pending_forget(struct pending *entry)
{
	uint64_t word = word_of(PENDING_CONNECTING, 0);
	if (atomic_compare_exchange_strong_explicit(&entry->word, &word, word_of(PENDING_FILLING, 0), memory_order_acquire, RELAXED))
		drop(entry);
}

/* The descriptor connects anew. The entry that it has is another socket's, and may be needed under another
 * number; or the program has taken the failure in a way of its own. */
static __attribute__((noinline)) void replace(struct pending *old, int fd, uint64_t cookie)
{
	struct hold hold;
	int errno_before = errno;
	pending_forget(old);
	if (pending_state(old) < PENDING_CLAIMED)
		return;
	hold_begin(&hold);
	enum pending_state state = pending_claim(old);
	if (state != PENDING_FREE) {
		bool ours = pending_of(fd) == old;
		bool done = ours && (pending_cookie(old) == cookie || state == PENDING_CONNECTING || state == PENDING_LEFT);
		if (ours && !done)
			pending_forget_number(old, fd);
		pending_settle(old, done ? PENDING_FREE : state);
	}
	hold_end(&hold);
	errno = errno_before;
}

/* The kernel has taken the length: a family's own size is all that counts of it. That of AF_INET6 was once without a scope, and
 * may be so still (SIN6_LEN_RFC2133 in net/ipv6/af_inet6.c): what lies behind it is not the program's address. */
static inline __attribute__((always_inline)) socklen_t copy_address(struct pending *entry, const struct sockaddr *address, socklen_t length)
{
	socklen_t size = length < sizeof entry->address.in6 ? length : sizeof entry->address.in6;
	switch (address->sa_family) {
	case AF_INET: memcpy(&entry->address.in, address, sizeof entry->address.in); return sizeof entry->address.in;
	case AF_INET6: memcpy(&entry->address.in6, address, size); return size;
	case AF_UNIX: memcpy(&entry->address.un, address, length); return length;
	default: return 0;
	}
}

/* What cannot be known of an entry later, its address aside. The rest is empty, as drop() has left it. */
static inline void fill(struct pending *entry, uint32_t number, int fd, uint64_t start, uint64_t cookie)
{
	entry->start = start;
	entry->lost_ns = 0;
	atomic_store_explicit(&entry->numbers[0], fd + 1, RELAXED);
	atomic_store_explicit(&pending_cookies[number], cookie, RELAXED);
}

static struct pending *make(int fd, const struct sockaddr *address, socklen_t length, uint64_t start)
{
	uint64_t cookie = socket_cookie(fd);
	struct pending *old = pending_of(fd);
	if (__builtin_expect(old != NULL, 0))
		replace(old, fd, cookie);
	struct pending *entry = cookie != 0 ? take_free(fd) : NULL;
	if (entry == NULL)
		return NULL;
	atomic_fetch_add_explicit(&pending_count, 1, RELAXED);
	fill(entry, pending_number(entry), fd, start, cookie);
	entry->length = copy_address(entry, address, length);
	return entry;
}

static inline void publish(struct pending *entry, uint32_t number, int fd, uint64_t word)
{
	atomic_store_explicit(&entry->word, word, memory_order_release);
	atomic_store_explicit(&pending_index[fd], (uint16_t)(number + 1), memory_order_release);
}

static bool is_wanted(void)
{
	int errno_before = errno;
	const struct config *config = settings_config();
	errno = errno_before;
	return config != NULL && config->nonblock;
}

static __attribute__((noinline)) int remember(int fd, const struct sockaddr *address, socklen_t length, uint64_t start)
{
	if ((address->sa_family != AF_INET && address->sa_family != AF_INET6) || (unsigned)fd >= PENDING_FDS || depth_nested() || !is_wanted())
		return -1;
	struct pending *entry = make(fd, address, length, start);
	if (entry != NULL)
		publish(entry, pending_number(entry), fd, word_of(PENDING_CONNECTING, 0));
	return -1;
}

static __attribute__((noinline)) int remember_first(int fd, const struct sockaddr_in *address, uint64_t start, uint32_t number)
{
	uint64_t cookie = socket_cookie(fd);
	struct pending *entry = pending_at(number);
	if (__builtin_expect(cookie == 0 || !take(entry), 0))
		return remember(fd, (const struct sockaddr *)address, sizeof *address, start);
	atomic_fetch_add_explicit(&pending_count, 1, RELAXED);
	fill(entry, number, fd, start, cookie);
	entry->length = sizeof *address;
	entry->address.in = *address;
	publish(entry, number, fd, PENDING_CONNECTING);
	return -1;
}

/* remember() in few instructions, calling nothing, for what is nearly always so: an entry of this descriptor's number, that
 * has been in use. So somebody has wanted to. */
int pending_remember(int fd, const struct sockaddr *address, socklen_t length, uint64_t start)
{
	uint32_t number = (uint32_t)fd % PENDING_MOST;
	if (address->sa_family != AF_INET || (unsigned)fd >= PENDING_FDS || atomic_load_explicit(&pending_index[fd], RELAXED) != 0 ||
	    atomic_load_explicit(&pending_used, RELAXED) <= number || depth_frame != 0)
		return remember(fd, address, length, start);
	return remember_first(fd, (const struct sockaddr_in *)(const void *)address, start, number);
}

struct pending *pending_new(int fd, const struct sockaddr *address, socklen_t length, uint64_t start)
{
	if ((unsigned)fd >= PENDING_FDS || (address->sa_family == AF_UNIX && length > sizeof(struct sockaddr_un)))
		return NULL;
	struct pending *entry = make(fd, address, length, start);
	if (entry != NULL)
		publish(entry, pending_number(entry), fd, word_of(PENDING_CLAIMED, getpid()));
	return entry;
}

/* ---- claiming ------------------------------------------------------------------------------------ */

/* Claims are short; a holder that is off the processor for long is given it back by sleeping. */
static void wait_a_moment(int turn)
{
	static const struct timespec moment = {.tv_nsec = 50 * 1000};
	if (turn < 100)
		sched_yield();
	else
		clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL);
}

enum pending_state pending_claim(struct pending *entry)
{
	enum { TURNS = 50000 }; /* some seconds: never met but under a debugger */
	pid_t self = getpid();
	for (int turn = 0; turn < TURNS; turn++) {
		uint64_t word = atomic_load_explicit(&entry->word, memory_order_acquire);
		enum pending_state state = state_in(word);
		if (state < PENDING_CLAIMED)
			return PENDING_FREE;
		if (word == word_of(PENDING_CLAIMED, self)) {
			wait_a_moment(turn);
			continue;
		}
		if (!atomic_compare_exchange_strong_explicit(&entry->word, &word, word_of(PENDING_CLAIMED, self),
		                                             memory_order_acquire, RELAXED))
			continue;
		/* Also orders what follows behind the writes of who counts next, or before its look (pending_epoll_ctl). */
		atomic_fetch_add_explicit(&entry->claims, 1, memory_order_acq_rel);
		if (state != PENDING_CLAIMED)
			return state;
		/* fork(2) came while a thread of our parent was at work here: what it did is not known. */
		pending_settle(entry, PENDING_FREE);
		return PENDING_FREE;
	}
	return PENDING_FREE;
}

static void count_failing(struct pending *entry)
{
	atomic_fetch_add_explicit(&pending_failing_count, 1, RELAXED);
	atomic_store_explicit(&entry->extra, true, RELAXED);
	entry->failing = true;
}

void pending_settle(struct pending *entry, enum pending_state state)
{
	if (state > PENDING_CONNECTING && !entry->failing)
		count_failing(entry);
	entry->sure = 0;
	if (state != PENDING_QUIET)
		pending_set_due(entry, 0);
	if (state == PENDING_FREE)
		drop(entry);
	else
		atomic_store_explicit(&entry->word, word_of(state, 0), memory_order_release);
}
