/* One operation: attempts, verdicts, and what has to be put right between them. */
#include "hooks/curl_handle.h"

#include "retryshim/runtime.h"

/* ---- judging ------------------------------------------------------------------------------------- */

static bool begin(struct easy *easy)
{
	struct target target;
	if (easy->begun) { /* a multi's program may have changed its limit since */
		easy->op.progress.deadline_ns = deadline_of(easy->config, easy->start_ns, easy->options.timeout_ms * NS_PER_MS);
		return true;
	}
	facts_target(easy, &target);
	easy->start_ns = clock_of_mark(easy->start);
	easy->begun = op_begin(&easy->op, easy->config, easy->hook, &target, easy->start_ns,
	                       easy->options.timeout_ms * NS_PER_MS);
	easy->op.rewind = upload_rewind;
	easy->op.rewind_context = easy;
	return easy->begun;
}

static struct failure status_failure(struct easy *easy)
{
	return (struct failure){
		.source = SOURCE_HTTP,
		.code = easy->response.status,
		.retry_after_ms = easy->response.retry_after_ms,
		.sent = true,
		.repeatable = facts_repeatable(easy),
		.delivered = response_delivered(easy),
		.resumable = resume_possible(easy),
	};
}

static struct failure code_failure(struct easy *easy, CURLcode code)
{
	return (struct failure){
		.source = SOURCE_CURL,
		.code = (int)code,
		.reply_code = facts_reply_code(easy),
		.retry_after_ms = -1,
		.sent = facts_sent(easy),
		.repeatable = facts_repeatable(easy),
		.refused = facts_refused(easy),
		.delivered = response_delivered(easy),
		.resumable = resume_possible(easy),
	};
}

static struct verdict judge(struct easy *easy, const struct failure *failure)
{
	bool by_code = failure->source == SOURCE_CURL;
	easy->response.judged = true;
	easy->op.replays = easy->replays;
	return op_failed(&easy->op, failure, by_code ? easy->real->easy_strerror((CURLcode)failure->code) : NULL);
}

static struct verdict judge_status(struct easy *easy)
{
	struct failure failure = status_failure(easy);
	return judge(easy, &failure);
}

static struct verdict judge_code(struct easy *easy, CURLcode code)
{
	struct failure failure = code_failure(easy, code);
	return judge(easy, &failure);
}

/* Statuses that say nothing yet: the last round of an authentication is told at the end. */
static bool goes_on(int status) { return status < 400 || http_is_round(status); }

/* Asked by the response while libcurl is at work: is it to be dropped, as things stand? The verdict
 * itself falls when the attempt is over: libcurl may still be reading the request's body, which must
 * not be rewound under its hands. */
static bool drops_response(struct easy *easy)
{
	if (goes_on(easy->response.status) || easy->response.judged || !begin(easy))
		return false;
	struct failure failure = status_failure(easy);
	if (op_expected(&easy->op, &failure).action == ACTION_RETRY)
		return true;
	if (!easy->resume.going) /* else it is no more than an answer that does not help */
		easy->verdict = judge_status(easy);
	return false;
}

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
}

void transfer_restore_options(struct easy *easy, CURL *handle)
{
	easy->real->easy_setopt(handle, CURLOPT_TIMEOUT_MS, easy->options.timeout_ms);
	easy->real->easy_setopt(handle, CURLOPT_FRESH_CONNECT, (long)easy->options.fresh_connect);
	if (easy->resume.going)
		resume_restore(easy, handle);
	easy->adjusted = false;
}

/* ---- the end of an attempt ----------------------------------------------------------------------- */

/* Delivers what is held of a response that stands after all. */
static CURLcode deliver(struct easy *easy, CURLcode code)
{
	if (easy->response.journal.used == 0)
		return code;
	return deliver_flush(easy) || code != CURLE_OK ? code : CURLE_WRITE_ERROR;
}

