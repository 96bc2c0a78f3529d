/* Follows curl_easy_setopt: what a handle's next request will be, and whose callbacks it has. */
#include "hooks/curl_handle.h"

#include <string.h>


/* Why options are not understood, a bit each. A handle whose URL nobody has told us is set up behind our back
 * (by dlsym): what else it has been told is not known either. */
enum { BIT_0 = 1, BIT_1 = 2, BIT_2 = 4, BIT_3 = 8, BIT_4 = 16, BIT_5 = 32, BIT_6 = 64, BIT_7 = 128, BIT_8 = 256, BIT_NO_URL = 512 };

static void mark(unsigned *bits, unsigned bit, bool on) { *bits = on ? *bits | bit : *bits & ~bit; }

void options_default(struct easy_options *options)
{
	*options = (struct easy_options){.write_data = stdout, .read_data = stdin, .no_progress = true, .left_alone = BIT_NO_URL};
}

/* An option's value by the type that its number tells (CURLOPTTYPE_*, curl.h). */
union value {
	long number;
	void *pointer;
	void (*function)(void);
	curl_off_t large;
};

/* Mirrors what Curl_vsetopt (lib/setopt.c) makes of the options that choose the method. */
static void follow_method(struct easy_options *options, CURLoption option, const union value *value)
{
	bool on = value->number != 0;
	switch (option) {
	case CURLOPT_NOBODY:
		options->no_body = on;
		if (on)
			options->request = REQUEST_HEAD;
		else if (options->request == REQUEST_HEAD)
			options->request = REQUEST_GET;
		return;
	case CURLOPT_HTTPGET:
		if (!on)
			return;
		options->request = REQUEST_GET;
		break;
	case CURLOPT_POST: options->request = on ? REQUEST_POST : REQUEST_GET; break;
	case CURLOPT_UPLOAD:
	case CURLOPT_PUT: options->request = on ? REQUEST_PUT : REQUEST_GET; break;
	case CURLOPT_MIMEPOST:
	case CURLOPT_HTTPPOST: options->request = REQUEST_POST_FORM; break;
	default: /* CURLOPT_POSTFIELDS, CURLOPT_COPYPOSTFIELDS: no_body stays as it is */
		options->post_fields = value->pointer;
		options->request = REQUEST_POST;
		return;
	}
	options->no_body = false;
}

static void follow_custom_method(struct easy_options *options, const char *method)
{
	/* One that does not fit is not in any list of methods either. */
	options->custom_method[0] = '\0';
	if (method != NULL)
		strncat(options->custom_method, method, sizeof options->custom_method - 1);
}

/* True if libcurl must not see the option, since our own callback stands in its place. */
static bool is_ours(const struct easy *easy, CURLoption option)
{
	if (!easy->wrapped)
		return false;
	switch (option) {
	case CURLOPT_WRITEFUNCTION:
	case CURLOPT_WRITEDATA:
	case CURLOPT_HEADERFUNCTION:
	case CURLOPT_HEADERDATA:
	case CURLOPT_HEADER:
	case CURLOPT_PREREQFUNCTION:
	case CURLOPT_PREREQDATA:
	case CURLOPT_DEBUGFUNCTION:
	case CURLOPT_DEBUGDATA: return true;
	case CURLOPT_OPENSOCKETFUNCTION:
	case CURLOPT_OPENSOCKETDATA: return true;
	case CURLOPT_XFERINFOFUNCTION:
	case CURLOPT_XFERINFODATA: return resume_holds_progress(easy);
	case CURLOPT_CONNECT_TO: return easy->fallback.going;
	case CURLOPT_HTTPHEADER: return resume_holds_headers(easy);
	default: return false;
	}
}

