"""connect() on unix sockets, by RETRY_UNIX."""

import errno
import socket

import pytest

from harness import FaultServer, events, run
from network import SLOW, SOON, Running, python, traced

CONNECT = """s = socket.socket(socket.AF_UNIX)
path = sys.argv[1].replace("@", "\\0", 1) if sys.argv[1][0] == "@" else sys.argv[1]
try: s.connect(path); print(0)
except OSError as error: print(error.errno)"""


@pytest.fixture(name="path")
def path_of_a_socket(tmp_path):
    return tmp_path / "socket"


def deaf(path):
    """A socket file that refuses, as a server that has ended leaves it behind."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize("mode", [None, "busy", "off"])
@pytest.mark.parametrize("name", ["ENOENT", "ECONNREFUSED"])
def test_missing_server_is_seen_at_once(path, mode, name):
    if name == "ECONNREFUSED":
        deaf(path)
    without, result = [run(python(CONNECT, path), shim=shim, unix=mode, base_delay_ms=SLOW) for shim in (False, True)]
    assert without.stdout == result.stdout == f"{getattr(errno, name)}\n".encode()
    assert result.seconds < SOON
    assert {entry["event"] for entry in events(result)} <= {"not_retryable"}
    assert mode != "off" or events(result) == []


def test_missing_server_with_all(path):
    assert run(python(CONNECT, path), shim=False).stdout == f"{errno.ENOENT}\n".encode()
    with Running(python(CONNECT, path), unix="all", base_delay_ms=200, multiplier=1.0, max_attempts=100) as program:
        failed = program.wait("attempt_failed")[0]
        with FaultServer("greet=hello", unix=path) as server:
            assert program.result().stdout == b"0\n" and len(server.wait("accept")) == 1
    expected = {"error": "ENOENT", "category": "transient", "severity": "medium", "target": f"unix:{path}"}
    assert expected.items() <= failed.items()
    assert events(program.result())[-1]["event"] == "succeeded"


def test_refusing_server_with_all(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        assert run(python(CONNECT, path), shim=False).stdout == f"{errno.ECONNREFUSED}\n".encode()
        with Running(python(CONNECT, path), unix="all", base_delay_ms=200, multiplier=1.0, max_attempts=100) as program:
            failed = program.wait("attempt_failed")[0]
            server.listen()
            assert program.result().stdout == b"0\n"
    assert (failed["error"], failed["category"]) == ("ECONNREFUSED", "transient")


def test_abstract_name():
    """It is shown as ss(8) shows it, and matched by RETRY_HOSTS in the same words."""
    argv = python(CONNECT, "@retryshim-test")
    result = run(argv, unix="all", max_attempts=2, base_delay_ms=10)
    assert result.stdout == f"{errno.ECONNREFUSED}\n".encode()
    assert {entry["target"] for entry in events(result)} == {"unix:@retryshim-test"}
    skipped = run(argv, unix="all", base_delay_ms=SLOW, skip_hosts="unix:@retryshim-*")
    assert skipped.seconds < SOON and events(skipped) == []


@pytest.mark.parametrize("mode, told", [(None, ["attempt_failed", "succeeded"]), ("all", ["attempt_failed", "succeeded"]),
                                        ("off", [])])
def test_busy(path, tmp_path, mode, told):
    """A blocking socket meets EAGAIN with SO_SNDTIMEO only, see below: here the kernel's answer is replaced."""
    argv = traced(python(CONNECT, path), "connect", tmp_path / "trace", "-e", "inject=connect:error=EAGAIN:when=1")
    with FaultServer("greet=hello", unix=path) as server:
        assert run(argv, shim=False).stdout == f"{errno.EAGAIN}\n".encode() and server.accepts() == []
        result = run(argv, unix=mode)
        assert [entry["event"] for entry in events(result)] == told
        assert result.stdout == (b"0\n" if told else f"{errno.EAGAIN}\n".encode())
        assert len(server.wait("accept") if told else server.accepts()) == (1 if told else 0)
    if told:
        assert (events(result)[0]["category"], events(result)[0]["severity"]) == ("resource", "high")


LIMITED = """import struct
s = socket.socket(socket.AF_UNIX)
limit = struct.pack("ll", 0, 300000)
s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
start = time.monotonic()
try: s.connect(sys.argv[1]); print(0)
except OSError as error: print(error.errno)
print(s.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, 16) == limit, 0.25 < time.monotonic() - start < 2.5)
"""


def test_full_backlog_ends_with_the_programs_own_limit(path):
    """The kernel waits for room as long as SO_SNDTIMEO says, so EAGAIN comes when the operation's time is up."""
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as first:
        server.bind(str(path))
        server.listen(0)
        first.connect(str(path))
        without, result = [run(python(LIMITED, path), shim=shim) for shim in (False, True)]
    assert without.stdout == result.stdout == f"{errno.EAGAIN}\nTrue True\n".encode()
    (entry,) = events(result)
    assert (entry["event"], entry["reason"], entry["attempt"]) == ("given_up", "deadline", 1)


def test_datagram_sockets_are_untouched(path):
    code = CONNECT.replace("AF_UNIX)", "AF_UNIX, socket.SOCK_DGRAM)")
    result = run(python(code, path), unix="all", base_delay_ms=SLOW)
    assert result.stdout == f"{errno.ENOENT}\n".encode() and result.seconds < SOON and events(result) == []
