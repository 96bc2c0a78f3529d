#include "hooks/curl_records.h"

#include <stdlib.h>

/* Not found by anyone, not to be taken by anyone. */
static void *const retired = (void *)(uintptr_t)1;

static _Atomic(struct record *) *bucket_of(const struct record_table *table, const void *key)
{
	uint64_t hash = ((uint64_t)(uintptr_t)key >> 4) * UINT64_C(0x9e3779b97f4a7c15);
	return &table->buckets[hash >> (64 - table->bits)];
}

struct record *record_find(const struct record_table *table, const void *key)
{
	struct record *record = atomic_load_explicit(bucket_of(table, key), memory_order_acquire);
	if (key == NULL) /* would find a free record */
		return NULL;
	while (record != NULL && atomic_load_explicit(&record->key, memory_order_acquire) != key)
		record = record->next;
	return record;
}

static struct record *claim_free(const struct record_table *table, const void *key)
{
	struct record *record = atomic_load_explicit(bucket_of(table, key), memory_order_acquire);
	for (; record != NULL; record = record->next) {
		void *none = NULL;
		if (atomic_compare_exchange_strong(&record->key, &none, retired))
			return record;
	}
	return NULL;
}

static struct record *push_new(const struct record_table *table, const void *key)
{
	_Atomic(struct record *) *bucket = bucket_of(table, key);
	struct record *record = calloc(1, table->record_size);
	if (record == NULL)
		return NULL;
	atomic_init(&record->key, retired);
	record->next = atomic_load_explicit(bucket, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(bucket, &record->next, record, memory_order_release,
	                                              memory_order_relaxed))
		;
	return record;
}

struct record *record_add(const struct record_table *table, const void *key)
{
	/* A record of this address is a handle's that was closed behind our back. */
	struct record *record = record_find(table, key);
	if (record == NULL)
		record = claim_free(table, key);
	return record != NULL ? record : push_new(table, key);
}

void record_publish(struct record *record, void *key) { atomic_store_explicit(&record->key, key, memory_order_release); }
void record_retire(struct record *record) { record_publish(record, retired); }
void record_release(struct record *record) { record_publish(record, NULL); }
