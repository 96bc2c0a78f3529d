"""The contract of a multi while something backs off: counts, messages, instants; nobody spins, sleeps too long or
holds another one up."""

import pytest

from curl_hosts import crc32, events, gaps_ms, lines, names, steps
from harness import FaultServer
from multi_hosts import done, in_every_style, in_styles, in_two_styles, infos, left, multi, numbers, running, told

in_perform_styles = in_styles("poll", "wait", "fdset")
OK = f"{crc32(b'ok' + bytes([10]))}/3"


def one(server, *words):
    return ["new", f"url={server.url}/x", "headers", *words, "add"]


def recovered(result, count):
    assert sorted(done(result)) == [(number, 0) for number in range(count)]
    assert [(info["status"], info["body"], info["blocks"]) for info in infos(result)] == [(200, OK, 1)] * count


# --- Time


@in_every_style
def test_long_backoff_costs_nothing(style):
    """Two seconds of it, in the first of which something else waits for its server."""
    with FaultServer(["503", "200"]) as server, FaultServer("200,delay=1s") as slow:
        result = multi(style, *one(server), *one(slow), "drive", "told", "all", base_delay_ms=2000)
        assert 2000 <= gaps_ms(server)[0] < 4000
    recovered(result, 2)
    assert running(result) == [2, 1, 0] and done(result) == [(1, 0), (0, 0)]
    assert told(result, "cpu_ms") < 300
    # libcurl has timers of its own while it waits for a server, by which all these programs wake.
    assert told(result, "wakeups") <= 40 and told(result, "turns") <= 40 and told(result, "timeouts") <= 20


@in_every_style
@pytest.mark.parametrize("fault", ["503", "refused"])
def test_due(style, fault):
    """The instant that libcurl names is the next attempt's; then it names none."""
    with FaultServer(["503", "200"], open_after="60s" if fault == "refused" else "0s") as server:
        result = multi(style, *one(server), "until", "due", "remove", "drive", "due", base_delay_ms=700)
    (first,), (after,) = numbers(result, r"due (-?\d+)")
    # Where others may learn that the host is back, that is looked at now and then.
    least, most = (0, 100) if fault == "refused" else (300, 700)
    assert "backoff" in lines(result) and least < first <= most and after == -1


@pytest.mark.parametrize("style, how, ready", [
    ("poll", "wakeup", 0), ("poll", "woken", 0), ("poll", "extra", 1), ("poll", "timeout", 0), ("wait", "extra", 1), ("wait", "timeout", 0)])
def test_wait_that_ends_before_the_backoff(style, how, ready):
    with FaultServer(["503", "200"]) as server:
        result = multi(style, *one(server), "until", f"interrupt={how}", f"interrupt={how}", "remove",
                       base_delay_ms=20000)
        assert len(server.requests()) == 1
    least = {"timeout": 290, "woken": 0}.get(how, 90)
    shown = numbers(result, rf"interrupted by {how} ready=(\d+) revents=(\d+) ms=(\d+)")
    assert "backoff" in lines(result) and [(count, event) for count, event, _ in shown] == [(ready, ready)] * 2
    assert all(least <= ms < 5000 for _, _, ms in shown)


@in_perform_styles
def test_progress_goes_on_during_a_backoff(style):
    with FaultServer(["503", "200"]) as server:
        result = multi(style, "patience=100", *one(server, "progress=0"), "drive", "info", base_delay_ms=1000)
        assert steps(server) == ["503", "200"]
    info, = infos(result)
    assert info["progress"] >= 8 and info["gap_ms"] < 700 and done(result) == [(0, 0)]


@in_perform_styles
@pytest.mark.parametrize("fault", ["503", "refused"])
def test_progress_may_abort_a_backoff(style, fault):
    with FaultServer(["503", "200"], open_after="60s" if fault == "refused" else "0s") as server:
        result = multi(style, "patience=50", *one(server, "progress=300"), "drive", "pass=200", "info", base_delay_ms=20000)
        assert steps(server) == (["503"] if fault == "503" else [])
    assert done(result) == [(0, 42)] and running(result) == [1, 0] and result.seconds < 10
    assert infos(result)[0]["blocks"] == 0 and names(result) == ["attempt_failed", "not_retryable"]


# --- One and the others


@in_every_style
def test_others_are_not_held_up(style):
    with FaultServer(["503", "200"]) as server, FaultServer("200,delay=20ms") as healthy:
        others = [word for _ in range(10) for word in one(healthy)]
        result = multi(style, "clock", *one(server), *others, "drive", "all", base_delay_ms=1500)
        assert len(healthy.requests()) == 10 and steps(server) == ["503", "200"]
    recovered(result, 11)
    assert done(result)[-1] == (0, 0)
    at = dict(numbers(result, r"(\d+) done 0 left=\d+ at=(\d+)"))
    assert max(at[number] for number in range(1, 11)) * 2 < at[0]


