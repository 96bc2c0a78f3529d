/* One datagram, from a socket that lives as long as that takes. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
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

int datagram_send(const struct target *to, const char *bytes, size_t length)
{
	struct sockaddr_storage address;
	socklen_t size = socket_address(to, &address);
	int file = socket(address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (file < 0)
		return errno;
	ssize_t sent = sendto(file, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)&address, size);
	int error = sent >= 0 || errno == EAGAIN ? 0 : errno; /* a full queue: lost, as on any way there */
	close(file);
	return error;
}
