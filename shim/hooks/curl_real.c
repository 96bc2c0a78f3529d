#include "hooks/curl_real.h"

#include <dlfcn.h>
#include <link.h>
#include <stdatomic.h>
#include <string.h>

#include "libc.h"
#include "retryshim/runtime.h"

enum { LIBRARIES = 16, NAME_BYTES = 16 };

static const char version_names[FLAVOUR_COUNT][NAME_BYTES] = {
	[FLAVOUR_ANY] = "",
	[FLAVOUR_OPENSSL] = "CURL_OPENSSL_4",
	[FLAVOUR_GNUTLS] = "CURL_GNUTLS_3",
	[FLAVOUR_NSS] = "CURL_NSS_3",
};

/* Each is claimed, filled and published once, and never given back. Two threads that find the same
 * library at the same time fill two of them, which does no harm. */
struct library {
	_Atomic(int) claimed;
	_Atomic(int) ready;
	struct curl_real real;
};

static struct library libraries[LIBRARIES];
_Atomic(const struct curl_real *) curl_real_known[FLAVOUR_COUNT];

/* `where`: RTLD_NEXT or a library's handle. */
static void *find(void *where, const char *name, const char *version)
{
	/* Without libdl, which glibc had apart, there is one libcurl, and it is never unloaded. */
	if (!libc_has_loader())
		return symbol_find_next(name);
	return version[0] != '\0' ? dlvsym(where, name, version) : dlsym(where, name);
}

enum { REQUIRED, OPTIONAL };

static bool fill(struct curl_real *real, void *where, const char *version)
{
	const struct {
		void *slot;
		const char *name;
		int kind;
	} functions[] = {
		{&real->easy_init, "curl_easy_init", REQUIRED},
		{&real->easy_setopt, "curl_easy_setopt", REQUIRED},
		{&real->easy_perform, "curl_easy_perform", REQUIRED},
		{&real->easy_getinfo, "curl_easy_getinfo", REQUIRED},
		{&real->easy_duphandle, "curl_easy_duphandle", REQUIRED},
		{&real->easy_reset, "curl_easy_reset", REQUIRED},
		{&real->easy_cleanup, "curl_easy_cleanup", REQUIRED},
		{&real->easy_strerror, "curl_easy_strerror", REQUIRED},
		{&real->easy_pause, "curl_easy_pause", REQUIRED},
		{&real->multi_init, "curl_multi_init", REQUIRED},
		{&real->multi_cleanup, "curl_multi_cleanup", REQUIRED},
		{&real->multi_add_handle, "curl_multi_add_handle", REQUIRED},
		{&real->multi_remove_handle, "curl_multi_remove_handle", REQUIRED},
		{&real->multi_perform, "curl_multi_perform", REQUIRED},
		{&real->multi_socket, "curl_multi_socket", REQUIRED},
		{&real->multi_socket_action, "curl_multi_socket_action", REQUIRED},
		{&real->multi_socket_all, "curl_multi_socket_all", REQUIRED},
		{&real->multi_info_read, "curl_multi_info_read", REQUIRED},
		{&real->multi_timeout, "curl_multi_timeout", REQUIRED},
		{&real->multi_setopt, "curl_multi_setopt", REQUIRED},
		{&real->multi_wait, "curl_multi_wait", REQUIRED},
		{&real->multi_poll, "curl_multi_poll", OPTIONAL},
		{&real->mime_data_cb, "curl_mime_data_cb", OPTIONAL},
		{&real->mime_filedata, "curl_mime_filedata", OPTIONAL},
	};
	for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
		void *function = find(where, functions[i].name, version);
		if (function == NULL && functions[i].kind == REQUIRED)
			return false;
		memcpy(functions[i].slot, &function, sizeof function);
	}
	return true;
}

static const struct curl_real *known_library(const void *base)
{
	for (int i = 0; i < LIBRARIES; i++)
		if (atomic_load_explicit(&libraries[i].ready, memory_order_acquire) && libraries[i].real.base == base)
			return &libraries[i].real;
	return NULL;
}

