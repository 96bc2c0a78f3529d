/* N small GETs on one kept-alive handle, with a write callback. Usage: perform URL N [h]
 * h: with a header callback too. */
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
	if (argc < 3)
		return 2;
	CURL *handle = curl_easy_init();
	curl_easy_setopt(handle, CURLOPT_URL, argv[1]);
	curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, take);
	if (argc > 3)
		curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, take);
	for (int left = atoi(argv[2]); left > 0; left--)
		if (curl_easy_perform(handle) != CURLE_OK)
			return 1;
	curl_easy_cleanup(handle);
	return 0;
}
