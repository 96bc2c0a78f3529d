/* Reading HTTP/1.x requests (RFC 9112). */
#ifndef FAULTS_HTTP_H
#define FAULTS_HTTP_H

#include "reader.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REQUEST_FIELDS_MAX 128
#define BODY_UNLIMITED     UINT64_MAX

struct request_field {
	const char *name; /* lower case */
	const char *value;
};

struct request {
	char *head; /* owned; the texts below point into it */
	size_t head_length;
	const char *method, *path; /* "" if they could not be read */
	bool http11;               /* false: HTTP/1.0 */
	struct request_field fields[REQUEST_FIELDS_MAX];
	size_t field_count;
	uint64_t content_length;
	bool chunked;
	bool keep_alive;       /* what the client allows */
	bool expects_continue; /* and has a body to send */
	uint64_t body_length;  /* read so far */
	uint32_t body_crc;     /* CRC-32 as zlib's */
	bool complete;         /* everything was read */
};

enum head_result { HEAD_READ, HEAD_NONE, HEAD_BROKEN };

/* Reads a request's line and header fields and leaves the reader at its body. HEAD_NONE: the client
 * closed before sending any. HEAD_BROKEN: it sent something else, or too little; the request then
 * holds what was understood. End with http_free() in every case. */
enum head_result http_read_head(struct reader *reader, struct request *request);

/* Gives the head back to the reader, unread. Only right after http_read_head(). */
void http_unread_head(struct reader *reader, const struct request *request);

/* Reads the body, or its first `limit` bytes, and counts it in `request`. */
void http_read_body(struct reader *reader, struct request *request, uint64_t limit);

void http_free(struct request *request);

#endif
