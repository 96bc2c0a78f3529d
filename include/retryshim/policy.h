/* Policy: what to do about a failure.
 *
 * Everything here is pure: no clock, no I/O, no globals that change, no call that can block or
 * allocate. Time (nanoseconds of CLOCK_MONOTONIC, by convention) and random bits are arguments, so
 * every rule can be tested to the bit and a simulation runs the code that ships. Safe in signal
 * handlers and after vfork.
 */
#ifndef RETRYSHIM_POLICY_H
#define RETRYSHIM_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "retryshim/config.h"

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)

/* ---- match: hosts and programs to take or skip ------------------------------------------------ */

enum { HOST_NAME_MAX_BYTES = 256, TARGET_TEXT_MAX = 300, TARGET_ADDRESSES = 8 };

/* How it gets there. */
enum way {
	WAY_DIRECT,
	WAY_OTHER,   /* by a proxy, from an interface, to another address than its name's: way_hash tells which */
	WAY_LOOK_UP, /* only its name is asked for */
	WAY_COMMAND, /* it is no host: a command is run, `name` is its own */
};

/* Where an operation goes. Filled by a hook with what it knows; the rest stays zero. */
struct target {
	bool is_unix;
	bool has_address;
	uint64_t way_hash;
	enum way way;        /* the same host by another way is another destination to the host's processes */
	uint8_t address[16]; /* IPv6, or IPv4 in its mapped form ::ffff:a.b.c.d; network order */
	uint16_t port;       /* host order; 0 = unknown */
	char name[HOST_NAME_MAX_BYTES]; /* host name, or the unix socket's path; "" = unknown */
	/* Where only the name is known: the addresses that it was last looked up to. A pattern matches if
	 * it matches one of them. */
	int candidates;
	uint8_t candidate[TARGET_ADDRESSES][16];
};

/* Sets the address from text in either family; brackets and an IPv6 zone are allowed.
 * False, target untouched, if the text is no address. */
bool target_set_address(struct target *target, const char *text);

/* Sets name or address, and port, from a URL's authority. User name, password, path and query are left
 * behind; nothing is set from an authority that is malformed, since a password may stand anywhere. */
void target_set_url(struct target *target, const char *url);

/* Sets name and port from getaddrinfo(3)'s arguments; either may be NULL, the service may be a name. */
void target_set_lookup(struct target *target, const char *node, const char *service);

/* Writes "host:port", "[v6]:port", "unix:PATH" or "command:NAME" for people; the name is preferred to the address.
 * Always terminated; control bytes are shown as '?'. */
void target_format(const struct target *target, char *out, size_t size);

/* True for an IPv4 address in its mapped form. */
bool address_is_v4(const uint8_t address[16]);

/* One pattern list (RETRY_HOSTS): comma-separated name globs (`*`, `?`, case ignored), addresses,
 * CIDR blocks, each with an optional :port ([..] around IPv6), or unix:GLOB. An IPv4 pattern also
 * matches its mapped form. Malformed items match nothing. */
bool match_host(const char *patterns, const struct target *target);

/* True if every item of the list is well-formed. */
bool match_hosts_valid(const char *patterns);

/* True if `name` matches a glob of the comma list (case kept, as file names are). */
bool match_name(const char *globs, const char *name);

/* RETRY_HOSTS and RETRY_SKIP_HOSTS together: skip wins; an empty RETRY_HOSTS takes all. Commands are no hosts. */
bool match_takes_host(const struct config *config, const struct target *target);

/* True if `host` is exempt by no_proxy's list, as libcurl reads it (Curl_check_noproxy in lib/noproxy.c): domains with what is
 * below them, or `*`, by commas or blanks. Networks are not read. */
bool match_no_proxy(const char *list, const char *host);

/* RETRY_FALLBACK: where to go when `target` is given up; false if it names nothing for it. */
bool match_fallback(const struct config *config, const struct target *target, struct target *to);

/* RETRY_PROGRAMS and RETRY_SKIP_PROGRAMS for the program of this short name. */
bool match_takes_program(const struct config *config, const char *program);

/* Case-insensitive: is `token` an item of the comma list? For RETRY_METHODS. */
bool match_token(const char *list, const char *token);

/* ---- classify: what kind of failure is it ----------------------------------------------------- */

enum category { CATEGORY_NETWORK, CATEGORY_RATE_LIMIT, CATEGORY_RESOURCE, CATEGORY_TRANSIENT, CATEGORY_PERMANENT, CATEGORIES };
enum severity { SEVERITY_MEDIUM, SEVERITY_HIGH };

