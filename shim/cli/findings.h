/* What `retryshim check` has to say: a table of sentences, and the list of those that hold. `retryshim run` says some of
 * them as well. */
#ifndef RETRYSHIM_CLI_FINDINGS_H
#define RETRYSHIM_CLI_FINDINGS_H

#include <stdbool.h>

/* In rising order: the worst one is the verdict. */
enum reach { REACH_NOTE, REACH_WHOLE, REACH_PARTLY, REACH_NOT };

enum finding {
	/* what stands between the object and any program */
	FINDING_NO_OBJECT,
	FINDING_OBJECT_PATH,
	FINDING_OBJECT_BROKEN,
	FINDING_DISABLED,
	FINDING_SKIPPED,
	FINDING_FAMILY_OFF,
	FINDING_KEEPS_DEEPBIND,
	FINDING_BESIDE,
	/* the way to the program */
	FINDING_SCRIPT,
	FINDING_WRAPPER,
	FINDING_WRAPPER_UNCLEAR,
	FINDING_REMOTE,
	FINDING_SCRUBS,
	FINDING_CLEARS,
	FINDING_REPLACES,
	FINDING_ELSEWHERE,
	FINDING_CHROOT,
	FINDING_SCRIPT_PRELOAD,
	FINDING_SCRIPT_EXEC,
	FINDING_SHELL,
	/* the program */
	FINDING_UNREADABLE,
	FINDING_NO_LOADER,
	FINDING_STATIC,
	FINDING_GO_STATIC,
	FINDING_GO,
	FINDING_GO_LOOKUPS,
	FINDING_WORD_SIZE,
	FINDING_PROCESSOR,
	FINDING_LIBC,
	FINDING_OTHER_OBJECT,
	FINDING_SETUID,
	FINDING_SETGID,
	FINDING_CAPABILITIES,
	FINDING_SETUID_IDLE,
	FINDING_SANITIZER,
	/* how it reaches the network */
	FINDING_CURL,
	FINDING_CURL_UNKNOWN,
	FINDING_CURL_INSIDE,
	FINDING_CURL_LATE,
	FINDING_CONNECT,
	FINDING_LOOKUPS,
	FINDING_NO_NETWORK,
	FINDING_PLUGINS,
	FINDING_SYSCALL,
	FINDING_RAW_CONNECT,
	FINDING_IO_URING,
	FINDING_RAW_IO_URING,
	FINDING_LIBRARY_MISSING,
	FINDINGS
};

/* In the sentences {it} stands for the file that is spoken of, {what} for a detail. */
struct finding_row {
	enum reach reach;
	const char *key;    /* for programs: stays as it is */
	const char *text;   /* what is so */
	const char *advice; /* what to do about it; "" = nothing */
};

extern const struct finding_row finding_rows[FINDINGS];

struct findings {
	struct found {
		enum finding finding;
		char *text, *advice;
		struct found *next;
	} *first, **end;
};

void findings_begin(struct findings *findings);
void findings_end(struct findings *findings); /* frees */

/* The same finding about the same file and detail is listed once. */
void findings_add(struct findings *findings, enum finding finding, const char *it, const char *what);

/* The worst of them; REACH_WHOLE if there is none. */
enum reach findings_verdict(const struct findings *findings);

#endif
