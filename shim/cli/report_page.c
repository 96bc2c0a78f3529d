/* The page: shim/cli/page/ as it lies in the command, and the data in it.
 *
 * The data are anybody's: a program chooses the names that it connects to. They are written as JSON inside a script
 * element that is not executed; the page's own script and style are known to the browser by a nonce, drawn for each page,
 * and nothing else may run or be loaded (page.html has the policy). */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cli/report.h"
#include "retryshim/cli.h"

enum { NONCE_BYTES = 16 };

/* The files' bytes as one string, by the assembler: paths are from the top of the repository. */
#define FILE_BYTES(file) ".incbin \"shim/cli/page/" file "\"\n"
#define STRING_OF(name, files) \
	".pushsection .rodata\n.globl " name "\n" name ":\n" files ".byte 0\n.popsection\n"

__asm__(STRING_OF("page_html", FILE_BYTES("page.html")));
__asm__(STRING_OF("page_style", FILE_BYTES("page.css")));
/* In the order in which they build on each other. */
__asm__(STRING_OF("page_script", FILE_BYTES("model.js") FILE_BYTES("figures.js") FILE_BYTES("text.js") FILE_BYTES("dom.js")
	FILE_BYTES("bar.js") FILE_BYTES("overview.js") FILE_BYTES("totals.js") FILE_BYTES("details.js") FILE_BYTES("timeline.js")
	FILE_BYTES("view.js")));

extern const char page_html[], page_style[], page_script[];

/* ---- data in HTML ---------------------------------------------------------------------------------- */

/* The characters that could begin or end something in HTML, and a control character that JSON does not escape. In JSON they
 * stand in strings alone, where this is the same. */
static const char *escaped(char c)
{
	switch (c) {
	case '<': return "\\u003c";
	case '>': return "\\u003e";
	case '&': return "\\u0026";
	case 0x7f: return "\\u007f";
	default: return NULL;
	}
}

static int write_escaped(const char *text, size_t length, void *stream)
{
	for (size_t i = 0; i < length; i++) {
		const char *instead = escaped(text[i]);
		if (instead != NULL)
			fputs(instead, stream);
		else
			putc_unlocked(text[i], (FILE *)stream);
	}
	return 0; /* the stream remembers its errors */
}

void report_json(const json_t *json, FILE *file)
{
	/* ASCII: no line separators that old scripts end a line at, no marks that turn the direction of a line. */
	json_dump_callback(json, write_escaped, file, JSON_COMPACT | JSON_ENSURE_ASCII);
	putc('\n', file);
}

/* ---- the page -------------------------------------------------------------------------------------- */

/* An @word@ of page.html, and what takes its place. */
struct part {
	const char *word, *text;
};

static bool draw_nonce(char nonce[2 * NONCE_BYTES + 1])
{
	unsigned char bytes[NONCE_BYTES];
	if (getentropy(bytes, sizeof bytes) != 0)
		return false;
	for (size_t i = 0; i < sizeof bytes; i++)
		snprintf(nonce + 2 * i, 3, "%02x", bytes[i]);
	return true;
}

/* Writes what stands for the word at `at`; returns what follows its closing @. */
static const char *write_part(const char *at, const struct part *parts)
{
	size_t length = strcspn(at, "@");
	for (const struct part *part = parts; part->word != NULL; part++)
		if (strncmp(part->word, at, length) == 0 && part->word[length] == '\0')
			fputs(part->text, stdout);
	return at + length + 1;
}

int report_page(const char *events, const char *facts)
{
	char nonce[2 * NONCE_BYTES + 1];
	const struct part parts[] = {
		{"nonce", nonce}, {"style", page_style}, {"script", page_script}, {"events", events}, {"facts", facts}, {NULL, NULL},
	};
	if (!draw_nonce(nonce)) {
		cli_error("no random bytes: %s", strerror(errno));
		return CLI_FAILED;
	}
	for (const char *at = page_html; *at != '\0';) {
		size_t length = strcspn(at, "@");
		fwrite(at, 1, length, stdout);
		at += length;
		if (*at == '@')
			at = write_part(at + 1, parts);
	}
	return CLI_OK;
}
