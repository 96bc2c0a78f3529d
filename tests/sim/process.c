/* One operation a process, conducted as shim/hooks/engine.c does: the same calls in the same order. */
#include <linux/futex.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sim.h"

/* From a wake to the woken process' running. */
#define WAKE_NS INT64_C(50000)

const char *const strategy_names[STRATEGIES] = {"retryshim", "retryshim, `RETRY_STATE=off`", "`curl --retry`"};

/* ---- the world ------------------------------------------------------------------------------------- */

static const char *look_up(void *context, const char *name)
{
	size_t length = strlen(name);
	for (const char *const *item = context; *item != NULL; item++)
		if (strncmp(*item, name, length) == 0 && (*item)[length] == '=')
			return *item + length + 1;
	return NULL;
}

void world_config(struct config *config, const char *const *environment)
{
	config_parse(config, look_up, (void *)(uintptr_t)environment, NULL, NULL);
}

static struct world *running;

void world_begin(struct world *world, enum strategy strategy, const struct config *config, size_t count, uint64_t seed)
{
	*world = (struct world){.strategy = strategy, .config = config, .count = count, .seed = seed};
	world->processes = calloc(count, sizeof *world->processes);
	world->destinations = calloc(strategy == PRIVATE ? count : 1, sizeof *world->destinations);
	if (world->processes == NULL || world->destinations == NULL)
		abort();
	for (size_t i = 0; i < count; i++)
		world->processes[i].destination = &world->destinations[strategy == PRIVATE ? i : 0];
}

void world_run(struct world *world, int64_t end_ns)
{
	struct arrival arrival;
	running = world;
	while (world->queue.count > 0 && world->queue.arrivals[0].at_ns < end_ns && queue_take(&world->queue, &arrival)) {
		struct process *process = &world->processes[arrival.who];
		if (arrival.ticket != process->ticket)
			continue;
		world->now_ns = arrival.at_ns;
		process->next(world, process);
	}
	running = NULL;
}

void world_free(struct world *world)
{
	free(world->processes);
	free(world->destinations);
	queue_free(&world->queue);
}

void process_after(struct world *world, struct process *process, int64_t delay_ns, step *next)
{
	process->asleep = false;
	process->next = next;
	queue_put(&world->queue, world->now_ns + (delay_ns > 0 ? delay_ns : 0), (size_t)(process - world->processes), ++process->ticket);
}

/* ---- backing off ------------------------------------------------------------------------------------- */

static void look(struct world *world, struct process *process);

/* The kernel's part, in libc's place: shim/runtime/share.c wakes who sleeps on a destination's news. */
long syscall(long number, ...)
{
	va_list arguments;
	va_start(arguments, number);
	const _Atomic(uint32_t) *news = va_arg(arguments, const _Atomic(uint32_t) *);
	int operation = va_arg(arguments, int);
	va_end(arguments);
	if (number != SYS_futex || operation != FUTEX_WAKE)
		abort();
	for (size_t i = 0; running != NULL && i < running->count; i++) {
		struct process *process = &running->processes[i];
		if (process->asleep && share_news(&process->share, process->destination) == news)
			process_after(running, process, WAKE_NS, look);
	}
	return 0;
}

static void go(struct world *world, struct process *process)
{
	process->sent++;
	world->attempt(world, process);
}

static void end(struct world *world, struct process *process, bool succeeded)
{
	process->end_ns = world->now_ns;
	process->succeeded = succeeded;
}

/* As judge(); false: the operation is over. */
static bool judge(struct world *world, struct process *process, bool broke)
{
	const struct config *config = world->config;
	struct progress *progress = &process->progress;
	struct class class = classify(config, &process->failure);
	struct standing standing = {0};
	share_standing(&process->share, process->destination, config, &class, world->now_ns, &standing);
	standing.no_token = standing.no_token || broke;
	struct verdict verdict = decide(config, progress, &process->failure, &standing, world->now_ns, process->random);
	if (verdict.event == EVENT_ATTEMPT_FAILED &&
	    !share_back_off(&process->share, process->destination, config, &verdict, progress->deadline_ns, process->id,
	                    chance_bits(&world->seed), world->now_ns)) {
		standing.no_token = true;
		verdict = decide(config, progress, &process->failure, &standing, world->now_ns, process->random);
	}
	process->verdict = verdict;
	if (verdict.action == ACTION_DELIVER) {
		share_ended(&process->share, process->destination, config, &process->failure, &verdict, world->now_ns);
		end(world, process, false);
		return false;
	}
	progress->previous_delay_ns = verdict.delay_ns;
	process->random = chance_bits(&world->seed);
	progress->capped_retries += verdict.class.attempt_cap != 0;
	return true;
}

