"""What a program may do with its handles at any moment of a backoff, and between one operation and the next."""

import re

import pytest

from curl_hosts import crc32, gaps_ms, host, lines, methods, names, run, steps
from harness import FaultServer
from multi_hosts import STYLES, done, in_every_style, in_styles, in_two_styles, infos, multi, running
from test_curl_valgrind import check

faults = pytest.mark.parametrize("step", ["503", "reset-after"])

OK = f"{crc32(b'ok' + bytes([10]))}/3"
NOTHING = "00000000/0"
CODES = {"503": (0, 503), "reset-after": (56, 0)}
BACKOFF = {"base_delay_ms": 250}


def in_backoff(style, server, *words, before=(), **options):
    """A transfer is driven until it backs off; then the words are obeyed."""
    words = ["new", f"url={server.url}/x", "headers", *before, "add", "until", *words]
    result = multi(style, *words, **{**BACKOFF, **options})
    assert "backoff" in lines(result), result.stdout
    return result


def bodies(result):
    return [(info["status"], info["body"], info["blocks"]) for info in infos(result)]


RIGHT = (200, OK, 1)


# --- Taken away


@in_every_style
@faults
def test_remove(style, step):
    with FaultServer([step, "200"]) as server:
        result = in_backoff(style, server, "remove", "info", "drive", "pass=400", "info")
        assert steps(server) == [step]
    assert done(result) == [] and running(result) == [1, 0]
    assert bodies(result) == [(CODES[step][1], NOTHING, 0)] * 2
    assert names(result)[0] == "attempt_failed" and "succeeded" not in names(result)


@in_every_style
def test_cleanup_without_remove(style):
    with FaultServer(["503", "200"]) as server:
        result = in_backoff(style, server, "cleanup", "drive", "pass=400")
        assert steps(server) == ["503"]
    assert done(result) == [] and running(result) == [1, 0]


@in_every_style
@faults
def test_reset(style, step):
    """The failure that was withheld is the transfer's end."""
    with FaultServer([step, "200"]) as server:
        result = in_backoff(style, server, "reset", "drive", "pass=400")
        assert steps(server) == [step]
    assert done(result) == [(0, CODES[step][0])] and running(result) == [1, 0]


@in_every_style
def test_remove_and_add(style):
    """A new operation, with all its attempts."""
    with FaultServer(["503", "503", "200"]) as server:
        result = in_backoff(style, server, "remove", "add", "drive", "info", max_attempts=2)
        assert steps(server) == ["503", "503", "200"]
    assert done(result) == [(0, 0)] and running(result)[-1] == 0 and bodies(result) == [RIGHT]
    assert names(result)[-1] == "succeeded"


@in_two_styles
def test_moved_to_another_multi(style):
    with FaultServer(["503", "503", "200"]) as server:
        result = in_backoff(style, server, "remove", "multi=1", "add", "drive", "info", max_attempts=2)
        assert steps(server) == ["503", "503", "200"]
    assert done(result) == [(0, 0)] and bodies(result) == [RIGHT] and "m1 running 1" in lines(result)


@in_every_style
@faults
def test_destroyed_multi(style, step):
    """The transfer is over; its handle serves on, for a multi and alone."""
    with FaultServer([step, step, "200", "503", "200"]) as server:
        result = in_backoff(style, server, "destroy", "info", "perform", "info", "add", "drive", "info", max_attempts=2)
        assert steps(server) == [step, step, "200", "503", "200"]
    assert "destroy -> 0" in lines(result) and "0 perform -> 0" in lines(result)
    assert bodies(result) == [(CODES[step][1], NOTHING, 0), RIGHT, RIGHT] and done(result) == [(0, 0)]


@in_two_styles
def test_taken_away_while_others_go_on(style):
    """Three back off; one is removed, one is closed, one goes on."""
    with FaultServer([*["503"] * 3, "200"]) as server:
        more = [word for _ in range(2) for word in ("new", f"url={server.url}/x", "headers", "add")]
        result = multi(style, "new", f"url={server.url}/x", "headers", "add", *more, "until", "use=0", "remove", "use=1",
                       "cleanup", "drive", "use=2", "info", base_delay_ms=500)
        assert steps(server) == ["503"] * 3 + ["200"]
    assert "backoff" in lines(result) and done(result) == [(2, 0)] and bodies(result) == [RIGHT]
    assert running(result)[0] == 3 and running(result)[-1] == 0


