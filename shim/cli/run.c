/* `retryshim run`: sets the environment, then becomes the program. */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/check.h"
#include "cli/options.h"
#include "cli/rerun.h"
#include "retryshim/cli.h"
#include "retryshim/policy.h"

enum {
	KEY_FIRST_OPTION = 256,
	KEY_PRINT = KEY_FIRST_OPTION + RUN_OPTIONS,
	KEY_USAGE,
	KEY_RERUN,
	KEY_RERUN_TIMEOUT,
	KEY_RERUN_ON,
	KEY_RERUN_OUTPUT,
};

struct run {
	char *values[RUN_OPTIONS]; /* NULL: that option was not given */
	bool print;
	char **program; /* NULL: none was given */
	struct rerun rerun;
	bool reruns_told; /* one of its options but the first was given */
};

static const char arguments_text[] = "-- PROGRAM [ARG...]\n--print";

/* argp prints what follows the vertical tab behind the options. */
static const char help_text[] =
	"Runs PROGRAM with libretryshim.so preloaded, so that its transient network failures are retried. "
	"Its children are covered as well. An option sets one RETRY_* variable; what is "
	"not given here keeps its value in the environment, or else its default."
	"\v"
	"DUR is 200ms, 2s, 1.5s, 1m or 1h; a bare number is milliseconds.\n"
	"LIST is separated by commas.\n"
	"\n"
	"A PROGRAM that cannot take the object (another word size, processor or C\n"
	"library) gets the one for its kind that is installed beside it, in lib32 or\n"
	"lib/TRIPLET, say. Without one it runs as if nothing were preloaded, and so\n"
	"does what it starts; standard error says so in one line. A PROGRAM that is\n"
	"not reached for another reason (static, Go, set-user-ID) is named with\n"
	"--diag only: what it starts may be reached. 'retryshim check' tells more.\n"
	"\n"
	"Examples:\n"
	"  retryshim run -- wget https://example.com/file\n"
	"  retryshim run --attempts 5 --max-delay 10s --diag -- ./job --verbose\n"
	"  retryshim run --hosts '*.example.com:443,10.0.0.0/8' -- make deploy\n"
	"  retryshim run --state off --seed 1 --diag-file retry.%p.log -- ./test\n"
	"  retryshim run --attempts 5 --print\n"
	"\n"
	"Exit status:\n"
	"  that of PROGRAM, once it runs; before that\n"
	"  0    --print, --help or --usage\n"
	"  1    nothing could be written to standard output\n"
	"  2    a wrong option, no PROGRAM, or no libretryshim.so that can be preloaded\n"
	"  126  PROGRAM was found but cannot be run\n"
	"  127  PROGRAM was not found\n";

static void take_option(struct run *run, int index, const char *argument, struct argp_state *state)
{
	char *complaint = NULL;
	char *value = run_option_value(&run_options[index], argument, &complaint);
	if (value == NULL)
		argp_error(state, "%s", complaint); /* exits */
	free(complaint);
	free(run->values[index]);
	run->values[index] = value;
}

