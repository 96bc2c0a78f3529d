/* What chaosserver answers to a request, true or not, put into bytes. How they get out is chaosserver.c's. */
#ifndef CHAOS_ANSWER_H
#define CHAOS_ANSWER_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chaos_content.h"

/* Answers other than 200, by attempt. */
static const struct {
	int status;
	unsigned permille;
	const char *header;
} refusals[] = {
	{503, 25, ""}, {503, 10, "Retry-After: 0\r\n"}, {500, 20, ""}, {429, 15, "Retry-After: 0\r\n"}, {429, 10, ""},
	{502, 3, "Retry-After: 7200\r\n"}, /* as good as permanent */
};
enum { GONE = 15, CHUNKED = 250, CHANGED = 30, INTERIM = 50 }; /* of 1,000; GONE: 404, by ID */

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
	const char *header;
	unsigned which;
	size_t start, length; /* of the body's content */
	enum lie lie;
	bool chunked, interim, closes;
	char *bytes;
	size_t first_line, framed, head, total; /* offsets behind the status line, what says where the body ends, the head, all */
};

static uint64_t seed;

static int status_rolled(unsigned id, uint64_t *dice, const char **header)
{
	uint64_t of_id = dice_of(seed, id, 0);
	unsigned luck = roll(dice, 1000);
	*header = "";
	if (roll(&of_id, 1000) < GONE)
		return 404;
	for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; luck -= refusals[i++].permille)
		if (luck < refusals[i].permille) {
			*header = refusals[i].header;
			return refusals[i].status;
		}
	return 200;
}

static void choose_part(const struct request *request, struct answer *its, uint64_t *dice)
{
	size_t start = request->start, aside = 1 + roll(dice, 100);
	unsigned lie = HONEST + 1 + roll(dice, 1000) / LIE;
	its->lie = lie < LIES ? (enum lie)lie : HONEST;
	its->which = request->version + (its->lie == PART_CHANGED || its->lie == WHOLE_CHANGED);
	if (its->lie == WHOLE || its->lie == WHOLE_CHANGED)
		return;
	if (its->lie == PART_SHIFTED)
		start = start >= aside ? start - aside : start + aside;
	its->status = its->lie == BEYOND || start >= request->size ? 416 : 206;
	its->start = start;
	its->length = its->status == 206 ? request->size - start : 0;
	its->length -= its->lie == PART_SHORT && its->length > 1;
}

/* What is answered, before it is put into bytes. */
static struct answer chosen(const struct request *request, uint64_t *dice)
{
	struct answer its = {.length = request->size};
	its.status = status_rolled(request->id, dice, &its.header);
	its.which = request->version + (roll(dice, 1000) < CHANGED);
	if (its.status == 200 && request->part)
		choose_part(request, &its, dice);
	if (its.status >= 400) { /* a body of its own each time */
		its.which = request->attempt * 1000 + (unsigned)its.status;
		its.start = 0;
		its.length = roll(dice, 1500);
	}
	its.chunked = roll(dice, 1000) < CHUNKED;
	its.interim = roll(dice, 1000) < INTERIM;
	return its;
}

static __attribute__((format(printf, 2, 3))) void put(struct answer *its, const char *form, ...)
{
	va_list list;
	va_start(list, form);
	its->total += (size_t)vsprintf(its->bytes + its->total, form, list);
	va_end(list);
}

static void put_head(const struct request *request, struct answer *its)
{
	if (its->interim)
		put(its, "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n");
	put(its, "HTTP/1.1 %d Told\r\n", its->status);
	its->first_line = its->total;
	if (its->chunked)
		put(its, "Transfer-Encoding: chunked\r\n");
	else
		put(its, "Content-Length: %zu\r\n", its->length);
	its->framed = its->total;
	put(its, "X-Id: %u\r\nX-Body: %u\r\nX-Length: %zu\r\n", request->id, its->which, its->length);
	put(its, "Accept-Ranges: bytes\r\n%s%s", its->header, its->closes ? "Connection: close\r\n" : "");
	if (its->status < 300 && its->lie != PART_UNNAMED)
		put(its, "ETag: \"%u.%u\"\r\n", request->id, its->which);
	if (its->status == 206)
		put(its, "Content-Range: bytes %zu-%zu/%zu\r\n", its->start, its->start + its->length - 1, request->size);
	if (its->status == 416)
		put(its, "Content-Range: bytes */%zu\r\n", request->size);
	put(its, "\r\n");
	its->head = its->total;
}

static void put_body(const struct request *request, struct answer *its, uint64_t *dice)
{
	size_t piece;
	for (size_t done = 0; done < its->length; done += piece) {
		size_t most = its->chunked ? 200 + roll(dice, 20000) : its->length;
		piece = most < its->length - done ? most : its->length - done;
		if (its->chunked)
			put(its, "%zx\r\n", piece);
		content_fill(request->id, its->which, its->start + done, its->bytes + its->total, piece);
		its->total += piece;
		if (its->chunked)
			put(its, "\r\n");
	}
	if (its->chunked)
		put(its, "0\r\n\r\n");
}

/* Sets its->bytes, which are the caller's to free, and the offsets. */
static void compose(const struct request *request, struct answer *its, uint64_t *dice)
{
	its->bytes = malloc(4096 + 2 * its->length);
	put_head(request, its);
	if (strcmp(request->method, "HEAD") != 0)
		put_body(request, its, dice);
}

#endif
