/* `retryshim env`: the variables as a program that is started from here would read them. */
#include <argp.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/settings.h"
#include "cli/status.h"
#include "retryshim/cli.h"
#include "retryshim/runtime.h"

enum { KEY_JSON = 256, KEY_FOR, KEY_USAGE };

enum { CELL_COLUMNS = 34 }; /* as much as the longest default */

static const char help_text[] =
	"Shows every RETRY_* variable: its value as a program that is started from here would read it, where that comes "
	"from, its default and its meaning. Variables that are set but unknown, such as misspelt ones, are named last."
	"\v"
	"VALUE    what counts; - is empty\n"
	"FROM     default, environment, file (that of RETRY_CONFIG, or\n"
	"         /etc/retryshim.conf) or section (of the file); a value in the\n"
	"         environment that is malformed is not used, and named here\n"
	"\n"
	"Examples:\n"
	"  retryshim env | grep -v ' default '\n"
	"  retryshim env --for db.internal:5432\n"
	"  retryshim run --attempts 5 -- retryshim env --json\n"
	"\n"
	"Exit status:\n"
	"  0  done\n"
	"  1  nothing could be written\n"
	"  2  wrong arguments\n";

static const struct argp_option options[] = {
	{"for", KEY_FOR, "DEST", 0, "what holds for this destination: HOST:PORT, an address and port, or unix:PATH", 1},
	{"json", KEY_JSON, NULL, 0, "one JSON object on one line", 1},
	{"help", 'h', NULL, 0, "show this help", 2},
	{"usage", KEY_USAGE, NULL, 0, "show the options in short", 2},
	{NULL, 0, NULL, 0, NULL, 0},
};

struct env {
	bool json;
	struct target target;
	const struct target *destination; /* NULL: none in particular */
};

static bool read_destination(struct env *env, const char *text)
{
	struct target *target = &env->target;
	memset(target, 0, sizeof *target);
	if (strncmp(text, "unix:", 5) == 0) {
		target->is_unix = true;
		memcpy(target->name, text + 5, strnlen(text + 5, sizeof target->name - 1));
	} else {
		target_set_url(target, text);
	}
	env->destination = target;
	return target->name[0] != '\0' || target->has_address;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct env *env = state->input;
	switch (key) {
	case 'h': argp_state_help(state, stdout, ARGP_HELP_STD_HELP); return 0;
	case KEY_USAGE: argp_state_help(state, stdout, ARGP_HELP_USAGE | ARGP_HELP_EXIT_OK); return 0;
	case KEY_JSON: env->json = true; return 0;
	case KEY_FOR:
		if (!read_destination(env, argument))
			argp_error(state, "--for: '%s' is not a destination: HOST:PORT, an address and port, or unix:PATH", argument);
		return 0;
	case ARGP_KEY_ARG: argp_error(state, "unexpected argument '%s'", argument); return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

/* ---- facts ------------------------------------------------------------------------------------------ */

struct setting {
	const struct config_variable *variable;
	const char *set;   /* in the environment; NULL: nothing that counts as set */
	bool refused;      /* and malformed */
	const char *value; /* what counts */
	const char *standard;
	enum rules_origin origin;
};

static const char *const origins[] = {
	[ORIGIN_SECTION] = "section", [ORIGIN_ENVIRONMENT] = "environment", [ORIGIN_GLOBAL] = "file", [ORIGIN_DEFAULT] = "default"};

/* The table leaves the default of RETRY_STATE empty: it is made of the user's number. */
static const char *standard_of(const struct config_variable *variable)
{
	static char path[STATE_PATH_BYTES];
	static struct config config = {.state = ""};
	if (strcmp(variable->name, "RETRY_CONFIG") == 0)
		return CONFIG_FILE;
	return strcmp(variable->name, "RETRY_STATE") == 0 ? state_path(&config, path) : variable->fallback;
}

static struct setting setting_of(const struct env *env, const struct config_variable *variable)
{
	struct setting setting = {.variable = variable, .set = getenv(variable->name), .standard = standard_of(variable)};
	if (setting.set != NULL && setting.set[0] == '\0') /* as config_parse() has it */
		setting.set = NULL;
	setting.refused = setting.set != NULL && !config_accepts(variable, setting.set);
	setting.value = cli_settings_value(env->destination, variable, &setting.origin);
	if (setting.value == NULL || setting.value[0] == '\0')
		setting.value = setting.standard;
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
	const char *origin = origins[setting->origin];
	char *cell = setting->refused ? cli_format("%s, for '%s' is malformed", origin, set)
	             : setting->origin == ORIGIN_DEFAULT ? cli_format("%s", origin)
	                                                 : cli_format("%s (default %s)", origin, standard);
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

/* What is wrong with the file. */
static void show_complaints(void)
{
	const struct cli_settings *settings = cli_settings();
	for (int i = 0; i < settings->count; i++) {
		const struct settings_complaint *it = &settings->complaints[i];
		char *path = status_shown(settings->path), *what = status_shown(it->what);
		if (it->line == 0)
			printf("%s is not used: %s.\n", path, it->why);
		else
			printf("%s:%d: %s is not used: %s.\n", path, it->line, what, it->why);
		free(what);
		free(path);
	}
}

static void show_table(const struct env *env)
{
	int columns[CELLS] = {0, 0, 0};
	size_t count = config_variable_count + 1;
	struct row *rows = cli_allocate(count * sizeof *rows);
	rows[0] = (struct row){{cli_format("VARIABLE"), cli_format("VALUE"), cli_format("FROM")}, "MEANING"};
	for (size_t i = 1; i < count; i++) {
		struct setting setting = setting_of(env, &config_variables[i - 1]);
		rows[i] = (struct row){{cli_format("%s", setting.variable->name), status_shown(setting.value), origin_cell(&setting)},
		                       setting.variable->help};
	}
	for (size_t i = 0; i < count; i++)
		widen(columns, &rows[i]);
	for (size_t i = 0; i < count; i++)
		show_row(columns, &rows[i]);
	free(rows);
	show_unknown();
	show_complaints();
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

static void show_json(const struct env *env)
{
	const struct cli_settings *settings = cli_settings();
	const char *comma = "";
	fputs("{\"variables\":[", stdout);
	for (size_t i = 0; i < config_variable_count; i++) {
		struct setting setting = setting_of(env, &config_variables[i]);
		fputs(i != 0 ? "," : "", stdout);
		member("{", "name", setting.variable->name);
		member(",", "value", setting.value);
		member(",", "from", origins[setting.origin]);
		member(",", "set", setting.set);
		printf(",\"refused\":%s", setting.refused ? "true" : "false");
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
	member("],", "file", settings->path);
	fputs(",\"skipped\":[", stdout);
	for (int i = 0; i < settings->count; i++) {
		printf("%s{\"line\":%d", i != 0 ? "," : "", settings->complaints[i].line);
		member(",", "what", settings->complaints[i].what);
		member(",", "why", settings->complaints[i].why);
		putchar('}');
	}
	puts("]}");
}

int cli_env(int argc, char **argv)
{
	static char name[] = "retryshim env";
	struct env env = {0};
	struct argp parser = {options, parse_option, NULL, help_text, NULL, NULL, NULL};
	setlocale(LC_CTYPE, ""); /* which values can be shown */
	cli_parse(&parser, name, 0, argc, argv, &env);
	if (env.json)
		show_json(&env);
	else
		show_table(&env);
	return CLI_OK;
}
