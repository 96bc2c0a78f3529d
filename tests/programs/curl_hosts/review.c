/* review WORD...: does to one easy handle what the words say, a NAME or NAME=VALUE each, and tells what
 * came of it on standard error; bodies go to standard output.
 *
 *   review url=http://... timeout=4000 jump=2 perform perform
 */
#include <curl/curl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../hazards/host.h"

enum { SIZE = 16 * 1024 * 1024 }; /* more than the buffers of a socket hold */

static CURL *curl, *copy;
static CURLM *multi;
static struct curl_slist *no_expect, *some;
static char source[SIZE + 16];
static size_t at, total_read;
static int copies, jumps;
static sigjmp_buf back;
static pthread_t main_thread;
static atomic_int handled, ended;

static void told(const char *what, CURLcode code)
{
	long status = 0, connects = 0;
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(curl, CURLINFO_NUM_CONNECTS, &connects);
	fflush(stdout);
	fprintf(stderr, "%s code %d status %ld connects %ld\n", what, (int)code, status, connects);
}

/* ---- callbacks ----------------------------------------------------------------------------------- */

static size_t on_write(char *bytes, size_t size, size_t count, void *context)
{
	(void)context;
	if (copies && copy == NULL)
		copy = curl_easy_duphandle(curl);
	return fwrite(bytes, size, count, stdout);
}

static size_t on_read(char *bytes, size_t size, size_t count, void *context)
{
	size_t length = size * count < SIZE - at ? size * count : SIZE - at;
	(void)context;
	memcpy(bytes, source + at, length);
	at += length;
	total_read += length;
	return length;
}

static int on_seek(void *context, curl_off_t offset, int origin)
{
	(void)context;
	fprintf(stderr, "seek %ld from %d at %zu\n", (long)offset, origin, total_read);
	at = (size_t)offset;
	return CURL_SEEKFUNC_OK;
}

static CURLSTScode on_hsts(CURL *handle, struct curl_hstsentry *entry, void *context)
{
	(void)handle, (void)entry, (void)context;
	return CURLSTS_DONE;
}

/* ---- signals ------------------------------------------------------------------------------------- */

static void on_alarm(int number)
{
	(void)number;
	atomic_fetch_add(&handled, 1);
	if (jumps)
		siglongjmp(back, 1);
}

/* Waits for a backoff. A signal may come just before the sleep that it is to interrupt: then again. */
static void *disturb(void *context)
{
	await_diagnostics(atoi(context));
	do {
		pthread_kill(main_thread, SIGALRM);
		pause_ms(100);
	} while (!jumps && !ended);
	return NULL;
}

static void disturb_at(const char *lines, int jump)
{
	static pthread_t thread;
	struct sigaction action = {.sa_handler = on_alarm};
	jumps = jump;
	ended = 0;
	main_thread = pthread_self();
	sigaction(SIGALRM, &action, NULL);
	if (pthread_create(&thread, NULL, disturb, (void *)(uintptr_t)lines) != 0)
		broken("pthread_create");
	pthread_detach(thread);
}

/* ---- the words ----------------------------------------------------------------------------------- */

static void do_url(const char *value) { curl_easy_setopt(curl, CURLOPT_URL, value); }
static void do_timeout(const char *value) { curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, atol(value)); }
static void do_jump(const char *value) { disturb_at(value, 1); }
static void do_interrupt(const char *value) { disturb_at(value, 0); }
static void do_copies(const char *value) { copies = atoi(value); }

static void do_upload(const char *value)
{
	for (int i = 0; i < SIZE; i += 16)
		snprintf(source + i, 17, "%015d\n", i / 16);
	no_expect = curl_slist_append(no_expect, "Expect:");
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, no_expect);
	curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)SIZE);
	curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
	curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, on_seek);
	(void)value;
}

static void do_keep_sending(const char *value) { curl_easy_setopt(curl, CURLOPT_KEEP_SENDING_ON_ERROR, atol(value)); }
static void do_resume(const char *value) { curl_easy_setopt(curl, CURLOPT_RESUME_FROM_LARGE, (curl_off_t)atol(value)); }

static void set_list(CURLoption option, const char *value)
{
	some = value[0] != '\0' ? curl_slist_append(NULL, value) : NULL;
	curl_easy_setopt(curl, option, some);
}

static void do_quote(const char *value) { set_list(CURLOPT_QUOTE, value); }
static void do_aliases(const char *value) { set_list(CURLOPT_HTTP200ALIASES, value); }
static void do_hsts(const char *value) { curl_easy_setopt(curl, CURLOPT_HSTSREADFUNCTION, atoi(value) ? on_hsts : NULL); }

static void do_perform(const char *value)
{
	(void)value;
	if (sigsetjmp(back, 1) != 0) {
		jumps = 0;
		fprintf(stderr, "jumped\n");
		return;
	}
	CURLcode code = curl_easy_perform(curl);
	ended = 1;
	told("perform", code);
}

static void do_copy(const char *value)
{
	(void)value;
	curl_easy_cleanup(curl);
	curl = copy;
}

static void do_multi(const char *value)
{
	int running = 1, left;
	(void)value;
	multi = curl_multi_init();
	curl_multi_add_handle(multi, curl);
	while (curl_multi_perform(multi, &running) == CURLM_OK && running != 0)
		curl_multi_wait(multi, NULL, 0, 1000, NULL);
	for (CURLMsg *message; (message = curl_multi_info_read(multi, &left)) != NULL;)
		told("multi", message->data.result);
	curl_multi_remove_handle(multi, curl);
	curl_multi_cleanup(multi);
}

static const struct {
	const char *name;
	void (*run)(const char *value);
} words[] = {
#define WORD(name) {#name, do_##name}
	WORD(url), WORD(timeout), WORD(jump), WORD(interrupt), WORD(copies), WORD(upload), WORD(keep_sending),
	WORD(resume), WORD(quote), WORD(aliases), WORD(hsts), WORD(perform), WORD(copy), WORD(multi),
};

static void obey(const char *word)
{
	size_t length = strcspn(word, "=");
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		if (strlen(words[i].name) == length && memcmp(words[i].name, word, length) == 0) {
			words[i].run(word[length] == '=' ? word + length + 1 : "1");
			return;
		}
	fprintf(stderr, "review: unknown word %s\n", word);
	exit(2);
}

int main(int argc, char **argv)
{
	curl_global_init(CURL_GLOBAL_ALL);
	curl = curl_easy_init();
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_write);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	for (int i = 1; i < argc; i++)
		obey(argv[i]);
	curl_easy_cleanup(curl);
	curl_slist_free_all(no_expect);
	curl_slist_free_all(some);
	return 0;
}
