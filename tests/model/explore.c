/* Every order. Threads are coroutines on stacks of their own; a state is those stacks, their registers, the world and the
 * blocks of the shipped code's memory. Depth first: where there is a choice the state is saved, and restored for the next.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "model.h"

#include "hooks/pending.h"

struct world world;
struct thread *self;
const struct scenario *running;

/* ---- coroutines ---------------------------------------------------------------------------------------- */

enum { STACK_BYTES = 64 * 1024, DIRTY_BYTES = 12 * 1024 };

static char stacks[THREADS_MOST][STACK_BYTES] __attribute__((aligned(64)));
static jmp_buf explorer;
static ucontext_t birth, parent;

static inline char *stack_pointer(void)
{
	char *low;
#if defined(__x86_64__)
	__asm__ volatile("mov %%rsp, %0" : "=r"(low));
#elif defined(__aarch64__)
	__asm__ volatile("mov %0, sp" : "=r"(low));
#else
	low = (char *)__builtin_frame_address(0) - 1024;
#endif
	return low;
}

/* Back to the explorer; returns when the thread goes on. */
static __attribute__((noinline)) void leave(void)
{
	struct thread *own = self;
	own->saved_errno = errno;
	own->held = thread_held;
	own->depth_frame = depth_frame;
	own->low = stack_pointer();
	if (_setjmp(own->context) == 0)
		_longjmp(explorer, 1);
	errno = self->saved_errno;
	thread_held = self->held;
	depth_frame = self->depth_frame;
}

static void live(void)
{
	leave();
	running->threads[thread_number()]();
	self->state = ENDED;
	self->at = "its end";
	leave();
}

/* What calls left below a stack's end would make states differ that are alike. */
static void wipe(const struct thread *thread)
{
	char *bottom = stacks[thread - world.thread], *low = thread->low;
	size_t size = (size_t)(low - bottom) < DIRTY_BYTES ? (size_t)(low - bottom) : DIRTY_BYTES;
	memset(low - size, 0, size);
}

static void resume(int number)
{
	self = &world.thread[number];
	if (_setjmp(explorer) == 0)
		_longjmp(self->context, 1);
	wipe(self);
	self = NULL;
}

static void give_birth(int number)
{
	struct thread *thread = &world.thread[number];
	*thread = (struct thread){.state = READY, .waits_sock = -1, .waits_epoll = -1, .epoll = -1};
	memset(stacks[number], 0, STACK_BYTES);
	getcontext(&birth);
	birth.uc_stack.ss_sp = stacks[number];
	birth.uc_stack.ss_size = STACK_BYTES;
	makecontext(&birth, live, 0);
	self = thread;
	thread_held = false;
	depth_frame = 0;
	if (_setjmp(explorer) == 0)
		swapcontext(&parent, &birth);
	wipe(thread);
	self = NULL;
	thread->at = "its start";
}

/* ---- how it came to a state ------------------------------------------------------------------------------ */

enum what { GOES_ON, COMES_TO, TIME_PASSES, GETS_SIGNAL };

/* One choice: what happens, and which thread goes on. */
struct choice {
	uint8_t what, thread; /* thread: who goes on; THREADS_MOST = nobody yet */
	uint8_t sock, outcome;
	uint8_t cost;
};

struct step {
	struct choice choice;
	const char *at;
	int number;
};

enum { STEPS_MOST = 1 << 16, CHOICES_MOST = 32 };
static struct step trace[STEPS_MOST];
static size_t trace_length;

static void show_place(const char *at, int number)
{
	char name[64];
	snprintf(name, sizeof name, "%d", number);
	if (memory_is_access(at))
		memory_name(number, name, sizeof name);
	fprintf(stderr, "%s %s", at, name);
}

