/* One datagram, from a socket that lives as long as that takes. By the kernel's own calls: other preloads (torsocks,
 * socket_wrapper) lead the program's sockets elsewhere, and count them. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "report/metrics.h"

static socklen_t socket_address(const struct target *to, struct sockaddr_storage *address)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
	memset(address, 0, sizeof *address);
	if (address_is_v4(to->address)) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(to->port);
		memcpy(&v4->sin_addr, to->address + 12, sizeof v4->sin_addr);
		return sizeof *v4;
	}
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(to->port);
	memcpy(&v6->sin6_addr, to->address, sizeof v6->sin6_addr);
	return sizeof *v6;
}

/* Over loopback the answer that nobody listens is there before the send returns (__udp4_lib_err in net/ipv4/udp.c). */
static int pending_error(int file)
{
	int error = 0;
	socklen_t size = sizeof error;
	return syscall(SYS_getsockopt, file, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : 0;
}

static int send_from(int file, const struct sockaddr_storage *address, socklen_t size, const char *bytes, size_t length)
{
	if (syscall(SYS_connect, file, address, size) != 0)
		return errno;
	if (syscall(SYS_sendto, file, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0) < 0)
		return errno != EAGAIN ? errno : 0; /* a full queue: lost, as on any way there */
	return pending_error(file);
}

int datagram_send(const struct target *to, const char *bytes, size_t length)
{
	struct sockaddr_storage address;
	socklen_t size = socket_address(to, &address);
	int file = (int)syscall(SYS_socket, address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (file < 0)
		return errno;
	int error = send_from(file, &address, size, bytes, length);
	syscall(SYS_close, file);
	return error;
}
