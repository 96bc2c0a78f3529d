/* libcurl: easy handles made, reset, duplicated and destroyed, and multis of ten. */
#include "client.h"

#include <curl/curl.h>

#define BATCH 10

struct transfer {
	struct op op;
	struct answer answer;
	CURL *handle;
	int result;
};

static size_t take(char *bytes, size_t size, size_t count, void *context)
{
	struct answer *answer = context;
	if (answer->length + size * count > BODY_SIZE)
		return 0;
	memcpy(answer->body + answer->length, bytes, size * count);
	answer->length += size * count;
	return size * count;
}

static void set(CURL *handle, struct transfer *transfer)
{
	transfer->answer.length = 0;
	curl_easy_setopt(handle, CURLOPT_URL, transfer->op.url);
	curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, transfer->op.limit_ms);
	curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, take);
	curl_easy_setopt(handle, CURLOPT_WRITEDATA, &transfer->answer);
	curl_easy_setopt(handle, CURLOPT_PRIVATE, transfer);
	if (strcmp(transfer->op.method, "GET") != 0) {
		curl_easy_setopt(handle, CURLOPT_POSTFIELDS, "a=0123456789");
		curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, transfer->op.method);
	}
}

static int ended(struct transfer *transfer, CURL *handle, CURLcode code)
{
	long status = 0;
	curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
	return code != CURLE_OK ? LOST : judged(&transfer->op, status, &transfer->answer);
}

/* One handle for the batch, reset in between; every third operation on a duplicate. */
static void one_after_another(struct transfer *transfers)
{
	CURL *handle = curl_easy_init();
	for (int i = 0; i < BATCH; i++) {
		struct transfer *transfer = &transfers[i];
		curl_easy_reset(handle);
		set(handle, transfer);
		CURL *used = i % 3 == 2 ? curl_easy_duphandle(handle) : handle;
		transfer->result = ended(transfer, used, curl_easy_perform(used));
		if (used != handle)
			curl_easy_cleanup(used);
	}
	curl_easy_cleanup(handle);
}

static void together(struct transfer *transfers)
{
	CURLM *multi = curl_multi_init();
	int running = 1, left;
	for (int i = 0; i < BATCH; i++) {
		transfers[i].handle = curl_easy_init();
		set(transfers[i].handle, &transfers[i]);
		curl_multi_add_handle(multi, transfers[i].handle);
	}
	while (curl_multi_perform(multi, &running) == CURLM_OK && running > 0)
		curl_multi_poll(multi, NULL, 0, 1000, NULL);
	for (CURLMsg *message; (message = curl_multi_info_read(multi, &left)) != NULL;) {
		struct transfer *transfer;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
		transfer->result = ended(transfer, message->easy_handle, message->data.result);
	}
	for (int i = 0; i < BATCH; i++) {
		curl_multi_remove_handle(multi, transfers[i].handle);
		curl_easy_cleanup(transfers[i].handle);
	}
	curl_multi_cleanup(multi);
}

static void round_of(int number, int *results)
{
	static struct transfer transfers[BATCH];
	for (int first = 0; first + BATCH <= op_count; first += BATCH) {
		for (int i = 0; i < BATCH; i++)
			transfers[i] = (struct transfer){.op = make_op(number, first + i), .result = CORRUPT};
		if (first / BATCH % 2 == 0)
			one_after_another(transfers);
		else
			together(transfers);
		for (int i = 0; i < BATCH; i++)
			results[first + i] = transfers[i].result;
	}
}

int main(int argc, char **argv)
{
	if (argc != 6)
		return 2;
	curl_global_init(CURL_GLOBAL_ALL);
	return run_rounds(argv, round_of);
}
