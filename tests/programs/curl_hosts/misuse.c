/* What programs do to handles at moments that nobody expects. Usage: misuse WHAT URL
 *   dup      copies the handle while its download is being resumed, closes it, performs the copy
 *   meter    three downloads with the old progress callback
 *   cleanup  destroys the multi from the progress callback of a transfer in a backoff
 *   pause    pauses a transfer in a backoff, with a limit of one second, and never lets it go on
 *   null     uses no multi at all, after another one was destroyed
 */
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

static CURL *easy, *copy;
static CURLM *multi;
static size_t copy_at, got, calls;
static int destroyed = -1;

static size_t on_write(char *bytes, size_t size, size_t count, void *context)
{
	(void)bytes, (void)context;
	got += size * count;
	if (copy_at != 0 && got > copy_at && copy == NULL)
		copy = curl_easy_duphandle(easy);
	return size * count;
}

static int on_progress(void *context, double down, double now, double up, double sent)
{
	(void)context, (void)down, (void)now, (void)up, (void)sent;
	if (++calls == 20 && multi != NULL)
		destroyed = (int)curl_multi_cleanup(multi);
	return 0;
}

static void perform(CURL *handle)
{
	long status = 0;
	got = 0;
	int code = (int)curl_easy_perform(handle);
	curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
	printf("%d %ld %zu\n", code, status, got);
}

static void drive(void (*first)(void))
{
	int running = 1, left = 0;
	CURLMsg *message = NULL;
	multi = curl_multi_init();
	curl_multi_add_handle(multi, easy);
	for (int turns = 0; message == NULL && turns < 400; turns++) {
		curl_multi_perform(multi, &running);
		if (first != NULL && curl_multi_poll(multi, NULL, 0, 0, NULL) == CURLM_OK)
			first();
		message = curl_multi_info_read(multi, &left);
		if (message == NULL)
			curl_multi_poll(multi, NULL, 0, 10, NULL);
	}
	printf("message %d\n", message != NULL ? (int)message->data.result : -1);
	curl_multi_remove_handle(multi, easy);
	curl_multi_cleanup(multi);
}

static void pause_it(void) { curl_easy_pause(easy, CURLPAUSE_ALL); }

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	curl_global_init(CURL_GLOBAL_ALL);
	easy = curl_easy_init();
	curl_easy_setopt(easy, CURLOPT_URL, argv[2]);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_write);
	if (strcmp(argv[1], "dup") == 0) {
		copy_at = 5000;
		perform(easy);
		curl_easy_cleanup(easy);
		easy = copy;
		perform(easy);
	} else if (strcmp(argv[1], "meter") == 0) {
		curl_easy_setopt(easy, CURLOPT_PROGRESSFUNCTION, on_progress);
		curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
		for (int i = 0; i < 3; i++)
			perform(easy);
	} else if (strcmp(argv[1], "cleanup") == 0) {
		curl_easy_setopt(easy, CURLOPT_PROGRESSFUNCTION, on_progress);
		curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
		drive(NULL);
		printf("destroyed %d\n", destroyed);
	} else if (strcmp(argv[1], "pause") == 0) {
		curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 1000L);
		drive(pause_it);
	} else {
		curl_multi_cleanup(curl_multi_init());
		printf("%d %d\n", (int)curl_multi_setopt(NULL, CURLMOPT_TIMERDATA, argv), (int)curl_multi_cleanup(NULL));
	}
	curl_easy_cleanup(easy);
	return 0;
}