enum source {
	SOURCE_CONNECT, /* code: errno of connect(2) */
	SOURCE_RESOLVE, /* code: EAI_* of getaddrinfo(3); system_errno beside EAI_SYSTEM */
	SOURCE_CURL,    /* code: CURLcode of a transfer */
	SOURCE_HTTP,    /* code: HTTP status of a response */
	SOURCE_COMMAND, /* code: exit status of a command, or 128 and its signal, as shells have it; repeatable tells all */
};

/* One failed attempt in the engine's terms. A hook says what happened; it draws no conclusion. */
struct failure {
	enum source source;
	int code;
	int system_errno;
	int proxy_error;        /* SOURCE_CURL: CURLPX_* beside CURLE_PROXY; 0 = none */
	bool vetoed;            /* SOURCE_CURL: a callback of the program's has said no, whatever libcurl makes of it */
	int reply_code;         /* SOURCE_CURL: last reply of an FTP or SMTP server; 0 = none */
	int64_t retry_after_ms; /* SOURCE_HTTP: what the server asks for; -1 = nothing */
	bool unix_socket;       /* SOURCE_CONNECT: AF_UNIX */
	bool bound_socket;      /* SOURCE_CONNECT: bind(2) came first */
	bool connected;         /* SOURCE_CURL: a connection was made for it */
	bool sent;              /* the server may have seen the request, by what the hook knows */
	bool repeatable;        /* the request may be sent again all the same */
	bool refused;           /* the server has said that it has not acted on the request (RFC 9113, 8.7) */
	bool delivered;         /* the program has got a byte of the answer */
	bool resumable;         /* but the rest of it can be asked for (RETRY_RESUME) */
	bool astray;            /* it was met at another host than the operation's: a redirect has led there */
	bool unrewindable;      /* the request's body cannot be produced again */
};

/* How a failure is treated by the table of the design, before attempts and time are looked at. */
struct class {
	char symbol[40]; /* "ECONNREFUSED", "CURLE_RECV_ERROR", "HTTP 503", "EAI_AGAIN" */
	char message[44]; /* in words; "" where only the caller has them (libcurl's codes) */
	enum category category;
	enum severity severity;
	bool retried;             /* worth another attempt at all */
	bool not_a_failure;       /* EINPROGRESS and its like: hand it on without a word */
	bool perhaps_sent;        /* the failure itself says that the server may have seen the request */
	bool fresh_connection;    /* only on a new connection (HTTP 421, 425; a broken HTTP/2 one) */
	bool connection_evidence; /* it tells that the destination cannot be reached, not of one request */
	bool reached;             /* it tells that the destination can be reached */
	int attempt_cap;          /* attempts that such failures get at most, counted from the first of them;
	                           * 0 = RETRY_MAX_ATTEMPTS alone */
};

struct class classify(const struct config *config, const struct failure *failure);

const char *category_name(enum category category);
const char *severity_name(enum severity severity);

/* False for the answers of connect(2) that are no failure: EINPROGRESS and its like. A few
 * instructions, for the healthy path. */
bool errno_is_failure(int error);

/* errno's symbol ("ECONNREFUSED") into out, "errno N" for one that is not in the table. */
void errno_symbol(int error, char *out, size_t size);

/* What kind of request it is that a failure may have to send again. */
enum protocol {
	PROTOCOL_HTTP,
	PROTOCOL_FILES, /* FTP, SFTP, SCP: a download is judged as GET, an upload as PUT */
	PROTOCOL_MAIL,  /* SMTP: never twice */
	PROTOCOL_OTHER, /* never twice */
};

struct request {
	enum protocol protocol;
	const char *method;
	bool idempotency_key; /* HTTP: it carries one */
	bool side_effects;    /* files: commands beside the transfer, or an upload that appends */
};

/* By the scheme of a URL, in any case; "" counts as HTTP: a transfer without one has not begun. */
enum protocol protocol_of(const char *scheme);

/* Comma list of exit statuses and their ranges ("1,7,100-120"), 1 to 255: is it well-formed, and is this one in it? */
bool statuses_valid(const char *list);
bool statuses_have(const char *list, int status);

/* May the server see this request a second time? RETRY_METHODS, or an Idempotency-Key. */
bool request_repeatable(const struct config *config, const struct request *request);

/* ---- backoff: how long to wait ---------------------------------------------------------------- */

