/* Between libcurl and the program's write, header and debug callbacks.
 *
 * A header block is held until its blank line; then it is delivered, or it and the body behind it are
 * dropped because the request will be repeated. Bodies pass at once. What libcurl shows a debug
 * callback of the same block goes the same way: nothing may reach the program twice by any door.
 */
#include "hooks/curl_handle.h"

#include "retryshim/runtime.h"

/* ---- header blocks ------------------------------------------------------------------------------- */

/* A proxy's consent to CONNECT, which the origin's response follows. libcurl keeps its status apart. */
static bool is_tunnel(struct easy *easy)
{
	long proxy = 0, origin = 0;
	int status = easy->response.status;
	if (status < 200 || status > 299)
		return false;
	easy->real->easy_getinfo(handle_of(easy), CURLINFO_HTTP_CONNECTCODE, &proxy);
	if (proxy != status)
		return false;
	easy->real->easy_getinfo(handle_of(easy), CURLINFO_RESPONSE_CODE, &origin);
	return origin != status;
}

/* 1xx always; consent to CONNECT; a redirect that libcurl follows. Answers of an authentication round
 * are known to be interim only when the next block comes. */
static bool is_interim(const struct easy *easy)
{
	const struct response *response = &easy->response;
	if (response->status < 200)
		return response->status != 101;
	if (response->tunnel)
		return true;
	return response->status < 400 && response->status >= 300 && response->has_location && easy->options.follow_location;
}

/* The block was delivered. If another one follows it was interim, whatever it looked like. */
static void note_delivered(struct easy *easy)
{
	struct response *response = &easy->response;
	if (!deliver_has_header_sink(easy) && !easy->options.include_header && easy->options.debug == NULL)
		return;
	if (response->tunnel) {
		easy->tunnels_delivered++;
	} else {
		if (easy->interim_count < INTERIM_MOST)
			easy->interim_status[easy->interim_count] = (short)response->status;
		easy->interim_count++;
	}
	response->final_delivered = !is_interim(easy);
}

static void begin_block(struct easy *easy, int status)
{
	struct response *response = &easy->response;
	response->status = status;
	response->has_location = false;
	response->retry_after_ms = -1;
	response->judged = false;
	/* The blocks before this one were interim after all, except where body came between: then the
	 * program has had something that is final. */
	response->final_delivered = response->body_delivered;
	response->tunnel = response->skipped = false;
	bool read = status >= 300 || easy->resume.wanted || easy->options.include_header;
	response->plain = !read && !deliver_has_header_sink(easy);
	response->unread = !read && !response->plain;
	response->state = RESPONSE_HOLDING;
	if (easy->resume.wanted)
		entity_clear(&response->entity, status, clock_wall_s());
	if (status >= 200)
		easy->asked = false;
}

/* Whose block it is shows when it is complete. */
static void count_block(struct easy *easy)
{
	struct response *response = &easy->response;
	bool anyone = deliver_has_header_sink(easy) || easy->options.include_header || easy->options.debug != NULL;
	response->tunnel = anyone && is_tunnel(easy);
	if (response->tunnel)
		response->tunnels++;
	else
		response->blocks++;
}

/* True if the block, now complete, is an interim one that an earlier attempt delivered. */
static bool came_before(const struct easy *easy)
{
	const struct response *response = &easy->response;
	int position = response->blocks - 1;
	if (!easy->begun || response->state != RESPONSE_HOLDING)
		return false;
	if (response->tunnel)
		return response->tunnels <= easy->tunnels_delivered;
	return position < easy->interim_count && position < INTERIM_MOST &&
	       easy->interim_status[position] == response->status;
}

static inline bool is_blank(const char *line, size_t length)
{
	return length <= 2 && length > 0 && line[length - 1] == '\n' && (length == 1 || line[0] == '\r');
}

static void read_line(struct easy *easy, const char *line, size_t length)
{
	struct response *response = &easy->response;
	size_t value_length;
	const char *value;
	if (easy->resume.wanted)
		entity_read_line(&response->entity, line, length);
	if (response->status < 300)
		return;
	if (http_header_value(line, length, "Location", &value_length) != NULL)
		response->has_location = true;
	value = http_header_value(line, length, "Retry-After", &value_length);
	if (value != NULL)
		response->retry_after_ms = http_retry_after_ms(value, value_length, clock_wall_s());
}

/* False if the program refused it. */
static bool hold(struct easy *easy, enum entry_kind kind, const char *bytes, size_t length)
{
	struct response *response = &easy->response;
	if (easy->resume.going && kind != ENTRY_REMARK) /* see end_block_of_rest() */
		return true;
	if (response->state == RESPONSE_HOLDING) {
		if (journal_add(&response->journal, kind, bytes, length))
			return true;
		/* Not to be held: deliver what there is, and let this response stand. */
		response->judged = response->final_delivered = true;
		if (!deliver_flush(easy))
			return false;
		response->state = RESPONSE_PASSING;
	}
	return deliver_entry(easy, kind, (char *)(uintptr_t)bytes, length) == length;
}