static void show_trace(void)
{
	static const char *const outcomes[] = {"is refused", "is made", "is made and reset"};
	int last = -1;
	for (size_t i = 0; i < trace_length; i++) {
		const struct step *step = &trace[i];
		const struct choice *choice = &step->choice;
		switch ((enum what)choice->what) {
		case COMES_TO: fprintf(stderr, "\n    socket %d's attempt %s", choice->sock, outcomes[choice->outcome]); break;
		case TIME_PASSES: fprintf(stderr, "\n    time passes"); break;
		case GETS_SIGNAL: fprintf(stderr, "\n    a signal to thread %d", choice->thread); break;
		default: break;
		}
		last = choice->what == GOES_ON ? last : -1;
		if (choice->thread >= THREADS_MOST)
			continue;
		fprintf(stderr, choice->thread == last ? "; " : "\n  thread %d: ", choice->thread);
		show_place(step->at, step->number);
		last = choice->thread;
	}
	if (self != NULL)
		fprintf(stderr, "\n(in thread %d)", thread_number());
}

void violation(const char *format, ...)
{
	va_list arguments;
	fflush(stdout);
	fprintf(stderr, "[%s] ", running != NULL ? running->name : "");
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputs("\nHow it came to that:", stderr);
	show_trace();
	fputc('\n', stderr);
	exit(1);
}

/* ---- states that were met ---------------------------------------------------------------------------------- */

static struct visited {
	uint64_t hash;
	uint8_t budget; /* the largest with which what follows was explored, + 1; 0 = not met */
} *visited;
static size_t visited_size, visited_count;

static bool is_new(uint64_t hash, int budget)
{
	if (visited_count * 2 >= visited_size) {
		size_t size = visited_size != 0 ? visited_size * 2 : 1 << 16;
		struct visited *table = calloc(size, sizeof *table);
		if (table == NULL)
			violation("no memory");
		for (size_t i = 0; i < visited_size; i++) {
			size_t at = visited[i].hash & (size - 1);
			if (visited[i].budget == 0)
				continue;
			while (table[at].budget != 0)
				at = (at + 1) & (size - 1);
			table[at] = visited[i];
		}
		free(visited);
		visited = table;
		visited_size = size;
	}
	size_t at = hash & (visited_size - 1);
	while (visited[at].budget != 0 && visited[at].hash != hash)
		at = (at + 1) & (visited_size - 1);
	visited_count += visited[at].budget == 0;
	if (visited[at].budget > budget)
		return false;
	visited[at] = (struct visited){hash, (uint8_t)(budget + 1)};
	return true;
}

static uint64_t mix(uint64_t hash, const void *bytes, size_t size)
{
	const uint64_t prime = UINT64_C(0x9e3779b97f4a7c15);
	const char *from = bytes;
	uint64_t lanes[4] = {hash, hash ^ 1, hash ^ 2, hash ^ 3}, words[4];
	for (; size >= sizeof words; size -= sizeof words, from += sizeof words) {
		memcpy(words, from, sizeof words);
		for (int i = 0; i < 4; i++) {
			lanes[i] = (lanes[i] ^ words[i]) * prime;
			lanes[i] ^= lanes[i] >> 29;
		}
	}
	memset(words, 0, sizeof words);
	memcpy(words, from, size);
	for (int i = 0; i < 4; i++) {
		hash = (hash ^ lanes[i] ^ words[i]) * prime;
		hash ^= hash >> 32;
	}
	return hash;
}

static size_t stack_used(int number) { return (size_t)(stacks[number] + STACK_BYTES - world.thread[number].low); }

static bool has_stack(int number) { return world.thread[number].state != UNBORN && world.thread[number].state != ENDED; }

static uint64_t hash_state(int current)
{
	uint64_t hash = mix((uint64_t)current, &world, sizeof world);
	for (int i = 0; i < THREADS_MOST; i++)
		if (has_stack(i))
			hash = mix(hash, world.thread[i].low, stack_used(i));
	for (size_t i = 0; i < memory_block_count; i++) {
		static const char nothing[BLOCK_BYTES];
		/* By its place, and not at all while it is as at the start: which blocks are known must not make a difference. */
		if (memcmp(memory_blocks[i], nothing, BLOCK_BYTES) != 0)
			hash ^= mix((uint64_t)(uintptr_t)memory_blocks[i], memory_blocks[i], BLOCK_BYTES);
	}
	return hash;
}

