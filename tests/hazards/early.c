/* A library whose constructor, destructor and exit handler connect, as the environment says: to the
 * port EARLY_CONSTRUCTOR, EARLY_DESTRUCTOR, EARLY_ATEXIT. */
#include "host.h"

static void connect_where_told(const char *variable)
{
	const char *port = getenv(variable);
	char text[64];
	if (port == NULL)
		return;
	int length = snprintf(text, sizeof text, "%s=%s\n", variable, error_name(connect_and_read(port)));
	if (write(STDOUT_FILENO, text, (size_t)length) != length)
		_exit(98);
}

static void at_exit(void) { connect_where_told("EARLY_ATEXIT"); }

__attribute__((constructor)) static void construct(void)
{
	connect_where_told("EARLY_CONSTRUCTOR");
	atexit(at_exit);
}

__attribute__((destructor)) static void destruct(void) { connect_where_told("EARLY_DESTRUCTOR"); }
