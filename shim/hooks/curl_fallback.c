/* RETRY_FALLBACK for a transfer: another address by CURLOPT_CONNECT_TO, for its attempts alone. The URL stays, and with it
 * the Host header and the name that TLS asks for and checks. */
#include "hooks/curl_handle.h"

#include <string.h>

/* "HOST:PORT:CONNECT-TO-HOST:CONNECT-TO-PORT" (CURLOPT_CONNECT_TO(3)): a redirect to another host goes its way. */
static bool choose(struct easy *easy)
{
	struct fallback *fallback = &easy->fallback;
	struct target to;
	if (easy->op.fell_back) /* chosen by an earlier attempt */
		return true;
	if (!op_fallback(&easy->op, &to))
		return false;
	target_format(&easy->op.target, fallback->text, TARGET_TEXT_MAX);
	strcat(fallback->text, ":");
	target_format(&to, fallback->text + strlen(fallback->text), TARGET_TEXT_MAX);
	easy->op.fell_back = true;
	return true;
}

void fallback_ask(struct easy *easy, CURL *handle)
{
	struct fallback *fallback = &easy->fallback;
	if (!choose(easy))
		return;
	/* The first one that fits counts: ours. */
	fallback->list = (struct curl_slist){.data = fallback->text, .next = easy->options.connect_to};
	fallback->going = easy->adjusted = true;
	easy->real->easy_setopt(handle, CURLOPT_CONNECT_TO, &fallback->list);
}

/* The program may free its old list as soon as it has set another one. */
void fallback_follow(struct easy *easy)
{
	if (easy->fallback.going)
		easy->fallback.list.next = easy->options.connect_to;
}

void fallback_restore(struct easy *easy, CURL *handle)
{
	if (!easy->fallback.going)
		return;
	easy->fallback.going = false;
	easy->real->easy_setopt(handle, CURLOPT_CONNECT_TO, easy->options.connect_to);
}
