#include "http.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* CRC-32 of ISO 3309, four bits a step: sixteen constants need no table made at start. */
static uint32_t crc32_add(uint32_t crc, const char *data, size_t length)
{
	static const uint32_t nibble[16] = {
		0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
		0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
	crc = ~crc;
	for (size_t i = 0; i < length; i++) {
		crc ^= (unsigned char)data[i];
		crc = (crc >> 4) ^ nibble[crc & 15];
		crc = (crc >> 4) ^ nibble[crc & 15];
	}
	return ~crc;
}

static bool read_size(const char *text, int base, uint64_t *size)
{
	static const char digits[] = "0123456789abcdefABCDEF";
	size_t allowed = strspn(text, digits);
	if (allowed == 0 || allowed > 15)
		return false;
	char *end;
	*size = strtoull(text, &end, base);
	/* A chunk's size may be followed by extensions. */
	return *end == '\0' || (base == 16 && strchr("; \t", *end));
}

/* True if a comma list holds `word`, in any case. */
static bool lists(const char *list, const char *word)
{
	size_t length = strlen(word);
	while (*list) {
		list += strspn(list, ", \t");
		size_t item = strcspn(list, ", \t");
		if (item == length && strncasecmp(list, word, length) == 0)
			return true;
		list += item;
	}
	return false;
}

/* Ends the line at *cursor and moves behind it; NULL at the blank line. */
static char *next_line(char **cursor)
{
	char *line = *cursor;
	char *newline = strchr(line, '\n');
	if (!newline)
		return NULL;
	*cursor = newline + 1;
	*newline = '\0';
	if (newline > line && newline[-1] == '\r')
		newline[-1] = '\0';
	return *line ? line : NULL;
}

static bool read_request_line(struct request *request, char *line)
{
	char *path = line ? strchr(line, ' ') : NULL;
	if (!path)
		return false;
	*path++ = '\0';
	request->method = line;
	char *version = strchr(path, ' ');
	if (!version)
		return false;
	*version++ = '\0';
	request->path = path;
	request->http11 = strcmp(version, "HTTP/1.1") == 0;
	return request->http11 || strcmp(version, "HTTP/1.0") == 0;
}

static bool read_field(struct request *request, char *line)
{
	char *colon = strchr(line, ':');
	if (!colon || colon == line || request->field_count == REQUEST_FIELDS_MAX)
		return false;
	*colon = '\0';
	for (char *c = line; c < colon; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c - 'A' + 'a');
	char *value = colon + 1 + strspn(colon + 1, " \t");
	for (size_t end = strlen(value); end > 0 && strchr(" \t", value[end - 1]); end--)
		value[end - 1] = '\0';
	request->fields[request->field_count++] = (struct request_field){line, value};
	return true;
}

/* Takes from the fields what governs the reading of the body and the connection's fate. */
static bool interpret(struct request *request)
{
	bool expects = false;
	request->keep_alive = request->http11;
	for (size_t i = 0; i < request->field_count; i++) {
		const struct request_field *field = &request->fields[i];
		if (strcmp(field->name, "content-length") == 0) {
			if (!read_size(field->value, 10, &request->content_length))
				return false;
		} else if (strcmp(field->name, "transfer-encoding") == 0) {
			request->chunked = lists(field->value, "chunked");
		} else if (strcmp(field->name, "connection") == 0) {
			if (lists(field->value, "keep-alive"))
				request->keep_alive = true;
			if (lists(field->value, "close"))
				request->keep_alive = false;
		} else if (strcmp(field->name, "expect") == 0) {
			expects = lists(field->value, "100-continue");
		}
	}
	request->expects_continue =
		expects && request->http11 && (request->chunked || request->content_length > 0);
	return true;
}

static bool parse_head(struct request *request)
{
	char *cursor = request->head;
	if (strlen(request->head) != request->head_length)
		return false; /* a NUL in it */
	if (!read_request_line(request, next_line(&cursor)))
		return false;
	for (char *line = next_line(&cursor); line; line = next_line(&cursor))
		if (!read_field(request, line))
			return false;
	return interpret(request);
}

enum head_result http_read_head(struct reader *reader, struct request *request)
{
	*request = (struct request){.method = "", .path = ""};
	size_t length = reader_block(reader);
	if (length == 0)
		return reader->start == reader->end ? HEAD_NONE : HEAD_BROKEN;
	request->head = malloc(length + 1);
	if (!request->head)
		return HEAD_BROKEN;
	memcpy(request->head, reader->data + reader->start, length);
	request->head[length] = '\0';
	request->head_length = length;
	reader->start += length;
	return parse_head(request) ? HEAD_READ : HEAD_BROKEN;
}

void http_unread_head(struct reader *reader, const struct request *request)
{
	reader->start -= request->head_length;
}

/* Takes `length` bytes of body; false if the stream or the limit ends before. */
static bool take(struct reader *reader, struct request *request, uint64_t length, uint64_t limit)
{
	while (length > 0) {
		uint64_t wanted = limit - request->body_length;
		if (wanted > length)
			wanted = length;
		if (wanted == 0)
			return false;
		if (reader->start == reader->end && !reader_fill(reader))
			return false;
		size_t have = reader->end - reader->start;
		size_t taken = wanted < have ? (size_t)wanted : have;
		request->body_crc = crc32_add(request->body_crc, reader->data + reader->start, taken);
		request->body_length += taken;
		reader->start += taken;
		length -= taken;
	}
	return true;
}

static bool take_chunks(struct reader *reader, struct request *request, uint64_t limit)
{
	for (;;) {
		uint64_t size;
		const char *line = reader_line(reader, NULL);
		if (!line || !read_size(line, 16, &size))
			return false;
		if (size == 0)
			break;
		if (!take(reader, request, size, limit))
			return false;
		line = reader_line(reader, NULL);
		if (!line || *line)
			return false;
	}
	for (;;) {
		const char *trailer = reader_line(reader, NULL);
		if (!trailer || !*trailer)
			return trailer != NULL;
	}
}

void http_read_body(struct reader *reader, struct request *request, uint64_t limit)
{
	request->complete = request->chunked ? take_chunks(reader, request, limit)
					     : take(reader, request, request->content_length, limit);
}

void http_free(struct request *request)
{
	free(request->head);
	request->head = NULL;
}
