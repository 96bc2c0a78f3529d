"""RETRY_RESUME=1: what does not go on. The original error, no wrong byte, no header line of any response but the first."""

import json
from email.utils import formatdate
from pathlib import Path

import pytest

from curl_hosts import curl, names, pattern, run
from h2server import H2Server
from rangeserver import DATE, ETAG, Answer, RangeServer

CLIENT = Path(__file__).with_name("download_client.py")
OTHER = pattern(20000)[::-1]  # another file of the same size
REST = 15000                  # what is missing after a break at 5000
EASY_AND_MULTI = pytest.mark.parametrize("multi", [False, True], ids=["easy", "multi"])


def part(headers=(), **answer):
    """A 206 that answers the resumed attempt, but for these."""
    return Answer(headers={"x-second": "yes", **dict(headers)}, **answer)


def ranged(text):
    return part({"content-range": text})


ANSWERS = {
    "range ignored": part(ranges=False),
    "changed": part(etag='"two"', body=OTHER),
    "changed, says 206": part(etag='"two"', status=206, body=OTHER[5000:], headers={"content-range": "bytes 5000-19999/20000"}),
    "starts later": part(shift=100),
    "starts earlier": part(shift=-100),
    "starts at 0": part({"content-range": "bytes 0-19999/20000"}, status=206, body=pattern(20000)),
    "another total": ranged("bytes 5000-20000/20001"),
    "smaller total": part({"content-range": "bytes 5000-9999/10000"}, body=OTHER[:5000]),
    "unknown total": ranged("bytes 5000-19999/*"),
    "ends early": part({"content-range": "bytes 5000-9999/20000"}, body=pattern(10000)[5000:]),
    "other unit": ranged("chars 5000-19999/20000"),
    "nonsense": ranged("bytes five"),
    "overflow": ranged("bytes 18446744073709556616-18446744073709571615/18446744073709571616"),
    "no Content-Range": part({"content-range": None}),
    "another etag": part({"etag": '"two"'}),
    "etag of another case": part({"etag": '"ONE"'}),
    "weak etag": part({"etag": f"W/{ETAG}"}),
    "no etag": part({"etag": None}),
    "multipart": part({"content-range": None, "content-type": "multipart/byteranges; boundary=x"}, body=b"--x\r\n" + OTHER),
    "encoded": part({"content-encoding": "gzip"}),
    "416": part({"content-range": "bytes */20000"}, status=416, body=b"no"),
    "404": part(status=404, body=b"gone"),
    "403": part(status=403, body=b"no"),
    "204": part(status=204, body=b""),
    "304": part(status=304, body=b""),
    "redirect": part({"location": "/other"}, status=302, body=b"there"),
    "501": part(status=501, body=b"no"),
}


def no_second_header(text):
    return sum(line.startswith(b"HTTP/") for line in text.splitlines()) == 1 and b"x-second" not in text.lower()


@EASY_AND_MULTI
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_answer_that_is_not_the_rest(answer, multi):
    with RangeServer(Answer(cut=5000, how="close"), answer) as server:
        result = curl("--no-progress-meter", "-D", "/dev/stderr", *(["-Z"] if multi else []), server.url, resume=1,
                      base_delay_ms=10)
        assert (result.returncode, result.stdout == server.content[:5000]) == (18, True), result.stdout[:5200][-300:]
        assert server.saw("range") == [None, "bytes=5000-"]
        assert no_second_header(result.stderr)
    assert names(result) == ["attempt_failed", "given_up delivered"]


@pytest.mark.parametrize("answer", [part({"last-modified": "Tue, 04 Feb 2020 10:00:00 GMT"}, etag=None),
                                    part({"last-modified": None}, etag=None)], ids=["another", "none"])
def test_last_modified_that_is_not_the_same(answer):
    with RangeServer(Answer(cut=5000, etag=None), answer) as server:
        result = curl(server.url, resume=1, base_delay_ms=10)
        assert (result.returncode, result.stdout, len(server.requests)) == (56, server.content[:5000], 2)
    assert names(result) == ["attempt_failed", "given_up delivered"]


@EASY_AND_MULTI
@pytest.mark.parametrize("follow", [[], ["-L"]], ids=["", "-L"])
def test_redirect_to_something_else(follow, multi):
    """Even if what is there passes for the same."""
    with RangeServer(Answer(cut=5000), Answer(status=307, headers={"location": "/other", "x-second": "yes"}, body=b""),
                     Answer(headers={"x-second": "yes"})) as server:
        result = curl("--no-progress-meter", "-D", "/dev/stderr", *follow, *(["-Z"] if multi else []), server.url, resume=1,
                      base_delay_ms=10)
        assert (result.returncode, result.stdout == server.content[:5000]) == (56, True)
        assert no_second_header(result.stderr)
    assert names(result)[-1] == "given_up delivered"


