/* The multi interface of libcurl, interposed for each flavour under its own version node. */
#include "hooks/curl_multi.h"

#include "hooks/curl_export.h"
#include "retryshim/runtime.h"

/* ---- records -------------------------------------------------------------------------------------- */

enum { BUCKET_BITS = 6 };

static _Atomic(struct record *) buckets[1 << BUCKET_BITS];
static const struct record_table table = {sizeof(struct multi), BUCKET_BITS, buckets};

static _Atomic(int) any_multi;

/* libcurl's own multis have no record: curl_easy_perform drives one through these very symbols, in programs that
 * mostly have no other. A thread that drives one of the program's asks for the same one again and again. */
static inline __attribute__((always_inline)) struct multi *multi_find(const CURLM *handle)
{
	static _Thread_local struct record *last __attribute__((tls_model("initial-exec")));
	if (handle == NULL || atomic_load_explicit(&any_multi, memory_order_acquire) == 0)
		return NULL;
	if (last == NULL || atomic_load_explicit(&last->key, memory_order_acquire) != handle) {
		struct record *found = record_find(&table, handle);
		if (found == NULL)
			return NULL;
		last = found;
	}
	return (struct multi *)last;
}

static void add(CURLM *handle, const struct curl_real *real)
{
	struct multi *multi = (struct multi *)record_add(&table, handle);
	if (multi == NULL)
		return;
	multi->real = real;
	multi->config = engine_config(FAMILY_CURL);
	multi->worker = NOBODY;
	multi->timer = NULL;
	multi->timer_data = NULL;
	multi->told_ns = 0;
	multi->pushes = false;
	members_init(multi);
	record_publish(&multi->record, handle);
	atomic_store_explicit(&any_multi, 1, memory_order_release);
}

static const struct curl_real *real_of(const struct multi *multi, enum flavour flavour, const void *caller)
{
	return multi != NULL ? multi->real : curl_real(flavour, caller);
}

/* Ours to serve, unless the call comes out of libcurl's work on the same multi: that is its own, or a
 * callback's that it refuses. */
static bool serves(const struct multi *multi) { return multi != NULL && multi->config != NULL && multi->worker != LIBCURL; }

/* ---- ours: the calls in which libcurl works ------------------------------------------------------- */

/* Serves one of them; `multi`, `real` and `running` are the caller's. Its value is the program's. */
#define WORK(call)                                                                     \
	({                                                                                   \
		CURLMcode code_;                                                                   \
		if (real == NULL) {                                                                \
			code_ = CURLM_INTERNAL_ERROR;                                                    \
		} else if (!serves(multi)) {                                                       \
			code_ = call;                                                                    \
		} else if (multi->worker == OURSELVES) {                                           \
			code_ = CURLM_RECURSIVE_API_CALL;                                                \
		} else {                                                                           \
			uintptr_t depth_ = depth_enter();                                                \
			members_start_due(multi);                                                        \
			multi->worker = LIBCURL;                                                         \
			code_ = call;                                                                    \
			members_settle(multi, code_ == CURLM_OK ? running : NULL);                       \
			if (multi->timer != NULL && !timer_tell(multi))                                  \
				code_ = CURLM_ABORTED_BY_CALLBACK;                                             \
			depth_leave(depth_);                                                             \
		}                                                                                  \
		code_;                                                                             \
	})

static CURLMcode shim_perform(enum flavour flavour, const void *caller, CURLM *handle, int *running)
{
	struct multi *multi = multi_find(handle);
	const struct curl_real *real = real_of(multi, flavour, caller);
	return WORK(real->multi_perform(handle, running));
}

static CURLMcode shim_socket_action(enum flavour flavour, const void *caller, CURLM *handle, curl_socket_t socket,
                                    int events, int *running)
{
	struct multi *multi = multi_find(handle);
	const struct curl_real *real = real_of(multi, flavour, caller);
	if (multi != NULL && socket == CURL_SOCKET_TIMEOUT)
		multi->told_ns = 0; /* its timer has fired */
	return WORK(real->multi_socket_action(handle, socket, events, running));
}

static CURLMcode shim_socket(enum flavour flavour, const void *caller, CURLM *handle, curl_socket_t socket, int *running)
{
	struct multi *multi = multi_find(handle);
	const struct curl_real *real = real_of(multi, flavour, caller);
	if (multi != NULL && socket == CURL_SOCKET_TIMEOUT)
		multi->told_ns = 0;
	return WORK(real->multi_socket(handle, socket, running));
}

static CURLMcode shim_socket_all(enum flavour flavour, const void *caller, CURLM *handle, int *running)
{
	struct multi *multi = multi_find(handle);
	const struct curl_real *real = real_of(multi, flavour, caller);
	return WORK(real->multi_socket_all(handle, running));
}