static bool hold_header(struct easy *easy, const char *line, size_t length)
{
	/* With CURLOPT_HEADER libcurl writes each line to the body first, then to the header sink. A write
	 * callback may count on pieces of this size at most. */
	for (size_t at = 0, piece; easy->options.include_header && at < length; at += piece) {
		piece = length - at < CURL_MAX_WRITE_SIZE ? length - at : CURL_MAX_WRITE_SIZE;
		if (!hold(easy, ENTRY_BODY, line + at, piece))
			return false;
	}
	return !deliver_has_header_sink(easy) || hold(easy, ENTRY_HEADER, line, length);
}

/* Returns what the callback is to return to libcurl. */
static size_t finish_block(struct easy *easy, size_t length)
{
	struct response *response = &easy->response;
	enum flush result = deliver_held(easy);
	if (result == FLUSH_PAUSED) {
		response->state = RESPONSE_FLUSHING; /* libcurl brings this line again */
		return CURL_WRITEFUNC_PAUSE;
	}
	response->state = RESPONSE_BETWEEN;
	note_delivered(easy);
	if (easy->resume.wanted)
		easy->resume.whole = response->entity;
	return result == FLUSHED ? length : 0;
}

/* While a download is resumed the program has its header block: of what comes none is delivered. */
static size_t end_block_of_rest(struct easy *easy, size_t length)
{
	struct response *response = &easy->response;
	if (!is_interim(easy) && !http_is_round(response->status)) {
		if (judge_drops_response(easy)) {
			response->state = RESPONSE_DROPPING;
			return length;
		}
		if (resume_judge_block(easy) == REST_REFUSED)
			return 0;
	}
	deliver_drop(easy);
	response->state = RESPONSE_BETWEEN;
	response->skipped = true;
	return length;
}

static size_t end_block(struct easy *easy, size_t length)
{
	struct response *response = &easy->response;
	count_block(easy);
	if (easy->resume.going)
		return end_block_of_rest(easy, length);
	if (came_before(easy)) {
		deliver_drop(easy);
		response->state = RESPONSE_BETWEEN;
		response->skipped = true;
		response->final_delivered = !is_interim(easy);
		return length;
	}
	if (judge_drops_response(easy)) {
		response->state = RESPONSE_DROPPING;
		return length;
	}
	return finish_block(easy, length);
}

/* A line outside any HTTP header block: a trailer, or the reply of an FTP or mail server. It passes at
 * once, since the program's refusal must come before the next command. */
static size_t loose_line(struct easy *easy, char *line, size_t length)
{
	if (easy->resume.going && !easy->resume.joined)
		return length;
	if (deliver_has_header_sink(easy))
		easy->response.final_delivered = true;
	return deliver_header(easy, line, length);
}

static __attribute__((noinline)) size_t take_line(struct easy *easy, char *line, size_t length)
{
	struct response *response = &easy->response;
	if (!easy->active)
		return deliver_header(easy, line, length);
	if (response->state == RESPONSE_BETWEEN) {
		int status = http_status_line(line, length);
		if (status == 0)
			return loose_line(easy, line, length);
		begin_block(easy, status);
	}
	bool blank = is_blank(line, length);
	switch (response->state) {
	case RESPONSE_HOLDING:
	case RESPONSE_PASSING:
		read_line(easy, line, length);
		if (!hold_header(easy, line, length))
			return 0;
		return blank ? end_block(easy, length) : length;
	case RESPONSE_FLUSHING: return finish_block(easy, length);
	default: return length;
	}
}

/* Most lines of a healthy transfer interest nobody, or nobody but the program, and cost a few instructions; so does the blank
 * one that ends a block of which nothing is held, in a first attempt. */
size_t response_on_header(char *line, size_t size, size_t count, void *context)
{
	struct easy *easy = context;
	struct response *response = &easy->response;
	size_t length = size * count;
	if (!easy->active || response->state != RESPONSE_HOLDING)
		return take_line(easy, line, length);
	if (length > 2 && response->unread)
		return journal_add(&response->journal, ENTRY_HEADER, line, length) ? length : take_line(easy, line, length);
	if (!response->plain)
		return take_line(easy, line, length);
	if (length > 2)
		return length;
	if (easy->begun || easy->options.debug != NULL || !is_blank(line, length))
		return take_line(easy, line, length);
	response->blocks++;
	response->state = RESPONSE_BETWEEN;
	return length;
}

/* ---- body and debug ------------------------------------------------------------------------------ */

/* Kept while it is not too large: should the verdict or a signal decide otherwise, this is the last
 * response after all. Too large, it ends the attempt, or is delivered while nothing of it is lost. */
