/* What is left of the runtime: real functions, clock, signals, settings, where destinations are kept, who is told. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kernel.h"

#include "retryshim/report.h"
#include "retryshim/runtime.h"

/* ---- real functions ---------------------------------------------------------------------------------------- */

_Thread_local uintptr_t depth_frame __attribute__((tls_model("initial-exec")));

#define REAL(name) _Atomic(name##_function *) real_##name##_slot = kernel_##name;
#define NONE(name) _Atomic(name##_function *) real_##name##_slot;

REAL(connect)
REAL(getsockopt)
REAL(poll)
REAL(ppoll)
REAL(select)
REAL(pselect)
REAL(epoll_ctl)
REAL(epoll_wait)
REAL(epoll_pwait)
REAL(send)
REAL(recv)
REAL(recvmsg)
NONE(epoll_pwait2)
NONE(sendto)
NONE(sendmsg)
NONE(write)
NONE(writev)
NONE(recvfrom)
NONE(read)
NONE(readv)
NONE(__read_chk)
NONE(__recv_chk)
NONE(__recvfrom_chk)
NONE(getaddrinfo)

pid_t model_getpid(void);
pid_t model_getpid(void) { return 4711; }

ssize_t model_vm_readv(pid_t process, const struct iovec *to, unsigned long count, const struct iovec *from,
                       unsigned long from_count, unsigned long flags);
ssize_t model_vm_readv(pid_t process, const struct iovec *to, unsigned long count, const struct iovec *from,
                       unsigned long from_count, unsigned long flags)
{
	(void)process, (void)from_count, (void)flags;
	size_t size = 0;
	for (unsigned long i = 0; i < count; size += to[i++].iov_len)
		memcpy(to[i].iov_base, from[i].iov_base, to[i].iov_len);
	return (ssize_t)size;
}

/* fstat(2), as shim/libc.h has it; futex(2): nobody sleeps here until there is news. */
long model_syscall(long number, ...);
long model_syscall(long number, ...)
{
	va_list arguments;
	va_start(arguments, number);
	int fd = va_arg(arguments, int);
	int result = number == SYS_fstat ? kernel_fstat(fd, va_arg(arguments, struct stat *)) : 0;
	va_end(arguments);
	return result;
}

/* ---- clock ------------------------------------------------------------------------------------------------------ */

unsigned long long model_mark(void);
unsigned long long model_mark(void) { return (unsigned long long)world.now_ns; }

int model_clock_gettime(clockid_t clock, struct timespec *now);
int model_clock_gettime(clockid_t clock, struct timespec *now)
{
	(void)clock;
	if (self != NULL && running->hurried) {
		self->at_clock = true;
		point("the clock", 0);
		self->at_clock = false;
	}
	*now = (struct timespec){world.now_ns / NS_PER_S, world.now_ns % NS_PER_S};
	return 0;
}

/* Who waits for a claim goes on when its word has changed. */
int model_yield(void);
int model_yield(void)
{
	rest(SPINNING, "a spin", 0);
	return 0;
}

int model_clock_nanosleep(clockid_t clock, int flags, const struct timespec *at, struct timespec *left);
int model_clock_nanosleep(clockid_t clock, int flags, const struct timespec *at, struct timespec *left)
{
	(void)clock, (void)flags, (void)at, (void)left;
	return model_yield();
}

char model_single_threaded;
bool thread_is_alone(void) { return model_single_threaded; }

/* Nobody cancels. */
void cancel_test(void) {}

int cancel_guarded(int (*work)(void *), void (*clean_up)(void *), void *context)
{
	(void)clean_up;
	return work(context);
}

/* ---- signals: one, SIGUSR1 stands for all ------------------------------------------------------------------------- */

int model_sigmask(int how, const sigset_t *set, sigset_t *before);
int model_sigmask(int how, const sigset_t *set, sigset_t *before)
{
	if (before != NULL) {
		sigemptyset(before);
		if (self->blocked)
			sigaddset(before, SIGUSR1);
	}
	if (set == NULL)
		return 0;
	bool has = sigismember(set, SIGUSR1) != 0;
	if (how == SIG_SETMASK)
		self->blocked = has;
	else if (has)
		self->blocked = how == SIG_BLOCK;
	take_signals();
	return 0;
}

int model_setcancelstate(int state, int *before);
int model_setcancelstate(int state, int *before)
{
	(void)state;
	if (before != NULL)
		*before = 0;
	return 0;
}

/* ---- settings ---------------------------------------------------------------------------------------------------------- */

static const char *look_up(void *context, const char *name)
{
	static const char *const values[][2] = {
		{"RETRY_BASE_DELAY_MS", "100"}, {"RETRY_MULTIPLIER", "1"}, {"RETRY_JITTER", "none"}, {"RETRY_DIAG", "1"},
		{"RETRY_BUDGET", "off"}, {"RETRY_BREAKER", "off"},
	};
	(void)context;
	for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
		if (strcmp(name, values[i][0]) == 0)
			return values[i][1];
	return NULL;
}

const struct config *settings_config(void)
{
	static struct config config;
	if (config.base_delay_ms == 0)
		config_parse(&config, look_up, NULL, NULL, NULL);
	config.max_attempts = running->attempts;
	return &config;
}

const struct config *settings_for(const struct target *target) { return (void)target, settings_config(); }
bool settings_file_fault(int number, struct settings_fault *fault) { return (void)number, (void)fault, false; }
void settings_complaints(config_complaint *complain, void *context) { (void)complain, (void)context; }
const char *settings_program(void) { return "model"; }
const char *settings_trace_id(void) { return ""; }

uint64_t random_bits(int64_t seed)
{
	(void)seed;
	return 0;
}

uint64_t random_id(void) { return ++world.ids; }

/* ---- what the host knows: in the world, each word by itself, but not a point ------------------------------------------- */

uint64_t state_tag(const struct target *target) { return (uint64_t)target->port << 8 | 1; }

struct destination *state_destination(const struct config *config, const struct target *target, uint64_t tag, bool make,
                                      state_complaint *complain)
{
	(void)config, (void)tag, (void)complain;
	struct destination *it = &world.destination[target->port % SOCKETS];
	if (make)
		atomic_store(&it->place.used, 1);
	return atomic_load(&it->place.used) != 0 ? it : NULL;
}

struct series *state_series(const struct config *config, const struct labels *labels, struct state **state, state_complaint *complain)
{
	(void)config, (void)labels, (void)complain;
	*state = NULL;
	return NULL;
}

void series_add(struct series *series, enum metric metric, enum reason reason, uint64_t value)
{
	(void)series, (void)metric, (void)reason, (void)value;
}

bool state_is_shared(const struct state *state) { return state != NULL; }

/* ---- who is told ---------------------------------------------------------------------------------------------------------- */

void report_start(void) {}
void report_metric(const struct config *config, const struct report_metric *metric) { (void)config, (void)metric; }

void report_event(const struct config *config, const struct report_event *event)
{
	(void)config;
	truth_told(event->event, event->op, event->target->port, event->attempt);
}

void report_unused(const struct config *config, const char *name, const char *value, const char *why, int error,
                   const char *consequence)
{
	(void)config, (void)value, (void)why, (void)error, (void)consequence;
	violation("%s cannot be used", name);
}

void report_unused_line(const struct config *config, const char *path, int line, const char *what, const char *why, int error)
{
	(void)config, (void)line, (void)what, (void)why, (void)error;
	violation("%s cannot be used", path);
}

void report_bad_value(const struct config *config, const char *name, const char *value, const char *used)
{
	(void)config, (void)value, (void)used;
	violation("%s is bad", name);
}
