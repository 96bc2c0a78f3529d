/* Processes that are killed at random moments while they connect to a port that refuses.
 *
 * killed PORT COUNT TOGETHER LIFE_MS: starts COUNT of them, TOGETHER at a time, each with a base delay of 1 to 20 ms and a
 * life of up to LIFE_MS; SHIM is preloaded into them, not into this one. Says how many ended by SIGKILL, and how many in any
 * other way: none should.
 */
#include <signal.h>
#include <stdint.h>
#include <sys/wait.h>

#include "host.h"

enum { TOGETHER_MOST = 256 };

struct life {
	pid_t pid;
	int64_t end_ns;
};

static int64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* One operation after another, for ever. Whoever is not refused says so by its end. */
static _Noreturn void live(const char *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	for (;;) {
		int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (s < 0 || connect(s, (struct sockaddr *)&address, sizeof address) == 0 || errno != ECONNREFUSED)
			_exit(3);
		close(s);
	}
}

static pid_t begin(const char *port)
{
	char delay[16], attempts[16];
	snprintf(delay, sizeof delay, "%ld", 1 + random() % 20);
	snprintf(attempts, sizeof attempts, "%ld", 2 + random() % 30);
	pid_t pid = fork();
	if (pid < 0)
		broken("fork");
	if (pid > 0)
		return pid;
	setenv("RETRY_BASE_DELAY_MS", delay, 1);
	setenv("RETRY_MAX_ATTEMPTS", attempts, 1);
	setenv("LD_PRELOAD", getenv("SHIM"), 1);
	execl("/proc/self/exe", "killed", port, NULL);
	_exit(4);
}

static void end(const struct life *life, int *killed, int *others)
{
	int status;
	kill(life->pid, SIGKILL);
	if (waitpid(life->pid, &status, 0) != life->pid)
		broken("waitpid");
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		++*killed;
	else
		++*others;
}

int main(int argc, char **argv)
{
	struct life lives[TOGETHER_MOST] = {0};
	int killed = 0, others = 0;
	if (argc == 2)
		live(argv[1]);
	if (argc != 5)
		return 2;
	int count = atoi(argv[2]), together = atoi(argv[3]), life_ms = atoi(argv[4]), begun = 0;
	for (int turn = 0; killed + others < count; turn++) {
		for (int i = 0; i < together && i < TOGETHER_MOST; i++) {
			struct life *life = &lives[i];
			if (life->pid != 0 && now_ns() < life->end_ns)
				continue;
			if (life->pid != 0)
				end(life, &killed, &others);
			life->pid = 0;
			if (begun == count)
				continue;
			begun++;
			life->pid = begin(argv[1]);
			life->end_ns = now_ns() + random() % (life_ms * INT64_C(1000000));
		}
		nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
	}
	say_number("killed", killed);
	say_number("others", others);
	return 0;
}
