/* Private to the curl hooks: from a pointer of libcurl's (CURL *, CURLM *) to what is known of it.
 *
 * A hash table of chains that only grow. Lock-free; allocates only in record_add(), and gives no memory
 * back: the bound is the largest number of handles that lived at once. A record whose handle is gone is
 * taken by the next handle of its bucket, so no reader ever meets freed memory.
 */
#ifndef RETRYSHIM_HOOKS_CURL_RECORDS_H
#define RETRYSHIM_HOOKS_CURL_RECORDS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* The first member of what is kept. */
struct record {
	struct record *next;  /* in its bucket; constant */
	_Atomic(void *) key;  /* NULL: free for another handle */
};

struct record_table {
	size_t record_size;
	int bits; /* of the number of buckets */
	_Atomic(struct record *) *buckets;
};

struct record *record_find(const struct record_table *table, const void *key);

/* A record for a handle, not yet found by anyone: fill it in, then record_publish(). A fresh one is
 * zeroed, another one holds what its last owner left. NULL: no memory. */
struct record *record_add(const struct record_table *table, const void *key);
void record_publish(struct record *record, void *key);

void record_retire(struct record *record);  /* no longer found, not yet free */
void record_release(struct record *record); /* free for another handle */

#endif
