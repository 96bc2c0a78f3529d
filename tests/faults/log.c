#include "log.h"
#include "net.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int log_fd = -1;
static int64_t start_ns;

struct entry {
	FILE *out;
	char *text;
	size_t length;
};

void log_start(void) { start_ns = net_now_ns(); }

bool log_open(const char *path)
{
	log_fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
	return log_fd >= 0;
}

/* False if there is no log; else entry->out is open until commit(). */
static bool begin(struct entry *entry, const char *event)
{
	*entry = (struct entry){0};
	if (log_fd < 0)
		return false;
	entry->out = open_memstream(&entry->text, &entry->length);
	if (!entry->out)
		return false;
	double t_ms = (double)(net_now_ns() - start_ns) / (double)NS_PER_MS;
	fprintf(entry->out, "{\"t_ms\":%.3f,\"event\":\"%s\"", t_ms, event);
	return true;
}

static void commit(struct entry *entry)
{
	fputs("}\n", entry->out);
	fclose(entry->out);
	/* A full disk loses the line; the test that waits for it tells. */
	ssize_t written = write(log_fd, entry->text, entry->length);
	(void)written;
	free(entry->text);
}

/* Bytes above 127 are told as Latin-1, which is JSON whatever the client sent. */
static void put_escaped(FILE *out, const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c < 0x20 || c >= 0x7f)
			fprintf(out, "\\u%04x", c);
		else
			fputc(c, out);
	}
}

static void put_string(FILE *out, const char *text)
{
	fputc('"', out);
	put_escaped(out, text, strlen(text));
	fputc('"', out);
}

static void put_step(FILE *out, const char *step)
{
	fputs(",\"step\":", out);
	if (step)
		put_string(out, step);
	else
		fputs("null", out);
}

static bool seen_before(const struct request *request, size_t index)
{
	for (size_t i = 0; i < index; i++)
		if (strcmp(request->fields[i].name, request->fields[index].name) == 0)
			return true;
	return false;
}

/* A repeated field is one JSON key, its values joined by ", " (RFC 9110, 5.3). */
static void put_fields(FILE *out, const struct request *request)
{
	const char *separator = "";
	fputs(",\"headers\":{", out);
	for (size_t i = 0; i < request->field_count; i++) {
		if (seen_before(request, i))
			continue;
		const char *name = request->fields[i].name;
		fputs(separator, out);
		put_string(out, name);
		fputs(":\"", out);
		for (size_t k = i; k < request->field_count; k++) {
			if (strcmp(request->fields[k].name, name) != 0)
				continue;
			if (k > i)
				fputs(", ", out);
			put_escaped(out, request->fields[k].value, strlen(request->fields[k].value));
		}
		fputc('"', out);
		separator = ",";
	}
	fputc('}', out);
}

void log_listening(void)
{
	struct entry entry;
	if (begin(&entry, "open"))
		commit(&entry);
}

void log_accept(uint64_t connection, const char *step)
{
	struct entry entry;
	if (!begin(&entry, "accept"))
		return;
	fprintf(entry.out, ",\"conn\":%" PRIu64, connection);
	put_step(entry.out, step);
	commit(&entry);
}

void log_request(uint64_t connection, uint64_t number, const char *step, const struct request *request)
{
	struct entry entry;
	if (!begin(&entry, "request"))
		return;
	fprintf(entry.out, ",\"conn\":%" PRIu64 ",\"req\":%" PRIu64, connection, number);
	put_step(entry.out, step);
	fputs(",\"method\":", entry.out);
	put_string(entry.out, request->method);
	fputs(",\"path\":", entry.out);
	put_string(entry.out, request->path);
	put_fields(entry.out, request);
	fprintf(entry.out, ",\"body_len\":%" PRIu64 ",\"body_crc32\":\"%08" PRIx32 "\",\"complete\":%s",
		request->body_length, request->body_crc, request->complete ? "true" : "false");
	commit(&entry);
}

static void log_text(uint64_t connection, const char *event, const char *text, size_t length)
{
	struct entry entry;
	if (!begin(&entry, event))
		return;
	fprintf(entry.out, ",\"conn\":%" PRIu64 ",\"text\":\"", connection);
	put_escaped(entry.out, text, length);
	fputc('"', entry.out);
	commit(&entry);
}

void log_line(uint64_t connection, const char *text, size_t length)
{
	log_text(connection, "line", text, length);
}

void log_failure(uint64_t connection, const char *message)
{
	log_text(connection, "failure", message, strlen(message));
}

void log_closed(uint64_t connection)
{
	struct entry entry;
	if (!begin(&entry, "closed"))
		return;
	fprintf(entry.out, ",\"conn\":%" PRIu64, connection);
	commit(&entry);
}
