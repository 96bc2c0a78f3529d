/* Waits for what comes: told by inotify(7) where it can, and looking each second where nobody tells: network file
 * systems, users that have used up their inotify instances. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/tail.h"
#include "retryshim/cli.h"

enum { LOOK_EVERY_MS = 1000, OUTPUT = 0, NOTICES, INPUTS };

/* True while one of them is live. Of `ends`, *count are to be polled: descriptors that are open alone, since poll(2)
 * refuses more than RLIMIT_NOFILE. */
static bool look(struct tail *tail, struct pollfd *ends, nfds_t *count)
{
	bool live = false;
	*count = INPUTS;
	for (int i = 0; i < tail->count; i++) {
		struct tail_input *input = &tail->inputs[i];
		if (input->by_name && tail->follow)
			tail_input_follow(input);
		live = live || tail_input_live(input);
		input->end = input->by_name || input->fd < 0 ? NULL : &ends[(*count)++];
		if (input->end != NULL)
			*input->end = (struct pollfd){.fd = input->fd, .events = POLLIN};
	}
	return live;
}

/* `retryshim tail FILE | head -1` ends with head, not with the next event. */
static void check_output(const struct pollfd *output)
{
	if (output->revents == 0)
		return;
	raise(SIGPIPE);
	exit(CLI_FAILED);
}

/* What they say is looked up anyway. */
static void drop_notices(int notices)
{
	char notice[4096];
	while (read(notices, notice, sizeof notice) > 0)
		continue;
}

void tail_follow(struct tail *tail)
{
	nfds_t count;
	struct pollfd *ends = calloc(INPUTS + (size_t)tail->count, sizeof *ends);
	if (ends == NULL) {
		cli_error("out of memory");
		exit(CLI_FAILED);
	}
	ends[OUTPUT].fd = STDOUT_FILENO;
	ends[NOTICES] = (struct pollfd){.fd = tail->inotify, .events = POLLIN};
	while (look(tail, ends, &count)) {
		int ready = poll(ends, count, LOOK_EVERY_MS);
		if (ready < 0 && errno != EINTR) {
			cli_error("cannot wait for input: %s", strerror(errno));
			exit(CLI_FAILED);
		}
		if (ready <= 0)
			continue;
		check_output(&ends[OUTPUT]);
		if (ends[NOTICES].revents != 0)
			drop_notices(tail->inotify);
		for (int i = 0; i < tail->count; i++)
			if (tail->inputs[i].end != NULL && tail->inputs[i].end->revents != 0)
				tail_input_drain(&tail->inputs[i]);
	}
	free(ends);
}
