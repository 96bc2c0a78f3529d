/* A server that has four versions of a file, and now and then something else to say. */
#include "download.h"

enum { VERSIONS = 4, FILE_MOST = 64 };

static const char *const other_bodies[] = {"GONE", "MOVED", "BUSY"};

/* Returns its length. */
static size_t file_of(int version, char bytes[FILE_MOST])
{
	size_t length = 40 + (size_t)version;
	for (size_t i = 0; i < length; i++)
		bytes[i] = (char)('a' + (i * 7 + (size_t)version * 5 + i / 26) % 26);
	return length;
}

static bool send_block(struct play *play, const char *format, ...)
{
	char *block, *end;
	va_list arguments;
	va_start(arguments, format);
	PROMISE(vasprintf(&block, format, arguments) >= 0);
	va_end(arguments);
	told.code = atoi(block + strlen("HTTP/1.1 "));
	bool goes_on = true;
	for (char *line = block; goes_on && *line != '\0'; line = end) {
		end = strchr(line, '\n') + 1;
		goes_on = download_line(play, line, (size_t)(end - line));
	}
	free(block);
	return goes_on;
}

static bool send_other(struct play *play, int status, const char *body)
{
	char *copy = strdup(body);
	bool goes_on = send_block(play, "HTTP/1.1 %d Other\r\nLocation: /\r\n\r\n", status);
	/* Of what it follows libcurl drops the body. */
	if (goes_on && !(status == 302 && play->easy.options.follow_location))
		goes_on = download_body(play, copy, strlen(copy));
	free(copy);
	return goes_on;
}

bool server_answer(struct play *play, struct input *input)
{
	uint8_t how = byte(input), most = byte(input);
	bool follows = play->easy.options.follow_location, going = play->easy.resume.going;
	char bytes[FILE_MOST];
	int version = how >> 3 & 3;
	size_t length = file_of(version, bytes), from = going && (how & 7) != 1 ? (size_t)play->easy.resume.got : 0;
	if (play->answered)
		return true;
	play->answered = (how & 7) != 2 || !follows;
	switch (how & 7) {
	case 2: return send_other(play, 302, "MOVED");
	case 3: return send_other(play, 503, "BUSY");
	case 4: return send_other(play, 416, "GONE");
	case 5: from += going && from < length; break; /* one that skips a byte */
	default: break;
	}
	if (from > length)
		return true;
	const char *lines = how & 32 ? "ETag: \"%d\"\r\nAccept-Ranges: bytes\r\n" : "ETag: W/\"%d\"\r\n";
	char *validator;
	PROMISE(asprintf(&validator, lines, version) >= 0);
	bool goes_on = from != 0 ? send_block(play, "HTTP/1.1 206 Part\r\n%sContent-Range: bytes %zu-%zu/%zu\r\n\r\n", validator, from, length - 1, length)
	             : how & 64  ? send_block(play, "HTTP/1.1 200 OK\r\n%s\r\n", validator)
	                         : send_block(play, "HTTP/1.1 200 OK\r\n%sContent-Length: %zu\r\n\r\n", validator, length);
	free(validator);
	return goes_on && download_body(play, bytes + from, most < length - from ? most : length - from);
}

void server_check(const struct play *it)
{
	const struct text *body = &it->program.body;
	char bytes[FILE_MOST];
	bool is_one = body->length == 0;
	for (int version = 0; version < VERSIONS; version++) {
		is_one |= body->length != 0 && file_of(version, bytes) >= body->length && memcmp(bytes, body->bytes, body->length) == 0;
	}
	for (size_t i = 0; i < sizeof other_bodies / sizeof other_bodies[0]; i++)
		is_one |= body->length != 0 && body->length <= strlen(other_bodies[i]) && strncmp(body->bytes, other_bodies[i], body->length) == 0;
	PROMISE(is_one);
}
