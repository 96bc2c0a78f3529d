/* The classification of section 1 of the design, as tables. */
#include <errno.h>
#include <netdb.h>
#include <string.h>

#include <curl/curl.h>

#include "retryshim/policy.h"

/* When a row lets a failure be retried. Rows that are missing are never retried. */
enum rule {
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
	enum rule rule;
	enum category category;
	char message[44]; /* own words: strerror(3) may allocate, and speaks the user's language */
};

#define E(name, rule, category, message) {name, #name, rule, CATEGORY_##category, message}

static const struct errno_row errno_rows[] = {
	/* First, since every healthy non-blocking connect looks here: errno_is_failure(). */
	E(EINTR, NOT_A_FAILURE, TRANSIENT, "Interrupted system call"),
	E(EINPROGRESS, NOT_A_FAILURE, TRANSIENT, "Operation now in progress"),
	E(EALREADY, NOT_A_FAILURE, TRANSIENT, "Operation already in progress"),
	E(EISCONN, NOT_A_FAILURE, TRANSIENT, "Transport endpoint is already connected"),
	E(ECONNREFUSED, BY_UNIX_MODE, NETWORK, "Connection refused"),
	E(ETIMEDOUT, ALWAYS, NETWORK, "Connection timed out"),
	E(ECONNRESET, ALWAYS, NETWORK, "Connection reset by peer"),
	E(ECONNABORTED, ALWAYS, NETWORK, "Software caused connection abort"),
	E(EHOSTUNREACH, ALWAYS, NETWORK, "No route to host"),
	E(ENETUNREACH, ALWAYS, NETWORK, "Network is unreachable"),
	E(ENETDOWN, ALWAYS, NETWORK, "Network is down"),
	E(EHOSTDOWN, ALWAYS, NETWORK, "Host is down"),
	E(EAGAIN, IF_UNIX, RESOURCE, "Resource temporarily unavailable"),
	E(EADDRNOTAVAIL, IF_UNBOUND, RESOURCE, "Cannot assign requested address"),
	E(ENOBUFS, ALWAYS, RESOURCE, "No buffer space available"),
	E(ENOMEM, ALWAYS, RESOURCE, "Cannot allocate memory"),
	E(ENOENT, IF_UNIX_MODE_ALL, TRANSIENT, "No such file or directory"),
	E(EACCES, NEVER, PERMANENT, "Permission denied"),
	E(EPERM, NEVER, PERMANENT, "Operation not permitted"),
	E(EINVAL, NEVER, PERMANENT, "Invalid argument"),
	E(EAFNOSUPPORT, NEVER, PERMANENT, "Address family not supported by protocol"),
	E(EBADF, NEVER, PERMANENT, "Bad file descriptor"),
	E(EFAULT, NEVER, PERMANENT, "Bad address"),
	E(ENOTSOCK, NEVER, PERMANENT, "Socket operation on non-socket"),
	E(EADDRINUSE, NEVER, PERMANENT, "Address already in use"),
	/* Rows below are named for the reader of a diagnostic only. */
	E(ENOTCONN, NEVER, PERMANENT, "Transport endpoint is not connected"),
	E(EPROTOTYPE, NEVER, PERMANENT, "Protocol wrong type for socket"),
	E(EPROTO, NEVER, PERMANENT, "Protocol error"),
	E(EOPNOTSUPP, NEVER, PERMANENT, "Operation not supported"),
	E(EPIPE, NEVER, PERMANENT, "Broken pipe"),
	E(EIO, NEVER, PERMANENT, "Input/output error"),
	E(EMFILE, NEVER, PERMANENT, "Too many open files"),
	E(ENFILE, NEVER, PERMANENT, "Too many open files in system"),
	E(ENOSYS, NEVER, PERMANENT, "Function not implemented"),
	E(ENOTDIR, NEVER, PERMANENT, "Not a directory"),
	E(ELOOP, NEVER, PERMANENT, "Too many levels of symbolic links"),
	E(ENODEV, NEVER, PERMANENT, "No such device"),
	E(ENONET, NEVER, PERMANENT, "Machine is not on the network"),
	/* Met by files that diagnostics go to. */
	E(ENOSPC, NEVER, PERMANENT, "No space left on device"),
	E(EDQUOT, NEVER, PERMANENT, "Disk quota exceeded"),
	E(EROFS, NEVER, PERMANENT, "Read-only file system"),
	E(EISDIR, NEVER, PERMANENT, "Is a directory"),
	E(ENXIO, NEVER, PERMANENT, "No such device or address"),
	E(ENAMETOOLONG, NEVER, PERMANENT, "File name too long"),
};

