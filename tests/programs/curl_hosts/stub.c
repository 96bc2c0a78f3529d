/* Linked as a libcurl without version nodes: what is linked with it refers to curl without a version. */
#define STUB(name)    \
	void name(void); \
	void name(void) {}
STUB(curl_easy_init)
STUB(curl_easy_setopt)
STUB(curl_easy_perform)
STUB(curl_easy_duphandle)
STUB(curl_easy_reset)
STUB(curl_easy_cleanup)
STUB(curl_version)