@in_two_styles
def test_closed_in_the_loop_that_reads_messages(style):
    with FaultServer([*["503"] * 5, "200"]) as server:
        words = [word for _ in range(5) for word in ("new", f"url={server.url}/x", "headers", "add")]
        result = multi(style, "eager", *words, "drive")
        assert len(server.requests()) == 10
    assert sorted(done(result)) == [(number, 0) for number in range(5)] and bodies(result) == [RIGHT] * 5


# --- Held, changed, used twice


@in_every_style
@pytest.mark.parametrize("bits", [1, 5])
def test_pause(style, bits):
    """While it is paused, no attempt begins."""
    with FaultServer(["503", "200"]) as server:
        result = in_backoff(style, server, f"pause={bits}", "pass=600", "pause=0", "drive", "info")
        assert steps(server) == ["503", "200"] and gaps_ms(server)[0] >= 600
    assert lines(result).count("0 pause -> 0") == 2
    assert done(result) == [(0, 0)] and running(result) == [1, 0] and bodies(result) == [RIGHT]


@in_two_styles
def test_pause_that_ends_before_the_backoff(style):
    with FaultServer(["503", "200"]) as server:
        result = in_backoff(style, server, "pause=1", "pause=0", "drive", "info")
        assert steps(server) == ["503", "200"] and gaps_ms(server)[0] >= 249
    assert done(result) == [(0, 0)] and bodies(result) == [RIGHT]


@in_every_style
@pytest.mark.parametrize("pause", ["header_pause=1", "header_pause=4", "write_pause=1"])
@pytest.mark.parametrize("script", [["200"], ["503", "200"]], ids="-".join)
def test_callback_that_pauses(style, pause, script):
    """What was paused comes again, and only that."""
    with FaultServer(script) as server:
        words = ["headers", pause, "add", "pass=200", "info", "pause=0", "drive", "info"]
        result = multi(style, "new", f"url={server.url}/x", *words, base_delay_ms=20)
        assert steps(server) == script
    before, after = infos(result)
    assert before["body"] == NOTHING and before["lines"] == {"header_pause=1": 0, "header_pause=4": 3}.get(pause, 4)
    assert before["lines"] + after["lines"] == 4 and after["body"] == OK
    assert done(result) == [(0, 0)] and running(result) == [1, 0]


@in_two_styles
@pytest.mark.parametrize("words", [["remove"], ["cleanup"], ["destroy"]], ids="-".join)
def test_taken_away_while_paused(style, words):
    with FaultServer(["503", "200"]) as server:
        result = in_backoff(style, server, "pause=1", *words, "drive", "pass=350")
        assert steps(server) == ["503"] and done(result) == []


@in_two_styles
def test_added_twice(style):
    with FaultServer(["503", "200"]) as server:
        result = in_backoff(style, server, "add", "drive", "info")
        assert steps(server) == ["503", "200"]
    assert "0 add -> 7" in lines(result)  # CURLM_ADDED_ALREADY
    assert done(result) == [(0, 0)] and running(result) == [1, 0] and bodies(result) == [RIGHT]


@in_two_styles
def test_performed_while_in_a_multi(style):
    with FaultServer(["200,delay=100ms"]) as server:
        plain = multi(style, "new", f"url={server.url}", "add", "perform", shim=False)
    with FaultServer(["503", "200"]) as server:
        result = in_backoff(style, server, "perform", "drive", "info")
        assert steps(server) == ["503", "200"]
    assert lines(plain) == ["0 perform -> 2"] and "0 perform -> 2" in lines(result)  # CURLE_FAILED_INIT
    assert done(result) == [(0, 0)] and bodies(result) == [RIGHT]


@in_two_styles
def test_new_url(style):
    """The next attempt is one request, here or there."""
    with FaultServer(["503", "200"]) as server, FaultServer("200") as other:
        result = in_backoff(style, server, f"url={other.url}/y", "drive", "info")
        assert len(server.requests()) + len(other.requests()) == 2
    assert done(result) == [(0, 0)] and bodies(result) == [RIGHT]