struct eai_row {
	int code;
	char symbol[16];
	bool retried;
	enum category category;
	char message[44];
};

static const struct eai_row eai_rows[] = {
	{EAI_AGAIN, "EAI_AGAIN", true, CATEGORY_NETWORK, "Temporary failure in name resolution"},
	{EAI_MEMORY, "EAI_MEMORY", true, CATEGORY_RESOURCE, "Memory allocation failure"},
	{EAI_NONAME, "EAI_NONAME", false, CATEGORY_PERMANENT, "Name or service not known"},
	{EAI_FAIL, "EAI_FAIL", false, CATEGORY_PERMANENT, "Non-recoverable failure in name resolution"},
	{EAI_FAMILY, "EAI_FAMILY", false, CATEGORY_PERMANENT, "Address family not supported"},
	{EAI_SOCKTYPE, "EAI_SOCKTYPE", false, CATEGORY_PERMANENT, "Socket type not supported"},
	{EAI_SERVICE, "EAI_SERVICE", false, CATEGORY_PERMANENT, "Service not supported for socket type"},
	{EAI_BADFLAGS, "EAI_BADFLAGS", false, CATEGORY_PERMANENT, "Bad value for flags"},
	{EAI_OVERFLOW, "EAI_OVERFLOW", false, CATEGORY_PERMANENT, "Argument buffer overflow"},
#ifdef EAI_NODATA
	{EAI_NODATA, "EAI_NODATA", false, CATEGORY_PERMANENT, "No address associated with hostname"},
	{EAI_ADDRFAMILY, "EAI_ADDRFAMILY", false, CATEGORY_PERMANENT, "Address family for hostname not supported"},
#endif
};

struct curl_row {
	int code;
	char symbol[32];
	bool retried;
	bool perhaps_sent; /* whatever the hook can tell */
	bool evidence;     /* connection level, says something about the destination */
	int attempt_cap;   /* 0 = none */
};

#define C(name, ...) {name, #name, __VA_ARGS__}

/* What is retried. CURLE_OPERATION_TIMEDOUT and the first rows can come before or after the request:
 * that is the hook's to say. The rows marked as perhaps sent come when bytes were on their way. */
