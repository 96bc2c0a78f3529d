/* What an attempt comes to: the failure in the engine's terms, and what the engine says of it. */
#include "hooks/curl_handle.h"

#include <string.h>

#include "retryshim/runtime.h"

static bool begin(struct easy *easy)
{
	struct target target;
	if (easy->begun) { /* a multi's program may have changed its limit since */
		easy->op.progress.deadline_ns = deadline_of(easy->config, easy->start_ns, easy->options.timeout_ms * NS_PER_MS);
		return true;
	}
	facts_target(easy, &target);
	const struct config *config = engine_config_for(FAMILY_CURL, &target);
	if (config == NULL)
		return false;
	easy->config = config;
	easy->start_ns = clock_of_mark(easy->start);
	easy->begun = op_begin(&easy->op, easy->config, easy->hook, &target, easy->start_ns,
	                       easy->options.timeout_ms * NS_PER_MS);
	if (easy->begun) /* the address was for the host patterns */
		way_destination(easy, &easy->op.target);
	easy->op.fallback_obstacle = way_fallback_obstacle(easy);
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
		.proxy_error = code == CURLE_PROXY ? facts_proxy_error(easy) : 0,
		.vetoed = easy->vetoed,
		.reply_code = facts_reply_code(easy),
		.retry_after_ms = -1,
		.sent = facts_sent(easy),
		.repeatable = facts_repeatable(easy),
		.refused = facts_refused(easy),
		.connected = facts_connected(easy),
		.delivered = response_delivered(easy),
		.resumable = resume_possible(easy),
	};
}

/* A redirect may have led it to another host than the one that its operation is about. */
static bool is_astray(struct easy *easy)
{
	struct target now;
	way_destination(easy, &now);
	return now.port != easy->op.target.port || strcmp(now.name, easy->op.target.name) != 0 ||
	       memcmp(now.address, easy->op.target.address, sizeof now.address) != 0;
}

static struct verdict judge(struct easy *easy, const struct failure *its_failure)
{
	struct failure with_way = *its_failure, *failure = &with_way;
	bool by_code = failure->source == SOURCE_CURL;
	with_way.astray = is_astray(easy);
	easy->response.judged = true;
	easy->op.replays = easy->replays;
	return op_failed(&easy->op, failure, by_code ? easy->real->easy_strerror((CURLcode)failure->code) : NULL);
}

static struct verdict judge_status(struct easy *easy)
{
	struct failure failure = status_failure(easy);
	return judge(easy, &failure);
}

struct verdict judge_code(struct easy *easy, CURLcode code)
{
	struct failure failure = code_failure(easy, code);
	return judge(easy, &failure);
}

/* Statuses that say nothing yet: the last round of an authentication is told at the end. */
static bool goes_on(int status) { return status < 400 || http_is_round(status); }

/* Asked by the response while libcurl is at work: is it to be dropped, as things stand? The verdict
 * itself falls when the attempt is over: libcurl may still be reading the request's body, which must
 * not be rewound under its hands. */
bool judge_drops_response(struct easy *easy)
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
bool judge_wants_retry(struct easy *easy, CURLcode *its_code)
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

/* Tells what ended well, or what is nobody's to retry, unless it has been told. */
void judge_outcome(struct easy *easy, CURLcode code)
{
	int status = easy->response.status;
	if (easy->response.judged)
		return;
	if (code == CURLE_OK && status < 400) {
		easy->op.replays = easy->replays;
		if (easy->begun && is_astray(easy)) /* the host of its failures has been left, and is not heard of */
			op_leaves(&easy->op);
		if (easy->begun)
			op_succeeded(&easy->op);
	} else if (easy->config->diag && begin(easy)) {
		if (status >= 400 && (code == CURLE_OK || code == CURLE_HTTP_RETURNED_ERROR))
			judge_status(easy);
		else
			judge_code(easy, code);
	}
}

void judge_first_success(struct easy *easy)
{
	struct target target;
	way_destination(easy, &target);
	engine_succeeded(FAMILY_CURL, &target);
}

static void set_error_text(struct easy *easy, CURLcode code)
{
	if (easy->options.error_buffer != NULL)
		strcpy(easy->options.error_buffer, easy->real->easy_strerror(code));
}

bool judge_rejects(struct easy *easy, CURLcode *code)
{
	int its_code = CURLE_OK;
	/* What libcurl says of a handle that has been redirected is the last transfer's. */
	if ((facts_redirected(easy) && !easy->options.url_is_new) || !begin(easy))
		return false;
	enum rejection rejection = op_rejected(&easy->op, SOURCE_CURL, &its_code);
	*code = (CURLcode)its_code;
	if (rejection != NOT_REJECTED)
		op_tell_rejection(&easy->op, rejection, easy->real->easy_strerror(*code));
	easy->begun = rejection == REJECTED_FALLBACK; /* else an operation begins with its first failure */
	easy->verdict = (struct verdict){.event = rejection == REJECTED_FALLBACK ? EVENT_FALLBACK : EVENT_NONE};
	easy->rejected = rejection == REJECTED;
	if (easy->rejected)
		set_error_text(easy, *code);
	return rejection == REJECTED;
}
