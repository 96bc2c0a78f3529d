/* The classification table of section 1 of the design: its rows for libcurl and HTTP. */
#include <curl/curl.h>

#include "support.h"

#define NET CATEGORY_NETWORK
#define TRA CATEGORY_TRANSIENT
#define PERM CATEGORY_PERMANENT

static void check_class(const char *row, const struct class *class, bool retried, enum category category)
{
	CHECK_INT(row, class->retried, retried);
	CHECK_TEXT(row, category_name(class->category), category_name(category));
	CHECK_TEXT(row, severity_name(class->severity), category == PERM ? "high" : "medium");
}

#define CODE(name) #name, name

static const struct {
	const char *symbol;
	int code, attempt_cap;
	bool evidence; /* when the request was not sent; none when it was */
} retried_codes[] = {
	/* request certainly not sent */
	{CODE(CURLE_COULDNT_RESOLVE_HOST), 2, true},
	{CODE(CURLE_COULDNT_RESOLVE_PROXY), 2, false}, /* tells of the proxy; the next three, perhaps of the program's own settings */
	{CODE(CURLE_COULDNT_CONNECT), 0, true},
	{CODE(CURLE_SSL_CONNECT_ERROR), 0, false},
	{CODE(CURLE_QUIC_CONNECT_ERROR), 0, false},
	{CODE(CURLE_PROXY), 0, false},
	/* perhaps sent */
	{CODE(CURLE_OPERATION_TIMEDOUT), 0, false},
	{CODE(CURLE_GOT_NOTHING), 0, false},
	{CODE(CURLE_SEND_ERROR), 0, false},
	{CODE(CURLE_RECV_ERROR), 0, false},
	{CODE(CURLE_HTTP2), 0, false},
	{CODE(CURLE_HTTP2_STREAM), 0, false},
	{CODE(CURLE_HTTP3), 0, false},
	{CODE(CURLE_PARTIAL_FILE), 0, false},
};

static struct class classify_curl(int code, int reply_code, bool sent)
{
	struct config config = config_default();
	struct failure failure = {.source = SOURCE_CURL, .code = code, .reply_code = reply_code, .retry_after_ms = -1, .sent = sent};
	return classify(&config, &failure);
}

static void curl_retried(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(retried_codes); i++)
		for (int sent = 0; sent < 2; sent++) {
			const char *row = retried_codes[i].symbol;
			struct class class = classify_curl(retried_codes[i].code, 0, sent != 0);
			check_class(row, &class, true, NET);
			CHECK_TEXT(row, class.symbol, row);
			CHECK_INT(row, class.attempt_cap, retried_codes[i].attempt_cap);
			CHECK_INT(row, class.connection_evidence, retried_codes[i].evidence && !sent);
			CHECK_INT(row, class.not_a_failure, false);
			CHECK_INT(row, class.fresh_connection, retried_codes[i].code == CURLE_HTTP2);
		}
}

/* Never, whatever a server replied: certificates and trust, URLs, the program's own callbacks. */
static const struct {
	const char *symbol;
	int code;
} never_codes[] = {
	{CODE(CURLE_PEER_FAILED_VERIFICATION)}, {CODE(CURLE_SSL_CERTPROBLEM)},
	{CODE(CURLE_SSL_CACERT_BADFILE)},       {CODE(CURLE_SSL_ISSUER_ERROR)},
	{CODE(CURLE_SSL_PINNEDPUBKEYNOTMATCH)}, {CODE(CURLE_SSL_INVALIDCERTSTATUS)},
	{CODE(CURLE_SSL_CLIENTCERT)},           {CODE(CURLE_URL_MALFORMAT)},
	{CODE(CURLE_ABORTED_BY_CALLBACK)},      {CODE(CURLE_WRITE_ERROR)},
	{CODE(CURLE_READ_ERROR)},               {CODE(CURLE_SEND_FAIL_REWIND)},
};

static void curl_never(void **state)
{
	static const int replies[] = {0, 400, 421, 450, 499};
	(void)state;
	for (size_t i = 0; i < COUNT(never_codes); i++)
		for (size_t reply = 0; reply < COUNT(replies); reply++) {
			struct class class = classify_curl(never_codes[i].code, replies[reply], false);
			check_class(never_codes[i].symbol, &class, false, PERM);
			CHECK_TEXT(never_codes[i].symbol, class.symbol, never_codes[i].symbol);
			CHECK_INT(never_codes[i].symbol, class.connection_evidence, false);
		}
}

