"""Programs linked with libcurl: their callbacks, in faults and in their own refusals."""

import re

import pytest

from curl_hosts import events, lines, names, raw_server, session, steps
from harness import FaultServer


def callbacks(result, kind):
    """The texts that a kind of callback was given, in order."""
    found = (re.match(rf'\d {kind} \d+ "(.*)"$', line) for line in lines(result))
    return [match[1].replace("\\r\\n", "") for match in found if match]


def codes(result):
    return [int(code) for code in re.findall(r"perform -> (\d+)", "\n".join(lines(result)))]


def go(server, *arguments, **options):
    return session("new", f"url={server.url}/x", *arguments, **options)


FAULTS = ["503,header=X-A: bad", "reset-after", "200,header=X-A: good"]


@pytest.mark.parametrize("options, header_kind, bodies", [
    (["headers"], "header", ["ok\\n"]), ([], None, ["ok\\n"]), (["headerdata"], "write", None),
    (["header"], "write", None), (["header", "headers"], "write", None)])
def test_recovery(options, header_kind, bodies):
    with FaultServer(FAULTS) as server:
        assert "503" in "".join(lines(go(server, *options, "perform", "info", shim=False)))
        port = server.port
    with FaultServer(["503,close=1,header=X-A: bad", *FAULTS[1:]], port=port) as server:
        result = go(server, *options, "perform", "info")
        assert codes(result) == [0] and steps(server) == ["503", "reset-after", "200"]
    text = "\n".join(lines(result))
    assert "bad" not in text and not re.search("[ =]503", text) and "status=200" in text  # not of a port
    if header_kind:
        shown = callbacks(result, header_kind)
        assert shown.count("HTTP/1.1 200 OK") == 1 and shown.count("X-A: good") == 1
    if bodies:
        assert callbacks(result, "write") == bodies
    else:
        assert callbacks(result, "write")[-1] == "ok\\n"


def test_default_output():
    """No callback at all: headers and body go to stdout as libcurl writes them."""
    with FaultServer(["503", "200"]) as server:
        result = session("bare", f"url={server.url}", "headerfile", "perform")
        assert lines(result) == ["HTTP/1.1 200 OK", "Content-Type: text/plain", "Content-Length: 3", "", "ok",
                                 "0 perform -> 0"]


@pytest.mark.parametrize("call", [1, 2, 4])
@pytest.mark.parametrize("script", [["200,header=X-A: b"], ["503", "200,header=X-A: b"]])
def test_header_callback_that_refuses(call, script):
    """It is asked once, and the transfer ends as it would have."""
    with FaultServer(["200,header=X-A: b"]) as server:
        plain = go(server, "headers", f"header_abort={call}", "perform", shim=False)
        port = server.port
    with FaultServer(script, port=port) as server:
        result = go(server, "headers", f"header_abort={call}", "perform")
        assert lines(result) == lines(plain) and codes(result) == [23]
        assert len(server.requests()) == len(script)


@pytest.mark.parametrize("options", [[], ["headers"], ["header"]])
def test_write_callback_that_refuses(options):
    with FaultServer(["200"]) as server:
        plain = go(server, *options, "write_abort=1", "perform", shim=False)
        result = go(server, *options, "write_abort=1", "perform")
        # With CURLOPT_HEADER libcurl's words for it are others.
        known = -1 if "header" in options else None
        assert lines(result)[:known] == lines(plain)[:known]
        assert codes(result) == [23] and len(server.requests()) == 2


@pytest.mark.parametrize("pause", ["header_pause=1", "header_pause=4", "write_pause=1",
                                   "write_pause=2"])
@pytest.mark.parametrize("options", [[], ["header"]])
def test_callback_that_pauses(pause, options):
    with FaultServer(["503", "200,header=X-A: b,size=64"]) as server:
        result = go(server, "headers", *options, "progress=0", pause, "perform")
        assert codes(result) == [0] and steps(server) == ["503", "200"]
    shown = lines(result)
    assert sum("unpause" in line for line in shown) == (0 if pause == "write_pause=2" and not options else 1)
    position = [line for line in shown if line.startswith("0 header")]
    # What was paused comes again, and only that.
    assert len(position) == 5 + pause.startswith("header") and "".join(callbacks(result, "write")).count("000") >= 4
    assert [text for text in dict.fromkeys(callbacks(result, "header"))] == [
        "HTTP/1.1 200 OK", "X-A: b", "Content-Type: text/plain", "Content-Length: 64", ""]