@in_two_styles
def test_becomes_a_post(style):
    """What is sent after that is sent once."""
    with FaultServer(["503", "503", "200"]) as server:
        result = in_backoff(style, server, "post=a=b", "drive", "info")
        assert methods(server).count("POST") <= 1
    assert len(done(result)) == 1 and running(result) == [1, 0]


# --- One operation after another


@in_two_styles
def test_alone_and_in_a_multi_by_turns(style):
    with FaultServer(["503", "200"] * 4) as server:
        words = ["perform", "info", "add", "drive", "info", "remove", "perform", "info", "add", "drive", "info"]
        result = multi(style, "new", f"url={server.url}/x", "headers", *words, max_attempts=2)
        assert steps(server) == ["503", "200"] * 4 and len(server.accepts()) <= 2
    assert bodies(result) == [RIGHT] * 4 and done(result) == [(0, 0)] * 2
    assert lines(result).count("0 perform -> 0") == 2


@in_two_styles
def test_options_are_the_programs_again(style):
    """The time limit of the second attempt was what was left; the third transfer has all of it."""
    with FaultServer(["503", "200", "200,delay=700ms", "421", "200", "200", "hang"]) as server:
        words = ["add", "drive", "remove", "perform", "add", "drive", "remove", "add", "drive", "remove", "perform"]
        result = multi(style, "new", f"url={server.url}/x", "timeout=1000", *words, base_delay_ms=500)
        assert len(server.requests()) == 7
        # The one that asked for a new connection got one, and nobody else did after it.
        assert len(server.accepts()) <= 3
    assert done(result) == [(0, 0)] * 3
    assert [line for line in lines(result) if "perform" in line] == ["0 perform -> 0", "0 perform -> 28"]


@in_styles(*STYLES)
def test_two_multis(style):
    """Each has its own transfers, and their backoffs."""
    with FaultServer([*["503"] * 4, "200"]) as server:
        words = ["new", f"url={server.url}/x", "headers", "add"]
        result = multi(style, "multi=0", *words, *words, "multi=1", *words, *words, "drive", "all")
        assert len(server.requests()) == 8
    assert sorted(done(result)) == [(number, 0) for number in range(4)] and bodies(result) == [RIGHT] * 4
    assert {"m0 running 2", "m0 running 0", "m1 running 2", "m1 running 0"} <= set(lines(result))


@in_every_style
def test_threads(style):
    """Each with its multi, and with a handle alone in one of them."""
    with FaultServer([*["503", "reset-after", "empty"] * 4, "200"]) as server, FaultServer(["503", "200"]) as other:
        words = [f"style={style}", *["new", f"url={server.url}/x", "headers", "fresh=1", "add"] * 6, "drive", "all"]
        alone = ["new", f"url={other.url}/x", "headers", "perform", "info"]
        result = multi(style, *words, "--", *words, "--", *words, *alone, max_attempts=20, base_delay_ms=5, multiplier="1.0",
                       budget="off")
        assert len(server.requests()) == 12 + 18 and steps(other) == ["503", "200"]
    assert sorted(done(result)) == sorted([(number, 0) for number in range(6)] * 3)
    assert bodies(result) == [RIGHT] * 19


@in_two_styles
def test_memory(style):
    """One recovers, one is removed, one is closed, one is left to the end of its multi; nothing is lost."""
    with FaultServer(["503,size=3000", "reset-after", "200", *["503"] * 4, "200"]) as server:
        words = ["new", f"url={server.url}/x", "headers", "add"]
        printed = check(host(STYLES[style]), f"style={style}", *words, "drive", "info", "remove", *words * 4, "until", "use=1",
                        "remove", "use=2", "cleanup", "use=3", "pause=1", "destroy", "use=4", "perform", "info",
                        base_delay_ms=400, multiplier="1.0")
    assert re.findall(r"^(\d) done (\d+)", printed, re.M) == [("0", "0")] and "\nbackoff\n" in printed
    assert printed.count(f"info status=200 down=3 body={OK}") == 2
    assert run([host(STYLES[style])]).returncode == 0
