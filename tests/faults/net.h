/* Sockets and time. Durations are nanoseconds, and -1 waits for ever where that is said. */
#ifndef FAULTS_NET_H
#define FAULTS_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S  INT64_C(1000000000)

/* How long an orderly end waits for the client's own close. */
#define CLOSE_GRACE_NS NS_PER_S

int64_t net_now_ns(void); /* CLOCK_MONOTONIC */
void net_pause(int64_t ns);

/* True if `address` is a numeric IPv4 or IPv6 address. */
bool net_is_address(const char *address);

/* A bound stream socket, non-blocking for accept's sake, not listening; -1 with errno. The caller
 * closes it. net_bind_tcp() writes the port that it has to *port, where 0 asks for any. */
int net_bind_tcp(const char *address, uint16_t *port);
int net_bind_unix(const char *path);

/* A socket connected to the first address of `host` that accepts; -1, with *error (static) naming
 * the cause. The caller closes it. */
int net_connect(const char *host, const char *port, const char **error);

/* poll() for one descriptor: true if an event came before `wait_ns` (-1 = for ever) was over. */
bool net_wait(int fd, short events, int64_t wait_ns);

/* Sends everything; false once the client is gone. */
bool net_send(int fd, const void *data, size_t length);

/* Reads and forgets until the client closes, or wait_ns (-1 = for ever) is over. */
void net_wait_for_close(int fd, int64_t wait_ns);

/* Both end with close(fd). The orderly one gives the client CLOSE_GRACE_NS to close first: data
 * that nobody read would turn the close into a reset. The reset lets data on its way arrive first. */
void net_close(int fd);
void net_reset(int fd);

#endif
