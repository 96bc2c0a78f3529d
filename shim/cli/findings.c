/* The sentences of `retryshim check`. */
#include "cli/findings.h"

#include <stdlib.h>
#include <string.h>

#include "retryshim/cli.h"

const struct finding_row finding_rows[FINDINGS] = {
	[FINDING_NO_OBJECT] = {
		REACH_NOT, "no-object",
		"libretryshim.so is not where this command looks for it: {what}",
		"Install it into one of these, or put it beside this command.",
	},
	[FINDING_OBJECT_PATH] = {
		REACH_NOT, "object-path",
		"LD_PRELOAD cannot hold the path {what}: it has a blank or a colon",
		"Move it to another directory.",
	},
	[FINDING_OBJECT_BROKEN] = {
		REACH_NOT, "object-broken",
		"{what} is no shared object that a loader would take",
		"Install it again.",
	},
	[FINDING_DISABLED] = {
		REACH_NOT, "disabled",
		"RETRY_ENABLED={what} is set: the shim is loaded, and lets everything pass",
		"'retryshim env' tells where: unset it there.",
	},
	[FINDING_SKIPPED] = {
		REACH_NOT, "skipped",
		"RETRY_PROGRAMS or RETRY_SKIP_PROGRAMS leaves out programs named {what}",
		"'retryshim env' tells where they are set: change them there.",
	},
	[FINDING_FAMILY_OFF] = {
		REACH_PARTLY, "family-off",
		"{what} is set: that part of the network is left alone",
		"'retryshim env' tells where: unset it there.",
	},
	[FINDING_KEEPS_DEEPBIND] = {
		REACH_PARTLY, "keeps-deepbind",
		"it loads libraries while it runs, and with RETRY_DEEPBIND=keep those that are opened with RTLD_DEEPBIND are "
		"not reached",
		"Unset RETRY_DEEPBIND.",
	},
	[FINDING_BESIDE] = {
		REACH_NOTE, "beside",
		"LD_PRELOAD holds {what} already",
		"'retryshim run' goes before it, and keeps it.",
	},

	[FINDING_SCRIPT] = {
		REACH_NOTE, "script",
		"{it} is a script, run by {what}",
		"",
	},
	[FINDING_WRAPPER] = {
		REACH_NOTE, "wrapper",
		"{it} starts {what}, and hands LD_PRELOAD on",
		"",
	},
	[FINDING_WRAPPER_UNCLEAR] = {
		REACH_NOTE, "wrapper-unclear",
		"{it} starts another program, which is not clear from here",
		"Check that program, too.",
	},
	[FINDING_REMOTE] = {
		REACH_NOTE, "remote",
		"what {it} starts on another host is not reached; its own connection is",
		"",
	},
	[FINDING_SCRUBS] = {
		REACH_NOT, "scrubs",
		"{it} starts programs without LD_PRELOAD",
		"Put retryshim behind it: {what} retryshim run -- PROGRAM.",
	},
	[FINDING_CLEARS] = {
		REACH_NOT, "clears",
		"{it} is told to start its program without LD_PRELOAD ({what})",
		"Put retryshim behind it, before PROGRAM: retryshim run -- PROGRAM.",
	},
	[FINDING_REPLACES] = {
		REACH_NOT, "replaces",
		"{it} is told to put {what} in the place of the LD_PRELOAD that there is",
		"Put retryshim behind it, before PROGRAM: retryshim run -- PROGRAM.",
	},
	[FINDING_ELSEWHERE] = {
		REACH_NOT, "elsewhere",
		"{it} has its programs started by another process, in another environment",
		"Run retryshim in there, or set LD_PRELOAD and the RETRY_* variables there ({what} can set variables).",
	},
	[FINDING_CHROOT] = {
		REACH_NOT, "chroot",
		"the program behind {it} finds no libretryshim.so: {what} is not there",
		"Copy it to that path.",
	},
	[FINDING_SCRIPT_PRELOAD] = {
		REACH_PARTLY, "script-preload",
		"{it} itself changes LD_PRELOAD, in line {what}",
		"See whether it keeps what was there.",
	},
	[FINDING_SCRIPT_EXEC] = {
		REACH_NOTE, "script-exec",
		"{it} ends as {what}",
		"Check that, too: retryshim check -- {what}.",
	},
	[FINDING_SHELL] = {
		REACH_NOTE, "shell",
		"it is a shell: what counts are the programs that it starts, which inherit LD_PRELOAD",
		"Check those that use the network.",
	},

	[FINDING_UNREADABLE] = {
		REACH_PARTLY, "unreadable",
		"it can be run but not read: whether it is reached cannot be seen",
		"Ask as a user who may read it.",
	},
	[FINDING_NO_LOADER] = {
		REACH_NOT, "no-loader",
		"its loader {what} is not on this machine: it cannot be started at all",
		"Install the libraries of the system that it was built for.",
	},
	[FINDING_STATIC] = {
		REACH_NOT, "static",
		"it is linked statically: there is no loader that could preload anything",
		"Use a dynamically linked build. Programs that it starts are reached.",
	},
	[FINDING_GO_STATIC] = {
		REACH_NOT, "go-static",
		"it is a Go program, linked statically: nothing can be preloaded",
		"Use its own retries, if it has any. Programs that it starts are reached.",
	},
	[FINDING_GO] = {
		REACH_NOT, "go",
		"it is a Go program: it uses the network by raw system calls, past libc",
		"Use its own retries, if it has any. Programs that it starts are reached.",
	},
	[FINDING_GO_LOOKUPS] = {
		REACH_PARTLY, "go-lookups",
		"it is a Go program: it connects by raw system calls, past libc; at most its name look-ups are retried",
		"Use its own retries, if it has any. Programs that it starts are reached.",
	},
	[FINDING_WORD_SIZE] = {
		REACH_NOT, "word-size",
		"it is a program for {what}: its loader cannot take the object",
		"Install a libretryshim.so of that kind beside the other: in lib/TRIPLET or lib32, say.",
	},
	[FINDING_PROCESSOR] = {
		REACH_NOT, "processor",
		"it is a program for {what}: its loader cannot take the object",
		"Install a libretryshim.so for that processor beside the other: in lib/TRIPLET, say.",
	},
	[FINDING_LIBC] = {
		REACH_NOT, "libc",
		"it is built for {what}: it would not start with the object preloaded",
		"Build libretryshim.so for that C library, and install it beside the other: in lib/musl, say.",
	},
	[FINDING_OTHER_OBJECT] = {
		REACH_NOTE, "other-object",
		"it is not of this command's kind, and gets {what}",
		"",
	},
	[FINDING_SETUID] = {
		REACH_NOT, "setuid",
		"{it} is set-user-ID (to {what}): the loader drops LD_PRELOAD",
		"Start it as that user to begin with, by retryshim run.",
	},
	[FINDING_SETGID] = {
		REACH_NOT, "setgid",
		"{it} is set-group-ID (to {what}): the loader drops LD_PRELOAD",
		"Start it with that group to begin with, by retryshim run.",
	},
	[FINDING_CAPABILITIES] = {
		REACH_NOT, "capabilities",
		"{it} has file capabilities: the loader drops LD_PRELOAD",
		"Start it with these capabilities as ambient ones (setpriv --ambient-caps), from a copy without them.",
	},
	[FINDING_SETUID_IDLE] = {
		REACH_NOTE, "setuid-idle",
		"{it} has {what}, which changes nothing here; for another user it would",
		"",
	},
	[FINDING_SANITIZER] = {
		REACH_NOT, "sanitizer",
		"it is built with AddressSanitizer, which ends it unless {what} is preloaded first",
		"Set LD_PRELOAD to {what}, a colon and the object yourself.",
	},

	[FINDING_CURL] = {
		REACH_WHOLE, "curl",
		"it uses libcurl ({what}): transfers are retried, with their HTTP statuses",
		"",
	},
	[FINDING_CURL_UNKNOWN] = {
		REACH_PARTLY, "curl-unknown",
		"it uses a libcurl whose names are not known ({what}): connects are retried, statuses may not be",
		"",
	},
	[FINDING_CURL_INSIDE] = {
		REACH_PARTLY, "curl-inside",
		"it has a libcurl of its own inside: connects are retried, HTTP statuses are not",
		"Use a build that links libcurl.so.",
	},
	[FINDING_CURL_LATE] = {
		REACH_PARTLY, "curl-late",
		"it may load libcurl while it runs: connects are retried, statuses only where libcurl is called by the names "
		"that a linker has bound",
		"",
	},
	[FINDING_CONNECT] = {
		REACH_WHOLE, "connect",
		"it calls libc's connect(){what}: connects are retried",
		"",
	},
	[FINDING_LOOKUPS] = {
		REACH_WHOLE, "lookups",
		"it calls libc's getaddrinfo(){what}: name look-ups are retried",
		"",
	},
	[FINDING_NO_NETWORK] = {
		REACH_NOTE, "no-network",
		"neither it nor its libraries call connect() or libcurl",
		"Check the programs that it starts, if there are any.",
	},
	[FINDING_PLUGINS] = {
		REACH_NOTE, "plugins",
		"it can load libraries while it runs: these are reached, unless opened with RTLD_DEEPBIND without needing "
		"libcurl",
		"RETRY_DEEPBIND=drop is for those.",
	},
	[FINDING_SYSCALL] = {
		REACH_NOTE, "syscall",
		"it can make raw system calls by libc's syscall(); if it connects so, that is not seen",
		"",
	},
	[FINDING_RAW_CONNECT] = {
		REACH_PARTLY, "raw-connect",
		"it has a raw connect system call in its code, which is not seen",
		"",
	},
	[FINDING_IO_URING] = {
		REACH_PARTLY, "io-uring",
		"it uses io_uring ({what}): connects that it makes that way are not seen",
		"Set RETRY_NONBLOCK=0 if it connects by libc and waits by io_uring; see if it can do without.",
	},
	[FINDING_RAW_IO_URING] = {
		REACH_PARTLY, "raw-io-uring",
		"it has io_uring's system calls in its code: connects that it makes that way are not seen",
		"Set RETRY_NONBLOCK=0 if it connects by libc and waits by io_uring; see if it can do without.",
	},
	[FINDING_LIBRARY_MISSING] = {
		REACH_NOTE, "library-missing",
		"its library {what} is not found here: what that one does is not known",
		"",
	},
};

