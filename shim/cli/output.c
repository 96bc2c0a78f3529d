/* What every sub-command says in the same way: errors, hints, shell-quoted variables. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "retryshim/cli.h"

static void error_line(const char *format, va_list arguments)
{
	fputs("retryshim: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
}

void cli_error(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	error_line(format, arguments);
	va_end(arguments);
}

int cli_usage_error(const char *command, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	error_line(format, arguments);
	va_end(arguments);
	fprintf(stderr, "Try 'retryshim %s%s--help'.\n", command != NULL ? command : "", command != NULL ? " " : "");
	return CLI_USAGE;
}

bool cli_wants_help(int argc, char **argv)
{
	return argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
}

bool cli_starts(const char *text, const char *prefix) { return strncmp(text, prefix, strlen(prefix)) == 0; }

char *cli_format(const char *format, ...)
{
	char *text;
	va_list arguments;
	va_start(arguments, format);
	int length = vasprintf(&text, format, arguments);
	va_end(arguments);
	if (length < 0) {
		cli_error("out of memory");
		exit(CLI_FAILED);
	}
	return text;
}

void *cli_allocate(size_t size)
{
	void *memory = calloc(1, size);
	if (memory == NULL) {
		cli_error("out of memory");
		exit(CLI_FAILED);
	}
	return memory;
}

/* Bytes that no shell treats specially in the value of NAME=value. */
static bool is_plain(const char *value)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+.,:/@%=";
	return value[strspn(value, plain)] == '\0';
}

void cli_print_variable(const char *name, const char *value)
{
	if (is_plain(value)) {
		printf("%s=%s\n", name, value);
		return;
	}
	printf("%s='", name);
	for (; *value != '\0'; value++) {
		/* Nothing escapes a quote inside single quotes: leave them, escape it, enter again. */
		if (*value == '\'')
			fputs("'\\''", stdout);
		else
			putchar(*value);
	}
	puts("'");
}

char *cli_absolute_path(const char *path)
{
	if (path[0] == '/')
		return cli_format("%s", path);
	char *directory = getcwd(NULL, 0);
	if (directory == NULL)
		return NULL;
	char *absolute = cli_format("%s/%s", strcmp(directory, "/") == 0 ? "" : directory, path);
	free(directory);
	return absolute;
}

bool cli_on_terminal(void)
{
	const char *terminal = getenv("TERM");
	return isatty(STDOUT_FILENO) && terminal != NULL && strcmp(terminal, "dumb") != 0;
}

bool cli_wants_colours(void)
{
	const char *refusal = getenv("NO_COLOR"); /* https://no-color.org: not an empty one */
	return cli_on_terminal() && (refusal == NULL || refusal[0] == '\0');
}