@in_styles("poll", "fdset", "action")
def test_crowd(style):
    """Two hundred in one multi, each of which fails at first."""
    script = ["503", "503,close=1", "reset-after", "empty"] * 50
    with FaultServer([*script, "200"]) as server:
        words = [word for _ in range(200) for word in one(server)]
        result = multi(style, *words, "drive", "told", "all", max_attempts=100, base_delay_ms=300, multiplier="1.0",
                       budget="off")
        assert len(server.requests()) == 400
    recovered(result, 200)
    assert running(result)[0] == 200 and running(result)[-1] == 0 and told(result, "cpu_ms") < 3000
    told_of = [entry["event"] for entry in events(result)]
    # libcurl itself repeats what ends a kept connection; nobody knows who fails twice.
    assert 100 <= told_of.count("attempt_failed") <= 200 and 50 <= told_of.count("succeeded") <= 200


@in_two_styles
def test_one_connection_to_a_host(style):
    """Who backs off does not keep it from the next one."""
    with FaultServer(["503", "200,body=b", "200"]) as server:
        words = ["multi=0", "max_host=1", *one(server), *one(server), "drive", "all"]
        result = multi(style, *words, base_delay_ms=400)
        assert steps(server) == ["503", "200", "200"] and len(server.accepts()) == 1
    assert done(result) == [(1, 0), (0, 0)]
    assert [info["body"] for info in infos(result)] == [OK, f"{crc32(b'b')}/1"]


@in_two_styles
def test_connection_is_kept(style):
    """For the next attempt, and for the transfer after it."""
    with FaultServer(["503,size=2000,chunked=1", "200"]) as server:
        result = multi(style, *one(server), "drive", "info", *one(server), "drive", "info")
        assert steps(server) == ["503", "200", "200"] and len(server.accepts()) == 1
    recovered(result, 2)


# --- Counts and messages


@in_every_style
def test_messages_in_their_order(style):
    """Read when nothing runs any more: each once, and how many are left."""
    with FaultServer(["503", "200"]) as server, FaultServer("200") as healthy, FaultServer("200,delay=80ms") as slow:
        result = multi(style, "lazy", *one(server), *one(healthy), *one(slow), "drive", "read", "told", "all",
                       base_delay_ms=400)
    recovered(result, 3)
    assert done(result) == [(1, 0), (2, 0), (0, 0)] and left(result) == [2, 1, 0]
    assert running(result) == [3, 2, 1, 0] and told(result, "messages") == 3


@in_two_styles
def test_messages_of_failures(style):
    """What is given up, what is exhausted and what recovers: the messages that there would be."""
    with FaultServer("reset-after") as bad, FaultServer(["503", "200"]) as good, FaultServer("503") as busy:
        result = multi(style, "lazy", *one(bad, "post=a=b"), *one(bad), *one(good), *one(busy, "fail"), "drive", "told")
        assert [len(server.requests()) for server in (bad, good, busy)] == [4, 2, 3]
    assert sorted(done(result)) == [(0, 56), (1, 56), (2, 0), (3, 22)] and left(result) == [3, 2, 1, 0]
    assert done(result)[0] == (0, 56) and running(result)[0] in (3, 4) and running(result)[-1] == 0
    told_of = sorted(" ".join(filter(None, (entry["event"], entry.get("reason")))) for entry in events(result)
                     if entry["event"] != "attempt_failed")
    assert told_of == ["exhausted", "exhausted", "given_up unsafe", "succeeded"]


@in_two_styles
def test_message_of_a_removed_transfer_goes_with_it(style):
    """That of another one stays in the queue."""
    with FaultServer(["503", "200"]) as server, FaultServer("200") as healthy:
        result = multi(style, "lazy", *one(server), *one(healthy), "until", "use=0", "remove", "drive", "read", "told",
                       base_delay_ms=400)
        assert steps(server) == ["503"]
    assert done(result) == [(1, 0)] and left(result) == [0] and told(result, "messages") == 1


@in_every_style
def test_removed_between_its_end_and_its_message(style):
    """Then there is none; the next operation has its own."""
    with FaultServer(["503", "200", "503", "200"]) as server:
        result = multi(style, "lazy=2", *one(server), "drive", "remove", "read", "told", "add", "drive", "read", "read", "told")
        assert steps(server) == ["503", "200"] * 2
    assert done(result) == [(0, 0)] and numbers(result, r"told.* messages=(\d+)") == [(0,), (1,)]
