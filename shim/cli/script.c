/* Scripts: who runs them, and what a shell's does to the preload. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/program.h"
#include "retryshim/cli.h"

/* The kernel reads so much of a file to find its interpreter (BINPRM_BUF_SIZE). */
enum { HEAD_BYTES = 256, SCRIPT_BYTES_MOST = 256 << 10 };

/* The file's first bytes, a zero behind them; their count, or -1. */
static ssize_t read_start(const char *path, char *bytes, size_t size)
{
	int fd = elf_open(path);
	ssize_t got = fd >= 0 ? pread(fd, bytes, size, 0) : -1;
	if (fd >= 0)
		close(fd);
	bytes[got > 0 ? got : 0] = '\0';
	return got;
}

static bool is_blank(char byte) { return byte == ' ' || byte == '\t'; }

/* As load_script() in the kernel's fs/binfmt_script.c: blanks at both ends do not count, all that follows the first word is
 * one argument, and a path that may have been cut off is refused. */
bool script_interpreter(const char *path, char **interpreter, char **argument)
{
	char head[HEAD_BYTES + 1];
	ssize_t got = read_start(path, head, HEAD_BYTES);
	if (got < 2 || head[0] != '#' || head[1] != '!')
		return false;
	char *start = head + 2, *end = strchr(start, '\n');
	if (end == NULL) {
		end = head + strlen(head);
		if (got == HEAD_BYTES && strpbrk(start + strspn(start, " \t"), " \t") == NULL)
			return false;
	}
	while (end > start && is_blank(end[-1]))
		end--;
	*end = '\0';
	start += strspn(start, " \t");
	if (*start == '\0')
		return false;
	size_t length = strcspn(start, " \t");
	const char *rest = start + length + strspn(start + length, " \t");
	*interpreter = cli_format("%.*s", (int)length, start);
	*argument = *rest != '\0' ? cli_format("%s", rest) : NULL;
	return true;
}

/* As shells decide it: no zero byte in the first line. */
bool script_is_text(const char *path)
{
	char head[HEAD_BYTES + 1];
	ssize_t got = read_start(path, head, HEAD_BYTES);
	const char *end = got > 0 ? memchr(head, '\n', (size_t)got) : NULL;
	return got >= 0 && memchr(head, '\0', end != NULL ? (size_t)(end - head) : (size_t)got) == NULL;
}

bool script_is_shell(const char *interpreter)
{
	static const char *const shells[] = {"sh", "dash", "bash", "rbash", "ash", "ksh", "ksh93", "mksh", "zsh", "fish", "yash"};
	const char *slash = strrchr(interpreter, '/'), *name = slash != NULL ? slash + 1 : interpreter;
	for (size_t i = 0; i < sizeof shells / sizeof shells[0]; i++)
		if (strcmp(name, shells[i]) == 0)
			return true;
	return false;
}

/* LD_PRELOAD= at the start of a word, or after unset or -u. */
static bool changes_preload(const char *line)
{
	static const char name[] = "LD_PRELOAD";
	for (const char *at = line; (at = strstr(at, name)) != NULL; at += sizeof name - 1) {
		bool word = at == line || strchr(" \t;&|({\"'", at[-1]) != NULL;
		const char *behind = at + sizeof name - 1;
		if (word && (*behind == '=' || strstr(line, "unset ") != NULL || strstr(line, "-u ") != NULL))
			return true;
	}
	return false;
}

/* "exec java": the program of a line that ends a script, as far as it is a plain word; NULL if not. To be freed. */
static char *exec_target(const char *line)
{
	if (strncmp(line, "exec", 4) != 0 || !is_blank(line[4]))
		return NULL;
	line += 4;
	line += strspn(line, " \t");
	size_t length = strcspn(line, " \t;&|");
	if (length == 0 || strcspn(line, "$`\"'<>\\-(*?[~") < length || isdigit((unsigned char)*line))
		return NULL;
	return cli_format("%.*s", (int)length, line);
}

static void inspect_line(const char *path, const char *line, int number, char **target, struct findings *findings)
{
	line += strspn(line, " \t");
	if (*line == '#')
		return;
	char *found = exec_target(line);
	if (found != NULL) {
		free(*target);
		*target = found;
	}
	if (changes_preload(line)) {
		char *where = cli_format("%d", number);
		findings_add(findings, FINDING_SCRIPT_PRELOAD, path, where);
		free(where);
	}
}

void script_inspect(const char *path, struct findings *findings)
{
	char *text = cli_allocate(SCRIPT_BYTES_MOST + 1), *target = NULL;
	int number = 1;
	read_start(path, text, SCRIPT_BYTES_MOST);
	for (char *line = text; line != NULL; number++) {
		char *end = strchr(line, '\n');
		if (end != NULL)
			*end = '\0';
		inspect_line(path, line, number, &target, findings);
		line = end != NULL ? end + 1 : NULL;
	}
	if (target != NULL)
		findings_add(findings, FINDING_SCRIPT_EXEC, path, target);
	free(target);
	free(text);
}
