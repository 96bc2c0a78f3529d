/* Strict reading of short texts, for the policy room alone. Pure; locale plays no part: a decimal
 * point is a point, and case is ASCII's. */
#ifndef RETRYSHIM_POLICY_TEXT_H
#define RETRYSHIM_POLICY_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whole string, decimal digits only, no sign, no blanks; false on overflow of int64_t. */
bool text_integer(const char *text, int64_t *number);

/* Whole string: digits, at most one point, no sign, no exponent. */
bool text_real(const char *text, double *number);

/* Index of `word` (any case) among "a|b|c", or -1. */
int text_choice(const char *choices, const char *word);

/* Copies the next item of a comma list, without surrounding blanks, and moves *cursor behind it
 * (NULL after the last). False if the item is empty or does not fit; the cursor has moved all the
 * same. */
bool text_next_item(const char **cursor, char *item, size_t size);

/* True if every item of a comma list passes `check`. Items of up to 511 bytes. */
bool text_list_valid(const char *list, bool (*check)(const char *item));

/* Checks for text_list_valid(). */
bool text_is_printable(const char *text);
bool text_is_token(const char *text);    /* RFC 9110, 5.6.2 */
bool text_is_fallback(const char *text); /* host:port=host:port */

/* The first `length` bytes are "host:port"; an IPv6 host in brackets. */
bool text_is_host_port(const char *text, size_t length);

/* Port 1..65535 in decimal; 0 if it is none. */
uint16_t text_port(const char *text);

char text_lower(char c);
bool text_equal(const char *a, const char *b);                           /* any case */
bool text_equal_span(const char *a, const char *text, size_t length);     /* any case */
bool text_glob(const char *pattern, const char *text, bool ignore_case); /* `*` and `?` */

#endif
