/* The parts of `retryshim report`: reading (report.c), and the page that comes of it (report_page.c). */
#ifndef RETRYSHIM_CLI_REPORT_H
#define RETRYSHIM_CLI_REPORT_H

#include <jansson.h>
#include <stdio.h>

/* Writes a JSON text and a newline: in ASCII, and nothing in it can end the HTML element that holds it. */
void report_json(const json_t *json, FILE *file);

/* Writes the page to stdout. `events`: a JSON object a line, `facts`: of all of them, both from report_json().
 * Returns CLI_OK, or CLI_FAILED: the reason is told then, and nothing written. */
int report_page(const char *events, const char *facts);

#endif
