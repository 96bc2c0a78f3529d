/* select(2) and pselect(2). A set may be larger than FD_SETSIZE: the kernel reads as many bits as it is
 * told descriptors. */
#include "hooks/wait_entry.h"
#include "hooks/waiting.h"

#include <errno.h>
#include <string.h>
#include <sys/select.h>
#include <sys/uio.h>
#include <unistd.h>

/* ---- tier 1, the typed pointers to the real functions, are real_NAME() of the runtime ------------- */

/* ---- tier 2: ours --------------------------------------------------------------------------------- */

enum { SETS = 3, WORD_BITS = 8 * sizeof(unsigned long), OWN_WORDS = 2 * SETS * FD_SETSIZE / WORD_BITS };

#define SETS_OF(reading, writing, exceptions) {(unsigned long *)(reading), (unsigned long *)(writing), (unsigned long *)(exceptions)}

enum which { READING, WRITING, EXCEPTIONS };

/* The kernel works on copies of its own, one for each argument: a program may give one set twice (perl does),
 * or a set that ends where its highest possible descriptor does. */
struct selecting {
	struct wait wait; /* first */
	int count;
	size_t words;
	unsigned long *asked[SETS]; /* what the program asked for; NULL where it gave no set */
	unsigned long *sets[SETS];  /* ... and what the call makes of it */
	unsigned long own[OWN_WORDS];
};

static bool has(const unsigned long *set, int fd)
{
	return set != NULL && (set[fd / (int)WORD_BITS] >> (fd % (int)WORD_BITS) & 1) != 0;
}

static int take(unsigned long *set, int fd)
{
	if (set == NULL || !has(set, fd))
		return 0;
	set[fd / (int)WORD_BITS] &= ~(1UL << (fd % (int)WORD_BITS));
	return 1;
}

static int take_from_all(unsigned long *const sets[SETS], int fd)
{
	return take(sets[READING], fd) + take(sets[WRITING], fd) + take(sets[EXCEPTIONS], fd);
}

/* The descriptors in any of the sets, word by word: nearly all words are empty. */
static unsigned long any_of(unsigned long *const sets[SETS], size_t word)
{
	unsigned long bits = 0;
	for (int i = 0; i < SETS; i++)
		bits |= sets[i] != NULL ? sets[i][word] : 0;
	return bits;
}

static void copy_sets(unsigned long *const to[SETS], unsigned long *const from[SETS], size_t words)
{
	for (int i = 0; i < SETS; i++)
		if (to[i] != NULL)
			memcpy(to[i], from[i], words * sizeof *to[i]);
}

/* How many bits of the result the program is not to see of a descriptor; they are cleared. A failed
 * socket is readable and writable, and select does not tell why. */
static int hidden_of(struct selecting *selecting, int fd)
{
	/* A duplicate of a socket that has failed before is found by the socket. */
	if (pending_of(fd) == NULL && !(pending_any_failing() && has(selecting->sets[WRITING], fd)))
		return 0;
	return pending_polled(fd, pending_has_failed(fd)) == HIDDEN ? take_from_all(selecting->sets, fd) : 0;
}

static int settle(struct wait *wait, int result)
{
	struct selecting *selecting = (struct selecting *)wait;
	for (size_t word = 0; word < selecting->words; word++)
		for (unsigned long bits = any_of(selecting->sets, word); bits != 0; bits &= bits - 1)
			result -= hidden_of(selecting, (int)word * (int)WORD_BITS + __builtin_ctzl(bits));
	return result;
}

/* Returns the first instant of a quiet one; INT64_MAX if there is none. */
static int64_t leave_out_quiet(struct selecting *selecting)
{
	int64_t first_ns = INT64_MAX;
	for (size_t word = 0; word < selecting->words; word++)
		for (unsigned long bits = any_of(selecting->asked, word); bits != 0; bits &= bits - 1) {
			int fd = (int)word * (int)WORD_BITS + __builtin_ctzl(bits);
			int64_t until_ns = pending_quiet_until(fd);
			if (until_ns == 0)
				continue;
			take_from_all(selecting->sets, fd);
			first_ns = until_ns < first_ns ? until_ns : first_ns;
		}
	return first_ns;
}