/* The wait before attempt `next_attempt` (2 = the first retry), in nanoseconds. With
 * d = min(RETRY_MAX_DELAY_MS, RETRY_BASE_DELAY_MS * RETRY_MULTIPLIER^(next_attempt - 2)):
 *   full U(0,d)   equal d/2 + U(0,d/2)   none d   factor d*(1 +- f), capped again
 *   decorrelated min(cap, U(base, 3 * previous)), previous = base for the first
 * (AWS Architecture Blog, "Exponential Backoff And Jitter"). `previous_ns`: the delay before this
 * one, 0 = none. `random`: 64 uniform bits. */
int64_t backoff_ns(const struct config *config, int next_attempt, int64_t previous_ns, uint64_t random);

/* The longest that it may be, whatever is drawn. */
int64_t backoff_most_ns(const struct config *config, int next_attempt, int64_t previous_ns);

/* ---- decide: the engine's verdict ------------------------------------------------------------- */

enum reason {
	REASON_NONE,
	REASON_DEADLINE,
	REASON_BUDGET,
	REASON_BREAKER,
	REASON_UNSAFE,
	REASON_REWIND,
	REASON_DELIVERED,
	REASON_RETRY_AFTER,
	REASON_SIGNAL,
	REASONS,
};

enum event {
	EVENT_NONE,
	EVENT_ATTEMPT_FAILED,
	EVENT_SUCCEEDED,
	EVENT_EXHAUSTED,
	EVENT_GIVEN_UP,
	EVENT_NOT_RETRYABLE,
	EVENT_FALLBACK,
};

enum action { ACTION_DELIVER, ACTION_RETRY };

/* Where an operation stands. The engine keeps one for each operation. */
struct progress {
	int attempt;               /* the attempt that just ended, from 1 */
	int64_t deadline_ns;       /* absolute; INT64_MAX = none */
	int64_t previous_delay_ns; /* 0 before the first backoff */
	int capped_retries;        /* granted to failures whose class has an attempt_cap */
};

/* What the host knows of the destination; see host.h. NULL stands for nothing known. */
struct standing {
	bool circuit_open; /* and this operation is not its probe */
	bool no_token;     /* for a backoff that begins now */
	int64_t floor_ns;  /* under every backoff */
	bool has_fallback; /* RETRY_FALLBACK names another address, and it has not been tried */
};

struct verdict {
	enum action action;
	enum event event;   /* what to tell */
	enum reason reason; /* with EVENT_GIVEN_UP */
	struct class class;
	int max_attempts; /* that this failure allows */
	int64_t delay_ns; /* ACTION_RETRY */
	int64_t most_ns;  /* ACTION_RETRY: the longest delay that could have been drawn */
	int64_t at_ns;    /* ACTION_RETRY: absolute instant of the next attempt */
};

/* Judges one failed attempt. The order of the questions, which a reader may hold against the design:
 * no failure at all; never retried; delivered; unsafe; attempts used up; rewind; an open circuit; Retry-After beyond
 * the cap or the deadline; deadline; no token. Where attempts, circuit or tokens end it, and the body can be sent
 * again, a fallback is one more attempt, at once (EVENT_FALLBACK). */
struct verdict decide(const struct config *config, const struct progress *progress, const struct failure *failure,
                      const struct standing *standing, int64_t now_ns, uint64_t random);

/* Absolute deadline of an operation that started at start_ns, bounded by RETRY_TIMEOUT_MS and by the
 * program's own limit (own_ns: a span, 0 = none). INT64_MAX = no bound. */
int64_t deadline_of(const struct config *config, int64_t start_ns, int64_t own_ns);

const char *reason_name(enum reason reason);
const char *event_name(enum event event);

/* ---- metrics: what operators count ------------------------------------------------------------ */

enum metric {
	METRIC_ATTEMPT,   /* a retry that is sent: not the first attempt, not one that another's counts for */
	METRIC_DELAY,     /* how long it was waited for, milliseconds */
	METRIC_RECOVERED, /* an operation that a retry has saved */
	METRIC_EXHAUSTED, /* one that used up its attempts */
	METRIC_GIVEN_UP,  /* one that could not have been retried, for a reason */
	METRICS,
};

const char *metric_name(enum metric metric); /* "RetryAttempt" */
const char *metric_unit(enum metric metric); /* CloudWatch's words: "Count", "Milliseconds" */

/* The metric that an operation's end counts for; METRICS = none. */
enum metric metric_of(enum event event);

/* True if an operation that ends at this attempt, as `event` tells (EVENT_NONE: untold), is to be counted; or, where that is
 * for nothing itself, a permanent error or none, if retries of it may not have been shown yet (metric_of(): METRICS). */
