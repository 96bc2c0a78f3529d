/* chaosserver SEED LOG: serves /ID/SIZE and fails as the dice of (SEED, ID, number of the attempt) say, so that the same
 * seed fails alike; only which connection a request comes on is the client's doing. Prints "listening PORT".
 *
 * What it must not do, since libcurl itself then does what the test forbids the shim:
 *  - have the whole of a POST on a connection that was used before, and end it before the answer's first line is out:
 *    libcurl replays it. Such a POST dies before it is whole.
 *  - close in an orderly way within a header block that has not said where the body ends: libcurl says CURLE_OK.
 *
 * The log, a line an event, each with the ID:
 *   executed   a POST was whole; before it is known what becomes of it
 *   spoilt     an upload was whole and wrong
 *   attempt    N METHOD CONNECTION/REQUEST range=START answer=STATUS out=BYTES/TOTAL head=BYTES lie=NAME
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "chaos_answer.h"

enum { HEAD_MOST = 16384, CHUNK_LINE_MOST = 24 };

/* Of 1,000. The break of a body is that of those that have one. */
enum { REFUSED = 10, SILENT = 80, IN_UPLOAD = 60, IN_HEAD = 50, IN_BODY = 333, DELAYED = 30, INTERIM = 50, CHUNKED = 250 };

struct connection {
	int file;
	unsigned number, requests;
	char bytes[HEAD_MOST];
	size_t have;
};

static int log_file;
static atomic_uint attempts[TRANSFERS_MOST];

static __attribute__((format(printf, 1, 2))) void tell(const char *form, ...)
{
	char line[300];
	va_list list;
	va_start(list, form);
	int length = vsnprintf(line, sizeof line, form, list);
	va_end(list);
	if (write(log_file, line, (size_t)length) != length) /* one call, appended: whole, whoever else writes */
		abort();
}

/* ---- connections --------------------------------------------------------------------------------- */

static void pause_ms(unsigned ms) { nanosleep(&(struct timespec){.tv_nsec = (long)ms * 1000000}, NULL); }

/* With a reset, what has been sent still arrives first: it waits until it is in the other end's buffer. */
static void end(struct connection *its, bool reset)
{
	int unsent = 0;
	for (int i = 0; reset && i < 2000 && ioctl(its->file, SIOCOUTQNSD, &unsent) == 0 && unsent > 0; i++)
		pause_ms(1);
	if (reset)
		setsockopt(its->file, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
	close(its->file);
	its->file = -1;
}

static bool receive(struct connection *its, char *out, size_t length)
{
	size_t at = length < its->have ? length : its->have;
	memcpy(out, its->bytes, at);
	memmove(its->bytes, its->bytes + at, its->have -= at);
	while (at < length) {
		ssize_t got = recv(its->file, out + at, length - at, 0);
		if (got <= 0)
			return false;
		at += (size_t)got;
	}
	return true;
}

/* Into `out`, NUL-terminated, without what follows it. */
static bool receive_head(struct connection *its, char *out)
{
	char *blank;
	while ((blank = memmem(its->bytes, its->have, "\r\n\r\n", 4)) == NULL) {
		ssize_t got = recv(its->file, its->bytes + its->have, sizeof its->bytes - its->have, 0);
		if (got <= 0)
			return false;
		its->have += (size_t)got;
	}
	size_t length = (size_t)(blank - its->bytes) + 4;
	out[length] = '\0';
	return receive(its, out, length);
}

static bool send_in_pieces(struct connection *its, const char *bytes, size_t length, uint64_t *dice)
{
	while (length > 0) {
		size_t most = 1 + roll(dice, 32768), piece = most < length ? most : length;
		ssize_t sent = send(its->file, bytes, piece, MSG_NOSIGNAL);
		if (sent < 0)
			return false;
		bytes += sent;
		length -= (size_t)sent;
	}
	return true;
}

/* ---- requests ------------------------------------------------------------------------------------ */

static bool parse(const char *head, struct request *request)
{
	const char *line;
	*request = (struct request){.version = 1};
	if (sscanf(head, "%7s /%u/%zu HTTP/1.1", request->method, &request->id, &request->size) != 3 ||
	    request->id >= TRANSFERS_MOST)
		return false;
	if ((line = strcasestr(head, "\r\nContent-Length:")) != NULL)
		sscanf(line + 17, "%zu", &request->upload);
	if ((line = strcasestr(head, "\r\nIf-Range:")) != NULL)
		sscanf(line + 11, " \"%*u.%u\"", &request->version);
	if ((line = strcasestr(head, "\r\nRange:")) != NULL)
		request->part = sscanf(line + 8, " bytes=%zu-", &request->start) == 1;
	request->attempt = ++attempts[request->id];
	return true;
}

/* False if it is not to be served, or not whole. */
static bool receive_upload(struct connection *its, const struct request *request)
{
	char *body = malloc(request->upload);
	bool whole = receive(its, body, request->upload);
	if (whole && strcmp(request->method, "POST") == 0)
		tell("%u executed\n", request->id);
	if (whole && content_right(request->id, UPLOAD, 0, body, request->upload) != request->upload)
		tell("%u spoilt\n", request->id);
	free(body);
	return whole;
}
