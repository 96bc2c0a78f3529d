/* One curl_easy_perform: attempts, verdicts, and what has to be put right between them. */
#include "hooks/curl_handle.h"

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "policy/text.h"
#include "retryshim/runtime.h"

static _Atomic(int) seekless_mime;

void transfer_saw_seekless_mime(void) { atomic_store_explicit(&seekless_mime, 1, memory_order_relaxed); }

static CURL *handle_of(struct easy *easy) { return atomic_load_explicit(&easy->handle, memory_order_relaxed); }

/* ---- facts that libcurl knows -------------------------------------------------------------------- */

static long info_long(struct easy *easy, CURLINFO info)
{
	long value = 0;
	return easy->real->easy_getinfo(handle_of(easy), info, &value) == CURLE_OK ? value : 0;
}

/* "" if it is unknown. */
static const char *info_text(struct easy *easy, CURLINFO info)
{
	char *value = NULL;
	return easy->real->easy_getinfo(handle_of(easy), info, &value) == CURLE_OK && value != NULL ? value : "";
}

static bool is_http(const char *scheme)
{
	/* Without one the transfer has not got as far as a scheme; then nothing was sent either. */
	return scheme[0] == '\0' || text_equal(scheme, "http") || text_equal(scheme, "https");
}

static bool is_file_transfer(const char *scheme)
{
	return text_equal(scheme, "ftp") || text_equal(scheme, "ftps") || text_equal(scheme, "sftp") ||
	       text_equal(scheme, "scp");
}

static double info_seconds(struct easy *easy, CURLINFO info)
{
	double value = 0;
	return easy->real->easy_getinfo(handle_of(easy), info, &value) == CURLE_OK ? value : 0;
}

/* True unless it is certain that the server has seen nothing that it may act on. libcurl stamps
 * PRETRANSFER when its DO phase is over (before_perform in lib/multi.c): for HTTP the request has left
 * by then, and REQUEST_SIZE counts its bytes from the first; for mail only the envelope has, which
 * does nothing without the message; file transfers have done what CURLOPT_QUOTE and its like ask for.
 * Of other protocols only a connection that was tried and never stood is certain. */
static bool may_have_been_sent(struct easy *easy)
{
	const char *scheme = info_text(easy, CURLINFO_SCHEME);
	if (info_seconds(easy, CURLINFO_PRETRANSFER_TIME) > 0 || easy->response.status != 0)
		return true;
	if (is_http(scheme))
		return info_long(easy, CURLINFO_REQUEST_SIZE) > 0;
	if (text_equal(scheme, "smtp") || text_equal(scheme, "smtps"))
		return false;
	if (is_file_transfer(scheme) && !easy->options.ftp_commands && easy->options.custom_method[0] == '\0')
		return false;
	return info_long(easy, CURLINFO_NUM_CONNECTS) == 0 || info_seconds(easy, CURLINFO_CONNECT_TIME) > 0;
}

/* The whole operation begins again with its first request, so that one's method counts, whatever a
 * redirect made of it. File transfers are judged as GET and PUT; mail and the rest are never repeated. */
static bool is_repeatable(struct easy *easy)
{
	const struct easy_options *options = &easy->options;
	const char *scheme = info_text(easy, CURLINFO_SCHEME);
	if (is_http(scheme))
		return match_token(easy->config->methods, options_method(options)) ||
		       options_have_header(options, "Idempotency-Key");
	if (!is_file_transfer(scheme) || options->ftp_commands || options->custom_method[0] != '\0')
		return false;
	return match_token(easy->config->methods, options->request == REQUEST_PUT ? "PUT" : "GET");
}

/* ---- the target ---------------------------------------------------------------------------------- */

static uint16_t default_port(const char *url)
{
	static const struct {
		char scheme[8];
		uint16_t port;
	} ports[] = {{"http:", 80},   {"https:", 443}, {"ftp:", 21},  {"ftps:", 990}, {"sftp:", 22}, {"scp:", 22},
	             {"smtp:", 25},   {"smtps:", 465}, {"imap:", 143}, {"imaps:", 993}, {"pop3:", 110}, {"pop3s:", 995}};
	for (size_t i = 0; i < sizeof ports / sizeof ports[0]; i++)
		if (text_equal_span(ports[i].scheme, url, strlen(ports[i].scheme)))
			return ports[i].port;
	return strstr(url, "://") == NULL ? 80 : 0;
}

