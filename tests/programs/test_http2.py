"""HTTP/2, by the easy and the multi interface: what a GET recovers from, and what is never sent twice.

libcurl 7.88 sends a refused stream again by itself, five times at once, each time on a new connection (error 56 after
that). What it does with any other end of a stream, it leaves to us.
"""

import pytest

from curl_hosts import curl, events, names, pattern, run
from h2server import H2Server
from harness import FaultServer
from rangeserver import BEFORE, MID_HEADERS, Answer
from real_servers import BreakingProxy, Nginx, nghttpd

WAYS = {"easy-h2c": (False, False), "easy-tls": (False, True), "multi-h2c": (True, False), "multi-tls": (True, True)}
each_way = pytest.mark.parametrize("multi, secure", WAYS.values(), ids=WAYS)
two_ways = pytest.mark.parametrize("multi, secure", [WAYS["easy-h2c"], WAYS["multi-tls"]], ids=["easy-h2c", "multi-tls"])
either = pytest.mark.parametrize("multi", [False, True], ids=["easy", "multi"])

BY_LIBCURL = 6  # requests that one attempt makes of a refused stream


def fetch(*arguments, multi=False, secure=False, **options):
    """curl with HTTP/2."""
    version = ["-k", "--http2"] if secure else ["--http2-prior-knowledge"]
    options = {"base_delay_ms": 10, **options}
    return curl("--no-progress-meter", *version, *(["-Z"] if multi else []), *arguments, **options)


@pytest.fixture(name="files", scope="module")
def folder_of_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "file").write_bytes(pattern(100000))
    (folder / "limited").write_bytes(b"ok\n")
    return folder


@pytest.fixture(name="nginx", scope="module")
def a_running_nginx(files):
    server = Nginx(files)
    yield server
    server.close()


@each_way
def test_status_of_nginx(nginx, multi, secure):
    url = f"https://127.0.0.1:{nginx.h2}/limited" if secure else f"http://127.0.0.1:{nginx.h2c}/limited"
    seen = []
    while len(seen) < 2:  # a request that comes late is let through: then once more
        plain = b""
        while not plain.endswith(b"503"):
            plain = fetch(url, "-w", "%{http_code}", multi=multi, secure=secure, shim=False).stdout
        nginx.forget()
        result = fetch("-i", url, multi=multi, secure=secure, base_delay_ms=600)
        seen = [(entry["protocol"], entry["status"]) for entry in nginx.requests()]
    assert result.returncode == 0 and result.stdout.endswith(b"\r\n\r\nok\n") and result.stdout.count(b"HTTP/2") == 1
    assert seen == [("HTTP/2.0", 503)] * (len(seen) - 1) + [("HTTP/2.0", 200)]
    assert names(result) == ["attempt_failed"] * (len(seen) - 1) + ["succeeded"]


@either
@pytest.mark.parametrize("how", ["reset", "close"])
def test_connection_to_nginx_that_breaks_within_the_headers(nginx, multi, how):
    cut = 60  # the server's SETTINGS and the beginning of its HEADERS
    with BreakingProxy(nginx.h2c, cut, how=how) as proxy:
        plain = fetch("-i", proxy.url, multi=multi, shim=False)
        assert plain.returncode in (18, 56) and plain.stdout == b""  # which of them, chance decides
    with BreakingProxy(nginx.h2c, cut, cut, None, how=how) as proxy:
        result = fetch("-i", proxy.url, multi=multi)
    head, _, body = result.stdout.partition(b"\r\n\r\n")
    assert (result.returncode, body, head.count(b"HTTP/2")) == (0, pattern(100000), 1)
    assert names(result) == ["attempt_failed", "attempt_failed", "succeeded"]


LOST = [("INTERNAL_ERROR", BEFORE), ("CANCEL", BEFORE), ("ENHANCE_YOUR_CALM", BEFORE), ("NO_ERROR", BEFORE),
        ("close", BEFORE), ("reset", BEFORE), ("close", MID_HEADERS), ("reset", MID_HEADERS)]


@two_ways
@pytest.mark.parametrize("how, cut", [*LOST, ("goaway", BEFORE), ("goaway-close", BEFORE)])
def test_get_without_an_answer_is_sent_again(multi, secure, how, cut):
    lost = Answer(cut=cut, how=how)
    with H2Server(lost, secure=secure) as server:
        plain = fetch(server.url, multi=multi, secure=secure, shim=False)
        assert plain.returncode in (16, 18, 56, 92) and (plain.stdout, len(server.requests)) == (b"", 1)
    with H2Server(lost, lost, Answer(), secure=secure) as server:
        result = fetch("-i", server.url, multi=multi, secure=secure)
        assert len(server.requests) == 3
    head, _, body = result.stdout.partition(b"\r\n\r\n")
    assert (result.returncode, body, head.count(b"HTTP/2")) == (0, server.content, 1)
    assert names(result) == ["attempt_failed", "attempt_failed", "succeeded"]


