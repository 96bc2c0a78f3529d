/* `retryshim check`: whether and how the shim reaches a program, before anyone wonders why nothing happens. */
#include <argp.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/check.h"
#include "cli/settings.h"
#include "cli/status.h"
#include "retryshim/cli.h"
#include "retryshim/policy.h"

enum { KEY_JSON = 256, KEY_USAGE };

struct check {
	bool json;
	char **words; /* the command line; NULL: none was given */
	char *object; /* what would be preloaded; NULL: nothing */
	struct program program;
	struct findings findings;
};

static const char arguments_text[] = "-- PROGRAM [ARG...]";

static const char help_text[] =
	"Tells whether and how the shim reaches PROGRAM, and what to do about what it does not reach. PROGRAM is looked "
	"up as 'retryshim run' would; scripts lead to their interpreters, env, nice, timeout and their like to what they "
	"start. Nothing is run: files are read."
	"\v"
	"The first line is the verdict, and the file that it is about; the others are\n"
	"findings, a line each:\n"
	"  reached  this way to the network is covered\n"
	"  partly   this way is not, or not wholly; the rest is\n"
	"  not      nothing of the program is reached\n"
	"  note     worth knowing; does not change the verdict\n"
	"\n"
	"It sees files as they are: the program, its libraries, its loader. What a\n"
	"program loads or starts later is not seen; most inherits the preload.\n"
	"\n"
	"Examples:\n"
	"  retryshim check -- curl https://example.com/\n"
	"  retryshim check --json -- ./job | jq .reach\n"
	"  retryshim check -- env HOME=/tmp nice ./job\n"
	"\n"
	"Exit status:\n"
	"  0    reached\n"
	"  1    reached in part; or nothing could be written to standard output\n"
	"  2    wrong arguments\n"
	"  3    not reached\n"
	"  126  PROGRAM was found but cannot be run\n"
	"  127  PROGRAM was not found\n";

static const struct argp_option options[] = {
	{"json", KEY_JSON, NULL, 0, "one JSON object on one line", 1},
	{"help", 'h', NULL, 0, "show this help", 2},
	{"usage", KEY_USAGE, NULL, 0, "show the options in short", 2},
	{NULL, 0, NULL, 0, NULL, 0},
};

