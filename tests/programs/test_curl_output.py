"""What the curl command prints, saves and streams is what it would have without us, and comes once."""

import hashlib
import os
import re
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from curl_hosts import curl, events, gaps_ms, methods, names, pattern, steps
from harness import FaultServer, environment, need

ROUND = "401,header=WWW-Authenticate: Digest realm=\"r\"\\, nonce=\"abc\"\\, qop=\"auth\""
BASIC = "401,header=WWW-Authenticate: Basic realm=\"r\""


def statuses(text):
    """Of the header blocks in a text."""
    return [int(status) for status in re.findall(rb"^(?:< )?HTTP/1\.1 (\d+)", text, re.M)]


# --- Methods


def test_head():
    with FaultServer(["503", "reset-after", "200,size=77"]) as server:
        plain = curl("-I", server.url, shim=False)
        assert statuses(plain.stdout) == [503]
    with FaultServer(["503,close=1", "reset-after", "200,size=77"]) as server:
        result = curl("-I", server.url)
        assert statuses(result.stdout) == [200] and b"Content-Length: 77" in result.stdout
        assert methods(server) == ["HEAD"] * 3


@pytest.mark.parametrize("method, settings, requests", [
    ("DELETE", {}, 2), ("OPTIONS", {}, 2), ("delete", {}, 2), ("PATCH", {}, 1), ("REPORT", {}, 1),
    ("PATCH", {"methods": "GET,PATCH"}, 2), ("DELETE", {"methods": "GET"}, 1), ("A" * 40, {}, 1)])
@pytest.mark.parametrize("step", ["503", "reset-after"])
def test_custom_method(method, settings, requests, step):
    with FaultServer([step, "200"]) as server:
        result = curl("-X", method, server.url, **settings)
        assert methods(server) == [method] * requests
        assert (result.stdout == b"ok\n") == (requests == 2)
    assert names(result) == (["attempt_failed", "succeeded"] if requests == 2 else ["given_up unsafe"])


# --- Header blocks before the last one


@pytest.mark.parametrize("shim, expected", [(False, [302, 503]), (True, [302, 200])])
def test_redirect_then_fault(shim, expected):
    with FaultServer(["302,header=Location: /next", "503", "302,header=Location: /next", "200"]) as server:
        with tempfile.NamedTemporaryFile() as dump:
            result = curl("-L", "-i", "-D", dump.name, server.url, shim=shim)
            assert statuses(result.stdout) == statuses(Path(dump.name).read_bytes()) == expected
        assert result.stdout.endswith(b"ok\n" if shim else b"503 Service Unavailable\n")
        assert steps(server) == ["302", "503", "302", "200"][:4 if shim else 2]


def test_interim_blocks_come_once():
    with FaultServer(["503,interim=103", "200,interim=103"]) as server:
        assert statuses(curl("-i", server.url, shim=False).stdout) == [103, 503]
    with FaultServer(["503,interim=103", "200,interim=103"]) as server:
        result = curl("-v", "-i", server.url)
        assert statuses(result.stdout) == [103, 200] and statuses(result.stderr) == [103, 200]


@pytest.mark.parametrize("arguments", [["--digest"], ["--anyauth"]], ids=lambda value: value[0])
def test_authentication_rounds(arguments):
    arguments = ["-i", "-u", "name:secret", *arguments]
    with FaultServer([ROUND, "200"]) as server:
        plain = curl(*arguments, server.url, shim=False)
        assert statuses(plain.stdout) == [401, 200]
        port = server.port
    with FaultServer([ROUND, "200"], port=port) as server:
        result = curl(*arguments, server.url)
        assert (result.returncode, result.stdout, result.stderr) == (0, plain.stdout, plain.stderr)
        assert names(result) == [] and steps(server) == ["401", "200"]
    with FaultServer([ROUND, "503", "200"]) as server:
        assert statuses(curl(*arguments, server.url, shim=False).stdout) == [401, 503]
    with FaultServer([ROUND, "503", "200"]) as server:
        result = curl(*arguments, server.url)
        assert statuses(result.stdout) == [401, 200] and result.stdout.endswith(b"ok\n")
    assert names(result) == ["attempt_failed", "succeeded"] and b"secret" not in result.diag


def test_wrong_password_is_final():
    with FaultServer(BASIC) as server:
        plain = curl("-i", "-u", "a:b", server.url, shim=False)
        result = curl("-i", "-u", "a:b", server.url)
        assert result.stdout == plain.stdout and len(server.requests()) == 2
    assert names(result) == ["not_retryable"]


# --- Where output goes


def test_output_files():
    with FaultServer(["503", "partial-header,reset=1", "200,size=100000"]) as server, \
            tempfile.TemporaryDirectory() as folder:
        result = curl("-o", "body", "-D", "headers", server.url, cwd=folder)
        assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
        assert Path(folder, "body").read_bytes() == pattern(100000)
        assert statuses(Path(folder, "headers").read_bytes()) == [200]


def test_write_out_tells_the_last_attempt():
    with FaultServer(["503", "200,size=100"]) as server:
        result = curl("-o", "/dev/null", "-w", "%{http_code} %{size_download} %{num_redirects}", server.url)
        assert result.stdout == b"200 100 0"


def test_verbose_shows_nothing_received_twice():
    script = ["503,header=X-Mark: a", "302,header=Location: /b,header=X-Mark: b", "200,header=X-Mark: c"]
    with FaultServer(script) as server:
        result = curl("-v", "-L", server.url)
        assert re.findall(rb"< X-Mark: (\w)", result.stderr) == [b"b", b"c"]
        # What was sent is a true record of each attempt.
        assert result.stderr.count(b"> GET ") == 3