OPEN_ENDED = {"content-length": None, "connection": "close"}
LONG, SHORT = pattern(20000)[5000:] + b"x" * 500, pattern(19500)[5000:]
LENGTHS = {
    "longer": (RangeServer, Answer(headers={"content-length": str(REST + 500)}, body=LONG)),
    "longer, chunked": (RangeServer, Answer(chunked=True, body=LONG)),
    "longer, until it closes": (RangeServer, Answer(headers=OPEN_ENDED, body=LONG, cut=REST + 500, how="close")),
    "longer, HTTP/2": (H2Server, Answer(headers={"content-length": None}, body=LONG)),
    "shorter": (RangeServer, Answer(headers={"content-length": str(REST - 500)}, body=SHORT)),
    "shorter, chunked": (RangeServer, Answer(chunked=True, body=SHORT)),
    "shorter, until it closes": (RangeServer, Answer(headers=OPEN_ENDED, cut=REST - 500, how="close")),
    "shorter, HTTP/2": (H2Server, Answer(headers={"content-length": None}, body=SHORT)),
}


@EASY_AND_MULTI
@pytest.mark.parametrize("server_class, answer", LENGTHS.values(), ids=LENGTHS)
def test_part_whose_length_is_not_that_of_its_range(server_class, answer, multi):
    version = "--http2-prior-knowledge" if server_class is H2Server else "--http1.1"
    with server_class(Answer(cut=5000), answer) as server:
        result = curl("--no-progress-meter", version, *(["-Z"] if multi else []), server.url, resume=1, base_delay_ms=10)
        assert server.content.startswith(result.stdout), "a byte that is not the file's"
        # Too many bytes may be cut off, and too few asked for again; a success is the whole.
        assert result.returncode in (0, 18, 56)
        assert (result.returncode == 0) <= (result.stdout == server.content), "a success that is cut short"
        assert len(server.requests) >= 2


@EASY_AND_MULTI
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_error_that_the_program_is_told(multi, chunked):
    """Code, text and what curl_easy_getinfo says are those of the broken response."""
    def told(second, **settings):
        with RangeServer(Answer(cut=5000, chunked=chunked), second) as server:
            argv = ["/usr/bin/python3", CLIENT, server.url, json.dumps({"multi": multi, "OPT_FILETIME": 1})]
            told = json.loads(run(argv, base_delay_ms=10, **settings).stdout)
            told["info"]["EFFECTIVE_URL"] = told["info"]["EFFECTIVE_URL"].replace(str(server.port), "PORT")
        told["headers"] = [line for line in told["headers"] if not line.startswith("date:")]
        return {**told, "progress": told["progress"][-1]}

    plain = told(Answer(), shim=False)
    assert plain["code"] == 56 and plain["length"] == 5000
    for second in (Answer(status=404, body=b"gone"), Answer(ranges=False), Answer(etag='"two"', body=OTHER),
                   Answer(headers={"content-range": "bytes 0-1/2", "content-length": "15000"})):
        assert told(second, resume=1) == plain


@pytest.mark.parametrize("answer", [Answer(status=404, headers={"x-second": "yes"}, body=b"gone"), Answer(ranges=False),
                                    part(shift=100), part({"etag": '"two"'})], ids=["404", "ignored", "shifted", "etag"])
def test_http2_answer_that_is_not_the_rest(answer):
    with H2Server(Answer(cut=5000, how="INTERNAL_ERROR"), answer, secure=True) as server:
        result = curl("-k", "--http2", "-D", "/dev/stderr", server.url, resume=1, base_delay_ms=10)
        assert (result.returncode, result.stdout == server.content[:5000]) == (92, True)
        assert len(server.requests) == 2 and no_second_header(result.stderr)
    assert names(result) == ["attempt_failed", "given_up delivered"]


