/* A broken download that goes on where it stopped (RETRY_RESUME).
 *
 * The program has had a header block and perhaps some of the body. A further attempt asks for the rest; if
 * what comes is exactly that, its header block is dropped and its body joined. In every other case nothing of it
 * reaches the program, and the operation ends with the error that broke the download.
 */
#include "hooks/curl_handle.h"

#include <string.h>
#include <strings.h>

#include "retryshim/runtime.h"

static curl_off_t info_large(struct easy *easy, CURLINFO info)
{
	curl_off_t value = -1;
	return easy->real->easy_getinfo(handle_of(easy), info, &value) == CURLE_OK ? value : -1;
}

static bool is_ftp(struct easy *easy)
{
	char *scheme = NULL;
	if (easy->real->easy_getinfo(handle_of(easy), CURLINFO_SCHEME, &scheme) != CURLE_OK || scheme == NULL)
		return false;
	return strcasecmp(scheme, "ftp") == 0 || strcasecmp(scheme, "ftps") == 0;
}

void resume_begin(struct easy *easy)
{
	const struct easy_options *options = &easy->options;
	struct resume *resume = &easy->resume;
	resume->wanted = resume->going = false;
	if (!easy->config->resume)
		return;
	resume->joined = false;
	resume->got = 0;
	resume->whole.status = 0;
	/* A program that asks for a part itself has plans of its own. */
	resume->wanted = options->range == NULL && options->resume_from == 0 && options->raw == 0 &&
	                 options->commands == 0 && options->request == REQUEST_GET && strcmp(options_method(options), "GET") == 0 &&
	                 !options_have_header(options, "Range") && !options_have_header(options, "If-Range");
}

/* ---- may it go on? ------------------------------------------------------------------------------- */

static bool ftp_resumable(struct easy *easy)
{
	struct resume *resume = &easy->resume;
	if (!resume->going) {
		resume->whole.length = info_large(easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T);
		resume->whole.modified_s = info_large(easy, CURLINFO_FILETIME_T);
	}
	return is_ftp(easy) && resume->got > 0 && resume->got < resume->whole.length;
}

bool resume_possible(struct easy *easy)
{
	const struct resume *resume = &easy->resume;
	if (!resume->wanted || !easy->config->resume || easy->response.state == RESPONSE_FLUSHING || easy->options.range != NULL)
		return false;
	if (resume->whole.status == 0)
		return ftp_resumable(easy);
	return entity_resumable(&resume->whole) && (resume->whole.length < 0 || resume->got < resume->whole.length);
}

/* ---- asking for the rest -------------------------------------------------------------------------- */

/* "LABEL NUMBER TAIL" */
static void compose(char *out, const char *label, int64_t number, const char *tail)
{
	char digits[20];
	size_t at = sizeof digits, length = strlen(label);
	do
		digits[--at] = (char)('0' + number % 10);
	while ((number /= 10) != 0);
	memcpy(out, label, length);
	memcpy(out + length, digits + at, sizeof digits - at);
	strcpy(out + length + sizeof digits - at, tail);
}

/* FNV-1a. The same validator says the same only of the same resource (RFC 9110, 8.8.1). */
static uint64_t url_hash(struct easy *easy)
{
	char *url = NULL;
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	easy->real->easy_getinfo(handle_of(easy), CURLINFO_EFFECTIVE_URL, &url);
	for (; url != NULL && *url != '\0'; url++)
		hash = (hash ^ (unsigned char)*url) * UINT64_C(0x100000001b3);
	return hash;
}

static char *error_text(struct easy *easy)
{
	return easy->options.error_buffer != NULL ? easy->options.error_buffer : easy->error_text;
}

static void keep_facts(struct easy *easy)
{
	struct resume *resume = &easy->resume;
	easy->real->easy_getinfo(handle_of(easy), CURLINFO_HEADER_SIZE, &resume->header_size);
	easy->real->easy_getinfo(handle_of(easy), CURLINFO_RESPONSE_CODE, &resume->status);
	resume->length = info_large(easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T);
	resume->filetime = info_large(easy, CURLINFO_FILETIME_T);
	resume->start_wall_s = clock_wall_s() - (clock_now_ns() - easy->start_ns) / NS_PER_S;
	resume->url = url_hash(easy);
}

void resume_broken(struct easy *easy, CURLcode code)
{
	struct resume *resume = &easy->resume;
	if (resume->going && !resume->joined)
		return;
	if (!resume->going)
		keep_facts(easy);
	resume->going = true;
	resume->base = resume->got;
	resume->broken_by = code;
	memcpy(resume->error_text, error_text(easy), sizeof resume->error_text);
}

CURLcode resume_give_up(struct easy *easy)
{
	deliver_drop(easy);
	memcpy(error_text(easy), easy->resume.error_text, sizeof easy->resume.error_text);
	return easy->resume.broken_by;
}

bool resume_complete(struct easy *easy)
{
	struct resume *resume = &easy->resume;
	if (resume->got == resume->whole.length)
		return true;
	resume->joined = false;
	resume->refused = true;
	return false;
}

