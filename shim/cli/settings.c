/* The environment and the configuration file, as a program would have them. */
#include "cli/settings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "retryshim/cli.h"

static struct cli_settings settings;

static void complain(int line, const char *what, const char *why)
{
	struct settings_complaint *longer = reallocarray(settings.complaints, (size_t)settings.count + 1, sizeof *longer);
	if (longer == NULL) {
		cli_error("out of memory");
		exit(CLI_FAILED);
	}
	longer[settings.count++] = (struct settings_complaint){line, cli_format("%s", what), cli_format("%s", why)};
	settings.complaints = longer;
}

static void keep_fault(void *context, int line, const char *what, enum rules_fault fault)
{
	(void)context;
	complain(line, what, rules_fault_text(fault));
}

static void read_file(const char *path)
{
	const char *why;
	ssize_t length = config_file_read(path, settings.text, &why);
	if (length >= 0) {
		settings.path = path;
		rules_read(&settings.rules, settings.text, (size_t)length, keep_fault, NULL);
	} else if (why[0] != '\0' || errno != ENOENT || strcmp(path, CONFIG_FILE) != 0) {
		settings.path = path;
		complain(0, "", why[0] != '\0' ? why : strerror(errno));
	}
}

static const char *environment_value(void *context, const char *name)
{
	(void)context;
	return getenv(name);
}

const struct cli_settings *cli_settings(void)
{
	static bool known;
	struct config environment;
	if (known)
		return &settings;
	known = true;
	settings.rules.sections = 1;
	config_parse(&environment, environment_value, NULL, NULL, NULL);
	const char *path = config_file_path(&environment);
	if (path != NULL)
		read_file(path);
	return &settings;
}

const char *cli_settings_value(const struct target *target, const struct config_variable *variable, enum rules_origin *origin)
{
	const struct rules *rules = &cli_settings()->rules;
	return rules_value(rules, target != NULL ? rules_section(rules, target) : 0, variable, getenv(variable->name), origin);
}

static const char *value_for(void *target, const char *name) { return cli_settings_value(target, config_find(name), NULL); }

void cli_settings_config(const struct target *target, struct config *config)
{
	config_parse(config, value_for, (void *)(uintptr_t)target, NULL, NULL);
}
