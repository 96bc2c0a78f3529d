/* How a program reaches the network: by which libraries, which functions, or past all of them. */
#include <stdlib.h>
#include <string.h>

#include "cli/check.h"
#include "cli/libraries.h"
#include "retryshim/cli.h"

struct network {
	const struct program *program;
	const struct library *libraries;
	struct findings *findings;
	unsigned seen; /* enum elf_sight */
	bool curl; /* there is a libcurl among the libraries */
	bool any;
};

/* "libcurl.so.4, through libgit2.so.1.5". To be freed. */
static char *with_way(const char *text, const struct library *library)
{
	return library->parent != NULL ? cli_format("%s, through %s", text, library->parent->name) : cli_format("%s", text);
}

/* ---- libcurl ---------------------------------------------------------------------------------------- */

static const char *tls_of(const struct library *curl)
{
	static const struct {
		const char *prefix, *name;
	} all[] = {
		{"libssl.so.", "OpenSSL"}, {"libgnutls.so.", "GnuTLS"}, {"libnss3.so", "NSS"}, {"libmbedtls.so.", "Mbed TLS"},
		{"libwolfssl.so.", "wolfSSL"},
	};
	for (int i = 0; i < curl->elf.needed_count; i++)
		for (size_t k = 0; k < sizeof all / sizeof all[0]; k++)
			if (cli_starts(curl->elf.needed[i], all[k].prefix))
				return all[k].name;
	return NULL;
}

static bool is_libcurl(const char *name)
{
	return cli_starts(name, "libcurl.so") || (cli_starts(name, "libcurl-") && strstr(name, ".so") != NULL);
}

/* Those whose version nodes the shim exports. */
static bool is_known_libcurl(const char *name)
{
	static const char *const known[] = {"libcurl.so.4", "libcurl-gnutls.so.4", "libcurl-nss.so.4"};
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (strcmp(name, known[i]) == 0)
			return true;
	return false;
}

static void add_libcurl(struct network *network, const struct library *library)
{
	const char *tls = tls_of(library);
	char *name = cli_format("%s%s%s", library->name, tls != NULL ? " with " : "", tls != NULL ? tls : "");
	char *what = with_way(name, library);
	findings_add(network->findings, is_known_libcurl(library->name) ? FINDING_CURL : FINDING_CURL_UNKNOWN,
	             network->program->path, what);
	network->curl = network->any = true;
	free(name);
	free(what);
}

/* ---- libc ------------------------------------------------------------------------------------------- */

/* What these call is their own affair, or told already. */
static bool is_passed_over(const struct library *library)
{
	static const char *const names[] = {"libc.",      "ld-linux", "ld-musl-", "libpthread.",
	                                    "libresolv.", "libnsl.",  "libanl.",  "libnss_"};
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (cli_starts(library->name, names[i]))
			return true;
	return is_libcurl(library->name);
}

/* The first library that takes this function from libc; NULL if none does. */
static const struct library *caller_of(const struct library *it, enum elf_import import)
{
	while (it != NULL && ((it->elf.imports & import) == 0 || is_passed_over(it)))
		it = it->next;
	return it;
}

/* The program's own call, or else that of a library; libcurl's is told already. */
static void add_call(struct network *network, enum elf_import import, enum finding finding)
{
	bool own = (network->program->elf.imports & import) != 0;
	const struct library *caller = own || network->curl ? NULL : caller_of(network->libraries, import);
	if (!own && caller == NULL)
		return;
	char *what = caller != NULL ? cli_format(" in %s", caller->name) : cli_format("%s", "");
	findings_add(network->findings, finding, network->program->path, what);
	network->any = true;
	free(what);
}

/* ---- the whole -------------------------------------------------------------------------------------- */

static void add_library(struct network *network, const struct library *library)
{
	char *what = with_way(library->name, library);
	if (library->path == NULL)
		findings_add(network->findings, FINDING_LIBRARY_MISSING, network->program->path, what);
	if (cli_starts(library->name, "liburing.so"))
		findings_add(network->findings, FINDING_IO_URING, network->program->path, what);
	if (is_libcurl(library->name))
		add_libcurl(network, library);
	free(what);
}

/* What no library's name tells. */
static void add_sights(struct network *network, bool opens)
{
	const char *path = network->program->path;
	if ((network->seen & ELF_SEEN_LIBCURL) != 0 && !network->curl)
		findings_add(network->findings, FINDING_CURL_INSIDE, path, NULL);
	else if ((network->seen & ELF_SEEN_LIBCURL_NAME) != 0 && !network->curl && opens)
		findings_add(network->findings, FINDING_CURL_LATE, path, NULL);
	if ((network->seen & ELF_SEEN_CONNECT) != 0)
		findings_add(network->findings, FINDING_RAW_CONNECT, path, NULL);
	if ((network->seen & ELF_SEEN_IO_URING) != 0)
		findings_add(network->findings, FINDING_RAW_IO_URING, path, NULL);
}

void check_network(const struct program *program, unsigned seen, const struct config *config, struct findings *findings)
{
	bool opens = (program->elf.imports & ELF_DLOPEN) != 0;
	struct library *libraries = libraries_find(program->path, &program->elf, program_variable(program, "LD_LIBRARY_PATH"));
	struct network network = {program, libraries, findings, seen, false, false};
	for (const struct library *it = libraries; it != NULL; it = it->next)
		add_library(&network, it);
	add_call(&network, ELF_CONNECT, FINDING_CONNECT);
	add_call(&network, ELF_LOOKUP, FINDING_LOOKUPS);
	add_sights(&network, opens);
	if (!network.any)
		findings_add(findings, FINDING_NO_NETWORK, program->path, NULL);
	/* Nearly every library can; that of a program which does all by libraries that come later is worth a word. */
	if (opens || (!network.any && caller_of(libraries, ELF_DLOPEN) != NULL))
		findings_add(findings, config->deepbind == DEEPBIND_KEEP ? FINDING_KEEPS_DEEPBIND : FINDING_PLUGINS,
		             program->path, NULL);
	if ((program->elf.imports & ELF_SYSCALL) != 0)
		findings_add(findings, FINDING_SYSCALL, program->path, NULL);
	libraries_free(libraries);
}