/* Host and port of a URL; user name, password, path and query never leave this function. */
static void describe_url(const char *url, struct target *target)
{
	const char *start = strstr(url, "://");
	start = start != NULL ? start + 3 : url;
	size_t length = strcspn(start, "/?#\\");
	const char *at = memrchr(start, '@', length);
	if (at != NULL) {
		length -= (size_t)(at + 1 - start);
		start = at + 1;
	}
	target->port = default_port(url);
	if (length >= sizeof target->name)
		return;
	memcpy(target->name, start, length);
	char *bracket = strchr(target->name, ']');
	char *colon = strchr(bracket != NULL ? bracket : target->name, ':');
	if (colon != NULL) {
		uint16_t port = text_port(colon + 1);
		target->port = port != 0 ? port : target->port;
		*colon = '\0';
	}
	if (target_set_address(target, target->name))
		target->name[0] = '\0';
}

static void describe(struct easy *easy, struct target *target)
{
	memset(target, 0, sizeof *target);
	describe_url(info_text(easy, CURLINFO_EFFECTIVE_URL), target);
	if (!target->has_address)
		target_set_address(target, info_text(easy, CURLINFO_PRIMARY_IP));
}

/* ---- rewinding ----------------------------------------------------------------------------------- */

static bool has_stream_body(const struct easy_options *options)
{
	return options->request == REQUEST_PUT || (options->request == REQUEST_POST && options->post_fields == NULL);
}

/* The default reader reads from where the program left its FILE. */
static void note_reader(struct easy *easy)
{
	const struct easy_options *options = &easy->options;
	easy->reader_offset = -1;
	easy->stdin_offset = 0;
	if (!has_stream_body(options))
		return;
	if (options->seek != NULL || options->ioctl != NULL)
		easy->stdin_offset = lseek(STDIN_FILENO, 0, SEEK_CUR);
	else if (options->read == NULL && options->read_data != NULL)
		easy->reader_offset = ftell(options->read_data);
}

/* True if the body comes from standard input, and it did not stand at its start: `curl -T -` seeks to
 * the start of the file, and would upload what its caller had already read. */
static bool moved_stdin(const struct easy *easy)
{
	return easy->stdin_offset > 0 && lseek(STDIN_FILENO, 0, SEEK_CUR) != easy->stdin_offset;
}

/* Makes the body readable from its start again; false if that cannot be done. Memory needs nothing,
 * and libcurl rewinds MIME parts itself. */
static bool rewind_body(void *context)
{
	struct easy *easy = context;
	const struct easy_options *options = &easy->options;
	if (!may_have_been_sent(easy)) /* nothing was read yet */
		return true;
	if (options->request == REQUEST_POST_FORM)
		return atomic_load_explicit(&seekless_mime, memory_order_relaxed) == 0;
	if (!has_stream_body(options))
		return true;
	if (moved_stdin(easy))
		return false;
	if (options->seek != NULL)
		return options->seek(options->seek_data, 0, SEEK_SET) == CURL_SEEKFUNC_OK;
	if (options->ioctl != NULL)
		return options->ioctl(handle_of(easy), CURLIOCMD_RESTARTREAD, options->ioctl_data) == CURLIOE_OK;
	return options->read == NULL && easy->reader_offset >= 0 &&
	       fseek(options->read_data, easy->reader_offset, SEEK_SET) == 0;
}

/* ---- judging ------------------------------------------------------------------------------------- */

static bool begin(struct easy *easy)
{
	struct target target;
	if (easy->begun)
		return true;
	describe(easy, &target);
	easy->start_ns = clock_of_mark(easy->start);
	easy->begun = op_begin(&easy->op, easy->config, "curl_easy_perform", &target, easy->start_ns,
	                       easy->options.timeout_ms * NS_PER_MS);
	easy->op.rewind = rewind_body;
	easy->op.rewind_context = easy;
	return easy->begun;
}

