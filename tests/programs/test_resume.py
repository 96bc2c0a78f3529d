"""RETRY_RESUME=1: a download that breaks goes on where it stopped, and the program sees one that did not."""

import hashlib
import json
import time
from pathlib import Path

import pytest

from curl_hosts import curl, lines, names, pattern, run, session
from h2server import H2Server
from rangeserver import DATE, ETAG, Answer, RangeServer
from real_servers import BreakingProxy, Nginx

CLIENT = Path(__file__).with_name("download_client.py")
MET = ["attempt_failed", "succeeded"]


def resume(**options):
    return {"resume": 1, "base_delay_ms": 10, **options}


def download(url, options=None, **settings):
    """The pycurl program: what it was told."""
    return json.loads(run(["/usr/bin/python3", CLIENT, url, json.dumps(options or {})], **settings).stdout)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def offsets(server):
    return server.saw("range"), server.saw("if-range")


@pytest.fixture(name="nginx", scope="module")
def a_running_nginx(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "file").write_bytes(pattern(3000000))
    server = Nginx(folder)
    yield server
    server.close()


@pytest.mark.parametrize("broken, error, server_class", [
    (Answer(cut=5000), 56, RangeServer), (Answer(cut=1), 56, RangeServer), (Answer(cut=-1), 56, RangeServer),
    (Answer(cut=5000, how="close"), 18, RangeServer), (Answer(cut=-1, how="close"), 18, RangeServer),
    (Answer(cut=5000, chunked=True), 56, RangeServer), (Answer(cut=5000, chunked=True, how="close"), 18, RangeServer),
    (Answer(cut=5000, etag=None), 56, RangeServer), (Answer(cut=5000, date=None), 56, RangeServer),
    (Answer(cut=5000), 56, H2Server),
    (Answer(cut=5000, how="INTERNAL_ERROR"), 92, H2Server), (Answer(cut=1, how="CANCEL"), 92, H2Server),
    (Answer(cut=5000, how="REFUSED_STREAM"), 56, H2Server)])
@pytest.mark.parametrize("multi", [False, True], ids=["easy", "multi"])
def test_body_that_breaks(broken, error, server_class, multi):
    arguments = ["--http2-prior-knowledge" if server_class is H2Server else "--http1.1", *(["-Z"] if multi else [])]
    whole = Answer(etag=broken.etag, date=broken.date)
    settings = [{"shim": False}, {"resume": 0}] if not multi else []
    for setting in settings:
        with server_class(broken, whole) as server:
            result = curl(*arguments, server.url, **setting)
            cut = broken.cut if broken.cut >= 0 else len(server.content) + broken.cut
            assert (result.returncode, result.stdout) == (error, server.content[:cut]) and len(server.requests) == 1
    with server_class(broken, whole) as server:
        result = curl("--no-progress-meter", *arguments, "-D", "/dev/stderr", server.url, **resume())
        cut = broken.cut if broken.cut >= 0 else len(server.content) + broken.cut
        assert (result.returncode, sha256(result.stdout)) == (0, sha256(server.content))
        assert result.stderr.count(b"HTTP/") == 1 and b"content-range" not in result.stderr
        validator = broken.etag if broken.etag == ETAG else DATE
        assert offsets(server) == ([None, f"bytes={cut}-"], [None, validator])
    assert names(result) == MET


@pytest.mark.parametrize("multi", [False, True], ids=["easy", "multi"])
def test_break_after_the_headers(multi):
    """The header block has been shown, no byte of the body: it is not shown again."""
    with RangeServer(Answer(cut=0), Answer()) as server:
        result = curl("-i", "--no-progress-meter", *(["-Z"] if multi else []), server.url, **resume())
        head, _, body = result.stdout.partition(b"\r\n\r\n")
        assert (result.returncode, body, head.count(b"HTTP/")) == (0, server.content, 1) and b" 200 " in head
        assert len(server.requests) == 2 and server.saw("range")[1] in (None, "bytes=0-")
    assert names(result) == MET


