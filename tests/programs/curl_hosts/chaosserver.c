/* chaosserver SEED LOG: serves /ID/SIZE and fails as the dice of (SEED, ID, number of the attempt) say, so that the same
 * seed fails alike; only which connection a request comes on is the client's doing. Prints "listening PORT".
 *
 * What it must not do, since libcurl itself then does what the test forbids the shim:
 *  - have the whole of a POST on a connection that was used before, and end it before the answer's first line is out:
 *    libcurl replays it. Such a POST dies before it is whole.
 *  - close in an orderly way within a header block that has not said where the body ends: libcurl says CURLE_OK.
 *  - leave out no more than the last LF behind the chunks: libcurl does not wait for it.
 *
 * The log, a line an event, each with the ID:
 *   executed   a POST was whole; before it is known what becomes of it
 *   spoilt     an upload was whole and wrong
 *   attempt    N METHOD CONNECTION/REQUEST range=START answer=STATUS out=BYTES/TOTAL head=BYTES lie=NAME
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <pthread.h>
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

enum { HEAD_MOST = 16384 };

/* Of 1,000; the break of a body, of those that have one. */
enum { REFUSED = 10, IN_UPLOAD = 60, SILENT = 80, IN_HEAD = 50, IN_BODY = 333, DELAYED = 30 };
enum after { KEPT, CLOSED, RESET, CLOSED_AS_TOLD, AFTERS = 20 }; /* the rest is kept, too */

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

/* The caller's to free; NULL if the other end is gone. */
static char *received(struct connection *its, size_t length)
{
	char *out = malloc(length + 1);
	if (receive(its, out, length))
		return out;
	free(out);
	return NULL;
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
	char *body = received(its, request->upload);
	bool whole = body != NULL;
	if (whole && strcmp(request->method, "POST") == 0)
		tell("%u executed\n", request->id);
	if (whole && content_right(request->id, UPLOAD, 0, body, request->upload) != request->upload)
		tell("%u spoilt\n", request->id);
	free(body);
	return whole;
}

/* ---- one request --------------------------------------------------------------------------------- */

static bool is(const struct request *request, const char *method) { return strcmp(request->method, method) == 0; }

static void tell_attempt(const struct connection *its, const struct request *request, const struct answer *answer, size_t out)
{
	char range[30] = "-";
	if (request->part)
		snprintf(range, sizeof range, "%zu", request->start);
	tell("%u attempt %u %s %u/%u range=%s answer=%d out=%zu/%zu head=%zu lie=%s\n", request->id, request->attempt,
	     request->method, its->number, its->requests, range, answer->status, out, answer->total, answer->head,
	     lie_names[answer->lie]);
}

/* How much of the answer goes out; see above for what must not be. */
static size_t cut_rolled(const struct connection *its, const struct request *request, const struct answer *answer, uint64_t *dice)
{
	bool in_head = roll(dice, 1000) < IN_HEAD, in_body = roll(dice, 1000) < IN_BODY;
	size_t cut = answer->total;
	if (in_head)
		cut = roll(dice, answer->head);
	else if (in_body && answer->total > answer->head)
		cut = answer->head + roll(dice, answer->total - answer->head - answer->chunked);
	return is(request, "POST") && its->requests > 0 && cut < answer->first_line ? answer->first_line : cut;
}

static void answer_it(struct connection *its, const struct request *request, struct answer *answer, uint64_t *dice)
{
	enum after after = (enum after)roll(dice, AFTERS);
	bool orderly = roll(dice, 2) == 0;
	answer->closes = after == CLOSED_AS_TOLD;
	compose(request, answer, dice);
	size_t cut = cut_rolled(its, request, answer, dice);
	tell_attempt(its, request, answer, cut);
	bool sent = send_in_pieces(its, answer->bytes, cut, dice);
	if (cut < answer->total)
		end(its, !orderly || is(request, "HEAD") || (cut > 0 && cut < answer->framed) || answer->head == answer->total);
	else if (!sent || after == CLOSED || after == RESET || after == CLOSED_AS_TOLD)
		end(its, after == RESET);
	free(answer->bytes);
}

/* False when the connection is over. */
static bool serve_request(struct connection *its)
{
	char head[HEAD_MOST + 1];
	struct request request;
	if (!receive_head(its, head) || !parse(head, &request)) {
		end(its, false);
		return false;
	}
	if (strcasestr(head, "\r\nExpect: 100-continue") != NULL)
		send(its->file, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL);
	uint64_t dice = dice_of(seed, request.id, request.attempt);
	struct answer answer = chosen(&request, &dice);
	bool in_upload = roll(&dice, 1000) < IN_UPLOAD, silent = roll(&dice, 1000) < SILENT, reset = roll(&dice, 2) == 0;
	unsigned delay_ms = roll(&dice, 1000) < DELAYED ? 1 + roll(&dice, 20) : 0;
	bool replayed = is(&request, "POST") && its->requests > 0; /* if nothing is answered; see above */
	if (request.upload > 0 && (in_upload || (silent && replayed))) {
		request.upload = roll(&dice, request.upload);
		answer.status = 0;
		reset = silent = true;
		free(received(its, request.upload));
	} else if (!receive_upload(its, &request)) {
		silent = true;
	}
	pause_ms(delay_ms);
	if (silent) {
		tell_attempt(its, &request, &answer, 0);
		end(its, reset);
	} else {
		answer_it(its, &request, &answer, &dice);
	}
	its->requests++;
	return its->file >= 0;
}

static void *serve(void *context)
{
	struct connection *its = context;
	uint64_t dice = dice_of(seed, TRANSFERS_MOST, its->number);
	if (roll(&dice, 1000) < REFUSED)
		end(its, true);
	else
		while (serve_request(its))
			continue;
	free(its);
	return NULL;
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof address;
	int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
	pthread_attr_t small;
	if (argc < 3)
		return 2;
	seed = strtoull(argv[1], NULL, 10);
	log_file = open(argv[2], O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (log_file < 0 || bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 1000) != 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &size) != 0)
		return 1;
	printf("listening %d\n", ntohs(address.sin_port));
	fflush(stdout);
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 256 * 1024);
	pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
	for (unsigned number = 0;; number++) {
		pthread_t thread;
		struct connection *its = calloc(1, sizeof *its);
		its->number = number;
		its->file = accept(listener, NULL, NULL);
		setsockopt(its->file, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
		if (its->file < 0 || pthread_create(&thread, &small, serve, its) != 0)
			return 1;
	}
}
