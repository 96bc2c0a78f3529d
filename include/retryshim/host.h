/* Host: what all processes of a user know together of a destination, and the rules for it.
 *
 * Each fact is one 64-bit word, so that it changes by one compare-and-swap: no lock to die with, and a process
 * that is killed at any instruction leaves every word whole. The functions here are pure, as all of the policy
 * room: they take a word, and the time, and say what it means or what it becomes; runtime/state.c keeps the words and
 * swaps them. Any 64 bits are a legal word: the file is never trusted, and what makes no sense means nothing.
 * A word of zero is a destination of which nothing is known.
 *
 * Time is CLOCK_MONOTONIC, which all processes of a host share: milliseconds in words that keep a rate,
 * microseconds where two processes' attempts are put in order.
 */
#ifndef RETRYSHIM_HOST_H
#define RETRYSHIM_HOST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "retryshim/config.h"
#include "retryshim/policy.h"

struct evidence;

/* ---- the file ------------------------------------------------------------------------------------
 *
 * RETRY_STATE: a header, STATE_DESTINATIONS destinations, STATE_SERIES series, all in the processor's own byte order. A
 * file of zeros is an empty one: who finds it so writes the header, which is the same whoever writes it. STATE_LAYOUT
 * changes with any change of what follows.
 */
enum { STATE_LAYOUT = 3, STATE_DESTINATIONS = 512, STATE_NAME_BYTES = 136, STATE_SERIES = 256 };
#define STATE_MAGIC UINT64_C(0x33796873792d7274) /* of layout 3 */

struct state_header {
	_Atomic(uint64_t) magic; /* written last */
	_Atomic(uint32_t) layout, destinations, destination_bytes, series, series_bytes, unused_word;
	_Atomic(uint64_t) turned_away; /* times that somebody left the writing of the series to another, see exposition_file.c */
	char unused[4096 - 40];
};

/* What a destination and a series begin with. It is found by its tag, in one of a few neighbouring places; where those
 * are taken, the one that was not used for longest makes room. */
enum { DESTINATION_NEIGHBOURS = 8, SERIES_NEIGHBOURS = 32 };

struct place {
	_Atomic(uint64_t) tag;  /* a hash of its key, bit 0 set; 0 = free. Bit 0 clear: being made, see state_places.c */
	_Atomic(uint64_t) used; /* when it was last, ms */
};

/* One destination: (network namespace, family, address or name, port). */
struct destination {
	struct place place;
	_Atomic(uint64_t) bucket, circuit, floor, evidence, claim;
	_Atomic(uint64_t) failure;   /* the latest, of any kind, as evidence */
	_Atomic(uint64_t) opened_by; /* the failure that opened the circuit */
	/* Attempts that operations made which failed at least once; of them, those after the first; operations that
	 * succeeded after a failure; operations that used up their attempts. */
	_Atomic(uint64_t) attempts, retries, recoveries, exhausted;
	/* Futexes (futex(2)): change with each attempt that gets through; with that, and with each that fails. */
	_Atomic(uint32_t) successes, results;
	_Atomic(uint64_t) name[STATE_NAME_BYTES / 8]; /* for people: bytes of text, not terminated if it is full */
};

/* Counters of the metrics (policy.h) for one set of labels: the sums of all processes since it was made. */
enum { LABEL_OPERATION_BYTES = 64, LABEL_TARGET_BYTES = 136 };

struct series {
	struct place place;
	_Atomic(uint64_t) attempts, delay_ms, recovered, exhausted;
	_Atomic(uint64_t) given_up[REASONS]; /* by enum reason */
	_Atomic(uint64_t) category;          /* enum category */
	_Atomic(uint64_t) operation[LABEL_OPERATION_BYTES / 8], target[LABEL_TARGET_BYTES / 8]; /* as in struct labels */
};

_Static_assert(sizeof(struct state_header) == 4096 && sizeof(struct destination) == 248 && sizeof(struct series) == 328,
               "the layout of the file");

struct state {
	struct state_header header;
	struct destination destinations[STATE_DESTINATIONS];
	struct series series[STATE_SERIES];
};

/* Which of a table's `count` places is the i-th where this tag may stand. */
static inline unsigned place_index(uint64_t tag, unsigned i, unsigned count) { return (unsigned)(((tag >> 8) + i) % count); }

/* A key's hash, piece by piece: begins with TAG_SEED, and is ended by tag_end(), which sets bit 0. */
#define TAG_SEED UINT64_C(0xcbf29ce484222325)
uint64_t tag_mix(uint64_t hash, const void *bytes, size_t length);
uint64_t tag_end(uint64_t hash);

