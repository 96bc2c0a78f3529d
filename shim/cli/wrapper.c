/* Programs that start another one, and what they do to LD_PRELOAD on the way. */
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/program.h"
#include "retryshim/cli.h"

static const struct wrapper {
	const char *names;      /* globs, "a|b" */
	const char *takes;      /* letters of the options whose argument is the next word */
	const char *long_takes; /* the same in long, "a|b" */
	int operands;           /* words between the options and the program */
	bool follows;           /* the program is to be looked at */
	enum finding finding;   /* what is said of it */
} wrappers[] = {
	{"nice", "n", "adjustment", 0, true, FINDING_WRAPPER},
	{"nohup|setsid|linux64|linux32|x86_64|unbuffer|catchsegv", "", "", 0, true, FINDING_WRAPPER},
	{"stdbuf", "ioe", "input|output|error", 0, true, FINDING_WRAPPER},
	{"timeout", "ks", "kill-after|signal", 1, true, FINDING_WRAPPER},
	{"time", "fo", "format|output", 0, true, FINDING_WRAPPER},
	{"ionice", "cnpPu", "class|classdata|pid|pgid|uid", 0, true, FINDING_WRAPPER},
	{"taskset", "p", "pid", 1, true, FINDING_WRAPPER},
	{"chrt", "TPDp", "sched-runtime|sched-period|sched-deadline|pid", 1, true, FINDING_WRAPPER},
	{"flock", "wE", "wait|timeout|conflict-exit-code", 1, true, FINDING_WRAPPER},
	{"faketime", "", "", 1, true, FINDING_WRAPPER},
	{"xargs", "adEILnPs", "arg-file|delimiter|max-args|max-procs|max-chars|process-slot-var", 0, true,
	 FINDING_WRAPPER},
	{"strace", "abeEIoOpPsSuUX", "output|trace|attach|string-limit|user|env|expr|columns", 0, true,
	 FINDING_WRAPPER},
	{"ltrace", "aDeFlnopsuwxX", "output", 0, true, FINDING_WRAPPER},
	{"gosu|su-exec|setuidgid", "", "", 1, true, FINDING_WRAPPER},
	{"tini|tini-static|dumb-init|catatonit", "per", "rewrite", 0, true, FINDING_WRAPPER},
	{"unshare", "SGRw", "setuid|setgid|root|wd|map-user|map-group|propagation|setgroups|monotonic|boottime", 0, true,
	 FINDING_WRAPPER},
	{"systemd-inhibit", "", "what|who|why|mode", 0, true, FINDING_WRAPPER},
	{"systemd-cat", "tp", "identifier|priority", 0, true, FINDING_WRAPPER},
	{"ld-linux*|ld-2.*|ld.so", "",
	 "library-path|preload|audit|argv0|inhibit-rpath|glibc-hwcaps-prepend|glibc-hwcaps-mask", 0, true, FINDING_WRAPPER},
	{"setpriv", "",
	 "reuid|regid|ruid|euid|rgid|egid|groups|inh-caps|ambient-caps|bounding-set|securebits|pdeathsig|selinux-label|"
	 "apparmor-profile",
	 0, true, FINDING_WRAPPER},
	{"chroot", "", "userspec|groups", 1, true, FINDING_CHROOT},
	{"sudo|doas|pkexec|sudoedit", "", "", 0, false, FINDING_SCRUBS},
	{"su|runuser", "", "", 0, false, FINDING_WRAPPER_UNCLEAR},
	{"ssh|rsh", "", "", 0, false, FINDING_REMOTE},
	{"systemd-run|docker|podman|nerdctl|flatpak|snap|machinectl|kubectl|lxc-attach|toolbox|distrobox*", "", "", 0, false,
	 FINDING_ELSEWHERE},
};

/* ---- words ------------------------------------------------------------------------------------------ */

static size_t words_count(char *const *words)
{
	size_t count = 0;
	while (words != NULL && words[count] != NULL)
		count++;
	return count;
}

char **words_joined(char *const *before, char *const *after)
{
	size_t first = words_count(before), second = words_count(after);
	char **words = cli_allocate((first + second + 1) * sizeof *words);
	for (size_t i = 0; before != NULL && i < first; i++)
		words[i] = cli_format("%s", before[i]);
	for (size_t i = 0; after != NULL && i < second; i++)
		words[first + i] = cli_format("%s", after[i]);
	return words;
}

void words_free(char **words)
{
	for (size_t i = 0; words != NULL && words[i] != NULL; i++)
		free(words[i]);
	free(words);
}

/* True if a list "a|b" has this name of `length` bytes. */
static bool lists(const char *list, const char *name, size_t length)
{
	for (; *list != '\0'; list += *list == '|') {
		size_t item = strcspn(list, "|");
		if (item == length && strncmp(list, name, length) == 0)
			return true;
		list += item;
	}
	return false;
}

