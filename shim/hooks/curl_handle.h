/* Private to the curl hooks: what is known of one easy handle, and who does what with it.
 *
 *   curl_easy.c      the exported functions of the easy interface
 *   curl_multi.c     those of the multi interface; curl_multi.h has what is known of a multi
 *   curl_export.h    one exported function for each flavour
 *   curl_records.c   from libcurl's pointers to our records
 *   curl_options.c   follows curl_easy_setopt
 *   curl_wrap.c      puts our callbacks in the place of the program's, and back
 *   curl_response.c  stands between libcurl and those
 *   curl_deliver.c   hands on to those, or holds back
 *   curl_journal.c   what is held back
 *   curl_facts.c     what libcurl knows, in the engine's terms
 *   curl_way.c       the way that a transfer takes to its host
 *   curl_resume.c    a broken download that goes on
 *   curl_fallback.c  another address, where attempts at the first are used up
 *   curl_upload.c    the request's body, and whether it can be produced again
 *   curl_judge.c     what an attempt comes to
 *   curl_transfer.c  one operation: its attempts, whoever drives them
 *   curl_perform.c   drives it for curl_easy_perform, and sleeps
 *   curl_members.c   drives those of a multi, and never does
 *   curl_timer.c     the multi's time-outs, which end at our instants
 *
 * libcurl forbids using a handle from two threads at once, so a struct easy needs no guard of its own.
 */
#ifndef RETRYSHIM_HOOKS_CURL_HANDLE_H
#define RETRYSHIM_HOOKS_CURL_HANDLE_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "hooks/curl_real.h"
#include "hooks/curl_records.h"
#include "retryshim/hooks.h"

/* ---- what the program asked for ------------------------------------------------------------------ */

enum request_kind { REQUEST_GET, REQUEST_HEAD, REQUEST_POST, REQUEST_PUT, REQUEST_POST_FORM };

/* Texts by which a transfer reaches something else than its URL's host and port; beside them the lists of CURLOPT_RESOLVE and
 * CURLOPT_CONNECT_TO. */
enum option_way {
	OPTION_PROXY,
	OPTION_NOPROXY,
	OPTION_PRE_PROXY,
	OPTION_UNIX_SOCKET,
	OPTION_ABSTRACT_SOCKET,
	OPTION_INTERFACE,
	OPTION_WAYS,
};

struct easy_options {
	curl_write_callback write; /* NULL: fwrite to write_data */
	void *write_data;          /* stdout until it is set */
	curl_write_callback header;
	void *header_data;
	bool include_header; /* CURLOPT_HEADER */
	curl_debug_callback debug;
	void *debug_data;
	curl_read_callback read; /* NULL: fread from read_data */
	void *read_data;         /* stdin until it is set */
	curl_seek_callback seek;
	void *seek_data;
	curl_ioctl_callback ioctl;
	void *ioctl_data;
	curl_xferinfo_callback xferinfo;
	curl_progress_callback progress;
	void *progress_data;
	bool no_progress;
	bool follow_location;
	bool fresh_connect;
	unsigned commands; /* CURLOPT_QUOTE and its like, CURLOPT_APPEND: a bit each; 0 = a plain transfer */
	curl_off_t resume_from;
	const char *range;
	bool filetime;
	unsigned raw; /* the body is not the entity's bytes as they are: a bit for each option that does so */
	/* Options that we do not understand well enough to stand in between, a bit each: pass through. */
	unsigned left_alone;
	long timeout_ms;
	enum request_kind request;
	bool no_body;
	char custom_method[32]; /* CURLOPT_CUSTOMREQUEST; "" = none */
	const void *post_fields;
	struct curl_slist *headers;
	char *error_buffer;
	curl_opensocket_callback open_socket;
	void *open_socket_data;
	curl_prereq_callback prereq;
	void *prereq_data;
	struct curl_slist *connect_to, *resolve;
	uint64_t ways[OPTION_WAYS]; /* a hash of what an option makes of the way to the host; 0 = nothing */
	long ip_version; /* CURLOPT_IPRESOLVE */
	bool prior_knowledge; /* HTTP/2 without asking; see adjust_options() */
	bool url_is_new; /* set since the last transfer began */
};