void resume_ask(struct easy *easy, CURL *handle)
{
	struct resume *resume = &easy->resume;
	const struct curl_real *real = easy->real;
	resume->joined = resume->refused = false;
	if (resume->whole.status == 0) {
		real->easy_setopt(handle, CURLOPT_RESUME_FROM_LARGE, (curl_off_t)resume->got);
		real->easy_setopt(handle, CURLOPT_FILETIME, 1L);
	} else {
		static const char if_range[] = "If-Range: ";
		compose(resume->range, "", resume->got, "-");
		memcpy(resume->if_range, if_range, sizeof if_range);
		strcat(resume->if_range, entity_validator(&resume->whole));
		resume->headers = (struct curl_slist){.data = resume->if_range, .next = easy->options.headers};
		real->easy_setopt(handle, CURLOPT_RANGE, resume->range);
		real->easy_setopt(handle, CURLOPT_HTTPHEADER, &resume->headers);
	}
	resume->counts = transfer_has_progress(easy);
	if (resume->counts) {
		real->easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, resume_on_progress);
		real->easy_setopt(handle, CURLOPT_XFERINFODATA, easy);
	}
	easy->adjusted = true;
}

bool resume_holds_headers(const struct easy *easy)
{
	return easy->active && easy->resume.going && easy->resume.whole.status != 0;
}

bool resume_holds_progress(const struct easy *easy) { return easy->active && easy->resume.going && easy->resume.counts; }

void resume_restore(struct easy *easy, CURL *handle)
{
	const struct easy_options *options = &easy->options;
	const struct curl_real *real = easy->real;
	if (easy->resume.whole.status == 0) {
		real->easy_setopt(handle, CURLOPT_RESUME_FROM_LARGE, options->resume_from);
		real->easy_setopt(handle, CURLOPT_FILETIME, (long)options->filetime);
	} else {
		if (options->range == NULL) /* else the program has just set its own, and libcurl has copied it */
			real->easy_setopt(handle, CURLOPT_RANGE, NULL);
		real->easy_setopt(handle, CURLOPT_HTTPHEADER, options->headers);
	}
	if (!easy->resume.counts)
		return;
	real->easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, options->xferinfo);
	real->easy_setopt(handle, CURLOPT_XFERINFODATA, options->progress_data);
	/* Without either, libcurl draws a meter of its own. */
	if (options->xferinfo == NULL && options->progress != NULL)
		real->easy_setopt(handle, CURLOPT_PROGRESSFUNCTION, options->progress);
}

/* ---- what comes ----------------------------------------------------------------------------------- */

static bool ftp_continues(struct easy *easy)
{
	const struct resume *resume = &easy->resume;
	struct entity rest = {
		.length = info_large(easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T),
		.modified_s = info_large(easy, CURLINFO_FILETIME_T),
	};
	return entity_file_continues(&resume->whole, &rest, resume->got, resume->start_wall_s);
}

static enum rest judged(struct resume *resume, bool joined)
{
	resume->joined = joined;
	resume->refused = !joined;
	return joined ? REST_JOINED : REST_REFUSED;
}

enum rest resume_judge_block(struct easy *easy)
{
	struct resume *resume = &easy->resume;
	const struct entity *rest = &easy->response.entity;
	if (!entity_continues(&resume->whole, rest, resume->got) || url_hash(easy) != resume->url)
		return judged(resume, false);
	resume->whole.length = rest->total;
	return judged(resume, true);
}

enum rest resume_judge_body(struct easy *easy, size_t length)
{
	struct resume *resume = &easy->resume;
	if (!resume->joined && resume->whole.status != 0) /* of a redirect, of an authentication's round */
		return REST_NOTHING;
	if (!resume->joined && !ftp_continues(easy))
		return judged(resume, false);
	return judged(resume, (int64_t)length <= resume->whole.length - resume->got);
}

int resume_on_progress(void *context, curl_off_t down, curl_off_t got, curl_off_t up, curl_off_t sent)
{
	struct easy *easy = context;
	const struct resume *resume = &easy->resume;
	(void)down;
	curl_off_t total = resume->length >= 0 ? resume->length : 0;
	return transfer_progress(easy, total, resume->base + (resume->joined ? got : 0), up, sent);
}

/* ---- what the program learns of it ---------------------------------------------------------------- */

bool resume_info(const struct easy *easy, CURLINFO info, void *value)
{
	const struct resume *resume = &easy->resume;
	if (!resume->going)
		return false;
	switch ((int)info) {
	case CURLINFO_RESPONSE_CODE: *(long *)value = resume->status; return true;
	case CURLINFO_HEADER_SIZE: *(long *)value = resume->header_size; return true;
	case CURLINFO_FILETIME: *(long *)value = (long)resume->filetime; return true;
	case CURLINFO_FILETIME_T: *(curl_off_t *)value = resume->filetime; return true;
	case CURLINFO_SIZE_DOWNLOAD: *(double *)value = (double)resume->got; return true;
	case CURLINFO_SIZE_DOWNLOAD_T: *(curl_off_t *)value = resume->got; return true;
	case CURLINFO_CONTENT_LENGTH_DOWNLOAD: *(double *)value = (double)resume->length; return true;
	case CURLINFO_CONTENT_LENGTH_DOWNLOAD_T: *(curl_off_t *)value = resume->length; return true;
	default: return false;
	}
}
