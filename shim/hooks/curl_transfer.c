/* One operation: attempts, and what has to be put right between them. */
#include "hooks/curl_handle.h"

#include "retryshim/runtime.h"

/* ---- between attempts ---------------------------------------------------------------------------- */

bool transfer_has_progress(const struct easy *easy)
{
	const struct easy_options *options = &easy->options;
	return !options->no_progress && (options->xferinfo != NULL || options->progress != NULL);
}

int transfer_progress(const struct easy *easy, curl_off_t down, curl_off_t got, curl_off_t up, curl_off_t sent)
{
	const struct easy_options *options = &easy->options;
	if (options->xferinfo != NULL)
		return options->xferinfo(options->progress_data, down, got, up, sent);
	if (options->progress != NULL)
		return options->progress(options->progress_data, (double)down, (double)got, (double)up, (double)sent);
	return 0;
}

bool transfer_progress_aborts(const struct easy *easy)
{
	if (easy->options.no_progress)
		return false;
	int result = easy->resume.going ? resume_on_progress((void *)(uintptr_t)easy, 0, 0, 0, 0) : transfer_progress(easy, 0, 0, 0, 0);
	return result != 0 && result != CURL_PROGRESSFUNC_CONTINUE;
}

/* CURLOPT_TIMEOUT_MS bounds the operation: each further attempt gets what is left of it. A kept HTTP/2 connection
 * without ALPN is useless to libcurl before 8.0 (its issue 10634): each request on it fails. */
static void adjust_options(struct easy *easy, CURL *handle)
{
	if (easy->options.timeout_ms > 0) {
		int64_t left_ms = easy->options.timeout_ms - (clock_now_ns() - easy->start_ns) / NS_PER_MS;
		easy->real->easy_setopt(handle, CURLOPT_TIMEOUT_MS, (long)(left_ms > 0 ? left_ms : 1));
		easy->adjusted = true;
	}
	if (easy->verdict.class.fresh_connection || easy->options.prior_knowledge) {
		easy->real->easy_setopt(handle, CURLOPT_FRESH_CONNECT, 1L);
		easy->adjusted = true;
	}
	if (easy->resume.going)
		resume_ask(easy, handle);
	if (easy->verdict.event == EVENT_FALLBACK || easy->op.fell_back)
		fallback_ask(easy, handle);
}

void transfer_restore_options(struct easy *easy, CURL *handle)
{
	easy->real->easy_setopt(handle, CURLOPT_TIMEOUT_MS, easy->options.timeout_ms);
	easy->real->easy_setopt(handle, CURLOPT_FRESH_CONNECT, (long)easy->options.fresh_connect);
	if (easy->resume.going)
		resume_restore(easy, handle);
	fallback_restore(easy, handle);
	easy->adjusted = false;
}

/* ---- the end of an operation --------------------------------------------------------------------- */

/* Delivers what is held of a response that stands after all. */
static CURLcode deliver(struct easy *easy, CURLcode code)
{
	if (easy->response.journal.used == 0)
		return code;
	return deliver_flush(easy) || code != CURLE_OK ? code : CURLE_WRITE_ERROR;
}

/* A body too large to keep was cut off, and now the request cannot be sent again: the response is lost,
 * and libcurl has a name for why. */
static CURLcode outcome(struct easy *easy, CURLcode code)
{
	if (!easy->response.journal.overflowed)
		return code;
	deliver_drop(easy);
	return CURLE_SEND_FAIL_REWIND;
}

/* ---- interface ----------------------------------------------------------------------------------- */

void transfer_begin(struct easy *easy, CURL *handle, const struct config *config, const char *hook)
{
	wrap(easy, handle);
	easy->config = config;
	easy->hook = hook;
	easy->start = clock_mark();
	easy->begun = easy->backing_off = easy->rejected = false;
	easy->paused = 0;
	easy->interim_count = easy->tunnels_delivered = 0;
	upload_begin(easy);
	resume_begin(easy);
}

/* A handler that leaves a backoff by siglongjmp leaves the handle as the program set it: what is ours
 * on it is there during an attempt only. */
void transfer_start_attempt(struct easy *easy, CURL *handle)
{
	easy->options.url_is_new = false;
	response_reset(easy);
	if (easy->begun)
		adjust_options(easy, handle);
	easy->active = true;
}

static void finish(struct easy *easy, CURL *handle)
{
	easy->backing_off = false;
	if (easy->options.include_header)
		unwrap(easy, handle);
}

void transfer_leave(struct easy *easy, CURL *handle) { finish(easy, handle); }

/* Nearly every transfer: nothing has failed, and nothing is held. */
static bool ended_well(const struct easy *easy, CURLcode code)
{
	const struct response *response = &easy->response;
	return code == CURLE_OK && !easy->begun && response->state == RESPONSE_BETWEEN && response->status < 400 &&
	       response->journal.used == 0;
}

bool transfer_end_attempt(struct easy *easy, CURL *handle, CURLcode *code)
{
	easy->active = false;
	if (ended_well(easy, *code)) {
		if (attention())
			judge_first_success(easy);
		finish(easy, handle);
		return false;
	}
	if (easy->adjusted)
		transfer_restore_options(easy, handle);
	if (judge_wants_retry(easy, code)) {
		easy->backing_off = true;
		return true;
	}
	*code = deliver(easy, outcome(easy, *code));
	judge_outcome(easy, *code);
	finish(easy, handle);
	return false;
}

void transfer_next_attempt(struct easy *easy)
{
	easy->backing_off = false;
	deliver_drop(easy);
	op_next_attempt(&easy->op);
}

bool transfer_stop(struct easy *easy, CURL *handle, CURLcode *code, enum reason reason)
{
	bool dropped = easy->response.state == RESPONSE_DROPPING;
	if (easy->response.journal.overflowed)
		return false;
	if (reason != REASON_NONE)
		op_given_up(&easy->op, &easy->verdict, reason, dropped ? NULL : easy->real->easy_strerror(*code));
	else
		op_dropped(&easy->op);
	if (easy->resume.going)
		*code = resume_give_up(easy);
	*code = deliver(easy, *code);
	finish(easy, handle);
	return true;
}

void transfer_end_backoff(struct easy *easy, CURL *handle, CURLcode *code, enum reason reason)
{
	if (transfer_stop(easy, handle, code, reason))
		return;
	*code = outcome(easy, *code);
	finish(easy, handle);
}

void transfer_abort(struct easy *easy, CURL *handle, CURLcode *code)
{
	deliver_drop(easy);
	op_dropped(&easy->op);
	*code = CURLE_ABORTED_BY_CALLBACK;
	judge_code(easy, *code);
	finish(easy, handle);
}
