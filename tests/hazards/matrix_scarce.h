/* Places of the matrix: what a process may be short of. */
#ifndef HAZARDS_MATRIX_SCARCE_H
#define HAZARDS_MATRIX_SCARCE_H

#include <stdatomic.h>
#include <sys/mman.h>

#include "matrix_tell.h"
#include "seccomp.h"

/* ---- a thread whose stack ends behind the call --------------------------------------------------------- */

enum { STACK = 1 << 20, GUARD = 65536, PAINT = 0x5a };

static char *stack_end, *called_at;
static size_t stack_left; /* 0 = all of it */

static __attribute__((noinline)) void act_here(struct cell *cell)
{
	called_at = __builtin_frame_address(0);
	act(cell);
}

static void *eats_stack(void *cell)
{
	char *top = __builtin_frame_address(0);
	if (stack_left > 0) {
		char *volatile eaten = __builtin_alloca((size_t)(top - stack_end) - stack_left);
		(void)eaten;
	}
	act_here(cell);
	return NULL;
}

/* What lies below the call and was used. */
static long touched(void)
{
	char *at = stack_end;
	while (at < called_at && *at == PAINT)
		at++;
	return called_at - at;
}

static void in_small_stack(struct cell *cell)
{
	pthread_t thread;
	pthread_attr_t attributes;
	char *stack = mmap(NULL, GUARD + STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (stack == MAP_FAILED || mprotect(stack, GUARD, PROT_NONE) != 0)
		broken("stack");
	stack_end = stack + GUARD;
	memset(stack_end, PAINT, STACK);
	stack_left = getenv("MATRIX_LEFT") != NULL ? (size_t)atoi(getenv("MATRIX_LEFT")) : 0;
	prepare(cell);
	pthread_attr_init(&attributes);
	if (pthread_attr_setstack(&attributes, stack_end, STACK) != 0 || pthread_create(&thread, &attributes, eats_stack, cell) != 0)
		broken("thread");
	pthread_join(thread, NULL);
	dispose(cell);
	tell_number("touched", touched());
}

/* ---- what is used up ---------------------------------------------------------------------------------------- */

static void without_descriptors(struct cell *cell)
{
	enum { ALL = 48 };
	struct rlimit few = {.rlim_cur = ALL, .rlim_max = ALL};
	int taken[ALL], count = 0;
	prepare(cell);
	setrlimit(RLIMIT_NOFILE, &few);
	while (count < ALL && (taken[count] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
		count++;
	act(cell);
	while (count > 0)
		close(taken[--count]);
	dispose(cell);
}

static void *sleeps(void *unused)
{
	pause();
	return unused;
}

/* Then a descriptor may be another's at any time, and the shim holds on to its socket by a duplicate. */
static void without_descriptors_among_threads(struct cell *cell)
{
	pthread_t other;
	if (pthread_create(&other, NULL, sleeps, NULL) != 0)
		broken("pthread_create");
	without_descriptors(cell);
	pthread_cancel(other);
	pthread_join(other, NULL);
}

extern _Atomic(int) nomem_failing __attribute__((weak));

static void without_memory(struct cell *cell)
{
	if (&nomem_failing == NULL)
		broken("nomem");
	prepare(cell);
	nomem_failing = 1;
	act(cell);
	nomem_failing = 0;
	dispose(cell);
}

/* No page can be mapped any more, and the stack does not grow. */
static void without_address_space(struct cell *cell)
{
	struct rlimit none = {.rlim_cur = 0, .rlim_max = RLIM_INFINITY}, all = {RLIM_INFINITY, RLIM_INFINITY};
	volatile char room[98304];
	for (size_t i = 0; i < sizeof room; i += 1024)
		room[i] = 0;
	void *volatile memory = malloc(65536); /* what the heap has is left to it */
	free(memory);
	prepare(cell);
	setrlimit(RLIMIT_AS, &none);
	act(cell);
	setrlimit(RLIMIT_AS, &all);
	dispose(cell);
}

/* From its start on, it is another process that is short of it. */
static void in_tight_address_space(struct cell *cell)
{
	rlim_t space = (rlim_t)atol(getenv("MATRIX_SPACE"));
	struct rlimit limit = {space, space};
	(void)cell;
	setrlimit(RLIMIT_AS, &limit);
	execv(arguments[0], (char *[]){arguments[0], "main", arguments[2], arguments[3], NULL});
	broken("execv");
}

static void tell_peak(struct cell *cell)
{
	char text[8192];
	whole(cell);
	int file = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	ssize_t got = read(file, text, sizeof text - 1);
	close(file);
	text[got > 0 ? got : 0] = '\0';
	tell_number("peak_kb", atol(strstr(text, "VmPeak:") + 7));
}

/* ---- what is shut off ------------------------------------------------------------------------------------------ */

/* What all of the program needs, and its telling; a hook's own calls come on top. */
static const long own_calls[] = {SYS_read, SYS_write, SYS_close, SYS_connect, SYS_getsockopt, SYS_fcntl, SYS_fstat,
                                 SYS_newfstatat, SYS_exit_group, SYS_rt_sigreturn};

/* What the shim calls on top: on a healthy non-blocking connect, and where one has failed. The README lists them. */
static const long healthy_calls[] = {SYS_rt_sigprocmask, SYS_getpid, CALL_poll, SYS_process_vm_readv};
static const long recovering_calls[] = {SYS_rt_sigaction, SYS_rt_sigpending, SYS_clock_nanosleep, SYS_futex, SYS_ppoll,
                                        SYS_pselect6, SYS_epoll_ctl, SYS_epoll_pwait, SYS_getpeername, SYS_getsockname,
                                        SYS_openat};

struct list {
	long numbers[FILTERED_MOST];
	size_t count;
};

static void add_calls(struct list *list, const long *numbers, size_t count)
{
	for (size_t i = 0; i < count; i++)
		list->numbers[list->count++] = numbers[i];
}

#define ADD_CALLS(list, numbers) add_calls(list, numbers, sizeof(numbers) / sizeof(numbers)[0])

static void act_in_sandbox(struct cell *cell, const struct list *allowed, unsigned others)
{
	prepare(cell);
	filter_calls(allowed->numbers, allowed->count, SECCOMP_RET_ALLOW, others);
	act(cell);
	dispose(cell);
}

static void in_sandbox(struct cell *cell)
{
	struct list allowed = {.count = 0};
	ADD_CALLS(&allowed, own_calls);
	ADD_CALLS(&allowed, cell->hook->needs);
	act_in_sandbox(cell, &allowed, SECCOMP_RET_ERRNO | EPERM);
}

/* MATRIX_ALLOWED says what else is allowed: nothing, healthy, recovering. */
static void in_killing_sandbox(struct cell *cell)
{
	const char *more = getenv("MATRIX_ALLOWED");
	struct list allowed = {.count = 0};
	ADD_CALLS(&allowed, own_calls);
	ADD_CALLS(&allowed, cell->hook->needs);
	if (more != NULL)
		ADD_CALLS(&allowed, healthy_calls);
	if (more != NULL && strcmp(more, "recovering") == 0)
		ADD_CALLS(&allowed, recovering_calls);
	act_in_sandbox(cell, &allowed, SECCOMP_RET_KILL_PROCESS);
}

static void without_some_calls(struct cell *cell)
{
	const long denied[] = {SYS_futex, SYS_getrandom, SYS_openat};
	prepare(cell);
	filter_calls(denied, sizeof denied / sizeof denied[0], SECCOMP_RET_ERRNO | EPERM, SECCOMP_RET_ALLOW);
	act(cell);
	dispose(cell);
}

static void in_chroot(struct cell *cell)
{
	if (chroot(".") != 0 || chdir("/") != 0)
		broken("chroot");
	tell("proc", access("/proc", F_OK) == 0 || access("/dev", F_OK) == 0 ? "there" : "none");
	whole(cell);
}

static void without_stdio(struct cell *cell)
{
	tell_number("open", (fcntl(0, F_GETFD) >= 0) + (fcntl(1, F_GETFD) >= 0) + (fcntl(2, F_GETFD) >= 0));
	whole(cell);
}

#endif