static const struct curl_row curl_rows[] = {
	C(CURLE_COULDNT_RESOLVE_HOST, true, false, true, 2),
	C(CURLE_COULDNT_RESOLVE_PROXY, true, false, true, 2),
	C(CURLE_COULDNT_CONNECT, true, false, true, 0),
	C(CURLE_SSL_CONNECT_ERROR, true, false, true, 0),
	C(CURLE_QUIC_CONNECT_ERROR, true, false, true, 0),
	C(CURLE_PROXY, true, false, true, 0),
	C(CURLE_OPERATION_TIMEDOUT, true, false, false, 0),
	C(CURLE_GOT_NOTHING, true, true, false, 0),
	C(CURLE_SEND_ERROR, true, true, false, 0),
	C(CURLE_RECV_ERROR, true, true, false, 0),
	C(CURLE_HTTP2, true, true, false, 0),
	C(CURLE_HTTP2_STREAM, true, true, false, 0),
	C(CURLE_HTTP3, true, true, false, 0),
	C(CURLE_PARTIAL_FILE, true, true, false, 0),
	C(CURLE_SEND_FAIL_REWIND, false, false, false, 0),
	C(CURLE_PEER_FAILED_VERIFICATION, false, false, false, 0),
	C(CURLE_SSL_CERTPROBLEM, false, false, false, 0),
	C(CURLE_SSL_CACERT_BADFILE, false, false, false, 0),
	C(CURLE_SSL_ISSUER_ERROR, false, false, false, 0),
	C(CURLE_SSL_PINNEDPUBKEYNOTMATCH, false, false, false, 0),
	C(CURLE_SSL_INVALIDCERTSTATUS, false, false, false, 0),
	C(CURLE_SSL_CLIENTCERT, false, false, false, 0),
	C(CURLE_URL_MALFORMAT, false, false, false, 0),
	C(CURLE_UNSUPPORTED_PROTOCOL, false, false, false, 0),
	C(CURLE_ABORTED_BY_CALLBACK, false, false, false, 0),
	C(CURLE_WRITE_ERROR, false, false, false, 0),
	C(CURLE_READ_ERROR, false, false, false, 0),
	/* Rows below are named for the reader of a diagnostic only. */
	C(CURLE_FAILED_INIT, false, false, false, 0),
	C(CURLE_WEIRD_SERVER_REPLY, false, false, false, 0),
	C(CURLE_REMOTE_ACCESS_DENIED, false, false, false, 0),
	C(CURLE_FTP_COULDNT_RETR_FILE, false, false, false, 0),
	C(CURLE_HTTP_RETURNED_ERROR, false, false, false, 0),
	C(CURLE_UPLOAD_FAILED, false, false, false, 0),
	C(CURLE_OUT_OF_MEMORY, false, false, false, 0),
	C(CURLE_RANGE_ERROR, false, false, false, 0),
	C(CURLE_BAD_DOWNLOAD_RESUME, false, false, false, 0),
	C(CURLE_FILE_COULDNT_READ_FILE, false, false, false, 0),
	C(CURLE_TOO_MANY_REDIRECTS, false, false, false, 0),
	C(CURLE_BAD_FUNCTION_ARGUMENT, false, false, false, 0),
	C(CURLE_SSL_CIPHER, false, false, false, 0),
	C(CURLE_BAD_CONTENT_ENCODING, false, false, false, 0),
	C(CURLE_FILESIZE_EXCEEDED, false, false, false, 0),
	C(CURLE_LOGIN_DENIED, false, false, false, 0),
	C(CURLE_REMOTE_FILE_NOT_FOUND, false, false, false, 0),
	C(CURLE_QUOTE_ERROR, false, false, false, 0),
	C(CURLE_INTERFACE_FAILED, false, false, false, 0),
	C(CURLE_AUTH_ERROR, false, false, false, 0),
};

struct http_row {
	int code;
	char message[28];
};

/* Reason phrases of RFC 9110, 15.5 and 15.6; RFC 6585; RFC 8470. */
static const struct http_row http_rows[] = {
	{400, "Bad Request"},         {401, "Unauthorized"},        {403, "Forbidden"},
	{404, "Not Found"},           {405, "Method Not Allowed"},  {407, "Proxy Authentication"},
	{408, "Request Timeout"},     {409, "Conflict"},            {410, "Gone"},
	{412, "Precondition Failed"}, {413, "Content Too Large"},   {416, "Range Not Satisfiable"},
	{421, "Misdirected Request"}, {425, "Too Early"},           {429, "Too Many Requests"},
	{500, "Internal Server Error"}, {501, "Not Implemented"},   {502, "Bad Gateway"},
	{503, "Service Unavailable"}, {504, "Gateway Timeout"},     {505, "HTTP Version Not Supported"},
};

#define COUNT(rows) (sizeof(rows) / sizeof(rows)[0])

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

static const struct errno_row *find_errno(int error)
{
	for (size_t i = 0; i < COUNT(errno_rows); i++)
		if (errno_rows[i].code == error)
			return &errno_rows[i];
	return NULL;
}

bool errno_is_failure(int error)
{
	const struct errno_row *row = find_errno(error);
	return row == NULL || row->rule != NOT_A_FAILURE;
}

