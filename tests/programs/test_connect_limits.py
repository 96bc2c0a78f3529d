"""What bounds and steers the retries of connect(): SO_SNDTIMEO, RETRY_TIMEOUT_MS and the other variables."""

import errno
import socket

import pytest

from harness import FaultServer, events, run
from network import (ADDRESS, PORT, SLOW, SOON, Running, attempts, instant, network, python,  # noqa: F401
                     with_files)

pytestmark = pytest.mark.usefixtures("network")

CONNECT = """try: socket.socket().connect(("127.0.0.1", PORT)); print(0)
except OSError as error: print(error.errno)"""
REFUSED = f"{errno.ECONNREFUSED}\n".encode()


def outcome(result):
    return [entry["event"] for entry in events(result)]


# ---- SO_SNDTIMEO --------------------------------------------------------------------------------

# Prints errno, whether the option is as before, and how long connect() took in ms.
LIMITED = """import struct
s = socket.socket()
limit = struct.pack("ll", *divmod(int(sys.argv[1]) * 1000, 1000000))
s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
before = s.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, 16)
start = time.monotonic()
try: s.connect(("127.0.0.1", PORT)); number = 0
except OSError as error: number = error.errno
elapsed = int((time.monotonic() - start) * 1000)
print(number, before == s.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, 16), elapsed)"""


def test_send_timeout_bounds_the_whole_operation():
    """Backoffs of 300 ms within 1000 ms: a fourth would end past it."""
    result = run(python(LIMITED, 1000), base_delay_ms=300, multiplier=1.0, max_attempts=50)
    number, same, elapsed = result.stdout.split()
    assert (int(number), same) == (errno.ECONNREFUSED, b"True") and 300 <= int(elapsed) < 2000  # 15000 without it
    *failed, last = events(result)
    assert 1 <= len(failed) <= 3 and {entry["event"] for entry in failed} == {"attempt_failed"}
    assert (last["event"], last["reason"], last["attempt"]) == ("given_up", "deadline", len(failed) + 1)


def test_send_timeout_is_as_before_after_a_recovery():
    with Running(python(LIMITED, 30000), base_delay_ms=200, multiplier=1.0, max_attempts=100) as program:
        program.wait("attempt_failed")
        with FaultServer("200", port=PORT):
            assert program.result().stdout.split()[:2] == [b"0", b"True"]


def full(listener):
    """Starts to listen with a queue that is full, so that connection requests are dropped."""
    listener.listen(0)
    return socket.create_connection(("127.0.0.1", PORT))


def bound():
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", PORT))
    return listener


def test_attempt_in_progress_is_delivered():
    """EINPROGRESS says that the attempt goes on: nothing is over, nothing is told."""
    with bound() as listener, full(listener):
        without, result = [run(python(LIMITED, 300), shim=shim) for shim in (False, True)]
    for each in (without, result):
        number, same, elapsed = each.stdout.split()
        assert (int(number), same) == (errno.EINPROGRESS, b"True") and 250 <= int(elapsed) < 3000
    assert events(result) == []


def test_later_attempt_gets_what_is_left_of_the_send_timeout():
    """Refused at first, then dropped: connect() ends when the program's limit does, not a whole limit later."""
    with bound() as listener:
        assert run(python(LIMITED, 2000), shim=False).stdout.startswith(b"%d True" % errno.ECONNREFUSED)
        with Running(python(LIMITED, 2000), base_delay_ms=1200) as program:
            program.wait("attempt_failed")
            with full(listener):
                number, same, elapsed = program.result().stdout.split()
    assert (int(number), same) == (errno.EINPROGRESS, b"True")
    assert 1900 <= int(elapsed) < 2900, "2000 for the whole; 3200 if the attempt had a limit of its own"
    assert outcome(program.result()) == ["attempt_failed"]


# ---- attempts, time, on and off -----------------------------------------------------------------


