/* chaos easy|multi URL SEED FIRST COUNT [SABOTAGE]: transfers FIRST to FIRST + COUNT - 1 to a chaosserver, four
 * threads of one at a time, or one thread with fifty at a time. Prints a line for each of them:
 *   ID METHOD CODE STATUS BYTES [what was wrong with what this program was told]...
 * SABOTAGE is a mistake of this program itself, in every third transfer: the test has to find it. */
#include <curl/curl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "chaos_content.h"

enum { THREADS = 4, PARALLEL = 50 };

static const struct {
	const char *method;
	unsigned permille;
	bool uploads, by_callback;
} kinds[] = {
	{"GET", 640, false, false}, {"HEAD", 60, false, false}, {"POST", 100, true, false},
	{"POST", 50, true, true},   {"PUT", 50, true, false},   {"PUT", 100, true, true},
};

static const struct {
	unsigned permille, least, most;
} sizes[] = {{50, 0, 0}, {400, 1, 2000}, {450, 2000, 32000}, {100, 32000, 200000}};

struct transfer {
	unsigned id, kind;
	size_t size; /* of the body that was asked for */
	char *upload;
	size_t upload_size, upload_at;
	CURL *curl;
	bool sabotaged, spoil;
	/* the last header block */
	unsigned which;
	size_t length;
	long status;
	/* what has come */
	unsigned starts, blocks, interims[2]; /* interims: 100, 103 */
	size_t got;
	char wrong[400];
};

static const char *root, *sabotage = "";
static uint64_t seed;
static unsigned first, count;
static atomic_uint next;

static __attribute__((format(printf, 2, 3))) void complain(struct transfer *its, const char *form, ...)
{
	size_t used = strlen(its->wrong);
	va_list list;
	va_start(list, form);
	vsnprintf(its->wrong + used, sizeof its->wrong - used, form, list);
	va_end(list);
}

static bool mistakes(const struct transfer *its, const char *kind)
{
	return its->sabotaged && strcmp(sabotage, kind) == 0;
}

/* ---- what comes ---------------------------------------------------------------------------------- */

static void check_body(struct transfer *its, const char *bytes, size_t length)
{
	size_t right = content_right(its->id, its->which, its->got, bytes, length);
	if (its->blocks != 1 && its->got == 0)
		complain(its, " [body behind %u header blocks]", its->blocks);
	if (right < length)
		complain(its, " [byte %zu of body %u is wrong]", its->got + right, its->which);
	its->got += length;
	if (its->got > its->length)
		complain(its, " [%zu bytes of %zu]", its->got, its->length);
}

static size_t on_write(char *bytes, size_t size, size_t number, void *context)
{
	struct transfer *its = context;
	if (mistakes(its, "byte") && its->got == 0)
		check_body(its, bytes, 1);
	check_body(its, bytes, size * number);
	return size * number;
}

static void check_line(struct transfer *its, const char *line)
{
	unsigned id;
	if (its->got != 0)
		complain(its, " [a header behind %zu bytes]", its->got);
	if (strncmp(line, "HTTP/", 5) == 0) {
		its->status = atol(line + 9);
		its->starts += its->status >= 200;
	} else if (sscanf(line, "X-Id: %u", &id) == 1 && id != its->id) {
		complain(its, " [the answer to %u]", id);
	} else if (strcmp(line, "\r\n") == 0) {
		*(its->status < 200 ? &its->interims[its->status != 100] : &its->blocks) += 1;
	}
	sscanf(line, "X-Body: %u", &its->which);
	sscanf(line, "X-Length: %zu", &its->length);
}

static size_t on_header(char *bytes, size_t size, size_t number, void *context)
{
	char line[200] = "";
	struct transfer *its = context;
	memcpy(line, bytes, size * number < sizeof line ? size * number : sizeof line - 1);
	check_line(its, line);
	if (mistakes(its, "block"))
		check_line(its, line);
	return size * number;
}

/* ---- what is sent -------------------------------------------------------------------------------- */

static size_t on_read(char *bytes, size_t size, size_t number, void *context)
{
	struct transfer *its = context;
	size_t left = its->upload_size - its->upload_at, length = size * number < left ? size * number : left;
	memcpy(bytes, its->upload + its->upload_at, length);
	bytes[0] = (char)(bytes[0] ^ (its->spoil && length > 0));
	its->upload_at += length;
	return length;
}

static int on_seek(void *context, curl_off_t offset, int origin)
{
	struct transfer *its = context;
	if (origin != SEEK_SET || offset < 0 || (size_t)offset > its->upload_size)
		return CURL_SEEKFUNC_FAIL;
	its->upload_at = (size_t)offset;
	its->spoil = mistakes(its, "seek");
	return CURL_SEEKFUNC_OK;
}

