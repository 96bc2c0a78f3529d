/* From a CURL pointer to what is known of it: a hash table of chains that only grow. A record whose
 * handle is gone is taken by the next handle of its bucket, so no reader ever meets freed memory. */
#include "hooks/curl_handle.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKET_BITS = 10 };

static _Atomic(struct easy *) buckets[1 << BUCKET_BITS];

/* Not found by anyone, not to be taken by anyone. */
static CURL *const retired = (CURL *)(uintptr_t)1;

static _Atomic(struct easy *) *bucket_of(const CURL *handle)
{
	uint64_t hash = ((uint64_t)(uintptr_t)handle >> 4) * UINT64_C(0x9e3779b97f4a7c15);
	return &buckets[hash >> (64 - BUCKET_BITS)];
}

struct easy *easy_find(CURL *handle)
{
	struct easy *easy = atomic_load_explicit(bucket_of(handle), memory_order_acquire);
	if (handle == NULL) /* would find a free record */
		return NULL;
	while (easy != NULL && atomic_load_explicit(&easy->handle, memory_order_acquire) != handle)
		easy = easy->next;
	return easy;
}

static struct easy *claim_free(CURL *handle)
{
	struct easy *easy = atomic_load_explicit(bucket_of(handle), memory_order_acquire);
	for (; easy != NULL; easy = easy->next) {
		CURL *none = NULL;
		if (atomic_compare_exchange_strong(&easy->handle, &none, retired))
			return easy;
	}
	return NULL;
}

static struct easy *push_new(CURL *handle)
{
	_Atomic(struct easy *) *bucket = bucket_of(handle);
	struct easy *easy = calloc(1, sizeof *easy);
	if (easy == NULL)
		return NULL;
	atomic_init(&easy->handle, retired);
	easy->next = atomic_load_explicit(bucket, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(bucket, &easy->next, easy, memory_order_release, memory_order_relaxed))
		;
	return easy;
}

struct easy *easy_add(CURL *handle, const struct curl_real *real)
{
	/* A record of this address is a handle's that was closed behind our back. */
	struct easy *easy = easy_find(handle);
	if (easy == NULL)
		easy = claim_free(handle);
	if (easy == NULL)
		easy = push_new(handle);
	if (easy == NULL)
		return NULL;
	easy->real = real;
	easy->served = true;
	easy->wrapped = false;
	easy->active = false;
	options_default(&easy->options);
	atomic_store_explicit(&easy->handle, handle, memory_order_release);
	return easy;
}

void easy_retire(struct easy *easy) { atomic_store_explicit(&easy->handle, retired, memory_order_release); }

void easy_release(struct easy *easy)
{
	journal_free(&easy->response.journal);
	atomic_store_explicit(&easy->handle, NULL, memory_order_release);
}