def test_progress_goes_on_during_a_backoff():
    with FaultServer(["503", "200"]) as server:
        result = go(server, "progress=0", "perform", "told", base_delay_ms=1500)
        calls, gap = map(int, re.findall(r"\d+", lines(result)[-1]))
        assert calls >= 5 and gap < 1200 and codes(result) == [0]


def test_progress_may_abort_a_backoff():
    with FaultServer(["503", "200"]) as server:
        result = go(server, "progress=300", "headers", "perform", base_delay_ms=20000)
        assert codes(result) == [42] and result.seconds < 8 and len(server.requests()) == 1
    assert callbacks(result, "header") == [] and names(result) == ["attempt_failed", "not_retryable"]
    with FaultServer("200", open_after="60s") as server:
        result = go(server, "progress=300", "perform", base_delay_ms=20000)
        assert codes(result) == [42] and result.seconds < 8


def test_fail_on_error_and_error_buffer():
    with FaultServer(["503", "200"]) as server:
        assert lines(go(server, "fail", "perform", shim=False)) == [
            "0 perform -> 22 (The requested URL returned error: 503)"]
    with FaultServer(["503", "200"]) as server:
        result = go(server, "fail", "perform")
        # The buffer speaks of the last attempt.
        assert lines(result) == ['0 write 3 "ok\\n"', "0 perform -> 0"]
    with FaultServer(["503", "502", "500"]) as server:
        result = go(server, "fail", "headers", "perform", "info")
        assert "0 perform -> 22 (The requested URL returned error: 500)" in lines(result)
        assert callbacks(result, "header")[0] == "HTTP/1.1 500 Internal Server Error"
        assert callbacks(result, "write") == [] and "status=500" in lines(result)[-1]


def test_debug_callback_sees_nothing_received_twice():
    with FaultServer(["503,close=1,body=first", "reset-after", "partial-header,reset=1", "200,header=X-A: b"]) as server:
        result = go(server, "headers", "debug", "perform", max_attempts=4)
        assert codes(result) == [0]
    shown = callbacks(result, "debug header_in")
    assert shown == callbacks(result, "header") and shown.count("X-A: b") == 1
    assert callbacks(result, "debug data_in") == ["ok\\n"] and "another handle" not in "".join(lines(result))
    # Sent things and remarks are shown of every attempt.
    assert len(callbacks(result, "debug header_out")) == 4
    assert sum("Recv failure" in text for text in callbacks(result, "debug text")) == 2


def test_debug_callback_and_a_redirect_before_the_fault():
    redirect = "302,header=Location: /next,body=elsewhere"
    with FaultServer([redirect, "503", redirect, "429", redirect, "200"]) as server:
        result = go(server, "headers", "debug", "follow", "perform")
        assert codes(result) == [0] and len(server.requests()) == 6
    assert callbacks(result, "debug data_in") == ["elsewhere", "ok\\n"]
    assert callbacks(result, "debug header_in") == callbacks(result, "header")


def test_nested_perform_on_another_handle():
    with FaultServer(["503", "200", "200,body=inner\n"]) as server:
        result = go(server, f"nested={server.url}/inner", "perform")
        assert lines(result) == ['0 write 3 "ok\\n"', "inner", "0 nested -> 0", "0 perform -> 0"]
    with FaultServer(["200", "503"]) as server:
        # Only the outermost retries.
        result = go(server, f"nested={server.url}/inner", "perform")
        assert steps(server) == ["200", "503"] and codes(result) == [0]


def test_headers_too_large_to_hold():
    """Then they are delivered, each line once, and the response stands."""
    fields = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 60000) for number in range(4))
    block = b"HTTP/1.1 503 Busy\r\n" + fields + b"Content-Length: 2\r\n\r\nno"
    with raw_server(block) as (url, seen):
        words = ["new", f"url={url}", "headers", "header", "debug", "perform", "info"]
        result, plain = session(*words), session(*words, shim=False)
        for kind in ("header", "debug header_in"):
            assert callbacks(result, kind) == callbacks(plain, kind)
        assert sorted(callbacks(result, "write")) == sorted(callbacks(plain, "write"))
        assert codes(result) == [0] and len(seen) == 2


def test_error_body_too_large_to_drop():
    """It is not read to its end for the connection's sake, and yet is whole if it is the last."""
    with FaultServer(["503,size=5000000,slow=3s", "200"]) as server:
        result = go(server, "perform")
        assert lines(result) == ['0 write 3 "ok\\n"', "0 perform -> 0"] and result.seconds < 2.5
    with FaultServer("503,size=5000000") as server:
        result = go(server, "perform", "info", max_attempts=2)
        assert "down=5000000" in lines(result)[-1] and codes(result) == [0]
    assert [event["event"] for event in events(result)] == ["attempt_failed", "exhausted"]
