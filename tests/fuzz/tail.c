/* `retryshim tail` of any file: nothing reaches the terminal that it would act on, and each way to ask for the same lines
 * shows the same. */
#include "fuzz.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <wchar.h>

#include "cli/events.h"
#include "cli/tail.h"
#include "retryshim/cli.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	PROMISE(setenv("LC_ALL", "C.UTF-8", 1) == 0 && setenv("TZ", "UTC0", 1) == 0);
	PROMISE(dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO) == STDOUT_FILENO);
	return 0;
}

/* ---- bytes into lines ------------------------------------------------------------------------------------------- */

struct lines {
	char *text;
	size_t length;
	int count;
};

static void take(void *context, const char *line, size_t length)
{
	struct lines *lines = context;
	lines->text = realloc(lines->text, lines->length + length + 1);
	memcpy(lines->text + lines->length, line, length);
	lines->text[lines->length + length] = '\n';
	lines->length += length + 1;
	lines->count++;
}

static int events_among;

static void count_event(void *context, const char *line, size_t length)
{
	json_t *event = event_read(line, length);
	(void)context;
	events_among += event != NULL;
	json_decref(event);
}

/* In pieces of so many bytes. */
static struct lines lines_of(const char *bytes, size_t size, size_t piece_length, tail_taker *taker)
{
	static struct tail_lines feed;
	struct lines lines = {NULL, 0, 0};
	feed.length = 0;
	for (size_t at = 0, now; at < size; at += now) {
		now = size - at < piece_length ? size - at : piece_length;
		tail_lines_feed(&feed, bytes + at, now, taker, &lines);
	}
	tail_lines_end(&feed, taker, &lines);
	return lines;
}

static void check_lines(const char *bytes, size_t size, size_t piece_length)
{
	struct lines whole = lines_of(bytes, size, size, take), pieces = lines_of(bytes, size, piece_length, take);
	bool ended = size == 0 || bytes[size - 1] == '\n';
	PROMISE(whole.count == pieces.count && whole.length == pieces.length && whole.length == size + !ended);
	PROMISE(size == 0 || (memcmp(whole.text, bytes, size) == 0 && memcmp(whole.text, pieces.text, whole.length) == 0));
	free(whole.text);
	free(pieces.text);
}

/* ---- what is shown ---------------------------------------------------------------------------------------------- */

struct options {
	char *lines, *programs, *events, *targets;
	bool all, trace, colours;
};

static char *run(int file, const struct options *options)
{
	char name[] = "tail", no_follow[] = "--no-follow", all[] = "--all", trace[] = "--trace", n[] = "-n", program[] = "--program";
	char event[] = "--event", target[] = "--target", always[] = "--color=always", never[] = "--color=never";
	char *text = NULL, *argv[16] = {name, no_follow, n, options->lines, options->colours ? always : never}, *path;
	size_t length = 0;
	int argc = 5;
	if (options->all)
		argv[argc++] = all;
	if (options->trace)
		argv[argc++] = trace;
	if (options->programs != NULL) {
		argv[argc++] = program;
		argv[argc++] = options->programs;
	}
	if (options->events != NULL) {
		argv[argc++] = event;
		argv[argc++] = options->events;
	}
	if (options->targets != NULL) {
		argv[argc++] = target;
		argv[argc++] = options->targets;
	}
	argv[argc++] = path = cli_format("/proc/self/fd/%d", file);
	FILE *before = stdout;
	PROMISE((stdout = open_memstream(&text, &length)) != NULL);
	PROMISE(cli_tail(argc, argv) == CLI_OK && fclose(stdout) == 0);
	stdout = before;
	free(path);
	PROMISE(strlen(text) == length && (length == 0 || text[length - 1] == '\n'));
	return text;
}

