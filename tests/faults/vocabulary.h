/* The words of the step language, in tables that both the parser and --help read. */
#ifndef FAULTS_VOCABULARY_H
#define FAULTS_VOCABULARY_H

#include "script.h"

enum value_type {
	VALUE_NONE,
	VALUE_TEXT,    /* struct bytes */
	VALUE_COUNT,   /* int64_t from here on */
	VALUE_TIME,
	VALUE_FLAG,
	VALUE_INTERIM, /* 100..199, no 101 */
	VALUE_HEADER,  /* appended to step->headers */
	VALUE_GREETING,
	VALUE_LINES,
	VALUE_HOST_PORT
};

struct step_word {
	const char *name;
	enum step_kind kind;
	bool at_accept; /* of the connection level */
	enum value_type type;
	size_t offset;     /* in struct step, where the type is a plain one */
	const char *value; /* as --help shows it; "" = none */
	const char *help;
};

struct modifier_word {
	const char *name;
	enum value_type type;
	size_t offset;
	unsigned kinds; /* bit 1 << kind */
	const char *value;
	const char *help;
};

/* Both end with a NULL name. The first step word stands for every status. */
extern const struct step_word step_words[];
extern const struct modifier_word modifier_words[];

/* The word of a kind; never NULL. */
const struct step_word *vocabulary_step(enum step_kind kind);

#endif