/* What libcurl calls CURLE_PROXY is one thing or the other by its CURLPX_* code; a callback's no is final, whatever
 * code libcurl gives it; a connection that the server has closed by 421 is not used again. */
static void curl_particulars(void **state)
{
	static const struct {
		const char *row;
		struct failure failure;
		bool retried, fresh;
	} rows[] = {
		{"proxy, unknown", {.code = CURLE_PROXY}, true, false},
		{"proxy refuses for now", {.code = CURLE_PROXY, .proxy_error = CURLPX_REPLY_CONNECTION_REFUSED}, true, false},
		{"proxy closed", {.code = CURLE_PROXY, .proxy_error = CURLPX_CLOSED}, true, false},
		{"host too long for SOCKS", {.code = CURLE_PROXY, .proxy_error = CURLPX_LONG_HOSTNAME}, false, false},
		{"user rejected", {.code = CURLE_PROXY, .proxy_error = CURLPX_USER_REJECTED}, false, false},
		{"not allowed", {.code = CURLE_PROXY, .proxy_error = CURLPX_REPLY_NOT_ALLOWED}, false, false},
		{"another code", {.code = CURLE_COULDNT_CONNECT, .proxy_error = CURLPX_LONG_HOSTNAME}, true, false},
		{"veto", {.code = CURLE_COULDNT_CONNECT, .vetoed = true}, false, false},
		{"veto of a later command", {.code = CURLE_UPLOAD_FAILED, .reply_code = 450, .vetoed = true}, false, false},
		{"421", {.code = CURLE_UPLOAD_FAILED, .reply_code = 421}, true, true},
		{"425", {.code = CURLE_UPLOAD_FAILED, .reply_code = 425}, true, false},
		{"HTTP/2 connection", {.code = CURLE_HTTP2}, true, true},
	};
	(void)state;
	struct config config = config_default();
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct failure failure = rows[i].failure;
		failure.source = SOURCE_CURL;
		failure.retry_after_ms = -1;
		struct class class = classify(&config, &failure);
		CHECK_INT(rows[i].row, class.retried, rows[i].retried);
		CHECK_INT(rows[i].row, class.category == CATEGORY_PERMANENT, !rows[i].retried);
		CHECK_INT(rows[i].row, class.fresh_connection, rows[i].fresh);
	}
}

static void curl_every_other_code_is_permanent(void **state)
{
	(void)state;
	for (int code = 1; code < CURL_LAST + 50; code++) {
		bool listed = false;
		for (size_t i = 0; i < COUNT(retried_codes); i++)
			listed = listed || retried_codes[i].code == code;
		if (listed)
			continue;
		struct class class = classify_curl(code, 0, false);
		check_class(class.symbol, &class, false, PERM);
		CHECK_INT(class.symbol, strncmp(class.symbol, "CURLE_", 6), 0);
		CHECK_INT(class.symbol, class.connection_evidence, false);
	}
	struct class unknown = classify_curl(4711, 0, false);
	CHECK_TEXT("unknown", unknown.symbol, "CURLE_4711");
}

/* FTP and SMTP: 4yz is transient, 5yz is not, whatever libcurl makes of it. */
static void curl_replies(void **state)
{
	static const struct {
		const char *row;
		int code, reply;
		bool retried;
		enum category category;
	} rows[] = {
		{"421 at login", CURLE_WEIRD_SERVER_REPLY, 421, true, TRA},
		{"450 at RETR", CURLE_FTP_COULDNT_RETR_FILE, 450, true, TRA},
		{"451 at RCPT", CURLE_SEND_ERROR, 451, true, NET},
		{"454 at STARTTLS", CURLE_USE_SSL_FAILED, 454, true, TRA},
		{"first 4yz", CURLE_UPLOAD_FAILED, 400, true, TRA},
		{"last 4yz", CURLE_UPLOAD_FAILED, 499, true, TRA},
		{"below", CURLE_UPLOAD_FAILED, 399, false, PERM},
		{"above", CURLE_UPLOAD_FAILED, 500, false, PERM},
		{"530 at login", CURLE_LOGIN_DENIED, 530, false, PERM},
		{"550 at RETR", CURLE_REMOTE_FILE_NOT_FOUND, 550, false, PERM},
		{"no reply", CURLE_UPLOAD_FAILED, 0, false, PERM},
		{"unknown code", 4711, 450, true, TRA},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct class class = classify_curl(rows[i].code, rows[i].reply, true);
		check_class(rows[i].row, &class, rows[i].retried, rows[i].category);
		CHECK_INT(rows[i].row, class.connection_evidence, false);
		CHECK_INT(rows[i].row, class.attempt_cap, 0);
	}
}

