/* A configuration file's lines. */
#include "retryshim/rules.h"

#include <string.h>

#include "policy/text.h"

static const char fault_texts[RULES_FAULTS][56] = {
	[FAULT_NO_SETTING] = "a line is 'name = value' or '[destinations]'",
	[FAULT_NAME] = "there is no such setting",
	[FAULT_VALUE] = "it cannot have this value",
	[FAULT_ENVIRONMENT] = "it belongs into the environment",
	[FAULT_PROCESS] = "it holds for whole processes: put it above the sections",
	[FAULT_PATTERNS] = "this is no list of destinations",
	[FAULT_MANY] = "the file has too many of them",
};

const char *rules_fault_text(enum rules_fault fault) { return fault_texts[fault]; }

/* Where the reading stands. */
struct reading {
	struct rules *rules;
	int line;
	bool skipping; /* behind a header that was refused */
	rules_complaint *complain;
	void *context;
};

static void refuse(const struct reading *reading, const char *what, enum rules_fault fault)
{
	if (reading->complain != NULL)
		reading->complain(reading->context, reading->line, what, fault);
}

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

/* Without the blanks around it; cuts the text. */
static char *trimmed(char *start, char *end)
{
	while (start < end && is_blank(*start))
		start++;
	while (end > start && is_blank(end[-1]))
		end--;
	*end = '\0';
	return start;
}

/* "[PATTERNS]", where a pattern may have brackets of its own. */
static void read_header(struct reading *reading, char *line)
{
	struct rules *rules = reading->rules;
	size_t length = strlen(line);
	reading->skipping = true;
	if (rules->sections >= RULES_SECTIONS) {
		refuse(reading, line, FAULT_MANY);
		return;
	}
	if (line[length - 1] != ']' || length == 1) {
		refuse(reading, line, FAULT_PATTERNS);
		return;
	}
	line[length - 1] = '\0';
	if (!match_hosts_valid(line + 1)) {
		line[length - 1] = ']';
		refuse(reading, line, FAULT_PATTERNS);
		return;
	}
	reading->skipping = false;
	rules->patterns[rules->sections++] = line + 1;
}

/* Index of the variable that a file calls so; -1 = none. */
static int find(const char *name)
{
	static const char prefix[] = "RETRY_";
	for (size_t i = 0; i < config_variable_count; i++) {
		const char *rest = config_variables[i].name + sizeof prefix - 1;
		size_t at = 0;
		while (rest[at] != '\0' && name[at] == text_lower(rest[at]))
			at++;
		if (rest[at] == '\0' && name[at] == '\0')
			return (int)i;
	}
	return -1;
}

/* RULES_FAULTS if the setting may stand here. */
static enum rules_fault fault_of(const struct rules *rules, int variable, const char *value)
{
	if (variable < 0)
		return FAULT_NAME;
	const struct config_variable *it = &config_variables[variable];
	if (it->scope == SCOPE_ENVIRONMENT)
		return FAULT_ENVIRONMENT;
	if (it->scope == SCOPE_PROCESS && rules->sections > 1)
		return FAULT_PROCESS;
	if (!config_accepts(it, value))
		return FAULT_VALUE;
	return rules->settings >= RULES_SETTINGS ? FAULT_MANY : RULES_FAULTS;
}

static void read_setting(struct reading *reading, char *line, char *equals)
{
	struct rules *rules = reading->rules;
	char *value = trimmed(equals + 1, line + strlen(line));
	char *name = trimmed(line, equals);
	int variable = find(name);
	enum rules_fault fault = fault_of(rules, variable, value);
	if (fault != RULES_FAULTS) {
		refuse(reading, name, fault);
		return;
	}
	rules->setting[rules->settings++] =
		(struct rule){.variable = (uint16_t)variable, .section = (uint16_t)(rules->sections - 1), .value = value};
}

static void read_line(struct reading *reading, char *line)
{
	char *equals = strchr(line, '=');
	if (line[0] == '\0' || line[0] == '#' || line[0] == ';')
		return;
	if (line[0] == '[')
		read_header(reading, line);
	else if (reading->skipping)
		return;
	else if (equals != NULL)
		read_setting(reading, line, equals);
	else
		refuse(reading, line, FAULT_NO_SETTING);
}

void rules_read(struct rules *rules, char *text, size_t length, rules_complaint *complain, void *context)
{
	struct reading reading = {.rules = rules, .complain = complain, .context = context};
	rules->sections = 1;
	rules->patterns[0] = "";
	rules->settings = 0;
	for (char *at = text, *last = text + length; at < last;) {
		char *newline = memchr(at, '\n', (size_t)(last - at));
		char *end = newline != NULL ? newline : last;
		reading.line++;
		read_line(&reading, trimmed(at, end));
		at = end + 1;
	}
}

int rules_section(const struct rules *rules, const struct target *target)
{
	for (int i = 1; i < rules->sections; i++)
		if (match_host(rules->patterns[i], target))
			return i;
	return 0;
}

/* "" stands for the default; NULL: the section says nothing. */
static const char *own_value(const struct rules *rules, int section, const struct config_variable *variable)
{
	for (int i = rules->settings - 1; i >= 0; i--)
		if (rules->setting[i].section == section && &config_variables[rules->setting[i].variable] == variable)
			return rules->setting[i].value;
	return NULL;
}

const char *rules_value(const struct rules *rules, int section, const struct config_variable *variable, const char *environment,
                        enum rules_origin *origin)
{
	bool set = environment != NULL && environment[0] != '\0' && config_accepts(variable, environment);
	const struct {
		enum rules_origin origin;
		const char *value;
	} words[] = {
		{ORIGIN_SECTION, section > 0 ? own_value(rules, section, variable) : NULL},
		{ORIGIN_ENVIRONMENT, set ? environment : NULL},
		{ORIGIN_GLOBAL, own_value(rules, 0, variable)},
	};
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
		if (words[i].value == NULL)
			continue;
		if (origin != NULL)
			*origin = words[i].origin;
		return words[i].value;
	}
	if (origin != NULL)
		*origin = ORIGIN_DEFAULT;
	return NULL;
}
