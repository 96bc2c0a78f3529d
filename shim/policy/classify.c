/* From a failure to its class: the rules that the tables' rows name. */
#include <netdb.h>
#include <string.h>

#include <curl/curl.h>

#include "policy/tables.h"

/* "PREFIX N" for a code without a name. */
static void numbered(char *out, size_t size, const char *prefix, int number)
{
	char digits[12];
	size_t at = sizeof digits, used = strlen(prefix);
	unsigned rest = number < 0 ? 0U - (unsigned)number : (unsigned)number;
	digits[--at] = '\0';
	do {
		digits[--at] = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest != 0);
	if (number < 0)
		digits[--at] = '-';
	if (used + sizeof digits - at > size)
		return;
	memcpy(out, prefix, used);
	memcpy(out + used, digits + at, sizeof digits - at);
}

bool errno_is_failure(int error)
{
	const struct errno_row *row = table_errno(error);
	return row == NULL || row->rule != NOT_A_FAILURE;
}

void errno_symbol(int error, char *out, size_t size)
{
	const struct errno_row *row = table_errno(error);
	out[0] = '\0';
	if (row == NULL)
		numbered(out, size, "errno ", error);
	else if (strlen(row->symbol) < size)
		strcpy(out, row->symbol);
}

static void permanent(struct class *class)
{
	class->retried = false;
	class->category = CATEGORY_PERMANENT;
	class->connection_evidence = false; /* what we leave alone must not open a circuit */
}

static void classify_errno(const struct config *config, const struct failure *failure, int error, struct class *class)
{
	const struct errno_row *row = table_errno(error);
	errno_symbol(error, class->symbol, sizeof class->symbol);
	if (row == NULL)
		return;
	bool all = config->unix_mode == UNIX_ALL;
	class->category = row->category;
	strcpy(class->message, row->message);
	class->connection_evidence = row->category == CATEGORY_NETWORK;
	switch (row->rule) {
	case NEVER: break;
	case ALWAYS: class->retried = true; break;
	case IF_UNIX: class->retried = failure->unix_socket; break;
	case IF_UNBOUND: class->retried = !failure->bound_socket && !failure->unix_socket; break;
	case IF_UNIX_MODE_ALL: class->retried = failure->unix_socket && all; break;
	case BY_UNIX_MODE:
		class->retried = !failure->unix_socket || all;
		if (failure->unix_socket)
			class->category = CATEGORY_TRANSIENT;
		break;
	case NOT_A_FAILURE: class->not_a_failure = true; return;
	}
	if (failure->unix_socket && (config->unix_mode == UNIX_OFF || (config->unix_mode == UNIX_BUSY && row->rule != IF_UNIX)))
		class->retried = false;
	if (!class->retried)
		permanent(class);
}

static void classify_resolve(const struct config *config, const struct failure *failure, struct class *class)
{
	if (failure->code == EAI_SYSTEM) {
		/* No socket of the caller's is meant here, so a plain IP one stands for it. */
		struct failure system = {.source = SOURCE_CONNECT, .code = failure->system_errno};
		classify_errno(config, &system, failure->system_errno, class);
		if (class->not_a_failure) /* an interrupted look-up has failed all the same */
			permanent(class);
		class->not_a_failure = false;
		return;
	}
	const struct eai_row *row = table_eai(failure->code);
	numbered(class->symbol, sizeof class->symbol, "EAI ", failure->code);
	if (row == NULL)
		return;
	strcpy(class->symbol, row->symbol);
	strcpy(class->message, row->message);
	class->retried = row->retried;
	class->category = row->category;
	class->connection_evidence = row->retried && row->category == CATEGORY_NETWORK;
}