static void set_upload(struct transfer *its, bool posts)
{
	curl_off_t size = (curl_off_t)its->upload_size;
	if (!kinds[its->kind].by_callback) {
		curl_easy_setopt(its->curl, CURLOPT_POSTFIELDS, its->upload);
		curl_easy_setopt(its->curl, CURLOPT_POSTFIELDSIZE_LARGE, size);
		if (!posts)
			curl_easy_setopt(its->curl, CURLOPT_CUSTOMREQUEST, "PUT");
		return;
	}
	/* Without the shim a POST that libcurl 7.88.1 replayed after a used connection had died stalled, though rarely. */
	curl_easy_setopt(its->curl, CURLOPT_FRESH_CONNECT, (long)posts);
	curl_easy_setopt(its->curl, posts ? CURLOPT_POST : CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(its->curl, posts ? CURLOPT_POSTFIELDSIZE_LARGE : CURLOPT_INFILESIZE_LARGE, size);
	curl_easy_setopt(its->curl, CURLOPT_READFUNCTION, on_read);
	curl_easy_setopt(its->curl, CURLOPT_READDATA, its);
	curl_easy_setopt(its->curl, CURLOPT_SEEKFUNCTION, on_seek);
	curl_easy_setopt(its->curl, CURLOPT_SEEKDATA, its);
}

/* ---- one transfer -------------------------------------------------------------------------------- */

static size_t size_rolled(uint64_t *dice)
{
	size_t i = 0;
	for (unsigned left = roll(dice, 1000); left >= sizes[i].permille; i++)
		left -= sizes[i].permille;
	return sizes[i].least + roll(dice, sizes[i].most - sizes[i].least + 1);
}

/* False when there is none left. */
static bool begin(struct transfer *its, CURL *curl)
{
	char url[200];
	unsigned number = next++;
	if (number >= count)
		return false;
	uint64_t dice = dice_of(seed, first + number, 0);
	*its = (struct transfer){.id = first + number, .curl = curl, .sabotaged = number % 3 == 0};
	for (unsigned left = roll(&dice, 1000); left >= kinds[its->kind].permille; its->kind++)
		left -= kinds[its->kind].permille;
	its->size = size_rolled(&dice);
	curl_easy_reset(curl);
	if (kinds[its->kind].uploads) {
		its->upload_size = 1 + size_rolled(&dice);
		its->upload = malloc(its->upload_size);
		content_fill(its->id, UPLOAD, 0, its->upload, its->upload_size);
		set_upload(its, strcmp(kinds[its->kind].method, "POST") == 0);
	}
	snprintf(url, sizeof url, "%s/%u/%zu", root, its->id, its->size);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_PRIVATE, its);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_write);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, its);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, its);
	if (strcmp(kinds[its->kind].method, "HEAD") == 0)
		curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
	if (roll(&dice, 2) == 0)
		curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 30000L);
	return true;
}

static void end(struct transfer *its, CURLcode code)
{
	long status = 0;
	curl_off_t counted = 0;
	const char *method = kinds[its->kind].method;
	size_t expected = strcmp(method, "HEAD") == 0 ? 0 : its->length;
	curl_easy_getinfo(its->curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(its->curl, CURLINFO_SIZE_DOWNLOAD_T, &counted);
	if (mistakes(its, "silence"))
		code = CURLE_OK;
	if (its->starts > 1 || its->blocks > 1 || its->interims[0] > 1 || its->interims[1] > 1)
		complain(its, " [%u status lines, %u blocks, interim %u and %u]", its->starts, its->blocks, its->interims[0], its->interims[1]);
	if (its->blocks == 1 && status != its->status)
		complain(its, " [a block of %ld]", its->status);
	if (code == CURLE_OK && (its->blocks != 1 || its->got != expected || (status == 200 && its->length != its->size)))
		complain(its, " [a success of %u blocks, %zu bytes of %zu of %zu]", its->blocks, its->got, expected, its->size);
	if (code == CURLE_OK && (size_t)counted != its->got)
		complain(its, " [%ld bytes counted]", (long)counted);
	printf("%u %s %d %ld %zu%s\n", its->id, method, code, status, its->got, its->wrong);
	free(its->upload);
}

/* ---- who drives them ----------------------------------------------------------------------------- */

static void *one_at_a_time(void *context)
{
	struct transfer its;
	CURL *curl = curl_easy_init();
	while (begin(&its, curl)) {
		if (mistakes(&its, "post") && strcmp(kinds[its.kind].method, "POST") == 0) {
			curl_easy_perform(curl);
			its.upload_at = its.got = its.starts = its.blocks = its.interims[1] = 0;
		}
		end(&its, curl_easy_perform(curl));
	}
	curl_easy_cleanup(curl);
	return context;
}

static void easy(void)
{
	pthread_t threads[THREADS];
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, one_at_a_time, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

static void end_and_begin(CURLM *multi, CURL *curl, CURLcode code)
{
	struct transfer *its;
	curl_easy_getinfo(curl, CURLINFO_PRIVATE, (char **)&its);
	end(its, code);
	curl_multi_remove_handle(multi, curl);
	if (begin(its, curl))
		curl_multi_add_handle(multi, curl);
}

static void together(void)
{
	static struct transfer transfers[PARALLEL];
	int running = 1, left;
	CURL *curls[PARALLEL];
	CURLM *multi = curl_multi_init();
	for (int i = 0; i < PARALLEL; i++) {
		curls[i] = curl_easy_init();
		if (begin(&transfers[i], curls[i]))
			curl_multi_add_handle(multi, curls[i]);
	}
	for (bool ended = false; running > 0 || ended;) {
		if (!ended)
			curl_multi_poll(multi, NULL, 0, 1000, NULL);
		ended = false;
		curl_multi_perform(multi, &running);
		for (CURLMsg *message; (message = curl_multi_info_read(multi, &left)) != NULL; ended = true)
			end_and_begin(multi, message->easy_handle, message->data.result);
	}
	for (int i = 0; i < PARALLEL; i++)
		curl_easy_cleanup(curls[i]);
	curl_multi_cleanup(multi);
}

int main(int argc, char **argv)
{
	if (argc < 6)
		return 2;
	root = argv[2];
	seed = strtoull(argv[3], NULL, 10);
	first = (unsigned)atoi(argv[4]);
	count = (unsigned)atoi(argv[5]);
	sabotage = argc > 6 ? argv[6] : "";
	curl_global_init(CURL_GLOBAL_ALL);
	(strcmp(argv[1], "multi") == 0 ? together : easy)();
	curl_global_cleanup();
	return 0;
}
