/* Strict reading of short texts. */
#include <locale.h>

#include "policy/text.h"
#include "support.h"

static void integers(void **state)
{
	static const struct {
		const char *text;
		int64_t number; /* -1: refused */
	} rows[] = {
		{"0", 0}, {"7", 7}, {"007", 7}, {"1234567890", 1234567890}, {"9223372036854775807", INT64_MAX}, {"0000000000000000000000001", 1},
		{"9223372036854775808", -1}, {"9223372036854775810", -1}, {"92233720368547758070", -1}, {"99999999999999999999999", -1},
		{"", -1}, {" 1", -1}, {"1 ", -1}, {"+1", -1}, {"-1", -1}, {"0x1", -1}, {"1a", -1}, {"1.0", -1}, {"1,0", -1}, {"\xb2", -1},
		{"/", -1}, {":", -1},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		int64_t number = 4711;
		CHECK_INT(rows[i].text, text_integer(rows[i].text, &number), rows[i].number >= 0);
		CHECK_INT(rows[i].text, number, rows[i].number >= 0 ? rows[i].number : 4711);
	}
}

static void reals(void **state)
{
	static const struct {
		const char *text;
		double number; /* -1: refused */
	} rows[] = {
		{"0", 0}, {"1", 1}, {"2.5", 2.5}, {".5", 0.5}, {"5.", 5}, {"0.1", 0.1}, {"00.10", 0.1}, {"1000000", 1e6},
		{"0.00000000000000000000000000000000000001", 1e-38}, {"0.333333333333333333333333333333", 1 / 3.0},
		{"0.30000000000000004", 0.3}, {"9.99999999999999999999", 10}, {"1000000000000000", 1e15},
		{"99999999999999999999", -1}, {"", -1}, {".", -1}, {"..", -1}, {"1.2.3", -1}, {"1,5", -1}, {"-1", -1}, {"+1", -1},
		{" 1", -1}, {"1 ", -1}, {"1e3", -1}, {"0x1p3", -1}, {"inf", -1}, {"nan", -1}, {"0.33333333333333333333x", -1},
		{"0.33333333333333333333.3", -1},
	};
	/* Where a decimal comma rules, if such a locale is installed, nothing changes. */
	setlocale(LC_ALL, "de_DE.UTF-8");
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		double number = 0, want = rows[i].number;
		CHECK_INT(rows[i].text, text_real(rows[i].text, &number), want >= 0);
		if (want >= 0 && (number < want * (1 - 1e-12) || number > want * (1 + 1e-12)))
			fail_msg("[%s] became %.17g", rows[i].text, number);
	}
	static char zeros[2000] = "0.";
	memset(zeros + 2, '0', sizeof zeros - 4);
	zeros[sizeof zeros - 2] = '1';
	double number = -1;
	CHECK_INT("many zeros", text_real(zeros, &number), true);
	CHECK_INT("many zeros", number >= 0 && number < 1e-300, true);
}

