#include "vocabulary.h"

#include <stdio.h>
#include <stdlib.h>

#define AT(member) offsetof(struct step, member)
#define BIT(kind)  (1U << (kind))

#define ANSWER  BIT(STEP_ANSWER)
#define PARTIAL (BIT(STEP_PARTIAL_HEADER) | BIT(STEP_PARTIAL_BODY))
#define BODY    (BIT(STEP_ANSWER) | BIT(STEP_PARTIAL_BODY))

/* Name, kind, taken at accept, its value: type, place, name; help. */
const struct step_word step_words[] = {
	{"STATUS", STEP_ANSWER, false, VALUE_NONE, 0, "", "read the request, answer 100..599; keep-alive"},
	{"reset-after", STEP_RESET_AFTER, false, VALUE_NONE, 0, "", "read the request, then RST"},
	{"reset-mid", STEP_RESET_MID, false, VALUE_COUNT, AT(bytes), "=N", "RST after N bytes of the request body"},
	{"empty", STEP_EMPTY, false, VALUE_NONE, 0, "", "read the request, close without a byte"},
	{"partial-header", STEP_PARTIAL_HEADER, false, VALUE_NONE, 0, "", "half of a 200 header block, then close"},
	{"partial-body", STEP_PARTIAL_BODY, false, VALUE_NONE, 0, "", "a 200 of size=M (1000), bytes=N (half) sent"},
	{"hang", STEP_HANG, false, VALUE_NONE, 0, "", "read the request, never answer"},
	{"reset", STEP_RESET, true, VALUE_NONE, 0, "", "RST right after accept, nothing read"},
	{"close", STEP_CLOSE, true, VALUE_NONE, 0, "", "orderly close right after accept"},
	{"greet", STEP_GREET, true, VALUE_GREETING, 0, "=TEXT", "send TEXT, give the client 1s to close, close"},
	{"dialog", STEP_DIALOG, true, VALUE_LINES, 0, "=LINE|LINE...", "send a LINE, then one for each line received"},
	{"forward", STEP_FORWARD, true, VALUE_HOST_PORT, 0, "=HOST:PORT", "copy both ways to a real server"},
	{NULL, STEP_KINDS, false, VALUE_NONE, 0, NULL, NULL}};

/* Name, its value: type, place; the steps that take it; the value's name, help. */
const struct modifier_word modifier_words[] = {
	{"header", VALUE_HEADER, 0, BODY, "NAME: VALUE", "one more header (repeatable); @+DUR = that date"},
	{"body", VALUE_TEXT, AT(body), ANSWER, "TEXT", "the body; default `ok' or `STATUS REASON'"},
	{"size", VALUE_COUNT, AT(size), BODY, "N", "a made body of N bytes: 16-byte numbered lines"},
	{"offset", VALUE_COUNT, AT(offset), BODY, "N", "start that body at its byte N, as a 206 does"},
	{"reason", VALUE_TEXT, AT(reason), ANSWER, "TEXT", "the reason phrase"},
	{"delay", VALUE_TIME, AT(delay_ns), ANSWER, "DUR", "wait before the answer"},
	{"interim", VALUE_INTERIM, AT(interim), ANSWER, "1XX", "send this block first, e.g. 103"},
	{"gap", VALUE_TIME, AT(gap_ns), ANSWER, "DUR", "wait between the header block and the body"},
	{"slow", VALUE_TIME, AT(slow_ns), ANSWER, "DUR", "wait between the pieces of the body"},
	{"piece", VALUE_COUNT, AT(piece), ANSWER, "N", "bytes of a piece; default a tenth of the body"},
	{"chunked", VALUE_FLAG, AT(chunked), ANSWER, "1", "chunked transfer coding, a chunk a piece"},
	{"close", VALUE_FLAG, AT(close), ANSWER, "1", "close after the answer"},
	{"bytes", VALUE_COUNT, AT(bytes), PARTIAL, "N", "bytes sent before the end; 0 is allowed"},
	{"reset", VALUE_FLAG, AT(reset), PARTIAL, "1", "end with RST, not with a close"},
	{"for", VALUE_TIME, AT(for_ns), BIT(STEP_HANG), "DUR", "then close; default: when the client does"},
	{NULL, VALUE_NONE, 0, 0, NULL, NULL}};

const struct step_word *vocabulary_step(enum step_kind kind)
{
	const struct step_word *word = step_words;
	while (word->name && word->kind != kind)
		word++;
	return word;
}

static void print_steps(FILE *out, bool at_accept)
{
	for (const struct step_word *word = step_words; word->name; word++) {
		if (word->at_accept != at_accept)
			continue;
		int width = fprintf(out, "  %s%s", word->name, word->value);
		fprintf(out, "%*s%s\n", width < 24 ? 24 - width : 1, "", word->help);
	}
}

static void print_modifiers(FILE *out)
{
	for (const struct modifier_word *word = modifier_words; word->name; word++) {
		int width = fprintf(out, "  %s=%s", word->name, word->value);
		fprintf(out, "%*s%s", width < 24 ? 24 - width : 1, "", word->help);
		if (!(word->kinds & ANSWER))
			fprintf(out, word->kinds & BIT(STEP_HANG) ? " (hang)" : " (partial-*)");
		fputc('\n', out);
	}
}

char *script_help(void)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	if (!out)
		return NULL;
	fputs("Steps at the level of a request, taken when its header block was read:\n", out);
	print_steps(out, false);
	fputs("\nSteps at the level of a connection, taken at accept (or, on a connection kept\n"
	      "alive, after the request that meets it; forward passes that request on):\n", out);
	print_steps(out, true);
	fputs("\nModifiers follow the step, each after a comma (of STATUS unless said so):\n", out);
	print_modifiers(out);
	fputs("\nA backslash escapes a comma (and `|' in a dialogue); \\r \\n \\t \\0 \\\\ are known.\n"
	      "A dialogue LINE gets CRLF unless it ends in \\n; an empty LINE sends nothing;\n"
	      "after the last one the client has 1s to close. DUR is a number with us, ms, s\n"
	      "or m.\n"
	      "Expect: 100-continue gets its 100 from a STATUS below 400 and from reset-mid.\n"
	      "A unix socket knows no RST: its client sees the end of the stream, or\n"
	      "ECONNRESET if it had sent what was not read.\n"
	      "\nExamples:\n"
	      "  faultserver --port 8080 reset 503 '503,header=Retry-After: 1' 200\n"
	      "  faultserver --open-after 2s '200,size=1000000,slow=100ms,chunked=1'\n"
	      "  faultserver 'partial-body,size=1000,bytes=400,reset=1' 200,size=1000\n"
	      "  faultserver 'dialog=421 busy' 'dialog=220 hello|250 ok|221 bye'\n", out);
	fclose(out);
	return text;
}
