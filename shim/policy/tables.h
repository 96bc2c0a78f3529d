/* The classification of section 1 of the design as tables, for the policy room alone. A code that has
 * no row is never retried. Fixed arrays, not pointers: those would be relocated in every process. */
#ifndef RETRYSHIM_POLICY_TABLES_H
#define RETRYSHIM_POLICY_TABLES_H

#include "retryshim/policy.h"

enum errno_rule {
	NEVER,
	ALWAYS,
	IF_UNIX,          /* unix sockets only */
	IF_UNBOUND,       /* sockets without bind(2) */
	BY_UNIX_MODE,     /* retried on IP; on unix sockets by RETRY_UNIX=all, then transient */
	IF_UNIX_MODE_ALL, /* unix sockets, by RETRY_UNIX=all */
	NOT_A_FAILURE,
};

struct errno_row {
	int code;
	char symbol[16];
	enum errno_rule rule;
	enum category category;
	char message[44]; /* own words: strerror(3) may allocate, and speaks the user's language */
};

struct eai_row {
	int code;
	char symbol[16];
	bool retried;
	enum category category;
	char message[44];
};

enum curl_rule {
	UNSENT,    /* retried: the connection never stood; a redirect may have gone before, the hook knows */
	EITHER,    /* retried: before or after the request, the hook knows */
	SENT,      /* retried if it may be repeated: bytes were on their way */
	REFUSED,   /* never, whatever else is known */
	NAMED,     /* never by itself; a server's 4yz reply may have caused it */
};

struct curl_row {
	int code;
	char symbol[32];
	enum curl_rule rule;
	int attempt_cap; /* 0 = none */
};

struct http_row {
	int code;
	char message[28];
};

/* Each NULL for a code without a row. */
const struct errno_row *table_errno(int error);
const struct eai_row *table_eai(int code);
const struct curl_row *table_curl(int code);
bool table_proxy_permanent(int proxy_error); /* CURLPX_*: another attempt ends no better */
const char *table_http_reason(int status); /* "" if it has none */

#endif
