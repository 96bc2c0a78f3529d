"""What processes of a host learn from each other's attempts: a failure counts, a success wakes, a claim outlives nobody."""

import contextlib
import errno
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness import FaultServer, events, run, wait_until
from host_state import (  # noqa: F401
    BASH, CLIENTS, LOOKS, REFUSED, SLEEPS, Hanging, active_opens, multi_client, shimmed, span, state,
    told)
from multi_hosts import STYLES, done, running
from network import PORT, SOON, Running, instant, late_server, network, python  # noqa: F401

pytestmark = pytest.mark.usefixtures("network")


def pid_of(program):
    """The process that has told something."""
    return program.events()[0]["pid"]


# ---- failures ---------------------------------------------------------------------------------------

# Two backoffs of a second each, so that a busy machine keeps their order.
THREE = {"base_delay_ms": 1000, "multiplier": 1, "max_attempts": 3}


def without_times(text):
    """libcurl's error texts tell milliseconds."""
    return re.sub(rb"after \d+ ms", b"", text)


def two_in_turn(first, second, **options):
    """Two programs, the second started in the first one's backoff. Their results, and the connects of both."""
    before = active_opens()
    with Running(first, **{**THREE, **options}) as one:
        one.wait("attempt_failed")
        with Running(second, **{**THREE, **options}) as other:
            results = one.result(), other.result()
    return *results, active_opens() - before


@pytest.mark.parametrize("kind", CLIENTS)
def test_failure_of_another_counts(state, kind):
    """The second one's first attempt comes in the first one's backoff, and is its second; and so on."""
    first, second, connects = two_in_turn(CLIENTS[kind], BASH, state=state)
    assert told(first) == ["attempt_failed", "attempt_failed shared", "exhausted shared"]
    assert [entry["attempt"] for entry in events(first)] == [1, 2, 3]
    assert told(second) == ["attempt_failed", "attempt_failed", "exhausted"]
    assert connects == 4
    assert second.returncode == 1 and REFUSED in second.stderr
    # A program ends as with a failure of its own.
    alone = run(CLIENTS[kind], shim=False)
    assert first.returncode == alone.returncode != 0
    assert (first.stdout, without_times(first.stderr)) == (alone.stdout, without_times(alone.stderr))


def test_without_sharing_it_does_not():
    first, second, connects = two_in_turn(CLIENTS["poll"], BASH)
    assert told(first) == told(second) == ["attempt_failed", "attempt_failed", "exhausted"]
    assert connects == 6


def test_text_says_whose_attempt_it_was(state, tmp_path):
    told_in, options = tmp_path / "diag", {**THREE, "state": state}
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(run, BASH, diag_format="text", diag_file=told_in, **options)
        wait_until(lambda: told_in.exists() and told_in.read_text(), what="the first failure")
        run(BASH, **options)
        lines = first.result().diag.decode().splitlines()
    assert ["another's attempt" in line for line in lines] == [False, True, True]
    assert all(line.endswith(" [another's attempt]") for line in lines[1:])
    assert lines[1].split(": ", 1)[1].startswith("Retry attempt 2/3 failed: ECONNREFUSED: ")
    assert lines[2].split(": ", 1)[1].startswith("All 3 attempts failed for connect.")


def test_threads_of_a_process_share_without_a_file():
    threads = 8
    code = f"""import threading
def connect():
    try: socket.create_connection(("127.0.0.1", PORT))
    except ConnectionRefusedError: print("refused")
each = [threading.Thread(target=connect) for _ in range({threads})]
for thread in each: thread.start()
for thread in each: thread.join()"""
    before = active_opens()
    result = run(python(code), **THREE)
    assert result.stdout == b"refused\n" * threads
    assert active_opens() - before <= threads + 4  # two of everybody, and a little for who comes late
    assert sum("shared" in each for each in told(result)) >= 2 * threads - 4
    assert told(result).count("exhausted") + told(result).count("exhausted shared") == threads


# ---- successes --------------------------------------------------------------------------------------


@contextlib.contextmanager
def asleep(argv, **options):
    """A program in a backoff that nobody waits for."""
    with Running(argv, **{**SLEEPS, **options}) as program:
        program.wait("attempt_failed")
        yield program


@pytest.mark.parametrize("kind", CLIENTS)
def test_success_of_another_wakes(state, kind):
    with asleep(CLIENTS[kind], state=state) as sleeper, Running(BASH, state=state, **LOOKS) as scout:
        with late_server(scout, "200,body=late,close=1") as server:
            assert scout.result().stdout == b"connected\n"
            result = sleeper.result()
            assert [entry["path"] for entry in server.requests()] == ["/late"]
    assert (result.returncode, result.stdout[-4:]) == (0, b"late")
    assert told(result) == ["attempt_failed", "succeeded"]
    back = instant(events(scout.result())[-1])
    # At most half a second of spread, and what a busy machine adds.
    assert instant(events(result)[-1]) - back < 3


@pytest.mark.parametrize("style", STYLES)
def test_success_of_another_wakes_a_multi(state, style):
    with asleep(multi_client(style), state=state) as sleeper, Running(BASH, state=state, **LOOKS) as scout:
        with late_server(scout, "200,body=late,close=1"):
            back = instant(events(scout.result())[-1])
            result = sleeper.result()
    assert done(result) == [(0, 0)] and running(result) == [1, 0]
    assert told(result) == ["attempt_failed", "succeeded"] and instant(events(result)[-1]) - back < 3


