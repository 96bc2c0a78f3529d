/* Where lines go. For the report room alone. */
#ifndef RETRYSHIM_REPORT_SINK_H
#define RETRYSHIM_REPORT_SINK_H

#include "report/line.h"
#include "retryshim/config.h"

/* Writes one ended line to every sink of the configuration. `operation` and `wall_us` name the file
 * that RETRY_DIAG_DIR gets. A sink that fails is named once, on standard error. */
void sink_write(const struct config *config, const struct line *line, const char *operation, int64_t wall_us);

/* Appends to a file of this name, which an item of RETRY_METRICS holds, and in which %p is the process id; 0 or an errno. */
int sink_append(const char *pattern, const char *text, size_t length);

/* write(2) without a signal, and without waiting: what a pipe has no room for is lost. False, errno set, if it failed. */
bool sink_write_quietly(int file, const char *text, size_t length);

#endif