NOT_RESUMABLE = {
    "no validator": (Answer(etag=None, date=None), [], {}),
    "weak etag": (Answer(etag='W/"one"', date=None), [], {}),
    # RFC 9110, section 13.1.5: a date is for a client without an entity tag.
    "weak etag and date": (Answer(etag='W/"one"'), [], {}),
    # Section 8.8.2.2: a date that young may be another version's, too.
    "date of this second": (Answer(etag=None, date=formatdate(usegmt=True)), [], {}),
    "entity tag without quotes": (Answer(etag="one"), [], {}),
    "no ranges": (Answer(headers={"accept-ranges": "none"}), [], {}),
    "ranges not named": (Answer(headers={"accept-ranges": None}), [], {}),
    "other ranges": (Answer(headers={"accept-ranges": "chars"}), [], {}),
    "encoded": (Answer(headers={"content-encoding": "gzip"}), [], {}),
    "decoding": (Answer(), ["--compressed"], {}),
    "POST": (Answer(), ["-d", "body"], {}),
    "PUT": (Answer(), ["-T", "/etc/hostname"], {}),
    "custom method": (Answer(), ["-X", "REPORT"], {}),
    "GET with a body": (Answer(), ["-X", "GET", "-d", "body"], {}),
    "own range": (Answer(ranges=False), ["-r", "100-"], {}),
    "own range, heeded": (Answer(), ["-r", "100-"], {}),
    "own closed range": (Answer(), ["-r", "0-19999"], {}),
    "own range as a header": (Answer(ranges=False), ["-H", "Range: bytes=100-"], {}),
    "own If-Range": (Answer(), ["-H", 'If-Range: "zero"'], {}),
    "own -C": (Answer(status=206, headers={"content-range": "bytes 100-20099/20100"}), ["-C", "100"], {}),
    "method not listed": (Answer(), [], {"methods": "HEAD,PUT"}),
    "404": (Answer(status=404), [], {}),
    "203": (Answer(status=203), [], {}),
    "one attempt": (Answer(), [], {"max_attempts": 1}),
    "host skipped": (Answer(), [], {"skip_hosts": "127.0.0.1"}),
    "switched off": (Answer(), [], {"resume": 0}),
    "malformed": (Answer(), [], {"resume": "perhaps"}),
}


@pytest.mark.parametrize("answer, arguments, settings", NOT_RESUMABLE.values(), ids=NOT_RESUMABLE)
def test_download_that_cannot_go_on(answer, arguments, settings):
    answer.cut, answer.how = 5000, "close"
    if answer.date not in (None, DATE):
        answer.date = formatdate(usegmt=True)
    with RangeServer(answer) as server:
        plain = curl(*arguments, server.url, shim=False)
        result = curl(*arguments, server.url, base_delay_ms=10, **{"resume": 1, **settings})
        assert plain.returncode == 18 and plain.stdout
        assert (result.returncode, result.stdout, result.stderr) == (plain.returncode, plain.stdout, plain.stderr)
        assert len(server.requests) == 2
    told = [name for name in names(result) if name != "bad_value"]
    assert told in (["given_up delivered"], ["given_up unsafe"], ["exhausted"], ["not_retryable"], [])
    if not settings and arguments[:1] not in (["-d"], ["-X"]) and answer.status in (None, 206):
        assert told == ["given_up delivered"]


@EASY_AND_MULTI
def test_head_has_nothing_to_go_on_with(multi):
    with RangeServer() as server:
        result = curl("-I", "--no-progress-meter", *(["-Z"] if multi else []), server.url, resume=1)
        assert result.returncode == 0 and len(server.requests) == 1
    assert names(result) == []


@EASY_AND_MULTI
def test_a_program_that_stops_is_not_resumed(multi):
    """A write callback's own refusal is no broken body."""
    with RangeServer() as server:
        result = curl("--no-progress-meter", *(["-Z"] if multi else []), "-o", "/dev/full", server.url, resume=1)
        assert result.returncode == 23 and len(server.requests) == 1
        assert curl("--max-filesize", "100", server.url, resume=1).returncode == 63
        assert len(server.requests) == 2


@EASY_AND_MULTI
@pytest.mark.parametrize("second, settings, told", [
    (Answer(), {"base_delay_ms": 3000, "timeout_ms": 1000}, ["given_up deadline"]),
    (part({"retry-after": "100"}, status=503, body=b"busy"), {}, ["attempt_failed", "given_up retry_after"]),
    (part(status=503, body=b"busy"), {"max_attempts": 2}, ["attempt_failed", "exhausted"])],
    ids=["deadline", "Retry-After", "attempts"])
def test_limit_that_is_met_before_the_rest(second, settings, told, multi):
    with RangeServer(Answer(cut=5000), second) as server:
        result = curl("--no-progress-meter", "-D", "/dev/stderr", *(["-Z"] if multi else []), server.url,
                      **{"resume": 1, "base_delay_ms": 10, **settings})
        assert (result.returncode, result.stdout == server.content[:5000], result.seconds < 2) == (56, True, True)
        assert no_second_header(result.stderr) and b"(56)" in result.stderr
    assert names(result) == told