/* ---- saved states --------------------------------------------------------------------------------------------- */

struct branch {
	size_t at, blocks, trace_length; /* where in `saved`; how many blocks there were */
	int current, budget;
	int count, next;
	struct choice choices[CHOICES_MOST];
};

enum { BRANCHES_MOST = 1 << 14 };
static struct branch branches[BRANCHES_MOST];
static size_t branch_count;
static char *saved;
static size_t saved_size, saved_used;

static void put(const void *bytes, size_t size)
{
	if (saved_used + size > saved_size) {
		saved_size = saved_size != 0 ? saved_size * 2 : 1 << 22;
		saved = realloc(saved, saved_size);
		if (saved == NULL)
			violation("no memory");
	}
	memcpy(saved + saved_used, bytes, size);
	saved_used += size;
}

static void save(struct branch *branch)
{
	branch->at = saved_used;
	branch->blocks = memory_block_count;
	put(&world, sizeof world);
	for (int i = 0; i < THREADS_MOST; i++)
		if (has_stack(i))
			put(world.thread[i].low, stack_used(i));
	for (size_t i = 0; i < memory_block_count; i++)
		put(memory_blocks[i], BLOCK_BYTES);
}

static void get(size_t *at, void *bytes, size_t size)
{
	memcpy(bytes, saved + *at, size);
	*at += size;
}

static void restore(const struct branch *branch)
{
	size_t at = branch->at;
	get(&at, &world, sizeof world);
	for (int i = 0; i < THREADS_MOST; i++) {
		if (!has_stack(i))
			continue;
		get(&at, world.thread[i].low, stack_used(i));
		wipe(&world.thread[i]);
	}
	for (size_t i = 0; i < branch->blocks; i++)
		get(&at, memory_blocks[i], BLOCK_BYTES);
	memory_pristine(branch->blocks);
	trace_length = branch->trace_length;
}

/* ---- choices ----------------------------------------------------------------------------------------------------- */

static bool can_go_on(const struct thread *thread)
{
	switch ((enum thread_state)thread->state) {
	case READY: return true;
	case ASLEEP: return can_wake(thread);
	case SPINNING: return *thread->word != thread->word_was;
	default: return false;
	}
}

struct menu {
	int count, budget;
	struct choice *choices;
};

static void offer(struct menu *menu, struct choice choice)
{
	if (choice.cost > menu->budget)
		return;
	if (menu->count == CHOICES_MOST)
		violation("the model has too little room");
	menu->choices[menu->count++] = choice;
}

/* What a socket's attempt may come to now; then `thread` goes on. */
static void offer_outcomes(struct menu *menu, int sock, int thread, int cost)
{
	if (world.sock[sock].tcp != TCP_IS_TRYING)
		return;
	for (int outcome = 0; outcome < OUTCOMES; outcome++)
		if ((running->outcomes & 1 << outcome) != 0)
			offer(menu, (struct choice){.what = COMES_TO, .thread = (uint8_t)thread, .sock = (uint8_t)sock,
			                            .outcome = (uint8_t)outcome, .cost = (uint8_t)cost});
}

static bool sleeps_for(const struct thread *thread, int sock)
{
	if (thread->state != ASLEEP)
		return false;
	if (thread->epoll >= 0) {
		for (int i = 0; i < ITEMS; i++)
			if (world.item[i].used && world.item[i].epoll == thread->epoll && world.item[i].sock == sock)
				return true;
		return false;
	}
	for (int i = 0; i < thread->polled; i++)
		if (thread->polled_sock[i] == sock)
			return true;
	return false;
}

