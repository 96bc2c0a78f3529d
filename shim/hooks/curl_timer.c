/* The time-outs of a multi: what libcurl asks for, or less if an attempt of ours is due earlier. */
#include "hooks/curl_multi.h"

#include "retryshim/runtime.h"

/* Rounded up: a program that comes back a moment too early would have nothing to do but come again. */
static long span_ms(int64_t due_ns)
{
	int64_t span_ns = due_ns - clock_now_ns();
	return span_ns <= 0 ? 0 : (long)((span_ns + NS_PER_MS - 1) / NS_PER_MS);
}

long timer_clip(const struct multi *multi, long timeout_ms)
{
	if (multi->due_ns == INT64_MAX)
		return timeout_ms;
	long due_ms = span_ms(multi->due_ns);
	return timeout_ms < 0 || due_ms < timeout_ms ? due_ms : timeout_ms;
}

/* ---- CURLMOPT_TIMERFUNCTION ----------------------------------------------------------------------- */

static int tell(struct multi *multi, CURLM *handle, long libcurls_ms)
{
	long ms = timer_clip(multi, libcurls_ms);
	multi->told_ns = ms != libcurls_ms ? multi->due_ns : 0;
	return multi->timer(handle, ms, multi->timer_data);
}

int timer_on_change(CURLM *handle, long timeout_ms, void *context)
{
	struct multi *multi = context;
	return multi->timer != NULL ? tell(multi, handle, timeout_ms) : 0;
}

bool timer_tell(struct multi *multi)
{
	long libcurls_ms = -1;
	int64_t wanted_ns = multi->due_ns != INT64_MAX ? multi->due_ns : 0;
	/* At work, the call that is under way tells at its end. */
	if (multi->timer == NULL || wanted_ns == multi->told_ns || multi->worker != NOBODY)
		return true;
	multi->real->multi_timeout(multi_handle(multi), &libcurls_ms);
	/* Libcurl's own is earlier, and its instant is known to the program. */
	if (multi->told_ns == 0 && timer_clip(multi, libcurls_ms) == libcurls_ms)
		return true;
	multi->worker = OURSELVES;
	int result = tell(multi, multi_handle(multi), libcurls_ms);
	multi->worker = NOBODY;
	return result != -1;
}

/* ---- waiting -------------------------------------------------------------------------------------- */

CURLMcode timer_wait(struct multi *multi, bool polls, struct curl_waitfd *extra, unsigned extra_count, int timeout_ms,
                     int *count)
{
	multi_wait_function *wait = polls ? multi->real->multi_poll : multi->real->multi_wait;
	int ready = 0;
	int clipped_ms = (int)timer_clip(multi, timeout_ms);
	int64_t start_ns = clock_now_ns();
	CURLMcode code = wait(multi_handle(multi), extra, extra_count, clipped_ms, &ready);
	if (count != NULL)
		*count = ready;
	/* curl_multi_wait does not wait where there is no descriptor to wait for. Programs know that of
	 * transfers that have no connection yet, but would spin during a backoff. curl_multi_poll waits, and
	 * where it comes back at once it was woken by curl_multi_wakeup. */
	int64_t now_ns = clock_now_ns();
	if (polls || code != CURLM_OK || ready != 0 || now_ns - start_ns > NS_PER_MS)
		return code;
	long libcurls_ms = -1;
	multi->real->multi_timeout(multi_handle(multi), &libcurls_ms);
	if (libcurls_ms >= 0 && libcurls_ms < clipped_ms)
		clipped_ms = (int)libcurls_ms;
	sleep_until(start_ns + clipped_ms * NS_PER_MS);
	return code;
}
