/* libcurl's rows of the matrix: one GET. */
#ifndef HAZARDS_MATRIX_CURL_H
#define HAZARDS_MATRIX_CURL_H

#include <curl/curl.h>

#include "matrix.h"

static size_t take_body(char *data, size_t size, size_t count, void *got)
{
	(void)data;
	*(size_t *)got += size * count;
	return size * count;
}

static void prepare_easy(struct cell *cell)
{
	char url[64];
	snprintf(url, sizeof url, "http://127.0.0.1:%s/", cell->port);
	cell->easy = curl_easy_init();
	cell->got = 0;
	if (cell->easy == NULL)
		broken("curl_easy_init");
	curl_easy_setopt(cell->easy, CURLOPT_URL, url);
	curl_easy_setopt(cell->easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(cell->easy, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(cell->easy, CURLOPT_WRITEDATA, &cell->got);
}

static void prepare_multi(struct cell *cell)
{
	prepare_easy(cell);
	cell->multi = curl_multi_init();
	if (cell->multi == NULL || curl_multi_add_handle(cell->multi, cell->easy) != CURLM_OK)
		broken("curl_multi_init");
}

/* The body is two bytes. */
static const char *code_name(const struct cell *cell, CURLcode code)
{
	if (code == CURLE_OK)
		return cell->got == 2 ? "ok" : "another body";
	return curl_easy_strerror(code);
}

static const char *by_easy(struct cell *cell) { return code_name(cell, curl_easy_perform(cell->easy)); }

typedef CURLMcode wait_function(CURLM *multi, struct curl_waitfd extra[], unsigned count, int timeout_ms, int *ready);

static const char *by_multi(struct cell *cell, wait_function *wait)
{
	int running, left, ready;
	long end = now_ms() + 2 * LONG_MS;
	CURLMcode code;
	while ((code = curl_multi_perform(cell->multi, &running)) == CURLM_OK && running > 0 && now_ms() < end)
		if ((code = wait(cell->multi, NULL, 0, 1000, &ready)) != CURLM_OK)
			break;
	CURLMsg *message = curl_multi_info_read(cell->multi, &left);
	if (code != CURLM_OK)
		return curl_multi_strerror(code);
	return message != NULL ? code_name(cell, message->data.result) : "no message";
}

static const char *by_multi_poll(struct cell *cell) { return by_multi(cell, curl_multi_poll); }

static const char *by_multi_wait(struct cell *cell) { return by_multi(cell, curl_multi_wait); }

/* An event loop's way: one socket at a time, and a timer. */
struct loop {
	struct pollfd polled;
	long timeout_ms;
};

static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *unused)
{
	struct loop *loop = context;
	(void)easy;
	(void)unused;
	if (what != CURL_POLL_REMOVE)
		loop->polled = (struct pollfd){.fd = fd, .events = (short)(((what & CURL_POLL_IN) != 0 ? POLLIN : 0) |
		                                                         ((what & CURL_POLL_OUT) != 0 ? POLLOUT : 0))};
	else if (loop->polled.fd == fd)
		loop->polled.fd = -1;
	return 0;
}

static int set_timer(CURLM *multi, long timeout_ms, void *context)
{
	(void)multi;
	((struct loop *)context)->timeout_ms = timeout_ms;
	return 0;
}

static void prepare_events(struct cell *cell)
{
	static struct loop loop;
	loop = (struct loop){.polled.fd = -1, .timeout_ms = -1};
	prepare_easy(cell);
	cell->multi = curl_multi_init();
	if (cell->multi == NULL)
		broken("curl_multi_init");
	cell->loop = &loop;
	curl_multi_setopt(cell->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
	curl_multi_setopt(cell->multi, CURLMOPT_SOCKETDATA, &loop);
	curl_multi_setopt(cell->multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(cell->multi, CURLMOPT_TIMERDATA, &loop);
	curl_multi_add_handle(cell->multi, cell->easy);
}

static int actions_of(short revents)
{
	return ((revents & POLLIN) != 0 ? CURL_CSELECT_IN : 0) | ((revents & POLLOUT) != 0 ? CURL_CSELECT_OUT : 0) |
	       ((revents & (POLLERR | POLLHUP)) != 0 ? CURL_CSELECT_ERR : 0);
}

static const char *by_events(struct cell *cell)
{
	struct loop *loop = cell->loop;
	int running = 1, left;
	long end = now_ms() + 2 * LONG_MS;
	CURLMcode code = CURLM_OK;
	while (running > 0 && code == CURLM_OK && now_ms() < end) {
		int timeout_ms = loop->timeout_ms >= 0 && loop->timeout_ms < 1000 ? (int)loop->timeout_ms : 1000;
		int ready = poll(&loop->polled, 1, timeout_ms);
		if (ready > 0)
			code = curl_multi_socket_action(cell->multi, loop->polled.fd, actions_of(loop->polled.revents), &running);
		else
			code = curl_multi_socket_action(cell->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	}
	CURLMsg *message = curl_multi_info_read(cell->multi, &left);
	if (code != CURLM_OK)
		return curl_multi_strerror(code);
	return message != NULL ? code_name(cell, message->data.result) : "no message";
}

static void dispose_curl(struct cell *cell)
{
	if (cell->multi != NULL) {
		curl_multi_remove_handle(cell->multi, cell->easy);
		curl_multi_cleanup(cell->multi);
	}
	if (cell->easy != NULL)
		curl_easy_cleanup(cell->easy);
}

#endif
