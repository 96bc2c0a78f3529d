#include "body.h"

#include <stdio.h>
#include <string.h>

#define LINE_LENGTH 16

/* RFC 9110, 15; the others from the IANA registry of HTTP status codes. */
static const struct {
	int status;
	const char *text;
} phrases[] = {
	{100, "Continue"},
	{101, "Switching Protocols"},
	{102, "Processing"},
	{103, "Early Hints"},
	{200, "OK"},
	{201, "Created"},
	{202, "Accepted"},
	{204, "No Content"},
	{206, "Partial Content"},
	{301, "Moved Permanently"},
	{302, "Found"},
	{303, "See Other"},
	{304, "Not Modified"},
	{307, "Temporary Redirect"},
	{308, "Permanent Redirect"},
	{400, "Bad Request"},
	{401, "Unauthorized"},
	{403, "Forbidden"},
	{404, "Not Found"},
	{405, "Method Not Allowed"},
	{408, "Request Timeout"},
	{409, "Conflict"},
	{412, "Precondition Failed"},
	{413, "Content Too Large"},
	{416, "Range Not Satisfiable"},
	{417, "Expectation Failed"},
	{421, "Misdirected Request"},
	{422, "Unprocessable Content"},
	{425, "Too Early"},
	{429, "Too Many Requests"},
	{500, "Internal Server Error"},
	{501, "Not Implemented"},
	{502, "Bad Gateway"},
	{503, "Service Unavailable"},
	{504, "Gateway Timeout"},
	{505, "HTTP Version Not Supported"},
};

const char *body_status_text(int status)
{
	for (size_t i = 0; i < sizeof(phrases) / sizeof(phrases[0]); i++)
		if (phrases[i].status == status)
			return phrases[i].text;
	return "Unknown";
}

struct bytes body_reason(const struct step *step)
{
	const char *text = body_status_text(step->status);
	return step->reason.data ? step->reason : (struct bytes){text, strlen(text)};
}

void body_of_step(struct body *body, const struct step *step)
{
	*body = (struct body){.text = step->body.data, .length = step->body.length};
	if (step->body.data)
		return;
	if (step->size >= 0) {
		body->length = (uint64_t)step->size;
		body->offset = (uint64_t)step->offset;
		return;
	}
	struct bytes reason = body_reason(step);
	int room = (int)sizeof(body->standard) - 8;
	int wanted = reason.length < (size_t)room ? (int)reason.length : room;
	if (step->status >= 200 && step->status <= 299)
		snprintf(body->standard, sizeof(body->standard), "ok\n");
	else
		snprintf(body->standard, sizeof(body->standard), "%d %.*s\n", step->status, wanted, reason.data);
	body->text = body->standard;
	body->length = strlen(body->standard);
}

static void pattern_line(uint64_t number, char line[LINE_LENGTH])
{
	line[LINE_LENGTH - 1] = '\n';
	for (size_t i = LINE_LENGTH - 1; i-- > 0; number /= 10)
		line[i] = (char)('0' + number % 10);
}

void body_copy(const struct body *body, uint64_t from, char *out, size_t length)
{
	if (body->text) {
		memcpy(out, body->text + from, length);
		return;
	}
	uint64_t at = body->offset + from;
	while (length > 0) {
		char line[LINE_LENGTH];
		size_t column = (size_t)(at % LINE_LENGTH);
		size_t part = LINE_LENGTH - column < length ? LINE_LENGTH - column : length;
		pattern_line(at / LINE_LENGTH, line);
		memcpy(out, line + column, part);
		out += part;
		at += part;
		length -= part;
	}
}
