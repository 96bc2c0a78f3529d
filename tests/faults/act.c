#include "act.h"
#include "answer.h"
#include "log.h"
#include "net.h"
#include "raw.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

/* How long a body may take to come that the client was not asked for: curl waits 1 s for its 100. */
#define UNASKED_BODY_NS (100 * NS_PER_MS)

/* A thousand threads should not reserve 8 MiB each. */
#define STACK_SIZE ((size_t)512 * 1024)

enum ending { KEEP, CLOSE, RESET };

struct connection {
	uint64_t number;
	uint64_t requests;
	struct script *script;
	const struct step *first; /* taken at accept; NULL = none */
	struct request request;   /* the one that is being served */
	struct reader reader;
};

typedef enum ending action(struct connection *connection, const struct step *step);

static enum ending act_answer(struct connection *connection, const struct step *step)
{
	const struct request *request = &connection->request;
	bool sent = answer_whole(connection->reader.fd, step, request);
	return sent && answer_keeps_alive(step, request) ? KEEP : CLOSE;
}

static enum ending act_reset(struct connection *connection, const struct step *step)
{
	(void)connection, (void)step;
	return RESET;
}

static enum ending act_close(struct connection *connection, const struct step *step)
{
	(void)connection, (void)step;
	return CLOSE;
}

static enum ending act_greet(struct connection *connection, const struct step *step)
{
	if (net_send(connection->reader.fd, step->lines[0].data, step->lines[0].length))
		net_wait_for_close(connection->reader.fd, CLOSE_GRACE_NS);
	return CLOSE;
}

static enum ending act_dialog(struct connection *connection, const struct step *step)
{
	raw_dialog(&connection->reader, connection->number, step);
	return CLOSE;
}

static enum ending act_forward(struct connection *connection, const struct step *step)
{
	return raw_forward(&connection->reader, connection->number, step) ? CLOSE : RESET;
}

static enum ending act_partial_header(struct connection *connection, const struct step *step)
{
	answer_partial_header(connection->reader.fd, step, &connection->request);
	return step->reset == 1 ? RESET : CLOSE;
}

static enum ending act_partial_body(struct connection *connection, const struct step *step)
{
	answer_partial_body(connection->reader.fd, step, &connection->request);
	return step->reset == 1 ? RESET : CLOSE;
}

static enum ending act_hang(struct connection *connection, const struct step *step)
{
	net_wait_for_close(connection->reader.fd, step->for_ns);
	return CLOSE;
}

static action *const actions[STEP_KINDS] = {
	[STEP_ANSWER] = act_answer,
	[STEP_RESET] = act_reset,
	[STEP_CLOSE] = act_close,
	[STEP_GREET] = act_greet,
	[STEP_DIALOG] = act_dialog,
	[STEP_FORWARD] = act_forward,
	[STEP_RESET_AFTER] = act_reset,
	[STEP_EMPTY] = act_close,
	[STEP_RESET_MID] = act_reset,
	[STEP_PARTIAL_HEADER] = act_partial_header,
	[STEP_PARTIAL_BODY] = act_partial_body,
	[STEP_HANG] = act_hang,
};

static bool wants_body(const struct step *step)
{
	return (step->kind == STEP_ANSWER && step->status < 400) ||
	       (step->kind == STEP_RESET_MID && step->bytes > 0);
}

static void read_body(struct connection *connection, const struct step *step)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct reader *reader = &connection->reader;
	struct request *request = &connection->request;
	uint64_t limit = step->kind == STEP_RESET_MID ? (uint64_t)step->bytes : BODY_UNLIMITED;
	if (request->expects_continue) {
		if (wants_body(step))
			net_send(reader->fd, go_on, sizeof(go_on) - 1);
		else if (reader->start == reader->end && !net_wait(reader->fd, POLLIN, UNASKED_BODY_NS))
			return;
	}
	http_read_body(reader, request, limit);
}

static enum ending serve(struct connection *connection)
{
	struct reader *reader = &connection->reader;
	struct request *request = &connection->request;
	enum head_result head = http_read_head(reader, request);
	if (head == HEAD_NONE)
		return CLOSE;
	const struct step *step = head == HEAD_READ ? script_take(connection->script) : NULL;
	if (step && step->kind == STEP_FORWARD)
		http_unread_head(reader, request); /* the real server is to answer it */
	else if (step)
		read_body(connection, step);
	connection->requests++;
	log_request(connection->number, connection->requests, step ? step->name : NULL, request);
	return step ? actions[step->kind](connection, step) : CLOSE;
}

static void *connection_main(void *argument)
{
	struct connection *connection = argument;
	const struct step *first = connection->first;
	enum ending ending = first ? actions[first->kind](connection, first) : KEEP;
	while (ending == KEEP) {
		ending = serve(connection);
		http_free(&connection->request);
	}
	(ending == RESET ? net_reset : net_close)(connection->reader.fd);
	log_closed(connection->number);
	free(connection);
	return NULL;
}

static bool start(struct connection *connection)
{
	pthread_t thread;
	pthread_attr_t attributes;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	int error = pthread_create(&thread, &attributes, connection_main, connection);
	pthread_attr_destroy(&attributes);
	return error == 0;
}

void act_on_connection(int fd, uint64_t number, struct script *script)
{
	const int on = 1;
	const struct step *first = script_take_at_accept(script);
	/* Header block and body, or two pieces of a body, are to reach the client one by one. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	log_accept(number, first ? first->name : NULL);
	/* Not cleared: of 64 KiB, most requests touch one page. */
	struct connection *connection = malloc(sizeof(*connection));
	if (connection) {
		connection->number = number;
		connection->requests = 0;
		connection->script = script;
		connection->first = first;
		connection->reader.fd = fd;
		connection->reader.deadline_ns = 0;
		connection->reader.start = connection->reader.end = 0;
		if (start(connection))
			return;
		free(connection);
	}
	log_failure(number, "no memory for a connection");
	net_reset(fd);
}