static void follow_object(struct easy_options *options, CURLoption option, const union value *value)
{
	switch (option) {
	case CURLOPT_CONNECT_TO: options->connect_to = value->pointer; break;
	case CURLOPT_RESOLVE: options->resolve = value->pointer; break;
	case CURLOPT_PROXY:
	case CURLOPT_NOPROXY:
	case CURLOPT_PRE_PROXY:
	case CURLOPT_UNIX_SOCKET_PATH:
	case CURLOPT_ABSTRACT_UNIX_SOCKET:
	case CURLOPT_INTERFACE: way_follow(options, option, value->pointer); break;
	case CURLOPT_URL: options->url_is_new = true; /* fall through */
	case CURLOPT_CURLU: mark(&options->left_alone, BIT_NO_URL, value->pointer == NULL); break;
	case CURLOPT_WRITEDATA: options->write_data = value->pointer; break;
	case CURLOPT_HEADERDATA: options->header_data = value->pointer; break;
	case CURLOPT_DEBUGDATA: options->debug_data = value->pointer; break;
	case CURLOPT_READDATA: options->read_data = value->pointer; break;
	case CURLOPT_SEEKDATA: options->seek_data = value->pointer; break;
	case CURLOPT_IOCTLDATA: options->ioctl_data = value->pointer; break;
	case CURLOPT_XFERINFODATA: options->progress_data = value->pointer; break; /* = PROGRESSDATA */
	case CURLOPT_RANGE: options->range = value->pointer; break;
	case CURLOPT_HTTP200ALIASES: mark(&options->left_alone, BIT_0, value->pointer != NULL); break; /* header blocks that do not look it */
	case CURLOPT_ACCEPT_ENCODING: mark(&options->raw, BIT_3, value->pointer != NULL); break;
	case CURLOPT_ERRORBUFFER: options->error_buffer = value->pointer; break;
	case CURLOPT_OPENSOCKETDATA: options->open_socket_data = value->pointer; break;
	case CURLOPT_PREREQDATA: options->prereq_data = value->pointer; break;
	case CURLOPT_HTTPHEADER: options->headers = value->pointer; break;
	case CURLOPT_CUSTOMREQUEST: follow_custom_method(options, value->pointer); break;
	case CURLOPT_QUOTE: mark(&options->commands, BIT_0, value->pointer != NULL); break;
	case CURLOPT_PREQUOTE: mark(&options->commands, BIT_1, value->pointer != NULL); break;
	case CURLOPT_POSTQUOTE: mark(&options->commands, BIT_2, value->pointer != NULL); break;
	case CURLOPT_POSTFIELDS:
	case CURLOPT_COPYPOSTFIELDS:
	case CURLOPT_MIMEPOST:
	case CURLOPT_HTTPPOST: follow_method(options, option, value); break;
	default: break;
	}
}

static void follow_function(struct easy_options *options, CURLoption option, const union value *value)
{
	switch (option) {
	case CURLOPT_WRITEFUNCTION: options->write = (curl_write_callback)value->function; break;
	case CURLOPT_HEADERFUNCTION: options->header = (curl_write_callback)value->function; break;
	case CURLOPT_DEBUGFUNCTION: options->debug = (curl_debug_callback)value->function; break;
	case CURLOPT_READFUNCTION: options->read = (curl_read_callback)value->function; break;
	case CURLOPT_SEEKFUNCTION: options->seek = (curl_seek_callback)value->function; break;
	case CURLOPT_IOCTLFUNCTION: options->ioctl = (curl_ioctl_callback)value->function; break;
	case CURLOPT_OPENSOCKETFUNCTION: options->open_socket = (curl_opensocket_callback)value->function; break;
	case CURLOPT_PREREQFUNCTION: options->prereq = (curl_prereq_callback)value->function; break;
	case CURLOPT_XFERINFOFUNCTION: options->xferinfo = (curl_xferinfo_callback)value->function; break;
	case CURLOPT_PROGRESSFUNCTION: options->progress = (curl_progress_callback)value->function; break;
	/* They are given or asked for data that a second attempt would bring again. */
	case CURLOPT_HSTSREADFUNCTION: mark(&options->left_alone, BIT_1, value->function != NULL); break;
	case CURLOPT_HSTSWRITEFUNCTION: mark(&options->left_alone, BIT_2, value->function != NULL); break;
	case CURLOPT_INTERLEAVEFUNCTION: mark(&options->left_alone, BIT_3, value->function != NULL); break;
	case CURLOPT_CHUNK_BGN_FUNCTION: mark(&options->left_alone, BIT_4, value->function != NULL); break;
	case CURLOPT_CHUNK_END_FUNCTION: mark(&options->left_alone, BIT_5, value->function != NULL); break;
	/* It may abort, and libcurl then says that the name could not be resolved. */
	case CURLOPT_RESOLVER_START_FUNCTION: mark(&options->left_alone, BIT_8, value->function != NULL); break;
	case CURLOPT_TRAILERFUNCTION: mark(&options->left_alone, BIT_6, value->function != NULL); break;
	default: break;
	}
}