/* Publishes the library that `where` leads to; NULL if it is no usable libcurl. */
static const struct curl_real *add_library(void *where, const char *version)
{
	Dl_info info;
	void *init = find(where, "curl_easy_init", version);
	if (init == NULL)
		return NULL;
	if (!libc_has_loader())
		info = (Dl_info){.dli_fbase = init};
	else if (dladdr(init, &info) == 0)
		return NULL;
	const struct curl_real *known = known_library(info.dli_fbase);
	if (known != NULL)
		return known;
	struct curl_real real = {.base = info.dli_fbase};
	if (!fill(&real, where, version))
		return NULL;
	/* A plugin may be unloaded, and its libcurl with it; our pointers would dangle. The handle is kept
	 * on purpose. */
	if (libc_has_loader())
		dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
	for (int i = 0; i < LIBRARIES; i++) {
		int unclaimed = 0;
		if (!atomic_compare_exchange_strong(&libraries[i].claimed, &unclaimed, 1))
			continue;
		libraries[i].real = real;
		atomic_store_explicit(&libraries[i].ready, 1, memory_order_release);
		return &libraries[i].real;
	}
	return NULL;
}

/* ---- libraries that RTLD_NEXT does not reach --------------------------------------------------- */

struct loaded {
	char paths[8][256];
	int count;
};

static int collect_libcurl(struct dl_phdr_info *info, size_t size, void *context)
{
	struct loaded *loaded = context;
	(void)size;
	const char *slash = strrchr(info->dlpi_name, '/');
	const char *name = slash != NULL ? slash + 1 : info->dlpi_name;
	if (strncmp(name, "libcurl", 7) == 0 && strlen(info->dlpi_name) < sizeof loaded->paths[0] && loaded->count < 8)
		strcpy(loaded->paths[loaded->count++], info->dlpi_name);
	return 0;
}

static const struct curl_real *add_loaded(const char *path, const char *version)
{
	void *handle = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
	if (handle == NULL)
		return NULL;
	const struct curl_real *real = add_library(handle, version);
	dlclose(handle);
	return real;
}

static const struct curl_real *scan(const char *version)
{
	struct loaded loaded = {.count = 0};
	const struct curl_real *real = NULL;
	dl_iterate_phdr(collect_libcurl, &loaded);
	for (int i = 0; i < loaded.count && real == NULL; i++)
		real = add_loaded(loaded.paths[i], version);
	return real;
}

/* ---- callers without a version ------------------------------------------------------------------ */

/* What the caller's own object and its dependencies define: a handle searches just those. A sibling
 * call hides the caller, so this is asked only where there is a choice. */
static const struct curl_real *library_of_caller(const void *caller)
{
	Dl_info info;
	if (dladdr(caller, &info) == 0 || info.dli_fname == NULL)
		return NULL;
	void *handle = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
	if (handle == NULL)
		return NULL;
	const struct curl_real *real = add_library(handle, "");
	dlclose(handle);
	return real;
}

static const struct curl_real *unversioned(const void *caller)
{
	struct loaded loaded = {.count = 0};
	const struct curl_real *real = NULL;
	dl_iterate_phdr(collect_libcurl, &loaded);
	if (loaded.count == 1)
		return add_loaded(loaded.paths[0], "");
	real = library_of_caller(caller);
	return real != NULL ? real : add_library(RTLD_NEXT, "");
}

/* ---- interface ---------------------------------------------------------------------------------- */

const struct curl_real *curl_real_find(enum flavour flavour, const void *caller)
{
	if (flavour == FLAVOUR_ANY && libc_has_loader())
		return unversioned(caller);
	const struct curl_real *real = add_library(RTLD_NEXT, version_names[flavour]);
	if (real == NULL && libc_has_loader())
		real = scan(version_names[flavour]);
	if (real != NULL)
		atomic_store_explicit(&curl_real_known[flavour], real, memory_order_release);
	return real;
}

bool curl_real_is_caller(const void *address)
{
	Dl_info info;
	return libc_has_loader() && dladdr(address, &info) != 0 && known_library(info.dli_fbase) != NULL;
}
