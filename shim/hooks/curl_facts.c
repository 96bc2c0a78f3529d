/* What libcurl knows of a transfer, in the engine's terms. */
#include "hooks/curl_multi.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "retryshim/runtime.h"

long facts_long(struct easy *easy, CURLINFO info)
{
	long value = 0;
	return easy->real->easy_getinfo(handle_of(easy), info, &value) == CURLE_OK ? value : 0;
}

/* "" if it is unknown. */
const char *facts_text(struct easy *easy, CURLINFO info)
{
	char *value = NULL;
	return easy->real->easy_getinfo(handle_of(easy), info, &value) == CURLE_OK && value != NULL ? value : "";
}

static enum protocol protocol(struct easy *easy) { return protocol_of(facts_text(easy, CURLINFO_SCHEME)); }

int facts_reply_code(struct easy *easy)
{
	return protocol(easy) == PROTOCOL_HTTP ? 0 : (int)facts_long(easy, CURLINFO_RESPONSE_CODE);
}

/* Commands beside the transfer; an upload that libcurl appends (ftp_state_ul_setup in lib/ftp.c). */
static bool has_side_effects(const struct easy_options *options)
{
	return options->commands != 0 || options->custom_method[0] != '\0' ||
	       (options->request == REQUEST_PUT && options->resume_from > 0);
}

static double info_seconds(struct easy *easy, CURLINFO info)
{
	double value = 0;
	return easy->real->easy_getinfo(handle_of(easy), info, &value) == CURLE_OK ? value : 0;
}

/* True unless it is certain that the server has seen nothing that it may act on. libcurl stamps
 * PRETRANSFER when its DO phase is over (before_perform in lib/multi.c): for HTTP the request has left
 * by then, and REQUEST_SIZE counts its bytes from the first (but not those that a TLS library has sent of a
 * write that it has not finished); for mail only the envelope has, which does nothing without the message; file
 * transfers have done what CURLOPT_QUOTE and its like ask for. Of other protocols only a connection that was
 * tried and never stood is certain. */
bool facts_sent(struct easy *easy)
{
	if (info_seconds(easy, CURLINFO_PRETRANSFER_TIME) > 0 || easy->response.status != 0)
		return true;
	switch (protocol(easy)) {
	case PROTOCOL_HTTP: return facts_long(easy, CURLINFO_REQUEST_SIZE) > 0;
	case PROTOCOL_MAIL: return false;
	case PROTOCOL_FILES:
		if (!has_side_effects(&easy->options))
			return false;
		break;
	case PROTOCOL_OTHER: break;
	}
	return facts_long(easy, CURLINFO_NUM_CONNECTS) == 0 || info_seconds(easy, CURLINFO_CONNECT_TIME) > 0;
}

/* libcurl replays a request whose HTTP/2 stream was refused, and one that met a kept connection's end, and gives
 * up with this text (Curl_retry_request in lib/transfer.c). A fresh connection's end is not replayed: if each
 * of the tries had one of its own, each was refused. Not where another transfer of the multi may have used it too
 * (none outside may: ConnectionExists in lib/url.c): then it counts as kept for both. */
bool facts_refused(struct easy *easy)
{
	static const char text[] = "Connection died, tried ";
	const char *error = easy->options.error_buffer != NULL ? easy->options.error_buffer : easy->error_text;
	if ((easy->multi != NULL && !member_is_alone(easy)) || easy->response.status != 0 || strncmp(error, text, sizeof text - 1) != 0)
		return false;
	long replays = strtol(error + sizeof text - 1, NULL, 10);
	return replays > 0 && facts_long(easy, CURLINFO_NUM_CONNECTS) == replays + 1;
}

int facts_proxy_error(struct easy *easy) { return (int)facts_long(easy, CURLINFO_PROXY_ERROR); }

/* The whole operation begins again with its first request, so that one's method counts, whatever a
 * redirect made of it. */
bool facts_repeatable(struct easy *easy)
{
	const struct easy_options *options = &easy->options;
	struct request request = {
		.protocol = protocol(easy),
		.method = options_method(options),
		.idempotency_key = options_have_header(options, "Idempotency-Key"),
		.side_effects = has_side_effects(options),
	};
	if (request.protocol == PROTOCOL_FILES)
		request.method = options->request == REQUEST_PUT ? "PUT" : "GET";
	return request_repeatable(easy->config, &request);
}

/* libcurl does not look these names up, but takes both loopback addresses (get_localhost in lib/hostip.c). */
static void localhost_candidates(struct target *target)
{
	static const uint8_t v4[16] = {[10] = 0xff, 0xff, 127, 0, 0, 1}, v6[16] = {[15] = 1};
	const char *dot = strrchr(target->name, '.');
	if (strcasecmp(dot != NULL ? dot + 1 : target->name, "localhost") != 0)
		return;
	memcpy(target->candidate[0], v4, sizeof v4);
	memcpy(target->candidate[1], v6, sizeof v6);
	target->candidates = 2;
}

bool facts_redirected(struct easy *easy) { return facts_long(easy, CURLINFO_REDIRECT_COUNT) > 0; }

/* After a redirect the time may be that of the first host's. */
bool facts_connected(struct easy *easy)
{
	return !facts_redirected(easy) && info_seconds(easy, CURLINFO_CONNECT_TIME) > 0;
}

void facts_target(struct easy *easy, struct target *target)
{
	memset(target, 0, sizeof *target);
	target_set_url(target, facts_text(easy, CURLINFO_EFFECTIVE_URL));
	if (target->name[0] == '\0')
		return;
	addresses_candidates(target);
	/* After a redirect this may still be the previous host's. */
	if (target->candidates == 0 && facts_long(easy, CURLINFO_REDIRECT_COUNT) == 0)
		target_set_address(target, facts_text(easy, CURLINFO_PRIMARY_IP));
	if (target->candidates == 0 && !target->has_address)
		localhost_candidates(target);
}
