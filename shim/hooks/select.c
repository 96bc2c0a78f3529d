/* select(2) and pselect(2). A set may be larger than FD_SETSIZE: the kernel reads as many bits as it is
 * told descriptors. */
#include "hooks/waiting.h"

#include <errno.h>
#include <string.h>
#include <sys/select.h>

#include "hooks/pending.h"

/* ---- tier 1, the typed pointers to the real functions, are real_NAME() of the runtime ------------- */

/* ---- tier 2: ours --------------------------------------------------------------------------------- */

enum { SETS = 3, WORD_BITS = 8 * sizeof(unsigned long), OWN_WORDS = SETS * FD_SETSIZE / WORD_BITS };

enum which { READING, WRITING, EXCEPTIONS };

struct selecting {
	struct wait wait; /* first */
	int count;
	unsigned long *sets[SETS];  /* the program's; NULL where it gave none */
	unsigned long *asked[SETS]; /* what it asked for: the call overwrites its sets */
	unsigned long own[OWN_WORDS];
};

static size_t words_of(int count) { return ((size_t)count + WORD_BITS - 1) / WORD_BITS; }

static bool has(const unsigned long *set, int fd) { return set != NULL && (set[fd / (int)WORD_BITS] >> (fd % (int)WORD_BITS) & 1) != 0; }

static int take(unsigned long *set, int fd)
{
	int had = has(set, fd);
	if (had)
		set[fd / (int)WORD_BITS] &= ~(1UL << (fd % (int)WORD_BITS));
	return had;
}

/* The descriptors in any of the sets, word by word: nearly all words are empty. */
static unsigned long any_of(unsigned long *const sets[SETS], size_t word)
{
	unsigned long bits = 0;
	for (int i = 0; i < SETS; i++)
		bits |= sets[i] != NULL ? sets[i][word] : 0;
	return bits;
}

static bool has_failed(int fd)
{
	struct pollfd polled = {.fd = fd, .events = POLLOUT};
	return real_poll()(&polled, 1, 0) == 1 && (polled.revents & (POLLERR | POLLHUP)) != 0;
}

/* How many bits of the result the program is not to see of a descriptor; they are cleared. A failed
 * socket is readable and writable, and select does not tell why. */
static int hidden_of(struct selecting *selecting, int fd)
{
	struct pending *entry = pending_of(fd);
	if (entry == NULL && !has(selecting->sets[WRITING], fd))
		return 0;
	/* Writable, or failed; then it may be a duplicate of a pending socket. */
	bool failed = has_failed(fd);
	if (entry == NULL && failed)
		entry = pending_duplicate(fd);
	if (entry == NULL || pending_event(entry, fd, failed) != HIDDEN)
		return 0;
	int hidden = 0;
	for (int i = 0; i < SETS; i++)
		hidden += take(selecting->sets[i], fd);
	return hidden;
}

static int settle(struct wait *wait, int result)
{
	struct selecting *selecting = (struct selecting *)wait;
	int shown = result;
	for (size_t word = 0; word < words_of(selecting->count); word++) {
		unsigned long bits = any_of(selecting->sets, word);
		for (; bits != 0; bits &= bits - 1)
			shown -= hidden_of(selecting, (int)word * (int)WORD_BITS + __builtin_ctzl(bits));
	}
	return shown;
}

static void leave_out_quiet(struct selecting *selecting)
{
	for (size_t word = 0; word < words_of(selecting->count); word++)
		for (unsigned long bits = any_of(selecting->asked, word); bits != 0; bits &= bits - 1) {
			int fd = (int)word * (int)WORD_BITS + __builtin_ctzl(bits);
			if (!pending_is_quiet(fd))
				continue;
			for (int i = 0; i < SETS; i++)
				if (selecting->sets[i] != NULL)
					take(selecting->sets[i], fd);
		}
}

static void copy_sets(unsigned long *const to[SETS], unsigned long *const from[SETS], int count)
{
	for (int i = 0; i < SETS; i++)
		if (to[i] != NULL)
			memcpy(to[i], from[i], words_of(count) * sizeof *to[i]);
}

static int once(struct wait *wait, const struct timespec *left, const sigset_t *mask)
{
	struct selecting *selecting = (struct selecting *)wait;
	copy_sets(selecting->sets, selecting->asked, selecting->count);
	leave_out_quiet(selecting);
	int result = real_pselect()(selecting->count, (fd_set *)selecting->sets[READING], (fd_set *)selecting->sets[WRITING],
	                            (fd_set *)selecting->sets[EXCEPTIONS], left, mask);
	if (result < 0) {
		int error = errno;
		copy_sets(selecting->sets, selecting->asked, selecting->count); /* a failed call leaves them alone */
		errno = error;
	}
	return result;
}

