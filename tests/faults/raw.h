/* Steps below HTTP: control dialogues and forwarding. */
#ifndef FAULTS_RAW_H
#define FAULTS_RAW_H

#include "reader.h"
#include "script.h"

#include <stdbool.h>
#include <stdint.h>

/* Both return with the reader's socket still open, for the caller to close. */

/* Sends a line, logs the client's answer, and so on; ends when the client closes, or a second after
 * the last line. */
void raw_dialog(struct reader *reader, uint64_t connection, const struct step *step);

/* Copies both ways, what the reader holds first, until both ends are through. False (and a failure
 * in the log) if the real server cannot be reached. */
bool raw_forward(struct reader *reader, uint64_t connection, const struct step *step);

#endif
