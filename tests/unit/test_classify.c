/* The classification table of section 1 of the design, row by row. */
#include <errno.h>
#include <netdb.h>

#include "support.h"

#define NET CATEGORY_NETWORK
#define RES CATEGORY_RESOURCE
#define TRA CATEGORY_TRANSIENT
#define PERM CATEGORY_PERMANENT

static void check_class(const char *row, const struct class *class, bool retried, enum category category)
{
	CHECK_INT(row, class->retried, retried);
	CHECK_TEXT(row, category_name(class->category), category_name(category));
	bool high = category == RES || category == PERM;
	CHECK_TEXT(row, severity_name(class->severity), high ? "high" : "medium");
}

/* ---- connect ---------------------------------------------------------------------------------- */

enum { SITUATIONS = 5 };

static struct class classify_connect(int situation, int error)
{
	static const char *const modes[SITUATIONS] = {"busy", "busy", "busy", "all", "off"};
	struct config config = config_with("RETRY_UNIX", modes[situation]);
	struct failure failure = {.source = SOURCE_CONNECT, .code = error, .retry_after_ms = -1,
	                          .bound_socket = situation == 1, .unix_socket = situation >= 2};
	return classify(&config, &failure);
}

static const struct connect_row {
	const char *symbol;
	int code;
	/* One letter each for: IP, IP and bound, unix by RETRY_UNIX=busy, all, off.
	 * R retried, - never retried, n not a failure. */
	char treatment[SITUATIONS + 1];
	enum category category;
	bool evidence;
} connect_rows[] = {
	{"ECONNREFUSED", ECONNREFUSED, "RR-R-", NET, true},
	{"ETIMEDOUT", ETIMEDOUT, "RR-R-", NET, true},
	{"ECONNRESET", ECONNRESET, "RR-R-", NET, true},
	{"ECONNABORTED", ECONNABORTED, "RR-R-", NET, true},
	{"EHOSTUNREACH", EHOSTUNREACH, "RR-R-", NET, true},
	{"ENETUNREACH", ENETUNREACH, "RR-R-", NET, true},
	{"ENETDOWN", ENETDOWN, "RR-R-", NET, true},
	{"EHOSTDOWN", EHOSTDOWN, "RR-R-", NET, true},
	{"EAGAIN", EAGAIN, "--RR-", RES, false},
	{"EADDRNOTAVAIL", EADDRNOTAVAIL, "R----", RES, false},
	{"ENOBUFS", ENOBUFS, "RR-R-", RES, false},
	{"ENOMEM", ENOMEM, "RR-R-", RES, false},
	{"ENOENT", ENOENT, "---R-", TRA, false},
	{"EINTR", EINTR, "nnnnn", TRA, false},
	{"EINPROGRESS", EINPROGRESS, "nnnnn", TRA, false},
	{"EALREADY", EALREADY, "nnnnn", TRA, false},
	{"EISCONN", EISCONN, "nnnnn", TRA, false},
	{"EACCES", EACCES, "-----", PERM, false},
	{"EPERM", EPERM, "-----", PERM, false},
	{"EINVAL", EINVAL, "-----", PERM, false},
	{"EAFNOSUPPORT", EAFNOSUPPORT, "-----", PERM, false},
	{"EBADF", EBADF, "-----", PERM, false},
	{"EFAULT", EFAULT, "-----", PERM, false},
	{"ENOTSOCK", ENOTSOCK, "-----", PERM, false},
	{"EADDRINUSE", EADDRINUSE, "-----", PERM, false},
};

static void connect_by_errno(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(connect_rows); i++) {
		const struct connect_row *row = &connect_rows[i];
		for (int situation = 0; situation < SITUATIONS; situation++) {
			char name[40];
			snprintf(name, sizeof name, "%s/%d", row->symbol, situation);
			struct class class = classify_connect(situation, row->code);
			char treatment = row->treatment[situation];
			enum category category = treatment == '-' ? PERM : row->category;
			/* The server of a unix socket has not started: no network is at fault. */
			if (row->code == ECONNREFUSED && situation == 3)
				category = TRA;
			check_class(name, &class, treatment == 'R', category);
			CHECK_INT(name, class.not_a_failure, treatment == 'n');
			CHECK_INT(name, class.connection_evidence, row->evidence && treatment == 'R');
			CHECK_INT(name, class.attempt_cap, 0);
			CHECK_INT(name, class.fresh_connection, false);
			CHECK_TEXT(name, class.symbol, row->symbol);
		}
	}
}

static void errno_outside_the_table_is_permanent(void **state)
{
	(void)state;
	for (int error = -2; error < 600; error++) {
		bool listed = false;
		for (size_t i = 0; i < COUNT(connect_rows); i++)
			listed = listed || connect_rows[i].code == error;
		for (int situation = 0; !listed && situation < SITUATIONS; situation++) {
			struct class class = classify_connect(situation, error);
			check_class(class.symbol, &class, false, PERM);
			CHECK_INT(class.symbol, class.not_a_failure || class.connection_evidence, false);
		}
	}
}

static void errno_symbols(void **state)
{
	static const struct {
		int error;
		size_t size;
		const char *symbol;
	} rows[] = {
		{ECONNREFUSED, 40, "ECONNREFUSED"}, {EMFILE, 40, "EMFILE"},       {99999, 40, "errno 99999"},
		{0, 40, "errno 0"},                 {-1, 40, "errno -1"},         {INT32_MAX, 40, "errno 2147483647"},
		{INT32_MIN, 40, "errno -2147483648"}, {ECONNREFUSED, 13, "ECONNREFUSED"}, {ECONNREFUSED, 12, ""},
		{99999, 12, "errno 99999"},         {99999, 11, ""},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char out[40];
		memset(out, 'x', sizeof out);
		errno_symbol(rows[i].error, out, rows[i].size);
		CHECK_TEXT(rows[i].symbol, out, rows[i].symbol);
		for (size_t at = rows[i].size; at < sizeof out; at++)
			CHECK_INT("behind the end", out[at], 'x');
	}
}

