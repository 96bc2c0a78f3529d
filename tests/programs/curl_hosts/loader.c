/* loader MODE PLUGIN URL: fetches by a plugin (fetch.c) or a library that is loaded at run time.
 *   both      this program's own libcurl (if it has one), the plugin's, and its own again
 *   global    the plugin, loaded RTLD_GLOBAL
 *   reopen    the plugin, three times opened, used and closed
 *   dlsym     PLUGIN is a libcurl, whose every function is found by dlsym
 *   default   the same, but found by dlsym(RTLD_DEFAULT) once it is loaded RTLD_GLOBAL */
#include <curl/curl.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#ifdef OWN
int own_fetch(const char *url);
#else
static int own_fetch(const char *url) { return url == NULL; }
#endif

static void *opened(const char *path, int flags)
{
	void *handle = dlopen(path, flags);
	if (handle == NULL) {
		fprintf(stderr, "%s\n", dlerror());
		exit(2);
	}
	return handle;
}

static int plugin_fetch(const char *path, int flags, const char *url, int close)
{
	void *handle = opened(path, flags);
	int (*fetch)(const char *) = (int (*)(const char *))dlsym(handle, "fetch");
	int code = fetch(url);
	if (close)
		dlclose(handle);
	return code;
}

static int fetch_by_dlsym(void *where, const char *url)
{
	CURL *(*init)(void) = (CURL * (*)(void)) dlsym(where, "curl_easy_init");
	CURLcode (*setopt)(CURL *, CURLoption, ...) = (CURLcode(*)(CURL *, CURLoption, ...))dlsym(where, "curl_easy_setopt");
	CURLcode (*perform)(CURL *) = (CURLcode(*)(CURL *))dlsym(where, "curl_easy_perform");
	void (*cleanup)(CURL *) = (void (*)(CURL *))dlsym(where, "curl_easy_cleanup");
	CURL *curl = init();
	setopt(curl, CURLOPT_URL, url);
	CURLcode code = perform(curl);
	cleanup(curl);
	printf("code %d\n", code);
	return (int)code;
}

int main(int argc, char **argv)
{
	int failed = 0;
	if (argc < 4)
		return 2;
	const char *mode = argv[1], *plugin = argv[2], *url = argv[3];
	if (strcmp(mode, "both") == 0) {
		failed |= own_fetch(url);
		failed |= plugin_fetch(plugin, RTLD_NOW | RTLD_LOCAL, url, 0);
		failed |= own_fetch(url);
	}
	if (strcmp(mode, "global") == 0)
		failed |= plugin_fetch(plugin, RTLD_LAZY | RTLD_GLOBAL, url, 0);
	for (int i = 0; strcmp(mode, "reopen") == 0 && i < 3; i++)
		failed |= plugin_fetch(plugin, RTLD_LAZY | RTLD_LOCAL, url, 1);
	if (strcmp(mode, "dlsym") == 0)
		failed |= fetch_by_dlsym(opened(plugin, RTLD_LAZY | RTLD_LOCAL), url);
	if (strcmp(mode, "default") == 0) {
		opened(plugin, RTLD_LAZY | RTLD_GLOBAL);
		failed |= fetch_by_dlsym(RTLD_DEFAULT, url);
	}
	return failed;
}
