/* Follows DT_NEEDED from file to file. */
#include "cli/libraries.h"

#include <elf.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "retryshim/cli.h"

enum { LIBRARIES_MOST = 1024, DIRECTORIES_MOST = 64 };

struct walk {
	const char *program;
	const struct elf *elf; /* the program's */
	const char *search;    /* LD_LIBRARY_PATH */
	struct library *first, **end;
	int count;
};

/* ---- one library ------------------------------------------------------------------------------------ */

/* A candidate file, and whom it has to suit. */
struct candidate {
	const struct elf_kind *kind;
	struct elf elf; /* once taken */
};

static bool takes(const char *path, void *context)
{
	struct candidate *candidate = context;
	struct elf elf;
	if (elf_read(path, &elf) != ELF_READ)
		return false;
	struct elf_kind kind = elf.kind;
	kind.libc = ELF_LIBC_UNKNOWN; /* the loader does not ask */
	if (elf.type == ET_DYN && elf_difference(&kind, candidate->kind) == ELF_SAME) {
		candidate->elf = elf;
		return true;
	}
	elf_free(&elf);
	return false;
}

/* $ORIGIN, $LIB and $PLATFORM as the loader replaces them, for the file at `origin`. */
static char *expanded(const char *directory, size_t length, const char *origin, const struct elf_kind *kind)
{
	char real[PATH_MAX] = "";
	char *slash = realpath(origin, real) != NULL ? strrchr(real, '/') : NULL;
	if (slash != NULL)
		*slash = '\0';
	const char *triplet = elf_triplet(kind);
	const struct {
		const char *names[2];
		char *value;
	} tokens[] = {
		{{"$ORIGIN", "${ORIGIN}"}, cli_format("%s", real)},
		{{"$LIB", "${LIB}"}, cli_format("lib/%s", triplet)},
		{{"$PLATFORM", "${PLATFORM}"}, cli_format("%.*s", (int)strcspn(triplet, "-"), triplet)},
	};
	char *text = cli_format("%s", "");
	for (const char *end = directory + length; directory < end;) {
		size_t skip = 1;
		const char *value = NULL;
		for (size_t i = 0; i < 6; i++) {
			const char *name = tokens[i / 2].names[i % 2];
			if ((size_t)(end - directory) >= strlen(name) && strncmp(directory, name, strlen(name)) == 0) {
				value = tokens[i / 2].value;
				skip = strlen(name);
			}
		}
		char *longer = value != NULL ? cli_format("%s%s", text, value) : cli_format("%s%c", text, *directory);
		free(text);
		text = longer;
		directory += skip;
	}
	for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++)
		free(tokens[i].value);
	return text;
}

/* In the directories of a list that is separated by colons (LD_LIBRARY_PATH: or semicolons). */
static char *in_list(const char *list, const char *origin, const char *name, struct candidate *candidate)
{
	for (int i = 0; list != NULL && *list != '\0' && i < DIRECTORIES_MOST; i++) {
		size_t length = strcspn(list, ":;");
		char *directory = expanded(list, length, origin, candidate->kind);
		char *path = cli_format("%s%s%s", directory, length != 0 ? "/" : "", name);
		free(directory);
		if (takes(path, candidate))
			return path;
		free(path);
		list += length;
		list += *list != '\0';
	}
	return NULL;
}

static char *in_standard_places(const char *name, struct candidate *candidate)
{
	/* Debian's loaders know their folder, which comes from the table of kinds; the others have one of these. */
	const char *triplet = elf_triplet(candidate->kind);
	char *places = cli_format("/lib/%s:/usr/lib/%s:/lib64:/usr/lib64:/lib:/usr/lib:/usr/local/lib", triplet, triplet);
	char *path = in_list(places, "/", name, candidate);
	free(places);
	return path;
}

/* In the order of ld.so(8). DT_RPATH, of the file and of those that led to it, counts only for files without DT_RUNPATH. */
static char *find(const struct walk *walk, const char *name, const char *by_path, const struct elf *by,
                  const struct library *parent, struct candidate *candidate)
{
	char *path = NULL;
	if (strchr(name, '/') != NULL)
		return takes(name, candidate) ? cli_format("%s", name) : NULL;
	if (by->runpath == NULL) {
		path = in_list(by->rpath, by_path, name, candidate);
		for (const struct library *it = parent != NULL ? parent->parent : NULL; path == NULL && it != NULL; it = it->parent)
			path = in_list(it->elf.runpath == NULL ? it->elf.rpath : NULL, it->path, name, candidate);
		if (path == NULL && parent != NULL)
			path = in_list(walk->elf->runpath == NULL ? walk->elf->rpath : NULL, walk->program, name, candidate);
	}
	if (path == NULL)
		path = in_list(walk->search, walk->program, name, candidate);
	if (path == NULL)
		path = in_list(by->runpath, by_path, name, candidate);
	if (path == NULL && !by->no_default)
		path = libraries_cached(name, takes, candidate);
	return path == NULL && !by->no_default ? in_standard_places(name, candidate) : path;
}

/* ---- all of them ------------------------------------------------------------------------------------ */

static bool is_known(const struct walk *walk, const char *name)
{
	for (const struct library *it = walk->first; it != NULL; it = it->next)
		if (strcmp(it->name, name) == 0)
			return true;
	return false;
}

/* musl's loader takes these names for itself (load_library() in its ldso/dynlink.c). */
static bool is_loader_itself(const struct walk *walk, const char *name)
{
	static const char *const names[] = {"libc.", "libpthread.", "librt.", "libm.", "libdl.", "libutil.", "libxnet."};
	for (size_t i = 0; walk->elf->kind.libc == ELF_LIBC_MUSL && i < sizeof names / sizeof names[0]; i++)
		if (strncmp(name, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

static void add_needed(struct walk *walk, const char *path, const struct elf *elf, const struct library *parent)
{
	for (int i = 0; i < elf->needed_count && walk->count < LIBRARIES_MOST; i++) {
		if (is_known(walk, elf->needed[i]) || is_loader_itself(walk, elf->needed[i]))
			continue;
		struct candidate candidate = {.kind = &walk->elf->kind};
		struct library *library = cli_allocate(sizeof *library);
		library->name = cli_format("%s", elf->needed[i]);
		library->path = find(walk, library->name, path, elf, parent, &candidate);
		library->elf = candidate.elf;
		library->parent = parent;
		*walk->end = library;
		walk->end = &library->next;
		walk->count++;
	}
}

struct library *libraries_find(const char *program, const struct elf *elf, const char *search)
{
	struct walk walk = {program, elf, search, NULL, NULL, 0};
	walk.end = &walk.first;
	add_needed(&walk, program, elf, NULL);
	for (const struct library *it = walk.first; it != NULL; it = it->next)
		if (it->path != NULL)
			add_needed(&walk, it->path, &it->elf, it);
	return walk.first;
}

void libraries_free(struct library *libraries)
{
	while (libraries != NULL) {
		struct library *next = libraries->next;
		free(libraries->name);
		free(libraries->path);
		elf_free(&libraries->elf);
		free(libraries);
		libraries = next;
	}
}
