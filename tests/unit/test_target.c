/* Targets: addresses read, "host:port" written; and the two plain list matchers. */
#include "support.h"

static void addresses(void **state)
{
	static const uint8_t v4[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1};
	static const uint8_t v6[16] = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7};
	static const struct {
		const char *text;
		const uint8_t *bytes; /* NULL: no address */
	} rows[] = {
		{"192.0.2.1", v4}, {"::ffff:192.0.2.1", v4}, {"[192.0.2.1]", v4}, {"2001:db8::7", v6}, {"[2001:db8::7]", v6},
		{"2001:DB8:0:0:0:0:0:7", v6}, {"2001:db8::7%eth0", v6}, {"[2001:db8::7%25]", v6},
		{"", NULL}, {"[]", NULL}, {"[", NULL}, {"]", NULL}, {"%eth0", NULL}, {"192.0.2", NULL}, {"192.0.2.256", NULL},
		{"192.0.2.1 ", NULL}, {" 192.0.2.1", NULL}, {"192.0.2.1:80", NULL}, {"[::1]:80", NULL}, {"192.0.2.1%lo", NULL},
		{"192.0.2.1/32", NULL}, {"1::2::3", NULL}, {"host", NULL}, {"0300.0.2.1", NULL}, {"::g", NULL},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct target target, before;
		memset(&target, 0x5a, sizeof target);
		target.has_address = false;
		before = target;
		CHECK_INT(rows[i].text, target_set_address(&target, rows[i].text), rows[i].bytes != NULL);
		CHECK_INT(rows[i].text, target.has_address, rows[i].bytes != NULL);
		const uint8_t *want = rows[i].bytes != NULL ? rows[i].bytes : before.address;
		CHECK_INT(rows[i].text, memcmp(target.address, want, 16), 0);
		CHECK_INT(rows[i].text, target.port, before.port);
	}
}

static void format(void **state)
{
	static const struct {
		const char *name, *address;
		uint16_t port;
		bool is_unix;
		const char *text;
	} rows[] = {
		{"example.org", "", 443, false, "example.org:443"},
		{"example.org", "192.0.2.1", 443, false, "example.org:443"},
		{"example.org", "", 0, false, "example.org"},
		{"", "192.0.2.1", 65535, false, "192.0.2.1:65535"},
		{"", "192.0.2.1", 0, false, "192.0.2.1"},
		{"", "2001:db8::7", 80, false, "[2001:db8::7]:80"},
		{"", "2001:db8::7", 0, false, "[2001:db8::7]"},
		{"", "::ffff:192.0.2.1", 10, false, "192.0.2.1:10"},
		{"", "::", 1, false, "[::]:1"},
		{"2001:db8::7", "", 80, false, "[2001:db8::7]:80"},
		{"", "", 80, false, "?:80"},
		{"", "", 0, false, "?"},
		{"/run/x.sock", "", 0, true, "unix:/run/x.sock"},
		{"/run/x.sock", "192.0.2.1", 80, true, "unix:/run/x.sock"},
		{"", "", 0, true, "unix:"},
		{"a\nb\x01\x7f\x1b[0m", "", 1, false, "a?b???[0m:1"},
		{"/run/\r\n", "", 0, true, "unix:/run/??"},
		{"h\xc3\xb6len", "", 1, false, "h\xc3\xb6len:1"},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct target target = {.port = rows[i].port, .is_unix = rows[i].is_unix};
		snprintf(target.name, sizeof target.name, "%s", rows[i].name);
		if (rows[i].address[0] != '\0')
			assert_true(target_set_address(&target, rows[i].address));
		/* Every size: as much as fits, terminated, nothing behind the end. */
		for (size_t size = 1; size < 40; size++) {
			char out[40], want[40];
			memset(out, 'x', sizeof out);
			snprintf(want, size, "%s", rows[i].text);
			target_format(&target, out, size);
			CHECK_TEXT(rows[i].text, out, want);
			for (size_t at = size; at < sizeof out; at++)
				CHECK_INT(rows[i].text, out[at], 'x');
		}
	}
}

