/* What reaches the program's write, header and debug callbacks, and what is held back from them. */
#include "hooks/curl_handle.h"

size_t deliver_body(struct easy *easy, char *bytes, size_t size, size_t count)
{
	curl_write_callback write = easy->options.write;
	if (write != NULL)
		return write(bytes, size, count, easy->options.write_data);
	return fwrite(bytes, size, count, easy->options.write_data);
}

size_t deliver_header(struct easy *easy, char *line, size_t length)
{
	if (easy->options.header != NULL)
		return easy->options.header(line, 1, length, easy->options.header_data);
	if (easy->options.header_data == NULL)
		return length;
	if (easy->options.write != NULL)
		return easy->options.write(line, 1, length, easy->options.header_data);
	return fwrite(line, 1, length, easy->options.header_data);
}

static void show(struct easy *easy, curl_infotype type, char *bytes, size_t length)
{
	if (easy->options.debug != NULL)
		easy->options.debug(handle_of(easy), type, bytes, length, easy->options.debug_data);
}

size_t deliver_entry(struct easy *easy, enum entry_kind kind, char *bytes, size_t length)
{
	switch (kind) {
	case ENTRY_HEADER: return deliver_header(easy, bytes, length);
	case ENTRY_BODY: return deliver_body(easy, bytes, 1, length);
	case ENTRY_DEBUG: show(easy, CURLINFO_HEADER_IN, bytes, length); break;
	case ENTRY_REMARK: show(easy, CURLINFO_TEXT, bytes, length); break;
	}
	return length;
}

enum flush deliver_held(struct easy *easy)
{
	struct journal *journal = &easy->response.journal;
	enum entry_kind kind;
	char *bytes;
	size_t length;
	if (journal->used == 0)
		return FLUSHED;
	while (journal_next(journal, &kind, &bytes, &length)) {
		size_t taken = deliver_entry(easy, kind, bytes, length);
		if (taken == CURL_WRITEFUNC_PAUSE)
			return FLUSH_PAUSED;
		if (taken != length) {
			journal_clear(journal); /* nobody is asked a second time */
			return FLUSH_REFUSED;
		}
		journal_delivered(journal);
	}
	journal_clear(journal);
	return FLUSHED;
}

bool deliver_flush(struct easy *easy)
{
	enum flush result;
	while ((result = deliver_held(easy)) == FLUSH_PAUSED)
		journal_delivered(&easy->response.journal);
	easy->response.state = RESPONSE_BETWEEN;
	return result == FLUSHED;
}

void deliver_drop(struct easy *easy)
{
	struct journal *journal = &easy->response.journal;
	enum entry_kind kind;
	char *bytes;
	size_t length;
	for (; journal_next(journal, &kind, &bytes, &length); journal_delivered(journal))
		if (kind == ENTRY_REMARK)
			deliver_entry(easy, kind, bytes, length);
	journal_clear(journal);
}