/* ---- ours: the rest ------------------------------------------------------------------------------- */

static CURLM *shim_init(enum flavour flavour, const void *caller)
{
	const struct curl_real *real = curl_real(flavour, caller);
	CURLM *handle = real != NULL ? real->multi_init() : NULL;
	if (handle != NULL)
		add(handle, real);
	return handle;
}

static CURLMcode shim_cleanup(enum flavour flavour, const void *caller, CURLM *handle)
{
	struct multi *multi = multi_find(handle);
	const struct curl_real *real = real_of(multi, flavour, caller);
	if (real == NULL)
		return CURLM_INTERNAL_ERROR;
	if (multi != NULL && multi->worker == OURSELVES)
		return CURLM_RECURSIVE_API_CALL;
	if (multi == NULL || multi->worker == LIBCURL) /* which refuses it */
		return real->multi_cleanup(handle);
	/* As in curl_easy_cleanup: callbacks may still come, and the address may be another's at once. */
	members_leave(multi);
	record_retire(&multi->record);
	CURLMcode code = real->multi_cleanup(handle);
	if (code == CURLM_OK)
		record_release(&multi->record);
	else
		record_publish(&multi->record, handle);
	return code;
}

static CURLMcode shim_add_handle(enum flavour flavour, const void *caller, CURLM *handle, CURL *easy)
{
	struct multi *multi = multi_find(handle);
	const struct curl_real *real = real_of(multi, flavour, caller);
	if (real == NULL)
		return CURLM_INTERNAL_ERROR;
	if (!serves(multi) || easy == NULL)
		return real->multi_add_handle(handle, easy);
	if (multi->worker == OURSELVES)
		return CURLM_RECURSIVE_API_CALL;
	/* Only the outermost hook of a thread retries. */
	bool nested = depth_nested();
	uintptr_t depth = depth_enter();
	CURLMcode code = member_add(multi, easy, !nested);
	depth_leave(depth);
	return code;
}

static CURLMcode shim_remove_handle(enum flavour flavour, const void *caller, CURLM *handle, CURL *easy_handle)
{
	struct multi *multi = multi_find(handle);
	struct easy *easy = multi != NULL ? easy_find(easy_handle) : NULL;
	const struct curl_real *real = real_of(multi, flavour, caller);
	if (real == NULL)
		return CURLM_INTERNAL_ERROR;
	if (multi != NULL && multi->worker == OURSELVES)
		return CURLM_RECURSIVE_API_CALL;
	CURLMcode code = real->multi_remove_handle(handle, easy_handle);
	if (code == CURLM_OK && easy != NULL && easy->multi == multi) {
		member_leave(easy);
		timer_tell(multi);
	}
	return code;
}

static CURLMsg *shim_info_read(enum flavour flavour, const void *caller, CURLM *handle, int *left)
{
	struct multi *multi = multi_find(handle);
	const struct curl_real *real = real_of(multi, flavour, caller);
	*left = 0;
	if (real == NULL || (multi != NULL && multi->worker == OURSELVES))
		return NULL;
	return serves(multi) ? members_message(multi, left) : real->multi_info_read(handle, left);
}

static CURLMcode shim_timeout(enum flavour flavour, const void *caller, CURLM *handle, long *timeout_ms)
{
	struct multi *multi = multi_find(handle);
	const struct curl_real *real = real_of(multi, flavour, caller);
	if (real == NULL)
		return CURLM_INTERNAL_ERROR;
	CURLMcode code = real->multi_timeout(handle, timeout_ms);
	if (code == CURLM_OK && serves(multi))
		*timeout_ms = timer_clip(multi, *timeout_ms);
	return code;
}

static CURLMcode shim_wait(enum flavour flavour, const void *caller, bool polls, CURLM *handle, struct curl_waitfd *extra,
                           unsigned extra_count, int timeout_ms, int *count)
{
	struct multi *multi = multi_find(handle);
	const struct curl_real *real = real_of(multi, flavour, caller);
	multi_wait_function *wait = real == NULL ? NULL : polls ? real->multi_poll : real->multi_wait;
	if (wait == NULL)
		return CURLM_INTERNAL_ERROR;
	if (!serves(multi) || multi->due_ns == INT64_MAX || timeout_ms < 0)
		return wait(handle, extra, extra_count, timeout_ms, count);
	return timer_wait(multi, polls, extra, extra_count, timeout_ms, count);
}

static CURLMcode set_timer(struct multi *multi, curl_multi_timer_callback timer)
{
	CURLM *handle = multi_handle(multi);
	multi->timer = timer;
	multi->real->multi_setopt(handle, CURLMOPT_TIMERDATA, multi);
	return multi->real->multi_setopt(handle, CURLMOPT_TIMERFUNCTION, timer != NULL ? timer_on_change : NULL);
}