/* The next instant at which something is to happen; INT64_MAX = none. */
static int64_t next_instant(void)
{
	int64_t next = INT64_MAX;
	for (int i = 0; i < THREADS_MOST; i++)
		if (world.thread[i].state == ASLEEP && world.thread[i].until_ns > world.now_ns && world.thread[i].until_ns < next)
			next = world.thread[i].until_ns;
	return next;
}

/* With what is due before anybody wakes: where time passes while threads could go on. */
static int64_t next_hurried_instant(void)
{
	int64_t next = next_instant();
	for (uint32_t i = 0; i < ENTRIES; i++) {
		int64_t due_ns = pending_dues[i];
		if (due_ns > world.now_ns && due_ns < next)
			next = due_ns;
	}
	return next;
}

static void offer_from(struct menu *menu, int current)
{
	const struct thread *thread = &world.thread[current];
	offer(menu, (struct choice){.what = GOES_ON, .thread = (uint8_t)current});
	for (int sock = 0; sock < SOCKETS; sock++)
		if ((thread->at_socks & 1 << sock) != 0)
			offer_outcomes(menu, sock, current, 0);
	for (int i = 0; i < THREADS_MOST; i++) {
		if (i == current)
			continue;
		if (can_go_on(&world.thread[i]))
			offer(menu, (struct choice){.what = GOES_ON, .thread = (uint8_t)i, .cost = 1});
		for (int sock = 0; sock < SOCKETS && !can_go_on(&world.thread[i]); sock++)
			if (sleeps_for(&world.thread[i], sock))
				offer_outcomes(menu, sock, i, 1);
	}
	if (running->hurried && thread->at_clock && next_hurried_instant() != INT64_MAX)
		offer(menu, (struct choice){.what = TIME_PASSES, .thread = (uint8_t)current, .cost = 1});
	if (current == 0 && world.signals_left > 0)
		offer(menu, (struct choice){.what = GETS_SIGNAL, .thread = 0, .cost = 1});
}

static void offer_when_stuck(struct menu *menu)
{
	int awake = 0;
	for (int i = 0; i < THREADS_MOST; i++)
		if (can_go_on(&world.thread[i])) {
			offer(menu, (struct choice){.what = GOES_ON, .thread = (uint8_t)i});
			awake++;
		}
	if (awake > 0)
		return;
	for (int sock = 0; sock < SOCKETS; sock++)
		offer_outcomes(menu, sock, THREADS_MOST, 0);
	if (next_instant() != INT64_MAX)
		offer(menu, (struct choice){.what = TIME_PASSES, .thread = THREADS_MOST});
	if (world.signals_left > 0 && takes_signals(&world.thread[0]) && world.thread[0].state == ASLEEP)
		offer(menu, (struct choice){.what = GETS_SIGNAL, .thread = THREADS_MOST});
}

static void take(const struct choice *choice, int *current)
{
	if (trace_length == STEPS_MOST)
		violation("an execution has no end");
	const struct thread *thread = choice->thread < THREADS_MOST ? &world.thread[choice->thread] : NULL;
	trace[trace_length++] = (struct step){*choice, thread != NULL ? thread->at : "", thread != NULL ? thread->at_number : 0};
	switch ((enum what)choice->what) {
	case COMES_TO: sock_resolve(&world.sock[choice->sock], choice->outcome); break;
	case GETS_SIGNAL:
		world.signals_left--;
		world.thread[0].pending = true;
		break;
	case TIME_PASSES:
		if (thread == NULL) {
			truth_time(next_instant());
			world.now_ns = next_instant();
		} else {
			world.now_ns = next_hurried_instant();
		}
		break;
	default: break;
	}
	if (thread != NULL && can_go_on(thread))
		*current = choice->thread;
	if (choice->what == GOES_ON)
		resume(*current);
}

/* ---- exploring ------------------------------------------------------------------------------------------------------ */

static size_t ends_met, transitions;

