/* Callback data that is held back, in order: a kind, a length, the bytes, one entry after another. */
#include "hooks/curl_handle.h"

#include <stdlib.h>

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

bool journal_add_more(struct journal *journal, enum entry_kind kind, const void *bytes, size_t length)
{
	if (length > JOURNAL_MOST || journal->used > JOURNAL_MOST - length || !make_room(journal, sizeof(struct journal_entry) + length)) {
		journal->overflowed = true;
		return false;
	}
	return journal_add(journal, kind, bytes, length);
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