/* ---- budget: a token bucket ---------------------------------------------------------------------
 *
 * spent, in thousandths of a token : 30 bits | the instant up to which the drip is counted, ms : 34 bits.
 *
 * What is kept is what is missing from a full bucket, so that a new destination has a full one of whatever size:
 *     tokens = RETRY_BUDGET_BURST - spent;  each second takes RETRY_BUDGET_PER_SEC from spent, each success RETRY_BUDGET_RATIO,
 *     and so does each attempt that need not be sent, since another's result counted
 */

/* What is in the bucket, in thousandths of a token. */
int64_t budget_milli(const struct config *config, uint64_t word, int64_t now_ms);

/* Takes a token out. False, *word untouched, if there is none. Always true with RETRY_BUDGET=off. */
bool budget_take(const struct config *config, uint64_t *word, int64_t now_ms);

/* A success gives RETRY_BUDGET_RATIO back; a retry that was paid for and not sent, a whole token. */
uint64_t budget_give(const struct config *config, uint64_t word, double tokens, int64_t now_ms);

/* ---- circuit ------------------------------------------------------------------------------------
 *
 * state : 2 bits | failed operations in a row : 20 bits | since when, ms : 42 bits.
 *
 *     CLOSED     -- RETRY_BREAKER_THRESHOLD operations in a row have failed, and the row has lasted as long as all backoffs of
 *                   one operation can -->  OPEN. A crowd's shortest draws are no evidence: who began with the row must have
 *                   had all its attempts. Since when is then since when the row lasts; successes of healthy processes are
 *                   not seen here, so one that gets older than RETRY_BREAKER_THRESHOLD * RETRY_BREAKER_OPEN_MS begins again.
 *     OPEN       -- RETRY_BREAKER_OPEN_MS are over, and an operation wants to go -->  HALF_OPEN: it is the probe
 *     HALF_OPEN  -- the probe has failed -->  OPEN;  -- it has not been heard of for RETRY_BREAKER_OPEN_MS -->  as OPEN
 *     any        -- an operation has succeeded -->  CLOSED
 *
 * An operation counts as failed when it failed at connection level, to its end. What an open circuit means:
 * RETRY_BREAKER=pass: operations get their own first attempt and no retries; reject: not even that. The probe
 * has all its attempts.
 */
enum circuit { CIRCUIT_CLOSED, CIRCUIT_OPEN, CIRCUIT_HALF_OPEN };

/* As it stands in the word; what is out of range is CIRCUIT_CLOSED. */
enum circuit circuit_state(uint64_t word);
int circuit_failures(uint64_t word); /* in a row */
int64_t circuit_since_ms(uint64_t word);

/* True if an operation that is not the probe is refused now. Never with RETRY_BREAKER=off. */
bool circuit_refuses(const struct config *config, uint64_t word, int64_t now_ms);

/* True, *word changed, if the caller's operation becomes the probe. */
bool circuit_probe(const struct config *config, uint64_t *word, int64_t now_ms);

/* What the word becomes when an operation has failed, the probe or another; and when one has succeeded. */
uint64_t circuit_failed(const struct config *config, uint64_t word, bool probe, int64_t now_ms);
uint64_t circuit_succeeded(void);

/* An operation whose first attempt was made although the circuit is half open: where others are rejected, it is the probe. */
bool circuit_let_through(const struct config *config, uint64_t word);

/* True if the end of an operation by this verdict of ACTION_DELIVER, or of EVENT_FALLBACK, is a failed one for the circuit. */
bool circuit_counts(const struct verdict *verdict);

/* What a rejected operation fails with: the error that opened the circuit, or in terms of `source` what is nearest to it.
 * Only what could have opened one is handed to a program: what is in the file may be anything. */
int circuit_error(const struct config *config, enum source source, const struct evidence *opening);

/* ---- floor: adaptive backoff ---------------------------------------------------------------------
 *
 * floor, ms : 22 bits | since when, ms : 42 bits. With cap = 0.8 * RETRY_MAX_DELAY_MS:
 *
 *     a rate limit (429, or 503 with Retry-After):  floor = min(cap, max(RETRY_BASE_DELAY_MS, 2 * floor, Retry-After)),
 *         doubled once a floor's time at most: a crowd that is turned away at once counts as one
 *     a success:  floor = 3/4 * floor;  below half of RETRY_BASE_DELAY_MS it is gone
 *     silence:    floor is halved for every 8 * floor that pass
 *
 * A backoff takes max(delay, floor * (1 + U(0, 1/4))), so that nobody waits less and not all wait alike.
 */
/* True if the failure is a rate limit. */
bool floor_is_asked_for(const struct failure *failure);

int64_t floor_ms(const struct config *config, uint64_t word, int64_t now_ms);
uint64_t floor_raise(const struct config *config, uint64_t word, int64_t retry_after_ms, int64_t now_ms);
uint64_t floor_lower(const struct config *config, uint64_t word, int64_t now_ms);