AGAIN = python("""for _ in range(2):
    s = socket.socket()
    print(s.connect_ex(("127.0.0.1", PORT)), flush=True)
    sys.stdin.readline()""")


def test_success_of_a_first_attempt_wakes(state):
    """Of its process something has failed, of its own operation nothing."""
    with asleep(CLIENTS["blocking"], state=state) as sleeper:
        with shimmed(AGAIN, state=state, max_attempts=1) as scout:
            assert scout.stdout.readline() == b"%d\n" % errno.ECONNREFUSED
            with FaultServer("200,body=late,close=1", port=PORT):
                scout.communicate(b"\n", SOON)
                assert sleeper.result().stdout == b"late"
    assert sleeper.result().seconds < SOON


def test_without_sharing_nobody_is_woken():
    with asleep(CLIENTS["poll"], base_delay_ms=4000) as sleeper, Running(BASH, **LOOKS) as scout:
        with late_server(scout, "200,body=late,close=1"):
            assert scout.result().stdout == b"connected\n"
            assert span(sleeper.result()) >= 4


def test_threads_wake_each_other_without_a_file():
    code = """import threading
def connect():
    socket.create_connection(("127.0.0.1", PORT))
    print("connected", flush=True)
each = [threading.Thread(target=connect) for _ in range(8)]
for thread in each: thread.start()
for thread in each: thread.join()"""
    options = {"base_delay_ms": 2000, "multiplier": 10, "jitter": "full", "max_attempts": 100, "timeout_ms": 0}
    with Running(python(code), **options) as program:
        program.wait("attempt_failed", 8)
        with FaultServer("greet=hello", port=PORT):
            result = program.result()
    assert result.stdout == b"connected\n" * 8
    ends = [instant(entry) for entry in events(result) if entry["event"] == "succeeded"]
    assert len(ends) == 8 and max(ends) - min(ends) < 2


# ---- claims -----------------------------------------------------------------------------------------

BACKOFF = {"base_delay_ms": 2000, "multiplier": 1, "max_attempts": 5}


def test_prober_killed_in_its_backoff(state):
    with Running(BASH, state=state, **BACKOFF) as prober:
        prober.wait("attempt_failed")
        with Running(BASH, state=state, **BACKOFF) as other:
            other.wait("attempt_failed")
            os.kill(pid_of(prober), signal.SIGKILL)
            with FaultServer("greet=hello", port=PORT):
                assert other.result().stdout == b"connected\n"
    # Its own backoff, and for the dead one's attempt once more.
    assert 2 <= span(other.result()) < 2 * 2 + 1


def connecting(count=1):
    """Connects that hang."""
    rows = [line.split() for line in Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]]
    return sum(row[3] == "02" for row in rows) >= count  # TCP_SYN_SENT


def test_prober_killed_in_its_attempt(state):
    with Hanging() as port, Running(BASH, state=state, **BACKOFF) as prober:
        prober.wait("attempt_failed")
        with Running(BASH, state=state, **BACKOFF) as other:
            other.wait("attempt_failed")
            port.hang()
            hung = len(port.fillers)
            wait_until(lambda: connecting(hung) and in_attempt(pid_of(prober)), what="the prober's attempt")
            os.kill(pid_of(prober), signal.SIGKILL)
            port.accept()
            assert other.result().stdout == b"connected\n"
    assert told(other.result()) == ["attempt_failed", "succeeded"]
    assert 2 <= span(other.result()) < 2 * 2 + 2


def in_attempt(pid):
    """True while it is in connect(2)."""
    return Path(f"/proc/{pid}/syscall").read_text().split()[0] == str(CONNECT_NUMBER)


CONNECT_NUMBER = {"x86_64": 42, "aarch64": 203}[os.uname().machine]

INTERRUPTED = """import signal
signal.signal(signal.SIGUSR1, lambda *_: None)
signal.siginterrupt(signal.SIGUSR1, True)
s = socket.socket()
try: s.connect(("127.0.0.1", PORT))
except OSError as error: print(os.strerror(error.errno))"""


def test_prober_interrupted_by_a_signal_gives_its_claim_back(state):
    with Running(python(INTERRUPTED), state=state, **BACKOFF) as prober:
        prober.wait("attempt_failed")
        with Running(BASH, state=state, **BACKOFF) as other:
            other.wait("attempt_failed")
            os.kill(pid_of(prober), signal.SIGUSR1)
            result = prober.result()
            assert told(result) == ["attempt_failed", "given_up signal"] and result.stdout == REFUSED + b"\n"
            with FaultServer("greet=hello", port=PORT):
                assert other.result().stdout == b"connected\n"
    assert 2 <= span(other.result()) < 2 * 2 - 0.5  # it does not wait for an attempt that nobody makes


# ---- a backoff can be left ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CLIENTS)
def test_interrupt_ends_a_program_at_once(state, kind):
    with asleep(CLIENTS[kind], state=state) as program:
        os.kill(pid_of(program), signal.SIGINT)
        result = program.result()
    assert result.returncode in (-signal.SIGINT, 130, 1) and result.seconds < SOON
