/* A program that goes on by curl_multi_perform and waits as its style says:
 *   poll    curl_multi_poll
 *   wait    curl_multi_wait
 *   fdset   curl_multi_fdset, curl_multi_timeout and select
 * What it does is said by its words: multi_session.h. */
#include <sys/select.h>

struct driver {
	int unused;
};

#include "multi_session.h"

static void driver_begin(struct multi *its) { (void)its; }
static void driver_end(struct multi *its) { (void)its; }

static void driver_advance(void)
{
	for (struct multi *its = multis; its < multis + MULTIS; its++)
		if (its->curl != NULL) {
			int running = -1;
			CURLMcode code = curl_multi_perform(its->curl, &running);
			went_on(its, code, running);
		}
}

static long driver_due_ms(struct multi *its)
{
	long ms = -2;
	must("timeout", curl_multi_timeout(its->curl, &ms));
	return ms;
}

static int sets_of(struct multi *its, fd_set sets[3])
{
	int most = -1;
	must("fdset", curl_multi_fdset(its->curl, &sets[0], &sets[1], &sets[2], &most));
	return most;
}

static bool driver_backs_off(struct multi *its)
{
	fd_set sets[3] = {0};
	return sets_of(its, sets) == -1 && driver_due_ms(its) > 20;
}

static void wait_by_select(long most_ms)
{
	fd_set sets[3] = {0};
	int most = -1;
	for (struct multi *its = multis; its < multis + MULTIS; its++)
		if (its->curl != NULL) {
			int its_most = sets_of(its, sets);
			long due_ms = driver_due_ms(its);
			most = its_most > most ? its_most : most;
			most_ms = due_ms >= 0 && due_ms < most_ms ? due_ms : most_ms;
		}
	struct timeval time = {.tv_sec = most_ms / 1000, .tv_usec = most_ms % 1000 * 1000};
	if (select(most + 1, &sets[0], &sets[1], &sets[2], &time) < 0)
		must("select", errno);
}

static CURLMcode wait_for(struct multi *its, struct curl_waitfd *extra, unsigned count, int ms, int *ready)
{
	return strcmp(style, "wait") == 0 ? curl_multi_wait(its->curl, extra, count, ms, ready)
	                                  : curl_multi_poll(its->curl, extra, count, ms, ready);
}

static void driver_wait(enum until until, long left_ms)
{
	struct multi *last = NULL;
	long ms = until == UNTIL_TIME && left_ms < patience_ms ? left_ms : patience_ms;
	if (strcmp(style, "fdset") == 0) {
		wait_by_select(ms);
		return;
	}
	for (struct multi *its = multis; its < multis + MULTIS; its++)
		if (its->curl != NULL) {
			ms = last != NULL ? 10 : ms; /* the others have to have their turn */
			last = its;
		}
	if (last != NULL)
		must("wait", wait_for(last, NULL, 0, (int)ms, NULL));
}

/* ---- a wait that something else ends -------------------------------------------------------------- */

static CURLM *to_wake;
static int to_fill = -1;

static void *disturb(void *context)
{
	nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
	if (to_fill >= 0)
		must("write", write(to_fill, "x", 1) != 1);
	else
		must("wakeup", curl_multi_wakeup(to_wake));
	return context;
}

/* extra: by a descriptor of ours; wakeup: by curl_multi_wakeup, which ends curl_multi_poll alone;
 * woken: by the same, called before; timeout: by its own time-out of 300 ms. */
static void driver_interrupt(const char *how)
{
	int ends[2] = {-1, -1}, ready = -1;
	bool extra = strcmp(how, "extra") == 0, times_out = strcmp(how, "timeout") == 0;
	bool woken = strcmp(how, "woken") == 0, alone = times_out || woken;
	pthread_t thread;
	if (pipe(ends) != 0)
		exit(2);
	struct curl_waitfd wait = {.fd = ends[0], .events = CURL_WAIT_POLLIN};
	to_wake = multi->curl;
	to_fill = extra ? ends[1] : -1;
	if (woken)
		must("wakeup", curl_multi_wakeup(to_wake));
	if (!alone)
		pthread_create(&thread, NULL, disturb, NULL);
	double start_s = now_s();
	must("wait", wait_for(multi, extra ? &wait : NULL, extra, times_out ? 300 : 30000, &ready));
	double ms = (now_s() - start_s) * 1000;
	if (!alone)
		pthread_join(thread, NULL);
	printf("interrupted by %s ready=%d revents=%d ms=%.0f\n", how, ready, wait.revents, ms);
	close(ends[0]);
	close(ends[1]);
}