@pytest.mark.parametrize("settings, expected", [
    ({"max_attempts": 1}, ["exhausted"]),
    ({"max_attempts": 2}, ["attempt_failed", "exhausted"]),
    ({"max_attempts": None}, ["attempt_failed", "attempt_failed", "exhausted"]),
    ({"enabled": 0}, []),
    ({"timeout_ms": 50, "base_delay_ms": SLOW}, ["given_up"]),
    ({"timeout_ms": 0, "max_attempts": 2}, ["attempt_failed", "exhausted"]),
])
def test_attempts(settings, expected):
    assert run(python(CONNECT), shim=False).stdout == REFUSED
    result = run(python(CONNECT), **settings)
    assert (result.stdout, outcome(result), result.seconds < SOON) == (REFUSED, expected, True)


def test_backoffs_grow_as_configured():
    result = run(python(CONNECT), base_delay_ms=100, multiplier=3.0, max_delay_ms=500, max_attempts=4)
    told = events(result)
    assert [entry.get("delay_ms") for entry in told] == [100, 300, 500, None]
    for before, after in zip(told, told[1:]):
        waited = (instant(after) - instant(before)) * 1000
        assert before["delay_ms"] <= waited < before["delay_ms"] + 1000


def test_no_backoff_starts_that_would_end_past_the_deadline():
    result = run(python(CONNECT), timeout_ms=1000, base_delay_ms=300, multiplier=1.0, max_attempts=50)
    last = events(result)[-1]
    assert (last["event"], last["reason"]) == ("given_up", "deadline") and 2 <= last["attempt"] <= 4
    assert instant(last) - instant(events(result)[0]) < 2  # 15 without it


# ---- hosts and programs -------------------------------------------------------------------------

HOSTS = [
    ("127.0.0.1", True), ("127.0.0.2", False), ("127.0.0.0/8", True), ("10.0.0.0/8", False), (ADDRESS, True),
    ("127.0.0.1:81", False), (f"*:{PORT}", True), ("10.0.0.1,127.0.0.1", True), ("one.test", True), ("*.test", True),
    (f"*.test:{PORT}", True), ("*.test:81", False), ("other.test", False), ("ONE.TEST", True), ("::1", False),
]
NAMED = """try: socket.create_connection(("one.test", PORT)); print(0)
except OSError as error: print(error.errno)"""


def named():
    return with_files(python(NAMED), hosts="127.0.0.1 one.test\\n", nsswitch_conf="hosts: files\\n")


@pytest.mark.parametrize("pattern, taken", HOSTS)
def test_hosts(pattern, taken):
    """A name counts when the address came from getaddrinfo()."""
    wanted = run(named(), hosts=pattern, max_attempts=2, base_delay_ms=1)
    unwanted = run(named(), skip_hosts=pattern, max_attempts=2, base_delay_ms=1)
    assert wanted.stdout == unwanted.stdout == REFUSED
    assert attempts(wanted) == ([2] if taken else [])
    assert attempts(unwanted) == ([] if taken else [2])
    for entry in events(wanted) + events(unwanted):
        assert entry["target"] == f"one.test:{PORT}"


def test_skipping_beats_taking():
    result = run(named(), hosts="*.test", skip_hosts="127.0.0.1", base_delay_ms=SLOW)
    assert result.stdout == REFUSED and result.seconds < SOON and events(result) == []


@pytest.mark.parametrize("settings, taken", [
    ({"programs": "python3"}, True), ({"programs": "wget,py*"}, True), ({"programs": "wget"}, False),
    ({"skip_programs": "python3"}, False), ({"skip_programs": "wget"}, True),
    ({"programs": "py*", "skip_programs": "python3"}, False),
])
def test_programs(settings, taken):
    result = run(python(CONNECT), max_attempts=2, base_delay_ms=1, **settings)
    assert result.stdout == REFUSED and attempts(result) == ([2] if taken else [])


def test_children_are_programs_of_their_own():
    """A shell that is skipped starts a program that is not."""
    script = f'(exec 3<>/dev/tcp/127.0.0.1/{PORT}); "$@"'
    result = run(["bash", "-c", script, "bash", *python(CONNECT)], max_attempts=2, base_delay_ms=1, skip_programs="bash")
    assert {entry["program"] for entry in events(result)} == {"python3"} and attempts(result) == [2]