/* The first call: the program's own. `timeout` is select's, `limit` and `mask` pselect's. */
static int first(struct selecting *selecting, struct timeval *timeout, const struct timespec *limit, const sigset_t *mask, bool is_pselect)
{
	fd_set *reading = (fd_set *)selecting->sets[READING], *writing = (fd_set *)selecting->sets[WRITING];
	fd_set *exceptions = (fd_set *)selecting->sets[EXCEPTIONS];
	return is_pselect ? real_pselect()(selecting->count, reading, writing, exceptions, limit, mask)
	                  : real_select()(selecting->count, reading, writing, exceptions, timeout);
}

static int64_t span_of(const struct timeval *timeout)
{
	if (timeout == NULL)
		return WAIT_FOR_EVER;
	return wait_span(&(struct timespec){.tv_sec = timeout->tv_sec, .tv_nsec = timeout->tv_usec * 1000});
}

/* Linux's select tells how much of the time-out was left (select(2)). */
static void update_timeout(struct timeval *timeout, const struct wait *wait)
{
	if (timeout == NULL)
		return;
	int64_t left_ns = wait_left_ns(wait);
	*timeout = (struct timeval){.tv_sec = left_ns / NS_PER_S, .tv_usec = left_ns % NS_PER_S / 1000};
}

static int run(struct selecting *selecting, struct timeval *timeout, const struct timespec *limit, bool is_pselect)
{
	if (!pending_any_quiet()) {
		int result = first(selecting, timeout, limit, selecting->wait.mask, is_pselect);
		int shown = result > 0 ? settle(&selecting->wait, result) : result;
		if (pending_any())
			pending_tidy(selecting->wait.start);
		if (shown != 0 || result == 0)
			return shown;
	}
	int result = wait_on(&selecting->wait);
	update_timeout(timeout, &selecting->wait);
	return result;
}

/* Keeps what the program asked for. */
static void keep_asked(struct selecting *selecting, unsigned long *room)
{
	size_t words = words_of(selecting->count);
	for (int i = 0; i < SETS; i++)
		selecting->asked[i] = selecting->sets[i] != NULL ? room + (size_t)i * words : NULL;
	copy_sets(selecting->asked, selecting->sets, selecting->count);
}

static __attribute__((noinline)) int shim_select(int count, fd_set *const sets[SETS], struct timeval *timeout,
                                                 const struct timespec *limit, const sigset_t *mask, bool is_pselect)
{
	struct selecting selecting = {
		.wait = {.start = clock_mark(), .span_ns = is_pselect ? wait_span(limit) : span_of(timeout), .mask = mask,
		         .once = once, .settle = settle},
		.count = count,
		.sets = {(unsigned long *)sets[READING], (unsigned long *)sets[WRITING], (unsigned long *)sets[EXCEPTIONS]},
	};
	size_t size = count > 0 ? SETS * words_of(count) * sizeof(unsigned long) : 0;
	unsigned long *room = size > 0 ? wait_scratch(selecting.own, sizeof selecting.own, size) : NULL;
	if (room == NULL || thread_held)
		return first(&selecting, timeout, limit, mask, is_pselect);
	keep_asked(&selecting, room);
	int result = run(&selecting, timeout, limit, is_pselect);
	int error = errno;
	wait_scratch_end(room, selecting.own, size);
	errno = error;
	return result;
}

/* ---- tier 3: exported ----------------------------------------------------------------------------- */

#define EXPORT __attribute__((visibility("default")))

EXPORT int select(int count, fd_set *reading, fd_set *writing, fd_set *exceptions, struct timeval *timeout)
{
	if (pending_any())
		return shim_select(count, (fd_set *[]){reading, writing, exceptions}, timeout, NULL, NULL, false);
	return real_select()(count, reading, writing, exceptions, timeout);
}

EXPORT int pselect(int count, fd_set *reading, fd_set *writing, fd_set *exceptions, const struct timespec *timeout,
                   const sigset_t *mask)
{
	if (pending_any())
		return shim_select(count, (fd_set *[]){reading, writing, exceptions}, NULL, timeout, mask, true);
	return real_pselect()(count, reading, writing, exceptions, timeout, mask);
}
