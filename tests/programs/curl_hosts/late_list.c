/* late_list URL ITEM: CURLOPT_RESOLVE is given a list with an item that has no text, which is filled afterwards: libcurl looks at
 * it when the transfer starts. */
#include <curl/curl.h>
#include <stdio.h>

int main(int count, char **arguments)
{
	struct curl_slist empty = {NULL, NULL};
	struct curl_slist first = {NULL, &empty};
	CURL *curl = curl_easy_init();
	if (count < 3 || curl == NULL)
		return 2;
	curl_easy_setopt(curl, CURLOPT_URL, arguments[1]);
	curl_easy_setopt(curl, CURLOPT_RESOLVE, &first);
	first.data = arguments[2];
	printf("%d\n", (int)curl_easy_perform(curl));
	curl_easy_cleanup(curl);
	return 0;
}
