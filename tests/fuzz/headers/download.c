/* libcurl, as the hooks see it, and the program. */
#include "download.h"

#include "retryshim/runtime.h"

enum { GOT_MOST = 1 << 16 };

static const int64_t wall_s = 784111837;

/* ---- what the hooks find around them ------------------------------------------------------------------------ */

struct told told;

int64_t clock_wall_s(void) { return wall_s; }
int64_t clock_now_ns(void) { return NS_PER_S; }
bool transfer_has_progress(const struct easy *easy) { return easy == NULL; }
int transfer_progress(const struct easy *easy, curl_off_t down, curl_off_t got, curl_off_t up, curl_off_t sent)
{
	return easy == NULL && down + got + up + sent != 0;
}
const char *options_method(const struct easy_options *options) { return options->no_body ? "HEAD" : "GET"; }
bool options_have_header(const struct easy_options *options, const char *name) { return options == NULL || name == NULL; }

/* As the engine would: what is not to be dropped is judged once, and what has been delivered is never dropped. */
bool judge_drops_response(struct easy *easy)
{
	struct response *response = &easy->response;
	if (response->status < 400 || http_is_round(response->status) || response->judged)
		return false;
	if (told.drops && response->status >= 500 && (!response_delivered(easy) || easy->resume.going))
		return true;
	response->judged = !easy->resume.going;
	return false;
}

static CURLcode easy_getinfo(CURL *handle, CURLINFO info, ...)
{
	va_list arguments;
	va_start(arguments, info);
	void *value = va_arg(arguments, void *);
	va_end(arguments);
	(void)handle;
	switch ((int)info) {
	case CURLINFO_HTTP_CONNECTCODE: *(long *)value = told.tunnel; break;
	case CURLINFO_RESPONSE_CODE: *(long *)value = told.code; break;
	case CURLINFO_HEADER_SIZE: *(long *)value = 0; break;
	case CURLINFO_EFFECTIVE_URL: *(const char **)value = told.url; break;
	case CURLINFO_SCHEME: *(const char **)value = "http"; break;
	default: *(curl_off_t *)value = -1; break;
	}
	return CURLE_OK;
}

static CURLcode easy_setopt(CURL *handle, CURLoption option, ...)
{
	return handle != NULL && option == CURLOPT_URL ? CURLE_OUT_OF_MEMORY : CURLE_OK;
}

const struct curl_real download_real = {.easy_getinfo = easy_getinfo, .easy_setopt = easy_setopt};

/* ---- the program -------------------------------------------------------------------------------------------- */

void download_add(struct text *text, const char *bytes, size_t length)
{
	PROMISE(text->length + length <= GOT_MOST);
	if (text->bytes == NULL)
		PROMISE((text->bytes = malloc(GOT_MOST)) != NULL);
	memcpy(text->bytes + text->length, bytes, length);
	text->length += length;
}

size_t download_take_header(char *bytes, size_t size, size_t count, void *context)
{
	struct program *program = context;
	PROMISE(!program->refused);
	program->paused = program->pauses && !program->paused;
	if (program->paused)
		return CURL_WRITEFUNC_PAUSE;
	download_add(&program->header, bytes, size * count);
	return size * count;
}

size_t download_take_body(char *bytes, size_t size, size_t count, void *context)
{
	struct program *program = context;
	PROMISE(!program->refused && size * count <= CURL_MAX_WRITE_SIZE);
	download_add(&program->body, bytes, size * count);
	program->refused = program->refuses_at != 0 && program->body.length >= program->refuses_at;
	return program->refused ? size * count + 1 : size * count;
}

int download_look_on(CURL *handle, curl_infotype type, char *bytes, size_t length, void *context)
{
	struct program *program = context;
	PROMISE(handle == NULL);
	if (type == CURLINFO_HEADER_IN)
		download_add(&program->debug, bytes, length);
	return 0;
}

/* ---- libcurl ------------------------------------------------------------------------------------------------ */

bool download_line(struct play *play, char *line, size_t length)
{
	struct easy *easy = &play->easy;
	/* libcurl shows it first. */
	response_on_debug(NULL, CURLINFO_HEADER_IN, line, length, easy);
	size_t size = play->in_pieces && length % 2 == 0 ? 2 : 1, taken;
	while ((taken = response_on_header(line, size, length / size, easy)) == CURL_WRITEFUNC_PAUSE)
		PROMISE(play->program.pauses);
	PROMISE(taken == length || play->program.refused || easy->resume.refused);
	download_add(&play->sent_header, line, length);
	return taken == length;
}

bool download_body(struct play *play, char *bytes, size_t length)
{
	struct easy *easy = &play->easy;
	while (length != 0) {
		size_t most = play->in_pieces ? byte(&play->pieces) % 16 + 1U : length, now = most < length ? most : length;
		response_on_debug(NULL, CURLINFO_DATA_IN, bytes, now, easy);
		if (response_on_body(bytes, 1, now, easy) != now) {
			PROMISE(play->program.refused || easy->resume.refused);
			return false;
		}
		download_add(&play->sent_body, bytes, now);
		bytes += now;
		length -= now;
	}
	return true;
}

void download_break(struct play *play, bool wanted)
{
	struct easy *easy = &play->easy;
	play->program.pauses = false; /* outside libcurl nobody can */
	bool delivered = response_delivered(easy), dropped = easy->response.state == RESPONSE_DROPPING;
	PROMISE(!dropped || !easy->response.final_delivered || easy->resume.going);
	play->over = !wanted || easy->resume.refused || (delivered && !resume_possible(easy));
	if (play->over && easy->resume.going)
		resume_give_up(easy);
	else if (play->over)
		deliver_flush(easy);
	if (play->over)
		return;
	if (delivered)
		resume_broken(easy, CURLE_RECV_ERROR);
	easy->begun = true;
	deliver_drop(easy);
	response_reset(easy);
	if (easy->resume.going)
		resume_ask(easy, NULL);
	play->attempts++;
	play->answered = false;
}