/* UTF-8 without control characters, and without what turns a line's direction or is a line's end elsewhere. */
static void check_harmless(const char *text, bool colours)
{
	mbstate_t state = {0};
	for (size_t length; *text != '\0'; text += length) {
		wchar_t c;
		size_t sequence = *text == '\033' && text[1] == '[' ? 2 + strspn(text + 2, "0123456789") : 0;
		if (sequence > 2 && colours && text[sequence] == 'm') {
			length = sequence + 1;
			continue;
		}
		length = mbrtowc(&c, text, 8, &state);
		PROMISE(length != (size_t)-1 && length != (size_t)-2 && length != 0);
		PROMISE(c == '\n' || (c >= ' ' && (c < 0x7f || c >= 0xa0)));
		PROMISE(!(c >= 0x200b && c <= 0x200f) && !(c >= 0x2028 && c <= 0x202e) && !(c >= 0x2066 && c <= 0x2069) && c != 0xfeff);
	}
}

/* A day's line stands between events, and does not count. */
static bool is_day(const char *line)
{
	if (strncmp(line, "\033[2m", 4) == 0)
		line += 4;
	return strncmp(line, "--- ", 4) == 0;
}

/* Without them. Returns how many lines stay. */
static int leave_out_days(char *text)
{
	int lines = 0;
	char *to = text;
	for (char *line = text, *end; *line != '\0'; line = end) {
		end = strchr(line, '\n') + 1;
		if (is_day(line))
			continue;
		memmove(to, line, (size_t)(end - line));
		to += end - line;
		lines++;
	}
	*to = '\0';
	return lines;
}

static const char *last_lines(const char *text, int count, int wanted)
{
	for (; count > wanted; count--)
		text = strchr(text, '\n') + 1;
	return text;
}

/* Every line of `some` is one of `all`, in the same order. */
static void check_among(const char *some, const char *all)
{
	while (*some != '\0') {
		size_t length = (size_t)(strchr(some, '\n') + 1 - some);
		while (*all != '\0' && strncmp(all, some, length) != 0)
			all = strchr(all, '\n') + 1;
		PROMISE(*all != '\0');
		all = strchr(all, '\n') + 1;
		some += length;
	}
}

static void check_file(int file, struct options *options, const char *bytes, size_t size, int wanted)
{
	char last[12], from[] = "+1";
	bool unambiguous = memmem(bytes, size, "--- ", 4) == NULL;
	snprintf(last, sizeof last, "%d", wanted);
	struct options plain = {.lines = from, .all = options->all, .trace = options->trace, .colours = options->colours};
	char *all = run(file, &plain);
	options->lines = from;
	char *some = run(file, options);
	options->lines = last;
	char *end = run(file, options);
	check_harmless(all, options->colours);
	if (unambiguous) {
		int count = leave_out_days(all), some_count = leave_out_days(some), end_count = leave_out_days(end);
		struct lines lines = lines_of(bytes, size, size, take);
		events_among = 0;
		lines_of(bytes, size, size, count_event);
		PROMISE(count == (options->all ? lines.count : events_among));
		PROMISE(end_count == (wanted < some_count ? wanted : some_count));
		PROMISE(strcmp(end, last_lines(some, some_count, wanted)) == 0);
		check_among(some, all);
		free(lines.text);
	}
	free(all);
	free(some);
	free(end);
}

static char *unless_empty(char *text) { return text[0] != '\0' ? text : NULL; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, data + size};
	uint8_t what = byte(&input), wanted = byte(&input) % 16, piece_length = byte(&input);
	char *programs = text_line(&input), *events = text_line(&input), *targets = text_line(&input);
	const char *bytes = (const char *)input.at;
	size_t length = (size_t)(input.end - input.at);
	struct options options = {.programs = unless_empty(programs), .events = unless_empty(events), .targets = unless_empty(targets),
	                          .all = what & 1, .trace = what & 2, .colours = what & 4};
	if (options.targets != NULL && !match_hosts_valid(targets))
		options.targets = NULL;
	int file = memfd_create("input", MFD_CLOEXEC);
	PROMISE(file >= 0 && write(file, bytes, length) == (ssize_t)length);
	check_lines(bytes, length, 1U + piece_length);
	check_file(file, &options, bytes, length, wanted);
	close(file);
	free(programs);
	free(events);
	free(targets);
	return 0;
}
