/* The file that all processes of a user share; state_places.c has what is in it. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libc.h"
#include "retryshim/runtime.h"

/* What stands in for the file where there is none. In every process' zeroed memory: untouched, it costs nothing. */
static struct state private_state;

/* A mapping that another thread may be using is never taken away. A file that is replaced again and again
 * must not fill the address space. */
enum { MAPPINGS_MOST = 8 };

/* The newest mapping and the file that it is of; all NULL and 0 before the first need. */
struct mapping {
	_Atomic(struct state *) state;
	dev_t device;
	ino_t inode;
};
static struct mapping mappings[MAPPINGS_MOST];
static _Atomic(int) mapping_count;
static _Atomic(bool) given_up; /* no file in this process any more */

/* ---- the file -------------------------------------------------------------------------------------- */

bool state_is_off(const struct config *config) { return strcmp(config->state, "off") == 0; }

const char *state_path(const struct config *config, char standard[STATE_PATH_BYTES])
{
	char digits[12];
	size_t at = sizeof digits;
	if (config->state[0] != '\0')
		return config->state;
	digits[--at] = '\0';
	for (uid_t user = geteuid(), left = user; at == sizeof digits - 1 || left != 0; left /= 10)
		digits[--at] = (char)('0' + left % 10);
	strcpy(standard, "/dev/shm/retryshim-");
	return strcat(standard, digits + at);
}

const char *state_distrust(const struct stat *file)
{
	if (!S_ISREG(file->st_mode))
		return "it is no regular file";
	if (file->st_uid != geteuid())
		return "it belongs to another user";
	if ((file->st_mode & (S_IRWXG | S_IRWXO)) != 0)
		return "other users may open it";
	if (file->st_size != 0 && file->st_size != (off_t)sizeof(struct state))
		return "it is of another size, hence of another version or damaged";
	return NULL;
}

/* Sets what a file of zeros lacks; false if it is of another layout. */
static bool has_header(struct state_header *header)
{
	if (atomic_load_explicit(&header->magic, memory_order_acquire) == 0) {
		atomic_store_explicit(&header->layout, STATE_LAYOUT, memory_order_relaxed);
		atomic_store_explicit(&header->destinations, STATE_DESTINATIONS, memory_order_relaxed);
		atomic_store_explicit(&header->destination_bytes, sizeof(struct destination), memory_order_relaxed);
		atomic_store_explicit(&header->series, STATE_SERIES, memory_order_relaxed);
		atomic_store_explicit(&header->series_bytes, sizeof(struct series), memory_order_relaxed);
		atomic_store_explicit(&header->magic, STATE_MAGIC, memory_order_release);
	}
	return state_header_valid(header);
}

bool state_header_valid(const struct state_header *header)
{
	return atomic_load_explicit(&header->magic, memory_order_acquire) == STATE_MAGIC &&
	       atomic_load_explicit(&header->layout, memory_order_relaxed) == STATE_LAYOUT &&
	       atomic_load_explicit(&header->destinations, memory_order_relaxed) == STATE_DESTINATIONS &&
	       atomic_load_explicit(&header->destination_bytes, memory_order_relaxed) == sizeof(struct destination) &&
	       atomic_load_explicit(&header->series, memory_order_relaxed) == STATE_SERIES &&
	       atomic_load_explicit(&header->series_bytes, memory_order_relaxed) == sizeof(struct series);
}

/* Every page must be there before it is touched: a write into a hole that a full disk cannot fill is SIGBUS. A file
 * system that cannot promise that is not used. */
static bool fill(int file, off_t size)
{
	struct rlimit most;
	/* Beyond it the kernel would send SIGXFSZ (setrlimit(2)). */
	if (size == 0 && getrlimit(RLIMIT_FSIZE, &most) == 0 && most.rlim_cur < sizeof(struct state)) {
		errno = EFBIG;
		return false;
	}
	int result;
	do
		result = fallocate(file, 0, 0, sizeof(struct state));
	while (result != 0 && errno == EINTR); /* a stop, a debugger */
	return result == 0;
}

static int open_file(const char *path)
{
	/* O_NONBLOCK: a FIFO must not be waited for. */
	const int flags = O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	for (int turn = 0; turn < 3; turn++) { /* others create and delete it too */
		int file = open(path, flags);
		if (file >= 0 || errno != ENOENT)
			return file;
		file = open(path, flags | O_CREAT | O_EXCL, 0600);
		if (file >= 0)
			fchmod(file, 0600); /* whatever the umask takes away */
		if (file >= 0 || errno != EEXIST)
			return file;
	}
	return -1;
}

/* The state behind an open file, and which file that is; NULL with the reason, "" for errno. */
static struct state *map_file(int file, struct stat *status, const char **why)
{
	if (fstat(file, status) != 0)
		return NULL;
	if ((*why = state_distrust(status)) != NULL)
		return NULL;
	*why = "";
	if (!fill(file, status->st_size))
		return NULL;
	struct state *state = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (state == MAP_FAILED)
		return NULL;
	if (has_header(&state->header))
		return state;
	munmap(state, sizeof *state);
	*why = "it is damaged, or of another version";
	return NULL;
}

