"""Processes that are killed while they use the state file: it stays valid, and those who come after do not wait for the dead."""

import json
import os
import signal
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness import BUILD, SHIM, FaultServer, built, events, run
from hosts import run_host
from network import ADDRESS, PORT, Running, instant, network, python  # noqa: F401
from state_files import HEADER_BYTES, PLACE_BYTES, SERIES_AT, STATE_BYTES

pytestmark = pytest.mark.usefixtures("network")

CLAIM, NAME = 6 * 8, 14 * 8  # include/retryshim/host.h
CONNECT = python('socket.create_connection(("127.0.0.1", PORT)); print("connected")')
SLACK = 0.35  # a machine with other things to do
BASE = 0.4
SECOND = {"base_delay_ms": int(BASE * 1000), "multiplier": 1, "budget": "off"}


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


def destinations(path):
    done = subprocess.run([built(BUILD / "retryshim"), "status", "--json", "--state", path], env={}, capture_output=True,
                          timeout=30, check=True)
    return json.loads(done.stdout)["destinations"]


def claim(path):
    """The claim on PORT's next attempt, as it stands in the file."""
    content = path.read_bytes()
    for at in range(HEADER_BYTES, SERIES_AT, PLACE_BYTES):
        if content[at + NAME:at + PLACE_BYTES].startswith(ADDRESS.encode() + b"\0"):
            return struct.unpack_from("=Q", content, at + CLAIM)[0]
    raise AssertionError(f"{ADDRESS} is not in the file")


def active_opens():
    """TCP connects that the kernel has begun in this network."""
    titles, values = [line.split() for line in Path("/proc/thread-self/net/snmp").read_text().splitlines()
                      if line.startswith("Tcp:")]
    return int(values[titles.index("ActiveOpens")])


def backoff(result):
    """Seconds from the first failure to the operation's end."""
    told = events(result)
    assert told[0]["event"] == "attempt_failed", told
    return instant(told[-1]) - instant(told[0])


def meets(state):
    """A process that comes now, and whose second attempt gets through: how long that took."""
    with Running(CONNECT, state=state, max_attempts=2, **SECOND) as program:
        program.wait("attempt_failed")
        with FaultServer("200", port=PORT):
            result = program.result()
    assert result.stdout == b"connected\n" and [each["event"] for each in events(result)] == ["attempt_failed", "succeeded"]
    return backoff(result)


def kill_in_backoff(state, **options):
    with Running(CONNECT, state=state, **options) as program:
        pid = program.wait("attempt_failed")[0]["pid"]
        os.kill(pid, signal.SIGKILL)
        assert program.result().returncode == -signal.SIGKILL
    assert claim(state) != 0


@pytest.mark.parametrize("delay_ms", [60000, 1000, int(BASE * 1000)])
def test_a_dead_probers_claim_is_waited_for_no_longer_than_a_backoff(state, delay_ms):
    kill_in_backoff(state, base_delay_ms=delay_ms, max_delay_ms=60000, max_attempts=9, timeout_ms=0)
    assert BASE <= meets(state) < 2 * BASE + SLACK


def test_a_dead_prober_is_replaced_by_one(state):
    """Twelve wait for it; one of them goes in its place, and the others count that attempt as theirs."""
    kill_in_backoff(state, base_delay_ms=int(BASE * 1000), max_attempts=9)
    before = active_opens()
    with ThreadPoolExecutor(12) as pool:
        waiting = [pool.submit(run, ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{PORT}"], state=state, max_attempts=2, **SECOND)
                   for _ in range(12)]
        for result in (each.result() for each in waiting):
            assert [each["event"] for each in events(result)] == ["attempt_failed", "exhausted"]
            assert backoff(result) < 2 * BASE + SLACK
    assert 12 + 1 <= active_opens() - before <= 12 + 3


def test_two_thousand_are_killed_at_random(state):
    before = active_opens()
    told, _ = run_host("killed", PORT, 2000, 48, 120, shim=False, env={"SHIM": built(SHIM)}, timeout=120, state=state, multiplier=1,
                       jitter="full", budget="off", breaker="off", diag=None, diag_file=None)
    sent = active_opens() - before
    assert told == {"killed": "2000", "others": "0"}
    assert state.stat().st_size == STATE_BYTES
    found = destinations(state)
    assert [each["target"] for each in found] == [ADDRESS]
    assert found[0]["circuit"] == "closed" and found[0]["last_failure"] == "ECONNREFUSED"
    assert sent > 2000
    assert abs(found[0]["attempts"] - sent) <= sent / 100, (found, sent)
    assert BASE <= meets(state) < 2 * BASE + SLACK
    assert destinations(state)[0]["recoveries"] == 1
