#include "raw.h"
#include "log.h"
#include "net.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool send_line(int fd, const struct bytes *line)
{
	if (line->length == 0)
		return true;
	bool ended = line->data[line->length - 1] == '\n';
	return net_send(fd, line->data, line->length) && (ended || net_send(fd, "\r\n", 2));
}

static bool receive_line(struct reader *reader, uint64_t connection)
{
	size_t length;
	const char *line = reader_line(reader, &length);
	if (line)
		log_line(connection, line, length);
	return line != NULL;
}

void raw_dialog(struct reader *reader, uint64_t connection, const struct step *step)
{
	for (size_t i = 0; i < step->line_count; i++)
		if ((i > 0 && !receive_line(reader, connection)) || !send_line(reader->fd, &step->lines[i]))
			return;
	reader->deadline_ns = net_now_ns() + CLOSE_GRACE_NS;
	while (receive_line(reader, connection))
		;
	reader->deadline_ns = 0;
}

struct pump {
	int from, to;
};

static void *pump_main(void *argument)
{
	const struct pump *pump = argument;
	char buffer[16384];
	ssize_t got;
	do
		got = recv(pump->from, buffer, sizeof(buffer), 0);
	while ((got > 0 && net_send(pump->to, buffer, (size_t)got)) || (got < 0 && errno == EINTR));
	if (got == 0) {
		shutdown(pump->to, SHUT_WR);
	} else {
		/* One side is gone: the other pump must not wait for it. */
		shutdown(pump->from, SHUT_RDWR);
		shutdown(pump->to, SHUT_RDWR);
	}
	return NULL;
}

bool raw_forward(struct reader *reader, uint64_t connection, const struct step *step)
{
	const char *error;
	pthread_t thread;
	int server = net_connect(step->host, step->port, &error);
	if (server < 0) {
		log_failure(connection, error);
		return false;
	}
	struct pump up = {reader->fd, server}, down = {server, reader->fd};
	size_t held = reader->end - reader->start;
	bool started = net_send(server, reader->data + reader->start, held) &&
		       pthread_create(&thread, NULL, pump_main, &down) == 0;
	if (started) {
		pump_main(&up);
		pthread_join(thread, NULL);
	} else {
		log_failure(connection, "the forwarding did not start");
	}
	close(server);
	return started;
}
