"""Under libfaketime the program lives in another time, and backoffs last as long as they do in ours."""

import pytest
from harness import SHIM, built, events
from hosts import ENDLESS, LatePort, library, run_host

# Long ago, ten times as fast, and standing still: there is no instant that would ever come.
TIMES = ["-400d", "+0 x10", "-400d x10", "2020-01-01 00:00:00"]
HOSTS = [("signals", "once"), ("waits", "recover", "poll", -1), ("epolls", "recover", "wait", "level", "after", "fd")]


def faked(time, first):
    both = [built(SHIM), library("faketime/libfaketime.so.1")]
    return {"FAKETIME": time, "LD_PRELOAD": ":".join(both if first == "ours" else reversed(both))}


@pytest.mark.parametrize("first", ["ours", "theirs"])
@pytest.mark.parametrize("time", TIMES)
def test_backoffs_last_their_real_time(time, first):
    """Two of 150 ms; by the program's clock they would be two of 15, or endless."""
    for arguments in HOSTS:
        with LatePort() as port:
            told, result = run_host(*arguments, port.number, env=faked(time, first), timeout=30, base_delay_ms=150, multiplier="1.0")
        assert told["connect"] == "ECONNREFUSED" and result.stderr == b""
        assert [event["event"] for event in events(result)] == ["attempt_failed", "attempt_failed", "exhausted"]
        assert 0.3 <= result.seconds < 3, (arguments, result.seconds)


@pytest.mark.parametrize("first", ["ours", "theirs"])
@pytest.mark.parametrize("arguments", [("waits", "timeout", "select", 3000), ("epolls", "timeout", "wait", 3000)])
def test_time_outs_of_the_program_are_of_its_time(arguments, first):
    """Two of three seconds, which are 300 ms here. Not poll's: libfaketime hastens poll, but not ppoll, which ours calls."""
    with LatePort() as port:
        told, result = run_host(*arguments, port.number, env=faked("+0 x10", first), timeout=30, **ENDLESS)
    assert int(told["first_ms"]) >= 2900 and int(told["second_ms"]) >= 2900, told
    assert result.seconds < 3, result.seconds


@pytest.mark.parametrize("time", ["-400d", "+400d", "2020-01-01 00:00:00"])
def test_shares_what_it_knows(time, tmp_path):
    """Instants in the host's state are the kernel's, whatever the process believes."""
    shared = {"state": tmp_path / "state", "base_delay_ms": 1, "breaker": "reject", "breaker_threshold": 1}
    with LatePort() as port:
        # The faked failure counts as any other: with the plain one it opens the circuit, for both.
        runs = [run_host("signals", "once", port.number, env=env, **shared)[1] for env in (faked(time, "ours"), {}, {}, faked(time, "ours"))]
    assert [events(each)[-1].get("reason") for each in runs] == [None, None, "breaker", "breaker"]
