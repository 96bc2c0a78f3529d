/* The handles of a multi: which of them are in a backoff, and what the program may learn of them. */
#include "hooks/curl_multi.h"

#include "retryshim/runtime.h"

/* ---- lists ---------------------------------------------------------------------------------------- */

static struct easy *easy_of(struct link *link)
{
	return (struct easy *)(void *)((char *)link - offsetof(struct easy, link));
}

static void unlink_member(struct easy *easy)
{
	easy->link.before->after = easy->link.after;
	easy->link.after->before = easy->link.before;
	easy->multi->count[easy->member]--;
}

static void link_member(struct easy *easy, enum member member)
{
	struct link *list = &easy->multi->members[member];
	easy->member = member;
	easy->link = (struct link){.before = list->before, .after = list};
	list->before->after = &easy->link;
	list->before = &easy->link;
	easy->multi->count[member]++;
}

static void move(struct easy *easy, enum member member)
{
	unlink_member(easy);
	link_member(easy, member);
}

void members_init(struct multi *multi)
{
	for (int member = 0; member < MEMBER_STATES; member++) {
		struct link *list = &multi->members[member];
		list->before = list->after = list;
		multi->count[member] = 0;
	}
	multi->due_ns = INT64_MAX;
	multi->watchers = 0;
	multi->running = 0;
	multi->adds = 0;
}

/* ---- backoff -------------------------------------------------------------------------------------- */

/* A paused transfer's next attempt waits, but not beyond the operation's end. */
static int64_t due_of(const struct easy *easy)
{
	return easy->paused == 0 ? easy->look_ns : easy->op.progress.deadline_ns;
}

static void note_waiting(struct multi *multi, const struct easy *easy)
{
	if (due_of(easy) < multi->due_ns)
		multi->due_ns = due_of(easy);
	multi->watchers += transfer_has_progress(easy);
}

/* A crowd in a backoff is gone through only when something has become of one of them. */
static void find_due(struct multi *multi)
{
	const struct link *list = &multi->members[MEMBER_WAITING];
	multi->due_ns = INT64_MAX;
	multi->watchers = 0;
	for (struct link *link = list->after; link != list; link = link->after)
		note_waiting(multi, easy_of(link));
}

void member_pause_changed(struct easy *easy)
{
	find_due(easy->multi);
	timer_tell(easy->multi);
}

static void finish(struct easy *easy, CURLcode code)
{
	easy->message = (CURLMsg){.msg = CURLMSG_DONE, .easy_handle = handle_of(easy), .data.result = code};
	move(easy, MEMBER_FINISHED);
}

/* libcurl counts it as running from now on. */
static void note_started(struct easy *easy)
{
	easy->message.msg = CURLMSG_NONE;
	easy->multi->running += easy->multi->running >= 0;
}

static void restart(struct easy *easy)
{
	struct multi *multi = easy->multi;
	CURL *handle = handle_of(easy);
	transfer_next_attempt(easy);
	transfer_start_attempt(easy, handle);
	move(easy, MEMBER_OTHER);
	multi->worker = LIBCURL;
	multi->real->multi_remove_handle(multi_handle(multi), handle);
	CURLMcode added = multi->real->multi_add_handle(multi_handle(multi), handle);
	multi->worker = OURSELVES;
	if (added == CURLM_OK) {
		note_started(easy);
		return;
	}
	CURLcode code = CURLE_OUT_OF_MEMORY; /* the one reason there is */
	transfer_end_attempt(easy, handle, &code);
	finish(easy, code);
}

/* The instant that was set has come: to start, to learn that another's failure was the end, or to look again. */
static void attend_due(struct easy *easy)
{
	int64_t again_ns;
	CURLcode code = easy->message.data.result;
	switch (op_due(&easy->op, &easy->verdict, &again_ns)) {
	case DUE_GO: restart(easy); break;
	case DUE_LATER: easy->look_ns = op_glance_ns(&easy->op, again_ns); break;
	case DUE_OVER:
		transfer_end_backoff(easy, handle_of(easy), &code, REASON_NONE);
		finish(easy, code);
		break;
	}
}

static void attend(struct easy *easy, int64_t now_ns)
{
	CURLcode code = easy->message.data.result;
	if (easy->rejected) {
		transfer_leave(easy, handle_of(easy));
		finish(easy, code);
	} else if (transfer_progress_aborts(easy)) {
		transfer_abort(easy, handle_of(easy), &code);
		finish(easy, code);
	} else if (due_of(easy) <= now_ns && easy->paused == 0) {
		attend_due(easy);
	} else if (due_of(easy) <= now_ns) {
		transfer_end_backoff(easy, handle_of(easy), &code, REASON_DEADLINE);
		finish(easy, code);
	}
}

void members_start_due(struct multi *multi)
{
	struct link *list = &multi->members[MEMBER_WAITING];
	int64_t now_ns;
	if (multi->count[MEMBER_WAITING] == 0 || ((now_ns = clock_now_ns()) < multi->due_ns && multi->watchers == 0))
		return;
	multi->worker = OURSELVES;
	/* Each once, from the front to the end: a callback may close any of them. */
	for (int left = multi->count[MEMBER_WAITING]; left > 0 && list->after != list; left--) {
		struct easy *easy = easy_of(list->after);
		move(easy, MEMBER_WAITING);
		attend(easy, now_ns);
	}
	find_due(multi);
	multi->worker = NOBODY;
}

