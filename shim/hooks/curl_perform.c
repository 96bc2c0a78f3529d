/* curl_easy_perform: one operation in the caller's thread, which sleeps between the attempts. */
#include "hooks/curl_handle.h"

#include "retryshim/runtime.h"

enum waited { WAITED, WAIT_ENDED, WAIT_ABORTED, WAIT_LEFT, WAIT_TOO_LONG };

static enum waited wait_until_due(struct easy *easy)
{
	const int64_t slice_ns = 200 * NS_PER_MS;
	for (;;) {
		int64_t at_ns;
		if (transfer_progress_aborts(easy))
			return WAIT_ABORTED;
		bool paused = easy->paused != 0 && transfer_has_progress(easy); /* else nobody could end it */
		enum due due = op_due(&easy->op, &easy->verdict, &at_ns);
		if (due == DUE_OVER)
			return WAIT_ENDED;
		if (due == DUE_GO && !paused)
			return WAITED;
		int64_t now_ns = clock_now_ns();
		if (now_ns >= easy->op.progress.deadline_ns)
			return WAIT_TOO_LONG;
		bool sliced = paused || (transfer_has_progress(easy) && at_ns - now_ns > slice_ns);
		if (op_sleep(&easy->op, sliced ? now_ns + slice_ns : at_ns) == SLEEP_INTERRUPTED)
			return WAIT_LEFT;
	}
}

/* Carries the verdict out. True: another attempt may start; otherwise *code is the outcome. */
static bool back_off(struct easy *easy, CURL *handle, CURLcode *code)
{
	for (;;)
		switch (wait_until_due(easy)) {
		case WAITED: return true;
		case WAIT_ENDED: transfer_end_backoff(easy, handle, code, REASON_NONE); return false;
		case WAIT_ABORTED: transfer_abort(easy, handle, code); return false;
		case WAIT_TOO_LONG: transfer_end_backoff(easy, handle, code, REASON_DEADLINE); return false;
		case WAIT_LEFT:
			if (transfer_stop(easy, handle, code, REASON_SIGNAL))
				return false;
			break;
		}
}

CURLcode perform(struct easy *easy, CURL *handle, const struct config *config)
{
	CURLcode code;
	transfer_begin(easy, handle, config, "curl_easy_perform");
	if ((attention() & ATTENTION_REJECT) != 0 && judge_rejects(easy, &code)) {
		transfer_leave(easy, handle);
		return code;
	}
	for (;;) {
		transfer_start_attempt(easy, handle);
		code = easy->real->easy_perform(handle);
		if (!transfer_end_attempt(easy, handle, &code) || !back_off(easy, handle, &code))
			return code;
		transfer_next_attempt(easy);
	}
}