/* The mapping of this file among the first `count`; *made: none of these is still being entered. */
static struct state *kept(const struct stat *status, int count, bool *made)
{
	*made = true;
	for (int i = 0; i < count && i < MAPPINGS_MOST; i++) {
		struct state *state = atomic_load_explicit(&mappings[i].state, memory_order_acquire);
		if (state == NULL)
			*made = false;
		else if (mappings[i].inode == status->st_ino && mappings[i].device == status->st_dev)
			return state;
	}
	return NULL;
}

/* Threads that meet their first failure at the same time all map the file: the first one's mapping is kept. */
static struct state *keep(struct state *state, const struct stat *status)
{
	for (int turn = 0;; turn++) {
		bool made;
		int count = atomic_load_explicit(&mapping_count, memory_order_acquire);
		struct state *other = kept(status, count, &made);
		if (other != NULL || count >= MAPPINGS_MOST) {
			munmap(state, sizeof *state);
			if (other == NULL)
				atomic_store_explicit(&given_up, true, memory_order_relaxed);
			return other != NULL ? other : &private_state;
		}
		if (!made && turn < 20) { /* which takes its thread a few instructions; unless this is a child that it forked meanwhile */
			sched_yield();
			continue;
		}
		if (!atomic_compare_exchange_strong(&mapping_count, &count, count + 1))
			continue;
		mappings[count].device = status->st_dev;
		mappings[count].inode = status->st_ino;
		atomic_store_explicit(&mappings[count].state, state, memory_order_release);
		return state;
	}
}

static struct state *open_state(const char *path, const char **why)
{
	struct stat status;
	*why = "";
	int file = open_file(path);
	if (file < 0)
		return NULL;
	struct state *state = map_file(file, &status, why);
	int error = errno;
	close(file);
	errno = error;
	return state != NULL ? keep(state, &status) : NULL;
}

/* Where the C library's own clock cannot be told from that of a library which shows the program another time, instants
 * in the file would be nonsense to others. */
static bool clock_is_odd(void)
{
	static _Atomic(int) known; /* 1: it is the kernel's; 2: it is not */
	int64_t kernels_ns;
	int state = atomic_load_explicit(&known, memory_order_relaxed);
	if (state != 0 || !kernel_clock_ns(CLOCK_MONOTONIC, &kernels_ns))
		return state == 2;
	int64_t apart_ns = clock_now_ns() - kernels_ns;
	state = apart_ns < -NS_PER_S || apart_ns > NS_PER_S ? 2 : 1;
	atomic_store_explicit(&known, state, memory_order_relaxed);
	return state == 2;
}

/* ---- the mapping ----------------------------------------------------------------------------------- */

/* The mapping of the file that lies there now; NULL if there is none. Touching a file that was cut off under us is
 * SIGBUS, so each use asks first. */
static struct state *mapped(const char *path, bool *missing)
{
	bool made;
	struct stat now;
	*missing = stat(path, &now) != 0;
	if (*missing)
		return NULL;
	struct state *state = kept(&now, atomic_load_explicit(&mapping_count, memory_order_acquire), &made);
	return state != NULL && now.st_size == (off_t)sizeof(struct state) ? state : NULL;
}

static void do_without(const struct config *config, const char *path, const char *why, int error, state_complaint *complain)
{
	static _Atomic(int) told;
	/* The next failure may meet better times. */
	bool passes = why[0] == '\0' && (error == EMFILE || error == ENFILE || error == ENOMEM || error == EINTR);
	if (!passes)
		atomic_store_explicit(&given_up, true, memory_order_relaxed);
	if (complain != NULL && atomic_exchange_explicit(&told, 1, memory_order_relaxed) == 0)
		complain(config, path, why, error);
}

static struct state *state_of(const struct config *config, bool make, state_complaint *complain)
{
	char standard[STATE_PATH_BYTES];
	const char *path, *why;
	bool missing;
	if (state_is_off(config) || atomic_load_explicit(&given_up, memory_order_relaxed) || getauxval(AT_SECURE) != 0 ||
	    clock_is_odd())
		return &private_state;
	path = state_path(config, standard);
	struct state *state = mapped(path, &missing);
	if (state != NULL || (missing && !make))
		return state;
	struct hold hold;
	hold_begin(&hold);
	state = open_state(path, &why);
	int error = errno;
	if (state == NULL)
		do_without(config, path, why, error, complain);
	hold_end(&hold);
	return state != NULL ? state : &private_state;
}

struct destination *state_destination(const struct config *config, const struct target *target, uint64_t tag, bool make,
                                      state_complaint *complain)
{
	int error = errno;
	struct state *state = state_of(config, make, complain);
	struct destination *it = state != NULL ? state_place(state, tag, target, make, clock_now_ns() / NS_PER_MS) : NULL;
	errno = error;
	return it;
}

bool state_is_shared(const struct state *state) { return state != &private_state; }

struct series *state_series(const struct config *config, const struct labels *labels, struct state **state, state_complaint *complain)
{
	int error = errno;
	*state = state_of(config, true, complain);
	struct series *series = state_series_place(*state, labels, clock_now_ns() / NS_PER_MS);
	errno = error;
	return series;
}
