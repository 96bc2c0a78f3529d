/* What stands between libcurl and the program, fed as libcurl would, in any pieces.
 *
 * An input is a few attempts of one download: lines of header blocks, bytes of bodies, and what libcurl says of them. It is
 * played twice, each time to another program: one takes all at once; the other gets it in pieces, pauses, and looks on by a
 * debug callback. Both must have the same in the end, and only what was for them.
 */
#include "fuzz.h"

#include "hooks/curl_handle.h"
#include "retryshim/runtime.h"

enum { GOT_MOST = 1 << 16 };

static const int64_t wall_s = 784111837;

/* ---- what the hooks find around them ------------------------------------------------------------------------ */

static struct {
	long tunnel, code; /* CURLINFO_HTTP_CONNECTCODE, _RESPONSE_CODE */
	bool drops;        /* the verdict on final responses of 5yz */
	const char *url;
} told;

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

static const struct curl_real real = {.easy_getinfo = easy_getinfo, .easy_setopt = easy_setopt};

/* ---- the program -------------------------------------------------------------------------------------------- */

struct text {
	size_t length;
	char *bytes;
};

struct program {
	struct text header, body, debug;
	bool pauses, paused; /* each header line is refused once, to come again */
	size_t refuses_at;   /* bytes of body; 0 = never */
	bool refused;
};

static void add(struct text *text, const char *bytes, size_t length)
{
	PROMISE(text->length + length <= GOT_MOST);
	if (text->bytes == NULL)
		PROMISE((text->bytes = malloc(GOT_MOST)) != NULL);
	memcpy(text->bytes + text->length, bytes, length);
	text->length += length;
}

static size_t take_header(char *bytes, size_t size, size_t count, void *context)
{
	struct program *program = context;
	PROMISE(!program->refused);
	program->paused = program->pauses && !program->paused;
	if (program->paused)
		return CURL_WRITEFUNC_PAUSE;
	add(&program->header, bytes, size * count);
	return size * count;
}

static size_t take_body(char *bytes, size_t size, size_t count, void *context)
{
	struct program *program = context;
	PROMISE(!program->refused && size * count <= CURL_MAX_WRITE_SIZE);
	add(&program->body, bytes, size * count);
	program->refused = program->refuses_at != 0 && program->body.length >= program->refuses_at;
	return program->refused ? size * count + 1 : size * count;
}

static int look_on(CURL *handle, curl_infotype type, char *bytes, size_t length, void *context)
{
	struct program *program = context;
	PROMISE(handle == NULL);
	if (type == CURLINFO_HEADER_IN)
		add(&program->debug, bytes, length);
	return 0;
}

/* ---- libcurl ------------------------------------------------------------------------------------------------ */

enum step { STEP_LINE, STEP_BODY, STEP_TUNNEL, STEP_BREAK, STEPS };

/* How one of the two plays. */
struct play {
	struct easy easy;
	struct program program;
	bool in_pieces;
	struct input pieces; /* sizes of the pieces */
	struct text sent_header, sent_body;
	int attempts;
	bool over;
};

/* False if the transfer ends here. */
static bool send_line(struct play *play, char *line, size_t length)
{
	struct easy *easy = &play->easy;
	/* libcurl shows it first. */
	response_on_debug(NULL, CURLINFO_HEADER_IN, line, length, easy);
	size_t size = play->in_pieces && length % 2 == 0 ? 2 : 1, taken;
	while ((taken = response_on_header(line, size, length / size, easy)) == CURL_WRITEFUNC_PAUSE)
		PROMISE(play->program.pauses);
	PROMISE(taken == length || play->program.refused || easy->resume.refused);
	add(&play->sent_header, line, length);
	return taken == length;
}

static bool send_body(struct play *play, char *bytes, size_t length)
{
	struct easy *easy = &play->easy;
	while (length != 0) {
		size_t most = play->in_pieces ? byte(&play->pieces) % 16 + 1U : length, now = most < length ? most : length;
		response_on_debug(NULL, CURLINFO_DATA_IN, bytes, now, easy);
		if (response_on_body(bytes, 1, now, easy) != now) {
			PROMISE(play->program.refused || easy->resume.refused);
			return false;
		}
		add(&play->sent_body, bytes, now);
		bytes += now;
		length -= now;
	}
	return true;
}

/* The attempt is over; another one follows, if it may, and if the engine has not changed its mind. */
static void break_off(struct play *play, bool wanted)
{
	struct easy *easy = &play->easy;
	play->program.pauses = false; /* outside libcurl nobody can */
	bool delivered = response_delivered(easy), dropped = easy->response.state == RESPONSE_DROPPING;
	PROMISE(!dropped || !easy->response.final_delivered);
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
}

