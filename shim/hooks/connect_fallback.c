/* RETRY_FALLBACK for connect(2): the other address, as the socket needs it. */
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "hooks/connect.h"
#include "retryshim/hooks.h"
#include "retryshim/runtime.h"

static socklen_t set_v4(struct sockaddr_storage *storage, const uint8_t address[16], uint16_t port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
	memcpy(&in.sin_addr, address + 12, sizeof in.sin_addr);
	memcpy(storage, &in, sizeof in);
	return sizeof in;
}

static socklen_t set_v6(struct sockaddr_storage *storage, const uint8_t address[16], uint16_t port)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	memcpy(&in6.sin6_addr, address, sizeof in6.sin6_addr);
	memcpy(storage, &in6, sizeof in6);
	return sizeof in6;
}

/* The first address of its name in the socket's family. */
static bool look_up(struct target *to, const struct op *op)
{
	struct addrinfo *list, hints = {.ai_family = op->family, .ai_socktype = SOCK_STREAM,
	                                .ai_flags = op->family == AF_INET6 && !op->v6_only ? AI_V4MAPPED : 0};
	uintptr_t depth = depth_enter();
	int code = real_getaddrinfo()(to->name, NULL, &hints, &list);
	depth_leave(depth);
	if (code != 0)
		return false;
	struct target found;
	to->has_address = addresses_describe(list->ai_addr, list->ai_addrlen, &found);
	memcpy(to->address, found.address, sizeof to->address);
	freeaddrinfo(list);
	return to->has_address;
}

void connect_set_socket(struct op *op, int socket, sa_family_t family)
{
	op->family = family;
	op->v6_only = op->config->fallback[0] != '\0' && family == AF_INET6 && socket_is_v6_only(socket);
}

bool connect_fallback(struct op *op, struct sockaddr_storage *address, socklen_t *length)
{
	struct target to;
	if (!op_fallback(op, &to) || (!to.has_address && !look_up(&to, op)))
		return false;
	op->fell_back = true;
	*length = op->family == AF_INET ? set_v4(address, to.address, to.port) : set_v6(address, to.address, to.port);
	return true;
}
