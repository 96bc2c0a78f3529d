/* pthread_cancel on a thread that backs off, attempts, or tells. */
#include <pthread.h>
#include <sys/time.h>

#include "host.h"

static const char *port;
static struct sockaddr_in to;
static int file;

static void *connects(void *unused)
{
	(void)unused;
	connect(file, (const struct sockaddr *)&to, sizeof to);
	pthread_testcancel();
	return NULL;
}

static void *connects_asynchronously(void *unused)
{
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	return connects(unused);
}

static void *connects_later(void *result)
{
	*(int *)result = connect_and_read(port);
	return NULL;
}

static void start_on(const char *number, struct descriptors *before)
{
	port = number;
	to = loopback(number);
	descriptors_read(before);
	file = socket(AF_INET, SOCK_STREAM, 0);
}

static void end_thread(pthread_t thread)
{
	void *result;
	struct timespec limit;
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += 10;
	pthread_cancel(thread);
	if (pthread_timedjoin_np(thread, &result, &limit) != 0)
		say("thread", "stuck");
	else
		say("thread", result == PTHREAD_CANCELED ? "cancelled" : "returned");
}

/* The rest of the process: another thread connects to the same port, which opens now. */
static int aftermath(const struct descriptors *before)
{
	pthread_t other;
	int error = -1;
	close(file);
	say("now", "others");
	pthread_create(&other, NULL, connects_later, &error);
	pthread_join(other, NULL);
	say("connect", error_name(error));
	say_descriptors(before);
	return 0;
}

static int in_backoff_of(void *(*function)(void *), char **arguments)
{
	pthread_t thread;
	struct descriptors before;
	start_on(arguments[0], &before);
	pthread_create(&thread, NULL, function, NULL);
	await_diagnostics(1);
	end_thread(thread);
	return aftermath(&before);
}

static int in_backoff(char **arguments) { return in_backoff_of(connects, arguments); }

static int asynchronously(char **arguments) { return in_backoff_of(connects_asynchronously, arguments); }

/* PORT FULL-PORT: the second attempt hangs, as FULL-PORT's queue is full. SO_SNDTIMEO is 30 s. */
static int in_attempt(char **arguments)
{
	pthread_t thread;
	struct descriptors before;
	struct timeval limit = {.tv_sec = 30}, now = {0};
	socklen_t size = sizeof now;
	start_on(arguments[1], &before);
	setsockopt(file, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	pthread_create(&thread, NULL, connects, NULL);
	await_diagnostics(1);
	say("now", "hang");
	for (int turn = 0; turn < 2000; turn++) {
		getsockopt(file, SOL_SOCKET, SO_SNDTIMEO, &now, &size);
		if (now.tv_sec != limit.tv_sec)
			break;
		pause_ms(5);
	}
	say("shortened", now.tv_sec != limit.tv_sec ? "yes" : "no");
	end_thread(thread);
	getsockopt(file, SOL_SOCKET, SO_SNDTIMEO, &now, &size);
	say("restored", now.tv_sec == limit.tv_sec && now.tv_usec == 0 ? "yes" : "no");
	port = arguments[0];
	return aftermath(&before);
}

/* PORT TIMES: cancelled at instants that sweep over the first failure and its diagnostics. */
static int storm(char **arguments)
{
	struct descriptors before;
	int stuck = 0;
	start_on(arguments[0], &before);
	for (int i = 0; i < atoi(arguments[1]); i++) {
		pthread_t thread;
		struct timespec pause = {.tv_nsec = i % 100 * 3000};
		pthread_create(&thread, NULL, connects, NULL);
		nanosleep(&pause, NULL);
		pthread_cancel(thread);
		stuck += pthread_join(thread, NULL) != 0;
	}
	say_number("stuck", stuck);
	return aftermath(&before);
}

static const struct scenario scenarios[] = {
	{"backoff", in_backoff}, {"asynchronous", asynchronously}, {"attempt", in_attempt}, {"storm", storm}};

int main(int argc, char **argv) { return RUN_SCENARIO(scenarios, argc, argv); }
