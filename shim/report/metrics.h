/* Private to the metrics of the report room:
 *
 *   metrics.c       the sinks of RETRY_METRICS, one after the other
 *   emf.c           CloudWatch's embedded metric format
 *   statsd.c        statsd's, with DogStatsD's tags
 *   datagram.c      UDP
 *   exposition.c    Prometheus' text format
 *   exposition_file.c   ... in a file
 */
#ifndef RETRYSHIM_REPORT_METRICS_H
#define RETRYSHIM_REPORT_METRICS_H

#include "report/line.h"
#include "retryshim/report.h"

/* Each fills an empty line. */
void emf_line(struct line *line, const struct config *config, const struct report_metric *metric, int64_t wall_ms);
void statsd_lines(struct line *line, const struct config *config, const struct report_metric *metric);

/* 0 or an errno, as far as that can be told at once: ECONNREFUSED if nobody listens on this host. */
int datagram_send(const struct target *to, const char *bytes, size_t length);

/* Writes the file anew, whole. 0 or an errno; *why in words where that would not tell. Two that write at the same time
 * leave what is newer. `soon`: it is enough if the file is written by the next count. */
int exposition_save(const char *path, struct state *state, bool soon, const char **why);

#endif
