/* Host patterns against a slow matcher that works on the pattern's text, character by character; and what is made of URLs. */
#include "fuzz.h"

#include "retryshim/policy.h"

/* ---- globs and addresses, the slow way -------------------------------------------------------------------- */

static char lower(char c, bool fold) { return fold && c >= 'A' && c <= 'Z' ? (char)(c | 32) : c; }

/* A row for each byte of the pattern: which beginnings of the text it matches so far. */
static bool glob(const char *pattern, const char *text, bool fold)
{
	size_t length = strlen(text);
	bool *row = calloc(length + 1, 1), matches;
	row[0] = true;
	for (; *pattern != '\0'; pattern++) {
		if (*pattern == '*') {
			for (size_t i = 1; i <= length; i++)
				row[i] |= row[i - 1];
			continue;
		}
		for (size_t i = length; i > 0; i--)
			row[i] = row[i - 1] && (*pattern == '?' || lower(*pattern, fold) == lower(text[i - 1], fold));
		row[0] = false;
	}
	matches = row[length];
	free(row);
	return matches;
}

/* Four numbers of 0..255 without leading zeros. */
static bool read_v4(const char *text, size_t length, uint8_t out[4])
{
	int part = 0, value = -1;
	for (size_t i = 0; i <= length; i++) {
		if (i == length || text[i] == '.') {
			if (value < 0 || part == 4)
				return false;
			out[part++] = (uint8_t)value;
			value = -1;
		} else {
			if (text[i] < '0' || text[i] > '9' || value == 0)
				return false;
			value = (value < 0 ? 0 : value) * 10 + (text[i] - '0');
			if (value > 255)
				return false;
		}
	}
	return part == 4;
}

static int hex_of(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = c != '\0' ? strchr(digits, lower(c, true)) : NULL;
	return at != NULL ? (int)(at - digits) : -1;
}

/* Groups up to `length`, at most `most`, into out; returns how many, -1 if malformed. The last may be an IPv4 address. */
static int read_groups(const char *text, size_t length, uint8_t *out, int most)
{
	int groups = 0;
	if (length == 0)
		return 0;
	for (size_t at = 0;; at++) {
		size_t end = at;
		unsigned value = 0;
		while (end < length && text[end] != ':')
			end++;
		if (end == length && groups + 2 <= most && read_v4(text + at, end - at, out + 2 * groups))
			return groups + 2;
		if (end == at || end - at > 4 || groups == most)
			return -1;
		for (; at < end; at++) {
			if (hex_of(text[at]) < 0)
				return -1;
			value = value * 16 + (unsigned)hex_of(text[at]);
		}
		out[2 * groups] = (uint8_t)(value >> 8);
		out[2 * groups++ + 1] = (uint8_t)value;
		if (end == length)
			return groups;
	}
}

static bool read_v6(const char *text, size_t length, uint8_t out[16])
{
	uint8_t low[16];
	const char *gap = memmem(text, length, "::", 2);
	if (gap == NULL)
		return read_groups(text, length, out, 8) == 8;
	size_t before = (size_t)(gap - text), after = length - before - 2;
	memset(out, 0, 16);
	int high = read_groups(text, before, out, 7);
	if (high < 0 || (before != 0 && memchr(text, '.', before) != NULL))
		return false;
	int rest = read_groups(gap + 2, after, low, 7 - high);
	if (rest < 0)
		return false;
	memcpy(out + 16 - 2 * rest, low, 2 * (size_t)rest);
	return true;
}

/* The bits of its family, 0 for no address. */
static int read_address(const char *text, size_t length, uint8_t out[16])
{
	const char *zone = memchr(text, '%', length);
	memset(out, 0, 16);
	size_t own = zone != NULL ? (size_t)(zone - text) : length;
	if (own >= 64)
		return 0;
	if (read_v6(text, own, out))
		return 128;
	memset(out, 0, 16);
	out[10] = out[11] = 0xff;
	return zone == NULL && read_v4(text, length, out + 12) ? 32 : 0;
}

/* ---- one pattern ------------------------------------------------------------------------------------------ */

static bool is_digits(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (text[i] < '0' || text[i] > '9')
			return false;
	return length != 0;
}

/* The number of digits alone, -1 if it is more than `most` or none. */
static int small_number(const char *text, size_t length, int most)
{
	int value = 0;
	if (!is_digits(text, length))
		return -1;
	for (size_t i = 0; i < length; i++)
		if ((value = value * 10 + (text[i] - '0')) > most)
			return -1;
	return value;
}

struct shape {
	bool valid, is_unix, is_network;
	const char *host;
	size_t length;
	int port, bits; /* port: 0 = any */
	uint8_t address[16];
};

