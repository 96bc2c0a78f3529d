/* A program that does with libcurl what its arguments say, and prints every callback, return value and
 * (asked for by `info`) what curl_easy_getinfo tells. Handles have numbers; the first one is 0.
 *
 *   session new url=http://... header=1 perform info cleanup
 */
#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { HANDLES = 8 };

struct slot {
	CURL *curl;
	struct curl_slist *headers;
	char error[CURL_ERROR_SIZE];
	const char *nested_url;     /* performed once, by the first call of the write callback */
	long header_abort, header_pause, write_abort, write_pause; /* at this call, from 1 */
	long headers_seen, writes_seen, paused;
	long progress_abort_ms, progress_calls;
	double progress_gap_s, progress_last_s;
};

static struct slot slots[HANDLES], *slot = slots;
static CURLM *multi;

static double now_s(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int number_of(const struct slot *its) { return (int)(its - slots); }

static void quote(const char *bytes, size_t length)
{
	putchar('"');
	for (size_t i = 0; i < length && i < 200; i++) {
		unsigned char c = (unsigned char)bytes[i];
		if (c == '\r')
			fputs("\\r", stdout);
		else if (c == '\n')
			fputs("\\n", stdout);
		else if (c < ' ' || c > '~')
			printf("\\x%02x", c);
		else
			putchar(c);
	}
	puts("\"");
}

static size_t answer(struct slot *its, long call, long abort_at, long pause_at, size_t length)
{
	its->paused |= call == pause_at;
	return call == abort_at ? 0 : call == pause_at ? CURL_WRITEFUNC_PAUSE : length;
}

static size_t on_header(char *bytes, size_t size, size_t count, void *context)
{
	struct slot *its = context;
	long call = ++its->headers_seen;
	printf("%d header %zu ", number_of(its), size * count);
	quote(bytes, size * count);
	return answer(its, call, its->header_abort, its->header_pause, size * count);
}

static size_t on_write(char *bytes, size_t size, size_t count, void *context)
{
	struct slot *its = context;
	long call = ++its->writes_seen;
	printf("%d write %zu ", number_of(its), size * count);
	quote(bytes, size * count);
	if (its->nested_url != NULL) {
		CURL *other = curl_easy_init();
		curl_easy_setopt(other, CURLOPT_URL, its->nested_url);
		its->nested_url = NULL;
		printf("%d nested -> %d\n", number_of(its), curl_easy_perform(other));
		curl_easy_cleanup(other);
	}
	return answer(its, call, its->write_abort, its->write_pause, size * count);
}

static int on_progress(void *context, curl_off_t down, curl_off_t got, curl_off_t up, curl_off_t sent)
{
	struct slot *its = context;
	double now = now_s();
	(void)down, (void)got, (void)up, (void)sent;
	if (its->progress_calls++ > 0 && now - its->progress_last_s > its->progress_gap_s)
		its->progress_gap_s = now - its->progress_last_s;
	its->progress_last_s = now;
	if (its->paused != 0 && its->paused++ > 2) {
		its->paused = 0;
		printf("%d unpause -> %d\n", number_of(its), curl_easy_pause(its->curl, CURLPAUSE_CONT));
	}
	static double start;
	start = start != 0 ? start : now;
	return its->progress_abort_ms != 0 && (now - start) * 1000 >= (double)its->progress_abort_ms;
}

static int on_debug(CURL *curl, curl_infotype type, char *bytes, size_t length, void *context)
{
	static const char *const types[] = {"text", "header_in", "header_out", "data_in", "data_out"};
	struct slot *its = context;
	printf("%d debug%s %s %zu ", number_of(its), curl == its->curl ? "" : " (another handle)", types[type], length);
	quote(bytes, length);
	return 0;
}

static void set(CURLoption option, long value) { curl_easy_setopt(slot->curl, option, value); }
static void set_callback(CURLoption function, CURLoption data, void *callback)
{
	curl_easy_setopt(slot->curl, function, callback);
	curl_easy_setopt(slot->curl, data, slot);
}

static void begin(void)
{
	curl_easy_setopt(slot->curl, CURLOPT_ERRORBUFFER, slot->error);
	set_callback(CURLOPT_WRITEFUNCTION, CURLOPT_WRITEDATA, on_write);
	set(CURLOPT_NOSIGNAL, 1);
}

static void ended(CURLcode code)
{
	printf("%d perform -> %d", number_of(slot), code);
	printf(slot->error[0] != '\0' ? " (%s)\n" : "\n", slot->error);
}

static void do_bare(const char *value) { (void)value, slot->curl = curl_easy_init(); }
static void do_new(const char *value) { do_bare(value), begin(); }
static void do_use(const char *value) { slot = &slots[atoi(value)]; }
static void do_url(const char *value) { curl_easy_setopt(slot->curl, CURLOPT_URL, value); }
static void do_perform(const char *value) { (void)value, ended(curl_easy_perform(slot->curl)); }
static void do_headers(const char *value) { (void)value, set_callback(CURLOPT_HEADERFUNCTION, CURLOPT_HEADERDATA, on_header); }
static void do_headerdata(const char *value) { (void)value, curl_easy_setopt(slot->curl, CURLOPT_HEADERDATA, slot); }
static void do_headerfile(const char *value) { (void)value, curl_easy_setopt(slot->curl, CURLOPT_HEADERDATA, stdout); }
static void do_debug(const char *value)
{
	set_callback(CURLOPT_DEBUGFUNCTION, CURLOPT_DEBUGDATA, atoi(value) ? on_debug : NULL);
	set(CURLOPT_VERBOSE, 1);
}
static void do_progress(const char *value)
{
	slot->progress_abort_ms = atol(value);
	set_callback(CURLOPT_XFERINFOFUNCTION, CURLOPT_XFERINFODATA, on_progress);
	set(CURLOPT_NOPROGRESS, 0);
}
/* An option with which transfers are left alone. */
static void do_interleave(const char *value) { (void)value, curl_easy_setopt(slot->curl, CURLOPT_INTERLEAVEFUNCTION, on_write); }
static void do_header(const char *value) { set(CURLOPT_HEADER, atol(value)); }
static void do_nobody(const char *value) { set(CURLOPT_NOBODY, atol(value)); }
static void do_get(const char *value) { set(CURLOPT_HTTPGET, atol(value)); }
static void do_follow(const char *value) { set(CURLOPT_FOLLOWLOCATION, atol(value)); }
static void do_redirects(const char *value) { set(CURLOPT_MAXREDIRS, atol(value)); }
static void do_fail(const char *value) { set(CURLOPT_FAILONERROR, atol(value)); }
static void do_timeout(const char *value) { set(CURLOPT_TIMEOUT_MS, atol(value)); }
static void do_post(const char *value) { curl_easy_setopt(slot->curl, CURLOPT_POSTFIELDS, value); }
static void do_custom(const char *value) { curl_easy_setopt(slot->curl, CURLOPT_CUSTOMREQUEST, value); }
static void do_add(const char *value)
{
	slot->headers = curl_slist_append(slot->headers, value);
	curl_easy_setopt(slot->curl, CURLOPT_HTTPHEADER, slot->headers);
}
static void do_header_abort(const char *value) { slot->header_abort = atol(value); }
static void do_header_pause(const char *value) { slot->header_pause = atol(value); }
static void do_write_abort(const char *value) { slot->write_abort = atol(value); }
static void do_write_pause(const char *value) { slot->write_pause = atol(value); }
static void do_nested(const char *value) { slot->nested_url = value; }

static void do_dup(const char *value)
{
	struct slot *copy = &slots[atoi(value)];
	copy->curl = curl_easy_duphandle(slot->curl);
	if (copy->curl == NULL)
		exit(2);
	slot = copy;
}

/* A copy has its original's context until then. */
static void do_own(const char *value) { (void)value, begin(); }
static void do_reset(const char *value) { (void)value, curl_easy_reset(slot->curl); }

static void do_cleanup(const char *value)
{
	(void)value;
	curl_easy_cleanup(slot->curl);
	curl_slist_free_all(slot->headers);
	*slot = (struct slot){.curl = NULL};
}

/* Closes and opens until the allocator hands out the old address; says whether it did. */
static void do_renew(const char *value)
{
	CURL *old = slot->curl;
	do_cleanup(value);
	do_new(value);
	printf("same address: %d\n", slot->curl == old);
}

static void *perform_thread(void *context)
{
	do_perform(context);
	return NULL;
}

static void do_thread(const char *value)
{
	pthread_t thread;
	(void)value;
	pthread_create(&thread, NULL, perform_thread, NULL);
	pthread_join(thread, NULL);
}

static void do_multi(const char *value)
{
	int running = 1, left;
	(void)value;
	multi = multi != NULL ? multi : curl_multi_init();
	curl_multi_add_handle(multi, slot->curl);
	while (running != 0 && curl_multi_perform(multi, &running) == CURLM_OK && running != 0)
		curl_multi_wait(multi, NULL, 0, 100, NULL);
	for (CURLMsg *message; (message = curl_multi_info_read(multi, &left)) != NULL;)
		if (message->msg == CURLMSG_DONE)
			ended(message->data.result);
	curl_multi_remove_handle(multi, slot->curl);
}

static void do_info(const char *value)
{
	static const struct {
		const char *name;
		CURLINFO info;
	} infos[] = {
		{"status", CURLINFO_RESPONSE_CODE},  {"connects", CURLINFO_NUM_CONNECTS}, {"redirects", CURLINFO_REDIRECT_COUNT},
		{"header_size", CURLINFO_HEADER_SIZE}, {"request_size", CURLINFO_REQUEST_SIZE}, {"port", CURLINFO_PRIMARY_PORT},
		{"auth", CURLINFO_HTTPAUTH_AVAIL},   {"version", CURLINFO_HTTP_VERSION},  {"proto", CURLINFO_PROTOCOL},
		{"errno", CURLINFO_OS_ERRNO},        {"url", CURLINFO_EFFECTIVE_URL},     {"method", CURLINFO_EFFECTIVE_METHOD},
		{"type", CURLINFO_CONTENT_TYPE},     {"ip", CURLINFO_PRIMARY_IP},         {"scheme", CURLINFO_SCHEME},
		{"down", CURLINFO_SIZE_DOWNLOAD_T},  {"up", CURLINFO_SIZE_UPLOAD_T},      {"length", CURLINFO_CONTENT_LENGTH_DOWNLOAD_T},
	};
	printf("%d info", number_of(slot));
	for (size_t i = 0; i < sizeof infos / sizeof infos[0]; i++) {
		long number = 0;
		char *text = NULL;
		curl_off_t large = 0;
		switch (infos[i].info & CURLINFO_TYPEMASK) {
		case CURLINFO_LONG: curl_easy_getinfo(slot->curl, infos[i].info, &number); printf(" %s=%ld", infos[i].name, number); break;
		case CURLINFO_STRING: curl_easy_getinfo(slot->curl, infos[i].info, &text); printf(" %s=%s", infos[i].name, text ? text : "-"); break;
		default: curl_easy_getinfo(slot->curl, infos[i].info, &large); printf(" %s=%ld", infos[i].name, (long)large);
		}
	}
	(void)value;
	putchar('\n');
}

static void do_told(const char *value)
{
	(void)value;
	printf("progress calls=%ld gap_ms=%.0f\n", slot->progress_calls, slot->progress_gap_s * 1000);
}

static const struct {
	const char *name;
	void (*run)(const char *value);
} commands[] = {
#define COMMAND(name) {#name, do_##name}
	COMMAND(new), COMMAND(bare), COMMAND(use), COMMAND(url), COMMAND(perform), COMMAND(headers), COMMAND(headerdata),
	COMMAND(headerfile), COMMAND(debug), COMMAND(progress), COMMAND(header), COMMAND(nobody), COMMAND(get), COMMAND(follow),
	COMMAND(fail), COMMAND(timeout), COMMAND(post), COMMAND(custom), COMMAND(add), COMMAND(header_abort),
	COMMAND(header_pause), COMMAND(write_abort), COMMAND(write_pause), COMMAND(nested), COMMAND(interleave), COMMAND(dup), COMMAND(own),
	COMMAND(reset), COMMAND(cleanup), COMMAND(renew), COMMAND(redirects), COMMAND(thread), COMMAND(multi), COMMAND(info), COMMAND(told),
};

static void obey(char *word)
{
	char *equals = strchr(word, '=');
	size_t length = equals != NULL ? (size_t)(equals - word) : strlen(word);
	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
		if (strlen(commands[i].name) == length && memcmp(commands[i].name, word, length) == 0) {
			commands[i].run(equals != NULL ? equals + 1 : "1");
			return;
		}
	fprintf(stderr, "session: unknown command %s\n", word);
	exit(2);
}

int main(int argc, char **argv)
{
	curl_global_init(CURL_GLOBAL_ALL);
	for (int i = 1; i < argc; i++)
		obey(argv[i]);
	for (slot = slots; slot < slots + HANDLES; slot++)
		if (slot->curl != NULL)
			do_cleanup(NULL);
	if (multi != NULL)
		curl_multi_cleanup(multi);
	curl_global_cleanup();
	return 0;
}
