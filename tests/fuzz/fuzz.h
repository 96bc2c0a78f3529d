/* What any bytes do: a target for each of our readers, under libFuzzer.
 *
 *   config.c         the environment, and TRACEPARENT
 *   rules.c          a configuration file
 *   numbers.c        numbers, durations, lists
 *   retry_after.c    Retry-After and HTTP dates
 *   headers/         responses between libcurl and the program, in any pieces; downloads that are resumed
 *   content_range.c  what makes a response the rest of another one
 *   patterns.c       hosts, networks, ports; fallbacks, URLs
 *   events.c         diagnostics and metrics as we write them, and the same read back
 *   report.c         `retryshim report` of any file
 *   tail.c           `retryshim tail` of any file
 *   state/           the state file, and operations that work on it
 *
 * `make fuzz FUZZ=NAME` runs one. What has to hold whatever the bytes are is a PROMISE(). A *.dict holds the words of the
 * target's language, corpus/ what has been found worth a second look.
 */
#ifndef RETRYSHIM_TESTS_FUZZ_H
#define RETRYSHIM_TESTS_FUZZ_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROMISE(holds)                                                                                \
	do {                                                                                          \
		if (!(holds)) {                                                                       \
			fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, __LINE__, #holds);   \
			abort();                                                                      \
		}                                                                                     \
	} while (0)

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Zeros behind its end. */
struct input {
	const uint8_t *at, *end;
};

static inline uint8_t byte(struct input *input) { return input->at < input->end ? *input->at++ : 0; }

static inline uint64_t number(struct input *input, int bytes)
{
	uint64_t value = 0;
	for (int i = 0; i < bytes; i++)
		value |= (uint64_t)byte(input) << 8 * i;
	return value;
}

/* The bytes up to the next `end`, which is left behind, or all that are left; exactly as many, and a NUL if `terminated`,
 * on the heap, so that the sanitizer sees a read too far. To be freed. */
static inline char *piece(struct input *input, char end, bool terminated, size_t *length)
{
	size_t left = (size_t)(input->end - input->at);
	const uint8_t *stop = left != 0 ? memchr(input->at, end, left) : NULL;
	size_t bytes = stop != NULL ? (size_t)(stop - input->at) : left;
	char *copy = malloc(bytes + (terminated || bytes == 0 ? 1 : 0));
	PROMISE(copy != NULL);
	if (bytes != 0)
		memcpy(copy, input->at, bytes);
	if (terminated)
		copy[bytes] = '\0';
	input->at += bytes + (stop != NULL ? 1 : 0);
	if (length != NULL)
		*length = bytes;
	return copy;
}

/* The same up to a newline, as a text: it ends at a NUL if there is one. */
static inline char *text_line(struct input *input) { return piece(input, '\n', true, NULL); }

#endif
