/* `retryshim env`: the variables as a program that is started from here would read them. */
#include <argp.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/status.h"
#include "retryshim/cli.h"
#include "retryshim/runtime.h"

enum { KEY_JSON = 256, KEY_USAGE };

enum { CELL_COLUMNS = 34 }; /* as much as the longest default */

static const char help_text[] =
	"Shows every RETRY_* variable: its value as a program that is started from here would read it, where that comes "
	"from, its default and its meaning. Variables that are set but unknown, such as misspelt ones, are named last."
	"\v"
	"VALUE    what counts; - is empty\n"
	"FROM     default, or the environment; a value in the environment that is\n"
	"         malformed is not used, and named here\n"
	"\n"
	"Examples:\n"
	"  retryshim env | grep -v ' default '\n"
	"  retryshim run --attempts 5 -- retryshim env --json\n"
	"\n"
	"Exit status:\n"
	"  0  done\n"
	"  1  nothing could be written\n"
	"  2  wrong arguments\n";

static const struct argp_option options[] = {
	{"json", KEY_JSON, NULL, 0, "one JSON object on one line", 1},
	{"help", 'h', NULL, 0, "show this help", 2},
	{"usage", KEY_USAGE, NULL, 0, "show the options in short", 2},
	{NULL, 0, NULL, 0, NULL, 0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	bool *json = state->input;
	switch (key) {
	case 'h': argp_state_help(state, stdout, ARGP_HELP_STD_HELP); return 0;
	case KEY_USAGE: argp_state_help(state, stdout, ARGP_HELP_USAGE | ARGP_HELP_EXIT_OK); return 0;
	case KEY_JSON: *json = true; return 0;
	case ARGP_KEY_ARG: argp_error(state, "unexpected argument '%s'", argument); return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

/* ---- facts ------------------------------------------------------------------------------------------ */

enum origin { FROM_DEFAULT, FROM_ENVIRONMENT, FROM_REFUSED /* the default, too */ };

struct setting {
	const struct config_variable *variable;
	const char *set;   /* in the environment; NULL: nothing that counts as set */
	const char *value; /* what counts */
	const char *standard;
	enum origin origin;
};

/* The table leaves the default of RETRY_STATE empty: it is made of the user's number. */
static const char *standard_of(const struct config_variable *variable)
{
	static char path[STATE_PATH_BYTES];
	static struct config config = {.state = ""};
	return strcmp(variable->name, "RETRY_STATE") == 0 ? state_path(&config, path) : variable->fallback;
}

static struct setting setting_of(const struct config_variable *variable)
{
	const char *set = getenv(variable->name), *standard = standard_of(variable);
	struct setting setting = {variable, set, standard, standard, FROM_DEFAULT};
	if (set == NULL || set[0] == '\0') {
		setting.set = NULL; /* as config_parse() has it */
	} else if (config_accepts(variable, set)) {
		setting.value = set;
		setting.origin = FROM_ENVIRONMENT;
	} else {
		setting.origin = FROM_REFUSED;
	}
	return setting;
}

/* The name of a variable that looks like ours and is not; NULL for others. To be freed. */
static char *unknown_name(const char *entry)
{
	static const char prefix[] = "RETRY_";
	char *name = cli_format("%.*s", (int)strcspn(entry, "="), entry);
	if (strncmp(name, prefix, sizeof prefix - 1) == 0 && config_find(name) == NULL)
		return name;
	free(name);
	return NULL;
}

/* ---- for people ------------------------------------------------------------------------------------- */

static char *origin_cell(const struct setting *setting)
{
	char *standard = status_shown(setting->standard);
	char *set = status_shown(setting->set != NULL ? setting->set : "");
	char *cell = setting->origin == FROM_DEFAULT ? cli_format("default")
	             : setting->origin == FROM_REFUSED ? cli_format("default, for '%s' is malformed", set)
	                                               : cli_format("environment, default %s", standard);
	free(set);
	free(standard);
	return cell;
}

struct row {
	char *cells[3]; /* name, value, origin; to be freed */
	const char *meaning;
};

enum { CELLS = 3 };

/* A wider cell moves what follows it in its own line alone. */
static void widen(int columns[CELLS], const struct row *row)
{
	for (int i = 0; i < CELLS; i++) {
		int width = status_width(row->cells[i]);
		if (width > columns[i] && width <= CELL_COLUMNS)
			columns[i] = width;
	}
}

static void show_row(const int columns[CELLS], const struct row *row)
{
	for (int i = 0; i < CELLS; i++) {
		int width = status_width(row->cells[i]);
		printf("%s%*s  ", row->cells[i], width < columns[i] ? columns[i] - width : 0, "");
		free(row->cells[i]);
	}
	puts(row->meaning);
}

static void show_unknown(void)
{
	for (char **entry = environ; *entry != NULL; entry++) {
		char *name = unknown_name(*entry), *shown = name != NULL ? status_shown(name) : NULL;
		if (shown != NULL)
			printf("%s is set, and no variable of that name is known.\n", shown);
		free(shown);
		free(name);
	}
}

static void show_table(void)
{
	int columns[CELLS] = {0, 0, 0};
	size_t count = config_variable_count + 1;
	struct row *rows = cli_allocate(count * sizeof *rows);
	rows[0] = (struct row){{cli_format("VARIABLE"), cli_format("VALUE"), cli_format("FROM")}, "MEANING"};
	for (size_t i = 1; i < count; i++) {
		struct setting setting = setting_of(&config_variables[i - 1]);
		rows[i] = (struct row){{cli_format("%s", setting.variable->name), status_shown(setting.value), origin_cell(&setting)},
		                       setting.variable->help};
	}
	for (size_t i = 0; i < count; i++)
		widen(columns, &rows[i]);
	for (size_t i = 0; i < count; i++)
		show_row(columns, &rows[i]);
	free(rows);
	show_unknown();
}

/* ---- for programs ----------------------------------------------------------------------------------- */

static void member(const char *before, const char *name, const char *value)
{
	printf("%s\"%s\":", before, name);
	if (value != NULL)
		status_json_string(value);
	else
		fputs("null", stdout);
}

static void show_json(void)
{
	static const char *const origins[] = {"default", "environment", "refused"};
	const char *comma = "";
	fputs("{\"variables\":[", stdout);
	for (size_t i = 0; i < config_variable_count; i++) {
		struct setting setting = setting_of(&config_variables[i]);
		fputs(i != 0 ? "," : "", stdout);
		member("{", "name", setting.variable->name);
		member(",", "value", setting.value);
		member(",", "from", origins[setting.origin]);
		member(",", "set", setting.set);
		member(",", "default", setting.standard);
		member(",", "meaning", setting.variable->help);
		putchar('}');
	}
	fputs("],\"unknown\":[", stdout);
	for (char **entry = environ; *entry != NULL; entry++) {
		char *name = unknown_name(*entry);
		if (name == NULL)
			continue;
		fputs(comma, stdout);
		status_json_string(name);
		comma = ",";
		free(name);
	}
	puts("]}");
}

int cli_env(int argc, char **argv)
{
	static char name[] = "retryshim env";
	bool json = false;
	struct argp parser = {options, parse_option, NULL, help_text, NULL, NULL, NULL};
	setlocale(LC_CTYPE, ""); /* which values can be shown */
	cli_parse(&parser, name, 0, argc, argv, &json);
	if (json)
		show_json();
	else
		show_table();
	return CLI_OK;
}