static struct verdict judge_status(struct easy *easy)
{
	struct failure failure = {
		.source = SOURCE_HTTP,
		.code = easy->response.status,
		.retry_after_ms = easy->response.retry_after_ms,
		.sent = true,
		.repeatable = is_repeatable(easy),
		.delivered = response_delivered(easy),
	};
	easy->response.judged = true;
	return op_failed(&easy->op, &failure, NULL);
}

static struct verdict judge_code(struct easy *easy, CURLcode code)
{
	bool http = is_http(info_text(easy, CURLINFO_SCHEME));
	struct failure failure = {
		.source = SOURCE_CURL,
		.code = (int)code,
		.reply_code = http ? 0 : (int)info_long(easy, CURLINFO_RESPONSE_CODE),
		.retry_after_ms = -1,
		.sent = may_have_been_sent(easy),
		.repeatable = is_repeatable(easy),
		.delivered = response_delivered(easy),
	};
	return op_failed(&easy->op, &failure, easy->real->easy_strerror(code));
}

/* 401 and 407 are rounds of an authentication that libcurl conducts; the last one is told at the end. */
static bool is_round(int status) { return status < 400 || status == 401 || status == 407; }

bool transfer_judge_status(struct easy *easy)
{
	if (is_round(easy->response.status) || easy->response.judged || easy->options.stateful || !begin(easy))
		return false;
	easy->verdict = judge_status(easy);
	return easy->verdict.action == ACTION_RETRY;
}

/* ---- between attempts ---------------------------------------------------------------------------- */

enum waited { WAITED, WAIT_ABORTED, WAIT_INTERRUPTED };

/* The program's progress callback, as libcurl calls it while nothing moves; true if it aborts. */
static bool progress_aborts(const struct easy_options *options)
{
	int result = 0;
	if (options->no_progress)
		return false;
	if (options->xferinfo != NULL)
		result = options->xferinfo(options->progress_data, 0, 0, 0, 0);
	else if (options->progress != NULL)
		result = options->progress(options->progress_data, 0, 0, 0, 0);
	return result != 0 && result != CURL_PROGRESSFUNC_CONTINUE;
}

static enum waited wait_until(struct easy *easy, int64_t at_ns)
{
	const int64_t slice_ns = 200 * NS_PER_MS;
	for (;;) {
		if (progress_aborts(&easy->options))
			return WAIT_ABORTED;
		int64_t now_ns = clock_now_ns();
		if (now_ns >= at_ns)
			return WAITED;
		bool asks = !easy->options.no_progress && (easy->options.xferinfo != NULL || easy->options.progress != NULL);
		int64_t until_ns = asks && at_ns - now_ns > slice_ns ? now_ns + slice_ns : at_ns;
		if (sleep_until(until_ns) == SLEEP_INTERRUPTED)
			return WAIT_INTERRUPTED;
	}
}

/* CURLOPT_TIMEOUT_MS bounds the operation: the next attempt gets what is left. */
static void adjust_options(struct easy *easy, CURL *handle, const struct verdict *verdict)
{
	if (easy->options.timeout_ms > 0) {
		int64_t left_ms = easy->options.timeout_ms - (clock_now_ns() - easy->start_ns) / NS_PER_MS;
		easy->real->easy_setopt(handle, CURLOPT_TIMEOUT_MS, (long)(left_ms > 0 ? left_ms : 1));
		easy->adjusted = true;
	}
	if (verdict->class.fresh_connection) {
		easy->real->easy_setopt(handle, CURLOPT_FRESH_CONNECT, 1L);
		easy->adjusted = true;
	}
}

static void restore_options(struct easy *easy, CURL *handle)
{
	if (!easy->adjusted)
		return;
	easy->adjusted = false;
	easy->real->easy_setopt(handle, CURLOPT_TIMEOUT_MS, easy->options.timeout_ms);
	easy->real->easy_setopt(handle, CURLOPT_FRESH_CONNECT, (long)easy->options.fresh_connect);
}

/* ---- one attempt's end --------------------------------------------------------------------------- */

