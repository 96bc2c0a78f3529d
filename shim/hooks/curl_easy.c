/* The easy interface of libcurl, interposed for each flavour under its own version node. */
#include "hooks/curl_export.h"
#include "hooks/curl_handle.h"
#include "hooks/curl_multi.h"

#include <sys/stat.h>

#include "retryshim/runtime.h"

/* ---- records --------------------------------------------------------------------------------------- */

enum { BUCKET_BITS = 10 };

static _Atomic(struct record *) buckets[1 << BUCKET_BITS];
static const struct record_table table = {sizeof(struct easy), BUCKET_BITS, buckets};

struct easy *easy_find(CURL *handle) { return (struct easy *)record_find(&table, handle); }

struct easy *easy_add(CURL *handle, const struct curl_real *real)
{
	struct easy *easy = (struct easy *)record_add(&table, handle);
	if (easy == NULL)
		return NULL;
	if (easy->multi != NULL) /* its last owner was closed behind our back */
		member_forget(easy);
	easy->real = real;
	easy->served = true;
	easy->wrapped = easy->active = easy->backing_off = easy->rejected = easy->resume.going = easy->fallback.going = false;
	options_default(&easy->options);
	record_publish(&easy->record, handle);
	return easy;
}

/* ---- ours: the same for every flavour -------------------------------------------------------------- */

static CURL *shim_init(enum flavour flavour, const void *caller)
{
	const struct curl_real *real = curl_real(flavour, caller);
	CURL *handle = real != NULL ? real->easy_init() : NULL;
	struct easy *easy = handle != NULL ? easy_add(handle, real) : NULL;
	/* Where we are switched off too: without a record an unversioned caller's library would have to be
	 * searched for, under the loader's lock, at every call. */
	if (easy != NULL)
		easy->served = engine_config(FAMILY_CURL) != NULL;
	return handle;
}

/* A record knows its library; a handle without one was made behind our back and is passed through. */
static const struct curl_real *real_of(const struct easy *easy, enum flavour flavour, const void *caller)
{
	return easy != NULL ? easy->real : curl_real(flavour, caller);
}

/* Hands an option on as what its number says it is. */
static CURLcode pass_option(const struct curl_real *real, CURL *handle, CURLoption option, va_list arguments)
{
	switch ((int)option / 10000 * 10000) {
	case CURLOPTTYPE_LONG: return real->easy_setopt(handle, option, va_arg(arguments, long));
	case CURLOPTTYPE_OFF_T: return real->easy_setopt(handle, option, va_arg(arguments, curl_off_t));
	default: return real->easy_setopt(handle, option, va_arg(arguments, void *));
	}
}

static CURLcode shim_setopt(enum flavour flavour, const void *caller, CURL *handle, CURLoption option, va_list arguments)
{
	struct easy *easy = easy_find(handle);
	if (easy != NULL)
		return options_set(easy, handle, option, arguments);
	const struct curl_real *real = curl_real(flavour, caller);
	return real != NULL ? pass_option(real, handle, option, arguments) : CURLE_FAILED_INIT;
}

static CURLcode shim_perform(enum flavour flavour, const void *caller, CURL *handle)
{
	struct easy *easy = easy_find(handle);
	const struct curl_real *real = real_of(easy, flavour, caller);
	if (real == NULL)
		return CURLE_FAILED_INIT;
	const struct config *config = easy != NULL && easy->served ? settings_config() : NULL;
	/* libcurl refuses one that is in a multi, or at work; its operation goes on. */
	if (config == NULL || easy->multi != NULL || easy->active)
		return real->easy_perform(handle);
	if (depth_nested() || easy->options.left_alone) {
		easy->resume.going = false; /* what was told of an earlier transfer is over */
		if (easy->options.left_alone)
			unwrap(easy, handle);
		return real->easy_perform(handle);
	}
	uintptr_t depth = depth_enter();
	CURLcode code = perform(easy, handle, config);
	depth_leave(depth);
	return code;
}

static CURL *shim_duphandle(enum flavour flavour, const void *caller, CURL *handle)
{
	struct easy *easy = easy_find(handle);
	const struct curl_real *real = real_of(easy, flavour, caller);
	if (real == NULL)
		return NULL;
	CURL *copy = real->easy_duphandle(handle);
	if (copy == NULL || easy == NULL)
		return copy;
	struct easy *record = easy_add(copy, real);
	if (record != NULL) {
		record->options = easy->options;
		record->served = easy->served;
	}
	/* libcurl copied our callbacks, with the original's record, and what an attempt under way has of
	 * ours: the copy starts with the program's own. */
	if (easy->wrapped) {
		struct easy plain = {.real = real, .options = easy->options, .wrapped = true, .resume = easy->resume};
		plain.fallback.going = easy->fallback.going;
		unwrap(&plain, copy);
		if (easy->adjusted)
			transfer_restore_options(&plain, copy);
	}
	return copy;
}

static void shim_reset(enum flavour flavour, const void *caller, CURL *handle)
{
	struct easy *easy = easy_find(handle);
	const struct curl_real *real = real_of(easy, flavour, caller);
	if (real == NULL)
		return;
	if (easy != NULL && easy->multi != NULL)
		member_reset(easy);
	real->easy_reset(handle);
	if (easy != NULL) {
		options_default(&easy->options);
		easy->wrapped = easy->rejected = easy->resume.going = easy->fallback.going = false;
	}
}