@pytest.mark.parametrize("fault", ["503", "reset-after", "empty"])
def test_verbose_with_a_redirect_before_the_fault(fault):
    """Neither the blank line nor the ignored body of the redirect is shown again, or is in the way."""
    redirect = "302,header=Location: /next,close=1,body=0123456789"
    with FaultServer([redirect, fault, redirect, fault, redirect, "200"]) as server:
        result = curl("-v", "-L", server.url)
        assert (result.returncode, result.stdout) == (0, b"ok\n") and len(server.requests()) == 6
        assert statuses(result.stderr) == [302, 200] and result.stderr.count(b"\n< \r\n") == 2


VERBOSE = [
    ["200,header=Set-Cookie: a=b"], ["302,header=Location: /n,header=Set-Cookie: a=b", "200"], [ROUND, "200"], ["404"],
    ["200,interim=103,chunked=1"], ["200,close=1"]]


@pytest.mark.parametrize("script", VERBOSE, ids=lambda script: "-".join(step[:15] for step in script))
def test_verbose_is_the_same_on_a_healthy_path(script):
    """The order of lines too: what libcurl remarks on a header line stays beside that line."""
    arguments = ["-v", "-L", "--digest", "-u", "a:b", "-b", "none", "-A", "x"]
    outputs = []
    for shim in (False, True):
        with FaultServer(script) as server:
            text = curl(*arguments, server.url, server.url, shim=shim).stderr.decode()
        text = re.sub(r'(cnonce|response)="[^"]*"', r"\1", text)
        text = re.sub(r"0x[0-9a-f]+|.*bytes data]\n", "", text)  # how the kernel cuts a body up is no order
        outputs.append(re.sub(str(server.port), "PORT", text).splitlines())
    assert outputs[0] == outputs[1]


def test_partial_body_is_never_followed_by_a_second_copy():
    with FaultServer(["partial-body,size=1000,bytes=400,reset=1", "200,size=1000"]) as server:
        result = curl(server.url)
        assert (result.returncode, result.stdout) == (56, pattern(400)) and len(server.requests()) == 1
    assert names(result) == ["given_up delivered"]
    with FaultServer(["partial-body,size=1000,bytes=400", "200,size=1000"]) as server:
        result = curl(server.url)
        assert (result.returncode, result.stdout) == (18, pattern(400)) and len(server.requests()) == 1


def test_large_body_is_unmodified():
    size = 50_000_000
    with FaultServer(["503,size=2000000", f"200,size={size}", f"200,size={size},chunked=1,piece=100000"]) as server:
        expected = hashlib.md5(pattern(size)).hexdigest()
        for _ in range(2):
            result = curl(server.url)
            assert hashlib.md5(result.stdout).hexdigest() == expected


# --- Time


@pytest.mark.parametrize("step, awaited", [
    ("200,size=1000,gap=60s", b"< Content-Length: 1000"), ("200,size=100000,slow=60s,piece=1000", pattern(16)),
    ("200,size=5000,chunked=1,slow=60s,piece=1000", pattern(16))])
def test_response_is_streamed(step, awaited):
    """What has arrived comes out while the server still waits; nobody waits for the rest."""
    with FaultServer(["503", step]) as server, tempfile.TemporaryDirectory() as home:
        arguments = ["-sSN"] + ["-v"] * awaited.startswith(b"<")
        process = subprocess.Popen([need("curl"), *arguments, server.url], env=environment(home),
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        guard = threading.Timer(30, process.kill)
        guard.start()
        try:
            seen = b""
            while awaited not in seen:
                piece = os.read(process.stdout.fileno(), 100000)
                seen += piece
                assert piece, f"nothing but {seen} within 30 s"
        finally:
            guard.cancel()
            process.kill()
            process.communicate()


def test_max_time_bounds_the_whole_operation():
    with FaultServer(["503,delay=300ms", "hang"]) as server:
        result = curl("--max-time", "1.2", server.url)
        assert result.returncode == 28 and result.stdout == b""
        # The second attempt got what the first and the backoff had left.
        assert 1.1 <= result.seconds < 2.4
        assert steps(server) == ["503", "hang"]


def test_max_time_leaves_no_room_for_a_backoff():
    with FaultServer("503") as server:
        result = curl("--max-time", "2", server.url, base_delay_ms=2500)
        assert result.stdout == b"503 Service Unavailable\n" and result.seconds < 2
        assert len(server.requests()) == 1
    assert names(result) == ["given_up deadline"]


def test_error_body_that_outlasts_max_time():
    """The time is used up by the body of the response that was to be dropped: it stands after all."""
    with FaultServer("503,header=X-A: b,gap=20s") as server:
        plain = curl("-i", "--max-time", "0.7", server.url, shim=False)
        result = curl("-i", "--max-time", "0.7", server.url)
        assert (result.returncode, result.stdout) == (28, plain.stdout) and statuses(plain.stdout) == [503]
        assert len(server.requests()) == 2
    assert names(result) == ["given_up deadline"]


def test_time_out_before_the_answer():
    with FaultServer(["hang", "200"]) as server:
        assert curl("--max-time", "0.5", server.url).returncode == 28
        assert len(server.requests()) == 1
    with FaultServer(["hang", "200"]) as server:
        result = curl("--speed-time", "1", "--speed-limit", "1", server.url)
        assert result.stdout == b"ok\n" and len(server.requests()) == 2
    assert events(result)[0]["error"] == "CURLE_OPERATION_TIMEDOUT"


def test_curls_own_retries_multiply():
    with FaultServer(["503", "503", "503", "200"]) as server:
        start = time.monotonic()
        result = curl("--retry", "1", "--retry-delay", "1", server.url, max_attempts=2)
        assert result.stdout == b"503 Service Unavailable\nok\n"
        assert time.monotonic() - start >= 1 and len(gaps_ms(server)) == 3