/* The attempt's outcome is the program's. Tells what ended well, or what is nobody's to retry. */
static CURLcode conclude(struct easy *easy, CURLcode code)
{
	int status = easy->response.status;
	code = deliver(easy, code);
	if (easy->response.judged)
		return code;
	if (code == CURLE_OK && status < 400) {
		easy->op.replays = easy->replays;
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

/* True if the attempt failed by its status in a header block that was not complete, so that nothing of
 * it was judged: FAILONERROR ends a transfer there, and an orderly close does, which is no error to
 * libcurl. */
static bool failed_by_status(const struct easy *easy, CURLcode code)
{
	const struct response *response = &easy->response;
	return !goes_on(response->status) &&
	       (code == CURLE_HTTP_RETURNED_ERROR || (code == CURLE_OK && response->state == RESPONSE_HOLDING));
}

/* Tells why what broke a download is the outcome: `last` is on the attempt that should have brought its rest. */
static void judge_broken(struct easy *easy, const struct verdict *last)
{
	struct failure failure = code_failure(easy, easy->resume.broken_by);
	if (last->event == EVENT_GIVEN_UP) { /* for want of time */
		failure.resumable = true;
		struct verdict verdict = op_expected(&easy->op, &failure);
		op_given_up(&easy->op, &verdict, last->reason, easy->real->easy_strerror(easy->resume.broken_by));
		easy->response.judged = true;
		return;
	}
	failure.resumable = last->event == EVENT_EXHAUSTED;
	judge(easy, &failure);
}

/* The same for an attempt that has asked for the rest of a download and has not got it. What the program is to
 * learn in the end is the error that broke the download. */
static bool wants_rest_again(struct easy *easy, CURLcode *code)
{
	bool by_status = !goes_on(easy->response.status);
	struct verdict last = {.event = EVENT_NOT_RETRYABLE};
	if (*code == CURLE_ABORTED_BY_CALLBACK && !easy->resume.refused) {
		deliver_drop(easy);
		return false;
	}
	if (by_status || (!easy->resume.refused && *code != CURLE_OK)) {
		struct failure failure = by_status ? status_failure(easy) : code_failure(easy, *code);
		last = op_expected(&easy->op, &failure);
		if (last.action == ACTION_RETRY)
			last = easy->verdict = judge(easy, &failure);
		if (last.action == ACTION_RETRY)
			return true;
	}
	*code = resume_give_up(easy);
	if (!easy->response.judged)
		judge_broken(easy, &last);
	return false;
}

/* What an attempt that returned *code comes to. True: retry by easy->verdict. */
static bool wants_retry(struct easy *easy, CURLcode *its_code)
{
	struct response *response = &easy->response;
	CURLcode code = *its_code;
	if (easy->resume.going && (!easy->resume.joined || (code == CURLE_OK && !resume_complete(easy))))
		return wants_rest_again(easy, its_code);
	if (code == CURLE_OK && response->state == RESPONSE_BETWEEN) /* nearly every transfer */
		return false;
	bool dropping = response->state == RESPONSE_DROPPING;
	bool by_status = dropping || failed_by_status(easy, code);
	if (dropping && code == CURLE_ABORTED_BY_CALLBACK) {
		deliver_drop(easy);
		return false;
	}
	if (response->judged || (code == CURLE_OK && !by_status) || !begin(easy))
		return false;
	easy->verdict = by_status ? judge_status(easy) : judge_code(easy, code);
	if (easy->verdict.action != ACTION_RETRY)
		return false;
	if (response_delivered(easy))
		resume_broken(easy, code);
	return true;
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
	easy->begun = easy->backing_off = false;
	easy->paused = 0;
	easy->interim_count = easy->tunnels_delivered = 0;
	easy->drops_response = drops_response;
	upload_begin(easy);
	resume_begin(easy);
}

/* A handler that leaves a backoff by siglongjmp leaves the handle as the program set it: what is ours
 * on it is there during an attempt only. */
void transfer_start_attempt(struct easy *easy, CURL *handle)
{
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

bool transfer_end_attempt(struct easy *easy, CURL *handle, CURLcode *code)
{
	easy->active = false;
	if (easy->adjusted)
		transfer_restore_options(easy, handle);
	if (wants_retry(easy, code)) {
		easy->backing_off = true;
		return true;
	}
	*code = conclude(easy, outcome(easy, *code));
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
	if (easy->resume.going)
		*code = resume_give_up(easy);
	*code = deliver(easy, *code);
	finish(easy, handle);
	return true;
}

void transfer_abort(struct easy *easy, CURL *handle, CURLcode *code)
{
	deliver_drop(easy);
	*code = CURLE_ABORTED_BY_CALLBACK;
	judge_code(easy, *code);
	finish(easy, handle);
}
