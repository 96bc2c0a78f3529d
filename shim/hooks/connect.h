/* What the blocking and the non-blocking connect share. */
#ifndef RETRYSHIM_HOOKS_CONNECT_H
#define RETRYSHIM_HOOKS_CONNECT_H

#include <sys/socket.h>

#include "retryshim/hooks.h"

/* What holds for the destination of a connect that has failed with failure->code, if that is ours to recover; fills the
 * target and the rest of the failure. NULL, too, where the program itself goes on to another address of the same name. */
const struct config *connect_takes(enum family family, int socket, const struct sockaddr *address, socklen_t length,
                                   struct target *target, struct failure *failure);

/* Tells the operation what a fallback's address has to fit. */
void connect_set_socket(struct op *op, int socket, sa_family_t family);

/* The address of the operation's fallback, for its kind of socket; from now on its attempts go there. False if there is
 * none after all. */
bool connect_fallback(struct op *op, struct sockaddr_storage *address, socklen_t *length);

#endif
