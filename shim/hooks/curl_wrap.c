/* Our callbacks in the place of the program's. They stay on a handle from its first operation to its end, so
 * that a healthy transfer does not pay for putting them there; outside an operation they hand on. */
#include "hooks/curl_handle.h"

static void wrap_debug(struct easy *easy, CURL *handle)
{
	easy->real->easy_setopt(handle, CURLOPT_DEBUGFUNCTION, easy->options.debug != NULL ? response_on_debug : NULL);
	easy->real->easy_setopt(handle, CURLOPT_DEBUGDATA, easy);
}

static void wrap_open_socket(struct easy *easy, CURL *handle)
{
	bool has = easy->options.open_socket != NULL;
	easy->real->easy_setopt(handle, CURLOPT_OPENSOCKETFUNCTION, has ? response_on_open_socket : NULL);
	easy->real->easy_setopt(handle, CURLOPT_OPENSOCKETDATA, easy);
}

/* facts_refused() reads it. */
static void wrap_error_buffer(struct easy *easy, CURL *handle)
{
	if (easy->options.error_buffer == NULL)
		easy->real->easy_setopt(handle, CURLOPT_ERRORBUFFER, easy->error_text);
}

void wrap_again(struct easy *easy, CURL *handle, CURLoption option)
{
	if (!easy->wrapped)
		return;
	if (option == CURLOPT_DEBUGFUNCTION)
		wrap_debug(easy, handle);
	else if (option == CURLOPT_OPENSOCKETFUNCTION)
		wrap_open_socket(easy, handle);
	else if (option == CURLOPT_ERRORBUFFER)
		wrap_error_buffer(easy, handle);
}

void wrap(struct easy *easy, CURL *handle)
{
	if (easy->wrapped)
		return;
	easy->wrapped = true;
	easy->real->easy_setopt(handle, CURLOPT_WRITEFUNCTION, response_on_body);
	easy->real->easy_setopt(handle, CURLOPT_WRITEDATA, easy);
	easy->real->easy_setopt(handle, CURLOPT_HEADERFUNCTION, response_on_header);
	easy->real->easy_setopt(handle, CURLOPT_HEADERDATA, easy);
	easy->real->easy_setopt(handle, CURLOPT_HEADER, 0L); /* see hold_header() */
	easy->real->easy_setopt(handle, CURLOPT_PREREQFUNCTION, response_on_request);
	easy->real->easy_setopt(handle, CURLOPT_PREREQDATA, easy);
	easy->error_text[0] = '\0';
	wrap_error_buffer(easy, handle);
	if (easy->options.debug != NULL)
		wrap_debug(easy, handle);
	if (easy->options.open_socket != NULL)
		wrap_open_socket(easy, handle);
}

void unwrap(struct easy *easy, CURL *handle)
{
	const struct easy_options *options = &easy->options;
	if (!easy->wrapped)
		return;
	easy->wrapped = false;
	easy->real->easy_setopt(handle, CURLOPT_WRITEFUNCTION, options->write);
	easy->real->easy_setopt(handle, CURLOPT_WRITEDATA, options->write_data);
	easy->real->easy_setopt(handle, CURLOPT_HEADERFUNCTION, options->header);
	easy->real->easy_setopt(handle, CURLOPT_HEADERDATA, options->header_data);
	easy->real->easy_setopt(handle, CURLOPT_HEADER, (long)options->include_header);
	easy->real->easy_setopt(handle, CURLOPT_PREREQFUNCTION, options->prereq);
	easy->real->easy_setopt(handle, CURLOPT_PREREQDATA, options->prereq_data);
	easy->real->easy_setopt(handle, CURLOPT_ERRORBUFFER, options->error_buffer);
	easy->real->easy_setopt(handle, CURLOPT_OPENSOCKETFUNCTION, options->open_socket);
	easy->real->easy_setopt(handle, CURLOPT_OPENSOCKETDATA, options->open_socket_data);
	easy->real->easy_setopt(handle, CURLOPT_DEBUGFUNCTION, options->debug);
	easy->real->easy_setopt(handle, CURLOPT_DEBUGDATA, options->debug_data);
}
