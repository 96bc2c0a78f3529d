/* One transfer of a host of curl_multi: its options, its callbacks and what they were given. */
#ifndef CURL_HOSTS_MULTI_TRANSFER_H
#define CURL_HOSTS_MULTI_TRANSFER_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { TRANSFERS = 256 };

struct transfer {
	CURL *curl;
	struct curl_slist *fields;
	char error[CURL_ERROR_SIZE];
	bool traced; /* every callback is printed */
	uint32_t crc;
	size_t length; /* of the body so far */
	long lines, blocks; /* of the header */
	long header_pause, write_pause; /* once, at this call from 1 */
	long upload_size, upload_at, seeks;
	long progress_abort_ms, progress_calls;
	double progress_first_s, progress_last_s, progress_gap_s;
};

static _Thread_local struct transfer transfers[TRANSFERS], *transfer;
static _Thread_local int transfers_made;
static _Thread_local double began_s;

static double now_s(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int number_of(const struct transfer *its) { return (int)(its - transfers); }

static struct transfer *transfer_of(CURL *curl)
{
	for (struct transfer *its = transfers; its < transfers + TRANSFERS; its++)
		if (its->curl == curl)
			return its;
	return NULL;
}

static uint32_t crc32(uint32_t crc, const char *bytes, size_t length)
{
	crc = ~crc;
	for (size_t i = 0; i < length; i++) {
		crc ^= (unsigned char)bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320U : 0);
	}
	return ~crc;
}

/* ---- callbacks ------------------------------------------------------------------------------------ */

static void trace(const struct transfer *its, const char *kind, const char *bytes, size_t length)
{
	if (!its->traced)
		return;
	flockfile(stdout);
	printf("%d %s %zu \"", number_of(its), kind, length);
	for (size_t i = 0; i < length && i < 200; i++)
		printf(bytes[i] < ' ' || bytes[i] > '~' ? "\\x%02x" : "%c", (unsigned char)bytes[i]);
	puts("\"");
	funlockfile(stdout);
}

static size_t on_header(char *bytes, size_t size, size_t count, void *context)
{
	struct transfer *its = context;
	if (its->header_pause != 0 && --its->header_pause == 0)
		return CURL_WRITEFUNC_PAUSE;
	its->lines++;
	its->blocks += size * count > 5 && memcmp(bytes, "HTTP/", 5) == 0;
	trace(its, "header", bytes, size * count);
	return size * count;
}

static size_t on_write(char *bytes, size_t size, size_t count, void *context)
{
	struct transfer *its = context;
	if (its->write_pause != 0 && --its->write_pause == 0)
		return CURL_WRITEFUNC_PAUSE;
	its->crc = crc32(its->crc, bytes, size * count);
	its->length += size * count;
	trace(its, "write", bytes, size * count);
	return size * count;
}

/* The body that the fault server makes too: numbered lines of 16 bytes. */
static size_t on_read(char *bytes, size_t size, size_t count, void *context)
{
	struct transfer *its = context;
	size_t done = 0;
	char line[32];
	while (done < size * count && its->upload_at < its->upload_size) {
		snprintf(line, sizeof line, "%015ld\n", its->upload_at / 16);
		bytes[done++] = line[its->upload_at++ % 16];
	}
	trace(its, "read", "", 0);
	return done;
}

static int on_seek(void *context, curl_off_t offset, int origin)
{
	struct transfer *its = context;
	its->seeks++;
	its->upload_at = (long)offset;
	trace(its, "seek", "", 0);
	return origin == SEEK_SET ? CURL_SEEKFUNC_OK : CURL_SEEKFUNC_FAIL;
}

static int on_progress(void *context, curl_off_t down, curl_off_t got, curl_off_t up, curl_off_t sent)
{
	struct transfer *its = context;
	double now = now_s();
	(void)down, (void)got, (void)up, (void)sent;
	if (its->progress_calls++ == 0)
		its->progress_first_s = its->progress_last_s = now;
	if (now - its->progress_last_s > its->progress_gap_s)
		its->progress_gap_s = now - its->progress_last_s;
	its->progress_last_s = now;
	return its->progress_abort_ms != 0 && (now - its->progress_first_s) * 1000 >= (double)its->progress_abort_ms;
}

