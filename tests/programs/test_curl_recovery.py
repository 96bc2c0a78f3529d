"""The curl command recovers, waits as it is told, and gives up as it would have failed without us."""

import time

import pytest

from curl_hosts import curl, events, gaps_ms, methods, names, pattern, steps
from harness import FaultServer

DEFAULT_STATUSES = (408, 429, 500, 502, 503, 504)


def test_port_that_opens_late():
    with FaultServer("200", open_after="400ms") as server:
        assert curl(server.url, shim=False).returncode == 7
        result = curl(server.url, max_attempts=40)
        assert (result.returncode, result.stdout, result.stderr) == (0, b"ok\n", b"")
        assert methods(server) == ["GET"]
    assert set(names(result)) == {"attempt_failed", "succeeded"}


@pytest.mark.parametrize("step, status", [
    ("reset", 56), ("reset-after", 56), ("empty", 52), ("close", 52), ("partial-header,reset=1", 56),
    ("partial-header", 0), ("partial-body,size=1000,bytes=0", 18)])
def test_broken_connection(step, status):
    with FaultServer([step, "200"]) as server:
        plain = curl(server.url, shim=False)
        # A header block cut off by an orderly close passes for a response with no body (libcurl 7.88).
        # A connection that ends before the request is sent shows itself in one of several ways.
        assert plain.returncode in ((7, 52, 55, 56) if step in ("reset", "close") else (status,)) and plain.stdout == b""
    with FaultServer([step, step, "200"]) as server:
        result = curl("-i" if step.startswith("partial-header,") else "-S", server.url)
        if status in (0, 18):
            # The program had its header block, or libcurl says that all is well.
            assert (result.returncode, result.stdout, len(server.accepts())) == (status, b"", 1)
            return
        assert result.returncode == 0 and result.stdout.endswith(b"ok\n") and result.stderr == b""
        assert result.stdout.count(b"HTTP/1.1") == (1 if step.startswith("partial-header,") else 0)
        assert len(server.accepts()) == 3
    assert names(result) == ["attempt_failed", "attempt_failed", "succeeded"]
    assert {event["error"] for event in events(result)[:2]} <= {
        "CURLE_RECV_ERROR", "CURLE_GOT_NOTHING", "CURLE_SEND_ERROR", "CURLE_COULDNT_CONNECT"}


@pytest.mark.parametrize("status", DEFAULT_STATUSES)
def test_status_of_the_default_list(status):
    script = [str(status), f"{status},size=3000,chunked=1", "200,size=5000"]
    with FaultServer(script) as server:
        assert curl("-w", "%{http_code}", "-o", "/dev/null", server.url, shim=False).stdout == b"%d" % status
    with FaultServer(script) as server:
        result = curl("-i", server.url)
        assert result.returncode == 0 and result.stdout.count(b"HTTP/1.1") == 1
        assert result.stdout.partition(b"\r\n\r\n")[2] == pattern(5000)
        assert steps(server) == [str(status), str(status), "200"]
        first, second = gaps_ms(server)
        assert 49 <= first < 5000 and 99 <= second < 5000
    assert names(result) == ["attempt_failed", "attempt_failed", "succeeded"]
    category = "rate_limit" if status == 429 else "transient"
    assert {(e["error"], e["category"]) for e in events(result)[:2]} == {(f"HTTP {status}", category)}


def test_connection_is_kept_for_the_next_attempt():
    with FaultServer(["503,size=2000,chunked=1", "200"]) as server:
        assert curl(server.url).stdout == b"ok\n"
        # The fault server keeps the connection alive after a response with a length.
        assert len(server.accepts()) == 1


@pytest.mark.parametrize("value, floor_ms", [("1", 1000), ("@+1s", 900)])
def test_retry_after_is_a_floor(value, floor_ms):
    with FaultServer([f"503,header=Retry-After: {value}", "200"]) as server:
        assert curl("-f", server.url, shim=False).returncode == 22
    with FaultServer([f"429,header=Retry-After: {value}", "200"]) as server:
        result = curl(server.url)
        assert result.stdout == b"ok\n"
        assert floor_ms <= gaps_ms(server)[0] < 15000
    delay = events(result)[0]["delay_ms"]
    assert floor_ms <= delay <= 2000 * 1.25  # all who are turned away at once come back spread out


def test_retry_after_below_the_backoff_changes_nothing():
    with FaultServer(["503,header=Retry-After: 0", "503,header=Retry-After: nonsense", "200"]) as server:
        assert curl(server.url, base_delay_ms=200).stdout == b"ok\n"
        assert all(gap >= 199 for gap in gaps_ms(server))


@pytest.mark.parametrize("value, settings, arguments", [
    ("31", {}, []), ("@+90s", {}, []), ("99999999999999999999999", {}, []), ("3", {"max_delay_ms": 2000}, []),
    ("3", {"timeout_ms": 2500}, []), ("5", {}, ["--max-time", "4"])])
def test_retry_after_too_far_is_delivered_at_once(value, settings, arguments):
    with FaultServer([f"503,header=Retry-After: {value}"]) as server:
        plain = curl("-i", server.url, *arguments, shim=False)
        result = curl("-i", server.url, *arguments, **settings)
        assert len(server.requests()) == 2
        assert strip_date(result.stdout) == strip_date(plain.stdout) and result.returncode == 0
    assert names(result) == ["given_up retry_after"]
    assert result.seconds < 2.4


def strip_date(text):
    """Header lines without the date that the server computes anew."""
    return [line for line in text.splitlines() if not line.startswith(b"Retry-After")]


