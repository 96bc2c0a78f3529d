/* Host and program patterns: one row a pattern and a target. */
#include "support.h"

/* "name|address|port", each part may be empty; "unix:PATH" is a unix socket. */
static struct target target_of(const char *text)
{
	struct target target;
	char name[300] = "", address[64] = "";
	memset(&target, 0, sizeof target);
	if (strncmp(text, "unix:", 5) == 0) {
		target.is_unix = true;
		snprintf(target.name, sizeof target.name, "%s", text + 5);
		return target;
	}
	const char *bar = strchr(text, '|'), *last = strrchr(text, '|');
	if (bar == NULL || last == bar)
		fail_msg("[%s] is no target of this test", text);
	snprintf(name, sizeof name, "%.*s", (int)(bar - text), text);
	snprintf(address, sizeof address, "%.*s", (int)(last - bar - 1), bar + 1);
	snprintf(target.name, sizeof target.name, "%.255s", name);
	if (address[0] != '\0')
		assert_true(target_set_address(&target, address));
	for (const char *digit = last + 1; *digit != '\0'; digit++)
		target.port = (uint16_t)(target.port * 10 + (*digit - '0'));
	return target;
}

struct host_row {
	const char *patterns, *target;
	bool matches;
};

static void check_hosts(const struct host_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char row[900];
		struct target target = target_of(rows[i].target), before = target;
		snprintf(row, sizeof row, "%s on %s", rows[i].patterns, rows[i].target);
		CHECK_INT(row, match_host(rows[i].patterns, &target), rows[i].matches);
		CHECK_INT(row, memcmp(&before, &target, sizeof before), 0);
	}
}

static void names(void **state)
{
	static const struct host_row rows[] = {
		{"example.org", "example.org||80", true}, {"example.org", "EXAMPLE.Org||80", true},
		{"EXAMPLE.org", "example.org||80", true}, {"example.org", "www.example.org||80", false},
		{"example.org", "example.orgx||80", false}, {"*.example.org", "a.b.example.org||80", true},
		{"*.example.org", "example.org||80", false}, {"*.example.org", ".example.org||80", true},
		{"ex?mple.org", "exAmple.org||80", true}, {"ex?mple.org", "exmple.org||80", false},
		{"*", "example.org||80", true}, {"**", "x||0", true}, {"a*b*c", "aXbbYc||1", true}, {"a*b*c", "aXbbYcd||1", false},
		{"*aab", "aaaaab||1", true}, {"example.org.", "example.org||80", true}, {"example.org", "example.org.||80", true},
		{"example.org.", "example.org.||80", true}, {"example.org.:80", "example.org||80", true},
		{"example.org", "example.org..||80", false}, {".", ".||1", true}, {"a", "|10.0.0.1|80", false},
		{"a,b", "b||1", true}, {" a , b ", "b||1", true}, {"a,,b", "b||1", true}, {",", "b||1", false}, {"", "b||1", false},
		{"a\tb", "a\tb||1", false}, {"10.*", "10.example||1", true}, {"1.2.3", "1.2.3||1", true},
		/* A name is not looked up, an address is not turned back. */
		{"10.0.0.1", "10.0.0.1||80", false}, {"10.0.0.*", "|10.0.0.1|80", false},
		/* `*` alone is every host, known by name or not. */
		{"*", "|10.0.0.1|80", true}, {"*:25", "|10.0.0.1|25", true}, {"*:25", "|10.0.0.1|26", false}, {"?", "|10.0.0.1|80", false},
		{"*", "||0", true}, {"*", "unix:/run/x", false},
	};
	(void)state;
	check_hosts(rows, COUNT(rows));
}