static void choices(void **state)
{
	static const struct {
		const char *choices, *word;
		int index;
	} rows[] = {
		{"a|bc|d", "a", 0}, {"a|bc|d", "bc", 1}, {"a|bc|d", "BC", 1}, {"a|bc|d", "d", 2}, {"a|bc|d", "b", -1}, {"a|bc|d", "bcd", -1},
		{"a|bc|d", "", -1}, {"a|bc|d", "a|bc", -1}, {"a|bc|d", " a", -1}, {"one", "one", 0}, {"one", "on", -1}, {"", "", -1}, {"", "x", -1},
		{"a||b", "", -1},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		CHECK_INT(rows[i].word, text_choice(rows[i].choices, rows[i].word), rows[i].index);
}

static void items(void **state)
{
	static const struct {
		const char *list;
		const char *items[4]; /* "" = false was returned; NULL = the end */
	} rows[] = {
		{"a", {"a"}}, {"a,b", {"a", "b"}}, {" a ,\tb\t", {"a", "b"}}, {"a b", {"a b"}}, {"", {""}}, {",", {"", ""}}, {"a,", {"a", ""}},
		{",a", {"", "a"}}, {"a, ,b", {"a", "", "b"}}, {"1234567,12345678,b", {"1234567", "", "b"}}, {"a\n,b", {"a\n", "b"}},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const char *cursor = rows[i].list;
		for (int n = 0; rows[i].items[n] != NULL; n++) {
			char item[8] = "";
			if (cursor == NULL)
				fail_msg("[%s] ended before item %d", rows[i].list, n);
			CHECK_INT(rows[i].list, text_next_item(&cursor, item, sizeof item), rows[i].items[n][0] != '\0');
			CHECK_TEXT(rows[i].list, item, rows[i].items[n]);
		}
		CHECK_INT(rows[i].list, cursor == NULL, true);
	}
}

static void list_items_of_511_bytes(void **state)
{
	static char list[600];
	(void)state;
	memset(list, 'a', 511);
	CHECK_INT("511", text_list_valid(list, text_is_printable), true);
	memset(list, 'a', 512);
	CHECK_INT("512", text_list_valid(list, text_is_printable), false);
	list[511] = ',';
	CHECK_INT("511, empty", text_list_valid(list, text_is_printable), false);
	list[512] = 'b';
	CHECK_INT("511, 1", text_list_valid(list, text_is_printable), true);
}

/* printable, token: RFC 9110, 5.6.2 */
static void characters(void **state)
{
	static const char tokens[] = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	(void)state;
	for (int byte = 1; byte < 256; byte++) {
		char text[] = {'x', (char)byte, '\0'}, row[32];
		snprintf(row, sizeof row, "byte %d", byte);
		CHECK_INT(row, text_is_token(text), strchr(tokens, byte) != NULL);
		CHECK_INT(row, text_is_printable(text), byte >= ' ' && byte != 0x7f);
		CHECK_INT(row, text_lower((char)byte), byte >= 'A' && byte <= 'Z' ? byte + 32 : (char)byte);
	}
}

static void ports(void **state)
{
	static const struct {
		const char *text;
		int port;
	} rows[] = {{"1", 1}, {"80", 80}, {"65535", 65535}, {"0080", 80}, {"0", 0}, {"65536", 0}, {"65616", 0}, {"4294967376", 0},
	            {"18446744073709551696", 0}, {"", 0}, {" 80", 0}, {"80 ", 0}, {"-80", 0}, {"+80", 0}, {"0x50", 0}, {"http", 0}, {"*", 0}};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		CHECK_INT(rows[i].text, text_port(rows[i].text), rows[i].port);
}

static void fallbacks(void **state)
{
	static const struct {
		const char *text;
		bool valid;
	} rows[] = {
		{"a:1=b:2", true}, {"[::1]:1=10.0.0.1:2", true}, {"a:1=[2001:db8::1]:2", true}, {"a=b", false},
		{"a:1=b", false}, {"a=b:1", false}, {":1=b:2", false}, {"a:1=:2", false}, {"a:0=b:2", false},
		{"a:1=b:65536", false}, {"a:1", false}, {"=", false}, {"", false}, {"a:1=b:2=c:3", false},
		{"::1:1=b:2", false}, {"a b:1=c:2", false}, {"http://a:1=b:2", false}, {"[]:1=b:2", false},
		{"[:1=b:2", false}, {"]:1=b:2", false}, {"a:1=b\x01:2", false},
		{"[db]:1=b:2", false}, {"a:1=[db]:2", false}, {"a:1=[10.0.0.1]:2", true}, {"[::1]]:1=b:2", false},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		CHECK_INT(rows[i].text, text_is_fallback(rows[i].text), rows[i].valid);
	static char host[400];
	for (size_t length = 290; length < 305; length++) { /* at the end of the buffer for a host */
		memset(host, 'h', length);
		memcpy(host + length, ":1=b:2", 7);
		CHECK_INT("long host", text_is_fallback(host), length + 2 < 300);
	}
}

static void equality(void **state)
{
	(void)state;
	CHECK_INT("case", text_equal("Get", "gET"), true);
	CHECK_INT("shorter", text_equal("Ge", "Get"), false);
	CHECK_INT("longer", text_equal("Gets", "Get"), false);
	CHECK_INT("empty", text_equal("", ""), true);
	CHECK_INT("[ is not {", text_equal("[", "{"), false);
	CHECK_INT("@ is not `", text_equal("@", "`"), false);
	CHECK_INT("span", text_equal_span("ge", "GET", 2), true);
	CHECK_INT("span shorter", text_equal_span("g", "GET", 2), false);
	CHECK_INT("span longer", text_equal_span("get", "GET", 2), false);
}

static void globs(void **state)
{
	static const struct {
		const char *pattern, *text;
		bool matches;
	} rows[] = {
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "abc", true}, {"?", "", false}, {"?", "a", true}, {"?", "ab", false},
		{"a*", "a", true}, {"a*", "ba", false}, {"*a", "ba", true}, {"*a", "ab", false}, {"a*c", "abbc", true}, {"a*c", "acb", false},
		{"*a*b*", "xxaxxbxx", true}, {"*a*b*", "xxbxxaxx", false}, {"a?c*e", "abcde", true}, {"a**b", "ab", true}, {"*?", "", false},
		{"*?", "a", true}, {"*ab?", "aababx", true}, {"a*b", "a*b", true}, {"[a]", "a", false}, {"\\*", "*", false}, {"A", "a", false},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		CHECK_INT(rows[i].pattern, text_glob(rows[i].pattern, rows[i].text, false), rows[i].matches);
	CHECK_INT("ignore case", text_glob("A*z", "abZ", true), true);
	/* Many stars on a long text: a matcher that backtracks over every star would not come back. */
	static char text[4001];
	memset(text, 'a', 4000);
	CHECK_INT("stars", text_glob("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", text, false), false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(integers), cmocka_unit_test(reals), cmocka_unit_test(choices), cmocka_unit_test(items),
		cmocka_unit_test(list_items_of_511_bytes), cmocka_unit_test(characters), cmocka_unit_test(ports),
		cmocka_unit_test(fallbacks), cmocka_unit_test(equality), cmocka_unit_test(globs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