/* ---- what is held back ---------------------------------------------------------------------------- */

enum entry_kind { ENTRY_HEADER, ENTRY_BODY, ENTRY_DEBUG, ENTRY_REMARK };

/* Callback data in the order of its arrival. Grows by malloc, and only as data arrives; freed with the
 * handle. */
struct journal {
	unsigned char *bytes;
	size_t size, used;
	size_t flushed;  /* entries before this offset were delivered */
	bool overflowed; /* something was not kept: it cannot be delivered any more */
};

enum { JOURNAL_MOST = 512 * 1024, BODY_KEPT_MOST = 256 * 1024, INTERIM_MOST = 16 };

/* What stands before an entry's bytes. */
struct journal_entry {
	uint32_t kind, length;
};

/* Appends; false if memory or the bound is used up, and marks the journal as overflowed. */
bool journal_add_more(struct journal *journal, enum entry_kind kind, const void *bytes, size_t length);

static inline bool journal_add(struct journal *journal, enum entry_kind kind, const void *bytes, size_t length)
{
	struct journal_entry entry = {.kind = (uint32_t)kind, .length = (uint32_t)length};
	if (length > JOURNAL_MOST || journal->used + length > JOURNAL_MOST || sizeof entry + length > journal->size - journal->used)
		return journal_add_more(journal, kind, bytes, length);
	unsigned char *to = journal->bytes + journal->used;
	memcpy(to, &entry, sizeof entry);
	memcpy(to + sizeof entry, bytes, length);
	journal->used += sizeof entry + length;
	return true;
}

/* Next undelivered entry, its bytes and length; false at the end. */
static inline bool journal_next(const struct journal *journal, enum entry_kind *kind, char **bytes, size_t *length)
{
	struct journal_entry entry;
	if (journal->flushed == journal->used)
		return false;
	memcpy(&entry, journal->bytes + journal->flushed, sizeof entry);
	*kind = (enum entry_kind)entry.kind;
	*bytes = (char *)journal->bytes + journal->flushed + sizeof entry;
	*length = entry.length;
	return true;
}

/* The entry that journal_next() showed. */
static inline void journal_delivered(struct journal *journal)
{
	struct journal_entry entry;
	memcpy(&entry, journal->bytes + journal->flushed, sizeof entry);
	journal->flushed += sizeof entry + entry.length;
}

void journal_clear(struct journal *journal);
void journal_free(struct journal *journal);

/* ---- one response ---------------------------------------------------------------------------------- */

enum response_state {
	RESPONSE_BETWEEN,  /* no header block is open */
	RESPONSE_HOLDING,  /* in a header block, held until its blank line */
	RESPONSE_PASSING,  /* in a header block that was too large to hold */
	RESPONSE_FLUSHING, /* its delivery was paused by the program */
	RESPONSE_DROPPING, /* to be retried: nothing of it reaches the program */
};

struct response {
	enum response_state state;
	int status;           /* of the newest header block; 0 = none yet */
	int blocks;           /* header blocks of this attempt, tunnels left out */
	int tunnels;          /* a proxy's consents to CONNECT in this attempt */
	bool has_location;    /* in the newest block */
	bool tunnel;          /* the newest block is a proxy's consent to CONNECT */
	bool plain;           /* nobody wants to know what is in the newest block */
	bool unread;          /* the program does, but we do not: it is held */
	bool skipped;         /* an earlier attempt delivered the newest block */
	int64_t retry_after_ms; /* in the newest block; -1 = none */
	bool judged;          /* the verdict on this response has been spoken */
	bool final_delivered; /* a header block that is no interim one, or body, has reached the program */
	bool body_delivered;
	struct entity entity; /* of the newest block, if resume.wanted */
	struct journal journal;
};

/* ---- resuming -------------------------------------------------------------------------------------- */