static void longest_target_fits(void **state)
{
	struct target target = {.port = 65535};
	char out[TARGET_TEXT_MAX];
	(void)state;
	memset(target.name, ':', sizeof target.name - 1);
	target_format(&target, out, sizeof out);
	assert_int_equal(strlen(out), 255 + strlen("[]:65535"));
}

static void name_and_token_lists(void **state)
{
	static const struct {
		const char *list, *word;
		bool name, token; /* match_name(), match_token() */
	} rows[] = {
		{"curl", "curl", true, true}, {"curl", "CURL", false, true}, {"CURL", "curl", false, true}, {"curl", "curlx", false, false},
		{"curlx", "curl", false, false}, {"a,b,c", "b", true, true}, {" a , b ", "b", true, true}, {"a,,c", "c", true, true},
		{"c*", "curl", true, false}, {"*", "", true, false}, {"", "", false, false}, {"", "x", false, false}, {",", "", false, false},
		{"a b", "a b", true, true}, {"GET,HEAD", "GET,HEAD", false, false}, {"GET,HEAD", "", false, false},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		CHECK_INT(rows[i].list, match_name(rows[i].list, rows[i].word), rows[i].name);
		CHECK_INT(rows[i].list, match_token(rows[i].list, rows[i].word), rows[i].token);
	}
	CHECK_INT("no list", match_name(NULL, "x") || match_token(NULL, "x") || match_host(NULL, &(struct target){0}), false);
}

/* The methods of the default are those that RFC 9110, 9.2.2, calls idempotent. */
static void default_methods(void **state)
{
	static const struct {
		const char *method;
		bool listed;
	} rows[] = {{"GET", true}, {"HEAD", true}, {"PUT", true}, {"DELETE", true}, {"OPTIONS", true}, {"TRACE", true},
	            {"POST", false}, {"PATCH", false}, {"CONNECT", false}};
	(void)state;
	struct config config = config_default();
	for (size_t i = 0; i < COUNT(rows); i++)
		CHECK_INT(rows[i].method, match_token(config.methods, rows[i].method), rows[i].listed);
}

/* "" = nothing is set. */
static void urls(void **state)
{
	static const struct {
		const char *url, *text;
	} rows[] = {
		{"http://a/", "a:80"}, {"a", "a:80"}, {"a:81", "a:81"}, {"https://u:p@a:82/x", "a:82"}, {"other://a", "a"},
		{"ftp://[2001:db8::7]/", "[2001:db8::7]:21"}, {"http://[::1]:83?x", "[::1]:83"}, {"http://[::1%25lo]", "[::1]:80"},
		{"http://[10.0.0.1]", "10.0.0.1:80"}, {"http://u@[::1]", "[::1]:80"}, {"http://a:", "a:80"},
		{"http://a:0", ""}, {"http://u:secret/word@a", ""}, {"http://[::1", ""}, {"http://[::1]x", ""}, {"http://[::1]x:80", ""},
		{"http://[db]:80", ""}, {"http://fe80::1%lo]", ""}, {"http://fe80::1%lo:2]]", ""}, {"http://a]:80", ""}, {"http://x[::1]", ""},
		{"http://[]", ""}, {"http://[", ""}, {"http://]", ""},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct target target = {0};
		char text[TARGET_TEXT_MAX];
		target_set_url(&target, rows[i].url);
		target_format(&target, text, sizeof text);
		CHECK_TEXT(rows[i].url, strcmp(text, "?") != 0 ? text : "", rows[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(urls),
		cmocka_unit_test(addresses), cmocka_unit_test(format), cmocka_unit_test(longest_target_fits),
		cmocka_unit_test(name_and_token_lists), cmocka_unit_test(default_methods),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
