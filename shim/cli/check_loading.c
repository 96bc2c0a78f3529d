/* Whether an object can be preloaded into a program at all. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/check.h"
#include "retryshim/cli.h"

static void add_difference(const struct elf *elf, enum elf_difference difference, const char *path,
                           struct findings *findings)
{
	static const enum finding said[] = {
		[ELF_OTHER_WORD_SIZE] = FINDING_WORD_SIZE,
		[ELF_OTHER_PROCESSOR] = FINDING_PROCESSOR,
		[ELF_OTHER_LIBC] = FINDING_LIBC,
	};
	char *processor = elf_processor_name(&elf->kind);
	findings_add(findings, said[difference], path, difference == ELF_OTHER_LIBC ? elf_libc_name(elf->kind.libc) : processor);
	free(processor);
}

char *check_object(const struct program *program, const char *object, struct findings *findings)
{
	struct elf elf;
	/* Without a loader none is preloaded, and none does harm. */
	if (!program->is_elf || program->elf.interpreter == NULL || elf_read(object, &elf) != ELF_READ)
		return cli_format("%s", object);
	enum elf_difference difference = elf_difference(&program->elf.kind, &elf.kind);
	elf_free(&elf);
	if (difference == ELF_SAME)
		return cli_format("%s", object);
	char *other = cli_find_object_for(&program->elf.kind);
	if (other != NULL)
		findings_add(findings, FINDING_OTHER_OBJECT, program->path, other);
	else
		add_difference(&program->elf, difference, program->path, findings);
	return other;
}

static void check_go(const struct program *program, struct findings *findings)
{
	if (program->elf.interpreter == NULL)
		findings_add(findings, FINDING_GO_STATIC, program->path, NULL);
	else
		findings_add(findings, (program->elf.imports & ELF_LOOKUP) != 0 ? FINDING_GO_LOOKUPS : FINDING_GO, program->path,
		             NULL);
}

bool check_loading(const struct program *program, struct findings *findings)
{
	const struct elf *elf = &program->elf;
	if (elf->go)
		check_go(program, findings);
	else if (elf->interpreter == NULL)
		findings_add(findings, FINDING_STATIC, program->path, NULL);
	if (elf->interpreter != NULL && access(elf->interpreter, F_OK) != 0)
		findings_add(findings, FINDING_NO_LOADER, program->path, elf->interpreter);
	for (int i = 0; i < elf->needed_count; i++)
		if (strncmp(elf->needed[i], "libasan.so.", 11) == 0)
			findings_add(findings, FINDING_SANITIZER, program->path, elf->needed[i]);
	return !elf->go && elf->interpreter != NULL;
}