static void step(struct play *play, struct input *input)
{
	size_t length;
	uint8_t what = byte(input);
	char *bytes;
	bool goes_on = true;
	switch (what % STEPS) {
	case STEP_LINE:
		bytes = piece(input, '\n', true, &length);
		bytes[length++] = '\n'; /* libcurl gives whole lines; the NUL's place is taken */
		told.code = http_status_line(bytes, length) != 0 ? http_status_line(bytes, length) : told.code;
		goes_on = send_line(play, bytes, length);
		free(bytes);
		break;
	case STEP_BODY:
		bytes = piece(input, '\n', false, &length);
		if (play->easy.response.status != 0)
			goes_on = send_body(play, bytes, length);
		free(bytes);
		break;
	case STEP_TUNNEL:
		told.tunnel = what & 16 ? 200 : 0;
		told.code = 0;
		break;
	default:
		told.url = what & 16 ? "http://a/" : "http://b/";
		break_off(play, !(what & 32));
		break;
	}
	if (!goes_on)
		play->over = true;
}

static void play(struct play *it, struct input input, struct input pieces, uint8_t how, const struct config *config)
{
	struct easy *easy = &it->easy;
	memset(&told, 0, sizeof told);
	told.url = "http://a/";
	told.drops = how & 1;
	it->pieces = pieces;
	easy->real = &real;
	easy->config = config;
	easy->active = true;
	easy->options.write = take_body;
	easy->options.write_data = &it->program;
	easy->options.header = how & 2 ? take_header : NULL;
	easy->options.header_data = how & 2 ? &it->program : NULL;
	easy->options.include_header = how & 4;
	easy->options.follow_location = how & 8;
	easy->options.debug = it->in_pieces && (how & 18) == 18 ? look_on : NULL;
	easy->options.debug_data = &it->program;
	it->program.pauses = it->in_pieces && how & 2 && !(how & 4);
	resume_begin(easy);
	response_reset(easy);
	while (!it->over && input.at < input.end)
		step(it, &input);
}

static void forget(struct play *play)
{
	journal_free(&play->easy.response.journal);
	free(play->program.header.bytes);
	free(play->program.body.bytes);
	free(play->program.debug.bytes);
	free(play->sent_header.bytes);
	free(play->sent_body.bytes);
}

/* ---- what has to hold --------------------------------------------------------------------------------------- */

static bool begins(const struct text *text, const struct text *with)
{
	return with->length <= text->length && (with->length == 0 || memcmp(text->bytes, with->bytes, with->length) == 0);
}

static bool same(const struct text *a, const struct text *b) { return a->length == b->length && begins(a, b); }

/* Of a rest that turns out to be too long the pieces that still fit have been taken. */
static void check_same(const struct play *whole, const struct play *cut)
{
	const struct response *one = &whole->easy.response, *two = &cut->easy.response;
	PROMISE(same(&whole->program.header, &cut->program.header));
	if (whole->easy.resume.refused || cut->easy.resume.refused) {
		PROMISE(begins(&cut->program.body, &whole->program.body));
		return;
	}
	PROMISE(whole->attempts == cut->attempts && whole->over == cut->over);
	PROMISE(same(&whole->program.body, &cut->program.body));
	PROMISE(one->status == two->status && one->state == two->state);
	PROMISE(whole->easy.resume.got == cut->easy.resume.got);
	PROMISE(response_delivered(&whole->easy) == response_delivered(&cut->easy));
	PROMISE(one->retry_after_ms == two->retry_after_ms || one->status == 0);
}

/* A single attempt, in which nothing is dropped: what has been sent is there, but for the block that is not complete. */
static void check_complete(struct play *it, uint8_t how)
{
	if (it->attempts != 0 || how & 1 || it->program.refused)
		return;
	it->program.pauses = false;
	deliver_flush(&it->easy);
	if (how & 2)
		PROMISE(same(&it->program.header, &it->sent_header));
	if ((how & 4) == 0)
		PROMISE(same(&it->program.body, &it->sent_body));
}

/* It got no more than it was told, byte for byte what was sent once. */
static void check_counts(const struct play *it, uint8_t how)
{
	const struct resume *resume = &it->easy.resume;
	PROMISE(resume->got >= 0 && (how & 4 || resume->got <= (int64_t)it->program.body.length));
	PROMISE(!resume->joined || resume->got <= resume->whole.length);
	PROMISE(it->program.header.length <= it->sent_header.length);
	if ((how & 4) == 0)
		PROMISE(it->program.body.length <= it->sent_body.length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, data + size};
	static struct play whole, cut;
	uint8_t how = byte(&input);
	struct config config = {.resume = how >> 6 & 1};
	memset(&whole, 0, sizeof whole);
	memset(&cut, 0, sizeof cut);
	cut.in_pieces = true;
	struct input pieces = {input.at, input.end};
	play(&whole, input, pieces, how, &config);
	play(&cut, input, pieces, how, &config);
	check_same(&whole, &cut);
	check_counts(&whole, how);
	check_counts(&cut, how);
	check_complete(&whole, how);
	check_complete(&cut, how);
	forget(&whole);
	forget(&cut);
	return 0;
}