static struct class classify_status(const struct config *config, int status)
{
	struct failure failure = {.source = SOURCE_HTTP, .code = status, .retry_after_ms = -1, .sent = true, .repeatable = true};
	return classify(config, &failure);
}

/* Every status there is, against the default list. */
static void http_by_default(void **state)
{
	static const int listed[] = {408, 429, 500, 502, 503, 504};
	(void)state;
	struct config config = config_default();
	for (int status = 0; status < 1000; status++) {
		char row[32];
		snprintf(row, sizeof row, "HTTP %d", status);
		bool fresh = status == 421 || status == 425, retried = fresh;
		for (size_t i = 0; i < COUNT(listed); i++)
			retried = retried || listed[i] == status;
		enum category category = status == 429 ? CATEGORY_RATE_LIMIT : retried ? TRA : PERM;
		struct class class = classify_status(&config, status);
		check_class(row, &class, retried, category);
		CHECK_TEXT(row, class.symbol, row);
		CHECK_INT(row, class.fresh_connection, fresh);
		CHECK_INT(row, class.attempt_cap, fresh ? 2 : 0);
		CHECK_INT(row, class.not_a_failure, status < 400);
		CHECK_INT(row, class.connection_evidence, false);
	}
}

/* Reason phrases of RFC 9110, 15, for the statuses that are retried. */
static void http_in_words(void **state)
{
	static const struct {
		int status;
		const char *words;
	} rows[] = {{408, "Request Timeout"}, {421, "Misdirected Request"}, {425, "Too Early"}, {429, "Too Many Requests"},
	            {500, "Internal Server Error"}, {502, "Bad Gateway"}, {503, "Service Unavailable"}, {504, "Gateway Timeout"}};
	(void)state;
	struct config config = config_default();
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct class class = classify_status(&config, rows[i].status);
		CHECK_TEXT(class.symbol, class.message, rows[i].words);
	}
}

static void http_by_list(void **state)
{
	static const struct {
		const char *list;
		int status;
		bool retried, fresh;
		int attempt_cap;
	} rows[] = {
		{"404", 404, true, false, 0},     {"404", 503, false, false, 0},
		{"501,505", 505, true, false, 0}, {"400,599", 400, true, false, 0},
		{"400,599", 599, true, false, 0}, {"400,599", 463, false, false, 0},
		{"464", 464, true, false, 0},     {"464", 400, false, false, 0},
		{"404", 425, true, true, 2},      {"404", 421, true, true, 2},
		/* Listed, 421 and 425 may be tried as often as others, but still need a new connection. */
		{"421", 421, true, true, 0},      {"425", 425, true, true, 0},
		{"500", 429, false, false, 0},
		/* Another round of an authentication is no failure of the network, whatever is listed. */
		{"401,407", 401, false, false, 0}, {"401,407", 407, false, false, 0},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct config config = config_with("RETRY_HTTP_STATUS", rows[i].list);
		struct class class = classify_status(&config, rows[i].status);
		CHECK_INT(rows[i].list, class.retried, rows[i].retried);
		CHECK_INT(rows[i].list, class.fresh_connection, rows[i].fresh);
		CHECK_INT(rows[i].list, class.attempt_cap, rows[i].attempt_cap);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(curl_retried), cmocka_unit_test(curl_never),
		cmocka_unit_test(curl_particulars), cmocka_unit_test(curl_every_other_code_is_permanent), cmocka_unit_test(curl_replies),
		cmocka_unit_test(http_by_default), cmocka_unit_test(http_by_list), cmocka_unit_test(http_in_words),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