@pytest.mark.parametrize("arguments", [["-o", "out"], ["-o", "out", "-D", "head"], ["-O"], ["-Z", "-o", "out"],
                                       ["-i", "-o", "out"], ["--fail", "-R", "-o", "out"], ["-o", "out", "--create-dirs", "-N"]],
                         ids=" ".join)
def test_curl_to_a_file(tmp_path, arguments):
    with RangeServer(Answer(cut=7000), Answer(cut=6000), Answer()) as server:
        result = curl(*arguments, "--no-progress-meter", "-w", "%{http_code} %{size_download} %{num_redirects}\n", server.url,
                      cwd=tmp_path, **resume())
        assert (result.returncode, result.stdout) == (0, b"200 20000 0\n")
        written = (tmp_path / ("file" if "-O" in arguments else "out")).read_bytes()
        head, _, body = written.partition(b"\r\n\r\n") if "-i" in arguments else (b"", b"", written)
        assert sha256(body) == sha256(server.content)
        assert server.saw("range") == [None, "bytes=7000-", "bytes=13000-"]
    head = (tmp_path / "head").read_bytes() if "-D" in arguments else head
    assert head.count(b"HTTP/1.1") == (1 if "-D" in arguments or "-i" in arguments else 0)


@pytest.mark.parametrize("multi", [False, True], ids=["easy", "multi"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_all_that_pycurl_is_told(multi, chunked):
    options = {"multi": multi, "OPT_FILETIME": 1}
    with RangeServer(Answer(chunked=chunked)) as server:
        healthy = download(server.url, options, shim=False)
    with RangeServer(Answer(cut=5000, chunked=chunked)) as server:
        assert download(server.url, options, shim=False)["code"] == 56
    with RangeServer(Answer(cut=5000, chunked=chunked), Answer(cut=5000), Answer()) as server:
        ours = download(server.url, options, **resume())
        assert server.saw("range") == [None, "bytes=5000-", "bytes=10000-"]
    for told in (healthy, ours):
        del told["info"]["EFFECTIVE_URL"]
        told["headers"] = [line for line in told["headers"] if not line.startswith("date:")]
    progress = ours.pop("progress")
    assert progress == sorted(progress, key=lambda pair: pair[1]), "progress went back"
    assert progress[-1] == healthy.pop("progress")[-1]
    assert {total for total, _ in progress} <= ({0} if chunked else {0, 20000})
    assert ours == healthy


def test_what_the_session_host_is_told():
    with RangeServer() as server:
        healthy = lines(session("new", f"url={server.url}", "perform", "info", shim=False))
        port = server.port
    with RangeServer(Answer(cut=5000), Answer()) as server:
        ours = lines(session("new", f"url={server.url}", "perform", "info", **resume()))
    def facts(text):
        return [word for word in text[-1].replace(str(port), "PORT").replace(str(server.port), "PORT").split()
                if word.partition("=")[0] in ("status", "header_size", "down", "length", "url", "redirects", "version", "type")]
    assert facts(ours) == facts(healthy) and "0 perform -> 0" in ours


def test_several_breaks_are_bounded_by_the_attempts():
    broken = [Answer(cut=3000)] * 6
    with RangeServer(*broken, Answer()) as server:
        result = curl(server.url, **resume(max_attempts=7))
        assert (result.returncode, result.stdout) == (0, server.content)
        assert server.saw("range")[1:] == [f"bytes={3000 * number}-" for number in range(1, 7)]
    assert names(result) == ["attempt_failed"] * 6 + ["succeeded"]
    with RangeServer(*broken, Answer()) as server:
        result = curl(server.url, **resume(max_attempts=6))
        assert (result.returncode, result.stdout, len(server.requests)) == (56, server.content[:18000], 6)
    assert names(result) == ["attempt_failed"] * 5 + ["exhausted"]


@pytest.mark.parametrize("multi", [False, True], ids=["easy", "multi"])
def test_503_in_between(multi):
    arguments = ["--no-progress-meter", "-D", "/dev/stderr", *(["-Z"] if multi else [])]
    busy = Answer(status=503, body=b"busy\n", headers={"x-busy": "yes", "accept-ranges": None, "etag": None})
    with RangeServer(Answer(cut=5000), busy, busy, Answer()) as server:
        result = curl(*arguments, server.url, **resume(max_attempts=4))
        assert (result.returncode, result.stdout) == (0, server.content)
        assert server.saw("range") == [None] + ["bytes=5000-"] * 3
        assert b"x-busy" not in result.stderr and result.stderr.count(b"HTTP/") == 1
    assert names(result) == ["attempt_failed"] * 3 + ["succeeded"]
    with RangeServer(Answer(cut=5000), busy) as server:
        result = curl(*arguments, server.url, **resume())
        assert (result.returncode, result.stdout, len(server.requests)) == (56, server.content[:5000], 3)
        assert b"x-busy" not in result.stderr and result.stderr.count(b"HTTP/") == 1
    assert names(result) == ["attempt_failed"] * 2 + ["exhausted"]


@pytest.mark.parametrize("multi", [False, True], ids=["easy", "multi"])
def test_refused_connections_in_between(multi):
    broken = Answer(cut=5000)
    with RangeServer(broken, Answer()) as server:
        broken.then = lambda: server.refuse_for(0.3)
        result = curl("--no-progress-meter", *(["-Z"] if multi else []), server.url,
                      **resume(base_delay_ms=100, multiplier="1.0", max_attempts=60))
        assert (result.returncode, result.stdout) == (0, server.content)
        assert len(server.requests) == 2
    assert names(result)[-1] == "succeeded" and len(names(result)) > 2


def test_stall_that_the_low_speed_limit_ends():
    slow = ["--speed-time", "1", "--speed-limit", "1000"]
    with RangeServer(Answer(cut=5000, how="stall"), Answer()) as server:
        plain = curl(*slow, server.url, shim=False)
        assert (plain.returncode, plain.stdout) == (28, server.content[:5000])
    with RangeServer(Answer(cut=5000, how="stall"), Answer()) as server:
        result = curl(*slow, server.url, **resume())
        assert (result.returncode, result.stdout) == (0, server.content)
        assert server.saw("range") == [None, "bytes=5000-"]


def test_the_programs_own_time_out_bounds_it_all():
    stall = Answer(cut=5000, how="stall")
    with RangeServer(stall) as server:
        start = time.monotonic()
        result = curl("--max-time", "1", server.url, **resume())
        assert (result.returncode, result.stdout) == (28, server.content[:5000])
        assert time.monotonic() - start < 2.5


@pytest.mark.parametrize("multi", [False, True], ids=["easy", "multi"])
def test_redirect_before_the_body(multi):
    def gate(request):
        return Answer(status=302, headers={"location": "/there"}, body=b"gone\n") if request.path == "/file" else None

    with RangeServer(Answer(cut=5000), Answer(), gate=gate) as server:
        result = curl("--no-progress-meter", "-L", "-D", "/dev/stderr", "-w", "%{num_redirects} %{url_effective}",
                      *(["-Z"] if multi else []), server.url, **resume())
        assert result.returncode == 0 and result.stdout == server.content + f"1 {server.url[:-5]}/there".encode()
        assert [line for line in result.stderr.splitlines() if line.startswith(b"HTTP/")] == \
            [b"HTTP/1.1 302 Told", b"HTTP/1.1 200 Told"]
        there = [request for request in server.requests if request.path == "/there"]
        assert [request.get("range") for request in there] == [None, "bytes=5000-"]


@pytest.mark.parametrize("scheme, options", [("Basic", ["--basic"]), ("Basic", ["--anyauth"]), ("Digest", ["--digest"])],
                         ids=["basic", "anyauth", "digest"])
def test_authentication_before_the_body(scheme, options):
    challenge = {"Basic": 'Basic realm="x"', "Digest": 'Digest realm="x", nonce="abc", qop="auth", algorithm=MD5'}[scheme]

    def gate(request):
        if (request.get("authorization") or "").startswith(f"{scheme} ") and "response=\"\"" not in request.get("authorization"):
            return None
        return Answer(status=401, headers={"www-authenticate": challenge}, body=b"who?\n")

    with RangeServer(Answer(cut=5000), Answer(), gate=gate) as server:
        result = curl(*options, "-u", "me:secret", server.url, **resume())
        assert (result.returncode, result.stdout) == (0, server.content)
        let_in = [request for request in server.requests if gate(request) is None]
        assert [request.get("range") for request in let_in] == [None, "bytes=5000-"]
    assert names(result) == MET


def test_the_handle_is_what_it_was():
    """The next transfer of the same handle asks for the whole, with the program's own headers."""
    with RangeServer(Answer(cut=5000), Answer()) as server:
        result = curl("-H", "X-Mine: yes", server.url, server.url, **resume())
        assert (result.returncode, result.stdout) == (0, server.content * 2)
        assert offsets(server) == ([None, "bytes=5000-", None], [None, ETAG, None])
        assert server.saw("x-mine") == ["yes"] * 3
        assert server.saw("user-agent")[0] == server.saw("user-agent")[1]


def test_two_at_a_time(tmp_path):
    broken = {"/a": [Answer(cut=5000)], "/b": [Answer(cut=9000), Answer(cut=9000, how="close")]}

    def gate(request):
        left = broken.get(request.path)
        return left.pop(0) if left else None

    with RangeServer(gate=gate) as server:
        root = server.url.removesuffix("/file")
        outputs = [word for name in "ab" for word in (f"{root}/{name}", "-o", tmp_path / name)]
        result = curl("-Z", "--no-progress-meter", *outputs, **resume())
        assert result.returncode == 0, result.stderr
        assert all((tmp_path / name).read_bytes() == server.content for name in "ab")
    assert sorted(names(result)) == ["attempt_failed"] * 3 + ["succeeded"] * 2


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("multi", [False, True], ids=["easy", "multi"])
@pytest.mark.parametrize("port, version", [("plain", "--http1.1"), ("h2c", "--http2-prior-knowledge"), ("h2", "--http2")],
                         ids=["h1", "h2c", "h2"])
def test_nginx_behind_a_proxy_that_breaks(nginx, how, multi, port, version):
    arguments = ["--no-progress-meter", "-k", version, *(["-Z"] if multi else [])]
    target, secure = getattr(nginx, port), port == "h2"
    if not multi:
        with BreakingProxy(target, 1000000, how=how, secure=secure) as proxy:
            assert curl(*arguments, proxy.url, shim=False).returncode in (18, 56)
    nginx.forget()
    with BreakingProxy(target, 1000000, 900000, None, how=how, secure=secure) as proxy:
        result = curl(*arguments, proxy.url, **resume())
    assert (result.returncode, sha256(result.stdout)) == (0, sha256(pattern(3000000)))
    seen = [(entry["status"], entry["range"] != "", entry["if_range"] != "") for entry in nginx.requests()]
    assert sorted(seen) == [(200, False, False), (206, True, True), (206, True, True)]


def test_program_that_pauses(nginx):
    """A pause before the break, and one after it: curl_easy_pause hands over what was held back."""
    for pause in (1, 2, 30):
        with BreakingProxy(nginx.plain, 400000, None) as proxy:
            told = lines(session("new", f"url={proxy.url}", f"write_pause={pause}", "progress=0", "perform", **resume()))
        assert "0 unpause -> 0" in told and "0 perform -> 0" in told
        # The call that paused is repeated with the same bytes.
        writes = [line for line in told if " write " in line]
        paused = int(writes[pause - 1].split()[2])
        assert sum(int(line.split()[2]) for line in writes) - paused == 3000000


def test_what_is_told_ends_with_the_transfer():
    """A later transfer that is left alone tells of itself."""
    with RangeServer(Answer(cut=5000), Answer(), Answer(body=b"short")) as server:
        words = ["new", f"url={server.url}", "perform", "info", "interleave", "perform", "info"]
        first, last = (line for line in lines(session(*words, **resume())) if " info " in line)
    assert "status=200" in first and "down=20000" in first and "down=5 " in last and "length=5" in last
