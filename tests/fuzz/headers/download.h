/* What stands between libcurl and the program, fed as libcurl would, in any pieces.
 *
 * An input is a few attempts of one download: lines of header blocks, bytes of bodies, and what libcurl says of them; or answers
 * of a server that has four versions of a file. It is played twice, each time to another program: one takes all at once; the
 * other gets it in pieces, pauses, and looks on by a debug callback. Both must have the same in the end, only what was for them,
 * and of the server's answers one, or the file's bytes from the first on, of one version.
 *
 *   script.c     the input, and what has to hold in the end
 *   download.c   libcurl's part, and what the hooks find around them
 *   server.c     the server's answers, and what may have come of them
 */
#ifndef RETRYSHIM_TESTS_FUZZ_DOWNLOAD_H
#define RETRYSHIM_TESTS_FUZZ_DOWNLOAD_H

#include "../fuzz.h"
#include "hooks/curl_handle.h"

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

/* How one of the two plays. */
struct play {
	struct easy easy;
	struct program program;
	bool in_pieces;
	struct input pieces; /* sizes of the pieces */
	struct text sent_header, sent_body;
	int attempts;
	bool over;
	bool answered; /* by the server, in this attempt */
	bool invented; /* something has come that no server would have sent */
};

/* ---- download.c */
extern struct told {
	long tunnel, code; /* CURLINFO_HTTP_CONNECTCODE, _RESPONSE_CODE */
	bool drops;        /* the verdict on final responses of 5yz */
	const char *url;
} told;
extern const struct curl_real download_real;
void download_add(struct text *text, const char *bytes, size_t length);
size_t download_take_header(char *bytes, size_t size, size_t count, void *program);
size_t download_take_body(char *bytes, size_t size, size_t count, void *program);
int download_look_on(CURL *handle, curl_infotype type, char *bytes, size_t length, void *program);
/* False if the transfer ends there. */
bool download_line(struct play *play, char *line, size_t length);
bool download_body(struct play *play, char *bytes, size_t length);
/* The attempt is over; another one follows, if it may, and if the engine has not changed its mind. */
void download_break(struct play *play, bool wanted);

/* ---- server.c */
/* False if the transfer ends there. */
bool server_answer(struct play *play, struct input *input);
/* Of one version, from the first byte on; or of one other answer. */
void server_check(const struct play *play);

#endif