struct resume {
	bool wanted;  /* RETRY_RESUME, and a request that allows it */
	bool going;   /* an attempt has asked for the rest, or is about to */
	bool joined;  /* its response is the rest: bodies pass */
	bool refused; /* its response is something else */
	bool counts;  /* the attempt's progress passes through resume_on_progress() */
	int64_t got;  /* bytes of the body that the program has taken */
	int64_t base; /* of them, before this attempt */
	struct entity whole; /* the response that the program has had; FTP: status 0, length and modified_s */
	uint64_t url;        /* a hash of where it came from */
	CURLcode broken_by;  /* the program's outcome if nothing can be joined, and its text */
	char error_text[CURL_ERROR_SIZE];
	/* As they were when the download broke; see resume_info(). */
	long status, header_size;
	curl_off_t length, filetime;
	int64_t start_wall_s; /* when the operation began */
	/* What the attempt sends. */
	char range[32], if_range[VALIDATOR_BYTES + 16];
	struct curl_slist headers; /* before the program's own */
};

/* ---- falling back ---------------------------------------------------------------------------------- */

struct fallback {
	bool going; /* CURLOPT_CONNECT_TO is ours just now */
	struct curl_slist list; /* before the program's own */
	char text[2 * TARGET_TEXT_MAX + 2];
};

/* ---- one handle ------------------------------------------------------------------------------------ */

struct link {
	struct link *before, *after; /* a ring around its list's head */
};

/* Where a multi's handle stands: under way or told; in a backoff; over, and its message not read. */
enum member { MEMBER_OTHER, MEMBER_WAITING, MEMBER_FINISHED, MEMBER_STATES };

struct easy {
	struct record record; /* its key is the CURL pointer */
	const struct curl_real *real;
	struct easy_options options;
	bool served;  /* false: known for its library alone, RETRY_CURL or RETRY_ENABLED is 0 */
	bool wrapped; /* our callbacks are installed */
	int paused;   /* CURLPAUSE_*, as curl_easy_pause left it: no attempt starts while it is not 0 */

	/* The multi that it has been added to, if any. */
	struct multi *multi;
	enum member member;
	unsigned alone_at; /* the multi's count of adds when it came, if it was alone; 0 = it was not */
	struct link link;
	CURLMsg message; /* in a backoff its result alone */
	int64_t look_ns; /* in a backoff: when it is looked at again */

	/* The operation. `active`: libcurl is at work on an attempt of ours. */
	bool active;
	bool backing_off; /* between two attempts */
	bool begun;       /* op is valid: something has failed */
	const char *hook; /* the operation's name */
	const struct config *config;
	uint64_t start;   /* clock_mark() */
	int64_t start_ns; /* once begun */
	struct op op;
	struct verdict verdict; /* on the last attempt that failed */
	long reader_offset;     /* of the default reader's FILE at the start; -1 = cannot be rewound */
	off_t stdin_offset;     /* at the start, if the program has a rewinding callback; see moved_stdin() */
	bool adjusted;          /* options differ from the program's: see transfer_restore_options() */
	/* Interim header blocks that were delivered, in all attempts. Those of a proxy's tunnel apart: an
	 * attempt by a tunnel that stands has none. */
	int interim_count, tunnels_delivered;
	/* Requests of this attempt that libcurl sent again by itself, since a kept connection had died or the stream
	 * was refused; 0 before libcurl 7.80. */
	int replays;
	bool vetoed; /* CURLOPT_OPENSOCKETFUNCTION has given no socket in this attempt */
	bool asked; /* a request is out, and no final header block has come */
	char error_text[CURL_ERROR_SIZE]; /* CURLOPT_ERRORBUFFER, where the program has none */
	short interim_status[INTERIM_MOST];
	struct response response;
	struct resume resume;
	struct fallback fallback;
	bool rejected; /* never handed to libcurl, since the circuit is open */
};

/* curl_easy.c */
struct easy *easy_find(CURL *handle);
struct easy *easy_add(CURL *handle, const struct curl_real *real); /* options at libcurl's defaults; NULL: no memory */

