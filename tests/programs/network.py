"""A network of one's own for a test, programs that run beside it, and clients written in Python.

    def test_it(network):
        with Running(["wget", "-qO-", "http://127.0.0.1:8080/"]) as program:
            program.wait("attempt_failed")        # port 8080 refuses until here
            with FaultServer("200", port=8080):
                assert program.result().stdout == b"ok\\n"

The fixture moves the test's own thread into the new network: every server, program and socket that the
test makes is in it, with a loopback interface and nothing else, so all ports are free.
"""

import contextlib
import ctypes
import json
import os
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from harness import RETRY_DEFAULTS, FaultServer, events, need, run, wait_until

PYTHON = "/usr/bin/python3"
PORT = 8080
ADDRESS = f"127.0.0.1:{PORT}"
SLOW = 20000  # a backoff in ms that no test waits for: whoever backs off runs into a time-out
SOON = 10  # seconds in which a program that does not back off has ended, on the busiest machine

CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def checked(result, what):
    if result != 0:
        pytest.fail(f"{what}: {os.strerror(ctypes.get_errno())} (these tests need root)", pytrace=False)


def ip(*arguments):
    """Runs ip(8), split at blanks, in the test's network."""
    subprocess.run([need("ip"), *" ".join(arguments).split()], check=True, timeout=20)


def sysctl(name, value):
    Path("/proc/sys/net", name).write_text(f"{value}\n")


@pytest.fixture
def network():
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        checked(libc.unshare(CLONE_NEWNET), "unshare")
        try:
            ip("link set lo up")
            # Without this, ::1 is unusable for the first moments.
            wait_until(lambda: "tentative" not in subprocess.check_output([need("ip"), "addr"], text=True))
            yield
        finally:
            checked(libc.setns(before, CLONE_NEWNET), "setns")
    finally:
        os.close(before)


def with_files(argv, **files):
    """argv under a mount namespace in which each file of /etc (name with _ for .) has another content.

    The wrapper is sh(1): it writes the files to a temporary file system of its own.
    """
    script = "d=$(mktemp -d) && mount -t tmpfs none $d && "
    for name, content in files.items():
        name = name.replace("_", ".")
        script += f"printf '%b' '{content}' >$d/{name} && mount --bind $d/{name} /etc/{name} && "
    script += 'umount -l $d && rmdir $d && exec "$@"'
    return ["unshare", "--mount", "--propagation=private", "sh", "-c", script, "sh", *argv]


class Running:
    """run() in a thread, so that the test can act when the program has reported an event."""

    def __init__(self, argv, **options):
        self.folder = tempfile.TemporaryDirectory(prefix="running-")
        self.diag = Path(options.setdefault("diag_file", Path(self.folder.name, "diag")))
        self.pool = ThreadPoolExecutor(1)
        self.future = self.pool.submit(run, argv, **options)

    def events(self, event=None):
        lines = self.diag.read_text().splitlines() if self.diag.exists() else []
        return [entry for entry in map(json.loads, lines) if event in (None, entry["event"])]

    def wait(self, event, count=1):
        """Its events of this kind, as soon as there are `count`; fails if the program ends before."""
        def enough():
            ended = self.future.done()
            found = self.events(event)
            assert len(found) >= count or not ended, f"{self.future.result()} without {count} x {event}"
            return found if len(found) >= count else None
        return wait_until(enough, 20, event)

    def result(self):
        return self.future.result()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pool.shutdown()
        self.folder.cleanup()


@contextlib.contextmanager
def late_server(program, steps="200", **options):
    """A server that opens when the program has told of its first failed attempt."""
    program.wait("attempt_failed")
    with FaultServer(steps, **{"port": PORT, **options}) as server:
        server.opened = time.time()
        yield server


def instant(entry):
    """The time of a diagnostic, in seconds since 1970."""
    return datetime.fromisoformat(entry["ts"].replace("Z", "+00:00")).timestamp()


def recovers(argv, steps="200", accepts=1, server=None, **options):
    """Runs argv with the port opening late; returns its Result and what the server logged.

    Checks what must hold for any program: one connection made, no earlier than promised, and told so.
    """
    options = {"base_delay_ms": 200, "multiplier": 1.0, "max_attempts": 100, **options}
    with Running(argv, **options) as program, late_server(program, steps, **(server or {})) as late:
        result = program.result()
        late.wait("accept", accepts)
        log = late.log()
        opened = late.opened
    told = events(result)
    failed = [entry for entry in told if entry["event"] == "attempt_failed"]
    assert [entry["event"] for entry in told] == ["attempt_failed"] * len(failed) + ["succeeded"], told
    accepted = [entry for entry in log if entry["event"] == "accept"]
    assert len(accepted) == accepts, log
    # A failure is told a moment after its backoff has begun: counted from the operation's start it is no moment too early.
    waited = int(options["base_delay_ms"]) * len(failed)
    assert told[-1]["elapsed_ms"] >= waited
    assert opened + accepted[0]["t_ms"] / 1000 >= instant(told[0]) + (waited - told[0]["elapsed_ms"] - 2) / 1000
    return result, log


def python(code, *arguments):
    """argv of a Python client; `socket`, `sys`, `os`, `time` and `PORT` are there already."""
    return [PYTHON, "-c", f"import os, socket, sys, time\nPORT = {PORT}\n{code}", *arguments]


def traced(argv, calls, log, *options):
    """argv under strace, which writes the named system calls to the file `log`."""
    return ["strace", "-f", "-qq", "-s", "2048", "-o", log, "-e", f"trace={calls}", *options, *argv]


def attempts(result):
    """How many attempts each operation of a run made, in the order of their first failure."""
    counts = {}
    for entry in events(result):
        if "op" in entry:
            counts[entry["op"]] = max(counts.get(entry["op"], 0), entry["attempt"])
    return list(counts.values())


assert RETRY_DEFAULTS["diag_format"] == "json"  # what Running and recovers() read