/* Hands an option on as what its number says it is. */
static CURLMcode pass_option(const struct curl_real *real, CURLM *handle, CURLMoption option, va_list arguments)
{
	switch ((int)option / 10000 * 10000) {
	case CURLOPTTYPE_LONG: return real->multi_setopt(handle, option, va_arg(arguments, long));
	case CURLOPTTYPE_OFF_T: return real->multi_setopt(handle, option, va_arg(arguments, curl_off_t));
	default: return real->multi_setopt(handle, option, va_arg(arguments, void *));
	}
}

static CURLMcode shim_setopt(enum flavour flavour, const void *caller, CURLM *handle, CURLMoption option,
                             va_list arguments)
{
	struct multi *multi = multi_find(handle);
	const struct curl_real *real = real_of(multi, flavour, caller);
	bool ours = multi != NULL && multi->config != NULL;
	if (real == NULL)
		return CURLM_INTERNAL_ERROR;
	if (ours && option == CURLMOPT_TIMERFUNCTION)
		return set_timer(multi, va_arg(arguments, curl_multi_timer_callback));
	if (ours && option == CURLMOPT_TIMERDATA) {
		multi->timer_data = va_arg(arguments, void *);
		return CURLM_OK;
	}
	if (ours && option == CURLMOPT_PUSHFUNCTION)
		multi->pushes = true;
	return pass_option(real, handle, option, arguments);
}

/* ---- exported ------------------------------------------------------------------------------------- */

/* Where the program has no multi at all, what comes here is libcurl's own: straight through. */
#define EXPORT_MULTI(type, name, parameters, call, shim_call)                                              \
	EXPORT_CURL_BODY(type, curl_##name, parameters,                                                          \
		const struct curl_real *known = atomic_load_explicit(&curl_real_known[flavour], memory_order_acquire); \
		if (known != NULL && atomic_load_explicit(&any_multi, memory_order_acquire) == 0)                      \
			return known->name call;                                                                             \
		return shim_call;)

EXPORT_CURL(CURLM *, curl_multi_init, (void), shim_init(FROM))
EXPORT_CURL(CURLMcode, curl_multi_cleanup, (CURLM *multi), shim_cleanup(FROM, multi))
EXPORT_MULTI(CURLMcode, multi_add_handle, (CURLM *multi, CURL *easy), (multi, easy), shim_add_handle(FROM, multi, easy))
EXPORT_MULTI(CURLMcode, multi_remove_handle, (CURLM *multi, CURL *easy), (multi, easy), shim_remove_handle(FROM, multi, easy))
EXPORT_MULTI(CURLMcode, multi_perform, (CURLM *multi, int *running), (multi, running), shim_perform(FROM, multi, running))
EXPORT_CURL(CURLMcode, curl_multi_socket_action, (CURLM *multi, curl_socket_t socket, int events, int *running),
            shim_socket_action(FROM, multi, socket, events, running))
EXPORT_CURL(CURLMcode, curl_multi_socket, (CURLM *multi, curl_socket_t socket, int *running),
            shim_socket(FROM, multi, socket, running))
EXPORT_CURL(CURLMcode, curl_multi_socket_all, (CURLM *multi, int *running), shim_socket_all(FROM, multi, running))
EXPORT_MULTI(CURLMsg *, multi_info_read, (CURLM *multi, int *left), (multi, left), shim_info_read(FROM, multi, left))
EXPORT_CURL(CURLMcode, curl_multi_timeout, (CURLM *multi, long *timeout_ms), shim_timeout(FROM, multi, timeout_ms))
EXPORT_CURL(CURLMcode, curl_multi_wait,
            (CURLM *multi, struct curl_waitfd *extra, unsigned count, int timeout_ms, int *ready),
            shim_wait(FROM, false, multi, extra, count, timeout_ms, ready))
/* A library that calls it has it. */
EXPORT_MULTI(CURLMcode, multi_poll, (CURLM *multi, struct curl_waitfd *extra, unsigned count, int timeout_ms, int *ready),
             (multi, extra, count, timeout_ms, ready), shim_wait(FROM, true, multi, extra, count, timeout_ms, ready))
EXPORT_CURL_BODY(CURLMcode, curl_multi_setopt, (CURLM *multi, CURLMoption option, ...),
	va_list arguments;
	va_start(arguments, option);
	const struct curl_real *known = atomic_load_explicit(&curl_real_known[flavour], memory_order_acquire);
	bool libcurls_own = known != NULL && atomic_load_explicit(&any_multi, memory_order_acquire) == 0;
	CURLMcode code = libcurls_own ? pass_option(known, multi, option, arguments) : shim_setopt(FROM, multi, option, arguments);
	va_end(arguments);
	return code;
)
