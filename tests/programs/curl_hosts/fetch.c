/* int fetch(url): one GET, told on standard output with the libcurl that did it. For a program, and for
 * a plugin with a libcurl of its own. */
#include <curl/curl.h>
#include <string.h>

int fetch(const char *url);

static size_t on_write(char *bytes, size_t size, size_t count, void *context)
{
	printf("%s %.*s", (const char *)context, (int)(size * count), bytes);
	return size * count;
}

static size_t on_header(char *bytes, size_t size, size_t count, void *context)
{
	(void)bytes, (void)context;
	return size * count;
}

int fetch(const char *url)
{
	const char *flavour = strstr(curl_version(), "GnuTLS") != NULL ? "gnutls" : "openssl";
	CURL *first = curl_easy_init();
	curl_easy_setopt(first, CURLOPT_URL, url);
	curl_easy_setopt(first, CURLOPT_WRITEFUNCTION, on_write);
	curl_easy_setopt(first, CURLOPT_WRITEDATA, flavour);
	curl_easy_setopt(first, CURLOPT_HEADERFUNCTION, on_header);
	CURL *curl = curl_easy_duphandle(first);
	curl_easy_cleanup(first);
	CURLcode code = curl_easy_perform(curl);
	curl_easy_reset(curl);
	curl_easy_cleanup(curl);
	printf("%s code %d\n", flavour, code);
	return code;
}