static void read_host(struct shape *shape, bool bracketed)
{
	const char *slash = memchr(shape->host, '/', shape->length);
	size_t own = slash != NULL ? (size_t)(slash - shape->host) : shape->length;
	int family = read_address(shape->host, own, shape->address);
	if (family != 0) {
		shape->is_network = true;
		shape->bits = slash != NULL ? small_number(slash + 1, shape->length - own - 1, family) : family;
		shape->valid = shape->bits >= 0;
		shape->bits += 128 - family;
		return;
	}
	shape->valid = !bracketed && shape->length >= 1 && shape->length < 256;
	for (size_t i = 0; i < shape->length; i++)
		shape->valid &= (unsigned char)shape->host[i] > ' ' && shape->host[i] != 0x7f && strchr(":/@[]", shape->host[i]) == NULL;
	if (shape->length > 1 && shape->host[shape->length - 1] == '.')
		shape->length--;
}

static struct shape read_shape(const char *item)
{
	struct shape shape = {.host = item, .length = strlen(item)};
	const char *port = NULL;
	if (shape.length > 511)
		return shape;
	if (strncmp(item, "unix:", 5) == 0) {
		shape.is_unix = true;
		shape.host += 5;
		shape.length -= 5;
		shape.valid = shape.length > 0 && shape.length < 256;
		return shape;
	}
	bool bracketed = item[0] == '[';
	if (bracketed) {
		const char *end = strchr(item, ']');
		if (end == NULL || (end[1] != '\0' && end[1] != ':'))
			return shape;
		shape.host = item + 1;
		shape.length = (size_t)(end - shape.host);
		port = end[1] == ':' ? end + 2 : NULL;
	} else if (strchr(item, ':') != NULL && strchr(item, ':') == strrchr(item, ':')) {
		port = strchr(item, ':') + 1;
		shape.length = (size_t)(port - 1 - item);
	}
	if (port != NULL && strcmp(port, "*") != 0 && (shape.port = small_number(port, strlen(port), 65535)) <= 0)
		return shape;
	read_host(&shape, bracketed);
	return shape;
}

static bool same_bits(const uint8_t *a, const uint8_t *b, int bits)
{
	for (int bit = 0; bit < bits; bit++)
		if ((a[bit / 8] >> (7 - bit % 8) & 1) != (b[bit / 8] >> (7 - bit % 8) & 1))
			return false;
	return true;
}

static bool shape_matches(const struct shape *shape, const struct target *target)
{
	char pattern[512], name[HOST_NAME_MAX_BYTES];
	memcpy(pattern, shape->host, shape->length);
	pattern[shape->length] = '\0';
	strcpy(name, target->name);
	if (shape->is_unix != target->is_unix)
		return false;
	if (shape->is_unix)
		return glob(pattern, name, false);
	if (shape->port != 0 && shape->port != target->port)
		return false;
	if (shape->is_network) {
		bool any = target->has_address && same_bits(shape->address, target->address, shape->bits);
		for (int i = 0; !target->has_address && i < target->candidates; i++)
			any |= same_bits(shape->address, target->candidate[i], shape->bits);
		return any;
	}
	if (strlen(name) > 1 && name[strlen(name) - 1] == '.')
		name[strlen(name) - 1] = '\0';
	return glob(pattern, name, true);
}

/* ---- lists ------------------------------------------------------------------------------------------------ */

/* Item by item, without the blanks around it; false if one is empty or malformed. */
static bool each(const char *list, bool (*take)(void *context, const char *item), void *context)
{
	bool all = true;
	char *copy = strdup(list), *rest = copy, *item;
	while ((item = strsep(&rest, ",")) != NULL) {
		item += strspn(item, " \t");
		for (size_t length = strlen(item); length > 0 && strchr(" \t", item[length - 1]) != NULL;)
			item[--length] = '\0';
		all &= item[0] != '\0' && take(context, item);
	}
	free(copy);
	return all;
}

struct question {
	const struct target *target;
	bool matches;
	const char *name;
};

static bool ask_host(void *context, const char *item)
{
	struct question *question = context;
	struct shape shape = read_shape(item);
	question->matches |= shape.valid && shape_matches(&shape, question->target);
	return shape.valid;
}

static bool ask_name(void *context, const char *item)
{
	struct question *question = context;
	question->matches |= strlen(item) < 512 && glob(item, question->name, false);
	return true;
}

static void check_hosts(const char *list, const struct target *target)
{
	struct question question = {.target = target};
	bool valid = each(list, ask_host, &question);
	PROMISE(match_hosts_valid(list) == valid);
	PROMISE(match_host(list, target) == question.matches);
	question = (struct question){.name = target->name};
	each(list, ask_name, &question);
	PROMISE(match_name(list, target->name) == question.matches);
}

