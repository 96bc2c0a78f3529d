/* A configuration file: any text is read to its end, and what is kept of it is well-formed. */
#include "fuzz.h"

#include "retryshim/rules.h"

static struct rules rules;
static char text[RULES_BYTES + 1];
static int last_line, complaints;

static void complain(void *context, int line, const char *what, enum rules_fault fault)
{
	PROMISE(context == &rules && line >= last_line && fault < RULES_FAULTS);
	PROMISE(what >= text && what + strlen(what) <= text + RULES_BYTES && strchr(what, '\n') == NULL);
	PROMISE(rules_fault_text(fault)[0] != '\0');
	last_line = line;
	complaints++;
}

static void check_setting(const struct rule *rule)
{
	const struct config_variable *variable = &config_variables[rule->variable];
	PROMISE(rule->variable < config_variable_count && rule->section < rules.sections);
	PROMISE(variable->scope == SCOPE_DESTINATION || (variable->scope == SCOPE_PROCESS && rule->section == 0));
	PROMISE(config_accepts(variable, rule->value));
	enum rules_origin origin;
	const char *value = rules_value(&rules, rule->section, variable, NULL, &origin);
	PROMISE(value != NULL && origin == (rule->section != 0 ? ORIGIN_SECTION : ORIGIN_GLOBAL));
}

/* The first section that has a pattern for it. */
static void check_choice(const char *host)
{
	struct target target = {0};
	target_set_url(&target, host);
	int chosen = rules_section(&rules, &target);
	PROMISE(chosen >= 0 && chosen < rules.sections);
	for (int i = 1; i < rules.sections && (chosen == 0 || i <= chosen); i++)
		PROMISE(match_host(rules.patterns[i], &target) == (i == chosen));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > RULES_BYTES || memchr(data, '\0', size) != NULL)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	last_line = complaints = 0;
	rules_read(&rules, text, size, complain, &rules);
	PROMISE(rules.sections >= 1 && rules.sections <= RULES_SECTIONS && rules.settings >= 0 && rules.settings <= RULES_SETTINGS);
	PROMISE(complaints <= (int)size + 1);
	for (int i = 1; i < rules.sections; i++)
		PROMISE(match_hosts_valid(rules.patterns[i]));
	for (int i = 0; i < rules.settings; i++)
		check_setting(&rules.setting[i]);
	check_choice("db.internal:5432");
	check_choice("10.1.2.3:80");
	check_choice("[2001:db8::1]:443");
	return 0;
}
