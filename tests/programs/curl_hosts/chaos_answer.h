/* What chaosserver answers to a request, true or not, put into bytes. How they get out is chaosserver.c's. */
#ifndef CHAOS_ANSWER_H
#define CHAOS_ANSWER_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "chaos_content.h"

/* Answers other than 200, by attempt. */
static const struct {
	int status;
	unsigned permille;
	const char *header;
} refusals[] = {
	{503, 25, ""}, {503, 10, "Retry-After: 0\r\n"}, {500, 20, ""}, {429, 15, "Retry-After: 0\r\n"}, {429, 10, ""},
	{503, 3, "Retry-After: 7200\r\n"},
};
enum { GONE = 15 }; /* 404, by ID */

/* What is wrong with the answer to a request for a part. */
enum lie { HONEST, WHOLE, WHOLE_CHANGED, PART_CHANGED, PART_UNNAMED, PART_SHIFTED, PART_SHORT, BEYOND, LIES };
static const char *const lie_names[] = {"none", "whole", "whole-changed", "changed", "unnamed", "shifted", "short", "416"};
enum { LIE = 6 }; /* of 1,000, each */

struct request {
	char method[8];
	unsigned id, attempt;
	size_t size;     /* of the whole response body */
	size_t upload;
	size_t start;    /* of the part that is asked for */
	bool part;
	unsigned version; /* by If-Range; 1 without */
};

struct answer {
	int status;
	unsigned which;
	size_t start, length;
	enum lie lie;
	bool refusal, chunked;
	char *bytes;
	size_t head, first_line, framed, total; /* framed: how far it takes to say where the body ends */
};

static uint64_t seed;

/* What is answered, before it is put into bytes. */
static struct answer chosen(const struct request *request, uint64_t *dice, const char **header)
{
	unsigned luck = roll(dice, 1000), lied = roll(dice, 1000), changes = roll(dice, 30) == 0;
	uint64_t of_id = dice_of(seed, request->id, 0);
	struct answer its = {.status = 200, .which = request->version + changes, .length = request->size};
	*header = "";
	its.status = roll(&of_id, 1000) < GONE ? 404 : 200;
	for (size_t i = 0; its.status == 200 && i < sizeof refusals / sizeof refusals[0]; luck -= refusals[i++].permille)
		if (luck < refusals[i].permille) {
			its.status = refusals[i].status;
			*header = refusals[i].header;
			break;
		}
	if (its.status == 200 && request->part) {
		size_t aside = 1 + roll(dice, request->start < 100 ? request->start + 1 : 100);
		its.lie = lied < LIE * (LIES - 1) ? 1 + lied / LIE : HONEST;
		its.which = request->version + (its.lie == PART_CHANGED || its.lie == WHOLE_CHANGED);
		its.start = its.lie != PART_SHIFTED ? request->start : request->start >= aside ? request->start - aside : request->start + 1;
		its.status = its.lie == WHOLE || its.lie == WHOLE_CHANGED ? 200 : its.lie == BEYOND || its.start >= request->size ? 416 : 206;
		its.start = its.status == 206 ? its.start : 0;
		its.length = request->size - its.start;
		its.length -= its.lie == PART_SHORT && its.length > 1;
	}
	if (its.status >= 400) { /* a body of its own each time */
		its.which = request->attempt * 1000 + (unsigned)its.status;
		its.length = roll(dice, 1500);
	}
	its.chunked = roll(dice, 1000) < CHUNKED;
	return its;
}

static size_t put_head(const struct request *request, struct answer *its, const char *header, bool interim, bool closes)
{
	char *at = its->bytes;
	its->first_line = (size_t)(at - its->bytes);
	at += sprintf(at, "%s", interim ? "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n" : "");
	at += sprintf(at, "HTTP/1.1 %d Told\r\n", its->status);
	its->first_line = (size_t)(at - its->bytes);
	at += its->chunked ? sprintf(at, "Transfer-Encoding: chunked\r\n") : sprintf(at, "Content-Length: %zu\r\n", its->length);
	its->framed = (size_t)(at - its->bytes);
	at += sprintf(at, "X-Id: %u\r\nX-Body: %u\r\nX-Length: %zu\r\nAccept-Ranges: bytes\r\n%s%s", request->id, its->which,
	              its->length, header, closes ? "Connection: close\r\n" : "");
	if (its->status < 300 && its->lie != PART_UNNAMED)
		at += sprintf(at, "ETag: \"%u.%u\"\r\n", request->id, its->which);
	if (its->status == 206)
		at += sprintf(at, "Content-Range: bytes %zu-%zu/%zu\r\n", its->start, its->start + its->length - 1, request->size);
	if (its->status == 416)
		at += sprintf(at, "Content-Range: bytes */%zu\r\n", request->size);
	at += sprintf(at, "\r\n");
	return (size_t)(at - its->bytes);
}

static size_t put_body(const struct request *request, const struct answer *its, char *out, uint64_t *dice)
{
	char *at = out;
	for (size_t done = 0; done < its->length;) {
		size_t most = its->chunked ? 200 + roll(dice, 20000) : its->length;
		size_t piece = most < its->length - done ? most : its->length - done;
		at += its->chunked ? sprintf(at, "%zx\r\n", piece) : 0;
		content_fill(request->id, its->which, its->start + done, at, piece);
		at += piece;
		at += its->chunked ? sprintf(at, "\r\n") : 0;
		done += piece;
	}
	at += its->chunked ? sprintf(at, "0\r\n\r\n") : 0;
	return (size_t)(at - out);
}

#endif
