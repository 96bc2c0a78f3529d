/* The state file, from outside: copied, or told to forget. A file that no program would use is not used here either. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/settings.h"
#include "cli/status.h"
#include "retryshim/cli.h"
#include "retryshim/runtime.h"

bool status_name(const struct destination *it, char name[STATE_NAME_BYTES + 1])
{
	memcpy(name, (const char *)it->name, STATE_NAME_BYTES);
	name[STATE_NAME_BYTES] = '\0';
	return (atomic_load_explicit(&it->place.tag, memory_order_acquire) & 1) != 0; /* even: free, or being made */
}

/* ---- which one -------------------------------------------------------------------------------------- */

/* As the programs have it: what is malformed is the default to them, and to us. */
const char *status_path(const char *path, struct config *config)
{
	static char standard[STATE_PATH_BYTES];
	cli_settings_config(NULL, config);
	if (path != NULL)
		config->state = path;
	if (!state_is_off(config))
		return state_path(config, standard);
	cli_error("the state is off (RETRY_STATE): each process keeps to itself what it learns, nothing can be shown. "
	          "A file is named with --state.");
	return NULL;
}

/* ---- trust ----------------------------------------------------------------------------------------- */

/* What to do about a file that state_distrust() objects to. */
static char *advice(const struct stat *file)
{
	if (!S_ISREG(file->st_mode))
		return cli_format("Remove it, or name another file with --state or RETRY_STATE");
	if (file->st_uid != geteuid())
		return cli_format("Run this as its owner, user %u, or have that user delete it", (unsigned)file->st_uid);
	if ((file->st_mode & (S_IRWXG | S_IRWXO)) != 0)
		return cli_format("Delete it if others may have written to it; else make it your own with chmod 600");
	return cli_format("Delete it: the next failure makes a new one");
}

static void refuse(const char *path, const struct stat *file, const char *why)
{
	char *what = advice(file);
	cli_error("'%s' is not used: %s. %s.", path, why, what);
	free(what);
}

static enum status_file cannot(const char *do_what, const char *path)
{
	int error = errno;
	if (error == ENOENT)
		return STATUS_FILE_MISSING;
	cli_error("cannot %s '%s': %s", do_what, path,
	          error == ELOOP ? "it is a symbolic link. Name the file itself" : strerror(error));
	return STATUS_FILE_UNUSABLE;
}

/* Opens a file that can be trusted; *size is then 0 or that of a state. */
static enum status_file open_trusted(const char *path, int mode, int *file, off_t *size)
{
	struct stat status;
	*file = open(path, mode | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* a FIFO must not be waited for */
	if (*file < 0 || fstat(*file, &status) != 0)
		return cannot("open", path); /* fstat(2) of a descriptor that we have does not fail */
	*size = status.st_size;
	const char *why = state_distrust(&status);
	if (why == NULL)
		return STATUS_FILE_READ;
	refuse(path, &status, why);
	close(*file);
	return STATUS_FILE_UNUSABLE;
}

/* As the programs have it: who finds no magic number writes the header. */
static bool has_our_layout(const char *path, const struct state_header *header)
{
	if (atomic_load_explicit(&header->magic, memory_order_acquire) == 0 || state_header_valid(header))
		return true;
	cli_error("'%s' is damaged, or of another version of libretryshim. Delete it: the next failure makes a new one.", path);
	return false;
}

/* ---- reading --------------------------------------------------------------------------------------- */

enum status_file status_file_read(const char *path, struct state *state)
{
	int file;
	off_t size;
	memset(state, 0, sizeof *state);
	enum status_file result = open_trusted(path, O_RDONLY, &file, &size);
	if (result != STATUS_FILE_READ)
		return result;
	/* Not mapped: whoever cuts the file off meanwhile must not kill us with SIGBUS. What is then missing is zeros. A
	 * word that changes under the copy may come out as nonsense, and any word is legal. */
	ssize_t got = pread(file, state, sizeof *state, 0);
	if (got < 0)
		result = cannot("read", path);
	close(file);
	if (got >= 0 && !has_our_layout(path, &state->header))
		result = STATUS_FILE_UNUSABLE;
	return result;
}

/* ---- forgetting ------------------------------------------------------------------------------------ */

/* Only a word that is set: its page is there, and needs no room on a disk that may be full. */
static void clear(_Atomic(uint64_t) *word)
{
	if (atomic_load_explicit(word, memory_order_relaxed) != 0)
		atomic_store_explicit(word, 0, memory_order_relaxed);
}

static void forget(struct destination *it)
{
	_Atomic(uint64_t) *words[] = {&it->bucket,    &it->circuit,  &it->floor,   &it->evidence,   &it->claim,    &it->failure,
	                              &it->opened_by, &it->attempts, &it->retries, &it->recoveries, &it->exhausted};
	uint64_t tag = atomic_load_explicit(&it->place.tag, memory_order_acquire);
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		clear(words[i]);
	/* Last; unless another destination has just taken the place, and with it the words. */
	atomic_compare_exchange_strong(&it->place.tag, &tag, 0);
}

static bool is_called(const char *name, const char *wanted)
{
	char *shown = status_shown(name);
	bool called = strcmp(name, wanted) == 0 || strcmp(shown, wanted) == 0;
	free(shown);
	return called;
}

static int forget_in(struct state *state, const char *wanted)
{
	char name[STATE_NAME_BYTES + 1];
	int forgotten = 0;
	for (int i = 0; i < STATE_DESTINATIONS; i++) {
		struct destination *it = &state->destinations[i];
		if (!status_name(it, name) || (wanted != NULL && !is_called(name, wanted)))
			continue;
		forget(it);
		forgotten++;
	}
	return forgotten;
}

static void cut_off(int number)
{
	static const char message[] = "retryshim: the file was cut off by somebody else meanwhile\n";
	ssize_t written = write(STDERR_FILENO, message, sizeof message - 1);
	(void)written;
	(void)number;
	_exit(CLI_FAILED);
}

enum status_file status_file_forget(const char *path, const char *wanted, int *forgotten)
{
	int file;
	off_t size;
	*forgotten = 0;
	enum status_file result = open_trusted(path, O_RDWR, &file, &size);
	if (result != STATUS_FILE_READ)
		return result;
	struct state *state = NULL;
	if (size != 0)
		state = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (state == MAP_FAILED) {
		state = NULL;
		result = cannot("map", path);
	}
	close(file);
	if (state == NULL)
		return result;
	signal(SIGBUS, cut_off);
	if (has_our_layout(path, &state->header))
		*forgotten = forget_in(state, wanted);
	else
		result = STATUS_FILE_UNUSABLE;
	munmap(state, sizeof *state);
	signal(SIGBUS, SIG_DFL);
	return result;
}
