/* Writing HTTP/1.1 answers, whole or broken off. */
#ifndef FAULTS_ANSWER_H
#define FAULTS_ANSWER_H

#include "http.h"
#include "script.h"

#include <stdbool.h>

/* True if the server can take another request after this step's answer. */
bool answer_keeps_alive(const struct step *step, const struct request *request);

/* The whole answer of a STEP_ANSWER, with its pauses; false once the client is gone. */
bool answer_whole(int fd, const struct step *step, const struct request *request);

/* The first step->bytes bytes (default: half) of a plain 200's header block. */
void answer_partial_header(int fd, const struct step *step, const struct request *request);

/* A 200 header block that promises step->size bytes, then only step->bytes of them. */
void answer_partial_body(int fd, const struct step *step, const struct request *request);

#endif
