/* Which requests may be sent again after a server may have acted on them. */
#include "policy/text.h"
#include "retryshim/policy.h"

enum protocol protocol_of(const char *scheme)
{
	static const struct {
		char scheme[8];
		enum protocol protocol;
	} schemes[] = {
		{"", PROTOCOL_HTTP},      {"http", PROTOCOL_HTTP},  {"https", PROTOCOL_HTTP}, {"ftp", PROTOCOL_FILES},
		{"ftps", PROTOCOL_FILES}, {"sftp", PROTOCOL_FILES}, {"scp", PROTOCOL_FILES},  {"smtp", PROTOCOL_MAIL},
		{"smtps", PROTOCOL_MAIL},
	};
	for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++)
		if (text_equal(scheme, schemes[i].scheme))
			return schemes[i].protocol;
	return PROTOCOL_OTHER;
}

bool request_repeatable(const struct config *config, const struct request *request)
{
	switch (request->protocol) {
	case PROTOCOL_HTTP: return request->idempotency_key || match_token(config->methods, request->method);
	case PROTOCOL_FILES: return !request->side_effects && match_token(config->methods, request->method);
	case PROTOCOL_MAIL:
	case PROTOCOL_OTHER: break;
	}
	return false;
}
