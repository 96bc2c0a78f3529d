"""Every errno of the table, on a non-blocking connect that fails at once: retried and told, or untouched."""

import errno

import pytest
from harness import SHIM, FaultServer, built, events, run
from hosts import GREETING, shared

RETRIED = ["ECONNREFUSED", "ETIMEDOUT", "ECONNRESET", "ECONNABORTED", "EHOSTUNREACH", "ENETUNREACH", "ENETDOWN", "EHOSTDOWN",
           "EADDRNOTAVAIL", "ENOBUFS", "ENOMEM"]
NEVER = ["EACCES", "EPERM", "EINVAL", "EAFNOSUPPORT", "EBADF", "EFAULT", "ENOTSOCK", "EADDRINUSE", "EAGAIN"]
CLIENT = """import socket, sys
s = socket.socket()
s.settimeout(20)
code = s.connect_ex(("127.0.0.1", int(sys.argv[1])))
print(code, s.recv(16).decode() if code == 0 else "")"""


def client(server, name, shim=True, **retry):
    """A client in Python with a time-out, hence non-blocking, whose first two connects fail."""
    env = {"LD_PRELOAD": ":".join([built(SHIM)] * shim + [shared("inject")]), "INJECT_COUNT": 2,
           "INJECT_ERRNO": getattr(errno, name), "INJECT_PORT": server.port}
    return run(["/usr/bin/python3", "-c", CLIENT, server.port], env=env, base_delay_ms=10, **retry)


@pytest.mark.parametrize("name", RETRIED)
def test_retried(name):
    with FaultServer(GREETING) as server:
        without = client(server, name, shim=False)
        assert without.stdout.split()[0].decode() == str(getattr(errno, name)), without
        result = client(server, name)
        assert result.stdout == b"0 hello\n", result
        assert len(server.wait("accept")) == 1
    told = events(result)
    assert [(entry["event"], entry.get("error")) for entry in told] == [("attempt_failed", name)] * 2 + [("succeeded", None)]


@pytest.mark.parametrize("name", RETRIED)
def test_the_last_one_is_the_programs(name):
    with FaultServer(GREETING) as server:
        result = client(server, name, max_attempts=2)
        assert result.stdout.split() == [str(getattr(errno, name)).encode()], result
        assert server.accepts() == []
    assert [entry["event"] for entry in events(result)] == ["attempt_failed", "exhausted"]


@pytest.mark.parametrize("name", NEVER)
def test_untouched(name):
    with FaultServer(GREETING) as server:
        without, result = client(server, name, shim=False), client(server, name)
        assert (result.stdout, result.returncode) == (without.stdout, without.returncode)
        assert server.accepts() == []
    assert "attempt_failed" not in [entry["event"] for entry in events(result)]