static void ports(void **state)
{
	static const struct host_row rows[] = {
		{"h:80", "h||80", true}, {"h:80", "h||81", false}, {"h:80", "h||0", false}, {"h", "h||0", true}, {"h:*", "h||7", true},
		{"h:65535", "h||65535", true}, {"h:1", "h||1", true}, {"h:0", "h||0", false}, {"h:65536", "h||0", false},
		{"h:65616", "h||80", false}, {"h:+80", "h||80", false}, {"h: 80", "h||80", false}, {"h:80x", "h||80", false},
		{"h:", "h||80", false}, {":80", "||80", false}, {"h:080", "h||80", true}, {"10.0.0.1:53", "|10.0.0.1|53", true},
		{"10.0.0.1:53", "|10.0.0.1|54", false}, {"10.0.0.0/8:443", "|10.9.9.9|443", true},
		{"10.0.0.0/8:443", "|10.9.9.9|80", false}, {"[::1]:80", "|::1|80", true}, {"[::1]:80", "|::1|81", false},
		{"[::1]:*", "|::1|7", true}, {"[::/0]:*", "|::1|0", true}, {"[::1]:*", "|::2|7", false}, {"[::1]:**", "|::1|7", false},
		{"[::1]", "|::1|80", true}, {"::1", "|::1|80", true}, {"[2001:db8::/32]:443", "|2001:db8::7|443", true},
		{"[2001:db8::/32]:443", "|2001:db8::7|444", false}, {"[10.0.0.1]:80", "|10.0.0.1|80", true},
		{"[::1", "|::1|80", false}, {"[::1]x", "|::1|80", false}, {"[::1]:", "|::1|80", false}, {"[::1]:80:80", "|::1|80", false},
		{"[]", "||80", false}, {"[]:80", "||80", false}, {"[name]:80", "name||80", false}, {"::1]", "|::1|80", false},
		{"[::1]:0", "|::1|0", false}, {"a:b:c", "a||0", false},
	};
	(void)state;
	check_hosts(rows, COUNT(rows));
}

static void networks(void **state)
{
	static const struct host_row rows[] = {
		{"10.0.0.0/8", "|10.255.255.255|1", true}, {"10.0.0.0/8", "|11.0.0.0|1", false}, {"10.1.2.3/8", "|10.9.9.9|1", true},
		{"192.168.1.1", "|192.168.1.1|1", true}, {"192.168.1.1", "|192.168.1.2|1", false},
		{"192.168.1.1/32", "|192.168.1.1|1", true}, {"192.168.1.1/32", "|192.168.1.0|1", false},
		{"192.168.1.0/31", "|192.168.1.1|1", true}, {"192.168.1.0/31", "|192.168.1.2|1", false},
		{"172.16.0.0/12", "|172.31.255.255|1", true}, {"172.16.0.0/12", "|172.32.0.0|1", false},
		{"10.0.0.128/25", "|10.0.0.128|1", true}, {"10.0.0.128/25", "|10.0.0.127|1", false},
		{"128.0.0.0/1", "|255.0.0.1|1", true}, {"128.0.0.0/1", "|127.0.0.1|1", false},
		{"0.0.0.0/0", "|203.0.113.9|1", true}, {"0.0.0.0/0", "|::1|1", false}, {"::/0", "|::1|1", true},
		{"::/0", "|10.0.0.1|1", true}, {"2001:db8::/33", "|2001:db8:7fff::1|1", true},
		{"2001:db8::/33", "|2001:db8:8000::1|1", false}, {"2001:db8::1/128", "|2001:db8::1|1", true},
		{"2001:db8::1/128", "|2001:db8::2|1", false}, {"2001:db8::/127", "|2001:db8::1|1", true},
		{"2001:db8::/127", "|2001:db8::2|1", false}, {"fe80::/10", "|febf::1|1", true}, {"fe80::/10", "|fec0::1|1", false},
		/* IPv4 and its mapped form are one address. */
		{"10.0.0.1", "|::ffff:10.0.0.1|1", true}, {"::ffff:10.0.0.1", "|10.0.0.1|1", true},
		{"::ffff:10.0.0.0/104", "|10.200.0.1|1", true}, {"::ffff:10.0.0.0/104", "|11.0.0.1|1", false},
		{"::ffff:0:0/96", "|8.8.8.8|1", true}, {"10.0.0.0/8", "|::10.0.0.1|1", false}, {"10.0.0.0/8", "|::a00:1|1", false},
		/* Zones name an interface, not a host. */
		{"fe80::1%eth0", "|fe80::1|1", true}, {"fe80::1", "|fe80::1%eth1|1", true}, {"[fe80::1%2]:80", "|fe80::1%3|80", true},
		{"10.0.0.1%eth0", "|10.0.0.1|1", false},
		/* malformed */
		{"10.0.0.0/33", "|10.0.0.0|1", false}, {"::/129", "|::1|1", false}, {"10.0.0.0/-1", "|10.0.0.0|1", false},
		{"10.0.0.0/", "|10.0.0.0|1", false}, {"10.0.0.0/8/8", "|10.0.0.0|1", false}, {"10.0.0.0/ 8", "|10.0.0.0|1", false},
		{"10.0.0.0/8x", "|10.0.0.0|1", false}, {"10.0.0.0/255.0.0.0", "|10.0.0.0|1", false}, {"10.0.0/8", "|10.0.0.0|1", false},
		{"0.0.0.0/4294967296", "|1.1.1.1|1", false}, {"0.0.0.0/18446744073709551616", "|1.1.1.1|1", false},
		{"/8", "|10.0.0.0|1", false}, {"host/8", "host||1", false}, {"::/0", "host||1", false}, {"0.0.0.0/0", "unix:/x", false},
		/* a bad item spoils only itself */
		{"10.0.0.0/99,10.0.0.0/8", "|10.1.1.1|1", true}, {"a b,c", "c||1", true},
	};
	(void)state;
	check_hosts(rows, COUNT(rows));
}