bool metric_is_due(enum event event, int attempt);

/* RETRY_METRICS_NAMESPACE as CloudWatch takes it: other bytes than letters, digits and ".-_/#: " become '_', as does a
 * colon in front. Cut, so that a line holds the longest of everything. */
enum { NAMESPACE_BYTES = 200 };
void metric_namespace(const struct config *config, char out[NAMESPACE_BYTES]);

/* One item of RETRY_METRICS. */
enum sink_kind { SINK_EMF_FILE, SINK_EMF_UDP, SINK_STATSD, SINK_PROM };

struct sink {
	enum sink_kind kind;
	const char *path;    /* of a file; points into the item */
	struct target target; /* of a socket: has_address unless it is given by a name, which only a look-up could turn into one */
};

/* False if the item is malformed. */
bool sink_read(const char *item, struct sink *sink);

/* Walks the comma list: copies its next item, moves *cursor behind it (NULL after the last) and reads it. False if
 * that item is malformed or longer than SINK_BYTES. */
enum { SINK_BYTES = 512 };
bool sink_next(const char **cursor, char item[SINK_BYTES], struct sink *sink);

/* ---- http: the little HTTP that a retry needs ------------------------------------------------- */

/* Status of a header block's first line ("HTTP/1.1 503 ..."), or 0 if it is none. */
int http_status_line(const char *line, size_t length);

/* True for statuses that ask for another round of an authentication, which libcurl conducts. */
bool http_is_round(int status);

/* If the header line is `name` (no colon, any case), returns its value without surrounding blanks
 * and sets *value_length; else NULL. */
const char *http_header_value(const char *line, size_t length, const char *name, size_t *value_length);

/* What a header block says of the representation behind it, as far as resuming it needs to know. */
enum { VALIDATOR_BYTES = 160 };

struct entity {
	int status;
	bool has_etag;
	char etag[VALIDATOR_BYTES];     /* a strong one (RFC 9110, 8.8.3), with its quotes; "" = none, or too long */
	char modified[VALIDATOR_BYTES]; /* Last-Modified; "" = none */
	int64_t modified_s, date_s;     /* the same, and Date, in seconds since 1970; modified_s: -1 = none */
	bool accepts_ranges;            /* Accept-Ranges: bytes */
	bool encoded;                   /* has a Content-Encoding */
	int64_t length;                 /* Content-Length; -1 = none */
	bool has_range;                 /* has a Content-Range */
	int64_t first, last, total;     /* what it says: bytes FIRST-LAST/TOTAL; -1 = not told, or not twice the same */
};

/* wall_s: now, which stands for a Date that is missing. */
void entity_clear(struct entity *entity, int status, int64_t wall_s);
void entity_read_line(struct entity *entity, const char *line, size_t length); /* a header line */

/* True if a broken body of this response may be continued: 200, not encoded, ranges taken, and with a
 * validator that If-Range may carry (RFC 9110, 13.1.5): a strong ETag, or without any ETag a Last-Modified that
 * was a minute old, so that no other version has the same (8.8.2.2 asks for a second). */
bool entity_resumable(const struct entity *entity);

/* What If-Range is to say of a resumable one. */
const char *entity_validator(const struct entity *entity);

/* True if `rest` answers with exactly the bytes of `whole` from `offset` to its end (RFC 9110, 15.3.7). */
bool entity_continues(const struct entity *whole, const struct entity *rest, int64_t offset);

/* The same for a file of an FTP server, which tells sizes and times, and no more: `whole` and `rest` have length
 * (of what is sent) and modified_s, -1 = not known. The file has to be as large as it was, and as old as the program
 * knew; or, where it had not asked, older by a day than the download's start, so that clocks and time zones
 * cannot be what makes it look unchanged. */
bool entity_file_continues(const struct entity *whole, const struct entity *rest, int64_t offset, int64_t start_wall_s);

/* Seconds since 1970 of an HTTP date in any of its three forms (RFC 9110, 5.6.7); false if it is none. */
bool http_date(const char *text, size_t length, int64_t wall_s, int64_t *seconds);

/* A Retry-After value (RFC 9110, 10.2.3): seconds, or an HTTP date in any of its three forms (5.6.7).
 * `wall_s`: now, seconds since 1970. Returns milliseconds from now, 0 for a date that has passed, -1
 * if it is malformed. Saturates instead of overflowing. */
int64_t http_retry_after_ms(const char *value, size_t length, int64_t wall_s);

#endif