/* ---- sentences -------------------------------------------------------------------------------------- */

static char *filled(const char *sentence, const char *it, const char *what)
{
	const struct {
		const char *name, *value;
	} places[] = {{"{it}", it}, {"{what}", what}};
	char *text = cli_format("%s", "");
	while (*sentence != '\0') {
		size_t plain = strcspn(sentence, "{"), skip = plain;
		const char *value = "";
		for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
			size_t length = strlen(places[i].name);
			if (strncmp(sentence + plain, places[i].name, length) == 0) {
				value = places[i].value != NULL ? places[i].value : "";
				skip = plain + length;
			}
		}
		if (skip == plain && sentence[plain] == '{')
			skip = ++plain; /* just a brace */
		char *longer = cli_format("%s%.*s%s", text, (int)plain, sentence, value);
		free(text);
		text = longer;
		sentence += skip;
	}
	return text;
}

void findings_begin(struct findings *findings)
{
	findings->first = NULL;
	findings->end = &findings->first;
}

void findings_end(struct findings *findings)
{
	while (findings->first != NULL) {
		struct found *found = findings->first;
		findings->first = found->next;
		free(found->text);
		free(found->advice);
		free(found);
	}
	findings->end = &findings->first;
}

void findings_add(struct findings *findings, enum finding finding, const char *it, const char *what)
{
	const struct finding_row *row = &finding_rows[finding];
	struct found *found = cli_allocate(sizeof *found);
	*found = (struct found){finding, filled(row->text, it, what), filled(row->advice, it, what), NULL};
	for (const struct found *other = findings->first; other != NULL; other = other->next)
		if (other->finding == finding && strcmp(other->text, found->text) == 0) {
			free(found->text);
			free(found->advice);
			free(found);
			return;
		}
	*findings->end = found;
	findings->end = &found->next;
}

enum reach findings_verdict(const struct findings *findings)
{
	enum reach worst = REACH_WHOLE;
	for (const struct found *found = findings->first; found != NULL; found = found->next)
		if (finding_rows[found->finding].reach > worst)
			worst = finding_rows[found->finding].reach;
	return worst;
}
