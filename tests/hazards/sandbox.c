/* A sandbox that denies system calls, by name, with EPERM or by a trap. */
#include <dlfcn.h>
#include <signal.h>
#include <sys/resource.h>
#include <ucontext.h>

#include "seccomp.h"

static const struct {
	const char *name;
	long number;
} calls[] = {
	{"clock_nanosleep", SYS_clock_nanosleep},
	{"getrandom", SYS_getrandom},
	{"openat", SYS_openat},
	{"futex", SYS_futex},
	{"fstat", SYS_fstat},
	{"fstat", SYS_newfstatat},
	{"rt_sigaction", SYS_rt_sigaction},
	{"rt_sigprocmask", SYS_rt_sigprocmask},
	{"rt_sigpending", SYS_rt_sigpending},
	{"ppoll", SYS_ppoll},
#ifdef SYS_poll
	{"ppoll", SYS_poll},
#endif
	{"getsockopt", SYS_getsockopt},
	{"fcntl", SYS_fcntl},
	{"getpid", SYS_getpid},
	/* Of metrics. */
	{"sendto", SYS_sendto},
	{"process_vm_readv", SYS_process_vm_readv},
};

enum { CALLS = sizeof calls / sizeof calls[0] };

static void deny(const char *name, unsigned action)
{
	long numbers[CALLS];
	size_t count = 0;
	for (size_t i = 0; i < CALLS; i++)
		if (strcmp(name, "all") == 0 || strcmp(name, calls[i].name) == 0)
			numbers[count++] = calls[i].number;
	filter_calls(numbers, count, action, SECCOMP_RET_ALLOW);
}

/* As the handler of a real sandbox, which answers in the kernel's place: ENOSYS to everything. */
static void trapped(int number, siginfo_t *info, void *context)
{
	ucontext_t *at = context;
	(void)number;
	(void)info;
#if defined(__x86_64__)
	at->uc_mcontext.gregs[REG_RAX] = -ENOSYS;
#elif defined(__aarch64__)
	at->uc_mcontext.regs[0] = (unsigned long)-ENOSYS;
#else
#error "which register holds the result of a system call?"
#endif
}

/* Through a look-up, since the program also runs without the library that counts. */
static long tally(void)
{
	long (*connects)(void) = (long (*)(void))dlsym(RTLD_DEFAULT, "tally_connects");
	return connects == NULL ? -1 : connects();
}

static int report(int error)
{
	say("connect", error_name(error));
	say_number("connects", tally());
	return 0;
}

/* PORT CALL */
static int denied(char **arguments)
{
	say("started", "yes"); /* stdio is set up */
	deny(arguments[1], SECCOMP_RET_ERRNO | EPERM);
	return report(connect_once(arguments[0]));
}

/* PORT CALL: every such call raises SIGSYS, which has a handler. */
static int trap(char **arguments)
{
	struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO | SA_RESTART};
	say("started", "yes");
	sigaction(SIGSYS, &action, NULL);
	deny(arguments[1], SECCOMP_RET_TRAP);
	return report(connect_once(arguments[0]));
}

/* PORT: not one descriptor is free while the connect fails. */
static int no_descriptors(char **arguments)
{
	struct rlimit few = {.rlim_cur = 32, .rlim_max = 32};
	struct sockaddr_in to = loopback(arguments[0]);
	struct descriptors before;
	int file = socket(AF_INET, SOCK_STREAM, 0);
	setrlimit(RLIMIT_NOFILE, &few);
	while (open("/dev/null", O_RDONLY) >= 0)
		;
	descriptors_read(&before);
	report(connect(file, (const struct sockaddr *)&to, sizeof to) == 0 ? 0 : errno);
	say_descriptors(&before);
	return 0;
}

static const struct scenario scenarios[] = {{"denied", denied}, {"trap", trap}, {"no-descriptors", no_descriptors}};

int main(int argc, char **argv) { return RUN_SCENARIO(scenarios, argc, argv); }