static void take_rerun_option(struct run *run, int key, const char *argument, struct argp_state *state)
{
	struct rerun *rerun = &run->rerun;
	run->reruns_told = run->reruns_told || key != KEY_RERUN;
	switch (key) {
	case KEY_RERUN:
		/* A number as RETRY_MAX_ATTEMPTS has it, less the first run. */
		rerun->times = config_accepts(config_find("RETRY_MAX_ATTEMPTS"), argument) ? strtol(argument, NULL, 10) : 0;
		if (rerun->times < 1 || rerun->times > RERUNS_MOST)
			argp_error(state, "--rerun: '%s' is not a whole number from 1 to %d", argument, RERUNS_MOST);
		break;
	case KEY_RERUN_TIMEOUT:
		if (!cli_duration_read(argument, &rerun->timeout_ms))
			argp_error(state, "--rerun-timeout: '%s' is not a duration (200ms, 1.5s, 2m, 1h; a bare number is milliseconds)", argument);
		break;
	case KEY_RERUN_ON:
		if (!statuses_valid(argument))
			argp_error(state, "--rerun-on: '%s' is not a comma list of exit statuses from 1 to 255 and their ranges (1,7,100-120)", argument);
		rerun->on = argument;
		break;
	default:
		rerun->all_output = strcmp(argument, "all") == 0;
		if (!rerun->all_output && strcmp(argument, "last") != 0)
			argp_error(state, "--rerun-output: '%s' is not last or all", argument);
	}
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct run *run = state->input;
	if (key >= KEY_FIRST_OPTION && key < KEY_FIRST_OPTION + RUN_OPTIONS) {
		take_option(run, key - KEY_FIRST_OPTION, argument, state);
		return 0;
	}
	switch (key) {
	case 'h': argp_state_help(state, stdout, ARGP_HELP_STD_HELP); return 0;
	case KEY_USAGE: argp_state_help(state, stdout, ARGP_HELP_USAGE | ARGP_HELP_EXIT_OK); return 0;
	case KEY_PRINT: run->print = true; return 0;
	case KEY_RERUN:
	case KEY_RERUN_TIMEOUT:
	case KEY_RERUN_ON:
	case KEY_RERUN_OUTPUT: take_rerun_option(run, key, argument, state); return 0;
	case ARGP_KEY_ARGS:
		/* All that is left, unread: the program's own options are none of ours. */
		run->program = run->rerun.program = state->argv + state->next;
		return 0;
	case ARGP_KEY_END:
		if (run->program == NULL && !run->print)
			argp_error(state, "no PROGRAM given");
		if (run->reruns_told && run->rerun.times == 0)
			argp_error(state, "how to rerun means nothing without --rerun N");
		return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

static struct argp_option *rerun_options(struct argp_option *next, int section)
{
	static const struct argp_option options[] = {
		{.doc = "The whole program again, when it fails:"},
		{.name = "rerun", .key = KEY_RERUN, .arg = "N", .doc = "run it up to N times more, with the backoff that is set above"},
		{.name = "rerun-timeout", .key = KEY_RERUN_TIMEOUT, .arg = "DUR", .doc = "begin no other run after this time (default: no bound)"},
		{.name = "rerun-on", .key = KEY_RERUN_ON, .arg = "LIST",
		 .doc = "the exit statuses that are worth it, 128 and its number for a signal (default " RERUN_ON ")"},
		{.name = "rerun-output", .key = KEY_RERUN_OUTPUT, .arg = "last|all",
		 .doc = "which runs' standard output goes out, where it can be taken back or held (default last)"},
	};
	for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
		*next = options[i];
		next++->group = section;
	}
	return next;
}

/* The options as argp wants them; they live as long as the process, as argp_help() needs them. */
static const struct argp_option *argp_options(void)
{
	static struct argp_option options[2 * RUN_OPTIONS + 16];
	struct argp_option *next = options;
	int section = 0;
	for (int i = 0; i < RUN_OPTIONS; i++) {
		const struct run_option *option = &run_options[i];
		if (option->section != NULL)
			*next++ = (struct argp_option){.doc = option->section, .group = ++section};
		*next++ = (struct argp_option){.name = option->name,
		                               .key = KEY_FIRST_OPTION + i,
		                               .arg = option->argument,
		                               .doc = run_option_help(option),
		                               .group = section};
	}
	next = rerun_options(next, ++section);
	*next++ = (struct argp_option){.doc = "Instead of running a program:", .group = ++section};
	*next++ = (struct argp_option){.name = "print",
	                               .key = KEY_PRINT,
	                               .doc = "show the variables that would be set, as arguments of env(1)",
	                               .group = section};
	*next++ = (struct argp_option){.name = "help", .key = 'h', .doc = "show this help", .group = section};
	*next = (struct argp_option){.name = "usage", .key = KEY_USAGE, .doc = "show the options in short", .group = section};
	return options;
}

static void parse_arguments(struct run *run, int argc, char **argv)
{
	static char name[] = "retryshim run";
	struct argp parser = {argp_options(), parse_option, arguments_text, help_text, NULL, NULL, NULL};
	/* In order: the first word that is no option is the program. */
	cli_parse(&parser, name, ARGP_IN_ORDER, argc, argv, run);
}

/* A file for the diagnostics without the diagnostics would stay empty, and look like good news. */
static void imply_diagnostics(struct run *run)
{
	int diag = run_option_for("RETRY_DIAG");
	int file = run_option_for("RETRY_DIAG_FILE"), directory = run_option_for("RETRY_DIAG_DIR");
	if (run->values[diag] == NULL && (run->values[file] != NULL || run->values[directory] != NULL))
		run->values[diag] = cli_format("1");
}

/* A name in RETRY_METRICS is looked up here, be it an option's or the environment's: the program cannot. */
static void look_up_sinks(struct run *run)
{
	int metrics = run_option_for("RETRY_METRICS");
	const char *list = run->values[metrics] != NULL ? run->values[metrics] : getenv("RETRY_METRICS");
	if (list == NULL || list[0] == '\0' || !config_accepts(config_find("RETRY_METRICS"), list))
		return;
	char *looked_up = cli_sinks_looked_up(list);
	if (strcmp(looked_up, list) == 0) {
		free(looked_up);
		return;
	}
	free(run->values[metrics]);
	run->values[metrics] = looked_up;
}

/* The object, as it was installed; NULL after a message. */
static char *find_object(void)
{
	char *looked;
	char *object = cli_find_object(&looked);
	if (object == NULL)
		cli_error("libretryshim.so is not there, or cannot be read; looked in\n%s"
		          "Install it into one of these, or put it beside this command.",
		          looked);
	free(looked);
	return object;
}

/* A variable of RETRY_* as the program will see it. */
static const char *look_up(void *context, const char *name)
{
	const struct run *run = context;
	int option = run_option_for(name);
	return option >= 0 && run->values[option] != NULL ? run->values[option] : getenv(name);
}

/* About a program, which is not the first word where that is env or a script. */
static void tell(struct run *run, const struct program *program, const struct findings *findings, bool suits)
{
	struct config config;
	config_parse(&config, look_up, run, NULL, NULL);
	for (const struct found *found = findings->first; found != NULL; found = found->next) {
		if (finding_rows[found->finding].reach < REACH_PARTLY || (suits && config.diag == 0))
			continue;
		cli_error("%s: %s. %s%s", program->words[0], found->text, found->advice,
		          suits ? "" : " Until then it runs without retries, and so does what it starts.");
	}
}

/* The object that this program can take, in the place of *object; NULL if there is none. What it cannot take would end it
 * (another C library) or have its loader complain, in it and in each child. */
static void suit_object(struct run *run, char **object)
{
	struct program program;
	struct findings findings, way;
	findings_begin(&findings);
	findings_begin(&way);
	if (program_follow(run->program, *object, &program, &way) == CLI_OK && program.is_elf) {
		char *suits = check_object(&program, *object, &findings);
		if (suits != NULL) {
			check_loading(&program, &way);
			tell(run, &program, &way, true);
		} else {
			tell(run, &program, &findings, false);
		}
		free(*object);
		*object = suits;
	}
	program_free(&program);
	findings_end(&findings);
	findings_end(&way);
}

/* The new LD_PRELOAD, "" for none; NULL after a message. */
static char *find_preload(struct run *run)
{
	char *preload = NULL, *object = find_object();
	if (object == NULL)
		return NULL;
	if (run->program != NULL)
		suit_object(run, &object);
	if (object != NULL && !cli_can_preload(object))
		cli_error("'%s' cannot be preloaded: a path in LD_PRELOAD cannot hold a blank or a colon, see ld.so(8). "
		          "Move it to another directory.",
		          object);
	else
		preload = cli_preload_value(object, getenv("LD_PRELOAD"));
	free(object);
	return preload;
}

static int print_environment(const struct run *run, const char *preload)
{
	if (preload[0] != '\0')
		cli_print_variable("LD_PRELOAD", preload);
	for (int i = 0; i < RUN_OPTIONS; i++)
		if (run->values[i] != NULL)
			cli_print_variable(run_options[i].variable, run->values[i]);
	return CLI_OK;
}

/* Returns only if the program cannot be run. */
static int become_program(const struct run *run, const char *preload)
{
	bool set = (preload[0] != '\0' ? setenv("LD_PRELOAD", preload, 1) : unsetenv("LD_PRELOAD")) == 0;
	for (int i = 0; i < RUN_OPTIONS; i++)
		if (run->values[i] != NULL)
			set = setenv(run_options[i].variable, run->values[i], 1) == 0 && set;
	if (!set) {
		cli_error("cannot set the environment: %s", strerror(errno));
		return CLI_FAILED;
	}
	if (run->rerun.times > 0)
		return cli_rerun(&run->rerun);
	execvp(run->program[0], run->program);
	int error = errno;
	cli_error("cannot run '%s': %s", run->program[0], strerror(error));
	return error == ENOENT ? CLI_PROGRAM_MISSING : CLI_PROGRAM_UNUSABLE;
}

int cli_run(int argc, char **argv)
{
	struct run run = {.rerun = {.on = RERUN_ON}};
	parse_arguments(&run, argc, argv);
	imply_diagnostics(&run);
	look_up_sinks(&run);
	char *preload = find_preload(&run);
	int status = CLI_USAGE;
	if (preload != NULL)
		status = run.print ? print_environment(&run, preload) : become_program(&run, preload);
	free(preload);
	for (int i = 0; i < RUN_OPTIONS; i++)
		free(run.values[i]);
	return status;
}
