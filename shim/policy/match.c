/* Which hosts and programs are ours: the patterns of RETRY_HOSTS and its three companions. */
#include <string.h>

#include "policy/address.h"
#include "policy/text.h"
#include "retryshim/policy.h"

enum pattern_kind { PATTERN_BAD, PATTERN_UNIX, PATTERN_NETWORK, PATTERN_NAME };

struct pattern {
	enum pattern_kind kind;
	char glob[HOST_NAME_MAX_BYTES];
	uint8_t address[16];
	int prefix_bits; /* of the 128 */
	uint16_t port;   /* 0 = any */
};

/* The text behind a colon; `*` is any port, 0. False if it is neither. */
static bool read_port(const char *text, uint16_t *port)
{
	*port = 0;
	return strcmp(text, "*") == 0 || (*port = text_port(text)) != 0;
}

/* Takes ":port" off the end of `text`, in place. False if there is one and it is bad. An IPv6
 * address has its port outside brackets only: a bare one with two colons and more has none. */
static bool cut_port(char *text, uint16_t *port)
{
	*port = 0;
	char *colon = strrchr(text, ':');
	if (text[0] == '[') {
		char *bracket = strchr(text, ']');
		if (bracket == NULL || (bracket[1] != '\0' && bracket + 1 != colon))
			return false;
		bool has_port = bracket[1] == ':';
		*bracket = '\0';
		memmove(text, text + 1, strlen(text));
		return !has_port || read_port(colon + 1, port);
	}
	if (colon == NULL || strchr(text, ':') != colon)
		return true;
	*colon = '\0';
	return read_port(colon + 1, port);
}

/* Takes "/bits" off an address pattern, in place; -1 = none, -2 = bad. */
static int cut_prefix(char *text)
{
	char *slash = strchr(text, '/');
	int64_t bits;
	if (slash == NULL)
		return -1;
	*slash = '\0';
	return text_integer(slash + 1, &bits) && bits <= 128 ? (int)bits : -2;
}

/* "host." and "host" are one name. */
static void cut_root_dot(char *name)
{
	size_t length = strlen(name);
	if (length > 1 && name[length - 1] == '.')
		name[length - 1] = '\0';
}

static struct pattern read_pattern(char *item)
{
	struct pattern pattern = {.kind = PATTERN_BAD};
	if (strncmp(item, "unix:", 5) == 0) {
		if (item[5] == '\0' || strlen(item + 5) >= sizeof pattern.glob)
			return pattern;
		strcpy(pattern.glob, item + 5);
		pattern.kind = PATTERN_UNIX;
		return pattern;
	}
	bool bracketed = item[0] == '[';
	/* "10.0.0.0/8:443": the port stands last, behind the prefix. */
	if (!cut_port(item, &pattern.port))
		return pattern;
	int prefix = cut_prefix(item);
	int family_bits = address_read(item, pattern.address);
	if (family_bits != 0) {
		if (prefix == -2 || prefix > family_bits)
			return pattern;
		pattern.prefix_bits = prefix < 0 ? 128 : prefix + (128 - family_bits);
		pattern.kind = PATTERN_NETWORK;
	} else if (prefix == -1 && !bracketed && item[0] != '\0' && strpbrk(item, " :/@[]") == NULL &&
	           text_is_printable(item) && strlen(item) < sizeof pattern.glob) {
		strcpy(pattern.glob, item);
		cut_root_dot(pattern.glob);
		pattern.kind = PATTERN_NAME;
	}
	return pattern;
}

static bool same_network(const uint8_t a[16], const uint8_t b[16], int bits)
{
	int whole = bits / 8, rest = bits % 8;
	if (memcmp(a, b, (size_t)whole) != 0)
		return false;
	return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

static bool network_matches(const struct pattern *pattern, const struct target *target)
{
	if (target->has_address)
		return same_network(pattern->address, target->address, pattern->prefix_bits);
	for (int i = 0; i < target->candidates; i++)
		if (same_network(pattern->address, target->candidate[i], pattern->prefix_bits))
			return true;
	return false;
}

static bool pattern_matches(const struct pattern *pattern, const struct target *target)
{
	if (pattern->kind == PATTERN_UNIX || target->is_unix)
		return pattern->kind == PATTERN_UNIX && target->is_unix && text_glob(pattern->glob, target->name, false);
	if (pattern->port != 0 && pattern->port != target->port)
		return false;
	if (pattern->kind == PATTERN_NETWORK)
		return network_matches(pattern, target);
	/* An unknown name is "", which `*` alone matches: "*:25" means every host. */
	return pattern->kind == PATTERN_NAME && text_glob(pattern->glob, target->name, true);
}

bool match_host(const char *patterns, const struct target *target)
{
	struct target normal = *target;
	if (!normal.is_unix)
		cut_root_dot(normal.name);
	while (patterns != NULL && *patterns != '\0') {
		char item[512];
		if (!text_next_item(&patterns, item, sizeof item))
			continue;
		struct pattern pattern = read_pattern(item);
		if (pattern_matches(&pattern, &normal))
			return true;
	}
	return false;
}

static bool is_host_pattern(const char *item)
{
	char copy[512];
	strcpy(copy, item); /* text_list_valid() hands on items that fit */
	return read_pattern(copy).kind != PATTERN_BAD;
}

bool match_hosts_valid(const char *patterns) { return text_list_valid(patterns, is_host_pattern); }

bool match_name(const char *globs, const char *name)
{
	while (globs != NULL && *globs != '\0') {
		char item[512];
		if (text_next_item(&globs, item, sizeof item) && text_glob(item, name, false))
			return true;
	}
	return false;
}

bool match_token(const char *list, const char *token)
{
	while (list != NULL && *list != '\0') {
		char item[512];
		if (text_next_item(&list, item, sizeof item) && text_equal(item, token))
			return true;
	}
	return false;
}

bool match_takes_host(const struct config *config, const struct target *target)
{
	if (target->way == WAY_COMMAND)
		return true;
	if (match_host(config->skip_hosts, target))
		return false;
	return config->hosts[0] == '\0' || match_host(config->hosts, target);
}

static bool is_exempt(const char *host, const char *item, size_t length)
{
	size_t host_length = strlen(host);
	while (length > 0 && *item == '.') {
		item++;
		length--;
	}
	if (length == 1 && *item == '*')
		return true;
	if (length == 0 || length > host_length || !text_equal_span(host + host_length - length, item, length))
		return false;
	return length == host_length || host[host_length - length - 1] == '.';
}

bool match_no_proxy(const char *list, const char *host)
{
	for (size_t length; *list != '\0'; list += length) {
		list += strspn(list, ", ");
		length = strcspn(list, ", ");
		if (is_exempt(host, list, length))
			return true;
	}
	return false;
}

bool match_fallback(const struct config *config, const struct target *target, struct target *to)
{
	const char *list = config->fallback;
	while (list != NULL && *list != '\0') {
		char item[512];
		char *equals;
		if (!text_next_item(&list, item, sizeof item) || (equals = strchr(item, '=')) == NULL)
			continue;
		*equals = '\0';
		if (!match_host(item, target))
			continue;
		memset(to, 0, sizeof *to);
		target_set_url(to, equals + 1);
		return to->port != 0;
	}
	return false;
}

bool match_takes_program(const struct config *config, const char *program)
{
	if (match_name(config->skip_programs, program))
		return false;
	return config->programs[0] == '\0' || match_name(config->programs, program);
}