/* A domain, or what is below it. */
static void check_no_proxy(const char *list, const char *host)
{
	bool exempt = false;
	char *copy = strdup(list), *rest = copy, *item;
	while ((item = strsep(&rest, ", ")) != NULL) {
		item += strspn(item, ".");
		size_t host_length = strlen(host), length = strlen(item);
		exempt |= strcmp(item, "*") == 0;
		if (length != 0 && length <= host_length && strcasecmp(host + host_length - length, item) == 0)
			exempt |= length == host_length || host[host_length - length - 1] == '.';
	}
	free(copy);
	PROMISE(match_no_proxy(list, host) == exempt);
}

/* ---- fallbacks and URLs ----------------------------------------------------------------------------------- */

static void check_shown(const struct target *target)
{
	char shown[TARGET_TEXT_MAX], cut[20];
	target_format(target, shown, sizeof shown);
	PROMISE(strlen(shown) < sizeof shown);
	for (const char *c = shown; *c != '\0'; c++)
		PROMISE((unsigned char)*c >= ' ' && *c != 0x7f);
	target_format(target, cut, sizeof cut);
	PROMISE(strlen(cut) < sizeof cut && strncmp(cut, shown, strlen(cut)) == 0);
}

static void check_fallback(const char *list, const struct target *target)
{
	const struct config_variable *variable = config_find("RETRY_FALLBACK");
	struct config config = {.fallback = list};
	struct target to;
	bool valid = config_accepts(variable, list);
	if (!match_fallback(&config, target, &to) || !valid)
		return;
	PROMISE(to.port != 0 && (to.has_address || to.name[0] != '\0') && !to.is_unix);
	PROMISE(strpbrk(to.name, " /@[]") == NULL);
	check_shown(&to);
}

/* Nothing of a user's name and password, a path or a query gets into it. */
static void check_url(const char *url)
{
	struct target target = {0};
	uint8_t address[16];
	target_set_url(&target, url);
	PROMISE(memchr(target.name, '\0', sizeof target.name) != NULL && strpbrk(target.name, "/?#\\@") == NULL);
	check_shown(&target);
	const char *start = strstr(url, "://");
	start = start != NULL ? start + 3 : url;
	size_t length = strcspn(start, "/?#\\");
	for (size_t i = length; i > 0; i--)
		if (start[i - 1] == '@') {
			start += i;
			length -= i;
			break;
		}
	if (target.has_address) {
		bool bracketed = start[0] == '[';
		size_t own = bracketed ? (size_t)((const char *)memchr(start, ']', length) - start) - 1 : strcspn(start, ":/?#\\");
		PROMISE(read_address(start + bracketed, own < length ? own : length, address) != 0);
		PROMISE(memcmp(address, target.address, 16) == 0 && target.name[0] == '\0');
	} else if (target.name[0] != '\0') {
		size_t own = strlen(target.name);
		PROMISE(own <= length && memcmp(target.name, start, own) == 0 && (own == length || start[own] == ':'));
		PROMISE(own == length || own + 1 == length || target.port == small_number(start + own + 1, length - own - 1, 65535));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, data + size};
	struct target target = {0};
	uint8_t kinds = byte(&input);
	target.is_unix = (kinds & 7) == 7;
	target.has_address = (kinds & 3) == 1;
	target.candidates = (kinds & 3) == 2 ? kinds >> 5 : 0;
	target.port = (uint16_t)number(&input, 2);
	char *list = text_line(&input), *name = text_line(&input), *url = text_line(&input), *address = text_line(&input);
	strncpy(target.name, name, sizeof target.name - 1);
	struct target read = {0};
	uint8_t expected[16];
	size_t length = strlen(address);
	bool bracketed = length >= 2 && address[0] == '[' && address[length - 1] == ']';
	PROMISE(target_set_address(&read, address) ==
	        (length < 64 && read_address(address + bracketed, length - 2U * bracketed, expected) != 0));
	PROMISE(!read.has_address || memcmp(read.address, expected, 16) == 0);
	memcpy(target.address, read.address, 16);
	for (int i = 0; i < target.candidates; i++)
		memcpy(target.candidate[i], i == 1 ? read.address : data, i == 1 ? 16 : size < 16 ? size : 16);
	check_hosts(list, &target);
	check_no_proxy(list, name);
	check_fallback(list, &target);
	check_shown(&target);
	check_url(url);
	free(list);
	free(name);
	free(url);
	free(address);
	return 0;
}