static void classify_curl(const struct failure *failure, struct class *class)
{
	const struct curl_row *row = table_curl(failure->code);
	enum curl_rule rule = row != NULL ? row->rule : NAMED;
	if (failure->vetoed || (failure->code == CURLE_PROXY && table_proxy_permanent(failure->proxy_error)))
		rule = REFUSED;
	numbered(class->symbol, sizeof class->symbol, "CURLE_", failure->code);
	if (row != NULL) {
		strcpy(class->symbol, row->symbol);
		class->attempt_cap = row->attempt_cap;
	}
	class->retried = rule == UNSENT || rule == EITHER || rule == SENT;
	class->perhaps_sent = rule == SENT;
	/* A broken handshake may be of the program's own settings, a time-out of its own making. */
	class->connection_evidence = !failure->sent && !failure->astray && !failure->connected &&
	                             (failure->code == CURLE_COULDNT_CONNECT || failure->code == CURLE_COULDNT_RESOLVE_HOST);
	/* libcurl may still hold one that is of no use: FTP's and SMTP's 421 closes it (RFC 959, 4.2.1). */
	class->fresh_connection = failure->code == CURLE_HTTP2 || failure->reply_code == 421;
	class->category = class->retried ? CATEGORY_NETWORK : CATEGORY_PERMANENT;
	/* FTP and SMTP say "try again later" with 4yz (RFC 959, 4.2.1; RFC 5321, 4.2.1), whatever CURLcode
	 * libcurl makes of it. The server has said how far it got, and the hook has heard it. */
	if (rule == REFUSED || failure->reply_code < 400 || failure->reply_code > 499)
		return;
	class->perhaps_sent = false;
	if (!class->retried)
		class->category = CATEGORY_TRANSIENT;
	class->retried = true;
}

static void classify_http(const struct config *config, const struct failure *failure, struct class *class)
{
	numbered(class->symbol, sizeof class->symbol, "HTTP ", failure->code);
	class->perhaps_sent = true; /* who answers has got the request */
	strcpy(class->message, table_http_reason(failure->code));
	/* RFC 9110, 15.5.20 and RFC 8470, 5.2: another connection may be answered otherwise. */
	class->fresh_connection = failure->code == 421 || failure->code == 425;
	class->not_a_failure = failure->code < 400;
	class->retried = status_set_has(&config->http_status, failure->code) && !http_is_round(failure->code);
	if (!class->retried && class->fresh_connection) {
		class->retried = true;
		class->attempt_cap = 2;
	}
	if (class->retried)
		class->category = failure->code == 429 ? CATEGORY_RATE_LIMIT : CATEGORY_TRANSIENT;
}

static void classify_command(const struct failure *failure, struct class *class)
{
	numbered(class->symbol, sizeof class->symbol, "exit ", failure->code);
	class->retried = failure->repeatable;
	if (class->retried)
		class->category = CATEGORY_TRANSIENT;
}

struct class classify(const struct config *config, const struct failure *failure)
{
	static const enum severity severities[] = {
		[CATEGORY_NETWORK] = SEVERITY_MEDIUM,   [CATEGORY_RATE_LIMIT] = SEVERITY_MEDIUM,
		[CATEGORY_RESOURCE] = SEVERITY_HIGH,    [CATEGORY_TRANSIENT] = SEVERITY_MEDIUM,
		[CATEGORY_PERMANENT] = SEVERITY_HIGH,
	};
	struct class class = {.category = CATEGORY_PERMANENT};
	switch (failure->source) {
	case SOURCE_CONNECT: classify_errno(config, failure, failure->code, &class); break;
	case SOURCE_RESOLVE: classify_resolve(config, failure, &class); break;
	case SOURCE_CURL: classify_curl(failure, &class); break;
	case SOURCE_HTTP: classify_http(config, failure, &class); break;
	case SOURCE_COMMAND: classify_command(failure, &class); break;
	}
	class.severity = severities[class.category];
	class.reached = (failure->source == SOURCE_HTTP || failure->connected) && !failure->astray;
	return class;
}

/* Switches, not arrays of pointers: those would be relocated in every process at its start. */
const char *category_name(enum category category)
{
	switch (category) {
	case CATEGORY_NETWORK: return "network";
	case CATEGORY_RATE_LIMIT: return "rate_limit";
	case CATEGORY_RESOURCE: return "resource";
	case CATEGORY_TRANSIENT: return "transient";
	case CATEGORY_PERMANENT:
	case CATEGORIES: break;
	}
	return "permanent";
}

const char *severity_name(enum severity severity) { return severity == SEVERITY_HIGH ? "high" : "medium"; }
