/* What the hosts of curl_multi share: transfers and multis with numbers, and the words that say what is done
 * with them. A host defines struct driver and the driver_ functions: how it waits, and how it goes on.
 *
 *   multi style=poll new url=http://... add drive info
 *
 * `drive` goes on until nothing runs; `until` until all that runs is in a backoff, that is: libcurl waits for no
 * descriptor, but for an instant yet to come. Word lists parted by `--` run in a thread each. */
#ifndef CURL_HOSTS_MULTI_SESSION_H
#define CURL_HOSTS_MULTI_SESSION_H

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "multi_transfer.h"

enum { MULTIS = 4 };
enum until { UNTIL_DONE, UNTIL_BACKOFF, UNTIL_TIME };

struct multi {
	CURLM *curl;
	int running, told;
	bool fresh;   /* a transfer was added, and libcurl has not been called since */
	bool changed; /* a transfer was taken away, likewise */
	struct driver driver;
};

static _Thread_local struct multi multis[MULTIS], *multi;
static _Thread_local const char *style = "";
static _Thread_local long patience_ms = 1000, turns, timeouts, wakeups, messages;
static _Thread_local int lazy; /* messages are read: 0 at every turn, 1 when nothing runs, 2 by `read` alone */
static _Thread_local bool eager, clocked;
static struct rusage usage_at_start;

static void driver_begin(struct multi *its);
static void driver_end(struct multi *its);
static void driver_advance(void);
static void driver_wait(enum until until, long left_ms);
static bool driver_backs_off(struct multi *its); /* if something runs */
static long driver_due_ms(struct multi *its);
static void driver_interrupt(const char *how);

static void must(const char *what, int code)
{
	if (code == 0)
		return;
	printf("%s -> %d\n", what, code);
	exit(4);
}

static void went_on(struct multi *its, CURLMcode code, int running)
{
	must("went on", code);
	turns++;
	its->fresh = its->changed = false;
	its->running = running;
	if (running != its->told)
		printf("m%d running %d\n", (int)(its - multis), running);
	its->told = running;
}

static bool runs(void)
{
	bool any = false;
	for (struct multi *its = multis; its < multis + MULTIS; its++)
		any |= its->curl != NULL && (its->running > 0 || its->fresh);
	return any;
}

static bool all_back_off(void)
{
	for (struct multi *its = multis; its < multis + MULTIS; its++)
		if (its->curl != NULL && (its->fresh || (its->running > 0 && !driver_backs_off(its))))
			return false;
	return runs();
}

static void do_info(const char *value);
static void do_remove(const char *value);
static void do_cleanup(const char *value);

static void do_read(const char *value)
{
	(void)value;
	for (struct multi *its = multis; its < multis + MULTIS; its++) {
		int left;
		CURLMsg *message;
		while (its->curl != NULL && (message = curl_multi_info_read(its->curl, &left)) != NULL) {
			struct transfer *done = transfer_of(message->easy_handle);
			messages++;
			flockfile(stdout); /* threads print lines, not pieces of them */
			printf("%d done %d left=%d", done != NULL ? number_of(done) : -1, (int)message->data.result, left);
			if (clocked)
				printf(" at=%.0f", (now_s() - began_s) * 1000);
			printf(done != NULL && done->error[0] != '\0' ? " (%s)\n" : "\n", done != NULL ? done->error : "");
			funlockfile(stdout);
			if (!eager || done == NULL)
				continue;
			transfer = done;
			multi = its;
			do_info(NULL);
			do_remove(NULL);
			do_cleanup(NULL);
		}
	}
}

static void drive(enum until until, long ms)
{
	double end_s = now_s() + (double)ms / 1000;
	for (;;) {
		driver_advance();
		bool any = runs();
		if (lazy == 0 || (lazy == 1 && !any))
			do_read(NULL);
		if (until == UNTIL_TIME ? now_s() >= end_s : !any || (until == UNTIL_BACKOFF && all_back_off()))
			break;
		double left_s = end_s - now_s();
		wakeups++;
		driver_wait(until, left_s > 0 ? (long)(left_s * 1000) + 1 : 0);
	}
	if (until == UNTIL_BACKOFF)
		puts(runs() ? "backoff" : "no backoff");
}

/* ---- words ---------------------------------------------------------------------------------------- */

static void do_style(const char *value) { style = value; }
static void do_patience(const char *value) { patience_ms = atol(value); }
static void do_lazy(const char *value) { lazy = atoi(value); }
static void do_eager(const char *value) { (void)value, eager = true; }
static void do_clock(const char *value) { (void)value, clocked = true; }

static void do_multi(const char *value)
{
	multi = &multis[atoi(value)];
	if (multi->curl != NULL)
		return;
	*multi = (struct multi){.curl = curl_multi_init()};
	driver_begin(multi);
}

static void do_max_host(const char *value)
{
	must("max_host", curl_multi_setopt(multi->curl, CURLMOPT_MAX_HOST_CONNECTIONS, atol(value)));
}