static int on_debug(CURL *curl, curl_infotype type, char *bytes, size_t length, void *context)
{
	static const char *const types[] = {"text", "header_in", "header_out", "data_in", "data_out", "ssl_in", "ssl_out"};
	struct transfer *its = context;
	trace(its, curl == its->curl ? types[type] : "debug of another handle", bytes, length);
	return 0;
}

static curl_socket_t on_open(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
	trace(context, purpose == CURLSOCKTYPE_IPCXN ? "open" : "open?", "", 0);
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static int on_close(void *context, curl_socket_t file)
{
	trace(context, "close", "", 0);
	return close(file);
}

static int on_prereq(void *context, char *remote, char *local, int remote_port, int local_port)
{
	(void)local, (void)remote_port, (void)local_port;
	trace(context, "prereq", remote, strlen(remote));
	return CURL_PREREQFUNC_OK;
}

/* ---- words ---------------------------------------------------------------------------------------- */

static void set(CURLoption option, long value) { curl_easy_setopt(transfer->curl, option, value); }
static void set_text(CURLoption option, const char *value) { curl_easy_setopt(transfer->curl, option, value); }
static void set_callback(CURLoption function, CURLoption data, void *callback)
{
	curl_easy_setopt(transfer->curl, function, callback);
	curl_easy_setopt(transfer->curl, data, transfer);
}

static void do_own(const char *value)
{
	(void)value;
	set_text(CURLOPT_ERRORBUFFER, transfer->error);
	set_callback(CURLOPT_WRITEFUNCTION, CURLOPT_WRITEDATA, on_write);
	set(CURLOPT_NOSIGNAL, 1);
}

static void do_new(const char *value)
{
	if (transfers_made == TRANSFERS)
		exit(2);
	transfer = &transfers[transfers_made++];
	transfer->curl = curl_easy_init();
	do_own(value);
}

static void transfer_cleanup(struct transfer *its)
{
	curl_easy_cleanup(its->curl);
	its->curl = NULL;
	curl_slist_free_all(its->fields);
	its->fields = NULL;
}

static void do_use(const char *value) { transfer = &transfers[atoi(value)]; }
static void do_url(const char *value) { set_text(CURLOPT_URL, value); }
static void do_post(const char *value) { set_text(CURLOPT_POSTFIELDS, value); }
static void do_get(const char *value) { set(CURLOPT_HTTPGET, atol(value)); }
static void do_custom(const char *value) { set_text(CURLOPT_CUSTOMREQUEST, value); }
static void do_nobody(const char *value) { set(CURLOPT_NOBODY, atol(value)); }
static void do_follow(const char *value) { set(CURLOPT_FOLLOWLOCATION, atol(value)); }
static void do_fail(const char *value) { set(CURLOPT_FAILONERROR, atol(value)); }
static void do_include(const char *value) { set(CURLOPT_HEADER, atol(value)); }
static void do_timeout(const char *value) { set(CURLOPT_TIMEOUT_MS, atol(value)); }
static void do_fresh(const char *value) { set(CURLOPT_FRESH_CONNECT, atol(value)); }
static void do_stalls(const char *value)
{
	set(CURLOPT_LOW_SPEED_LIMIT, 1);
	set(CURLOPT_LOW_SPEED_TIME, atol(value));
}
static void do_field(const char *value)
{
	transfer->fields = curl_slist_append(transfer->fields, value);
	curl_easy_setopt(transfer->curl, CURLOPT_HTTPHEADER, transfer->fields);
}
static void do_headers(const char *value) { (void)value, set_callback(CURLOPT_HEADERFUNCTION, CURLOPT_HEADERDATA, on_header); }
static void do_header_pause(const char *value) { transfer->header_pause = atol(value); }
static void do_write_pause(const char *value) { transfer->write_pause = atol(value); }
static void do_put(const char *value)
{
	transfer->upload_size = atol(value);
	transfer->upload_at = 0;
	set_callback(CURLOPT_READFUNCTION, CURLOPT_READDATA, on_read);
	set(CURLOPT_UPLOAD, 1);
	curl_easy_setopt(transfer->curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)transfer->upload_size);
}
static void do_seek(const char *value) { (void)value, set_callback(CURLOPT_SEEKFUNCTION, CURLOPT_SEEKDATA, on_seek); }
static void do_progress(const char *value)
{
	transfer->progress_abort_ms = atol(value);
	set_callback(CURLOPT_XFERINFOFUNCTION, CURLOPT_XFERINFODATA, on_progress);
	set(CURLOPT_NOPROGRESS, 0);
}
static void do_debug(const char *value)
{
	set_callback(CURLOPT_DEBUGFUNCTION, CURLOPT_DEBUGDATA, on_debug);
	set(CURLOPT_VERBOSE, atol(value));
}
static void do_traced(const char *value)
{
	transfer->traced = atoi(value);
	set_callback(CURLOPT_OPENSOCKETFUNCTION, CURLOPT_OPENSOCKETDATA, on_open);
	set_callback(CURLOPT_CLOSESOCKETFUNCTION, CURLOPT_CLOSESOCKETDATA, on_close);
	set_callback(CURLOPT_PREREQFUNCTION, CURLOPT_PREREQDATA, on_prereq);
}

