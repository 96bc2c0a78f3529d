/* The libcurl behind us: which one a caller means, and its functions.
 *
 * A process may hold several (libcurl.so.4 beside libcurl-gnutls.so.4), or one only inside a plugin
 * that was loaded with RTLD_LOCAL, where RTLD_NEXT finds nothing. The first look-up for a library
 * allocates and takes the loader's lock (dlsym(3), dl_iterate_phdr(3)); the libraries found stay
 * loaded, since we keep pointers into them.
 */
#ifndef RETRYSHIM_HOOKS_CURL_REAL_H
#define RETRYSHIM_HOOKS_CURL_REAL_H

#include <stdatomic.h>
#include <stdbool.h>

#define CURL_DISABLE_DEPRECATION /* what is deprecated is still set by programs, and followed */
#include <curl/curl.h>

/* The version nodes that distributions give libcurl. A reference without a version binds to the first
 * node of our version script, FLAVOUR_ANY. */
enum flavour { FLAVOUR_ANY, FLAVOUR_OPENSSL, FLAVOUR_GNUTLS, FLAVOUR_NSS, FLAVOUR_COUNT };

struct curl_real {
	CURL *(*easy_init)(void);
	CURLcode (*easy_setopt)(CURL *, CURLoption, ...);
	CURLcode (*easy_perform)(CURL *);
	CURLcode (*easy_getinfo)(CURL *, CURLINFO, ...);
	CURL *(*easy_duphandle)(CURL *);
	void (*easy_reset)(CURL *);
	void (*easy_cleanup)(CURL *);
	const char *(*easy_strerror)(CURLcode);
	CURLcode (*easy_pause)(CURL *, int);
	CURLM *(*multi_init)(void);
	CURLMcode (*multi_cleanup)(CURLM *);
	CURLMcode (*multi_add_handle)(CURLM *, CURL *);
	CURLMcode (*multi_remove_handle)(CURLM *, CURL *);
	CURLMcode (*multi_perform)(CURLM *, int *);
	CURLMcode (*multi_socket)(CURLM *, curl_socket_t, int *);
	CURLMcode (*multi_socket_action)(CURLM *, curl_socket_t, int, int *);
	CURLMcode (*multi_socket_all)(CURLM *, int *);
	CURLMsg *(*multi_info_read)(CURLM *, int *);
	CURLMcode (*multi_timeout)(CURLM *, long *);
	CURLMcode (*multi_setopt)(CURLM *, CURLMoption, ...);
	CURLMcode (*multi_wait)(CURLM *, struct curl_waitfd *, unsigned, int, int *);
	/* NULL where the library is too old to have them. */
	CURLMcode (*multi_poll)(CURLM *, struct curl_waitfd *, unsigned, int, int *); /* 7.66 */
	CURLcode (*mime_data_cb)(curl_mimepart *, curl_off_t, curl_read_callback, curl_seek_callback, curl_free_callback,
	                         void *); /* 7.56 */
	CURLcode (*mime_filedata)(curl_mimepart *, const char *); /* 7.56 */
	const void *base; /* where the library is mapped */
};

/* As found once; NULL for FLAVOUR_ANY, whose callers may differ. */
extern _Atomic(const struct curl_real *) curl_real_known[FLAVOUR_COUNT] __attribute__((visibility("hidden")));

const struct curl_real *curl_real_find(enum flavour flavour, const void *caller);

/* The library for a call through this flavour's symbol; `caller`: the return address, which tells
 * unversioned callers apart. NULL if there is none. The result lives for ever. */
static inline const struct curl_real *curl_real(enum flavour flavour, const void *caller)
{
	const struct curl_real *real = atomic_load_explicit(&curl_real_known[flavour], memory_order_acquire);
	return real != NULL ? real : curl_real_find(flavour, caller);
}

/* True if the code at `address` belongs to a libcurl that we have found. */
bool curl_real_is_caller(const void *address);

#endif
