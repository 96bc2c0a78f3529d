/* Finding libretryshim.so, and putting it into LD_PRELOAD. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/elf.h"
#include "retryshim/cli.h"

#ifndef LIBRETRYSHIM_DIR
#define LIBRETRYSHIM_DIR "/usr/local/lib"
#endif

#define OBJECT_NAME "libretryshim.so"

struct search {
	char *found;  /* NULL until then */
	char *looked; /* for people, a directory a line */
	const struct elf_kind *kind; /* what it has to be, and to be known to be; NULL: anything */
};

static bool is_of_kind(const char *path, const struct elf_kind *kind)
{
	struct elf elf;
	if (kind == NULL)
		return true;
	if (elf_read(path, &elf) != ELF_READ)
		return false;
	bool same = elf.kind.libc != ELF_LIBC_UNKNOWN && elf_difference(&elf.kind, kind) == ELF_SAME;
	elf_free(&elf);
	return same;
}

/* True if the object lies in this directory and can be read. */
static bool probe(struct search *search, const char *directory)
{
	struct stat status;
	char *path = cli_format("%s/" OBJECT_NAME, directory);
	if (stat(path, &status) == 0 && S_ISREG(status.st_mode) && access(path, R_OK) == 0 && is_of_kind(path, search->kind)) {
		search->found = path;
		return true;
	}
	free(path);
	return false;
}

static void note(struct search *search, const char *directory, const char *suffix)
{
	char *longer = cli_format("%s  %s%s\n", search->looked, directory, suffix);
	free(search->looked);
	search->looked = longer;
}

static bool look_in(struct search *search, const char *directory)
{
	note(search, directory, "");
	return probe(search, directory);
}

/* The directories of one level, such as x86_64-linux-gnu, in an order that does not depend on the
 * file system. */
static bool look_below(struct search *search, const char *directory)
{
	struct dirent **entries;
	bool found = false;
	note(search, directory, "/*");
	int count = scandir(directory, &entries, NULL, alphasort);
	if (count < 0)
		return false;
	for (int i = 0; i < count; i++) {
		if (!found && entries[i]->d_name[0] != '.') {
			char *below = cli_format("%s/%s", directory, entries[i]->d_name);
			found = probe(search, below);
			free(below);
		}
		free(entries[i]);
	}
	free(entries);
	return found;
}

/* The directory of this executable, links resolved; "" for the root; NULL without /proc. Not
 * argv[0], which is whatever the caller liked. */
static char *own_directory(void)
{
	char path[4096];
	ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
	if (length <= 0 || path[0] != '/')
		return NULL;
	path[length] = '\0';
	*strrchr(path, '/') = '\0';
	return cli_format("%s", path);
}

static bool look_in_siblings(struct search *search, const char *parent)
{
	static const char *const names[] = {"lib32", "lib64", "libx32"};
	bool found = false;
	for (size_t i = 0; i < sizeof names / sizeof names[0] && !found; i++) {
		char *directory = cli_format("%s/%s", parent, names[i]);
		found = look_in(search, directory);
		free(directory);
	}
	return found;
}

/* The build tree, then an installed tree wherever it was moved to, then where it was configured. */
static bool look_everywhere(struct search *search)
{
	bool found = false;
	char *bin = own_directory();
	if (bin != NULL) {
		char *parent = cli_format("%s", bin);
		char *slash = strrchr(parent, '/');
		if (slash != NULL)
			*slash = '\0';
		char *lib = cli_format("%s/lib", parent);
		char *own = cli_format("%s/lib/retryshim", parent);
		found = look_in(search, bin) || look_in(search, lib) || look_in(search, own) || look_below(search, lib);
		/* Where systems put libraries of another kind than the usual one. */
		if (!found && search->kind != NULL)
			found = look_below(search, own) || look_in_siblings(search, parent);
		free(own);
		free(lib);
		free(parent);
		free(bin);
	}
	return found || look_in(search, LIBRETRYSHIM_DIR) || (search->kind != NULL && look_below(search, LIBRETRYSHIM_DIR));
}

char *cli_find_object(char **looked)
{
	struct search search = {NULL, cli_format("%s", ""), NULL};
	look_everywhere(&search);
	*looked = NULL;
	if (search.found == NULL)
		*looked = search.looked;
	else
		free(search.looked);
	return search.found;
}

char *cli_find_object_for(const struct elf_kind *kind)
{
	struct search search = {NULL, cli_format("%s", ""), kind};
	look_everywhere(&search);
	free(search.looked);
	return search.found;
}

bool cli_can_preload(const char *object) { return strpbrk(object, ": ") == NULL; }

static bool is_ours(const char *item, size_t length)
{
	size_t name = strlen(OBJECT_NAME);
	if (length < name || memcmp(item + length - name, OBJECT_NAME, name) != 0)
		return false;
	return length == name || item[length - name - 1] == '/';
}

char *cli_preload_value(const char *object, const char *existing)
{
	char *value = cli_format("%s", object != NULL ? object : "");
	while (existing != NULL && *existing != '\0') {
		size_t length = strcspn(existing, ": ");
		if (length > 0 && !is_ours(existing, length)) {
			char *longer = cli_format("%s%s%.*s", value, value[0] != '\0' ? ":" : "", (int)length, existing);
			free(value);
			value = longer;
		}
		existing += length;
		existing += strspn(existing, ": ");
	}
	return value;
}