/* ---- evidence -------------------------------------------------------------------------------------
 *
 * What the latest attempt of anybody has shown, at connection level:
 *     when, us : 48 bits | code : 13 bits (two's complement) | enum source : 2 bits | it got through : 1 bit
 */
struct evidence {
	int64_t at_us;
	bool ok;
	enum source source; /* of a failure */
	int code;
};

uint64_t evidence_word(const struct evidence *evidence);
struct evidence evidence_read(uint64_t word);

/* The claim on the next attempt: when it is to be made, us : 48 bits | whose : 16 bits. 0: nobody's.
 * It is made when a backoff begins, and given back with the attempt's result. Whoever begins a backoff while a
 * claim stands rides along: nothing is charged, and at the end of the backoff the claimed attempt's result counts
 * as the rider's own. A rider waits for an attempt to begin no longer than the longest backoff that it could have drawn, and
 * then as long for its end: each prober that has died, or hangs, costs at most that, and is replaced by one rider. Half of
 * what is left of its own deadline ends a rider's patience in any case.
 *
 * The host's pace is max(RETRY_BASE_DELAY_MS, 1/16 of the longest backoff). When the destination has been left alone for so
 * long, the first waiter whose backoff is over makes an attempt: it takes a claim over that is for later still (else one long
 * draw would be everybody's), and a failure that is older counts no more (else all would count it, and nobody look). */
uint64_t claim_word(int64_t at_us, uint64_t id);

/* False once the claimed instant lies `patience_us` back (whoever has it has died, or hangs), and for an instant
 * that nobody would have chosen. */
bool claim_stands(uint64_t claim, int64_t now_us, int64_t patience_us);

/* One operation in a backoff. */
struct waiter {
	int64_t failed_us; /* its latest failure, its own or one that counted */
	int64_t at_us;     /* the end of its backoff */
	int64_t limit_us;  /* until when it waits for another's attempt to begin; at_us or later */
	int64_t patience_us; /* and how long for that to end */
	int64_t end_us;    /* but no longer than this: its operation has a deadline */
	int64_t pace_us;   /* between two attempts of anybody, as far as it goes by this waiter */
	int64_t spread_us; /* its share of the time over which a crowd is let go */
	uint64_t claim;    /* its own; 0 = none */
};

enum course {
	COURSE_WAIT,   /* until `until_us`, or till there is news */
	COURSE_GO,     /* make the attempt: it is ours, or the destination is back */
	COURSE_COUNTS, /* another's attempt has failed: so has ours */
	COURSE_CLAIM,  /* nobody has tried, nobody is going to: claim, then make the attempt */
	COURSE_BROKE,  /* and there is no token to pay for it with (share_look() alone says so) */
};

struct view {
	enum course course;
	int64_t until_us; /* COURSE_WAIT; COURSE_COUNTS: when that failure was */
	bool parked;      /* COURSE_WAIT: the backoff is over, any result is waited for; else a success alone */
};

/* What a waiter is to do, by the words as they stand. */
struct view evidence_look(const struct waiter *waiter, uint64_t evidence, uint64_t claim, int64_t now_us);

/* How long the destination is left alone between two attempts of anybody, as far as a waiter has a say in it. */
int64_t evidence_pace_us(const struct config *config, int64_t most_us);

/* The time over which waiters start when the destination is back: min(500 ms, 1.6 * RETRY_BASE_DELAY_MS). */
int64_t evidence_spread_us(const struct config *config);

/* ---- series ----------------------------------------------------------------------------------------
 *
 * What a metric is told by. Texts are visible ASCII and blanks, without quotes and backslashes: what CloudWatch takes as a
 * dimension, any statsd as a tag and Prometheus as a label, none of them as anything but itself; other bytes become '?',
 * what is too long is cut.
 */
struct labels {
	char operation[LABEL_OPERATION_BYTES], target[LABEL_TARGET_BYTES];
	enum category category;
};

void labels_set(struct labels *labels, const char *operation, const struct target *target, enum category category);

/* Of the place where the series of these labels stands. */
uint64_t labels_tag(const struct labels *labels);

/* True if the place is named by these labels. */
bool series_is(const struct series *series, const struct labels *labels);

struct counts {
	uint64_t attempts, delay_ms, recovered, exhausted;
	uint64_t given_up[REASONS];
};

/* The labels of place `i`, and in how many places they stand: nearly always in one; two processes may have made the same
 * series at once. 0 if it is not to be shown: it is free, being made, holds what nobody would have put there, or is told
 * with an earlier one. */
int series_read(const struct state *state, int i, struct labels *labels);

/* What has been counted in the so many places of the series that `i` is the first one of. */
void series_sum(const struct state *state, int i, int places, struct counts *counts);

#endif
