#include "answer.h"
#include "body.h"
#include "net.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* Growing text of a header block. */
struct block {
	FILE *out;
	char *text;
	size_t length;
};

static bool bodiless(int status) { return status < 200 || status == 204 || status == 304; }

static bool is_chunked(const struct step *step, const struct request *request)
{
	return step->chunked == 1 && request->http11 && !bodiless(step->status);
}

static bool has_header(const struct step *step, const char *name)
{
	for (size_t i = 0; i < step->header_count; i++)
		if (strcasecmp(step->headers[i].name, name) == 0)
			return true;
	return false;
}

bool answer_keeps_alive(const struct step *step, const struct request *request)
{
	/* Behind a body that was not read, the next request cannot be found. */
	return request->keep_alive && request->complete && step->close != 1;
}

/* Whole seconds, rounded up: a client that waits until then waits at least as long as was asked. */
static void put_date(FILE *out, int64_t in_ns)
{
	char text[64];
	struct timespec now;
	struct tm parts;
	clock_gettime(CLOCK_REALTIME, &now);
	time_t then = now.tv_sec + (now.tv_nsec + in_ns + NS_PER_S - 1) / NS_PER_S;
	gmtime_r(&then, &parts);
	strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &parts);
	fputs(text, out);
}

static void put_headers(FILE *out, const struct step *step)
{
	for (size_t i = 0; i < step->header_count; i++) {
		const struct step_header *header = &step->headers[i];
		fprintf(out, "%s: ", header->name);
		if (header->date_in_ns >= 0)
			put_date(out, header->date_in_ns);
		else
			fwrite(header->value.data, 1, header->value.length, out);
		fputs("\r\n", out);
	}
}

/* What the script says itself is not said twice. */
static void put_framing(FILE *out, const struct step *step, const struct request *request, uint64_t length)
{
	if (!bodiless(step->status)) {
		if (!has_header(step, "Content-Type"))
			fputs("Content-Type: text/plain\r\n", out);
		if (is_chunked(step, request))
			fputs("Transfer-Encoding: chunked\r\n", out);
		else if (!has_header(step, "Content-Length") && !has_header(step, "Transfer-Encoding"))
			fprintf(out, "Content-Length: %" PRIu64 "\r\n", length);
	}
	if (has_header(step, "Connection"))
		return;
	if (!answer_keeps_alive(step, request))
		fputs("Connection: close\r\n", out);
	else if (!request->http11)
		fputs("Connection: keep-alive\r\n", out);
}

/* False without memory; else the caller frees block->text. */
static bool make_block(struct block *block, const struct step *step, const struct request *request,
		       uint64_t length)
{
	struct bytes reason = body_reason(step);
	*block = (struct block){0};
	block->out = open_memstream(&block->text, &block->length);
	if (!block->out)
		return false;
	fprintf(block->out, "HTTP/1.1 %d ", step->status);
	fwrite(reason.data, 1, reason.length, block->out);
	fputs("\r\n", block->out);
	put_headers(block->out, step);
	put_framing(block->out, step, request, length);
	fputs("\r\n", block->out);
	return fclose(block->out) == 0;
}

static bool send_block(int fd, const struct step *step, const struct request *request, uint64_t length)
{
	struct block block;
	bool sent = make_block(&block, step, request, length) && net_send(fd, block.text, block.length);
	free(block.text);
	return sent;
}

static bool send_span(int fd, const struct body *body, uint64_t from, uint64_t to)
{
	char buffer[16384];
	while (from < to) {
		size_t length = to - from < sizeof(buffer) ? (size_t)(to - from) : sizeof(buffer);
		body_copy(body, from, buffer, length);
		if (!net_send(fd, buffer, length))
			return false;
		from += length;
	}
	return true;
}

static bool send_chunk(int fd, const struct body *body, uint64_t from, uint64_t to)
{
	char size[32];
	int length = snprintf(size, sizeof(size), "%" PRIx64 "\r\n", to - from);
	return net_send(fd, size, (size_t)length) && send_span(fd, body, from, to) && net_send(fd, "\r\n", 2);
}

static uint64_t piece_length(const struct step *step, const struct body *body)
{
	if (step->piece > 0)
		return (uint64_t)step->piece;
	if (step->slow_ns == 0 && step->chunked != 1)
		return body->length;
	return (body->length + 9) / 10;
}

static bool send_body(int fd, const struct step *step, const struct body *body, bool chunked)
{
	uint64_t piece = piece_length(step, body);
	for (uint64_t from = 0; from < body->length; from += piece) {
		uint64_t to = body->length - from < piece ? body->length : from + piece;
		if (from > 0)
			net_pause(step->slow_ns);
		if (!(chunked ? send_chunk : send_span)(fd, body, from, to))
			return false;
	}
	return !chunked || net_send(fd, "0\r\n\r\n", 5);
}

static bool send_interim(int fd, const struct step *step)
{
	char text[64];
	const char *reason = body_status_text((int)step->interim);
	int length = snprintf(text, sizeof(text), "HTTP/1.1 %d %s\r\n\r\n", (int)step->interim, reason);
	return net_send(fd, text, (size_t)length);
}

bool answer_whole(int fd, const struct step *step, const struct request *request)
{
	struct body body;
	body_of_step(&body, step);
	/* RFC 9110, 15.2: HTTP/1.0 knows no 1xx. */
	if (step->interim >= 0 && request->http11 && !send_interim(fd, step))
		return false;
	net_pause(step->delay_ns);
	if (!send_block(fd, step, request, body.length))
		return false;
	if (bodiless(step->status) || strcmp(request->method, "HEAD") == 0)
		return true;
	net_pause(step->gap_ns);
	return send_body(fd, step, &body, is_chunked(step, request));
}

void answer_partial_header(int fd, const struct step *step, const struct request *request)
{
	const struct step ok = {.kind = STEP_ANSWER, .status = 200};
	struct block block;
	if (make_block(&block, &ok, request, 3)) {
		size_t length = step->bytes < 0 ? block.length / 2 : (size_t)step->bytes;
		net_send(fd, block.text, length < block.length ? length : block.length);
	}
	free(block.text);
}

void answer_partial_body(int fd, const struct step *step, const struct request *request)
{
	struct body body;
	struct step ok = *step;
	ok.status = 200;
	body_of_step(&body, &ok);
	if (send_block(fd, &ok, request, body.length) && strcmp(request->method, "HEAD") != 0)
		send_span(fd, &body, 0, (uint64_t)step->bytes);
}
