/* curl_easy_perform: one operation in the caller's thread, which sleeps between the attempts. */
#include "hooks/curl_handle.h"

#include "retryshim/runtime.h"

enum waited { WAITED, WAIT_ABORTED, WAIT_INTERRUPTED, WAIT_TOO_LONG };

static enum waited wait_until(struct easy *easy, int64_t at_ns)
{
	const int64_t slice_ns = 200 * NS_PER_MS;
	for (;;) {
		if (transfer_progress_aborts(easy))
			return WAIT_ABORTED;
		int64_t now_ns = clock_now_ns();
		bool paused = easy->paused != 0 && transfer_has_progress(easy); /* else nobody could end it */
		if (now_ns >= at_ns && !paused)
			return WAITED;
		if (now_ns >= easy->op.progress.deadline_ns)
			return WAIT_TOO_LONG;
		bool sliced = paused || (transfer_has_progress(easy) && at_ns - now_ns > slice_ns);
		if (sleep_until(sliced ? now_ns + slice_ns : at_ns) == SLEEP_INTERRUPTED)
			return WAIT_INTERRUPTED;
	}
}

/* Carries the verdict out. True: another attempt may start; otherwise *code is the outcome. */
static bool back_off(struct easy *easy, CURL *handle, CURLcode *code)
{
	for (;;)
		switch (wait_until(easy, easy->verdict.at_ns)) {
		case WAITED: return true;
		case WAIT_ABORTED: transfer_abort(easy, handle, code); return false;
		case WAIT_TOO_LONG: transfer_end_backoff(easy, handle, code, REASON_DEADLINE); return false;
		case WAIT_INTERRUPTED:
			if (transfer_stop(easy, handle, code, REASON_SIGNAL))
				return false;
			break;
		}
}

CURLcode perform(struct easy *easy, CURL *handle, const struct config *config)
{
	CURLcode code;
	transfer_begin(easy, handle, config, "curl_easy_perform");
	for (;;) {
		transfer_start_attempt(easy, handle);
		code = easy->real->easy_perform(handle);
		if (!transfer_end_attempt(easy, handle, &code) || !back_off(easy, handle, &code))
			return code;
		transfer_next_attempt(easy);
	}
}
