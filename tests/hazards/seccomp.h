/* Filters of system calls, as sandboxes install them. */
#ifndef HAZARDS_SECCOMP_H
#define HAZARDS_SECCOMP_H

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "host.h"

enum { FILTERED_MOST = 96 };

/* From now on and for good: what is listed meets the one SECCOMP_RET_..., all others meet the other. */
static UNUSED void filter_calls(const long *numbers, size_t count, unsigned listed, unsigned others)
{
	struct sock_filter filter[2 * FILTERED_MOST + 2];
	unsigned short length = 0;
	if (count > FILTERED_MOST)
		broken("too many calls");
	filter[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < count; i++) {
		filter[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)numbers[i], 0, 1);
		filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, listed);
	}
	filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, others);
	struct sock_fprog program = {.len = length, .filter = filter};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		broken("seccomp");
}

#endif
