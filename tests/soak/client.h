/* What the C hosts of a soak share: operations, rounds and the heap's figures. See plan.py. */
#ifndef SOAK_CLIENT_H
#define SOAK_CLIENT_H

#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY_SIZE 4096
enum { LOST = 0, CORRUPT = -1 }; /* results that are no HTTP status */

static const char *client_name;
static int steady_port, flapping_port, dead_port, op_count;

struct op {
	int n, port;
	const char *method;
	long limit_ms;
	char path[64];
	char url[96];
};

static inline struct op make_op(int number, int n)
{
	static const char *methods[] = {"GET", "GET", "POST", "GET", "PUT", "GET", "GET", "GET", "POST", "GET"};
	struct op op = {.n = n, .method = methods[n % 10], .limit_ms = n % 13 == 12 ? 40 : 30000};
	op.port = n % 10 == 9 ? dead_port : n % 10 == 7 || n % 10 == 8 ? flapping_port : steady_port;
	snprintf(op.path, sizeof op.path, "/%s/%d/%d", client_name, number, n);
	snprintf(op.url, sizeof op.url, "http://127.0.0.1:%d%s", op.port, op.path);
	return op;
}

struct answer {
	size_t length;
	char body[BODY_SIZE];
};

/* A right answer says the path and a line feed, twenty times. */
static inline int judged(const struct op *op, long status, const struct answer *answer)
{
	size_t line = strlen(op->path) + 1;
	if (status != 200)
		return (int)status;
	if (answer->length != 20 * line)
		return CORRUPT;
	for (size_t at = 0; at < answer->length; at += line)
		if (memcmp(answer->body + at, op->path, line - 1) != 0 || answer->body[at + line - 1] != '\n')
			return CORRUPT;
	return 200;
}

/* Runs the rounds that standard input asks for, each filling results[op_count], and tells them with the bytes in use
 * on the heap when all is at rest. */
static inline int run_rounds(char **argv, void (*round_of)(int number, int *results))
{
	static char line[32];
	static char output[1 << 16];
	client_name = argv[1];
	steady_port = atoi(argv[2]);
	flapping_port = atoi(argv[3]);
	dead_port = atoi(argv[4]);
	op_count = atoi(argv[5]);
	setvbuf(stdout, output, _IOFBF, sizeof output);
	int *results = calloc((size_t)op_count, sizeof *results);
	while (fgets(line, sizeof line, stdin)) {
		round_of(atoi(line), results);
		struct mallinfo2 heap = mallinfo2();
		printf("{\"heap\": %zu, \"results\": [", heap.uordblks + heap.hblkhd);
		for (int n = 0; n < op_count; n++) {
			const char *comma = n > 0 ? "," : "";
			if (results[n] == LOST || results[n] == CORRUPT)
				printf("%s\"%s\"", comma, results[n] == LOST ? "fail" : "corrupt");
			else
				printf("%s\"%d\"", comma, results[n]);
		}
		puts("]}");
		fflush(stdout);
	}
	free(results);
	return 0;
}

#endif
