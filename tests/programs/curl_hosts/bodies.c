/* bodies URL KIND [FILE]: uploads by one of the ways that libcurl has, and prints what came of it.
 * The content is FILE's, or a counted pattern of 200,000 bytes. */
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE = 200000 };

struct memory {
	const char *bytes;
	size_t size, at;
	long seeks, reads;
};

static char pattern[SIZE + 16];
static struct memory source = {.bytes = pattern, .size = SIZE};
static CURL *curl;
static curl_mime *mime;
static struct curl_httppost *form, *form_end;
static struct curl_slist *headers;

static size_t on_read(char *bytes, size_t size, size_t count, void *context)
{
	struct memory *memory = context;
	size_t length = size * count < memory->size - memory->at ? size * count : memory->size - memory->at;
	memcpy(bytes, memory->bytes + memory->at, length);
	memory->at += length;
	memory->reads++;
	return length;
}

static int on_seek(void *context, curl_off_t offset, int origin)
{
	struct memory *memory = context;
	memory->seeks++;
	if (origin != SEEK_SET || (size_t)offset > memory->size)
		return CURL_SEEKFUNC_FAIL;
	memory->at = (size_t)offset;
	return CURL_SEEKFUNC_OK;
}

static int on_seek_never(void *context, curl_off_t offset, int origin)
{
	(void)context, (void)offset, (void)origin;
	return CURL_SEEKFUNC_CANTSEEK;
}

static curlioerr on_ioctl(CURL *handle, int command, void *context)
{
	struct memory *memory = context;
	if (handle != curl || command != CURLIOCMD_RESTARTREAD)
		return CURLIOE_UNKNOWNCMD;
	memory->seeks++;
	memory->at = 0;
	return CURLIOE_OK;
}

static void upload(void)
{
	curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(curl, CURLOPT_INFILESIZE, (long)SIZE);
}

static void with_reader(void)
{
	curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
	curl_easy_setopt(curl, CURLOPT_READDATA, &source);
}

static void with_seek(int (*seek)(void *, curl_off_t, int))
{
	curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, seek);
	curl_easy_setopt(curl, CURLOPT_SEEKDATA, &source);
}

static void use_postfields(const char *file)
{
	(void)file;
	curl_easy_setopt(curl, CURLOPT_POSTFIELDS, pattern);
	curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)SIZE);
}

static void use_copypostfields(const char *file)
{
	(void)file;
	curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)SIZE);
	curl_easy_setopt(curl, CURLOPT_COPYPOSTFIELDS, pattern);
	memset(pattern, 'x', SIZE);
}

static void use_read(const char *file) { (void)file, upload(), with_reader(); }
static void use_seek(const char *file) { use_read(file), with_seek(on_seek); }
static void use_seek_never(const char *file) { use_read(file), with_seek(on_seek_never); }

static void use_ioctl(const char *file)
{
	use_read(file);
	curl_easy_setopt(curl, CURLOPT_IOCTLFUNCTION, on_ioctl);
	curl_easy_setopt(curl, CURLOPT_IOCTLDATA, &source);
}

static void use_post_seek(const char *file)
{
	(void)file;
	curl_easy_setopt(curl, CURLOPT_POST, 1L);
	curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)SIZE);
	with_reader();
	with_seek(on_seek);
}

/* The program has read 100 bytes of it by itself. */
static void use_fread(const char *file)
{
	char start[100];
	FILE *stream = fopen(file, "r");
	if (fread(start, 1, sizeof start, stream) != sizeof start)
		exit(2);
	curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(curl, CURLOPT_READDATA, stream);
}

static curl_mimepart *part(void)
{
	curl_mimepart *made;
	mime = mime != NULL ? mime : curl_mime_init(curl);
	made = curl_mime_addpart(mime);
	curl_mime_name(made, "field");
	return made;
}

static void use_mime(const char *file)
{
	curl_mime_data(part(), pattern, SIZE);
	curl_mime_filedata(part(), file);
	curl_easy_setopt(curl, CURLOPT_MIMEPOST, mime);
}

static void use_mime_seek(const char *file)
{
	(void)file;
	curl_mime_data_cb(part(), SIZE, on_read, on_seek, NULL, &source);
	curl_easy_setopt(curl, CURLOPT_MIMEPOST, mime);
}

static void use_mime_read(const char *file)
{
	(void)file;
	curl_mime_data_cb(part(), SIZE, on_read, NULL, NULL, &source);
	curl_easy_setopt(curl, CURLOPT_MIMEPOST, mime);
}

static void use_form(const char *file)
{
	curl_formadd(&form, &form_end, CURLFORM_COPYNAME, "a", CURLFORM_COPYCONTENTS, "value", CURLFORM_END);
	curl_formadd(&form, &form_end, CURLFORM_COPYNAME, "b", CURLFORM_FILE, file, CURLFORM_END);
	curl_easy_setopt(curl, CURLOPT_HTTPPOST, form);
}

static void use_form_stream(const char *file)
{
	(void)file;
	curl_formadd(&form, &form_end, CURLFORM_COPYNAME, "a", CURLFORM_STREAM, &source, CURLFORM_CONTENTSLENGTH,
	             (long)SIZE, CURLFORM_END);
	curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
	curl_easy_setopt(curl, CURLOPT_HTTPPOST, form);
}

static const struct {
	const char *name;
	void (*use)(const char *file);
} kinds[] = {
	{"postfields", use_postfields}, {"copypostfields", use_copypostfields}, {"read", use_read},
	{"seek", use_seek},             {"seek_never", use_seek_never},         {"ioctl", use_ioctl},
	{"post_seek", use_post_seek},   {"fread", use_fread},                   {"mime", use_mime},
	{"mime_seek", use_mime_seek},   {"mime_read", use_mime_read},           {"form", use_form},
	{"form_stream", use_form_stream},
};

int main(int argc, char **argv)
{
	long status = 0;
	if (argc < 4)
		return 2;
	for (int i = 0; i < SIZE; i += 16)
		snprintf(pattern + i, 17, "%015d\n", i / 16);
	curl = curl_easy_init();
	headers = curl_slist_append(headers, "Idempotency-Key: 1");
	headers = curl_slist_append(headers, "Expect:");
	curl_easy_setopt(curl, CURLOPT_URL, argv[1]);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
		if (strcmp(kinds[i].name, argv[2]) == 0)
			kinds[i].use(argv[3]);
	CURLcode code = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	printf("code %d status %ld\n", code, status);
	curl_easy_cleanup(curl);
	curl_mime_free(mime);
	curl_formfree(form);
	curl_slist_free_all(headers);
	return 0;
}
