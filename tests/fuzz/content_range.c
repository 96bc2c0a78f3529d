/* Two responses, and whether the second is the rest of the first: by a reader that keeps all lines, and asks afterwards. */
#include "fuzz.h"

#include <regex.h>

#include "retryshim/policy.h"

enum { LINES_MOST = 24 };

struct line {
	char name[24], *value; /* of the input; a text */
	size_t length;
};

struct block {
	struct entity entity;
	int64_t wall_s;
	struct line lines[LINES_MOST];
	int count;
};

static regex_t range_shape;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	PROMISE(regcomp(&range_shape, "^bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})$", REG_EXTENDED | REG_ICASE) == 0);
	return 0;
}

static void keep_line(struct block *block, const char *text, size_t length)
{
	struct line *line = &block->lines[block->count++];
	const char *colon = length != 0 ? memchr(text, ':', length) : NULL;
	size_t name = colon != NULL ? (size_t)(colon - text) : 0;
	*line = (struct line){.value = strdup("")};
	if (name == 0 || name >= sizeof line->name || memchr(text, '\0', name) != NULL)
		return;
	memcpy(line->name, text, name);
	for (colon++; colon < text + length && memchr(" \t", *colon, 2) != NULL; colon++)
		;
	while (text + length > colon && memchr(" \t\r\n", text[length - 1], 4) != NULL)
		length--;
	line->length = (size_t)(text + length - colon);
	free(line->value);
	line->value = strndup(colon, line->length);
}

static void read_block(struct block *block, struct input *input, int status)
{
	block->wall_s = (int64_t)number(input, 4);
	block->count = 0;
	entity_clear(&block->entity, status, block->wall_s);
	while (block->count < LINES_MOST && input->at < input->end) {
		size_t length;
		char *text = piece(input, '\n', false, &length);
		bool last = length == 0;
		entity_read_line(&block->entity, text, length);
		keep_line(block, text, length);
		free(text);
		if (last)
			break;
	}
}

static void forget(struct block *block)
{
	for (int i = 0; i < block->count; i++)
		free(block->lines[i].value);
}

/* The last line of this name; how many there are. */
static const struct line *last_line(const struct block *block, const char *name, int *count)
{
	const struct line *found = NULL;
	*count = 0;
	for (int i = 0; i < block->count; i++) {
		if (strcasecmp(block->lines[i].name, name) != 0)
			continue;
		found = &block->lines[i];
		++*count;
	}
	return found;
}

static bool is_whole(const struct line *line) { return strlen(line->value) == line->length; }

static int64_t digits(const char *text, size_t length)
{
	__int128 sum = 0;
	if (length == 0 || length > 19)
		return -1;
	for (size_t i = 0; i < length; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -1;
		sum = sum * 10 + (text[i] - '0');
	}
	return sum <= INT64_MAX ? (int64_t)sum : -1;
}

static int64_t length_of(const struct block *block)
{
	int count;
	const struct line *line = last_line(block, "Content-Length", &count);
	return line != NULL && is_whole(line) ? digits(line->value, line->length) : -1;
}

static const char *modified_of(const struct block *block)
{
	int count;
	const struct line *line = last_line(block, "Last-Modified", &count);
	return line != NULL && is_whole(line) && line->length < VALIDATOR_BYTES ? line->value : "";
}

static const char *validator_of(const struct block *block)
{
	int count;
	const struct line *line = last_line(block, "ETag", &count);
	if (line == NULL)
		return modified_of(block);
	bool strong = line->length >= 2 && line->value[0] == '"' && is_whole(line) && line->value[line->length - 1] == '"';
	return strong && line->length < VALIDATOR_BYTES ? line->value : "";
}

/* Of all lines, the same: first, last, total. */
static bool range_of(const struct block *block, int64_t range[3])
{
	bool any = false;
	for (int i = 0; i < block->count; i++) {
		const struct line *line = &block->lines[i];
		regmatch_t parts[4];
		if (strcasecmp(line->name, "Content-Range") != 0)
			continue;
		if (!is_whole(line) || regexec(&range_shape, line->value, 4, parts, 0) != 0)
			return false;
		for (int part = 0; part < 3; part++) {
			int64_t number = digits(line->value + parts[part + 1].rm_so, (size_t)(parts[part + 1].rm_eo - parts[part + 1].rm_so));
			if (number < 0 || (any && number != range[part]))
				return false;
			range[part] = number;
		}
		any = true;
	}
	return any;
}

static bool continues(const struct block *whole, const struct block *rest, int64_t offset)
{
	int count;
	int64_t range[3], whole_length = length_of(whole), rest_length = length_of(rest);
	if (rest->entity.status != 206 || last_line(rest, "Content-Encoding", &count) != NULL || !range_of(rest, range))
		return false;
	if (range[0] != offset || range[1] < range[0] || range[1] + 1 != range[2])
		return false;
	if ((whole_length >= 0 && whole_length != range[2]) || (rest_length >= 0 && rest_length != range[2] - range[0]))
		return false;
	if (modified_of(rest)[0] != '\0' && strcmp(modified_of(rest), modified_of(whole)) != 0)
		return false;
	return strcmp(validator_of(whole), validator_of(rest)) == 0;
}

static bool resumable(const struct block *whole)
{
	int count;
	const struct line *ranges = last_line(whole, "Accept-Ranges", &count);
	if (whole->entity.status != 200 || ranges == NULL || !is_whole(ranges) || strcasecmp(ranges->value, "bytes") != 0)
		return false;
	if (last_line(whole, "Content-Encoding", &count) != NULL || validator_of(whole)[0] == '\0')
		return false;
	if (last_line(whole, "ETag", &count) != NULL)
		return true;
	int64_t at_s, date_s = whole->wall_s, modified_s = INT64_MAX;
	for (int i = 0; i < whole->count; i++) {
		const struct line *line = &whole->lines[i];
		bool is_date = is_whole(line) && http_date(line->value, line->length, date_s, &at_s);
		if (strcasecmp(line->name, "Date") == 0 && is_date)
			date_s = at_s;
		if (strcasecmp(line->name, "Last-Modified") == 0)
			modified_s = is_date && at_s >= 0 ? at_s : INT64_MAX;
	}
	return modified_s <= date_s - 60;
}

static void check_file(const struct entity *whole, const struct entity *rest, int64_t offset, int64_t start_s)
{
	if (!entity_file_continues(whole, rest, offset, start_s))
		return;
	PROMISE(whole->length >= 0 && rest->length >= 0 && rest->length + offset == whole->length);
	PROMISE(rest->modified_s >= 0 && (whole->modified_s == rest->modified_s || whole->modified_s < 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int statuses[] = {200, 206, 304, 416};
	struct input input = {data, data + size};
	struct block whole, rest;
	uint8_t kinds = byte(&input);
	int64_t offset = (int64_t)number(&input, kinds & 0x80 ? 7 : 1);
	read_block(&whole, &input, statuses[kinds & 3]);
	read_block(&rest, &input, statuses[kinds >> 2 & 3]);
	PROMISE(entity_continues(&whole.entity, &rest.entity, offset) == continues(&whole, &rest, offset));
	PROMISE(entity_resumable(&whole.entity) == resumable(&whole));
	PROMISE(strlen(entity_validator(&whole.entity)) < VALIDATOR_BYTES);
	check_file(&whole.entity, &rest.entity, offset, (int64_t)number(&input, 4));
	forget(&whole);
	forget(&rest);
	return 0;
}
