/* N small GETs one after another on one handle of one multi. Usage: multi URL N */
#include <curl/curl.h>
#include <stdlib.h>

static size_t take(char *bytes, size_t size, size_t count, void *context)
{
	(void)bytes;
	(void)context;
	return size * count;
}

static int transfer(CURLM *multi, CURL *handle)
{
	int running = 1, left, ended = 0;
	curl_multi_add_handle(multi, handle);
	while (running != 0 && curl_multi_perform(multi, &running) == CURLM_OK && running != 0)
		curl_multi_poll(multi, NULL, 0, 1000, NULL);
	for (CURLMsg *message; (message = curl_multi_info_read(multi, &left)) != NULL;)
		ended += message->data.result == CURLE_OK;
	curl_multi_remove_handle(multi, handle);
	return ended;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	CURLM *multi = curl_multi_init();
	CURL *handle = curl_easy_init();
	curl_easy_setopt(handle, CURLOPT_URL, argv[1]);
	curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, take);
	for (int left = atoi(argv[2]); left > 0; left--)
		if (transfer(multi, handle) != 1)
			return 1;
	curl_easy_cleanup(handle);
	curl_multi_cleanup(multi);
	return 0;
}