/* As op_sleep(). */
static void rest(struct world *world, struct process *process)
{
	bool deaf = !process->share.evident;
	bool news = !deaf && atomic_load(share_news(&process->share, process->destination)) != process->share.seen;
	process_after(world, process, news ? 0 : process->again_ns - world->now_ns, look);
	process->asleep = !deaf && !news;
}

/* As op_due(): true, and *again_ns, if it has to wait. */
static bool waits(struct world *world, struct process *process, int64_t *again_ns)
{
	const struct config *config = world->config;
	struct destination *it = process->destination;
	struct view view = share_look(&process->share, it, config, world->now_ns);
	if (view.course == COURSE_WAIT) {
		*again_ns = view.until_us * 1000 + 999;
		return true;
	}
	if (view.course == COURSE_GO) {
		share_sent(&process->share, it);
		process->progress.attempt++;
		go(world, process);
		return false;
	}
	if (view.course == COURSE_COUNTS) {
		share_counts(&process->share, it, config, view.until_us, world->now_ns);
		process->progress.attempt++;
	}
	*again_ns = process->verdict.at_ns;
	if (!judge(world, process, view.course == COURSE_BROKE))
		return false;
	*again_ns = process->verdict.at_ns;
	return true;
}

/* As op_wait()'s loop, which rests for a while before it sleeps if news have changed nothing. */
static void look(struct world *world, struct process *process)
{
	const int64_t rest_ns = 5 * NS_PER_MS;
	int64_t again_ns;
	if (!waits(world, process, &again_ns))
		return;
	bool nothing_new = again_ns == process->again_ns && again_ns > world->now_ns + rest_ns;
	process->again_ns = again_ns;
	if (nothing_new)
		process_after(world, process, rest_ns, rest);
	else
		rest(world, process);
}

/* ---- attempts ---------------------------------------------------------------------------------------- */

static void first_attempt(struct world *world, struct process *process)
{
	process->start_ns = world->now_ns;
	process->progress = (struct progress){.attempt = 1, .deadline_ns = deadline_of(world->config, world->now_ns, 0)};
	process->id = chance_bits(&world->seed);
	process->random = chance_bits(&world->seed);
	go(world, process);
}

void process_start(struct world *world, struct process *process, int64_t at_ns)
{
	process_after(world, process, at_ns - world->now_ns, first_attempt);
}

static void retry_as_curl(struct world *world, struct process *process)
{
	const int64_t most_ns = 600 * NS_PER_S;
	int64_t previous_ns = process->progress.previous_delay_ns;
	int64_t delay_ns = previous_ns == 0 ? NS_PER_S : 2 * previous_ns < most_ns ? 2 * previous_ns : most_ns;
	process->progress.previous_delay_ns = delay_ns;
	if (process->progress.attempt++ < world->config->max_attempts)
		process_after(world, process, delay_ns, go);
	else
		end(world, process, false);
}

/* As op_failed(), and then op_wait(). */
void process_failed(struct world *world, struct process *process, const struct failure *failure)
{
	if (world->strategy == CURL_RETRY) {
		retry_as_curl(world, process);
		return;
	}
	struct class class = classify(world->config, failure);
	process->failure = *failure;
	if (!process->has_failed)
		share_begin(&process->share, process->destination, world->config, world->now_ns);
	process->has_failed = true;
	share_failed(&process->share, process->destination, world->config, failure, &class, world->now_ns);
	process->again_ns = 0;
	if (judge(world, process, false))
		look(world, process);
}

/* As op_succeeded(); a first attempt's success is not told in a process where nothing has failed. */
void process_succeeded(struct world *world, struct process *process)
{
	if (world->strategy != CURL_RETRY && process->progress.attempt > 1)
		share_succeeded(&process->share, process->destination, world->config, world->now_ns);
	end(world, process, true);
}