/* What a reach is called in a finding, and as a verdict; and the exit status that goes with it. */
static const struct {
	const char *word, *verdict;
	int status;
} reaches[] = {
	[REACH_NOTE] = {"note", "", CLI_OK},
	[REACH_WHOLE] = {"reached", "reached", CLI_OK},
	[REACH_PARTLY] = {"partly", "reached in part", CLI_PARTLY_REACHED},
	[REACH_NOT] = {"not", "not reached", CLI_NOT_REACHED},
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct check *check = state->input;
	(void)argument;
	switch (key) {
	case 'h': argp_state_help(state, stdout, ARGP_HELP_STD_HELP); return 0;
	case KEY_USAGE: argp_state_help(state, stdout, ARGP_HELP_USAGE | ARGP_HELP_EXIT_OK); return 0;
	case KEY_JSON: check->json = true; return 0;
	case ARGP_KEY_ARGS:
		/* All that is left, unread: the program's own options are none of ours. */
		check->words = state->argv + state->next;
		return 0;
	case ARGP_KEY_END:
		if (check->words == NULL)
			argp_error(state, "no PROGRAM given");
		return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

/* ---- what stands between the object and any program -------------------------------------------------- */

/* A program's settings where a section of the configuration file counts; 0: where none does. */
struct its_settings {
	const struct program *program;
	int section;
};

static const char *look_up(void *context, const char *name)
{
	const struct its_settings *its = context;
	return rules_value(&cli_settings()->rules, its->section, config_find(name), program_variable(its->program, name), NULL);
}

/* Somewhere; what the environment says of it is the end of it. */
static bool is_enabled(const struct program *program)
{
	static const char name[] = "RETRY_ENABLED";
	struct config config;
	enum rules_origin origin;
	const struct rules *rules = &cli_settings()->rules;
	bool enabled = false;
	rules_value(rules, 0, config_find(name), program_variable(program, name), &origin);
	int sections = origin == ORIGIN_ENVIRONMENT ? 1 : rules->sections;
	for (int section = 0; section < sections && !enabled; section++) {
		config_parse(&config, look_up, &(struct its_settings){program, section}, NULL, NULL);
		enabled = config.enabled != 0;
	}
	return enabled;
}

static void find_object(struct check *check)
{
	char *looked;
	check->object = cli_find_object(&looked);
	if (check->object == NULL) {
		for (char *at = looked; (at = strchr(at, '\n')) != NULL;)
			*at = at[1] != '\0' ? ',' : '\0';
		findings_add(&check->findings, FINDING_NO_OBJECT, NULL, looked + strspn(looked, " "));
		free(looked);
	}
}

static void check_object_file(struct check *check)
{
	struct elf elf;
	if (check->object == NULL)
		return;
	if (!cli_can_preload(check->object))
		findings_add(&check->findings, FINDING_OBJECT_PATH, NULL, check->object);
	if (elf_read(check->object, &elf) != ELF_READ)
		findings_add(&check->findings, FINDING_OBJECT_BROKEN, NULL, check->object);
	else
		elf_free(&elf);
}

static void check_settings(struct check *check, struct config *config)
{
	struct program *program = &check->program;
	struct findings *findings = &check->findings;
	struct its_settings its = {program, 0};
	config_parse(config, look_up, &its, NULL, NULL);
	const struct {
		int64_t on;
		const char *variable;
	} families[] = {{config->nonblock, "RETRY_NONBLOCK"}, {config->dns, "RETRY_DNS"}, {config->curl, "RETRY_CURL"}};
	if (!is_enabled(program))
		findings_add(findings, FINDING_DISABLED, NULL, look_up(&its, "RETRY_ENABLED"));
	for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
		if (families[i].on == 0) {
			char *what = cli_format("%s=%s", families[i].variable, look_up(&its, families[i].variable));
			findings_add(findings, FINDING_FAMILY_OFF, NULL, what);
			free(what);
		}
	/* As program_invocation_short_name has it. */
	const char *slash = strrchr(program->words[0], '/'), *name = slash != NULL ? slash + 1 : program->words[0];
	if (!match_takes_program(config, name))
		findings_add(findings, FINDING_SKIPPED, NULL, name);
}

static void check_preload(struct check *check)
{
	char *others = cli_preload_value(NULL, getenv("LD_PRELOAD"));
	if (others[0] != '\0')
		findings_add(&check->findings, FINDING_BESIDE, NULL, others);
	free(others);
}

/* ---- all of it ---------------------------------------------------------------------------------------- */

/* What a script names may hold anything: a carriage return, say, is why it is not found. */
static void complain(const struct check *check)
{
	const struct program *program = &check->program;
	const char *name = check->words[0];
	char *started = status_shown(program->words[0]);
	if (strcmp(name, program->words[0]) == 0)
		cli_error("cannot check '%s': %s", name, program->complaint);
	else
		cli_error("cannot check '%s', which starts '%s': %s", name, started, program->complaint);
	free(started);
}

/* Which has all the signs in it that it looks for. */
static bool is_this_command(const char *path)
{
	struct stat own, its;
	return stat("/proc/self/exe", &own) == 0 && stat(path, &its) == 0 && own.st_dev == its.st_dev && own.st_ino == its.st_ino;
}

static int inspect(struct check *check)
{
	struct config config;
	struct program *program = &check->program;
	find_object(check);
	int status = program_follow(check->words, check->object, program, &check->findings);
	if (status != CLI_OK) {
		complain(check);
		return status;
	}
	check_settings(check, &config);
	if (program->is_elf && check->object != NULL) {
		char *suits = check_object(program, check->object, &check->findings);
		free(check->object);
		check->object = suits;
	}
	check_object_file(check);
	check_preload(check);
	if (!program->is_elf)
		return CLI_OK;
	unsigned seen = is_this_command(program->path) ? 0 : elf_scan(program->path, &program->elf.kind);
	program->elf.go = program->elf.go || (seen & ELF_SEEN_GO) != 0;
	/* What it would do for the network is no news where nothing is reached. */
	if (check_loading(program, &check->findings) && findings_verdict(&check->findings) != REACH_NOT)
		check_network(program, seen, &config, &check->findings);
	if (script_is_shell(program->path))
		findings_add(&check->findings, FINDING_SHELL, program->path, NULL);
	return CLI_OK;
}

static void show_text(const struct check *check)
{
	char *name = status_shown(check->words[0]), *path = status_shown(check->program.path);
	printf("%s: %s (%s)\n", name, reaches[findings_verdict(&check->findings)].verdict, path);
	free(name);
	free(path);
	for (const struct found *found = check->findings.first; found != NULL; found = found->next) {
		const char *advice = found->advice;
		char *line = cli_format("%s%s%s", found->text, advice[0] != '\0' ? ". " : "", advice), *shown = status_shown(line);
		printf("  %-7s  %s\n", reaches[finding_rows[found->finding].reach].word, shown);
		free(shown);
		free(line);
	}
}

static void show_member(const char *name, const char *value)
{
	printf("\"%s\":", name);
	if (value != NULL)
		status_json_string(value);
	else
		fputs("null", stdout);
}

static void show_json(const struct check *check)
{
	putchar('{');
	show_member("program", check->words[0]);
	putchar(',');
	show_member("file", check->program.path);
	printf(",\"reach\":\"%s\",", reaches[findings_verdict(&check->findings)].word);
	show_member("object", check->object);
	fputs(",\"findings\":[", stdout);
	for (const struct found *found = check->findings.first; found != NULL; found = found->next) {
		const struct finding_row *row = &finding_rows[found->finding];
		const char *comma = found == check->findings.first ? "" : ",";
		printf("%s{\"reach\":\"%s\",\"key\":\"%s\",", comma, reaches[row->reach].word, row->key);
		show_member("text", found->text);
		putchar(',');
		show_member("advice", found->advice[0] != '\0' ? found->advice : NULL);
		putchar('}');
	}
	puts("]}");
}

int cli_check(int argc, char **argv)
{
	static char name[] = "retryshim check";
	struct check check = {.json = false};
	struct argp parser = {options, parse_option, arguments_text, help_text, NULL, NULL, NULL};
	setlocale(LC_CTYPE, ""); /* which names can be shown */
	cli_parse(&parser, name, ARGP_IN_ORDER, argc, argv, &check);
	findings_begin(&check.findings);
	int status = inspect(&check);
	if (status == CLI_OK) {
		if (check.json)
			show_json(&check);
		else
			show_text(&check);
		status = reaches[findings_verdict(&check.findings)].status;
	}
	program_free(&check.program);
	findings_end(&check.findings);
	free(check.object);
	return status;
}
