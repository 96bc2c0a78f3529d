/* URL: one transfer; what it ended with, and by dlsym(3) as programs with plugins do. */
#include <curl/curl.h>
#include <dlfcn.h>

#include "host.h"

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	CURLcode (*perform)(CURL *) = (CURLcode(*)(CURL *))dlsym(RTLD_DEFAULT, "curl_easy_perform");
	CURL *handle = curl_easy_init();
	(curl_easy_setopt)(handle, CURLOPT_URL, argv[1]);
	say_number("code", curl_easy_perform(handle));
	curl_easy_cleanup(handle);
	say("same", perform == curl_easy_perform ? "yes" : "no");
	return 0;
}
