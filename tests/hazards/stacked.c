/* What a preloaded library does for the program, with ours before it or behind it. */
#include <dlfcn.h>

#include "host.h"

static const char *object_of(const char *name)
{
	Dl_info info;
	void *function = dlsym(RTLD_DEFAULT, name);
	if (function == NULL || dladdr(function, &info) == 0)
		broken(name);
	const char *slash = strrchr(info.dli_fname, '/');
	return slash != NULL ? slash + 1 : info.dli_fname;
}

/* PORT */
static int serves(char **arguments)
{
	struct descriptors before;
	time_t now;
	struct tm *date;
	descriptors_read(&before);
	say("connect", error_name(connect_and_read(arguments[0])));
	say("malloc", object_of("malloc"));
	int file = open("/dev/null", O_WRONLY | O_SYNC | O_CLOEXEC);
	say("synchronous", (fcntl(file, F_GETFL) & O_SYNC) != 0 ? "yes" : "no");
	close(file);
	now = time(NULL);
	date = gmtime(&now);
	say_number("year", date->tm_year + 1900);
	say_descriptors(&before);
	return 0;
}

static const struct scenario scenarios[] = {{"serves", serves}};

int main(int argc, char **argv) { return RUN_SCENARIO(scenarios, argc, argv); }
