/* lists HOW URL ONE TWO: an easy handle and its lists of CURLOPT_CONNECT_TO while an attempt goes to RETRY_FALLBACK.
 *
 *   lists close URL ONE TWO    closes the handle in the middle of that attempt; the next one, which takes its place,
 *                              gets http://site.test/ by ONE, then by TWO
 *   lists reset URL ONE TWO    the same with a handle that is reset
 *   lists change URL ONE TWO   begins with ONE, sets TWO when that attempt's header block comes, and frees ONE
 *
 * Tells what libcurl answered, and the port that it was connected to. */
#include <curl/curl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HANDLES = 4096, ROUND_MS = 100, ROUNDS = 100 };

static CURL *curl;
static struct curl_slist *list, *next;
static bool begun;

static size_t on_bytes(char *bytes, size_t size, size_t count, void *context)
{
	(void)bytes, (void)context;
	begun = true;
	return size * count;
}

static size_t on_header(char *bytes, size_t size, size_t count, void *context)
{
	if (next != NULL) {
		curl_easy_setopt(curl, CURLOPT_CONNECT_TO, next);
		curl_slist_free_all(list);
		list = next;
		next = NULL;
	}
	return on_bytes(bytes, size, count, context);
}

static void prepare(CURL *handle, const char *url)
{
	curl = handle;
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
	curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT, 1L);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
}

static void perform(void)
{
	long port = 0;
	CURLcode code = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_PRIMARY_PORT, &port);
	printf("%d %ld\n", (int)code, port);
}

static void change(const char *one, const char *two)
{
	list = curl_slist_append(NULL, one);
	next = curl_slist_append(NULL, two);
	curl_easy_setopt(curl, CURLOPT_CONNECT_TO, list);
	curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
	perform();
	curl_slist_free_all(list);
}

/* Until the first byte of the fallback's answer has come. */
static void begin(CURLM *multi)
{
	int running = 1;
	curl_multi_add_handle(multi, curl);
	for (int i = 0; i < ROUNDS && !begun; i++) {
		curl_multi_perform(multi, &running);
		if (!begun)
			curl_multi_poll(multi, NULL, 0, ROUND_MS, NULL);
	}
	if (!begun)
		exit(3);
}

/* A handle at the same address is the same handle to whoever has kept a record of it. */
static CURL *handle_at(const CURL *address)
{
	static CURL *handles[HANDLES];
	for (int i = 0; i < HANDLES; i++)
		if ((handles[i] = curl_easy_init()) == address)
			return handles[i];
	fprintf(stderr, "the allocator does not use its memory again\n");
	exit(4);
}

static void by_list(struct curl_slist *its)
{
	curl_easy_setopt(curl, CURLOPT_CONNECT_TO, its);
	perform();
	curl_slist_free_all(list);
	list = its;
}

static void cut_off(bool closes, const char *one, const char *two)
{
	CURLM *multi = curl_multi_init();
	CURL *it = curl;
	begin(multi);
	if (closes) {
		curl_easy_cleanup(it);
		it = handle_at(it);
	} else {
		curl_easy_reset(it);
		curl_multi_remove_handle(multi, it);
	}
	prepare(it, "http://site.test/");
	by_list(curl_slist_append(NULL, one));
	by_list(curl_slist_append(NULL, two));
	curl_multi_cleanup(multi);
}

int main(int argc, char **argv)
{
	if (argc != 5)
		return 2;
	curl_global_init(CURL_GLOBAL_ALL);
	prepare(curl_easy_init(), argv[2]);
	if (strcmp(argv[1], "change") == 0)
		change(argv[3], argv[4]);
	else
		cut_off(strcmp(argv[1], "close") == 0, argv[3], argv[4]);
	return 0;
}
