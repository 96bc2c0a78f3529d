/* The exported waits: what a program pays that has no connect under way, in every wait.
 *
 * Nothing is pending: the real function. But another thread may connect while it waits, and what the wait then shows of that
 * socket's failure has passed nobody: so it is looked at once more afterwards, and what the program asked for is needed then.
 * Compilers keep such things in registers that they first have to save, and take twice the instructions; here they stay on
 * the stack, which is given back untouched.
 *
 * Before it, for a wait NAME, stand
 *
 *     WAIT_PART int shim_NAME(its parameters)                       something is pending
 *     WAIT_PART int late_NAME(int result, const uintptr_t *asked)   something is pending since the wait began. `asked`: those of
 *                                                                   the arguments that the entry names. Returns what the
 *                                                                   program is to get
 */
#ifndef RETRYSHIM_HOOKS_WAIT_ENTRY_H
#define RETRYSHIM_HOOKS_WAIT_ENTRY_H

#include <stdint.h>

#include "hooks/pending.h"

/* Of those two: only the entry calls them. */
#define WAIT_PART __attribute__((noinline, visibility("hidden")))

#if defined(__has_feature)
#define WAIT_SEES_THREADS __has_feature(thread_sanitizer)
#elif defined(__SANITIZE_THREAD__)
#define WAIT_SEES_THREADS 1
#else
#define WAIT_SEES_THREADS 0
#endif

/* The thread sanitizer sees compiled code alone. */
#if defined(__x86_64__) && !defined(__ILP32__) && !WAIT_SEES_THREADS

/* Where a compiler puts it before each function that may be called by a pointer, the object is marked as one that has it. */
#if defined(__CET__) && (__CET__ & 1) != 0
#define WAIT_LANDING "\tendbr64\n"
#else
#define WAIT_LANDING
#endif

#define WAIT_PUSH(register) "\tpush %" #register "\n\t.cfi_adjust_cfa_offset 8\n"

/* `pushes`: of an odd number of registers, the last first, since calls want the stack aligned to 16 bytes; `size`: theirs. */
#define WAIT_BY_HAND(name, pushes, size)          \
	__asm__("\t.text\n"                             \
	        "\t.p2align 4\n"                        \
	        "\t.globl " #name "\n"                  \
	        "\t.type " #name ", @function\n"        \
	        #name ":\n"                             \
	        "\t.cfi_startproc\n" WAIT_LANDING       \
	        "\tcmpl $0, pending_count(%rip)\n"      \
	        "\tjne shim_" #name "\n"                \
	        pushes                                  \
	        "\tcall *real_" #name "_slot(%rip)\n"   \
	        "\tcmpl $0, pending_count(%rip)\n"      \
	        "\tjne 1f\n"                            \
	        "2:\n"                                  \
	        "\tadd $" #size ", %rsp\n"              \
	        "\t.cfi_remember_state\n"               \
	        "\t.cfi_adjust_cfa_offset -" #size "\n" \
	        "\tret\n"                               \
	        "1:\n"                                  \
	        "\t.cfi_restore_state\n"                \
	        "\tmov %eax, %edi\n"                    \
	        "\tmov %rsp, %rsi\n"                    \
	        "\tcall late_" #name "\n"               \
	        "\tjmp 2b\n"                            \
	        "\t.cfi_endproc\n"                      \
	        "\t.size " #name ", .-" #name "\n");

#define WAIT_ENTRY_3(name, parameters, arguments, a, in_a, b, in_b, c, in_c) \
	WAIT_BY_HAND(name, WAIT_PUSH(in_c) WAIT_PUSH(in_b) WAIT_PUSH(in_a), 24)

#define WAIT_ENTRY_4(name, parameters, arguments, a, in_a, b, in_b, c, in_c, d, in_d)                 \
	WAIT_BY_HAND(name, WAIT_PUSH(rax) WAIT_PUSH(in_d) WAIT_PUSH(in_c) WAIT_PUSH(in_b) WAIT_PUSH(in_a), 40)

#else

#define WAIT_PLAIN(name, parameters, arguments, ...)                              \
	__attribute__((visibility("default"))) int name parameters                      \
	{                                                                               \
		if (pending_any())                                                            \
			return shim_##name arguments;                                               \
		const uintptr_t asked[] = {__VA_ARGS__};                                      \
		int result = real_##name() arguments;                                         \
		return result > 0 && pending_any() ? late_##name(result, asked) : result;     \
	}

#define WAIT_ENTRY_3(name, parameters, arguments, a, in_a, b, in_b, c, in_c) \
	WAIT_PLAIN(name, parameters, arguments, (uintptr_t)(a), (uintptr_t)(b), (uintptr_t)(c))

#define WAIT_ENTRY_4(name, parameters, arguments, a, in_a, b, in_b, c, in_c, d, in_d) \
	WAIT_PLAIN(name, parameters, arguments, (uintptr_t)(a), (uintptr_t)(b), (uintptr_t)(c), (uintptr_t)(d))

#endif

#endif
