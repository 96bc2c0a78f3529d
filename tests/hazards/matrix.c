/* The hazard matrix: matrix PLACE HOOK PORT calls one hook at one place, and tells what came of it. A library, since
 * constructors and destructors are places; matrix_main.c is the program.
 *
 * The environment: MATRIX_LEFT (place `stack`: bytes of stack that the call has), MATRIX_SPACE (place `tight`: the address
 * space in bytes), MATRIX_ALLOWED (place `killing-sandbox`). */
#include <sys/mman.h>

#include "matrix_scarce.h"
#include "matrix_when.h"

int matrix_main(int argc, char **argv);

/* ---- the table --------------------------------------------------------------------------------------------------- */

static const struct place {
	const char *name;
	void (*function)(struct cell *cell);
} places[] = {
	{"main", in_main},
	{"constructor", in_main},
	{"destructor", in_main},
	{"exit", in_exit},
	{"thread", in_thread},
	{"cancelled", in_cancelled_thread},
	{"cancelled-before", in_cancelled_thread_before},
	{"handler", in_handler},
	{"fork", in_forked},
	{"vfork", in_vforked},
	{"spawn", in_spawned},
	{"unplugged", in_unplugged},
	{"stack", in_small_stack},
	{"descriptors", without_descriptors},
	{"descriptors-threads", without_descriptors_among_threads},
	{"memory", without_memory},
	{"mappings", without_address_space},
	{"tight", in_tight_address_space},
	{"peak", tell_peak},
	{"sandbox", in_sandbox},
	{"killing-sandbox", in_killing_sandbox},
	{"denied", without_some_calls},
	{"chroot", in_chroot},
	{"closed", without_stdio},
};

static const struct hook *hook_named(const char *name)
{
	for (size_t i = 0; i < sizeof hooks / sizeof hooks[0]; i++)
		if (strcmp(hooks[i].name, name) == 0)
			return &hooks[i];
	return NULL; /* a plugin's */
}

static void run(const struct place *place)
{
	struct descriptors before;
	/* Shared, so that a child's outcome is seen. */
	struct cell *cell = mmap(NULL, sizeof *cell, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (cell == MAP_FAILED)
		broken("mmap");
	*cell = (struct cell){.hook = hook_named(arguments[2]), .port = arguments[3]};
	told_to = strcmp(place->name, "closed") == 0 ? "told" : NULL;
	descriptors_read(&before);
	tell("calls", arguments[2]);
	place->function(cell);
	tell_outcome(cell);
	tell_number("descriptors_changed", descriptors_changed(&before));
}

static void run_at(const char *name, int argc, char **argv)
{
	arguments = argv;
	for (size_t i = 0; argc == 4 && i < sizeof places / sizeof places[0]; i++)
		if (strcmp(argv[1], name) == 0 && strcmp(places[i].name, name) == 0)
			run(&places[i]);
}

static int kept_argc;

__attribute__((constructor)) static void construct(int argc, char **argv)
{
	kept_argc = argc;
	run_at("constructor", argc, argv);
}

__attribute__((destructor)) static void destruct(void) { run_at("destructor", kept_argc, arguments); }

int matrix_main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "constructor") != 0 && strcmp(argv[1], "destructor") != 0)
		run_at(argv[1], argc, argv);
	return 0;
}
