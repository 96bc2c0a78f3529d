/* int fetch(url) as in fetch.c, by the multi interface. */
#include <curl/curl.h>
#include <string.h>

int fetch(const char *url);

static size_t on_write(char *bytes, size_t size, size_t count, void *context)
{
	printf("%s %.*s", (const char *)context, (int)(size * count), bytes);
	return size * count;
}

int fetch(const char *url)
{
	const char *flavour = strstr(curl_version(), "GnuTLS") != NULL ? "gnutls" : "openssl";
	CURLM *all = curl_multi_init();
	CURL *curl = curl_easy_init();
	CURLMsg *message;
	int running, left, code = -1;
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_write);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, flavour);
	curl_multi_add_handle(all, curl);
	do {
		curl_multi_perform(all, &running);
		if (running > 0)
			curl_multi_poll(all, NULL, 0, 1000, NULL);
	} while (running > 0);
	while ((message = curl_multi_info_read(all, &left)) != NULL)
		code = (int)message->data.result;
	curl_multi_remove_handle(all, curl);
	curl_easy_cleanup(curl);
	curl_multi_cleanup(all);
	printf("%s code %d\n", flavour, code);
	return code;
}
