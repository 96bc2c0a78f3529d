/* From a command line to the file that it ends up in. */
#include "cli/program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "retryshim/cli.h"

enum {
	STEPS_MOST = 32,
	SCRIPTS_MOST = 5, /* one inside another; exec_binprm() in the kernel's fs/exec.c */
};

/* ---- where -------------------------------------------------------------------------------------------- */

static bool can_run(const char *path)
{
	struct stat status;
	if (stat(path, &status) != 0)
		return false;
	if (S_ISREG(status.st_mode) && access(path, X_OK) == 0)
		return true;
	errno = EACCES;
	return false;
}

char *program_find(const char *name, const char *path)
{
	bool denied = false;
	if (strchr(name, '/') != NULL)
		return can_run(name) ? cli_format("%s", name) : NULL;
	if (path == NULL)
		path = "/bin:/usr/bin"; /* confstr(_CS_PATH), as execvp(3) has it */
	for (bool more = name[0] != '\0'; more; path++) {
		size_t length = strcspn(path, ":");
		char *file = cli_format("%.*s%s%s", (int)length, path, length != 0 ? "/" : "", name);
		if (can_run(file))
			return file;
		denied = denied || errno == EACCES;
		free(file);
		path += length;
		more = *path == ':';
	}
	errno = denied ? EACCES : ENOENT;
	return NULL;
}

const char *program_variable(const struct program *program, const char *name)
{
	size_t length = strlen(name);
	const char *value = program->clears ? NULL : getenv(name);
	for (size_t i = 0; program->set != NULL && program->set[i] != NULL; i++)
		if (strncmp(program->set[i], name, length) == 0 && program->set[i][length] == '=')
			value = program->set[i] + length + 1;
	return value;
}

/* ---- step by step ------------------------------------------------------------------------------------- */

static int complain(struct program *program, int status, char *sentence)
{
	free(program->complaint);
	program->complaint = sentence;
	return status;
}

static void take_words(struct program *program, char **words)
{
	words_free(program->words);
	program->words = words;
}

/* The command line that the kernel makes of a script's. */
static void enter_script(struct program *program, char *interpreter, char *argument, struct findings *findings)
{
	char *script = program->path;
	char *start[] = {interpreter, argument != NULL ? argument : script, argument != NULL ? script : NULL, NULL};
	char *line = argument != NULL ? cli_format("%s %s", interpreter, argument) : cli_format("%s", interpreter);
	findings_add(findings, FINDING_SCRIPT, program->path, line);
	if (script_is_shell(interpreter) || (argument != NULL && script_is_shell(argument)))
		script_inspect(program->path, findings);
	take_words(program, words_joined(start, program->words[0] != NULL ? program->words + 1 : NULL));
	free(line);
}

/* A file that is no ELF one: the script's interpreter is next. */
static int leave_script(struct program *program, int *scripts, struct findings *findings)
{
	char *interpreter, *argument = NULL;
	if (!script_interpreter(program->path, &interpreter, &argument)) {
		if (!script_is_text(program->path))
			return complain(program, CLI_PROGRAM_UNUSABLE,
			                cli_format("it is neither a program of this machine nor a script"));
		interpreter = cli_format("/bin/sh");
	}
	enter_script(program, interpreter, argument, findings);
	free(interpreter);
	free(argument);
	if (++*scripts > SCRIPTS_MOST)
		return complain(program, CLI_PROGRAM_UNUSABLE, cli_format("too many scripts, one the interpreter of the other"));
	return CLI_OK;
}

static int look_up(struct program *program, bool in_path)
{
	const char *name = program->words[0];
	free(program->path);
	program->path = NULL;
	if (in_path)
		program->path = program_find(name, program_variable(program, "PATH"));
	else if (can_run(name))
		program->path = cli_format("%s", name);
	if (program->path != NULL)
		return CLI_OK;
	int error = errno;
	struct stat status;
	bool folder = stat(name, &status) == 0 && !S_ISREG(status.st_mode);
	return complain(program, error == ENOENT ? CLI_PROGRAM_MISSING : CLI_PROGRAM_UNUSABLE,
	                cli_format("%s", folder && strchr(name, '/') != NULL ? "it is no regular file" : strerror(error)));
}

static int read_file(struct program *program, struct findings *findings)
{
	switch (elf_read(program->path, &program->elf)) {
	case ELF_READ: program->is_elf = true; return CLI_OK;
	case ELF_UNREADABLE:
		if (errno == EACCES) { /* no script, then: its interpreter could not read it either */
			findings_add(findings, FINDING_UNREADABLE, program->path, NULL);
			rights_inspect(program->path, findings);
			program->is_unreadable = true;
			return CLI_OK;
		}
		return complain(program, CLI_PROGRAM_UNUSABLE, cli_format("it cannot be read: %s", strerror(errno)));
	case ELF_BROKEN: return complain(program, CLI_PROGRAM_UNUSABLE, cli_format("it is a broken ELF file"));
	default: program->is_elf = false; return CLI_OK;
	}
}

int program_follow(char **words, const char *object, struct program *program, struct findings *findings)
{
	int scripts = 0;
	bool in_path = true; /* not for an interpreter: its path is as it stands */
	*program = (struct program){.words = words_joined(words, NULL)};
	for (int step = 0; step < STEPS_MOST; step++) {
		int status = look_up(program, in_path);
		if (status == CLI_OK)
			status = read_file(program, findings);
		if (status != CLI_OK || program->is_unreadable)
			return status;
		if (!program->is_elf) {
			in_path = false;
			status = leave_script(program, &scripts, findings);
			if (status != CLI_OK)
				return status;
			continue;
		}
		rights_inspect(program->path, findings);
		char **next = wrapper_follow(program, program->path, object, findings);
		if (next == NULL)
			return CLI_OK;
		elf_free(&program->elf);
		program->is_elf = false;
		take_words(program, next);
		in_path = true;
		scripts = 0;
	}
	return complain(program, CLI_PROGRAM_UNUSABLE, cli_format("it starts one program after the other, without end"));
}

void program_free(struct program *program)
{
	words_free(program->words);
	words_free(program->set);
	free(program->path);
	free(program->complaint);
	elf_free(&program->elf);
	*program = (struct program){.path = NULL};
}
