/* `retryshim help [COMMAND]`. */
#include <stdio.h>
#include <string.h>

#include "retryshim/cli.h"

static const char intro[] =
	"Usage: retryshim COMMAND [ARGUMENTS]\n"
	"Retries transient network failures in unmodified programs.\n"
	"\n"
	"Commands:\n";

static const char outro[] =
	"\n"
	"'retryshim help COMMAND' or 'retryshim COMMAND --help' tells more of each.\n"
	"\n"
	"Examples:\n"
	"  retryshim run -- wget https://example.com/file\n"
	"  retryshim run --attempts 5 --diag -- ./nightly-job --verbose\n"
	"\n"
	"Exit status: 0 done, 1 failed (such as a full disk), 2 wrong arguments.\n"
	"'retryshim run' has that of its program, 'retryshim check' 0, 1 or 3.\n";

static void list_commands(void)
{
	fputs(intro, stdout);
	for (size_t i = 0; i < cli_command_count; i++)
		printf("  %-10s %s\n", cli_commands[i].name, cli_commands[i].help);
	fputs(outro, stdout);
}

static int help_on(const char *name)
{
	const struct cli_command *command = cli_command_find(name);
	char own_name[32], option[] = "--help";
	char *arguments[] = {own_name, option, NULL};
	if (command == NULL)
		return cli_usage_error(NULL, "unknown command '%s'", name);
	snprintf(own_name, sizeof own_name, "%s", command->name);
	return command->function(2, arguments);
}

int cli_help(int argc, char **argv)
{
	if (argc > 2)
		return cli_usage_error(NULL, "help takes one command, not also '%s'", argv[2]);
	if (argc < 2 || cli_wants_help(argc, argv)) {
		list_commands();
		return CLI_OK;
	}
	return help_on(argv[1]);
}
