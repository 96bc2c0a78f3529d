/* One run of a command. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/rerun.h"
#include "retryshim/runtime.h"

/* Ours to hand on; the first four end us as well. */
static const int handed_on[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};

static bool ends_us(int number) { return number == SIGINT || number == SIGTERM || number == SIGHUP || number == SIGQUIT; }

void signals_open(struct signals *signals)
{
	sigset_t ours;
	struct sigaction action;
	sigemptyset(&ours);
	sigaddset(&ours, SIGCHLD);
	for (size_t i = 0; i < sizeof handed_on / sizeof handed_on[0]; i++)
		if (sigaction(handed_on[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN) /* nohup(1) */
			sigaddset(&ours, handed_on[i]);
	signals->stopped_by = 0;
	/* Ignored, as some parents leave it, children could not be waited for. */
	sigaction(SIGCHLD, &(struct sigaction){.sa_handler = SIG_DFL}, &signals->child_before);
	/* A command that reads no more, a reader that is gone: write(2) says so. */
	sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, &signals->pipe_before);
	sigprocmask(SIG_BLOCK, &ours, &signals->before);
	signals->file = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
}

sigset_t signals_admitted(const struct signals *signals)
{
	sigset_t mask;
	sigprocmask(SIG_SETMASK, NULL, &mask);
	for (size_t i = 0; i < sizeof handed_on / sizeof handed_on[0]; i++)
		if (ends_us(handed_on[i]) && sigismember(&signals->before, handed_on[i]) == 0)
			sigdelset(&mask, handed_on[i]);
	return mask;
}

/* The terminal has sent it to the command as well (SI_KERNEL); who sends it to us alone means the command. */
static void take_signals(struct signals *signals, pid_t child)
{
	struct signalfd_siginfo taken;
	while (read(signals->file, &taken, sizeof taken) == (ssize_t)sizeof taken) {
		int number = (int)taken.ssi_signo;
		if (number == SIGCHLD)
			continue;
		if (child > 0 && taken.ssi_code != SI_KERNEL)
			kill(child, number);
		if (ends_us(number) && signals->stopped_by == 0)
			signals->stopped_by = number;
	}
}

bool signals_wait(struct signals *signals, int64_t until_ns)
{
	for (;;) {
		take_signals(signals, 0);
		int64_t left_ns = until_ns - clock_now_ns();
		if (signals->stopped_by != 0 || left_ns <= 0)
			return signals->stopped_by != 0;
		struct timespec left = {.tv_sec = (time_t)(left_ns / NS_PER_S), .tv_nsec = (long)(left_ns % NS_PER_S)};
		struct pollfd file = {.fd = signals->file, .events = POLLIN};
		ppoll(&file, 1, &left, NULL);
	}
}

_Noreturn void signals_die(const struct signals *signals, int number)
{
	struct rlimit none = {0, 0};
	sigset_t it;
	setrlimit(RLIMIT_CORE, &none); /* the command's own is enough */
	signal(number, SIG_DFL);
	sigprocmask(SIG_SETMASK, &signals->before, NULL);
	sigemptyset(&it);
	sigaddset(&it, number);
	sigprocmask(SIG_UNBLOCK, &it, NULL);
	raise(number);
	exit(128 + number);
}

/* In the child. Returns only with an error. */
static void become(char **program, const struct signals *signals, int input, int output, pid_t parent)
{
	if ((input >= 0 && dup2(input, STDIN_FILENO) < 0) || (output >= 0 && dup2(output, STDOUT_FILENO) < 0))
		return;
	/* Killed, we cannot hand that on. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(1);
	sigaction(SIGCHLD, &signals->child_before, NULL);
	sigaction(SIGPIPE, &signals->pipe_before, NULL);
	sigprocmask(SIG_SETMASK, &signals->before, NULL);
	execvp(program[0], program);
}

/* The process; -1 with errno if it is not the program's. */
static pid_t start(char **program, const struct signals *signals, int input, int output)
{
	int told[2], error = 0;
	pid_t self = getpid();
	if (pipe2(told, O_CLOEXEC) != 0)
		return -1;
	pid_t child = fork();
	if (child == 0) {
		become(program, signals, input, output, self);
		error = errno;
		if (write(told[1], &error, sizeof error) < 0)
			_exit(126);
		_exit(127);
	}
	if (child < 0)
		error = errno;
	close(told[1]);
	if (child > 0 && read(told[0], &error, sizeof error) > 0) {
		waitpid(child, NULL, 0);
		child = -1;
	}
	close(told[0]);
	errno = error;
	return child;
}

static int attend(pid_t child, struct signals *signals, struct input *input, struct output *output)
{
	input_go_on(input, 0, 0); /* there may be no more for it than we know already */
	for (;;) {
		int status;
		struct pollfd files[] = {{.fd = signals->file, .events = POLLIN}, input_source(input), input_sink(input), output_source(output)};
		poll(files, sizeof files / sizeof files[0], -1);
		if (files[0].revents != 0)
			take_signals(signals, child);
		input_go_on(input, files[1].revents, files[2].revents);
		output_go_on(output, files[3].revents);
		if (waitpid(child, &status, WNOHANG) == child)
			return status;
	}
}

int child_run(char **program, struct signals *signals, struct input *input, struct output *output)
{
	int its_input = -1, its_output = -1, status = -1;
	pid_t child = -1;
	if (input_begin(input, &its_input) && output_begin(output, &its_output))
		child = start(program, signals, its_input, its_output);
	int error = errno;
	if (its_input >= 0)
		close(its_input);
	if (its_output >= 0)
		close(its_output);
	if (child > 0)
		status = attend(child, signals, input, output);
	input_end(input);
	output_end(output);
	errno = error;
	return status;
}
