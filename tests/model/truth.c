/* What must hold. */
#include <string.h>

#include "model.h"

#include "hooks/pending.h"

/* ---- attempts ------------------------------------------------------------------------------------------- */

void truth_attempt(struct sock *sock, uint16_t port)
{
	int number = number_of_sock(sock);
	if (sock->port == 0)
		violation("socket %d: the program has not connected it", number);
	if (sock->port != port)
		violation("socket %d: an attempt at port %d, not at its own %d", number, port, sock->port);
	if (sock->attempts >= sock->allowed)
		violation("socket %d: one attempt too many", number);
	if ((sock->told != 0 || sock->exposed) && !sock->strayed)
		violation("socket %d: an attempt after the program was shown the outcome", number);
}

void truth_told(enum event event, uint64_t op, int port, int attempt)
{
	bool made = false;
	if (op >= OPS_MOST)
		violation("the model has too little room");
	for (int i = 0; i < SOCKETS; i++)
		made = made || (world.sock[i].port == port && world.sock[i].made);
	if ((world.ended & UINT64_C(1) << op) != 0)
		violation("operation %d: %s is told after its end", (int)op, event_name(event));
	if (event == EVENT_SUCCEEDED && !made)
		violation("operation %d: success is told of what was not made", (int)op);
	if (attempt > running->attempts)
		violation("operation %d: attempt %d is told", (int)op, attempt);
	if (event != EVENT_ATTEMPT_FAILED)
		world.ended |= UINT64_C(1) << op;
}

/* ---- time -------------------------------------------------------------------------------------------------- */

static bool waits_for(const struct thread *thread, int sock)
{
	if (thread->waits_sock == sock)
		return true;
	for (int i = 0; i < ITEMS; i++)
		if (world.item[i].used && world.item[i].epoll == thread->waits_epoll && world.item[i].sock == sock && !world.item[i].fired)
			return true;
	return false;
}

static bool somebody_waits_for(int sock)
{
	for (int i = 0; i < THREADS_MOST; i++)
		if (world.thread[i].state == ASLEEP && waits_for(&world.thread[i], sock))
			return true;
	return false;
}

void truth_time(int64_t next_ns)
{
	/* epoll_wait counts milliseconds, and is rounded up. */
	for (uint32_t i = 0; i < pending_used && i < ENTRIES; i++) {
		uint64_t cookie = pending_cookies[i];
		if (cookie == 0 || pending_state(&pending_table[i]) != PENDING_QUIET || pending_dues[i] == 0)
			continue;
		if (pending_dues[i] < next_ns - NS_PER_MS && somebody_waits_for((int)cookie - 1))
			violation("socket %d: its attempt is due at %lld, somebody waits for it, and nobody wakes before %lld", (int)cookie - 1,
			          (long long)pending_dues[i], (long long)next_ns);
	}
}

/* ---- the end ------------------------------------------------------------------------------------------------- */

static bool is_quiet(int sock)
{
	for (uint32_t i = 0; i < pending_used && i < ENTRIES; i++)
		if (pending_cookies[i] == (uint64_t)sock + 1 && pending_state(&pending_table[i]) == PENDING_QUIET)
			return true;
	return false;
}

static void check_item(const struct item *it)
{
	if (it->given == 0 || it->fired || is_quiet(it->sock))
		return;
	if ((it->events & ~(uint32_t)(EPOLLERR | EPOLLHUP)) != (it->given & ~(uint32_t)(EPOLLERR | EPOLLHUP)))
		violation("descriptor %d is registered for %x, the program has asked for %x", it->fd, it->events, it->given);
}

static bool took_for_success(const struct sock *sock)
{
	return sock->doubted && !sock->strayed && sock->port != 0 && sock->told == 0 && !sock->made;
}

void truth_end(void)
{
	for (int slot = LOW_FDS; slot < FDS; slot++)
		if (world.fd[slot] != 0)
			violation("descriptor %d is left", slot - LOW_FDS + HIGH_FD);
	for (int i = 0; i < SOCKETS; i++)
		if (took_for_success(&world.sock[i]))
			violation("socket %d: its failure is taken for success, and nobody is told", i);
	for (int i = 0; i < ITEMS; i++)
		if (world.item[i].used)
			check_item(&world.item[i]);
	for (int i = 0; i < THREADS_MOST; i++)
		if (world.thread[i].blocked || (world.thread[i].state == ENDED && world.thread[i].held))
			violation("thread %d ends under a hold", i);
}
