/* `retryshim report` of any file: a page that is the same but for its data, and data that end nothing and are just what the
 * file's events are. */
#include "fuzz.h"

#include <fcntl.h>
#include <jansson.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/events.h"
#include "retryshim/cli.h"

static const char events_begin[] = "<script type=\"application/x-ndjson\" id=\"events\">\n", data_end[] = "</script>",
                  facts_begin[] = "<script type=\"application/json\" id=\"facts\">";

/* What it would draw for each page. */
int getentropy(void *buffer, size_t length)
{
	memset(buffer, 0x5a, length);
	return 0;
}

/* Three parts around two data. */
struct page {
	char *text, *events, *facts, *before, *between, *behind;
};

/* What follows the mark, which stays; or is cut off with it. */
static char *behind(char *text, const char *mark, bool stays)
{
	char *at = strstr(text, mark);
	PROMISE(at != NULL);
	if (!stays)
		*at = '\0';
	return at + strlen(mark);
}

static struct page make_page(const char *title, const void *bytes, size_t size)
{
	static char name[] = "report", option[] = "--title";
	struct page page = {.text = NULL};
	size_t length = 0;
	int file = memfd_create("input", MFD_CLOEXEC);
	PROMISE(file >= 0 && write(file, bytes, size) == (ssize_t)size);
	char *path = cli_format("/proc/self/fd/%d", file), *argument = strdup(title);
	char *argv[] = {name, option, argument, path, NULL};
	FILE *before = stdout;
	PROMISE((stdout = open_memstream(&page.text, &length)) != NULL);
	PROMISE(cli_report(4, argv) == CLI_OK);
	PROMISE(fclose(stdout) == 0);
	stdout = before;
	close(file);
	free(path);
	free(argument);
	PROMISE(strlen(page.text) == length);
	page.before = page.text;
	page.events = behind(page.text, events_begin, true);
	page.events[-1] = '\0';
	page.between = behind(page.events, data_end, false);
	page.facts = behind(page.between, facts_begin, true);
	page.facts[-1] = '\0';
	page.behind = behind(page.facts, data_end, false);
	return page;
}

static struct page empty;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	PROMISE(dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO) == STDOUT_FILENO); /* no terminal */
	empty = make_page("", "", 0);
	return 0;
}

/* ---- data ------------------------------------------------------------------------------------------------------- */

static void check_harmless(const char *data)
{
	for (; *data != '\0'; data++)
		PROMISE((*data == '\n' || (*data >= ' ' && *data <= '~')) && strchr("<>&", *data) == NULL);
}

static bool is_shown(const json_t *event)
{
	static const char *const names[] = {"attempt_failed", "succeeded", "exhausted", "given_up", "not_retryable", "fallback",
	                                    "bad_value", "unused_value"};
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (strcmp(event_text(event, "event"), names[i]) == 0)
			return true;
	return false;
}

static bool is_member(const char *key, const json_t *value)
{
	static const char texts[] = " ts program op trace_id operation target event category severity error message reason fallback "
	                            "variable value default ";
	static const char numbers[] = " pid attempt max_attempts delay_ms elapsed_ms shared replays ";
	char *spaced = cli_format(" %s ", key);
	bool is = strchr(key, ' ') == NULL && ((json_is_string(value) && strstr(texts, spaced) != NULL) ||
	                                       (json_is_integer(value) && strstr(numbers, spaced) != NULL));
	free(spaced);
	return is;
}

/* Just what may be shown of it. */
static void check_event(json_t *event, const char *shown, size_t length)
{
	json_t *json = json_loadb(shown, length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL), *value;
	size_t expected = 0;
	const char *key;
	PROMISE(json_is_object(json));
	json_object_foreach(event, key, value)
		if (is_member(key, value)) {
			PROMISE(json_equal(value, json_object_get(json, key)));
			expected++;
		}
	PROMISE(json_object_size(json) == expected);
	json_decref(json);
}

/* Returns how many lines there are, and how many hold nothing to show. */
static int check_events(const char *bytes, size_t size, const char *shown, int *skipped)
{
	int lines = 0;
	*skipped = 0;
	for (const char *end; size != 0; lines++) {
		const char *newline = memchr(bytes, '\n', size);
		size_t length = newline != NULL ? (size_t)(newline - bytes) : size, whole = newline != NULL ? length + 1 : length;
		json_t *event = event_read(bytes, length);
		if (event != NULL && is_shown(event)) {
			PROMISE((end = strchr(shown, '\n')) != NULL);
			check_event(event, shown, (size_t)(end - shown));
			shown = end + 1;
		} else {
			++*skipped;
		}
		json_decref(event);
		bytes += whole;
		size -= whole;
	}
	PROMISE(*shown == '\0');
	return lines;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, data + size};
	char *title = text_line(&input);
	size_t length = (size_t)(input.end - input.at);
	int skipped;
	struct page page = make_page(title, input.at, length);
	PROMISE(strcmp(page.before, empty.before) == 0 && strcmp(page.between, empty.between) == 0 && strcmp(page.behind, empty.behind) == 0);
	check_harmless(page.events);
	check_harmless(page.facts);
	int lines = check_events((const char *)input.at, length, page.events, &skipped);
	json_t *facts = json_loads(page.facts, JSON_REJECT_DUPLICATES, NULL), *utf8 = json_string(title);
	PROMISE(event_number(facts, "lines", -1) == lines && event_number(facts, "skipped", -1) == skipped);
	PROMISE(json_object_size(facts) == 5 && json_array_size(json_object_get(facts, "files")) == 1);
	PROMISE(utf8 != NULL ? json_equal(utf8, json_object_get(facts, "title")) : strlen(event_text(facts, "title")) == strlen(title));
	json_decref(facts);
	json_decref(utf8);
	free(page.text);
	free(title);
	return 0;
}
