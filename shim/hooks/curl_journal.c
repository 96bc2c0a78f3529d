/* Callback data that is held back, in order: a kind, a length, the bytes, one entry after another. */
#include "hooks/curl_handle.h"

#include <stdlib.h>
#include <string.h>

struct entry {
	uint32_t kind, length;
};

static bool make_room(struct journal *journal, size_t more)
{
	if (more <= journal->size - journal->used)
		return true;
	size_t size = journal->size != 0 ? journal->size : 2048;
	while (size - journal->used < more)
		size *= 2;
	if (size > 2 * JOURNAL_MOST)
		return false;
	unsigned char *bytes = realloc(journal->bytes, size);
	if (bytes == NULL)
		return false;
	journal->bytes = bytes;
	journal->size = size;
	return true;
}

bool journal_add(struct journal *journal, enum entry_kind kind, const void *bytes, size_t length)
{
	struct entry entry = {.kind = (uint32_t)kind, .length = (uint32_t)length};
	if (length > JOURNAL_MOST || journal->used > JOURNAL_MOST - length || !make_room(journal, sizeof entry + length)) {
		journal->overflowed = true;
		return false;
	}
	memcpy(journal->bytes + journal->used, &entry, sizeof entry);
	memcpy(journal->bytes + journal->used + sizeof entry, bytes, length);
	journal->used += sizeof entry + length;
	return true;
}

bool journal_next(struct journal *journal, enum entry_kind *kind, char **bytes, size_t *length)
{
	struct entry entry;
	if (journal->flushed == journal->used)
		return false;
	memcpy(&entry, journal->bytes + journal->flushed, sizeof entry);
	*kind = (enum entry_kind)entry.kind;
	*bytes = (char *)journal->bytes + journal->flushed + sizeof entry;
	*length = entry.length;
	return true;
}

void journal_delivered(struct journal *journal)
{
	struct entry entry;
	memcpy(&entry, journal->bytes + journal->flushed, sizeof entry);
	journal->flushed += sizeof entry + entry.length;
}

void journal_clear(struct journal *journal)
{
	journal->used = journal->flushed = 0;
	journal->overflowed = false;
}

void journal_free(struct journal *journal)
{
	free(journal->bytes);
	*journal = (struct journal){0};
}
