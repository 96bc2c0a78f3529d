/* faultserver: a server that fails as its script says. Options, and the loop that accepts. */
#include "act.h"
#include "log.h"
#include "net.h"
#include "script.h"

#include <argp.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum option_key { KEY_BIND = 1000, KEY_UNIX, KEY_OPEN_AFTER, KEY_LOG, KEY_LIFETIME, KEY_BACKLOG };

struct options {
	const char *address;
	const char *unix_path; /* NULL = TCP */
	const char *log;       /* NULL = none */
	int64_t port;
	int64_t backlog;
	int64_t open_after_ns;
	int64_t lifetime_ns;
	struct script script;
};

static const struct argp_option option_table[] = {
	{"bind", KEY_BIND, "ADDR", 0, "Address to listen on, IPv4 or IPv6 (default 127.0.0.1)", 0},
	{"port", 'p', "N", 0, "Port to listen on (default 0: the kernel chooses)", 0},
	{"unix", KEY_UNIX, "PATH", 0, "Listen on a unix stream socket instead", 0},
	{"open-after", KEY_OPEN_AFTER, "DUR", 0, "Bind at once, listen only then: until then refuse", 0},
	{"backlog", KEY_BACKLOG, "N", 0, "Length of the queue of connections not accepted yet (default 4096)", 0},
	{"lifetime", KEY_LIFETIME, "DUR", 0, "Exit by itself after this long (default 120s)", 0},
	{"log", KEY_LOG, "FILE", 0, "Append what happens to FILE, a JSON object a line", 0},
	{0}};

static const char summary[] =
	"A server that fails as scripted. Each request, or each connection, takes the next STEP; the last "
	"STEP repeats for ever. Prints one line, `listening ADDR PORT' or `listening PATH', once it is "
	"bound. Ends with its parent process, on SIGTERM or SIGINT (status 0), or when its life is over."
	"\v";

static void read_time(struct argp_state *state, const char *name, const char *text, int64_t *ns)
{
	if (!text_duration(text, ns))
		argp_error(state, "--%s: '%s' is no duration like 500ms or 2s", name, text);
}

static void read_count(struct argp_state *state, const char *name, const char *text, int64_t max, int64_t *count)
{
	if (!text_count(text, count) || *count > max)
		argp_error(state, "--%s: '%s' is no number from 0 to %lld", name, text, (long long)max);
}

static error_t read_option(int key, char *text, struct argp_state *state)
{
	struct options *options = state->input;
	char error[STEP_ERROR_SIZE];
	switch (key) {
	case KEY_BIND:
		options->address = text;
		if (!net_is_address(text))
			argp_error(state, "--bind: '%s' is no numeric address", text);
		return 0;
	case 'p': read_count(state, "port", text, UINT16_MAX, &options->port); return 0;
	case KEY_UNIX: options->unix_path = text; return 0;
	case KEY_OPEN_AFTER: read_time(state, "open-after", text, &options->open_after_ns); return 0;
	case KEY_BACKLOG: read_count(state, "backlog", text, 65535, &options->backlog); return 0;
	case KEY_LIFETIME: read_time(state, "lifetime", text, &options->lifetime_ns); return 0;
	case KEY_LOG: options->log = text; return 0;
	case ARGP_KEY_ARG:
		if (!script_add(&options->script, text, error))
			argp_error(state, "step '%s': %s", text, error);
		return 0;
	case ARGP_KEY_END:
		if (options->open_after_ns >= options->lifetime_ns)
			argp_error(state, "--open-after is not before the end of --lifetime");
		return 0;
	case ARGP_KEY_NO_ARGS: argp_error(state, "no STEP given"); return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

static char *filter_help(int key, const char *text, void *input)
{
	(void)input;
	return key == ARGP_KEY_HELP_POST_DOC ? script_help() : (char *)text;
}

static void die(const char *what, const char *name)
{
	fprintf(stderr, "faultserver: %s %s: %s\n", what, name, strerror(errno));
	exit(EXIT_FAILURE);
}

/* A test that is killed leaves no server behind; the parent may have died before the call, too. */
static void die_with_parent(void)
{
	pid_t parent = getppid();
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		exit(EXIT_SUCCESS);
}

/* Before the first thread, which inherits the mask: only the main loop learns of these signals. */
static int take_signals(void)
{
	sigset_t ends;
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	pthread_sigmask(SIG_BLOCK, &ends, NULL);
	signal(SIGPIPE, SIG_IGN);
	int fd = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		die("cannot watch", "signals");
	return fd;
}

static void raise_descriptor_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int bind_socket(const struct options *options, uint16_t *port)
{
	const char *path = options->unix_path;
	int fd = path ? net_bind_unix(path) : net_bind_tcp(options->address, port);
	if (fd < 0)
		die("cannot bind", path ? path : options->address);
	return fd;
}

static void open_socket(const struct options *options, int listener)
{
	if (listen(listener, (int)options->backlog) != 0)
		die("cannot listen on", options->unix_path ? options->unix_path : options->address);
	log_listening();
}

static void tell(const struct options *options, uint16_t port)
{
	if (options->unix_path)
		printf("listening %s\n", options->unix_path);
	else
		printf("listening %s %d\n", options->address, (int)port);
	fflush(stdout);
}

/* Accepts until a signal comes or `end_ns` is over. */
static void accept_until(int listener, int signals, int64_t end_ns, struct script *script)
{
	uint64_t number = 0;
	struct pollfd entries[] = {{.fd = signals, .events = POLLIN}, {.fd = listener, .events = POLLIN}};
	for (;;) {
		int64_t left = end_ns - net_now_ns();
		if (left <= 0)
			return;
		int left_ms = (int)(left / NS_PER_MS) + 1;
		if (poll(entries, 2, left_ms) <= 0)
			continue;
		if (entries[0].revents)
			return;
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			act_on_connection(fd, ++number, script);
		else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			net_pause(10 * NS_PER_MS); /* out of descriptors: poll() would return at once */
	}
}

static void run(struct options *options, int64_t start_ns)
{
	int64_t end_ns = start_ns + options->lifetime_ns;
	uint16_t port = (uint16_t)options->port;
	int signals = take_signals();
	int listener = bind_socket(options, &port);
	bool late = options->open_after_ns > 0;
	/* Who reads the line may connect at once: it must not come before listen() unless asked for. */
	if (!late)
		open_socket(options, listener);
	tell(options, port);
	if (late && !net_wait(signals, POLLIN, options->open_after_ns))
		open_socket(options, listener);
	accept_until(listener, signals, end_ns, &options->script);
	if (options->unix_path)
		unlink(options->unix_path);
}

int main(int argc, char **argv)
{
	/* Static: threads use the script until the process is gone. */
	static struct options options = {
		.address = "127.0.0.1",
		.backlog = 4096,
		.lifetime_ns = 120 * NS_PER_S,
		.script = {.lock = PTHREAD_MUTEX_INITIALIZER},
	};
	static const struct argp parser = {option_table, read_option, "STEP...", summary, NULL, filter_help, NULL};
	int64_t start_ns = net_now_ns();
	log_start();
	die_with_parent();
	argp_err_exit_status = 2;
	argp_parse(&parser, argc, argv, 0, NULL, &options);
	if (options.log && !log_open(options.log))
		die("cannot open", options.log);
	raise_descriptor_limit();
	run(&options, start_ns);
	return EXIT_SUCCESS;
}
