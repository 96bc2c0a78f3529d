/* The body of a request, and whether it can be produced again. */
#include "hooks/curl_handle.h"

#include <stdatomic.h>
#include <unistd.h>

static _Atomic(int) seekless_mime;

void upload_saw_seekless_mime(void) { atomic_store_explicit(&seekless_mime, 1, memory_order_relaxed); }

static bool has_stream_body(const struct easy_options *options)
{
	return options->request == REQUEST_PUT || (options->request == REQUEST_POST && options->post_fields == NULL);
}

/* The default reader reads from where the program left its FILE. */
void upload_begin(struct easy *easy)
{
	const struct easy_options *options = &easy->options;
	easy->reader_offset = -1;
	easy->stdin_offset = 0;
	if (!has_stream_body(options))
		return;
	if (options->seek != NULL || options->ioctl != NULL)
		easy->stdin_offset = lseek(STDIN_FILENO, 0, SEEK_CUR);
	else if (options->read == NULL && options->read_data != NULL)
		easy->reader_offset = ftell(options->read_data);
}

/* True if the body comes from standard input, and it did not stand at its start: `curl -T -` seeks to
 * the start of the file, and would upload what its caller had already read. */
static bool moved_stdin(const struct easy *easy)
{
	return easy->stdin_offset > 0 && lseek(STDIN_FILENO, 0, SEEK_CUR) != easy->stdin_offset;
}

/* Makes the body readable from its start again; false if that cannot be done. Memory needs nothing,
 * and libcurl rewinds MIME parts itself. */
bool upload_rewind(void *context)
{
	struct easy *easy = context;
	const struct easy_options *options = &easy->options;
	if (!facts_sent(easy)) /* nothing was read yet */
		return true;
	if (options->request == REQUEST_POST_FORM)
		return atomic_load_explicit(&seekless_mime, memory_order_relaxed) == 0;
	if (!has_stream_body(options))
		return true;
	if (moved_stdin(easy))
		return false;
	if (options->seek != NULL)
		return options->seek(options->seek_data, 0, SEEK_SET) == CURL_SEEKFUNC_OK;
	if (options->ioctl != NULL)
		return options->ioctl(handle_of(easy), CURLIOCMD_RESTARTREAD, options->ioctl_data) == CURLIOE_OK;
	return options->read == NULL && easy->reader_offset >= 0 &&
	       fseek(options->read_data, easy->reader_offset, SEEK_SET) == 0;
}
