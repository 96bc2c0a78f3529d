/* Where an operation goes: filled from what hooks know, shown to people. */
#include <arpa/inet.h>
#include <string.h>

#include "policy/address.h"
#include "policy/text.h"
#include "retryshim/policy.h"

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

int address_read(const char *text, uint8_t address[16])
{
	char copy[64];
	size_t length = strcspn(text, "%"); /* a zone names an interface, not a host */
	if (length == 0 || length >= sizeof copy)
		return 0;
	memcpy(copy, text, length);
	copy[length] = '\0';
	if (inet_pton(AF_INET6, copy, address) == 1)
		return 128;
	uint8_t v4[4];
	if (text[length] != '\0' || inet_pton(AF_INET, copy, v4) != 1)
		return 0;
	memcpy(address, mapped_prefix, sizeof mapped_prefix);
	memcpy(address + 12, v4, sizeof v4);
	return 32;
}

bool target_set_address(struct target *target, const char *text)
{
	char copy[64];
	uint8_t address[16];
	size_t length = strlen(text);
	if (length >= 2 && text[0] == '[' && text[length - 1] == ']') {
		text++;
		length -= 2;
	}
	if (length >= sizeof copy)
		return false;
	memcpy(copy, text, length);
	copy[length] = '\0';
	if (address_read(copy, address) == 0)
		return false;
	memcpy(target->address, address, sizeof address);
	target->has_address = true;
	return true;
}

bool address_is_v4(const uint8_t address[16]) { return memcmp(address, mapped_prefix, sizeof mapped_prefix) == 0; }

void target_set_lookup(struct target *target, const char *node, const char *service)
{
	target->way = WAY_LOOK_UP;
	if (node != NULL)
		memcpy(target->name, node, strnlen(node, sizeof target->name - 1));
	if (service != NULL)
		target->port = text_port(service);
}

static uint16_t default_port(const char *url)
{
	static const struct {
		char scheme[8];
		uint16_t port;
	} ports[] = {
		{"http:", 80},  {"https:", 443}, {"ftp:", 21},   {"ftps:", 990},  {"sftp:", 22},  {"scp:", 22},
		{"smtp:", 25},  {"smtps:", 465}, {"imap:", 143}, {"imaps:", 993}, {"pop3:", 110}, {"pop3s:", 995},
	};
	for (size_t i = 0; i < sizeof ports / sizeof ports[0]; i++)
		if (text_equal_span(ports[i].scheme, url, strlen(ports[i].scheme)))
			return ports[i].port;
	return strstr(url, "://") == NULL ? 80 : 0;
}

/* If there are any: around an address, from the start on, and nothing behind them but a port. */
static bool brackets_hold_address(const char *host, const char *bracket)
{
	uint8_t address[16];
	char inside[64];
	if (host[0] != '[' || bracket == NULL)
		return host[0] != '[' && bracket == NULL;
	size_t length = (size_t)(bracket - host) - 1;
	if (length >= sizeof inside || (bracket[1] != '\0' && bracket[1] != ':'))
		return false;
	memcpy(inside, host + 1, length);
	inside[length] = '\0';
	return address_read(inside, address) != 0;
}

void target_set_url(struct target *target, const char *url)
{
	char host[HOST_NAME_MAX_BYTES];
	const char *start = strstr(url, "://");
	start = start != NULL ? start + 3 : url;
	size_t length = strcspn(start, "/?#\\");
	const char *at = memrchr(start, '@', length);
	if (at != NULL) {
		length -= (size_t)(at + 1 - start);
		start = at + 1;
	}
	if (length >= sizeof host)
		return;
	memcpy(host, start, length);
	host[length] = '\0';
	uint16_t port = default_port(url);
	char *bracket = strchr(host, ']');
	if (!brackets_hold_address(host, bracket))
		return;
	char *colon = strchr(bracket != NULL ? bracket : host, ':');
	if (colon != NULL && colon[1] != '\0') {
		/* "user:pass/word@host" is cut at the slash: what looks like a port is a password. */
		if ((port = text_port(colon + 1)) == 0)
			return;
	}
	if (colon != NULL)
		*colon = '\0';
	target->port = port;
	if (!target_set_address(target, host))
		strcpy(target->name, host);
}

/* Appends to a terminated text, as far as it fits. */
static void append(char *out, size_t size, const char *text)
{
	size_t used = strlen(out);
	for (; *text != '\0' && used + 1 < size; text++) {
		unsigned char c = (unsigned char)*text;
		out[used++] = c < ' ' || c == 0x7f ? '?' : *text;
	}
	out[used] = '\0';
}

static void append_port(char *out, size_t size, uint16_t port)
{
	char digits[8];
	size_t at = sizeof digits;
	digits[--at] = '\0';
	do {
		digits[--at] = (char)('0' + port % 10);
		port /= 10;
	} while (port != 0);
	append(out, size, ":");
	append(out, size, digits + at);
}

void target_format(const struct target *target, char *out, size_t size)
{
	char numeric[INET6_ADDRSTRLEN] = "?";
	const char *host = target->name;
	out[0] = '\0';
	if (target->is_unix) {
		append(out, size, "unix:");
		append(out, size, target->name);
		return;
	}
	if (host[0] == '\0' && target->has_address) {
		bool mapped = address_is_v4(target->address);
		inet_ntop(mapped ? AF_INET : AF_INET6, target->address + (mapped ? 12 : 0), numeric, sizeof numeric);
	}
	if (host[0] == '\0')
		host = numeric;
	if (target->way == WAY_COMMAND)
		append(out, size, "command:");
	bool brackets = target->way != WAY_COMMAND && strchr(host, ':') != NULL;
	append(out, size, brackets ? "[" : "");
	append(out, size, host);
	append(out, size, brackets ? "]" : "");
	if (target->port != 0)
		append_port(out, size, target->port);
}
