/* epoll_ctl(2) by way of an io_uring, as libuv does it: no preload sees that. */
#ifndef HAZARDS_RING_H
#define HAZARDS_RING_H

#include <linux/io_uring.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "host.h"

struct ring {
	int fd;
	struct io_uring_params params;
	struct io_uring_sqe *entries;
	char *queues; /* both, in one mapping (IORING_FEAT_SINGLE_MMAP) */
};

static UNUSED void ring_open(struct ring *ring)
{
	memset(ring, 0, sizeof *ring);
	ring->fd = (int)syscall(SYS_io_uring_setup, 4, &ring->params);
	if (ring->fd < 0 || (ring->params.features & IORING_FEAT_SINGLE_MMAP) == 0)
		broken("io_uring_setup");
	fcntl(ring->fd, F_SETFD, FD_CLOEXEC);
	size_t size = ring->params.cq_off.cqes + ring->params.cq_entries * sizeof(struct io_uring_cqe);
	ring->queues = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, IORING_OFF_SQ_RING);
	ring->entries = mmap(NULL, ring->params.sq_entries * sizeof *ring->entries, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, IORING_OFF_SQES);
	if (ring->queues == MAP_FAILED || ring->entries == MAP_FAILED)
		broken("mmap");
}

static UNUSED _Atomic(uint32_t) *ring_word(const struct ring *ring, uint32_t offset) { return (_Atomic(uint32_t) *)(void *)(ring->queues + offset); }

/* Returns 0 or the errno. */
static UNUSED int ring_epoll_ctl(struct ring *ring, int epoll, int operation, int fd, struct epoll_event *event)
{
	_Atomic(uint32_t) *tail = ring_word(ring, ring->params.sq_off.tail), *head = ring_word(ring, ring->params.cq_off.head);
	uint32_t at = atomic_load(tail) & (ring->params.sq_entries - 1);
	ring->entries[at] = (struct io_uring_sqe){.opcode = IORING_OP_EPOLL_CTL, .fd = epoll, .off = (uint32_t)fd,
	                                          .addr = (uint64_t)(uintptr_t)event, .len = (uint32_t)operation};
	atomic_store(ring_word(ring, ring->params.sq_off.array + at * 4), at);
	atomic_fetch_add(tail, 1);
	if (syscall(SYS_io_uring_enter, ring->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
		broken("io_uring_enter");
	struct io_uring_cqe *done = (struct io_uring_cqe *)(void *)(ring->queues + ring->params.cq_off.cqes);
	int result = done[atomic_load(head) & (ring->params.cq_entries - 1)].res;
	atomic_fetch_add(head, 1);
	return -result;
}

#endif
