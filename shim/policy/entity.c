/* Two responses, and whether one goes on where the other broke off. */
#include <string.h>

#include "policy/text.h"
#include "retryshim/policy.h"

void entity_clear(struct entity *entity, int status, int64_t wall_s)
{
	*entity = (struct entity){.status = status, .modified_s = -1, .date_s = wall_s, .length = -1, .first = -1, .last = -1, .total = -1};
}

/* Text of exactly `length` bytes that is a number of digits; -1 if it is none. */
static int64_t number(const char *text, size_t length)
{
	char digits[20];
	int64_t value;
	if (length == 0 || length >= sizeof digits)
		return -1;
	for (size_t i = 0; i < length; i++)
		if (text[i] < '0' || text[i] > '9')
			return -1;
	memcpy(digits, text, length);
	digits[length] = '\0';
	return text_integer(digits, &value) ? value : -1;
}

struct range {
	int64_t first, last, total;
};

/* "bytes 5-9/10"; whatever is not just that is unknown, and will not match. */
static struct range range_of(const char *value, size_t length)
{
	static const char unit[] = "bytes ";
	const size_t skip = sizeof unit - 1;
	struct range range = {-1, -1, -1};
	if (length <= skip || !text_equal_span(unit, value, skip))
		return range;
	value += skip;
	length -= skip;
	const char *dash = memchr(value, '-', length), *slash = memchr(value, '/', length);
	if (dash == NULL || slash == NULL || slash < dash)
		return range;
	range.first = number(value, (size_t)(dash - value));
	range.last = number(dash + 1, (size_t)(slash - dash - 1));
	range.total = number(slash + 1, length - (size_t)(slash + 1 - value));
	return range;
}

/* Two that differ tell nothing. */
static void read_range(struct entity *entity, const char *value, size_t length)
{
	struct range range = range_of(value, length);
	if (entity->has_range && (range.first != entity->first || range.last != entity->last || range.total != entity->total))
		range = (struct range){-1, -1, -1};
	entity->has_range = true;
	entity->first = range.first;
	entity->last = range.last;
	entity->total = range.total;
}

static void keep(char *out, const char *value, size_t length)
{
	out[0] = '\0';
	if (length >= VALIDATOR_BYTES || memchr(value, '\0', length) != NULL)
		return;
	memcpy(out, value, length);
	out[length] = '\0';
}

static void read_etag(struct entity *entity, const char *value, size_t length)
{
	bool strong = length >= 2 && value[0] == '"' && value[length - 1] == '"';
	entity->has_etag = true;
	keep(entity->etag, value, strong ? length : 0);
}

static void read_modified(struct entity *entity, const char *value, size_t length)
{
	keep(entity->modified, value, length);
	if (!http_date(value, length, entity->date_s, &entity->modified_s))
		entity->modified_s = -1;
}

static bool is(const char *word, const char *value, size_t length)
{
	return strlen(word) == length && text_equal_span(word, value, length);
}

void entity_read_line(struct entity *entity, const char *line, size_t length)
{
	size_t size;
	const char *value;
	if ((value = http_header_value(line, length, "ETag", &size)) != NULL)
		read_etag(entity, value, size);
	else if ((value = http_header_value(line, length, "Last-Modified", &size)) != NULL)
		read_modified(entity, value, size);
	else if ((value = http_header_value(line, length, "Date", &size)) != NULL)
		http_date(value, size, entity->date_s, &entity->date_s);
	else if ((value = http_header_value(line, length, "Accept-Ranges", &size)) != NULL)
		entity->accepts_ranges = is("bytes", value, size);
	else if (http_header_value(line, length, "Content-Encoding", &size) != NULL)
		entity->encoded = true;
	else if ((value = http_header_value(line, length, "Content-Length", &size)) != NULL)
		entity->length = number(value, size);
	else if ((value = http_header_value(line, length, "Content-Range", &size)) != NULL)
		read_range(entity, value, size);
}

const char *entity_validator(const struct entity *entity)
{
	return entity->has_etag ? entity->etag : entity->modified;
}

bool entity_resumable(const struct entity *entity)
{
	if (entity->status != 200 || !entity->accepts_ranges || entity->encoded || entity_validator(entity)[0] == '\0')
		return false;
	return entity->has_etag || (entity->modified_s >= 0 && entity->modified_s <= entity->date_s - 60);
}

bool entity_continues(const struct entity *whole, const struct entity *rest, int64_t offset)
{
	if (rest->status != 206 || rest->encoded || rest->first != offset || rest->total < 0 || rest->last != rest->total - 1)
		return false;
	if (rest->last < rest->first) /* no range at all (RFC 9110, 14.4) */
		return false;
	if ((whole->length >= 0 && rest->total != whole->length) || (rest->length >= 0 && rest->length != rest->total - offset))
		return false;
	/* A 206 need not repeat Last-Modified beside an ETag (RFC 9110, 15.3.7); if it does, both have to agree. */
	if (rest->modified[0] != '\0' && strcmp(whole->modified, rest->modified) != 0)
		return false;
	return strcmp(entity_validator(whole), entity_validator(rest)) == 0;
}

bool entity_file_continues(const struct entity *whole, const struct entity *rest, int64_t offset, int64_t start_wall_s)
{
	const int64_t day_s = 24 * 60 * 60;
	if (whole->length < 0 || rest->length != whole->length - offset || rest->modified_s < 0)
		return false;
	if (whole->modified_s >= 0)
		return rest->modified_s == whole->modified_s;
	return rest->modified_s < start_wall_s - day_s;
}