static size_t drop(struct easy *easy, char *bytes, size_t length)
{
	struct response *response = &easy->response;
	if (easy->resume.going) /* never to be delivered */
		return length;
	if (response->journal.used + length <= BODY_KEPT_MOST &&
	    journal_add(&response->journal, ENTRY_BODY, bytes, length))
		return length;
	if (judge_drops_response(easy)) {
		response->journal.overflowed = true;
		return 0;
	}
	response->journal.overflowed = false;
	bool taken = deliver_flush(easy);
	note_delivered(easy);
	response->final_delivered = response->body_delivered = true;
	return taken ? deliver_body(easy, bytes, 1, length) : 0;
}

size_t response_on_body(char *bytes, size_t size, size_t count, void *context)
{
	struct easy *easy = context;
	if (!easy->active)
		return deliver_body(easy, bytes, size, count);
	if (easy->response.state == RESPONSE_DROPPING)
		return drop(easy, bytes, size * count);
	if (easy->resume.going) {
		enum rest rest = resume_judge_body(easy, size * count);
		if (rest != REST_JOINED)
			return rest == REST_NOTHING ? size * count : 0;
	}
	easy->response.final_delivered = easy->response.body_delivered = true;
	size_t taken = deliver_body(easy, bytes, size, count);
	if (taken == size * count)
		easy->resume.got += (int64_t)taken;
	return taken;
}

/* True if what the program's debug callback would be shown is held or dropped instead. */
static bool keep_from_debug(struct easy *easy, curl_infotype type, const char *bytes, size_t length)
{
	struct response *response = &easy->response;
	if (type == CURLINFO_TEXT && response->state == RESPONSE_HOLDING) {
		hold(easy, ENTRY_REMARK, bytes, length); /* it may speak of the line before it */
		return true;
	}
	if (type != CURLINFO_HEADER_IN && type != CURLINFO_DATA_IN)
		return false; /* what was sent, and remarks: a true record of each attempt */
	bool unwanted = easy->resume.going && !easy->resume.joined;
	if (type == CURLINFO_HEADER_IN && response->state == RESPONSE_BETWEEN) {
		int status = http_status_line(bytes, length);
		if (status != 0) /* libcurl shows a line here before it hands it on */
			begin_block(easy, status);
	}
	switch (response->state) {
	case RESPONSE_HOLDING:
		hold(easy, ENTRY_DEBUG, bytes, length);
		return true;
	case RESPONSE_DROPPING: return true;
	default: break;
	}
	if (unwanted)
		return true;
	/* What comes behind a block: its own blank line, and the body even if libcurl ignores that. */
	if (response->skipped && !response->body_delivered)
		return true;
	if (response->status == 0 || !is_interim(easy))
		response->final_delivered = true;
	return false;
}

int response_on_debug(CURL *handle, curl_infotype type, char *bytes, size_t length, void *context)
{
	struct easy *easy = context;
	if (easy->options.debug == NULL)
		return 0;
	if (easy->active && keep_from_debug(easy, type, bytes, length))
		return 0;
	return easy->options.debug(handle, type, bytes, length, easy->options.debug_data);
}

/* ---- attempts --------------------------------------------------------------------------------------- */

/* Field by field: every healthy transfer passes here. begin_block() sets the rest. */
void response_reset(struct easy *easy)
{
	struct response *response = &easy->response;
	response->state = RESPONSE_BETWEEN;
	response->status = response->blocks = response->tunnels = 0;
	response->skipped = response->tunnel = false;
	response->judged = response->final_delivered = response->body_delivered = false;
	journal_clear(&response->journal);
	easy->replays = 0;
	easy->asked = easy->vetoed = false;
}

/* CURLOPT_OPENSOCKETFUNCTION: what is an abort by the program looks like a failed connect afterwards. */
curl_socket_t response_on_open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct easy *easy = context;
	curl_socket_t made = easy->options.open_socket(easy->options.open_socket_data, purpose, address);
	if (made == CURL_SOCKET_BAD)
		easy->vetoed = true;
	return made;
}

/* CURLOPT_PREREQFUNCTION: a request is about to be sent. */
int response_on_request(void *context, char *remote_ip, char *local_ip, int remote_port, int local_port)
{
	struct easy *easy = context;
	const struct easy_options *options = &easy->options;
	easy->replays += easy->asked;
	easy->asked = true;
	if (options->prereq == NULL)
		return CURL_PREREQFUNC_OK;
	return options->prereq(options->prereq_data, remote_ip, local_ip, remote_port, local_port);
}

bool response_delivered(const struct easy *easy)
{
	const struct response *response = &easy->response;
	return easy->resume.going || response->final_delivered || response->state == RESPONSE_FLUSHING || easy->interim_count > INTERIM_MOST;
}
