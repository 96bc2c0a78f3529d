"""A process that is denied system calls or descriptors gets its error, neither a crash nor a storm."""

import contextlib
import re
import socket

import pytest
from harness import SHIM, built
from hosts import SLOW, Host, LatePort, run_host, shared

# How many of 3 attempts reach the C library where one call is denied.
DENIED = {
    "fstat": 1, "getsockopt": 1, "fcntl": 1,  # the socket cannot be looked at: not ours
    "getrandom": 3, "openat": 3, "futex": 3, "rt_sigaction": 3, "rt_sigprocmask": 3, "rt_sigpending": 3, "ppoll": 3,
    "getpid": 3, "clock_nanosleep": 3,  # a futex and a sleep stand in for each other
    "all": 1,  # without a backoff no second attempt
}


def sandboxed(*arguments, **options):
    env = {"LD_PRELOAD": f"{built(SHIM)}:{shared('tally')}"}
    with LatePort() as port:
        name, *rest = arguments
        return run_host("sandbox", name, port.number, *rest, env=env, max_attempts=3, **{"base_delay_ms": 1, **options})


@pytest.mark.parametrize("sink", ["file", "stderr"])
@pytest.mark.parametrize("call", DENIED)
def test_denied_call(call, sink):
    told, _ = sandboxed("denied", call, **({} if sink == "file" else {"diag_file": None}))
    assert told == {"started": "yes", "connect": "ECONNREFUSED", "connects": str(DENIED[call])}


def test_denied_rest():
    """The second backoff begins within the rest that follows the first one's sleep."""
    assert sandboxed("denied", "clock_nanosleep", base_delay_ms=4)[0]["connects"] == "3"


# What each of the sinks still gets of three counts.
WITHOUT = {"sendto": {"emf": 3, "prom": 3, "statsd": 0}, "process_vm_readv": {"emf": 3, "prom": 3, "statsd": 3},
           "openat": {"emf": 0, "prom": 0, "statsd": 3}}


@pytest.mark.parametrize("call", WITHOUT)
def test_metrics_do_without_a_denied_call(call, tmp_path):
    with socket.socket(type=socket.SOCK_DGRAM) as statsd:
        statsd.bind(("127.0.0.1", 0))
        statsd.settimeout(0)
        told, _ = sandboxed("denied", call, state=tmp_path / "state", metrics=f"emf:{tmp_path}/emf,prom:{tmp_path}/r.prom,statsd://127.0.0.1:{statsd.getsockname()[1]}")
        assert (told["connect"], told["connects"]) == ("ECONNREFUSED", "3")
        got = {"emf": 0, "prom": 0, "statsd": 0}
        with contextlib.suppress(BlockingIOError):
            while statsd.recv(2000):
                got["statsd"] += 1
    if (tmp_path / "emf").exists():
        got["emf"] = len((tmp_path / "emf").read_bytes().splitlines())
    if (tmp_path / "r.prom").exists():
        lines = (tmp_path / "r.prom").read_text().splitlines()
        got["prom"] = sum(int(line.split()[-1]) for line in lines if re.match("retryshim_(retries|exhausted)_total{", line))
    assert got == WITHOUT[call]
    assert not (tmp_path / "r.prom.tmp").exists()


@pytest.mark.parametrize("call", ["openat", "rt_sigaction", "ppoll", "clock_nanosleep"])
def test_trapped_call(call):
    """The handler of SIGSYS runs even while the shim holds signals back."""
    told, _ = sandboxed("trap", call)
    assert told["connect"] == "ECONNREFUSED" and int(told["connects"]) <= 3


def test_no_descriptor_is_free():
    told, result = sandboxed("no-descriptors")
    assert told == {"connect": "ECONNREFUSED", "connects": "3", "descriptors_changed": "0"}
    assert result.stderr.count(b"\n") == 1 and b"EMFILE" in result.stderr


def test_recovery_without_a_free_descriptor():
    with LatePort() as port, Host("sandbox", "no-descriptors", port.number, **{**SLOW, "diag_file": None}) as host:
        assert b"attempt_failed" in host.process.stderr.readline()
        with port.open() as server:
            told = host.finish()
            assert (told["connect"], told["descriptors_changed"]) == ("ok", "0")
            assert len(server.wait("accept", 1)) == 1