static void follow_number(struct easy_options *options, CURLoption option, const union value *value)
{
	bool on = value->number != 0;
	switch (option) {
	case CURLOPT_HEADER: options->include_header = on; break;
	case CURLOPT_NOPROGRESS: options->no_progress = on; break;
	case CURLOPT_FOLLOWLOCATION: options->follow_location = on; break;
	case CURLOPT_FRESH_CONNECT: options->fresh_connect = on; break;
	case CURLOPT_FILETIME: options->filetime = on; break;
	case CURLOPT_HTTP_TRANSFER_DECODING: mark(&options->raw, BIT_0, !on); break;
	case CURLOPT_TRANSFERTEXT: mark(&options->raw, BIT_1, on); break;
	case CURLOPT_DIRLISTONLY: mark(&options->raw, BIT_2, on); break;
	case CURLOPT_HTTP_VERSION: options->prior_knowledge = value->number == CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE; break;
	case CURLOPT_APPEND: mark(&options->commands, BIT_3, on); break;
	case CURLOPT_RESUME_FROM: options->resume_from = value->number; break;
	case CURLOPT_WILDCARDMATCH: mark(&options->left_alone, BIT_7, on); break;
	case CURLOPT_TIMEOUT: options->timeout_ms = value->number * 1000; break;
	case CURLOPT_TIMEOUT_MS: options->timeout_ms = value->number; break;
	case CURLOPT_IPRESOLVE: options->ip_version = value->number; break;
	case CURLOPT_NOBODY:
	case CURLOPT_HTTPGET:
	case CURLOPT_POST:
	case CURLOPT_UPLOAD:
	case CURLOPT_PUT: follow_method(options, option, value); break;
	default: break;
	}
}

CURLcode options_set(struct easy *easy, CURL *handle, CURLoption option, va_list arguments)
{
	union value value;
	CURLcode code;
	int kind = (int)option / 10000 * 10000;
	switch (kind) {
	case CURLOPTTYPE_LONG:
		value.number = va_arg(arguments, long);
		/* Headers in the body are ours to place only during curl_easy_perform: a multi needs libcurl's own. */
		if (option == CURLOPT_HEADER && !easy->active)
			unwrap(easy, handle);
		code = is_ours(easy, option) ? CURLE_OK : easy->real->easy_setopt(handle, option, value.number);
		if (code == CURLE_OK)
			follow_number(&easy->options, option, &value);
		return code;
	case CURLOPTTYPE_FUNCTIONPOINT:
		value.function = va_arg(arguments, void (*)(void));
		code = is_ours(easy, option) ? CURLE_OK : easy->real->easy_setopt(handle, option, value.function);
		if (code == CURLE_OK)
			follow_function(&easy->options, option, &value);
		wrap_again(easy, handle, option);
		return code;
	case CURLOPTTYPE_OFF_T:
		value.large = va_arg(arguments, curl_off_t);
		code = easy->real->easy_setopt(handle, option, value.large);
		if (code == CURLE_OK && option == CURLOPT_RESUME_FROM_LARGE)
			easy->options.resume_from = value.large;
		return code;
	default: /* objects and blobs: pointers */
		value.pointer = va_arg(arguments, void *);
		code = is_ours(easy, option) ? CURLE_OK : easy->real->easy_setopt(handle, option, value.pointer);
		if (code == CURLE_OK)
			follow_object(&easy->options, option, &value);
		if (option == CURLOPT_CONNECT_TO)
			fallback_follow(easy);
		wrap_again(easy, handle, option);
		return code;
	}
}

const char *options_method(const struct easy_options *options)
{
	if (options->custom_method[0] != '\0')
		return options->custom_method;
	if (options->no_body)
		return "HEAD";
	switch (options->request) {
	case REQUEST_GET: return "GET";
	case REQUEST_HEAD: return "HEAD";
	case REQUEST_PUT: return "PUT";
	default: return "POST";
	}
}

bool options_have_header(const struct easy_options *options, const char *name)
{
	size_t length;
	for (const struct curl_slist *header = options->headers; header != NULL; header = header->next)
		if (header->data != NULL && http_header_value(header->data, strlen(header->data), name, &length) != NULL &&
		    length > 0)
			return true;
	return false;
}
