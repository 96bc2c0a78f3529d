/* Asks for /late by libuv and prints the answer; argument: the port. */
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

static char request[] = "GET /late HTTP/1.0\r\n\r\n";
static char buffer[65536];

static void check(int result)
{
	if (result < 0) {
		fprintf(stderr, "%s\n", uv_strerror(result));
		exit(1);
	}
}

static void give_buffer(uv_handle_t *handle, size_t size, uv_buf_t *into)
{
	(void)handle, (void)size;
	*into = uv_buf_init(buffer, sizeof(buffer));
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *data)
{
	if (got == UV_EOF)
		uv_close((uv_handle_t *)stream, NULL);
	else
		check((int)got);
	if (got > 0)
		fwrite(data->base, 1, (size_t)got, stdout);
}

static void on_write(uv_write_t *write, int status)
{
	check(status);
	check(uv_read_start(write->handle, give_buffer, on_read));
}

static void on_connect(uv_connect_t *connect, int status)
{
	static uv_write_t write;
	uv_buf_t data = uv_buf_init(request, sizeof(request) - 1);
	check(status);
	check(uv_write(&write, connect->handle, &data, 1, on_write));
}

int main(int argc, char **argv)
{
	struct sockaddr_in address;
	uv_tcp_t tcp;
	uv_connect_t connect;
	check(uv_ip4_addr("127.0.0.1", argc == 2 ? atoi(argv[1]) : 0, &address));
	check(uv_tcp_init(uv_default_loop(), &tcp));
	check(uv_tcp_connect(&connect, &tcp, (struct sockaddr *)&address, on_connect));
	return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
