/* The log: one JSON object a line, each a single write, so that a reader can follow the file.
 * Every object has t_ms, the milliseconds since log_start(), and event. Safe in any thread. Without
 * a file nothing is written. */
#ifndef FAULTS_LOG_H
#define FAULTS_LOG_H

#include "http.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Starts the clock. */
void log_start(void);

/* Appends to `path`, made if missing; false with errno. */
bool log_open(const char *path);

/* The server listens. */
void log_listening(void);

/* `step` is NULL when none was taken at accept. Connections and requests count from 1. */
void log_accept(uint64_t connection, const char *step);
void log_request(uint64_t connection, uint64_t number, const char *step, const struct request *request);

/* A line that the client sent in a dialogue. */
void log_line(uint64_t connection, const char *text, size_t length);

/* A connection that the server could not serve as scripted, e.g. forward to a server that is down. */
void log_failure(uint64_t connection, const char *message);

void log_closed(uint64_t connection);

#endif
