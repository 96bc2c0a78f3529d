/* Stands in for libcurl, of which no musl build is at hand: fails to connect as often as CURL_FAILURES says. */
#include <curl/curl.h>
#include <stdlib.h>
#undef curl_easy_setopt
#undef curl_easy_getinfo
#undef curl_multi_setopt
#undef curl_multi_socket

static int performed;

CURL *curl_easy_init(void) { return malloc(1); }
CURL *curl_easy_duphandle(CURL *handle) { return handle != NULL ? curl_easy_init() : NULL; }
void curl_easy_cleanup(CURL *handle) { free(handle); }
void curl_easy_reset(CURL *handle) { (void)handle; }
const char *curl_easy_strerror(CURLcode code) { return code == CURLE_OK ? "none" : "cannot connect"; }
CURLcode curl_easy_setopt(CURL *handle, CURLoption option, ...) { return (void)handle, (void)option, CURLE_OK; }
CURLcode curl_easy_pause(CURL *handle, int what) { return (void)handle, (void)what, CURLE_OK; }

CURLcode curl_easy_perform(CURL *handle)
{
	const char *failures = getenv("CURL_FAILURES");
	(void)handle;
	return performed++ < (failures != NULL ? atoi(failures) : 0) ? CURLE_COULDNT_CONNECT : CURLE_OK;
}

/* Nothing is known of a transfer that never was. */
CURLcode curl_easy_getinfo(CURL *handle, CURLINFO info, ...) { return (void)handle, (void)info, CURLE_UNKNOWN_OPTION; }

#define MULTI(type, name, parameters, result) \
	type name parameters { return result; }
MULTI(CURLM *, curl_multi_init, (void), NULL)
MULTI(CURLMcode, curl_multi_cleanup, (CURLM * multi), ((void)multi, CURLM_OK))
MULTI(CURLMcode, curl_multi_add_handle, (CURLM * multi, CURL *easy), ((void)multi, (void)easy, CURLM_OK))
MULTI(CURLMcode, curl_multi_remove_handle, (CURLM * multi, CURL *easy), ((void)multi, (void)easy, CURLM_OK))
MULTI(CURLMcode, curl_multi_perform, (CURLM * multi, int *running), ((void)multi, *running = 0, CURLM_OK))
MULTI(CURLMcode, curl_multi_socket, (CURLM * multi, curl_socket_t socket, int *running), ((void)multi, (void)socket, *running = 0, CURLM_OK))
MULTI(CURLMcode, curl_multi_socket_action, (CURLM * multi, curl_socket_t socket, int what, int *running),
      ((void)multi, (void)socket, (void)what, *running = 0, CURLM_OK))
MULTI(CURLMcode, curl_multi_socket_all, (CURLM * multi, int *running), ((void)multi, *running = 0, CURLM_OK))
MULTI(CURLMsg *, curl_multi_info_read, (CURLM * multi, int *left), ((void)multi, *left = 0, NULL))
MULTI(CURLMcode, curl_multi_timeout, (CURLM * multi, long *ms), ((void)multi, *ms = -1, CURLM_OK))
MULTI(CURLMcode, curl_multi_setopt, (CURLM * multi, CURLMoption option, ...), ((void)multi, (void)option, CURLM_OK))
MULTI(CURLMcode, curl_multi_wait, (CURLM * multi, struct curl_waitfd fds[], unsigned count, int ms, int *ready),
      ((void)multi, (void)fds, (void)count, (void)ms, *ready = 0, CURLM_OK))