static void begin(void)
{
	memset(&world, 0, sizeof world);
	memory_pristine(0);
	memset(stacks, 0, sizeof stacks);
	trace_length = 0;
	branch_count = saved_used = visited_count = 0;
	ends_met = transitions = 0;
	if (visited != NULL)
		memset(visited, 0, visited_size * sizeof *visited);
	world.now_ns = NS_PER_S;
	world.signals_left = running->handler != NULL;
	clock_start();
	if (running->before != NULL) {
		self = &world.thread[0];
		*self = (struct thread){.waits_sock = -1, .waits_epoll = -1, .epoll = -1};
		thread_held = false;
		running->before();
		self = NULL;
	}
	for (int i = 0; i < THREADS_MOST; i++)
		if (running->threads[i] != NULL)
			give_birth(i);
	model_single_threaded = running->threads[1] == NULL;
	memory_is_tracked = true;
}

static void check_end(void)
{
	for (int i = 0; i < THREADS_MOST; i++)
		if (world.thread[i].state != UNBORN && world.thread[i].state != ENDED)
			violation("thread %d never goes on: it waits in %s %d", i, world.thread[i].at, world.thread[i].at_number);
	ends_met++;
	memory_check_end();
	truth_end();
}

static bool go_back(int *current, int *budget, struct choice *choice)
{
	if (branch_count == 0)
		return false;
	struct branch *branch = &branches[branch_count - 1];
	restore(branch);
	*choice = branch->choices[branch->next++];
	*current = branch->current;
	*budget = branch->budget;
	if (branch->next == branch->count) {
		saved_used = branch->at;
		branch_count--;
	}
	return true;
}

static void keep(int current, int budget, const struct menu *menu)
{
	if (branch_count == BRANCHES_MOST)
		violation("the model has too little room");
	struct branch *branch = &branches[branch_count++];
	branch->current = current;
	branch->budget = budget;
	branch->trace_length = trace_length;
	branch->count = menu->count;
	branch->next = 1;
	memcpy(branch->choices, menu->choices, (size_t)menu->count * sizeof *menu->choices);
	save(branch);
}

/* True if what it learned on the way asks for another round at once. */
static bool explore_once(int preemptions)
{
	enum { EARLY = 2000 };
	int current = -1, budget = preemptions; /* who begins is free */
	begin();
	for (;;) {
		struct choice choices[CHOICES_MOST], choice;
		struct menu menu = {.budget = budget, .choices = choices};
		if (memory_learned && transitions < EARLY)
			return true;
		bool goes = current >= 0 && can_go_on(&world.thread[current]);
		bool known = !is_new(hash_state(goes ? current : THREADS_MOST), budget);
		if (!known && goes)
			offer_from(&menu, current);
		else if (!known)
			offer_when_stuck(&menu);
		if (!known && menu.count == 0)
			check_end();
		if (menu.count == 0) {
			if (!go_back(&current, &budget, &choice))
				return memory_learned;
		} else {
			if (menu.count > 1)
				keep(current, budget, &menu);
			choice = choices[0];
		}
		budget -= choice.cost;
		transitions++;
		take(&choice, &current);
	}
}

void explore(const struct scenario *scenario, int preemptions)
{
	running = scenario;
	memory_forget();
	do
		memory_learned = memory_is_tracked = false;
	while (explore_once(preemptions));
	printf("%-58s %d preemptions: %7zu states, %8zu steps, %6zu ends\n", scenario->name, preemptions, visited_count, transitions, ends_met);
	fflush(stdout);
}

/* ---- for threads ------------------------------------------------------------------------------------------------------ */

static void arrive(const char *what, int number)
{
	self->at = what;
	self->at_number = number;
}

void point(const char *what, int number)
{
	if (!memory_is_tracked)
		return;
	arrive(what, number);
	leave();
	take_signals();
}

void rest(enum thread_state state, const char *what, int number)
{
	if (!memory_is_tracked)
		violation("a wait before the threads begin");
	arrive(what, number);
	self->state = (uint8_t)state;
	leave();
	self->state = READY;
}
