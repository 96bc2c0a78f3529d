/* What an answer says: reason phrases and bodies. */
#ifndef FAULTS_BODY_H
#define FAULTS_BODY_H

#include "script.h"

#include <stddef.h>
#include <stdint.h>

/* Either a text or, with text NULL, a made pattern: numbered lines of 16 bytes ("%015d\n", counted
 * from 0), so that a byte lost, doubled or moved shows. */
struct body {
	const char *text;
	uint64_t length;
	uint64_t offset;   /* of the pattern's first byte */
	char standard[96]; /* holds the text if the script gives none */
};

/* Static; "Unknown" for a status without a registered phrase. */
const char *body_status_text(int status);

/* The phrase that the step's answer carries. Points into the step or into static memory. */
struct bytes body_reason(const struct step *step);

/* Fills *body; it may point into itself and into the step, so neither may move. */
void body_of_step(struct body *body, const struct step *step);

/* Copies the bytes [from, from + length) of the body, which must exist. */
void body_copy(const struct body *body, uint64_t from, char *out, size_t length);

#endif
