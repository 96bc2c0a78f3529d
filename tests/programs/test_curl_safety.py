"""A request that a server may have acted on is sent once, unless it says that it may be repeated; what is
repeated is the same to the byte."""

import os
import re
import subprocess
import tempfile
import threading

import pytest

from curl_hosts import crc32, curl, digests, events, methods, names, pattern, steps
from harness import FaultServer, environment, need, run

SENT = ["reset-after", "empty", "500", "503", "partial-header,reset=1", "503,header=Retry-After: 1"]
KEY = ["-H", "Idempotency-Key: abc-1"]
SMALL = b"name=value"
LARGE = pattern(300_000)


# --- POST


@pytest.mark.parametrize("step", SENT)
def test_post_is_seen_once(step):
    with FaultServer([step, "200"]) as server:
        plain = curl("-i", "-d", SMALL.decode(), server.url, shim=False)
        port = server.port
    with FaultServer([step, "200"], port=port) as server:
        result = curl("-i", "-d", SMALL.decode(), server.url)
        assert digests(server) == [(crc32(SMALL), len(SMALL))]
    assert (result.returncode, result.stdout, result.stderr) == (plain.returncode, plain.stdout, plain.stderr)
    assert b"ok\n" not in result.stdout and names(result) == ["given_up unsafe"]


@pytest.mark.parametrize("step", SENT)
def test_post_with_a_key_is_repeated(step):
    with FaultServer([step, step, "200"]) as server:
        result = curl("-i", *KEY, "-d", SMALL.decode(), server.url)
        assert (result.returncode, result.stderr) == (0, b"") and result.stdout.endswith(b"\r\n\r\nok\n")
        assert digests(server) == [(crc32(SMALL), len(SMALL))] * 3
        assert {entry["headers"]["idempotency-key"] for entry in server.requests()} == {"abc-1"}
    assert names(result) == ["attempt_failed", "attempt_failed", "succeeded"] and b"abc-1" not in result.diag


@pytest.mark.parametrize("header", ["Idempotency-Key:", "Idempotency-Key;", "X-Idempotency-Key: 1"])
def test_a_key_that_is_none(header):
    with FaultServer(["503", "200"]) as server:
        curl("-H", header, "-d", "x", server.url)
        assert len(server.requests()) == 1


def test_post_before_which_the_port_was_shut():
    with FaultServer("200", open_after="400ms") as server:
        assert curl("-d", "a=b", server.url, shim=False).returncode == 7
        result = curl("-d", "a=b", server.url, max_attempts=40)
        assert result.stdout == b"ok\n" and digests(server) == [(crc32(b"a=b"), 3)]
    assert events(result)[0]["error"] == "CURLE_COULDNT_CONNECT"


def test_post_allowed_by_the_user():
    with FaultServer(["503", "200"]) as server:
        assert curl("-d", "x", server.url, methods="GET,POST").stdout == b"ok\n"
        assert digests(server) == [(crc32(b"x"), 1)] * 2


def test_redirect_does_not_make_a_post_repeatable():
    with FaultServer(["303,header=Location: /b", "503", "200"]) as server:
        result = curl("-L", "-d", "x", server.url)
        assert methods(server) == ["POST", "GET"] and result.stdout == b"503 Service Unavailable\n"


def test_get_spelled_as_post_counts_by_its_method():
    with FaultServer(["503", "200"]) as server:
        assert curl("-X", "GET", "-d", "x", server.url).stdout == b"ok\n"
        assert methods(server) == ["GET", "GET"] and digests(server) == [(crc32(b"x"), 1)] * 2
    with FaultServer(["503", "200"]) as server:
        curl("-X", "POST", server.url)
        assert methods(server) == ["POST"]


def test_expect_continue():
    arguments = ["-H", "Expect: 100-continue", "--data-binary", "@-"]
    with FaultServer(["503", "200"]) as server:
        result = curl(*arguments, server.url, stdin=LARGE)
        assert result.stdout == b"503 Service Unavailable\n" and len(server.requests()) == 1
    with FaultServer(["reset-mid=1000", "503", "200"]) as server:
        result = curl("-i", *KEY, *arguments, server.url, stdin=LARGE)
        assert result.stdout.endswith(b"ok\n") and result.stdout.count(b"503") == 0
        assert steps(server) == ["reset-mid", "503", "200"]
        assert digests(server)[-1] == (crc32(LARGE), len(LARGE))


# --- Forms


def without_boundary(text):
    return re.sub(rb"-{20,}[0-9A-Za-z]+", b"BOUNDARY", text)


