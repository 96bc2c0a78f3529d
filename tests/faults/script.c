#include "script.h"
#include "vocabulary.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((format(printf, 2, 3))) static bool fail(char *error, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(error, STEP_ERROR_SIZE, format, arguments);
	va_end(arguments);
	return false;
}

static bool read_header(struct step *step, char *text, char *error)
{
	static const char token[] = "!#$%&'*+-.^_`|~0123456789"
				    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
	if (step->header_count == STEP_HEADERS_MAX)
		return fail(error, "more than %d headers", STEP_HEADERS_MAX);
	struct step_header *header = &step->headers[step->header_count++];
	size_t name = strspn(text, token);
	if (name == 0 || text[name] != ':')
		return fail(error, "'%s' is no `NAME: VALUE'", text);
	text[name] = '\0';
	header->name = text;
	header->date_in_ns = -1;
	char *value = text + name + 1;
	value += strspn(value, " ");
	if (strncmp(value, "@+", 2) == 0)
		return text_duration(value + 2, &header->date_in_ns) ||
		       fail(error, "'%s' is no duration like @+2s", value);
	return text_unescape(value, &header->value) || fail(error, "unknown escape in '%s'", value);
}

static bool read_lines(struct step *step, char *text, char separator, char *error)
{
	char *cursor = text;
	while (cursor) {
		if (step->line_count == STEP_LINES_MAX)
			return fail(error, "more than %d lines", STEP_LINES_MAX);
		char *line = separator ? text_cut(&cursor, separator) : cursor;
		if (!separator)
			cursor = NULL;
		if (!text_unescape(line, &step->lines[step->line_count++]))
			return fail(error, "unknown escape in '%s'", line);
	}
	return true;
}

static bool read_host_port(struct step *step, char *text, char *error)
{
	int64_t port;
	char *colon = strrchr(text, ':');
	if (!colon || colon == text || !text_count(colon + 1, &port) || port < 1 || port > 65535)
		return fail(error, "'%s' is no HOST:PORT", text);
	*colon = '\0';
	step->port = colon + 1;
	step->host = text;
	if (text[0] == '[' && colon[-1] == ']') {
		colon[-1] = '\0';
		step->host = text + 1;
	}
	return true;
}

static bool read_number(enum value_type type, const char *text, int64_t *number, char *error)
{
	if (type == VALUE_TIME)
		return text_duration(text, number) || fail(error, "'%s' is no duration like 500ms or 2s", text);
	if (!text_count(text, number))
		return fail(error, "'%s' is no number", text);
	if (type == VALUE_FLAG && *number > 1)
		return fail(error, "'%s' is neither 0 nor 1", text);
	/* 101 would hand the connection to another protocol. */
	if (type == VALUE_INTERIM && (*number < 100 || *number > 199 || *number == 101))
		return fail(error, "'%s' is no interim status", text);
	return true;
}

static bool read_value(struct step *step, enum value_type type, size_t offset, char *text, char *error)
{
	void *member = (char *)step + offset;
	switch (type) {
	case VALUE_NONE: return true;
	case VALUE_TEXT: return text_unescape(text, member) || fail(error, "unknown escape in '%s'", text);
	case VALUE_HEADER: return read_header(step, text, error);
	case VALUE_GREETING: return read_lines(step, text, '\0', error);
	case VALUE_LINES: return read_lines(step, text, '|', error);
	case VALUE_HOST_PORT: return read_host_port(step, text, error);
	default: return read_number(type, text, member, error);
	}
}

static bool read_name(struct step *step, char *text, char *error)
{
	int64_t status;
	char *value = strchr(text, '=');
	if (value)
		*value++ = '\0';
	step->name = text;
	if (strlen(text) == 3 && text_count(text, &status) && status >= 100 && status <= 599) {
		step->status = (int)status;
		return !value || fail(error, "a status takes no value");
	}
	const struct step_word *word = step_words + 1;
	while (word->name && strcmp(word->name, text) != 0)
		word++;
	if (!word->name)
		return fail(error, "unknown step '%s'", text);
	step->kind = word->kind;
	if ((word->type != VALUE_NONE) != (value != NULL))
		return fail(error, value ? "'%s' takes no value" : "'%s' needs a value", text);
	return !value || read_value(step, word->type, word->offset, value, error);
}

static bool read_modifier(struct step *step, char *text, char *error)
{
	char *value = strchr(text, '=');
	if (!value)
		return fail(error, "modifier '%s' is no key=value", text);
	*value++ = '\0';
	const struct modifier_word *word = modifier_words;
	while (word->name && strcmp(word->name, text) != 0)
		word++;
	if (!word->name)
		return fail(error, "unknown modifier '%s'", text);
	if (!(word->kinds & (1U << step->kind)))
		return fail(error, "modifier '%s' does not belong to step '%s'", text, step->name);
	return read_value(step, word->type, word->offset, value, error);
}

static bool complete(struct step *step, char *error)
{
	if (step->body.data && step->size >= 0)
		return fail(error, "body and size exclude each other");
	if (step->piece == 0)
		return fail(error, "a piece has at least one byte");
	if (step->kind == STEP_PARTIAL_BODY && step->size < 0)
		step->size = 1000;
	if (step->offset > 0 && step->size < 0)
		return fail(error, "offset needs a size");
	if (step->kind != STEP_PARTIAL_BODY)
		return true;
	if (step->bytes < 0)
		step->bytes = step->size / 2;
	return step->bytes <= step->size || fail(error, "bytes is greater than size");
}

bool script_add(struct script *script, const char *text, char *error)
{
	struct step *steps = realloc(script->steps, (script->count + 1) * sizeof(*steps));
	if (!steps)
		return fail(error, "out of memory");
	script->steps = steps;
	struct step *step = &steps[script->count++];
	*step = (struct step){.kind = STEP_ANSWER, .size = -1, .bytes = -1, .piece = -1, .interim = -1, .for_ns = -1};
	step->storage = strdup(text);
	if (!step->storage)
		return fail(error, "out of memory");
	char *cursor = step->storage;
	if (!read_name(step, text_cut(&cursor, ','), error))
		return false;
	while (cursor)
		if (!read_modifier(step, text_cut(&cursor, ','), error))
			return false;
	return complete(step, error);
}

static const struct step *take(struct script *script, bool at_accept)
{
	const struct step *step = NULL;
	pthread_mutex_lock(&script->lock);
	const struct step *next = &script->steps[script->next];
	if (!at_accept || vocabulary_step(next->kind)->at_accept) {
		step = next;
		if (script->next + 1 < script->count)
			script->next++;
	}
	pthread_mutex_unlock(&script->lock);
	return step;
}

const struct step *script_take(struct script *script) { return take(script, false); }

const struct step *script_take_at_accept(struct script *script) { return take(script, true); }