static bool lists_glob(const char *list, const char *name)
{
	bool found = false;
	for (; *list != '\0' && !found; list += *list == '|') {
		size_t item = strcspn(list, "|");
		char *glob = cli_format("%.*s", (int)item, list);
		found = fnmatch(glob, name, 0) == 0;
		free(glob);
		list += item;
	}
	return found;
}

/* How many words an option is: two if its argument is the next one. */
static int option_words(const char *option, const char *takes, const char *long_takes)
{
	if (option[1] == '-')
		return lists(long_takes, option + 2, strlen(option + 2)) ? 2 : 1;
	size_t letter = strcspn(option + 1, takes);
	return option[1 + letter] != '\0' && option[2 + letter] == '\0' ? 2 : 1;
}

/* The first word that is no option; NULL if there is none. */
static char **behind_options(char **words, const char *takes, const char *long_takes)
{
	for (int i = 1; words[i] != NULL;) {
		if (words[i][0] != '-' || words[i][1] == '\0')
			return words + i;
		if (strcmp(words[i], "--") == 0)
			return words[i + 1] != NULL ? words + i + 1 : NULL;
		if (option_words(words[i], takes, long_takes) == 2 && words[++i] == NULL)
			return NULL;
		i++;
	}
	return NULL;
}

static bool has_word(char **words, char **end, const char *word)
{
	for (; *words != NULL && words != end; words++)
		if (strcmp(*words, word) == 0)
			return true;
	return false;
}

static void hand_on(const char *path, const char *name, struct findings *findings)
{
	if (findings_verdict(findings) != REACH_NOT)
		findings_add(findings, FINDING_WRAPPER, path, name);
}

/* ---- env -------------------------------------------------------------------------------------------- */

/* What env -S makes of its text: words at blanks, quotes kept together. */
static char **split(const char *text)
{
	char **words = cli_allocate((strlen(text) / 2 + 2) * sizeof *words);
	for (size_t count = 0; *(text += strspn(text, " \t")) != '\0'; count++) {
		char *word = cli_allocate(strlen(text) + 1), quote = '\0';
		for (size_t length = 0; *text != '\0' && (quote != '\0' || strchr(" \t", *text) == NULL); text++) {
			if (quote != '\0' ? *text == quote : *text == '\'' || *text == '"')
				quote = quote != '\0' ? '\0' : *text;
			else
				word[length++] = *text;
		}
		words[count] = word;
	}
	return words;
}

/* The words with `env -S TEXT` put apart; NULL if there is no such option. */
static char **with_split(char **words)
{
	static const char *const forms[] = {"--split-string=", "-S", "-vS"};
	for (size_t i = 0; i < sizeof forms / sizeof forms[0] && words[1] != NULL; i++) {
		size_t length = strlen(forms[i]);
		if (strncmp(words[1], forms[i], length) != 0)
			continue;
		bool attached = words[1][length] != '\0';
		if (!attached && words[2] == NULL)
			return NULL;
		char *name[] = {words[0], NULL}, **rest = words + (attached ? 2 : 3);
		char **apart = split(attached ? words[1] + length : words[2]);
		char **most = words_joined(name, apart), **all = words_joined(most, rest);
		words_free(most);
		words_free(apart);
		return all;
	}
	return NULL;
}

static void remember(struct program *program, char *assignment)
{
	char *one[] = {assignment, NULL};
	char **longer = words_joined(program->set, one);
	words_free(program->set);
	program->set = longer;
}

/* What -i and -u say. */
static void read_removals(struct program *program, char **words, char **end, struct findings *findings)
{
	bool removed = false;
	program->clears = program->clears || has_word(words, end, "-i") || has_word(words, end, "-") ||
	                  has_word(words, end, "--ignore-environment");
	for (; words != end && *words != NULL; words++)
		removed = removed || strcmp(*words, "--unset=LD_PRELOAD") == 0 || strcmp(*words, "-uLD_PRELOAD") == 0 ||
		          (strcmp(*words, "-u") == 0 && words[1] != NULL && strcmp(words[1], "LD_PRELOAD") == 0);
	if (program->clears || removed)
		findings_add(findings, FINDING_CLEARS, program->path, program->clears ? "-i" : "-u LD_PRELOAD");
}

static char **behind_env(struct program *program, char **words, struct findings *findings)
{
	static const char preload[] = "LD_PRELOAD=";
	char **rest = words + 1;
	for (; *rest != NULL && rest[0][0] == '-' && strcmp(*rest, "--") != 0; rest++)
		if (option_words(*rest, "uC", "unset|chdir") == 2 && *++rest == NULL)
			return NULL;
	read_removals(program, words + 1, rest, findings);
	if (*rest != NULL && strcmp(*rest, "--") == 0)
		rest++;
	for (; *rest != NULL && strchr(*rest, '=') != NULL; rest++) {
		remember(program, *rest);
		if (strncmp(*rest, preload, sizeof preload - 1) == 0 && strstr(*rest, "libretryshim.so") == NULL)
			findings_add(findings, FINDING_REPLACES, program->path, *rest + sizeof preload - 1);
	}
	return *rest != NULL ? rest : NULL;
}

