/* The easy interface of libcurl, interposed for each flavour under its own version node. */
#include "hooks/curl_handle.h"

#include <sys/stat.h>

#include "retryshim/runtime.h"

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
	if (config == NULL || depth_nested())
		return real->easy_perform(handle);
	if (easy->options.left_alone) {
		response_unwrap(easy, handle);
		return real->easy_perform(handle);
	}
	uintptr_t depth = depth_enter();
	CURLcode code = transfer_perform(easy, handle, config);
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
		struct easy plain = {.real = real, .options = easy->options, .wrapped = true};
		response_unwrap(&plain, copy);
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
	real->easy_reset(handle);
	if (easy != NULL) {
		options_default(&easy->options);
		easy->wrapped = false;
	}
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
		easy_retire(easy);
	real->easy_cleanup(handle);
	if (easy != NULL)
		easy_release(easy);
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

#define CALLER __builtin_return_address(0)
#define EXPORT(name, suffix, node)                                                \
	__asm__(".symver " #name "_" #suffix ", " #name node);                          \
	__attribute__((visibility("default")))

#define EXPORT_FLAVOUR(flavour, suffix, node)                                                                  \
	CURL *curl_easy_init_##suffix(void);                                                                         \
	CURLcode curl_easy_setopt_##suffix(CURL *handle, CURLoption option, ...);                                    \
	CURLcode curl_easy_perform_##suffix(CURL *handle);                                                           \
	CURL *curl_easy_duphandle_##suffix(CURL *handle);                                                            \
	void curl_easy_reset_##suffix(CURL *handle);                                                                 \
	void curl_easy_cleanup_##suffix(CURL *handle);                                                               \
	CURLcode curl_mime_data_cb_##suffix(curl_mimepart *part, curl_off_t size, curl_read_callback read,           \
	                                    curl_seek_callback seek, curl_free_callback release, void *context);     \
	CURLcode curl_mime_filedata_##suffix(curl_mimepart *part, const char *path);                                 \
	EXPORT(curl_easy_init, suffix, node) CURL *curl_easy_init_##suffix(void)                                     \
	{                                                                                                            \
		return shim_init(flavour, CALLER);                                                                         \
	}                                                                                                            \
	EXPORT(curl_easy_setopt, suffix, node)                                                                       \
	CURLcode curl_easy_setopt_##suffix(CURL *handle, CURLoption option, ...)                                     \
	{                                                                                                            \
		va_list arguments;                                                                                         \
		va_start(arguments, option);                                                                               \
		CURLcode code = shim_setopt(flavour, CALLER, handle, option, arguments);                                   \
		va_end(arguments);                                                                                         \
		return code;                                                                                               \
	}                                                                                                            \
	EXPORT(curl_easy_perform, suffix, node) CURLcode curl_easy_perform_##suffix(CURL *handle)                    \
	{                                                                                                            \
		return shim_perform(flavour, CALLER, handle);                                                              \
	}                                                                                                            \
	EXPORT(curl_easy_duphandle, suffix, node) CURL *curl_easy_duphandle_##suffix(CURL *handle)                   \
	{                                                                                                            \
		return shim_duphandle(flavour, CALLER, handle);                                                            \
	}                                                                                                            \
	EXPORT(curl_easy_reset, suffix, node) void curl_easy_reset_##suffix(CURL *handle)                            \
	{                                                                                                            \
		shim_reset(flavour, CALLER, handle);                                                                       \
	}                                                                                                            \
	EXPORT(curl_easy_cleanup, suffix, node) void curl_easy_cleanup_##suffix(CURL *handle)                        \
	{                                                                                                            \
		shim_cleanup(flavour, CALLER, handle);                                                                     \
	}                                                                                                            \
	EXPORT(curl_mime_data_cb, suffix, node)                                                                      \
	CURLcode curl_mime_data_cb_##suffix(curl_mimepart *part, curl_off_t size, curl_read_callback read,           \
	                                    curl_seek_callback seek, curl_free_callback release, void *context)      \
	{                                                                                                            \
		return shim_mime_data_cb(flavour, CALLER, part, size, read, seek, release, context);                       \
	}                                                                                                            \
	EXPORT(curl_mime_filedata, suffix, node)                                                                     \
	CURLcode curl_mime_filedata_##suffix(curl_mimepart *part, const char *path)                                  \
	{                                                                                                            \
		return shim_mime_filedata(flavour, CALLER, part, path);                                                    \
	}

EXPORT_FLAVOUR(FLAVOUR_ANY, any, "@@LIBRETRYSHIM")
EXPORT_FLAVOUR(FLAVOUR_OPENSSL, openssl, "@CURL_OPENSSL_4")
EXPORT_FLAVOUR(FLAVOUR_GNUTLS, gnutls, "@CURL_GNUTLS_3")
EXPORT_FLAVOUR(FLAVOUR_NSS, nss, "@CURL_NSS_3")
