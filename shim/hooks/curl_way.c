/* The way by which a transfer reaches its host. By another one it is another destination to the host's processes. */
#include "hooks/curl_handle.h"

#include <stdlib.h>
#include <string.h>

#define PRIME UINT64_C(0x100000001b3)

static uint64_t hash_text(uint64_t hash, const char *text)
{
	for (; *text != '\0'; text++) /* FNV-1a */
		hash = (hash ^ (unsigned char)*text) * PRIME;
	return hash;
}

/* libcurl takes the list as it is when the transfer starts, and so do we: a program may fill it until then. */
static uint64_t hash_list(uint64_t hash, const struct curl_slist *list)
{
	for (; list != NULL; list = list->next)
		hash = hash_text(hash + 1, list->data != NULL ? list->data : "");
	return hash;
}

void way_follow(struct easy_options *options, CURLoption option, const void *value)
{
	static const CURLoption texts[OPTION_WAYS] = {
		[OPTION_PROXY] = CURLOPT_PROXY,
		[OPTION_NOPROXY] = CURLOPT_NOPROXY,
		[OPTION_PRE_PROXY] = CURLOPT_PRE_PROXY,
		[OPTION_UNIX_SOCKET] = CURLOPT_UNIX_SOCKET_PATH,
		[OPTION_ABSTRACT_SOCKET] = CURLOPT_ABSTRACT_UNIX_SOCKET,
		[OPTION_INTERFACE] = CURLOPT_INTERFACE,
	};
	size_t way = 0;
	while (way < OPTION_WAYS && texts[way] != option)
		way++;
	if (way == OPTION_WAYS)
		return;
	/* Empty ones of the first two mean something: not what the environment says. */
	bool counts = value != NULL && (way == OPTION_PROXY || way == OPTION_NOPROXY || *(const char *)value != '\0');
	options->ways[way] = counts ? hash_text(way + 1, value) : 0;
}

/* ---- proxies -------------------------------------------------------------------------------------- */

static const char *variable(const char *name)
{
	const char *value = getenv(name);
	return value != NULL && *value != '\0' ? value : NULL;
}

/* What libcurl asks for where no option says it (Curl_proxy_detect in lib/url.c). */
static const char *proxy_variable(struct easy *easy)
{
	char lower[24] = "", upper[24] = "";
	const char *scheme = facts_text(easy, CURLINFO_SCHEME), *value;
	size_t length = strnlen(scheme, 15);
	if (length == 0)
		strcpy(lower, "http");
	for (size_t i = 0; i < length; i++) {
		lower[i] = scheme[i] >= 'A' && scheme[i] <= 'Z' ? (char)(scheme[i] + 'a' - 'A') : scheme[i];
		upper[i] = scheme[i] >= 'a' && scheme[i] <= 'z' ? (char)(scheme[i] + 'A' - 'a') : scheme[i];
	}
	if ((value = variable(strcat(lower, "_proxy"))) != NULL)
		return value;
	/* HTTP_PROXY may be a header's, in a CGI program. */
	if (strcmp(lower, "http_proxy") != 0 && (value = variable(strcat(upper, "_PROXY"))) != NULL)
		return value;
	return (value = variable("all_proxy")) != NULL ? value : variable("ALL_PROXY");
}

static bool is_exempt_by_variable(struct easy *easy)
{
	char host[TARGET_TEXT_MAX];
	struct target target;
	const char *list = variable("no_proxy");
	if (list == NULL && (list = variable("NO_PROXY")) == NULL)
		return false;
	facts_target(easy, &target);
	target.port = 0;
	target_format(&target, host, sizeof host);
	return match_no_proxy(list, host);
}

/* A hash; 0 = none. Without any proxy it does not matter for whom there is none. */
static uint64_t proxy_of(struct easy *easy)
{
	const uint64_t *ways = easy->options.ways;
	const char *value;
	if (ways[OPTION_PROXY] == OPTION_PROXY + 1) /* set, and empty */
		return 0;
	if (ways[OPTION_PROXY] != 0)
		return ways[OPTION_PROXY] * PRIME ^ ways[OPTION_NOPROXY];
	if ((value = proxy_variable(easy)) == NULL || (ways[OPTION_NOPROXY] == 0 && is_exempt_by_variable(easy)))
		return 0;
	return hash_text(PRIME, value) ^ ways[OPTION_NOPROXY];
}

/* To a proxy CONNECT_TO would be a wish for a tunnel; where a unix socket is named it is not looked at. */
const char *way_fallback_obstacle(struct easy *easy)
{
	const uint64_t *ways = easy->options.ways;
	if (ways[OPTION_UNIX_SOCKET] != 0 || ways[OPTION_ABSTRACT_SOCKET] != 0)
		return "the transfer goes by a unix socket";
	return ways[OPTION_PRE_PROXY] != 0 || proxy_of(easy) != 0 ? "the transfer may go by a proxy" : NULL;
}

/* ---- destinations --------------------------------------------------------------------------------- */

static uint64_t way_of(struct easy *easy)
{
	const struct easy_options *options = &easy->options;
	uint64_t way = proxy_of(easy);
	for (size_t i = OPTION_PRE_PROXY; i < OPTION_WAYS; i++)
		way = way * PRIME ^ options->ways[i];
	return hash_list(hash_list(way, options->resolve) * PRIME, options->connect_to);
}

void way_destination(struct easy *easy, struct target *target)
{
	facts_target(easy, target);
	target->way_hash = way_of(easy);
	target->way = target->way_hash != 0 ? WAY_OTHER : WAY_DIRECT;
	target->way_hash ^= (uint64_t)easy->options.ip_version << 62; /* which of its name's addresses */
	/* Whatever address each of them had last. */
	if (target->name[0] != '\0') {
		target->has_address = false;
		memset(target->address, 0, sizeof target->address);
	}
}
