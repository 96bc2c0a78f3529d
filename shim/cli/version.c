/* `retryshim version`. */
#include "retryshim/version.h"

#include <stdio.h>

#include "retryshim/cli.h"

int cli_version(int argc, char **argv)
{
	if (cli_wants_help(argc, argv)) {
		fputs("Usage: retryshim version\nShows the version of this command.\n", stdout);
		return CLI_OK;
	}
	if (argc > 1)
		return cli_usage_error("version", "version takes no argument, not '%s'", argv[1]);
	puts("retryshim " RETRYSHIM_VERSION);
	return CLI_OK;
}