/* Symbols and words are the C library's own, for every errno that has a name here. */
static void errno_words(void **state)
{
	struct config config = config_default();
	int named = 0;
	(void)state;
	for (int error = 0; error < 200; error++) {
		struct failure failure = {.source = SOURCE_CONNECT, .code = error};
		struct class class = classify(&config, &failure);
		if (strncmp(class.symbol, "errno ", 6) == 0)
			continue;
		named++;
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 32)
		CHECK_TEXT(class.symbol, class.message, strerrordesc_np(error));
		CHECK_TEXT(class.symbol, class.symbol, strerrorname_np(error));
#endif
	}
	CHECK_RANGE("named", named, COUNT(connect_rows), 199);
}

static void errno_that_is_no_failure(void **state)
{
	(void)state;
	for (int error = -1; error < 200; error++) {
		bool none = error == EINTR || error == EINPROGRESS || error == EALREADY || error == EISCONN;
		char row[24];
		snprintf(row, sizeof row, "errno %d", error);
		CHECK_INT(row, errno_is_failure(error), !none);
	}
}

/* ---- getaddrinfo ------------------------------------------------------------------------------ */

static void resolve_by_eai(void **state)
{
	static const struct {
		const char *symbol;
		int code, system_errno;
		bool retried;
		enum category category;
		bool evidence;
	} rows[] = {
		{"EAI_AGAIN", EAI_AGAIN, 0, true, NET, true},
		{"EAI_MEMORY", EAI_MEMORY, 0, true, RES, false},
		{"ECONNREFUSED", EAI_SYSTEM, ECONNREFUSED, true, NET, true},
		{"ETIMEDOUT", EAI_SYSTEM, ETIMEDOUT, true, NET, true},
		{"ENETUNREACH", EAI_SYSTEM, ENETUNREACH, true, NET, true},
		{"ENOMEM", EAI_SYSTEM, ENOMEM, true, RES, false},
		{"ENOENT", EAI_SYSTEM, ENOENT, false, PERM, false},
		{"EAGAIN", EAI_SYSTEM, EAGAIN, false, PERM, false},
		{"EMFILE", EAI_SYSTEM, EMFILE, false, PERM, false},
		{"EINTR", EAI_SYSTEM, EINTR, false, PERM, false},
		{"errno 0", EAI_SYSTEM, 0, false, PERM, false},
		{"EAI_NONAME", EAI_NONAME, 0, false, PERM, false},
		{"EAI_FAIL", EAI_FAIL, 0, false, PERM, false},
		{"EAI_FAMILY", EAI_FAMILY, 0, false, PERM, false},
		{"EAI_SOCKTYPE", EAI_SOCKTYPE, 0, false, PERM, false},
		{"EAI_SERVICE", EAI_SERVICE, 0, false, PERM, false},
		{"EAI_BADFLAGS", EAI_BADFLAGS, 0, false, PERM, false},
		{"EAI_OVERFLOW", EAI_OVERFLOW, 0, false, PERM, false},
		{"EAI_NODATA", EAI_NODATA, 0, false, PERM, false},
		{"EAI_ADDRFAMILY", EAI_ADDRFAMILY, 0, false, PERM, false},
		{"EAI -4242", -4242, 0, false, PERM, false},
		{"EAI 0", 0, 0, false, PERM, false},
		/* The errno counts beside EAI_SYSTEM only. */
		{"EAI_NONAME", EAI_NONAME, ECONNREFUSED, false, PERM, false},
	};
	(void)state;
	struct config config = config_with("RETRY_UNIX", "all");
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct failure failure = {.source = SOURCE_RESOLVE, .code = rows[i].code, .system_errno = rows[i].system_errno};
		struct class class = classify(&config, &failure);
		check_class(rows[i].symbol, &class, rows[i].retried, rows[i].category);
		CHECK_INT(rows[i].symbol, class.connection_evidence, rows[i].evidence);
		CHECK_INT(rows[i].symbol, class.not_a_failure, false);
		CHECK_INT(rows[i].symbol, class.attempt_cap, 0);
		CHECK_TEXT(rows[i].symbol, class.symbol, rows[i].symbol);
		CHECK_INT(rows[i].symbol, class.message[0] != '\0', class.symbol[0] == 'E' && class.symbol[3] != ' ');
	}
}

/* ---- names ------------------------------------------------------------------------------------ */

static void names_and_severities(void **state)
{
	static const struct {
		enum category category;
		const char *name;
	} rows[] = {{CATEGORY_NETWORK, "network"},     {CATEGORY_RATE_LIMIT, "rate_limit"},
	            {CATEGORY_RESOURCE, "resource"},   {CATEGORY_TRANSIENT, "transient"},
	            {CATEGORY_PERMANENT, "permanent"}};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		CHECK_TEXT(rows[i].name, category_name(rows[i].category), rows[i].name);
	CHECK_TEXT("medium", severity_name(SEVERITY_MEDIUM), "medium");
	CHECK_TEXT("high", severity_name(SEVERITY_HIGH), "high");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connect_by_errno), cmocka_unit_test(errno_outside_the_table_is_permanent),
		cmocka_unit_test(errno_symbols),    cmocka_unit_test(errno_words),
		cmocka_unit_test(errno_that_is_no_failure), cmocka_unit_test(resolve_by_eai),
		cmocka_unit_test(names_and_severities),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
