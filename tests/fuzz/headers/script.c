/* An input is how the program asks, then steps: what comes, what libcurl knows, and where an attempt breaks off. */
#include "download.h"

enum step { STEP_LINE, STEP_BODY, STEP_TUNNEL, STEP_BREAK, STEP_ANSWER, STEPS };

static void step(struct play *play, struct input *input)
{
	size_t length;
	uint8_t what = byte(input);
	char *bytes;
	bool goes_on = true;
	switch (what % STEPS) {
	case STEP_LINE:
		play->invented = true;
		bytes = piece(input, '\n', true, &length);
		bytes[length++] = '\n'; /* libcurl gives whole lines; the NUL's place is taken */
		told.code = http_status_line(bytes, length) != 0 ? http_status_line(bytes, length) : told.code;
		goes_on = download_line(play, bytes, length);
		free(bytes);
		break;
	case STEP_BODY:
		play->invented = true;
		bytes = piece(input, '\n', false, &length);
		if (play->easy.response.status != 0)
			goes_on = download_body(play, bytes, length);
		free(bytes);
		break;
	case STEP_ANSWER: goes_on = server_answer(play, input); break;
	case STEP_TUNNEL:
		told.tunnel = what & 16 ? 200 : 0;
		told.code = 0;
		break;
	default:
		told.url = what & 16 ? "http://a/" : "http://b/";
		download_break(play, !(what & 32));
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
	easy->real = &download_real;
	easy->config = config;
	easy->active = true;
	easy->options.write = download_take_body;
	easy->options.write_data = &it->program;
	easy->options.header = how & 2 ? download_take_header : NULL;
	easy->options.header_data = how & 2 ? &it->program : NULL;
	easy->options.include_header = how & 4;
	easy->options.follow_location = how & 8;
	easy->options.debug = it->in_pieces && (how & 18) == 18 ? download_look_on : NULL;
	easy->options.debug_data = &it->program;
	it->program.refuses_at = how & 32 ? 1U + byte(&pieces) % 64 : 0;
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

/* One that is given pieces refuses sooner. Of a rest that turns out to be too long the pieces that still fit have been taken. */
static void check_same(const struct play *whole, const struct play *cut)
{
	const struct response *one = &whole->easy.response, *two = &cut->easy.response;
	if (whole->program.refused || cut->program.refused) {
		PROMISE(begins(&whole->program.body, &cut->program.body));
		return;
	}
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
	if (!deliver_flush(&it->easy))
		return;
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
	PROMISE(it->program.refused || it->program.header.length <= it->sent_header.length);
	if ((how & 4) == 0 && !it->program.refused)
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
	if (!whole.invented && (how & 4) == 0) {
		server_check(&whole);
		server_check(&cut);
	}
	check_complete(&whole, how);
	check_complete(&cut, how);
	forget(&whole);
	forget(&cut);
	return 0;
}