/* A handle that was made behind our back gets a record too, to keep its message. */
static struct easy *find_or_add(struct multi *multi, CURL *handle)
{
	struct easy *easy = easy_find(handle);
	if (easy == NULL && (easy = easy_add(handle, multi->real)) != NULL)
		easy->served = false;
	return easy;
}

/* ---- messages ------------------------------------------------------------------------------------- */

static void settle(struct multi *multi, CURL *handle, CURLcode code)
{
	struct easy *easy = find_or_add(multi, handle);
	if (easy == NULL) /* no memory */
		return;
	if (easy->multi == NULL) {
		easy->multi = multi;
		multi->adds++;
		easy->alone_at = 0;
		link_member(easy, MEMBER_OTHER);
	}
	easy->message.data.result = code;
	if (!easy->active || !transfer_end_attempt(easy, handle, &code)) {
		finish(easy, code);
		return;
	}
	move(easy, MEMBER_WAITING);
	easy->look_ns = op_glance_ns(&easy->op, easy->verdict.at_ns);
	note_waiting(multi, easy);
}

static void settle_all(struct multi *multi)
{
	int left;
	CURLMsg *message;
	multi->worker = OURSELVES;
	while ((message = multi->real->multi_info_read(multi_handle(multi), &left)) != NULL)
		settle(multi, message->easy_handle, message->data.result);
	multi->worker = NOBODY;
}

void members_settle(struct multi *multi, int *running)
{
	multi->worker = NOBODY;
	/* Most calls finish nothing: then libcurl counts what it has counted before. */
	if (running == NULL || *running != multi->running || multi->pushes)
		settle_all(multi);
	multi->running = running != NULL ? *running : -1;
	if (running != NULL)
		*running += multi->count[MEMBER_WAITING];
}

CURLMsg *members_message(struct multi *multi, int *left)
{
	struct link *list = &multi->members[MEMBER_FINISHED];
	*left = 0;
	if (list->after == list)
		settle_all(multi);
	if (list->after == list)
		return NULL;
	struct easy *easy = easy_of(list->after);
	move(easy, MEMBER_OTHER);
	*left = multi->count[MEMBER_FINISHED];
	return &easy->message;
}

/* ---- coming and going ----------------------------------------------------------------------------- */

/* libcurl never gets to know it: it ends in the next call in which libcurl works, as soon as may be. */
static void reject(struct multi *multi, struct easy *easy)
{
	easy->multi = multi;
	easy->alone_at = 0;
	easy->message.msg = CURLMSG_NONE;
	multi->adds++;
	link_member(easy, MEMBER_WAITING);
	easy->look_ns = clock_now_ns();
	note_waiting(multi, easy);
	timer_tell(multi);
}

CURLMcode member_add(struct multi *multi, CURL *handle, bool ours)
{
	struct easy *easy = find_or_add(multi, handle);
	if (easy == NULL)
		return CURLM_OUT_OF_MEMORY;
	if (easy->multi != NULL)
		return CURLM_ADDED_ALREADY;
	ours = ours && easy->served && !easy->active;
	if (ours && easy->options.left_alone) {
		unwrap(easy, handle);
		ours = false;
	}
	if (!easy->active)
		easy->resume.going = false; /* what was told of an earlier transfer is over */
	if (ours) {
		transfer_begin(easy, handle, multi->config, "curl_multi");
		if ((attention() & ATTENTION_REJECT) != 0 && judge_rejects(easy, &easy->message.data.result)) {
			reject(multi, easy);
			return CURLM_OK;
		}
		transfer_start_attempt(easy, handle);
	}
	CURLMcode code = multi->real->multi_add_handle(multi_handle(multi), handle);
	if (code != CURLM_OK) {
		easy->active = easy->active && !ours;
		return code;
	}
	easy->multi = multi;
	bool alone = multi->count[MEMBER_OTHER] + multi->count[MEMBER_WAITING] + multi->count[MEMBER_FINISHED] == 0;
	multi->adds++;
	easy->alone_at = alone ? multi->adds : 0;
	link_member(easy, MEMBER_OTHER);
	note_started(easy);
	return code;
}

bool member_is_alone(const struct easy *easy) { return easy->alone_at != 0 && easy->alone_at == easy->multi->adds; }

void member_forget(struct easy *easy)
{
	struct multi *multi = easy->multi;
	if (easy->backing_off)
		op_dropped(&easy->op);
	unlink_member(easy);
	if (easy->member == MEMBER_OTHER && easy->message.msg != CURLMSG_DONE)
		multi->running = -1;
	easy->multi = NULL;
	easy->active = easy->backing_off = easy->adjusted = false;
	if (easy->member == MEMBER_WAITING)
		find_due(multi);
}

void member_leave(struct easy *easy)
{
	CURL *handle = handle_of(easy);
	if (easy->adjusted)
		transfer_restore_options(easy, handle);
	if (easy->options.include_header)
		unwrap(easy, handle);
	member_forget(easy);
}

void members_leave(struct multi *multi)
{
	for (int member = 0; member < MEMBER_STATES; member++)
		while (multi->members[member].after != &multi->members[member])
			member_leave(easy_of(multi->members[member].after));
}

void member_reset(struct easy *easy)
{
	CURLcode code = easy->message.data.result;
	easy->active = easy->adjusted = false;
	if (easy->member != MEMBER_WAITING)
		return;
	easy->multi->worker = OURSELVES; /* it may call the program */
	transfer_end_backoff(easy, handle_of(easy), &code, REASON_NONE);
	easy->multi->worker = NOBODY;
	finish(easy, code);
	find_due(easy->multi);
}