/* What came since the last `info`, and what curl_easy_getinfo says. */
static void do_info(const char *value)
{
	static const struct {
		const char *name;
		CURLINFO info;
	} infos[] = {
		{"connects", CURLINFO_NUM_CONNECTS},   {"redirects", CURLINFO_REDIRECT_COUNT}, {"header_size", CURLINFO_HEADER_SIZE},
		{"request_size", CURLINFO_REQUEST_SIZE}, {"version", CURLINFO_HTTP_VERSION},   {"port", CURLINFO_PRIMARY_PORT},
		{"proto", CURLINFO_PROTOCOL},          {"url", CURLINFO_EFFECTIVE_URL},        {"method", CURLINFO_EFFECTIVE_METHOD},
		{"type", CURLINFO_CONTENT_TYPE},       {"ip", CURLINFO_PRIMARY_IP},            {"scheme", CURLINFO_SCHEME},
		{"up", CURLINFO_SIZE_UPLOAD_T},        {"length", CURLINFO_CONTENT_LENGTH_DOWNLOAD_T},
	};
	long status = -1, number = 0;
	curl_off_t large = -1;
	char *text;
	curl_easy_getinfo(transfer->curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(transfer->curl, CURLINFO_SIZE_DOWNLOAD_T, &large);
	flockfile(stdout);
	printf("%d info status=%ld down=%ld body=%08x/%zu lines=%ld blocks=%ld seeks=%ld", number_of(transfer), status, (long)large,
	       transfer->crc, transfer->length, transfer->lines, transfer->blocks, transfer->seeks);
	if (transfer->progress_calls != 0)
		printf(" progress=%ld gap_ms=%.0f", transfer->progress_calls, transfer->progress_gap_s * 1000);
	for (size_t i = 0; value != NULL && strcmp(value, "full") == 0 && i < sizeof infos / sizeof infos[0]; i++)
		switch (infos[i].info & CURLINFO_TYPEMASK) {
		case CURLINFO_LONG: curl_easy_getinfo(transfer->curl, infos[i].info, &number); printf(" %s=%ld", infos[i].name, number); break;
		case CURLINFO_STRING: curl_easy_getinfo(transfer->curl, infos[i].info, &text); printf(" %s=%s", infos[i].name, text ? text : "-"); break;
		default: curl_easy_getinfo(transfer->curl, infos[i].info, &large); printf(" %s=%ld", infos[i].name, (long)large);
		}
	putchar('\n');
	funlockfile(stdout);
	transfer->crc = 0;
	transfer->length = 0;
	transfer->lines = transfer->blocks = transfer->seeks = 0;
}

#define TRANSFER_COMMANDS                                                                                              \
	COMMAND(new), COMMAND(own), COMMAND(use), COMMAND(url), COMMAND(post), COMMAND(get), COMMAND(custom), COMMAND(nobody),   \
	COMMAND(follow), COMMAND(fail), COMMAND(include), COMMAND(timeout), COMMAND(fresh), COMMAND(stalls), COMMAND(field),     \
	COMMAND(headers), COMMAND(header_pause), COMMAND(write_pause), COMMAND(put), COMMAND(seek), COMMAND(progress), COMMAND(debug), COMMAND(traced), COMMAND(info)

#endif