/* Delivers what is held of a response that stands after all. */
static CURLcode deliver(struct easy *easy, CURLcode code)
{
	if (easy->response.journal.used == 0)
		return code;
	return response_flush(easy) || code != CURLE_OK ? code : CURLE_WRITE_ERROR;
}

/* Tells what ended well, or as a status that is nobody's to retry. */
static CURLcode tell_end(struct easy *easy, CURLcode code)
{
	int status = easy->response.status;
	code = deliver(easy, code);
	if (easy->response.judged)
		return code;
	if (code == CURLE_OK && status < 400) {
		if (easy->begun)
			op_succeeded(&easy->op);
	} else if (easy->config->diag && begin(easy)) {
		if (status >= 400 && (code == CURLE_OK || code == CURLE_HTTP_RETURNED_ERROR))
			judge_status(easy);
		else
			judge_code(easy, code);
	}
	return code;
}

/* What an attempt that returned `code` comes to. True: retry by easy->verdict. */
static bool attempt_ended(struct easy *easy, CURLcode code)
{
	struct response *response = &easy->response;
	if (response->state == RESPONSE_DROPPING) /* judged when its status came */
		return code != CURLE_ABORTED_BY_CALLBACK;
	if (code == CURLE_OK || response->judged || easy->options.stateful || !begin(easy))
		return false;
	/* FAILONERROR ends a transfer before the header block is complete. */
	if (code == CURLE_HTTP_RETURNED_ERROR && !is_round(response->status))
		easy->verdict = judge_status(easy);
	else
		easy->verdict = judge_code(easy, code);
	response->judged = true;
	return easy->verdict.action == ACTION_RETRY;
}

/* What keeps the next attempt from starting now that the backoff is over. */
static enum reason obstacle(struct easy *easy, enum waited waited, bool complete)
{
	if (waited == WAIT_INTERRUPTED)
		return REASON_SIGNAL;
	/* The body that was dropped may have outlasted the backoff, and the deadline too. */
	if (complete && clock_now_ns() >= easy->op.progress.deadline_ns)
		return REASON_DEADLINE;
	return rewind_body(easy) ? REASON_NONE : REASON_REWIND;
}

/* Carries the verdict out. True: another attempt may start; otherwise *code is the outcome. */
static bool back_off(struct easy *easy, CURL *handle, CURLcode *code)
{
	bool dropped = easy->response.state == RESPONSE_DROPPING;
	bool complete = !dropped || !easy->response.journal.overflowed;
	enum waited waited;
	/* A response that was dropped and is no longer whole cannot be handed on: then nothing but the
	 * program's own abort ends the backoff early. */
	while ((waited = wait_until(easy, easy->verdict.at_ns)) == WAIT_INTERRUPTED && !complete)
		;
	if (waited == WAIT_ABORTED) {
		response_drop(easy);
		*code = CURLE_ABORTED_BY_CALLBACK;
		judge_code(easy, *code);
		return false;
	}
	enum reason reason = obstacle(easy, waited, complete);
	if (reason == REASON_NONE) {
		response_drop(easy);
		adjust_options(easy, handle, &easy->verdict);
		return true;
	}
	op_given_up(&easy->op, &easy->verdict, reason, dropped ? NULL : easy->real->easy_strerror(*code));
	if (complete) {
		*code = deliver(easy, *code);
		return false;
	}
	response_drop(easy);
	*code = CURLE_SEND_FAIL_REWIND;
	return false;
}

CURLcode transfer_perform(struct easy *easy, CURL *handle, const struct config *config)
{
	CURLcode code;
	response_wrap(easy, handle);
	easy->config = config;
	easy->start = clock_mark();
	easy->begun = false;
	easy->interim_count = 0;
	easy->active = true;
	note_reader(easy);
	for (;;) {
		response_reset(easy);
		code = easy->real->easy_perform(handle);
		if (!attempt_ended(easy, code)) {
			code = tell_end(easy, code);
			break;
		}
		if (!back_off(easy, handle, &code))
			break;
		op_next_attempt(&easy->op);
	}
	restore_options(easy, handle);
	easy->active = false;
	if (easy->options.include_header)
		response_unwrap(easy, handle);
	return code;
}
