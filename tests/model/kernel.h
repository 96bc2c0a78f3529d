/* Private to the kernel: its calls, as libc has them. stand_ins.c puts them where the shipped code finds them. */
#ifndef MODEL_KERNEL_H
#define MODEL_KERNEL_H

#include <poll.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <time.h>

#include "model.h"

int kernel_connect(int fd, const struct sockaddr *address, socklen_t length);
int kernel_getsockopt(int fd, int level, int name, void *value, socklen_t *length);
int kernel_getpeername(int fd, struct sockaddr *address, socklen_t *length);
int kernel_getsockname(int fd, struct sockaddr *address, socklen_t *length);
int kernel_fcntl(int fd, int command, ...);
int kernel_fstat(int fd, struct stat *status);
ssize_t kernel_send(int fd, const void *data, size_t size, int flags);
ssize_t kernel_recv(int fd, void *data, size_t size, int flags);
ssize_t kernel_recvmsg(int fd, struct msghdr *message, int flags);

int kernel_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int kernel_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask);
int kernel_select(int count, fd_set *reading, fd_set *writing, fd_set *exceptions, struct timeval *timeout);
int kernel_pselect(int count, fd_set *reading, fd_set *writing, fd_set *exceptions, const struct timespec *timeout,
                   const sigset_t *mask);

int kernel_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
int kernel_epoll_wait(int epoll, struct epoll_event *events, int most, int timeout_ms);
int kernel_epoll_pwait(int epoll, struct epoll_event *events, int most, int timeout_ms, const sigset_t *mask);

static inline uint64_t inode_of(int sock) { return 1000 + (uint64_t)sock; }

#endif
