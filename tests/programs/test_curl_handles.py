"""Handles: used again, copied, reset, closed and opened anew, handed between threads and interfaces."""

import re

import pytest

from curl_hosts import digests, host, lines, methods, names, run, session, steps
from harness import FaultServer

OK = ['0 write 3 "ok\\n"', "0 perform -> 0"]


def codes(result):
    return [int(code) for code in re.findall(r"perform -> (\d+)", "\n".join(lines(result)))]


def test_ten_performs_on_one_connection():
    script = []
    for _ in range(5):
        script += ["503", "200", "200"]
    with FaultServer(script) as server:
        result = session("new", f"url={server.url}", *["perform"] * 10)
        assert lines(result) == OK * 10
        assert steps(server) == script and len(server.accepts()) == 1
    assert names(result) == ["attempt_failed", "succeeded"] * 5


def test_time_out_is_put_back_for_the_next_perform():
    with FaultServer(["503", "200", "200,delay=1s", "hang"]) as server:
        result = session("new", f"url={server.url}", "timeout=1500", "perform", "perform", "perform", base_delay_ms=900)
        assert codes(result) == [0, 0, 28] and steps(server) == ["503", "200", "200", "hang"]
    assert "Operation timed out after 15" in lines(result)[-1]


@pytest.mark.parametrize("before", [[], ["perform"]])
@pytest.mark.parametrize("original_first", [False, True])
def test_copy(before, original_first):
    healthy = ["200"] * len(before)
    with FaultServer([*healthy, "503", "200", "503", "200"]) as server:
        words = ["new", f"url={server.url}", "headers", "add=X-Own: 1", *before, "dup=1"]
        words += ["use=0", "cleanup", "use=1", "own", "headers", "add=X-New: 1"] if original_first else ["own", "headers"]
        result = session(*words, "perform", "perform", "info")
        assert codes(result)[-2:] == [0, 0] and not re.search("[ =]503", "".join(lines(result)))  # not of a port
        assert steps(server) == [*healthy, "503", "200", "503", "200"]
        if original_first:
            return
    with FaultServer(["503", "200", "503", "200"]) as server:
        # A copy has its original's context and callbacks, and both go on.
        result = session("new", f"url={server.url}", "headers", "dup=1", "perform", "use=0", "perform")
        assert codes(result) == [0, 0] and steps(server) == ["503", "200", "503", "200"]
        assert lines(result)[:5] == [line for line in lines(result)[6:11]]


def test_copy_keeps_what_the_shim_must_know():
    with FaultServer(["503", "200"]) as server:
        result = session("new", f"url={server.url}", "post=a", "dup=1", "own", "perform")
        assert methods(server) == ["POST"] and codes(result) == [0]
    with FaultServer(["503", "200"]) as server:
        session("new", f"url={server.url}", "post=abc", "add=Idempotency-Key: 7", "dup=1", "own", "perform")
        assert len(set(digests(server))) == 1 and len(server.requests()) == 2


def test_reset():
    with FaultServer(["200", "503", "200", "503"]) as server:
        words = ["new", f"url={server.url}", "headers", "post=a", "perform", "reset", f"url={server.url}", "perform",
                 "post=a", "perform"]
        result = session(*words)
        # After a reset body goes to stdout, the method is GET, and then POST again.
        assert lines(result)[-4:] == ["ok", "0 perform -> 0", "503 Service Unavailable", "0 perform -> 0"]
        assert methods(server) == ["POST", "GET", "GET", "POST"]


def test_handle_at_the_address_of_a_closed_one():
    with FaultServer(["200", "503", "200"]) as server:
        result = session("new", f"url={server.url}", "post=a", "headers", "perform", "renew", f"url={server.url}", "perform")
        assert lines(result)[-2:] == OK and methods(server) == ["POST", "GET", "GET"]


def test_handle_used_in_another_thread():
    with FaultServer(["503", "200", "503", "200"]) as server:
        result = session("new", f"url={server.url}", "thread", "perform")
        assert lines(result) == OK * 2 and steps(server) == ["503", "200"] * 2


def test_threads_with_their_own_handles():
    """Eight at once under mixed faults; each thread's answer is its own, and whole."""
    script = ["503", "200", "reset-after", "500,close=1", "200", "empty", "200,size=1000", "429"]
    with FaultServer(["partial-header,reset=1", *script, *script, "200"]) as server:
        result = run([host("threads"), server.url, "8", "12"], max_attempts=30, base_delay_ms=5, max_delay_ms=20)
        assert result.stdout == b"right 96 wrong 0\n", (result.stdout, result.stderr)
        assert len(server.requests()) >= 96


CALLBACKS = [["headers"], ["headers", "header"], ["header"], ["headerdata"], [], ["headers", "debug"]]


@pytest.mark.parametrize("options", CALLBACKS, ids="-".join)
@pytest.mark.parametrize("order", [["perform", "multi", "info"], ["multi", "perform", "info"],
                                   ["perform", "multi", "perform", "multi", "info"],
                                   ["perform", "header=0", "multi", "header=1", "multi"]], ids="-".join)
def test_easy_and_multi(options, order):
    transcripts = []
    for shim in (False, True):
        with FaultServer("200,header=X-A: b") as server:
            text = "\n".join(lines(session("new", f"url={server.url}", *options, *order, shim=shim)))
            text = re.sub(r"0x[0-9a-f]+", "", text.replace(str(server.port), "PORT"))
            transcripts.append(re.sub(r".* data_in .*\n", "", text).splitlines())
    assert transcripts[0] == transcripts[1]


def test_perform_recovers_after_multi():
    with FaultServer(["200", "503", "200"]) as server:
        assert codes(session("new", f"url={server.url}", "multi", "perform")) == [0, 0]
        assert steps(server) == ["200", "503", "200"]
