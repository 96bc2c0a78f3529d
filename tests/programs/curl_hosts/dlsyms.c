/* dlsyms: a program that is linked with libcurl, and finds the same functions by dlsym as well.
 *   dlsyms easy  INIT SETOPT PERFORM URL [DATA]
 *   dlsyms multi INIT SETOPT ADD WAIT REST URL [DATA]
 * Each of the words is `linked' or `found': how the function, or the group of them, is reached. DATA is
 * posted. Then the same handle is performed once more in the usual way, as a GET of URL/again.
 *   dlsyms plugin FLAGS PLUGIN URL      fetches by a plugin (fetch.c); FLAGS: n now, l lazy, d deepbind */
#include <curl/curl.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

/* curl.h has macros of these names. */
#undef curl_easy_setopt
#undef curl_easy_getinfo

struct functions {
	CURL *(*easy_init)(void);
	CURLcode (*easy_setopt)(CURL *, CURLoption, ...);
	CURLcode (*easy_perform)(CURL *);
	CURLM *(*multi_init)(void);
	CURLMcode (*multi_add_handle)(CURLM *, CURL *);
	CURLMcode (*multi_perform)(CURLM *, int *);
	CURLMcode (*multi_wait)(CURLM *, struct curl_waitfd *, unsigned, int, int *);
	CURLMsg *(*multi_info_read)(CURLM *, int *);
	CURLMcode (*multi_remove_handle)(CURLM *, CURL *);
	CURLMcode (*multi_cleanup)(CURLM *);
};

static const struct functions linked = {
	curl_easy_init,       curl_easy_setopt,  curl_easy_perform,    curl_multi_init,          curl_multi_add_handle,
	curl_multi_perform, curl_multi_wait, curl_multi_info_read, curl_multi_remove_handle, curl_multi_cleanup,
};
static struct functions found;

static void find(void)
{
	static const char *const names[] = {
		"curl_easy_init",     "curl_easy_setopt", "curl_easy_perform",    "curl_multi_init",          "curl_multi_add_handle",
		"curl_multi_perform", "curl_multi_wait",  "curl_multi_info_read", "curl_multi_remove_handle", "curl_multi_cleanup",
	};
	void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
	if (library == NULL)
		exit(2);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		void *function = dlsym(library, names[i]);
		if (function == NULL)
			exit(2);
		memcpy((char *)&found + i * sizeof function, &function, sizeof function);
	}
}

static const struct functions *way(const char *word) { return strcmp(word, "linked") == 0 ? &linked : &found; }

static size_t print(char *bytes, size_t size, size_t count, void *context)
{
	(void)context;
	printf("body %.*s", (int)(size * count), bytes);
	return size * count;
}

static void set(const struct functions *by, CURL *curl, char **url)
{
	by->easy_setopt(curl, CURLOPT_URL, url[0]);
	by->easy_setopt(curl, CURLOPT_WRITEFUNCTION, print);
	if (url[1] != NULL)
		by->easy_setopt(curl, CURLOPT_POSTFIELDS, url[1]);
}

static void tell(CURL *curl, CURLcode code)
{
	long status = 0;
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	printf("code %d status %ld\n", code, status);
}

/* A handle that came by a mixture is none the worse for it. */
static int again(CURL *curl, const char *url)
{
	char address[256];
	snprintf(address, sizeof address, "%s/again", url);
	curl_easy_setopt(curl, CURLOPT_URL, address);
	curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
	tell(curl, curl_easy_perform(curl));
	curl_easy_cleanup(curl);
	return 0;
}

static int easy(char **words)
{
	CURL *curl = way(words[0])->easy_init();
	set(way(words[1]), curl, words + 3);
	tell(curl, way(words[2])->easy_perform(curl));
	return again(curl, words[3]);
}

static int multi(char **words)
{
	const struct functions *add = way(words[2]), *wait = way(words[3]), *rest = way(words[4]);
	CURL *curl = way(words[0])->easy_init();
	CURLM *all = rest->multi_init();
	int running, left;
	set(way(words[1]), curl, words + 5);
	add->multi_add_handle(all, curl);
	do {
		rest->multi_perform(all, &running);
		if (running > 0)
			wait->multi_wait(all, NULL, 0, 1000, NULL);
	} while (running > 0);
	for (CURLMsg *message; (message = rest->multi_info_read(all, &left)) != NULL;)
		tell(message->easy_handle, message->data.result);
	add->multi_remove_handle(all, curl);
	rest->multi_cleanup(all);
	return again(curl, words[5]);
}

static int plugin(char **words)
{
	int mode = (strchr(words[0], 'n') != NULL ? RTLD_NOW : RTLD_LAZY) | (strchr(words[0], 'd') != NULL ? RTLD_DEEPBIND : 0);
	void *handle = dlopen(words[1], mode);
	int (*fetch)(const char *) = handle != NULL ? (int (*)(const char *))dlsym(handle, "fetch") : NULL;
	if (fetch == NULL) {
		fprintf(stderr, "%s\n", dlerror());
		return 2;
	}
	fetch(words[2]);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc >= 5 && strcmp(argv[1], "plugin") == 0)
		return plugin(argv + 2);
	find();
	if (argc >= 6 && strcmp(argv[1], "easy") == 0)
		return easy(argv + 2);
	if (argc >= 8 && strcmp(argv[1], "multi") == 0)
		return multi(argv + 2);
	return 2;
}