@either
@pytest.mark.parametrize("how, cut", LOST)
def test_post_without_an_answer_is_not(multi, how, cut):
    with H2Server(Answer(cut=cut, how=how), Answer()) as server:
        result = fetch("-d", "body", server.url, multi=multi)
        assert result.returncode in (18, 56, 92) and (result.stdout, len(server.requests)) == (b"", 1)
    assert names(result) == ["given_up unsafe"]


TWO_POSTS = """
import pycurl, sys
easy, multi = pycurl.Curl(), pycurl.CurlMulti()
for option, value in ((pycurl.URL, sys.argv[1]), (pycurl.SSL_VERIFYPEER, 0), (pycurl.POSTFIELDS, "body"),
                      (pycurl.WRITEFUNCTION, len)):
    easy.setopt(option, value)
code = 0
for _ in range(2):
    if sys.argv[2] == "easy":
        try:
            easy.perform()
        except pycurl.error as error:
            code = error.args[0]
        continue
    multi.add_handle(easy)
    while multi.perform()[1]:
        multi.select(0.2)
    code = next((code for _, code, _ in multi.info_read()[2]), 0)
    multi.remove_handle(easy)
sys.exit(code)
"""


@either
@pytest.mark.parametrize("then, requests", [("reset", 1), ("REFUSED_STREAM", 5)])
def test_post_on_a_kept_connection_that_died_is_left_to_libcurl(multi, then, requests):
    """It sends such a request once more by itself; nobody can tell what the server did with the first, even if each one
    that followed was refused."""
    for shim in (False, True):
        with H2Server(Answer(), Answer(cut=BEFORE, how="reset"), Answer(cut=BEFORE, how=then), secure=True) as server:
            result = run(["/usr/bin/python3", "-c", TWO_POSTS, server.url, "multi" if multi else "easy"], shim=shim)
            assert result.returncode == 56
            assert [request.connection for request in server.requests] == [0, 0, *range(1, requests + 1)]
    assert names(result) == ["given_up unsafe"]


@two_ways
@pytest.mark.parametrize("how, error", [("INTERNAL_ERROR", 92), ("CANCEL", 92), ("REFUSED_STREAM", 56), ("reset", 56)])
def test_broken_body_is_not_sent_again(multi, secure, how, error):
    with H2Server(Answer(cut=5000, how=how), secure=secure) as server:
        plain = fetch(server.url, multi=multi, secure=secure, shim=False)
        result = fetch(server.url, multi=multi, secure=secure)
        assert (plain.returncode, plain.stdout) == (error, server.content[:5000])
        assert (result.returncode, result.stdout, result.stderr) == (plain.returncode, plain.stdout, plain.stderr)
        assert len(server.requests) == 2
    assert names(result) == ["given_up delivered"]


@each_way
@pytest.mark.parametrize("arguments", [[], ["-d", "body"], ["-T", "-"]], ids=["GET", "POST", "PUT"])
def test_refused_stream_is_sent_again_whatever_the_method(multi, secure, arguments):
    refused, options = Answer(cut=BEFORE, how="REFUSED_STREAM"), {"multi": multi, "secure": secure, "stdin": b"body"}
    arguments = [argument if argument != "-" else "/etc/hostname" for argument in arguments]
    with H2Server(refused, secure=secure) as server:
        plain = fetch(server.url, *arguments, shim=False, **options)
        assert (plain.returncode, plain.stdout, len(server.requests)) == (56, b"", BY_LIBCURL)
    with H2Server(*[refused] * (BY_LIBCURL + 1), Answer(), secure=secure) as server:
        result = fetch(server.url, *arguments, **options)
        assert (result.returncode, result.stdout, result.stderr) == (0, server.content, b"")
        # One request is the accepted one, and carries the whole body.
        assert len(server.requests) == BY_LIBCURL + 2
        if arguments[:1] == ["-d"]:
            assert server.requests[-1].body == b"body"
    assert names(result) == ["attempt_failed", "succeeded"]