static void unix_sockets(void **state)
{
	static const struct host_row rows[] = {
		{"unix:/run/x.sock", "unix:/run/x.sock", true}, {"unix:/run/*", "unix:/run/a/b.sock", true},
		{"unix:/RUN/*", "unix:/run/x", false}, {"unix:*", "unix:", true}, {"unix:/run/?", "unix:/run/ab", false},
		{"unix:/a:80", "unix:/a:80", true}, {"unix:/a.", "unix:/a.", true}, {"unix:/a", "unix:/a.", false},
		{"unix:", "unix:", false}, {"UNIX:/run/*", "unix:/run/x", false}, {"unix:*", "host||1", false},
		{"/run/*", "unix:/run/x", false}, {"unix:/a,unix:/b", "unix:/b", true}, {"unix:a b", "unix:a b", true},
	};
	(void)state;
	check_hosts(rows, COUNT(rows));
}

static void validity(void **state)
{
	static const struct {
		const char *patterns;
		bool valid;
	} rows[] = {
		{"a", true}, {"*.example.org:443,10.0.0.0/8,[::1]:80,unix:/run/*", true}, {"a, b", true}, {"", false}, {",", false},
		{"a,", false}, {"a b", false}, {"a:99999", false}, {"a:0", false}, {"10.0.0.0/33", false}, {"::/129", false},
		{"a/8", false}, {"[a]", false}, {"[::1", false}, {"unix:", false}, {"http://a", false}, {"user@a", false}, {"a\x01", false},
		{"a,10.0.0.0/33", false},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		CHECK_INT(rows[i].patterns, match_hosts_valid(rows[i].patterns), rows[i].valid);
}

/* At, below and above each buffer's size; the sanitizer looks on. */
static void long_inputs(void **state)
{
	static const size_t lengths[] = {1, 63, 64, 65, 253, 254, 255, 256, 257, 299, 300, 301, 510, 511, 512, 513, 5000};
	static const char *const shapes[][2] = {{"", ""}, {"unix:", ""}, {"[", "]:80"}, {"", ":80"}, {"", "/8"}, {"fe80::1%", ""}};
	struct target target = target_of("||80");
	(void)state;
	memset(target.name, 'a', sizeof target.name - 1);
	for (size_t i = 0; i < COUNT(lengths); i++)
		for (size_t shape = 0; shape < COUNT(shapes); shape++) {
			static char filler[5001], text[5100];
			memset(filler, 'a', lengths[i]);
			filler[lengths[i]] = '\0';
			snprintf(text, sizeof text, "%s%s%s", shapes[shape][0], filler, shapes[shape][1]);
			bool name_fits = (shape == 0 || shape == 3) && lengths[i] <= 255;
			bool matches = match_host(text, &target);
			CHECK_INT(text, matches, name_fits && lengths[i] == 255);
			bool zone_fits = shape == 5 && strlen(text) <= 511;
			CHECK_INT(text, match_hosts_valid(text), name_fits || zone_fits || (shape == 1 && lengths[i] <= 255));
			struct target other = target;
			CHECK_INT(text, target_set_address(&other, text), shape == 5 && strlen(text) <= 63);
		}
}

static void skip_wins(void **state)
{
	static const struct {
		const char *take, *skip;
		bool taken; /* of "db.example.org" or the program "git" */
	} hosts[] = {{"", "", true}, {"db.*", "", true}, {"web.*", "", false}, {"", "db.*", false}, {"db.*", "*.example.org", false},
	             {"*", "web.*", true}, {"web.*", "db.*", false}},
	  programs[] = {{"", "", true}, {"git", "", true}, {"Git", "", false}, {"g*", "", true}, {"curl,git", "", true},
	                {"curl", "", false}, {"", "git", false}, {"git", "g?t", false}, {"*", "curl", true}, {"gi", "", false}};
	(void)state;
	struct target target = target_of("db.example.org|10.0.0.1|5432");
	for (size_t i = 0; i < COUNT(hosts); i++) {
		struct config config = config_with("RETRY_HOSTS", hosts[i].take, "RETRY_SKIP_HOSTS", hosts[i].skip);
		CHECK_INT(hosts[i].take, match_takes_host(&config, &target), hosts[i].taken);
	}
	for (size_t i = 0; i < COUNT(programs); i++) {
		struct config config = config_with("RETRY_PROGRAMS", programs[i].take, "RETRY_SKIP_PROGRAMS", programs[i].skip);
		CHECK_INT(programs[i].take, match_takes_program(&config, "git"), programs[i].taken);
	}
}

static void exempt_from_proxies(void **state)
{
	static const struct {
		const char *list, *host;
		bool exempt;
	} rows[] = {
		{"example.org", "example.org", true},      {"example.org", "a.EXAMPLE.org", true}, {"example.org", "badexample.org", false},
		{".example.org", "a.example.org", true},   {".example.org", "example.org", true},  {"a.example.org", "example.org", false},
		{"x, example.org y", "example.org", true}, {"*", "anything", true},                {"x,*", "anything", true},
		{"127.0.0.1", "127.0.0.1", true},          {"10.0.0.0/8", "10.1.2.3", false},      {", ,.", "a", false},
		{"", "a", false},                          {"a", "", false},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		CHECK_INT(rows[i].list, match_no_proxy(rows[i].list, rows[i].host), rows[i].exempt);
}

static void fallbacks(void **state)
{
	static const struct {
		const char *list, *target, *to; /* "" = none */
	} rows[] = {
		{"db:5432=10.0.0.2:5433", "db||5432", "10.0.0.2:5433"},
		{"db:5432=10.0.0.2:5433", "DB||5432", "10.0.0.2:5433"},
		{"db:5432=10.0.0.2:5433", "db||5433", ""},
		{"db:5432=10.0.0.2:5433", "web||5432", ""},
		{"10.0.0.1:80=other:81", "name|10.0.0.1|80", "other:81"},
		{"a:1=b:2,db:5432=c:3,db:5432=d:4", "db||5432", "c:3"},
		{"[::1]:80=[::2]:81", "|::1|80", "[::2]:81"},
		{"*:80=proxy:3128", "anything||80", "proxy:3128"},
		{"", "db||5432", ""},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct config config = config_with("RETRY_FALLBACK", rows[i].list);
		struct target target = target_of(rows[i].target), to;
		char text[TARGET_TEXT_MAX] = "";
		if (match_fallback(&config, &target, &to))
			target_format(&to, text, sizeof text);
		CHECK_TEXT(rows[i].list, text, rows[i].to);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names), cmocka_unit_test(ports), cmocka_unit_test(networks), cmocka_unit_test(unix_sockets),
		cmocka_unit_test(validity), cmocka_unit_test(long_inputs), cmocka_unit_test(skip_wins),
		cmocka_unit_test(fallbacks), cmocka_unit_test(exempt_from_proxies),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
