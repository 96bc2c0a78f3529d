/* argp(3), as all sub-commands use it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "retryshim/cli.h"

void cli_parse(const struct argp *parser, char *name, unsigned flags, int argc, char **argv, void *input)
{
	argp_err_exit_status = CLI_USAGE;
	argv[0] = name;
	/* NO_HELP: argp's own --help would take -? but not -h. */
	error_t error = argp_parse(parser, argc, argv, ARGP_NO_HELP | flags, NULL, input);
	if (error != 0) {
		cli_error("%s", strerror(error));
		exit(CLI_FAILED);
	}
}