static fd_set *set_of(const struct selecting *selecting, enum which which) { return (fd_set *)selecting->sets[which]; }

static int select_plainly(const struct selecting *selecting, const struct timespec *left)
{
	struct timeval time = {0};
	if (left != NULL)
		time = (struct timeval){.tv_sec = left->tv_sec, .tv_usec = (left->tv_nsec + 999) / 1000};
	return real_select()(selecting->count, set_of(selecting, READING), set_of(selecting, WRITING), set_of(selecting, EXCEPTIONS),
	                     left != NULL ? &time : NULL);
}

static int once(struct wait *wait, const struct timespec *left, const sigset_t *mask)
{
	struct selecting *selecting = (struct selecting *)wait;
	struct timespec clipped;
	copy_sets(selecting->sets, selecting->asked, selecting->words);
	left = wait_clip(wait, left, leave_out_quiet(selecting), &clipped);
	if (wait->plainly)
		return select_plainly(selecting, left);
	return real_pselect()(selecting->count, set_of(selecting, READING), set_of(selecting, WRITING),
	                      set_of(selecting, EXCEPTIONS), left, mask);
}

/* select's arguments and pselect's: `timeout` is the one's, `limit` and `mask` the other's. */
struct call {
	int count;
	unsigned long *sets[SETS];
	struct timeval *timeout;
	const struct timespec *limit;
	const sigset_t *mask;
	bool is_pselect;
};

static int first(const struct call *call, unsigned long *const sets[SETS])
{
	fd_set *reading = (fd_set *)sets[READING], *writing = (fd_set *)sets[WRITING], *exceptions = (fd_set *)sets[EXCEPTIONS];
	return call->is_pselect ? real_pselect()(call->count, reading, writing, exceptions, call->limit, call->mask)
	                        : real_select()(call->count, reading, writing, exceptions, call->timeout);
}

static int64_t span_of(const struct call *call)
{
	if (call->is_pselect)
		return wait_span(call->limit);
	if (call->timeout == NULL)
		return WAIT_FOR_EVER;
	return wait_span_of(call->timeout->tv_sec, call->timeout->tv_usec * INT64_C(1000));
}

/* Linux's select tells how much of the time-out was left (select(2)). */
static void update_timeout(struct timeval *timeout, const struct wait *wait)
{
	if (timeout == NULL)
		return;
	int64_t left_ns = wait_left_ns(wait);
	*timeout = (struct timeval){.tv_sec = (time_t)(left_ns / NS_PER_S), .tv_usec = (suseconds_t)(left_ns % NS_PER_S / 1000)};
}

static int run(struct selecting *selecting, const struct call *call)
{
	if (!pending_any_quiet()) {
		int result = first(call, selecting->sets);
		int shown = result > 0 ? settle(&selecting->wait, result) : result;
		if (pending_any())
			pending_tidy(selecting->wait.start);
		if (shown != 0 || result == 0)
			return shown;
	}
	int result = wait_on(&selecting->wait);
	update_timeout(call->timeout, &selecting->wait);
	return result;
}

/* Copies what the program asks for; false if it cannot be read: the kernel answers where we would crash. */
static bool read_sets(struct selecting *selecting, unsigned long *const given[SETS])
{
	struct iovec to[SETS], from[SETS];
	unsigned long count = 0;
	size_t size = selecting->words * sizeof(unsigned long);
	for (int i = 0; i < SETS; i++) {
		if (given[i] == NULL)
			continue;
		to[count] = (struct iovec){selecting->asked[i], size};
		from[count++] = (struct iovec){given[i], size};
	}
	ssize_t got = process_vm_readv(getpid(), to, count, from, count, 0);
	if (got >= 0 ? (size_t)got != count * size : errno == EFAULT)
		return false;
	if (got < 0) /* denied */
		copy_sets(selecting->asked, given, selecting->words);
	copy_sets(selecting->sets, selecting->asked, selecting->words);
	return true;
}

static bool is_valid(const struct call *call)
{
	if (call->is_pselect)
		return wait_span_valid(call->limit);
	return call->timeout == NULL || (call->timeout->tv_sec >= 0 && call->timeout->tv_usec >= 0);
}