/* curl_options.c */
void options_default(struct easy_options *options);
/* Forwards an option to libcurl, or keeps it where our own callback is installed; remembers it. */
CURLcode options_set(struct easy *easy, CURL *handle, CURLoption option, va_list arguments);
/* The method of the first request that the options make. */
const char *options_method(const struct easy_options *options);
bool options_have_header(const struct easy_options *options, const char *name);

/* curl_wrap.c */
void wrap(struct easy *easy, CURL *handle);       /* installs our callbacks */
void wrap_again(struct easy *easy, CURL *handle, CURLoption option); /* the program has set its own */
void unwrap(struct easy *easy, CURL *handle);     /* puts the program's own back */

/* curl_response.c */
size_t response_on_body(char *bytes, size_t size, size_t count, void *easy);
size_t response_on_header(char *bytes, size_t size, size_t count, void *easy);
int response_on_debug(CURL *handle, curl_infotype type, char *bytes, size_t length, void *easy);
int response_on_request(void *easy, char *remote_ip, char *local_ip, int remote_port, int local_port);
curl_socket_t response_on_open_socket(void *easy, curlsocktype purpose, struct curl_sockaddr *address);
void response_reset(struct easy *easy); /* before an attempt */
/* True if something that may not come twice has reached the program. */
bool response_delivered(const struct easy *easy);

/* curl_deliver.c. What the program's callback returned. */
size_t deliver_body(struct easy *easy, char *bytes, size_t size, size_t count);
size_t deliver_header(struct easy *easy, char *line, size_t length);
size_t deliver_entry(struct easy *easy, enum entry_kind kind, char *bytes, size_t length);
/* Where libcurl would send a header line: CURLOPT_HEADERFUNCTION, or the write callback if only
 * CURLOPT_HEADERDATA is set, or nowhere (chop_write in lib/sendf.c). */
static inline bool deliver_has_header_sink(const struct easy *easy)
{
	return easy->options.header != NULL || easy->options.header_data != NULL;
}
/* Delivers what is held. A paused entry comes again at the next call. */
enum flush { FLUSHED, FLUSH_PAUSED, FLUSH_REFUSED };
enum flush deliver_held(struct easy *easy);
/* The same outside libcurl, where a pause counts as taken; false if the program refused it. */
bool deliver_flush(struct easy *easy);
/* Lets go of what is held; only what libcurl remarked on it is shown, as of every attempt. */
void deliver_drop(struct easy *easy);

/* curl_facts.c */
bool facts_sent(struct easy *easy);       /* the server may have seen something that it may act on */
bool facts_repeatable(struct easy *easy); /* by RETRY_METHODS or an Idempotency-Key */
bool facts_refused(struct easy *easy);    /* the server has said that it did not act on the request */
int facts_reply_code(struct easy *easy);  /* last reply of an FTP or SMTP server; 0 = none */
int facts_proxy_error(struct easy *easy); /* CURLPX_*, beside CURLE_PROXY */
void facts_target(struct easy *easy, struct target *target);
bool facts_redirected(struct easy *easy); /* libcurl's last transfer was */
bool facts_connected(struct easy *easy);  /* its connection was made, and is not one that was kept */
long facts_long(struct easy *easy, CURLINFO info);
const char *facts_text(struct easy *easy, CURLINFO info); /* "" = none */

/* curl_way.c */
void way_follow(struct easy_options *options, CURLoption option, const void *value); /* the program has set a text */
/* The target as processes share it: by its name, and by the way that leads there. */
void way_destination(struct easy *easy, struct target *target);
const char *way_fallback_obstacle(struct easy *easy); /* in words; NULL = none */