static void told_code(const char *what, int code) { printf("%d %s -> %d\n", number_of(transfer), what, code); }

static void do_add(const char *value)
{
	(void)value;
	if (multi->curl == NULL)
		do_multi("0");
	CURLMcode code = curl_multi_add_handle(multi->curl, transfer->curl);
	multi->fresh |= code == CURLM_OK;
	if (code != CURLM_OK)
		told_code("add", code);
}

static void do_remove(const char *value)
{
	(void)value;
	CURLMcode code = curl_multi_remove_handle(multi->curl, transfer->curl);
	multi->changed = true;
	if (code != CURLM_OK)
		told_code("remove", code);
}

static void do_cleanup(const char *value)
{
	(void)value;
	transfer_cleanup(transfer);
	multi->changed = true;
}

static void do_reset(const char *value)
{
	(void)value;
	curl_easy_reset(transfer->curl);
	multi->changed = true;
}

static void do_destroy(const char *value)
{
	(void)value;
	printf("destroy -> %d\n", curl_multi_cleanup(multi->curl));
	multi->curl = NULL;
	driver_end(multi);
}

static void do_pause(const char *value) { told_code("pause", curl_easy_pause(transfer->curl, atoi(value))); }
static void do_drive(const char *value) { (void)value, drive(UNTIL_DONE, 0); }
static void do_until(const char *value) { (void)value, drive(UNTIL_BACKOFF, 0); }
static void do_pass(const char *value) { drive(UNTIL_TIME, atol(value)); }
static void do_due(const char *value) { (void)value, printf("due %ld\n", driver_due_ms(multi)); }
static void do_interrupt(const char *value) { driver_interrupt(value); }

static void do_perform(const char *value)
{
	(void)value;
	told_code("perform", curl_easy_perform(transfer->curl));
}

static void do_told(const char *value)
{
	struct rusage now;
	getrusage(RUSAGE_SELF, &now);
	timeradd(&now.ru_utime, &now.ru_stime, &now.ru_utime);
	timersub(&now.ru_utime, &usage_at_start.ru_utime, &now.ru_utime);
	printf("told turns=%ld timeouts=%ld wakeups=%ld messages=%ld cpu_ms=%ld\n", turns, timeouts, wakeups, messages,
	       (long)(now.ru_utime.tv_sec * 1000 + now.ru_utime.tv_usec / 1000));
	(void)value;
}

static void do_all(const char *value)
{
	for (transfer = transfers; transfer < transfers + TRANSFERS; transfer++)
		if (transfer->curl != NULL)
			do_info(value);
	transfer = transfers;
}

static const struct {
	const char *name;
	void (*run)(const char *value);
} commands[] = {
#define COMMAND(name) {#name, do_##name}
	TRANSFER_COMMANDS, COMMAND(style), COMMAND(patience), COMMAND(lazy), COMMAND(eager), COMMAND(clock), COMMAND(multi),
	COMMAND(max_host), COMMAND(add), COMMAND(remove), COMMAND(cleanup), COMMAND(reset), COMMAND(destroy), COMMAND(pause),
	COMMAND(drive), COMMAND(until), COMMAND(pass), COMMAND(due), COMMAND(interrupt), COMMAND(perform), COMMAND(told),
	COMMAND(all), COMMAND(read),
};

static void obey(const char *word)
{
	const char *equals = strchr(word, '=');
	size_t length = equals != NULL ? (size_t)(equals - word) : strlen(word);
	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
		if (strlen(commands[i].name) == length && memcmp(commands[i].name, word, length) == 0) {
			commands[i].run(equals != NULL ? equals + 1 : "1");
			return;
		}
	fprintf(stderr, "unknown word %s\n", word);
	exit(2);
}

static void *obey_all(void *context)
{
	began_s = now_s();
	multi = multis;
	for (char **word = context; *word != NULL && strcmp(*word, "--") != 0; word++)
		obey(*word);
	for (transfer = transfers; transfer < transfers + TRANSFERS; transfer++)
		if (transfer->curl != NULL)
			transfer_cleanup(transfer);
	for (multi = multis; multi < multis + MULTIS; multi++)
		if (multi->curl != NULL) {
			must("destroy", curl_multi_cleanup(multi->curl));
			driver_end(multi);
		}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[8];
	int count = 0;
	setvbuf(stdout, NULL, _IOLBF, 0);
	curl_global_init(CURL_GLOBAL_ALL);
	getrusage(RUSAGE_SELF, &usage_at_start);
	timeradd(&usage_at_start.ru_utime, &usage_at_start.ru_stime, &usage_at_start.ru_utime);
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--") == 0 && count < 8)
			pthread_create(&threads[count++], NULL, obey_all, &argv[i + 1]);
	obey_all(argv + 1);
	while (count > 0)
		pthread_join(threads[--count], NULL);
	curl_global_cleanup();
	return 0;
}

#endif