@pytest.mark.parametrize("step", ["503", "reset-after"])
def test_form(step):
    with tempfile.NamedTemporaryFile() as part, FaultServer([step, "200"]) as server:
        part.write(LARGE)
        part.flush()
        form = ["-F", "name=value", "-F", f"file=@{part.name}", "-F", "more=<-"]
        result = curl(*form, server.url, stdin=b"from a pipe")
        assert len(server.requests()) == 1 and names(result) == ["given_up unsafe"]
    with tempfile.NamedTemporaryFile() as part, FaultServer([step, step, "200"]) as server:
        part.write(LARGE)
        part.flush()
        form = ["-F", "name=value", "-F", f"file=@{part.name}", "-F", "more=<-"]
        result = curl(*KEY, *form, server.url, stdin=b"from a pipe")
        assert result.stdout == b"ok\n" and steps(server) == [step, step, "200"]
        types = {entry["headers"]["content-type"] for entry in server.requests()}
        assert len(types) > 1 or len(set(digests(server))) == 1
        assert len({length for _, length in digests(server)}) == 1 and all(
            entry["complete"] for entry in server.requests())


# --- PUT


@pytest.mark.parametrize("script", [["503"], ["reset-after"], ["reset-mid=100000"], ["empty", "503"]],
                         ids=lambda script: "-".join(script))
def test_put_of_a_file(script):
    with tempfile.NamedTemporaryFile() as upload:
        upload.write(LARGE)
        upload.flush()
        with FaultServer([*script, "200"]) as server:
            plain = curl("-f", "-T", upload.name, server.url, shim=False)
            assert plain.returncode != 0
        with FaultServer([*script, "200"]) as server:
            result = curl("-T", upload.name, server.url)
            assert (result.returncode, result.stdout, result.stderr) == (0, b"ok\n", b"")
            assert methods(server) == ["PUT"] * (len(script) + 1)
            assert digests(server)[-1] == (crc32(LARGE), len(LARGE))
            whole = {entry["body_crc32"] for entry in server.requests() if entry["complete"]}
            assert whole == {crc32(LARGE)}
    assert names(result)[-1] == "succeeded"


def test_put_that_resumes():
    with tempfile.NamedTemporaryFile() as upload, FaultServer(["503", "200"]) as server:
        upload.write(LARGE)
        upload.flush()
        assert curl("-C", "200000", "-T", upload.name, server.url).stdout == b"ok\n"
        assert digests(server)[-1] == (crc32(LARGE[200000:]), 100000)


@pytest.mark.parametrize("step", ["503", "reset-after"])
def test_put_from_a_pipe_is_refused_cleanly(step):
    arguments = ["-i", "-H", "Expect:", "-T", "-"]
    with FaultServer([step, "200"]) as server:
        plain = curl(*arguments, server.url, stdin=b"from a pipe", shim=False)
        port = server.port
    with FaultServer([step, "200"], port=port) as server:
        result = curl(*arguments, server.url, stdin=b"from a pipe")
        assert digests(server) == [(crc32(b"from a pipe"), 11)]
    assert (result.returncode, result.stdout, result.stderr) == (plain.returncode, plain.stdout, plain.stderr)
    assert names(result) == ["given_up rewind"]


def test_put_from_a_pipe_before_which_the_port_was_shut():
    with FaultServer("200", open_after="400ms") as server:
        assert curl("-T", "-", server.url, stdin=LARGE, shim=False).returncode == 7
        result = curl("-T", "-", server.url, stdin=LARGE, max_attempts=40)
        assert result.stdout == b"ok\n" and digests(server) == [(crc32(LARGE), len(LARGE))]


@pytest.mark.parametrize("offset", [0, 1000])
def test_put_from_a_file_on_standard_input(offset):
    """curl seeks standard input to its very start, which is right only if it stood there."""
    with tempfile.NamedTemporaryFile() as upload, FaultServer(["503", "200"]) as server, \
            tempfile.TemporaryDirectory() as home:
        upload.write(LARGE)
        upload.flush()
        descriptor = os.open(upload.name, os.O_RDONLY)
        os.lseek(descriptor, offset, os.SEEK_SET)
        done = subprocess.run([need("curl"), "-sS", "-H", "Expect:", "-T", "-", server.url], stdin=descriptor,
                              env=environment(home), stdout=subprocess.PIPE, timeout=60, check=True)
        os.close(descriptor)
        assert set(digests(server)) == {(crc32(LARGE[offset:]), len(LARGE) - offset)}
        assert done.stdout == (b"ok\n" if len(server.requests()) == 2 else b"503 Service Unavailable\n")


def test_form_from_a_fifo_is_refused(tmp_path):
    """It cannot be read twice; the 503 is delivered instead of an upload that breaks."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    argv = ["curl", "-sS", "-H", "Idempotency-Key: 1", "-F", f"file=@{fifo}", "URL"]
    with FaultServer(["503", "200"]) as server:
        argv[-1] = server.url + "/"
        writer = threading.Thread(target=lambda: fifo.write_bytes(b"once"), daemon=True)
        writer.start()
        result = run(argv, timeout=20)
        assert [request["step"] for request in server.requests()] == ["503"]
    assert result.stdout == b"503 Service Unavailable\n"
    assert [(event["event"], event.get("reason")) for event in events(result)] == [("given_up", "rewind")]
