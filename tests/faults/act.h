/* Carrying out steps: the life of one connection. */
#ifndef FAULTS_ACT_H
#define FAULTS_ACT_H

#include "script.h"

#include <stdint.h>

/* Serves an accepted socket in a thread of its own and closes it at the end. Takes `fd` over in
 * every case: without memory or threads, it is closed at once. `script` outlives the process's
 * threads. */
void act_on_connection(int fd, uint64_t number, struct script *script);

#endif
