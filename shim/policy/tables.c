/* The rows themselves. Their order is the design's, except where a comment says why not. */
#include <errno.h>
#include <netdb.h>

#include <curl/curl.h>

#include "policy/tables.h"

#define COUNT(rows) (sizeof(rows) / sizeof(rows)[0])

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
	E(EFBIG, NEVER, PERMANENT, "File too large"),
	E(EROFS, NEVER, PERMANENT, "Read-only file system"),
	E(EISDIR, NEVER, PERMANENT, "Is a directory"),
	E(EBUSY, NEVER, PERMANENT, "Device or resource busy"),
	E(ENOLCK, NEVER, PERMANENT, "No locks available"),
	E(ENXIO, NEVER, PERMANENT, "No such device or address"),
	E(ENAMETOOLONG, NEVER, PERMANENT, "File name too long"),
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

#define C(name, rule) {name, #name, rule, 0}
#define CAPPED(name, rule, attempts) {name, #name, rule, attempts}

static const struct curl_row curl_rows[] = {
	CAPPED(CURLE_COULDNT_RESOLVE_HOST, UNSENT, 2),
	CAPPED(CURLE_COULDNT_RESOLVE_PROXY, UNSENT, 2),
	C(CURLE_COULDNT_CONNECT, UNSENT),
	C(CURLE_SSL_CONNECT_ERROR, UNSENT),
	C(CURLE_QUIC_CONNECT_ERROR, UNSENT),
	C(CURLE_PROXY, UNSENT),
	C(CURLE_OPERATION_TIMEDOUT, EITHER),
	C(CURLE_GOT_NOTHING, SENT),
	C(CURLE_SEND_ERROR, SENT),
	C(CURLE_RECV_ERROR, SENT),
	C(CURLE_HTTP2, EITHER), /* the connection: it may have been unusable before the request */
	C(CURLE_HTTP2_STREAM, SENT),
	C(CURLE_HTTP3, SENT),
	C(CURLE_PARTIAL_FILE, SENT),
	C(CURLE_SEND_FAIL_REWIND, REFUSED),
	C(CURLE_PEER_FAILED_VERIFICATION, REFUSED),
	C(CURLE_SSL_CERTPROBLEM, REFUSED),
	C(CURLE_SSL_CACERT_BADFILE, REFUSED),
	C(CURLE_SSL_ISSUER_ERROR, REFUSED),
	C(CURLE_SSL_PINNEDPUBKEYNOTMATCH, REFUSED),
	C(CURLE_SSL_INVALIDCERTSTATUS, REFUSED),
	C(CURLE_SSL_CLIENTCERT, REFUSED),
	C(CURLE_URL_MALFORMAT, REFUSED),
	C(CURLE_UNSUPPORTED_PROTOCOL, REFUSED),
	C(CURLE_ABORTED_BY_CALLBACK, REFUSED),
	C(CURLE_WRITE_ERROR, REFUSED),
	C(CURLE_READ_ERROR, REFUSED),
	/* Without a rule of their own. */
	C(CURLE_FAILED_INIT, NAMED),
	C(CURLE_WEIRD_SERVER_REPLY, NAMED),
	C(CURLE_REMOTE_ACCESS_DENIED, NAMED),
	C(CURLE_FTP_COULDNT_RETR_FILE, NAMED),
	C(CURLE_HTTP_RETURNED_ERROR, NAMED),
	C(CURLE_UPLOAD_FAILED, NAMED),
	C(CURLE_OUT_OF_MEMORY, NAMED),
	C(CURLE_RANGE_ERROR, NAMED),
	C(CURLE_BAD_DOWNLOAD_RESUME, NAMED),
	C(CURLE_FILE_COULDNT_READ_FILE, NAMED),
	C(CURLE_TOO_MANY_REDIRECTS, NAMED),
	C(CURLE_BAD_FUNCTION_ARGUMENT, NAMED),
	C(CURLE_SSL_CIPHER, NAMED),
	C(CURLE_BAD_CONTENT_ENCODING, NAMED),
	C(CURLE_FILESIZE_EXCEEDED, NAMED),
	C(CURLE_LOGIN_DENIED, NAMED),
	C(CURLE_REMOTE_FILE_NOT_FOUND, NAMED),
	C(CURLE_QUOTE_ERROR, NAMED),
	C(CURLE_INTERFACE_FAILED, NAMED),
	C(CURLE_AUTH_ERROR, NAMED),
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

const struct errno_row *table_errno(int error)
{
	for (size_t i = 0; i < COUNT(errno_rows); i++)
		if (errno_rows[i].code == error)
			return &errno_rows[i];
	return NULL;
}

const struct eai_row *table_eai(int code)
{
	for (size_t i = 0; i < COUNT(eai_rows); i++)
		if (eai_rows[i].code == code)
			return &eai_rows[i];
	return NULL;
}

const struct curl_row *table_curl(int code)
{
	for (size_t i = 0; i < COUNT(curl_rows); i++)
		if (curl_rows[i].code == code)
			return &curl_rows[i];
	return NULL;
}

/* What the proxy, or SOCKS itself, cannot do for this request. */
static const short permanent_proxy_errors[] = {
	CURLPX_BAD_ADDRESS_TYPE,
	CURLPX_BAD_VERSION,
	CURLPX_GSSAPI,
	CURLPX_GSSAPI_PERMSG,
	CURLPX_GSSAPI_PROTECTION,
	CURLPX_IDENTD,
	CURLPX_IDENTD_DIFFER,
	CURLPX_LONG_HOSTNAME,
	CURLPX_LONG_PASSWD,
	CURLPX_LONG_USER,
	CURLPX_NO_AUTH,
	CURLPX_REPLY_ADDRESS_TYPE_NOT_SUPPORTED,
	CURLPX_REPLY_COMMAND_NOT_SUPPORTED,
	CURLPX_REPLY_NOT_ALLOWED,
	CURLPX_UNKNOWN_MODE,
	CURLPX_USER_REJECTED,
};

bool table_proxy_permanent(int proxy_error)
{
	for (size_t i = 0; i < COUNT(permanent_proxy_errors); i++)
		if (permanent_proxy_errors[i] == proxy_error)
			return true;
	return false;
}

const char *table_http_reason(int status)
{
	for (size_t i = 0; i < COUNT(http_rows); i++)
		if (http_rows[i].code == status)
			return http_rows[i].message;
	return "";
}