/* How many descriptors the kernel looks at: no more than its table has room for (core_sys_select in
 * fs/select.c), whatever it is told. */
static int count_of(int count)
{
	return count > FD_SETSIZE && count > descriptor_table_size() ? descriptor_table_size() : count;
}

static int select_on(const struct call *call)
{
	struct selecting selecting; /* field by field: most of it is room, of which little is used */
	selecting.wait = (struct wait){.start = clock_mark(), .span_ns = span_of(call), .mask = call->mask, .once = once, .settle = settle};
	selecting.count = call->count;
	int count = count_of(call->count);
	selecting.words = count > 0 ? ((size_t)count + WORD_BITS - 1) / WORD_BITS : 0;
	size_t size = 2 * SETS * selecting.words * sizeof(unsigned long);
	unsigned long *room = size > 0 && !thread_held && is_valid(call) ? wait_scratch(selecting.own, sizeof selecting.own, size) : NULL;
	if (room == NULL)
		return first(call, call->sets);
	for (int i = 0; i < SETS; i++) {
		selecting.asked[i] = call->sets[i] != NULL ? room + 2 * (size_t)i * selecting.words : NULL;
		selecting.sets[i] = call->sets[i] != NULL ? selecting.asked[i] + selecting.words : NULL;
	}
	if (!read_sets(&selecting, call->sets)) {
		wait_scratch_end(room, selecting.own, size);
		return first(call, call->sets); /* which says EFAULT */
	}
	int result = run(&selecting, call), error = errno;
	if (result >= 0) /* in the kernel's order */
		copy_sets(call->sets, selecting.sets, selecting.words);
	wait_scratch_end(room, selecting.own, size);
	errno = error;
	return result;
}

WAIT_PART int shim_select(int count, fd_set *reading, fd_set *writing, fd_set *exceptions, struct timeval *timeout)
{
	return select_on(&(struct call){.count = count, .sets = SETS_OF(reading, writing, exceptions), .timeout = timeout});
}

WAIT_PART int shim_pselect(int count, fd_set *reading, fd_set *writing, fd_set *exceptions, const struct timespec *timeout, const sigset_t *mask)
{
	return select_on(&(struct call){.count = count, .sets = SETS_OF(reading, writing, exceptions),
	                                .limit = timeout, .mask = mask, .is_pselect = true});
}

/* A connect of another thread's came up while a wait went on that had begun with none: what it shows of a
 * pending socket stands. A failure shows as readable and writable, and is no exception (POLLEX_SET in fs/select.c). */
static int late(int count, fd_set *reading, fd_set *writing, int result)
{
	unsigned long *const sets[SETS] = SETS_OF(reading, writing, NULL);
	size_t words = result > 0 && !thread_held ? ((size_t)count_of(count) + WORD_BITS - 1) / WORD_BITS : 0;
	for (size_t word = 0; word < words; word++)
		for (unsigned long bits = any_of(sets, word); bits != 0; bits &= bits - 1) {
			int fd = (int)word * (int)WORD_BITS + __builtin_ctzl(bits);
			struct pending *entry = pending_of(fd);
			if (entry != NULL && pending_is(entry, fd) && pending_has_failed(fd))
				pending_expose(entry);
		}
	return result;
}

WAIT_PART int late_select(int result, const uintptr_t *asked)
{
	return late((int)asked[0], (fd_set *)asked[1], (fd_set *)asked[2], result);
}

WAIT_PART int late_pselect(int result, const uintptr_t *asked)
{
	return late((int)asked[0], (fd_set *)asked[1], (fd_set *)asked[2], result);
}

/* ---- tier 3: exported ----------------------------------------------------------------------------- */

WAIT_ENTRY_3(select, (int count, fd_set *reading, fd_set *writing, fd_set *exceptions, struct timeval *timeout),
             (count, reading, writing, exceptions, timeout), count, rdi, reading, rsi, writing, rdx)
WAIT_ENTRY_3(pselect, (int count, fd_set *reading, fd_set *writing, fd_set *exceptions, const struct timespec *timeout, const sigset_t *mask),
             (count, reading, writing, exceptions, timeout, mask), count, rdi, reading, rsi, writing, rdx)