def test_refused_beside_others_is_not_proved():
    """libcurl replays on a connection that others have used, too; what each of two transfers met cannot be told."""
    refused = Answer(cut=BEFORE, how="REFUSED_STREAM")
    with H2Server(refused) as one, H2Server(refused) as other:
        result = fetch("-d", "body", one.url, other.url, multi=True)
        assert result.returncode == 56 and len(one.requests) == len(other.requests) == BY_LIBCURL
    assert names(result) == ["given_up unsafe"] * 2


@either
def test_refused_for_ever(multi):
    with H2Server(Answer(cut=BEFORE, how="REFUSED_STREAM")) as server:
        plain = fetch("-d", "body", server.url, multi=multi, shim=False)
        result = fetch("-d", "body", server.url, multi=multi)
        assert len(server.requests) == 4 * BY_LIBCURL
    assert (result.returncode, result.stdout, result.stderr) == (plain.returncode, plain.stdout, plain.stderr)
    assert names(result) == ["attempt_failed", "attempt_failed", "exhausted"]


@either
@pytest.mark.parametrize("arguments", [[], ["-d", "body"]], ids=["GET", "POST"])
def test_nghttpd_that_refuses_streams(files, multi, arguments):
    with nghttpd(files, 0) as refusing, nghttpd(files, 100) as serving:
        refused = f"forward=127.0.0.1:{refusing}"
        with FaultServer(refused) as server:
            assert fetch(server.url + "/file", *arguments, multi=multi, shim=False).returncode == 56
            assert len(server.accepts()) == BY_LIBCURL
        with FaultServer([refused] * BY_LIBCURL + [f"forward=127.0.0.1:{serving}"]) as server:
            result = fetch(server.url + "/file", *arguments, multi=multi)
            assert (result.returncode, result.stdout) == (0, pattern(100000))
            assert len(server.accepts()) == BY_LIBCURL + 1
    assert names(result) == ["attempt_failed", "succeeded"]


@either
def test_post_that_goaway_names_as_not_looked_at_is_executed_at_most_once(multi):
    for how in ("goaway", "goaway-close"):
        with H2Server(Answer(cut=BEFORE, how=how), Answer()) as server:
            result = fetch("-d", "body", server.url, multi=multi)
            again = len(server.requests) - 1
        assert (result.returncode, result.stdout, again) in ((16, b"", 0), (0, server.content, 1))
        assert names(result) == (["attempt_failed", "succeeded"] if again else ["given_up unsafe"])


@either
def test_next_attempt_is_not_sent_by_a_kept_connection_without_tls(multi):
    """libcurl 7.88 fails any second request of a prior-knowledge connection with error 16 (curl pull request 10643)."""
    with H2Server(Answer(status=503), Answer()) as server:
        assert fetch("-w", "%{http_code}", "-o", "/dev/null", server.url, multi=multi, shim=False).stdout == b"503"
    with H2Server(Answer(status=503), Answer()) as server:
        result = fetch("-w", "%{http_code}", server.url, multi=multi)
        assert (result.returncode, result.stdout) == (0, server.content + b"200")
    assert names(result) == ["attempt_failed", "succeeded"]


@each_way
def test_exhaustion_delivers_the_last_response_once(multi, secure):
    answers = [Answer(status=status, body=b"%d\n" % status) for status in (503, 502, 500)]
    with H2Server(*answers, secure=secure) as server:
        result = fetch("-i", server.url, multi=multi, secure=secure)
        assert len(server.requests) == 3
    assert result.returncode == 0 and result.stdout.startswith(b"HTTP/2 500") and result.stdout.endswith(b"\r\n\r\n500\n")
    assert names(result) == ["attempt_failed", "attempt_failed", "exhausted"]


def test_streams_of_one_connection_fail_one_by_one(tmp_path):
    """Three at a time: one good, one answered 503, one reset."""
    faults = {"/b": [Answer(status=503, body=b"no")], "/c": [Answer(cut=BEFORE, how="INTERNAL_ERROR")] * 2}

    def gate(request):
        left = faults.get(request.path)
        return left.pop(0) if left else None

    with H2Server(secure=True, gate=gate) as server:
        root = server.url.removesuffix("/file")
        outputs = [word for name in "abc" for word in (f"{root}/{name}", "-o", tmp_path / name)]
        result = fetch(*outputs, multi=True, secure=True)
        assert result.returncode == 0, result.stderr
        assert all((tmp_path / name).read_bytes() == server.content for name in "abc")
        assert sorted(request.path for request in server.requests) == ["/a", "/b", "/b", "/c", "/c", "/c"]
        assert server.connections == 1
    assert sorted(names(result)) == ["attempt_failed"] * 3 + ["succeeded"] * 2
    assert len({event["op"] for event in events(result)}) == 2
