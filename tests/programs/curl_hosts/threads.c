/* threads URL THREADS TIMES: each thread has a handle, reused and now and then replaced, and asks for
 * its own path; every answer must be whole and a 200. */
#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct answer {
	char text[2000];
	size_t length;
	int status_lines;
};

static const char *url;
static int times;
static _Atomic(int) right, wrong;

static size_t on_write(char *bytes, size_t size, size_t count, void *context)
{
	struct answer *answer = context;
	if (size * count > sizeof answer->text - answer->length)
		return 0;
	memcpy(answer->text + answer->length, bytes, size * count);
	answer->length += size * count;
	return size * count;
}

static size_t on_header(char *bytes, size_t size, size_t count, void *context)
{
	struct answer *answer = context;
	answer->status_lines += size * count > 5 && memcmp(bytes, "HTTP/", 5) == 0;
	return size * count;
}

static int is_right(CURL *curl)
{
	struct answer answer = {.length = 0};
	long status = 0;
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, &answer);
	CURLcode code = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	if (code == CURLE_OK && status == 200 && answer.status_lines == 1 && (answer.length == 3 || answer.length == 1000))
		return 1;
	fprintf(stderr, "code %d status %ld length %zu blocks %d\n", code, status, answer.length, answer.status_lines);
	return 0;
}

static CURL *opened(void)
{
	CURL *curl = curl_easy_init();
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_write);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
	return curl;
}

static void *work(void *context)
{
	CURL *curl = opened();
	(void)context;
	for (int i = 0; i < times; i++) {
		if (is_right(curl))
			right++;
		else
			wrong++;
		if (i % 4 == 3) {
			CURL *copy = i % 8 == 3 ? curl_easy_duphandle(curl) : NULL;
			curl_easy_cleanup(curl);
			curl = copy != NULL ? copy : opened();
		}
	}
	curl_easy_cleanup(curl);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[64];
	int count = argc > 3 ? atoi(argv[2]) : 0;
	url = argv[1];
	times = count != 0 ? atoi(argv[3]) : 0;
	curl_global_init(CURL_GLOBAL_ALL);
	for (int i = 0; i < count; i++)
		pthread_create(&threads[i], NULL, work, NULL);
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	printf("right %d wrong %d\n", right, wrong);
	curl_global_cleanup();
	return 0;
}