static char **follow_env(struct program *program, struct findings *findings)
{
	char **apart = with_split(program->words);
	char **rest = behind_env(program, apart != NULL ? apart : program->words, findings);
	char **words = rest != NULL ? words_joined(rest, NULL) : NULL;
	words_free(apart);
	if (words != NULL)
		hand_on(program->path, words[0], findings);
	return words;
}

/* ---- retryshim -------------------------------------------------------------------------------------- */

/* `retryshim run [OPTION...] -- PROGRAM` */
static char **follow_run(const struct program *program, struct findings *findings)
{
	char **rest = program->words[1] != NULL && strcmp(program->words[1], "run") == 0 ? program->words + 2 : NULL;
	while (rest != NULL && *rest != NULL && strcmp(*rest, "--") != 0)
		rest++;
	if (rest == NULL || *rest == NULL || rest[1] == NULL)
		return NULL;
	hand_on(program->path, rest[1], findings);
	return words_joined(rest + 1, NULL);
}

/* ---- the others ------------------------------------------------------------------------------------- */

/* `chroot ROOT PROGRAM`: our path has to be there inside, too. The program itself lies inside as well, and is left alone. */
static void inspect_chroot(const char *path, char **rest, const char *object, struct findings *findings)
{
	struct stat status;
	char *inside = cli_format("%s%s", rest != NULL ? rest[0] : "", object != NULL ? object : "");
	if (rest != NULL && object != NULL && stat(inside, &status) != 0)
		findings_add(findings, FINDING_CHROOT, path, inside);
	else
		findings_add(findings, FINDING_WRAPPER_UNCLEAR, path, NULL);
	free(inside);
}

static const struct wrapper *find(const char *name)
{
	for (size_t i = 0; i < sizeof wrappers / sizeof wrappers[0]; i++)
		if (lists_glob(wrappers[i].names, name))
			return &wrappers[i];
	return NULL;
}

/* It keeps the environment, unless it is asked for a login; what is to be run is a shell's text. */
static void inspect_su(char **words, const char *path, struct findings *findings)
{
	static const char *const logins[] = {"-", "-l", "--login"};
	for (size_t i = 0; i < sizeof logins / sizeof logins[0]; i++)
		if (has_word(words + 1, NULL, logins[i])) {
			findings_add(findings, FINDING_CLEARS, path, logins[i]);
			return;
		}
	findings_add(findings, FINDING_WRAPPER_UNCLEAR, path, NULL);
}

/* `docker` alone, or `systemd-run --scope`, starts nothing elsewhere. */
static bool stays_here(const char *name, char **words)
{
	return words[1] == NULL || (strcmp(name, "systemd-run") == 0 && has_word(words, NULL, "--scope"));
}

char **wrapper_follow(struct program *program, const char *path, const char *object, struct findings *findings)
{
	const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
	if (strcmp(name, "env") == 0)
		return follow_env(program, findings);
	if (strcmp(name, "retryshim") == 0)
		return follow_run(program, findings);
	const struct wrapper *wrapper = find(name);
	if (wrapper == NULL)
		return NULL;
	char **rest = behind_options(program->words, wrapper->takes, wrapper->long_takes);
	if (wrapper->finding == FINDING_CHROOT) {
		inspect_chroot(path, rest, object, findings);
		return NULL;
	}
	if (wrapper->finding == FINDING_WRAPPER_UNCLEAR) {
		inspect_su(program->words, path, findings);
		return NULL;
	}
	if (wrapper->finding == FINDING_ELSEWHERE && stays_here(name, program->words))
		return NULL;
	if (!wrapper->follows) {
		findings_add(findings, wrapper->finding, path, name);
		return NULL;
	}
	if (strcmp(name, "setpriv") == 0 && has_word(program->words, rest, "--reset-env"))
		findings_add(findings, FINDING_CLEARS, path, "--reset-env");
	for (int i = 0; i < wrapper->operands && rest != NULL; i++)
		rest = rest[1] != NULL ? rest + 1 : NULL;
	if (rest == NULL)
		return NULL;
	if (rest[0][0] == '-') { /* `flock FILE -c TEXT` */
		findings_add(findings, FINDING_WRAPPER_UNCLEAR, path, NULL);
		return NULL;
	}
	hand_on(path, rest[0], findings);
	return words_joined(rest, NULL);
}
