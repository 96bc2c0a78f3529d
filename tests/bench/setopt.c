/* N rounds of five options as programs set them, on one handle. Usage: setopt N */
#include <curl/curl.h>
#include <stdlib.h>

static size_t take(char *bytes, size_t size, size_t count, void *context)
{
	(void)bytes;
	(void)context;
	return size * count;
}

int main(int argc, char **argv)
{
	CURL *handle = curl_easy_init();
	for (int left = argc > 1 ? atoi(argv[1]) : 1; left > 0; left--) {
		curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
		curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, 5000L);
		curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, take);
		curl_easy_setopt(handle, CURLOPT_WRITEDATA, handle);
		curl_easy_setopt(handle, CURLOPT_HTTPGET, 1L);
	}
	curl_easy_cleanup(handle);
	return 0;
}
