/* Which sub-command, and the one check that what was written arrived. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "retryshim/cli.h"

const struct cli_command cli_commands[] = {
	{"run", cli_run, "run a program with its transient network failures retried"},
	{"check", cli_check, "tell whether and how the shim reaches a program"},
	{"env", cli_env, "show every variable: its value, where it comes from, its meaning"},
	{"status", cli_status, "show or reset what is known of the destinations that have failed"},
	{"metrics", cli_metrics, "print what has been counted, for Prometheus"},
#ifndef WITHOUT_JANSSON
	{"report", cli_report, "make an HTML page from JSON diagnostics"},
	{"tail", cli_tail, "show JSON diagnostics as lines for people, as they come"},
#endif
	{"help", cli_help, "show this help, or that of one command"},
	{"version", cli_version, "show the version"},
};

const size_t cli_command_count = sizeof cli_commands / sizeof cli_commands[0];

/* The customary options that stand for a sub-command. */
static const struct {
	const char *option, *command;
} aliases[] = {
	{"--help", "help"},
	{"-h", "help"},
	{"--version", "version"},
};

const struct cli_command *cli_command_find(const char *name)
{
	for (size_t i = 0; i < cli_command_count; i++)
		if (strcmp(cli_commands[i].name, name) == 0)
			return &cli_commands[i];
	return NULL;
}

/* At exit, since argp leaves by exit() as well: a full disk or a closed pipe must not look like
 * success to a script that keeps what was printed. */
static void check_stdout(void)
{
	bool failed = ferror(stdout) != 0;
	errno = 0;
	if (fflush(stdout) != 0 || failed) {
		cli_error("cannot write to standard output%s%s", errno != 0 ? ": " : "", errno != 0 ? strerror(errno) : "");
		_exit(CLI_FAILED);
	}
}

static const char *without_alias(const char *word)
{
	for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++)
		if (strcmp(aliases[i].option, word) == 0)
			return aliases[i].command;
	return word;
}

int main(int argc, char **argv)
{
	if (atexit(check_stdout) != 0) {
		cli_error("out of memory");
		return CLI_FAILED;
	}
	if (argc < 2)
		return cli_usage_error(NULL, "no command given");
	const struct cli_command *command = cli_command_find(without_alias(argv[1]));
	if (command != NULL)
		return command->function(argc - 1, argv + 1);
	if (argv[1][0] == '-')
		return cli_usage_error(NULL, "unknown option '%s' (the options of a command follow its name)", argv[1]);
	return cli_usage_error(NULL, "unknown command '%s' (a program is run by 'retryshim run -- PROGRAM')", argv[1]);
}