@pytest.mark.parametrize("arguments, status", [([], 0), (["-i"], 0), (["-f"], 22), (["-i", "-f"], 22),
                                               (["--fail-with-body"], 22), (["-I"], 0), (["-v"], 0)],
                         ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_exhaustion_delivers_the_last_response_once(arguments, status):
    script = ["503,body=first\n", "502,body=second\n", "500,body=third\n,header=X-Last: yes"]
    with FaultServer("500,body=third\n,header=X-Last: yes") as server:
        plain = curl(*arguments, server.url, shim=False)
        port = server.port
    with FaultServer(script, port=port) as server:
        result = curl(*arguments, server.url)
        assert steps(server) == ["503", "502", "500"]
    assert (result.returncode, result.stdout) == (plain.returncode, plain.stdout) and plain.returncode == status
    if "-v" in arguments:
        assert result.stderr.count(b"< HTTP/1.1") == 1 and b"< X-Last: yes" in result.stderr
    else:
        assert result.stderr == plain.stderr
    assert names(result) == ["attempt_failed", "attempt_failed", "exhausted"]


def test_exhaustion_of_a_broken_connection():
    # close=1: libcurl itself replays a request whose kept connection died.
    with FaultServer(["503,close=1", "empty", "reset-after"]) as server:
        result = curl("-i", server.url)
        assert (result.returncode, result.stdout) == (56, b"") and b"(56)" in result.stderr
        assert steps(server) == ["503", "empty", "reset-after"]
    with FaultServer("partial-header,reset=1") as server:
        plain, result = curl("-i", server.url, shim=False), curl("-i", server.url)
        # What came of the last attempt's header block is delivered as it would have been.
        assert (result.returncode, result.stdout) == (plain.returncode, plain.stdout) and plain.stdout
        assert len(server.requests()) == 4


@pytest.mark.parametrize("status", [400, 404, 410, 501, 505])
def test_permanent_status_is_untouched(status):
    with FaultServer(str(status)) as server:
        plain, result = curl("-i", server.url, shim=False), curl("-i", server.url)
        assert (result.returncode, result.stdout, result.stderr) == (0, plain.stdout, plain.stderr)
        assert len(server.requests()) == 2
    assert names(result) == ["not_retryable"]


@pytest.mark.parametrize("status", [421, 425])
def test_status_that_asks_for_a_new_connection(status):
    with FaultServer([str(status), "200"]) as server:
        result = curl(server.url, server.url)
        assert result.stdout == b"ok\nok\n"
        # The second URL goes by the kept connection again: CURLOPT_FRESH_CONNECT was put back.
        assert (len(server.accepts()), len(server.requests())) == (2, 3)
    with FaultServer(str(status)) as server:
        assert curl("-f", server.url, max_attempts=5).returncode == 22
        assert len(server.requests()) == 2


def test_deadline_bounds_the_operation():
    with FaultServer("503") as server:
        result = curl(server.url, max_attempts=100, base_delay_ms=300, multiplier="1.0", timeout_ms=1000)
        assert result.stdout == b"503 Service Unavailable\n" and result.seconds < 1.0
        assert 2 <= len(server.requests()) <= 4
    assert names(result)[-1] == "given_up deadline"


def test_refused_until_attempts_are_used_up():
    with FaultServer("200", open_after="60s") as server:
        plain, result = curl(server.url, shim=False), curl(server.url)
        assert (result.returncode, result.stdout) == (7, b"") and plain.returncode == 7
        assert result.seconds >= 0.15
    assert names(result) == ["attempt_failed", "attempt_failed", "exhausted"]


@pytest.mark.parametrize("setting", [{"curl": 0}, {"enabled": 0}, {"max_attempts": 1}])
def test_switched_off(setting):
    with FaultServer(["503", "reset-after"]) as server:
        assert curl(server.url, **setting).stdout == b"503 Service Unavailable\n"
        assert curl(server.url, **setting).returncode == 56
        assert len(server.requests()) == 2


def test_status_list_is_the_users():
    with FaultServer(["404", "200"]) as server:
        result = curl("-i", server.url, http_status="404,503")
        assert result.stdout.startswith(b"HTTP/1.1 200") and steps(server) == ["404", "200"]
    with FaultServer(["500", "200"]) as server:
        assert curl(server.url, http_status="404,503").stdout == b"500 Internal Server Error\n"


def test_hosts_that_are_skipped():
    with FaultServer("503") as server:
        assert curl(server.url, skip_hosts=f"127.0.0.0/8:{server.port}").stdout == b"503 Service Unavailable\n"
        assert len(server.requests()) == 1
        assert curl(server.url, hosts="*.example.com").stdout == b"503 Service Unavailable\n"
        assert len(server.requests()) == 2


def test_nothing_is_told_without_diagnostics():
    with FaultServer(["503", "empty", "200"]) as server:
        result = curl(server.url, diag=None, diag_file=None)
        assert (result.stdout, result.stderr) == (b"ok\n", b"")


def test_healthy_request_is_not_slower_by_a_backoff():
    with FaultServer("200") as server:
        start = time.monotonic()
        result = curl(server.url, base_delay_ms=30000)
        assert result.stdout == b"ok\n" and time.monotonic() - start < 10
    assert names(result) == []


def test_status_whose_header_block_is_cut_short_by_a_close():
    """No error to libcurl, but a 503 all the same; and what is told is what is done."""
    cut = "dialog=|HTTP/1.1 503 no"
    with FaultServer([cut, "200"]) as server:
        assert curl(server.url, shim=False).stdout != b"ok\n"
    with FaultServer([cut, "200"]) as server:
        result = curl(server.url)
    assert result.stdout == b"ok\n"
    assert names(result) == ["attempt_failed", "succeeded"]