void errno_symbol(int error, char *out, size_t size)
{
	const struct errno_row *row = find_errno(error);
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
	const struct errno_row *row = find_errno(error);
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
	for (size_t i = 0; i < COUNT(eai_rows); i++) {
		if (eai_rows[i].code != failure->code)
			continue;
		strcpy(class->symbol, eai_rows[i].symbol);
		strcpy(class->message, eai_rows[i].message);
		class->retried = eai_rows[i].retried;
		class->category = eai_rows[i].category;
		class->connection_evidence = eai_rows[i].retried && eai_rows[i].category == CATEGORY_NETWORK;
		return;
	}
	numbered(class->symbol, sizeof class->symbol, "EAI ", failure->code);
}

/* FTP and SMTP say "try again later" with 4yz (RFC 959, 4.2.1; RFC 5321, 4.2.1), whatever CURLcode
 * libcurl makes of it. What the program itself did wrong stays wrong, and so does a certificate. */
static bool transient_reply(const struct failure *failure)
{
	static const int never[] = {
		CURLE_ABORTED_BY_CALLBACK, CURLE_WRITE_ERROR, CURLE_READ_ERROR, CURLE_SEND_FAIL_REWIND, CURLE_URL_MALFORMAT,
		CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CERTPROBLEM, CURLE_SSL_CACERT_BADFILE, CURLE_SSL_ISSUER_ERROR,
		CURLE_SSL_PINNEDPUBKEYNOTMATCH, CURLE_SSL_INVALIDCERTSTATUS, CURLE_SSL_CLIENTCERT,
	};
	for (size_t i = 0; i < COUNT(never); i++)
		if (failure->code == never[i])
			return false;
	return failure->reply_code >= 400 && failure->reply_code <= 499;
}

static void classify_curl(const struct failure *failure, struct class *class)
{
	numbered(class->symbol, sizeof class->symbol, "CURLE_", failure->code);
	for (size_t i = 0; i < COUNT(curl_rows); i++) {
		if (curl_rows[i].code != failure->code)
			continue;
		strcpy(class->symbol, curl_rows[i].symbol);
		class->retried = curl_rows[i].retried;
		class->perhaps_sent = curl_rows[i].perhaps_sent;
		class->connection_evidence = curl_rows[i].evidence && !failure->sent;
		class->attempt_cap = curl_rows[i].attempt_cap;
		class->category = class->retried ? CATEGORY_NETWORK : CATEGORY_PERMANENT;
	}
	if (!transient_reply(failure))
		return;
	class->perhaps_sent = false; /* the server has said how far it got, and the hook has heard it */
	if (!class->retried)
		class->category = CATEGORY_TRANSIENT;
	class->retried = true;
}

static void classify_http(const struct config *config, const struct failure *failure, struct class *class)
{
	numbered(class->symbol, sizeof class->symbol, "HTTP ", failure->code);
	class->perhaps_sent = true; /* who answers has got the request */
	for (size_t i = 0; i < COUNT(http_rows); i++)
		if (http_rows[i].code == failure->code)
			strcpy(class->message, http_rows[i].message);
	/* RFC 9110, 15.5.20 and RFC 8470, 5.2: another connection may be answered otherwise. */
	class->fresh_connection = failure->code == 421 || failure->code == 425;
	class->not_a_failure = failure->code < 400;
	/* 401 and 407 ask for another round of an authentication, whatever is listed. */
	class->retried = status_set_has(&config->http_status, failure->code) && failure->code != 401 && failure->code != 407;
	if (!class->retried && class->fresh_connection) {
		class->retried = true;
		class->attempt_cap = 2;
	}
	if (class->retried)
		class->category = failure->code == 429 ? CATEGORY_RATE_LIMIT : CATEGORY_TRANSIENT;
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
	}
	class.severity = severities[class.category];
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
	case CATEGORY_PERMANENT: break;
	}
	return "permanent";
}

const char *severity_name(enum severity severity) { return severity == SEVERITY_HIGH ? "high" : "medium"; }
