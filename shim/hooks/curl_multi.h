/* Private to the curl hooks: what is known of one multi, and of the handles in it.
 *
 * The program's transfers stay in libcurl's multi. One that failed and will be retried stays there too, as
 * libcurl's own finished transfer, until its instant: then it is taken out and put in again, which starts
 * it anew. What libcurl says in the meantime is corrected: the running count includes it, its message is
 * held back, and every time-out ends at its instant. So nothing of ours runs on its own, and the program
 * may take the handle out, close it or destroy the multi at any moment.
 *
 * libcurl forbids using a multi from two threads at once (but for curl_multi_wakeup, which is not ours), so
 * a struct multi needs no guard of its own.
 */
#ifndef RETRYSHIM_HOOKS_CURL_MULTI_H
#define RETRYSHIM_HOOKS_CURL_MULTI_H

#include "hooks/curl_handle.h"

/* Who is at work on a multi. libcurl refuses what its callbacks ask of it; what callbacks that we call ask is
 * refused by us. */
enum worker { NOBODY, LIBCURL, OURSELVES };

struct multi {
	struct record record; /* its key is the CURLM pointer */
	const struct curl_real *real;
	const struct config *config; /* NULL: known for its library alone */
	enum worker worker;
	struct link members[MEMBER_STATES];
	int count[MEMBER_STATES];
	int64_t due_ns; /* of the next attempt; INT64_MAX = none */
	int running;    /* transfers under way, by libcurl's last count; -1 = not known */
	bool pushes;    /* servers may start transfers of their own */
	unsigned adds;  /* handles that were added, ever */
	int watchers;   /* members in a backoff that have a progress callback */

	curl_multi_timer_callback timer; /* the program's; NULL = none */
	void *timer_data;
	int64_t told_ns; /* the instant of ours that the program's timer stands at; 0 = libcurl's own */
};

static inline CURLM *multi_handle(struct multi *multi)
{
	return atomic_load_explicit(&multi->record.key, memory_order_relaxed);
}

/* curl_members.c */
void members_init(struct multi *multi);
CURLMcode member_add(struct multi *multi, CURL *handle, bool ours); /* ours: its transfer may be retried */
void member_leave(struct easy *easy);  /* taken out of its multi */
void member_forget(struct easy *easy); /* the same for a handle that is closed */
void member_reset(struct easy *easy);  /* about to be reset: the operation ends */
/* No other handle has been in the multi since this one came. */
bool member_is_alone(const struct easy *easy);
void member_pause_changed(struct easy *easy); /* in a backoff */
void members_leave(struct multi *multi);
/* Around each call in which libcurl works on the transfers: what is due starts, what has finished is judged.
 * *running: libcurl's count in, the program's out; may be NULL. */
void members_start_due(struct multi *multi);
void members_settle(struct multi *multi, int *running);
CURLMsg *members_message(struct multi *multi, int *left);

/* curl_timer.c */
/* How long a wait may last, in ms, where `timeout_ms` is asked for; -1 = no bound. */
long timer_clip(const struct multi *multi, long timeout_ms);
/* Our own CURLMOPT_TIMERFUNCTION; its context is the struct multi. */
int timer_on_change(CURLM *handle, long timeout_ms, void *context);
/* Lets the program's timer end at our next instant, or at libcurl's if ours is gone. False if the program's
 * callback says that all is over. */
bool timer_tell(struct multi *multi);
/* Serves curl_multi_wait and curl_multi_poll while an attempt of ours is due some time. */
typedef CURLMcode multi_wait_function(CURLM *, struct curl_waitfd *, unsigned, int, int *);
CURLMcode timer_wait(struct multi *multi, bool polls, struct curl_waitfd *extra, unsigned extra_count, int timeout_ms,
                     int *count);

#endif
