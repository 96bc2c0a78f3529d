/* RETRY_METRICS as the program will need it: it may change its directory, and cannot look a name up without the danger of
 * being blocked by that. */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "retryshim/cli.h"
#include "retryshim/policy.h"
#include "retryshim/runtime.h"

enum { LOOK_UP_MS = 2000 };

/* What `become` makes of each item; to be freed. NULL, errno set, if that fails. */
static char *each_sink(const char *list, char *(*become)(const char *item, const struct sink *sink))
{
	char item[SINK_BYTES];
	struct sink sink;
	char *result = cli_format("%s", "");
	while (list != NULL) {
		if (!sink_next(&list, item, &sink))
			continue;
		char *instead = become(item, &sink);
		char *longer = instead != NULL ? cli_format("%s%s%s", result, result[0] != '\0' ? "," : "", instead) : NULL;
		free(instead);
		free(result);
		if (longer == NULL)
			return NULL;
		result = longer;
	}
	return result;
}

/* ---- files ------------------------------------------------------------------------------------------ */

static char *with_absolute_file(const char *item, const struct sink *sink)
{
	if (sink->path == NULL)
		return cli_format("%s", item);
	char *path = cli_absolute_path(sink->path);
	char *absolute = path != NULL ? cli_format("%.*s%s", (int)(sink->path - item), item, path) : NULL;
	free(path);
	return absolute;
}

char *cli_sinks_absolute(const char *list) { return each_sink(list, with_absolute_file); }

/* ---- names ------------------------------------------------------------------------------------------ */

static _Noreturn void look_up(const char *name, int answer)
{
	char text[INET6_ADDRSTRLEN] = "";
	struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_ADDRCONFIG}, *found;
	if (getaddrinfo(name, NULL, &hints, &found) != 0 ||
	    getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST) != 0)
		_exit(1);
	_exit(write(answer, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : 1);
}

/* What is left of the time that the whole list has. */
static int left_ms(void)
{
	static int64_t end_ns;
	int64_t now_ns = clock_now_ns();
	if (end_ns == 0)
		end_ns = now_ns + LOOK_UP_MS * NS_PER_MS;
	return end_ns > now_ns ? (int)((end_ns - now_ns) / NS_PER_MS) : 0;
}

/* A process of its own does it: getaddrinfo(3) has no time-out. False if there is no answer in time. */
static bool address_of(const char *name, char address[INET6_ADDRSTRLEN])
{
	int ends[2];
	if (pipe(ends) != 0)
		return false;
	pid_t child = fork();
	if (child == 0)
		look_up(name, ends[1]);
	close(ends[1]);
	struct pollfd answer = {.fd = ends[0], .events = POLLIN};
	ssize_t got = child > 0 && poll(&answer, 1, left_ms()) == 1 ? read(ends[0], address, INET6_ADDRSTRLEN - 1) : 0;
	close(ends[0]);
	if (child > 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	address[got > 0 ? got : 0] = '\0';
	return got > 0;
}

static char *with_address(const char *item, const struct sink *sink)
{
	char address[INET6_ADDRSTRLEN];
	if (sink->path != NULL || sink->target.has_address)
		return cli_format("%s", item);
	if (!address_of(sink->target.name, address)) {
		cli_error("no address is found for '%s': the metrics for %s will be lost", sink->target.name, item);
		return cli_format("%s", item);
	}
	int start = (int)(strstr(item, "//") + 2 - item);
	bool brackets = strchr(address, ':') != NULL;
	return cli_format("%.*s%s%s%s:%u", start, item, brackets ? "[" : "", address, brackets ? "]" : "", sink->target.port);
}

char *cli_sinks_looked_up(const char *list) { return each_sink(list, with_address); }