static CURLcode shim_getinfo(enum flavour flavour, const void *caller, CURL *handle, CURLINFO info, void *value)
{
	struct easy *easy = easy_find(handle);
	const struct curl_real *real = real_of(easy, flavour, caller);
	if (real == NULL)
		return CURLE_FAILED_INIT;
	if (easy != NULL && value != NULL && resume_info(easy, info, value))
		return CURLE_OK;
	if (easy != NULL && value != NULL && easy->rejected && info == CURLINFO_RESPONSE_CODE) {
		*(long *)value = 0; /* libcurl's is the last transfer's */
		return CURLE_OK;
	}
	return real->easy_getinfo(handle, info, value);
}

static void shim_cleanup(enum flavour flavour, const void *caller, CURL *handle)
{
	struct easy *easy = handle != NULL ? easy_find(handle) : NULL;
	const struct curl_real *real = real_of(easy, flavour, caller);
	if (real == NULL)
		return;
	/* Closing may still call the program back (FTP's QUIT), through us. From the moment that libcurl
	 * frees the handle another thread may get one at the same address. */
	if (easy != NULL)
		record_retire(&easy->record);
	real->easy_cleanup(handle);
	if (easy == NULL)
		return;
	if (easy->multi != NULL) {
		struct multi *multi = easy->multi;
		member_forget(easy);
		timer_tell(multi);
	}
	journal_free(&easy->response.journal);
	record_release(&easy->record);
}

/* To libcurl the transfer is over during a backoff, and there is nothing to pause; to the program it
 * is under way. Then the next attempt waits. */
static CURLcode shim_pause(enum flavour flavour, const void *caller, CURL *handle, int what)
{
	struct easy *easy = easy_find(handle);
	const struct curl_real *real = real_of(easy, flavour, caller);
	if (real == NULL)
		return CURLE_FAILED_INIT;
	CURLcode code = easy != NULL && easy->backing_off ? CURLE_OK : real->easy_pause(handle, what);
	if (easy != NULL && code == CURLE_OK) {
		easy->paused = what & CURLPAUSE_ALL;
		if (easy->backing_off && easy->multi != NULL)
			member_pause_changed(easy);
	}
	return code;
}

static CURLcode shim_mime_data_cb(enum flavour flavour, const void *caller, curl_mimepart *part, curl_off_t size,
                                  curl_read_callback read, curl_seek_callback seek, curl_free_callback release,
                                  void *context)
{
	const struct curl_real *real = curl_real(flavour, caller);
	if (real == NULL || real->mime_data_cb == NULL)
		return CURLE_FAILED_INIT;
	if (read != NULL && seek == NULL)
		upload_saw_seekless_mime();
	return real->mime_data_cb(part, size, read, seek, release, context);
}

static CURLcode shim_mime_filedata(enum flavour flavour, const void *caller, curl_mimepart *part, const char *path)
{
	const struct curl_real *real = curl_real(flavour, caller);
	struct stat status;
	if (real == NULL || real->mime_filedata == NULL)
		return CURLE_FAILED_INIT;
	if (path != NULL && stat(path, &status) == 0 && !S_ISREG(status.st_mode))
		upload_saw_seekless_mime();
	return real->mime_filedata(part, path);
}

/* ---- exported: one set of symbols for each flavour ------------------------------------------------- */

EXPORT_CURL(CURL *, curl_easy_init, (void), shim_init(FROM))
EXPORT_CURL(CURLcode, curl_easy_perform, (CURL *handle), shim_perform(FROM, handle))
EXPORT_CURL(CURL *, curl_easy_duphandle, (CURL *handle), shim_duphandle(FROM, handle))
EXPORT_CURL(void, curl_easy_reset, (CURL *handle), shim_reset(FROM, handle))
EXPORT_CURL(void, curl_easy_cleanup, (CURL *handle), shim_cleanup(FROM, handle))
EXPORT_CURL(CURLcode, curl_easy_pause, (CURL *handle, int what), shim_pause(FROM, handle, what))
EXPORT_CURL(CURLcode, curl_mime_filedata, (curl_mimepart *part, const char *path), shim_mime_filedata(FROM, part, path))
EXPORT_CURL(CURLcode, curl_mime_data_cb,
            (curl_mimepart *part, curl_off_t size, curl_read_callback read, curl_seek_callback seek,
             curl_free_callback release, void *context),
            shim_mime_data_cb(FROM, part, size, read, seek, release, context))
EXPORT_CURL_BODY(CURLcode, curl_easy_setopt, (CURL *handle, CURLoption option, ...),
	va_list arguments;
	va_start(arguments, option);
	CURLcode code = shim_setopt(FROM, handle, option, arguments);
	va_end(arguments);
	return code;
)
EXPORT_CURL_BODY(CURLcode, curl_easy_getinfo, (CURL *handle, CURLINFO info, ...),
	va_list arguments;
	va_start(arguments, info);
	void *value = va_arg(arguments, void *);
	va_end(arguments);
	return shim_getinfo(FROM, handle, info, value);
)