/* curl_resume.c */
void resume_begin(struct easy *easy);
bool resume_possible(struct easy *easy); /* what has been delivered can be continued */
void resume_broken(struct easy *easy, CURLcode code); /* and will be, by the next attempt */
CURLcode resume_give_up(struct easy *easy);           /* what broke it is the outcome */
/* An attempt that has joined ended well: true if that was the whole rest. */
bool resume_complete(struct easy *easy);
void resume_ask(struct easy *easy, CURL *handle);
void resume_restore(struct easy *easy, CURL *handle);
bool resume_holds_headers(const struct easy *easy);  /* CURLOPT_HTTPHEADER is ours just now */
bool resume_holds_progress(const struct easy *easy); /* CURLOPT_XFERINFO* are */
enum rest { REST_NOTHING, REST_JOINED, REST_REFUSED };
enum rest resume_judge_block(struct easy *easy); /* of a header block that is complete and final */
enum rest resume_judge_body(struct easy *easy, size_t length); /* of what comes as body: to drop, to pass, to refuse */
int resume_on_progress(void *easy, curl_off_t down, curl_off_t got, curl_off_t up, curl_off_t sent);
bool resume_info(const struct easy *easy, CURLINFO info, void *value); /* false: libcurl knows best */

/* curl_fallback.c */
void fallback_ask(struct easy *easy, CURL *handle);
void fallback_restore(struct easy *easy, CURL *handle);
void fallback_follow(struct easy *easy); /* the program has set CURLOPT_CONNECT_TO */

/* curl_upload.c */
void upload_begin(struct easy *easy);
bool upload_rewind(void *easy); /* false: the body cannot be produced again */
/* A MIME part has a source that cannot be read twice: no MIME body counts as repeatable from now on. */
void upload_saw_seekless_mime(void);

/* curl_judge.c */
/* Asked while libcurl is at work, at the end of a header block and when its body outgrows what can be kept: is the
 * response to be dropped, as things stand? */
bool judge_drops_response(struct easy *easy);
/* What an attempt that returned *code comes to. True: retry by easy->verdict. *code is the outcome otherwise. */
bool judge_wants_retry(struct easy *easy, CURLcode *code);
/* Tells what ended well, or what is nobody's to retry, unless it has been told. */
void judge_outcome(struct easy *easy, CURLcode code);
/* Before the first attempt: true if it is not to be made (RETRY_BREAKER=reject), with the transfer's outcome. */
bool judge_rejects(struct easy *easy, CURLcode *code);
/* A first attempt has got through to its host. */
void judge_first_success(struct easy *easy);
struct verdict judge_code(struct easy *easy, CURLcode code);

/* curl_transfer.c. The order of calls: begin; then start_attempt and end_attempt, and while that says
 * true, after the backoff, next_attempt or one of the stop functions. *code is the attempt's outcome, and in
 * the end the program's. */
void transfer_begin(struct easy *easy, CURL *handle, const struct config *config, const char *hook);
void transfer_leave(struct easy *easy, CURL *handle); /* without an attempt */
void transfer_start_attempt(struct easy *easy, CURL *handle);
/* True: another attempt is due at easy->verdict.at_ns. False: the operation is over. */
bool transfer_end_attempt(struct easy *easy, CURL *handle, CURLcode *code);
void transfer_next_attempt(struct easy *easy);
/* The backoff ends early: the last attempt's outcome stands. False if that cannot be, since its response is no
 * longer whole: the backoff goes on. REASON_NONE: the program's own doing, not told. */
bool transfer_stop(struct easy *easy, CURL *handle, CURLcode *code, enum reason reason);
/* The same, whatever has become of the response. */
void transfer_end_backoff(struct easy *easy, CURL *handle, CURLcode *code, enum reason reason);
void transfer_abort(struct easy *easy, CURL *handle, CURLcode *code); /* by the progress callback */
/* The program's progress callback, as libcurl calls it while nothing moves; true if it aborts. */
bool transfer_progress_aborts(const struct easy *easy);
bool transfer_has_progress(const struct easy *easy);
int transfer_progress(const struct easy *easy, curl_off_t down, curl_off_t got, curl_off_t up, curl_off_t sent);
/* Puts the program's own values where an attempt has others. */
void transfer_restore_options(struct easy *easy, CURL *handle);

/* curl_perform.c */
CURLcode perform(struct easy *easy, CURL *handle, const struct config *config);

static inline CURL *handle_of(struct easy *easy)
{
	return atomic_load_explicit(&easy->record.key, memory_order_relaxed);
}

#endif
