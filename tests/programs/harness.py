"""Servers that fail on purpose, and programs that run with or without the preload.

    with FaultServer(["reset", "503", "200"]) as server:
        result = run(["curl", "-sS", server.url + "/x"], max_attempts=4)
    assert result.stdout == b"ok\\n"
    assert [r["step"] for r in server.requests()] == ["503", "200"]
    assert [e["event"] for e in events(result)][-1] == "succeeded"

Temporary folders and processes made here end here.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get("RETRYSHIM_BUILD", "build")
SHIM = BUILD / "libretryshim.so"
SERVER = BUILD / "tests" / "faultserver"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Fast and exact, private to each process; a test overrides what it is about.
RETRY_DEFAULTS = {"state": "off", "base_delay_ms": 50, "jitter": "none", "diag": 1, "diag_format": "json"}


def need(program):
    """Path of a program; the test fails, and never skips, without it."""
    path = shutil.which(str(program), path=PATH)
    return path or pytest.fail(f"missing program: {program}", pytrace=False)


def built(path):
    """`path` of something that make builds, as text; the test fails without it."""
    if not Path(path).is_file():
        pytest.fail(f"not built: {path} (RETRYSHIM_BUILD names the folder)", pytrace=False)
    return str(path)


def wait_until(condition, timeout=10, what="the condition"):
    """The first true value of condition(), asked for at most `timeout` seconds; then AssertionError."""
    end = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < end, f"{what}: not within {timeout} s"
        time.sleep(0.01)
    return value


class FaultServer:
    """A running faultserver, listening (unless open_after) once constructed; end it by `with` or close().

    steps: one step or a list. options: those of the command line, e.g. open_after="500ms", bind="::1",
    unix=PATH, port=8080. The server also dies with the thread that made it.
    """

    def __init__(self, steps, **options):
        self.folder = tempfile.TemporaryDirectory(prefix="faultserver-")
        self.log_path = Path(options.pop("log", Path(self.folder.name, "log")))
        self.address, self.port, self.unix = None, None, options.get("unix")
        argv = [built(SERVER), "--log", str(self.log_path)]
        argv += [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        argv += ["--"] + ([steps] if isinstance(steps, str) else [str(step) for step in steps])
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.complaint = ""
        told = self.process.stdout.readline().split()
        if not told:
            status = self.close()
            raise RuntimeError(f"faultserver ended with {status}: {self.complaint}")
        if not self.unix:
            self.address, self.port = told[1], int(told[2])

    @property
    def authority(self):
        """HOST:PORT, for URLs and RETRY_HOSTS."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @property
    def url(self):
        """http://HOST:PORT, without a path."""
        return f"http://{self.authority}"

    def log(self, event=None):
        """The log so far: all objects, or those of one event."""
        text = self.log_path.read_text() if self.log_path.exists() else ""
        entries = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return [entry for entry in entries if event in (None, entry["event"])]

    def requests(self):
        return self.log("request")

    def accepts(self):
        return self.log("accept")

    def lines(self):
        """Texts that clients sent in dialogues."""
        return [entry["text"] for entry in self.log("line")]

    def wait(self, event, count=1, timeout=10):
        """The log's objects of one event, as soon as there are `count`."""
        def enough():
            entries = self.log(event)
            return entries if len(entries) >= count else None

        return wait_until(enough, timeout, f"{count} x {event}")

    def close(self):
        """Ends the server; returns its exit status. The log can no longer be read."""
        if self.process.returncode is None:
            self.process.terminate()
            try:
                self.complaint = self.process.communicate(timeout=10)[1]
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.complaint = self.process.communicate()[1]
        self.folder.cleanup()
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        status = self.close()
        # A server that crashed, or that a sanitizer complains of, proves nothing about its clients.
        assert kind or (status == 0 and not self.complaint), f"faultserver: status {status}, {self.complaint}"


@dataclass
class Result:
    argv: list
    returncode: int  # negative: the signal
    stdout: bytes
    stderr: bytes
    seconds: float
    diag: bytes  # what the shim wrote to RETRY_DIAG_FILE


def environment(home, shim=True, env=None, **retry):
    """A clean environment. retry: max_attempts=3 becomes RETRY_MAX_ATTEMPTS=3. None removes a variable."""
    settings = {**RETRY_DEFAULTS, "diag_file": Path(home, "diag"), **retry}
    variables = {"PATH": PATH, "HOME": str(home), "LANG": "C.UTF-8"}
    if shim:
        variables["LD_PRELOAD"] = built(SHIM)
    variables.update({f"RETRY_{name.upper()}": value for name, value in settings.items()})
    variables.update(env or {})
    return {name: str(value) for name, value in variables.items() if value is not None}


def run(argv, shim=True, env=None, stdin=None, timeout=60, cwd=None, **retry):
    """Runs a program to its end, in a temporary home that is also its folder unless `cwd` is given.

    stdin: bytes, or None for /dev/null. The test fails when `timeout` seconds are over; the program's
    whole process group is killed then.
    """
    with tempfile.TemporaryDirectory(prefix="home-") as home:
        variables = environment(home, shim, env, **retry)
        argv = [need(argv[0]), *map(str, argv[1:])]
        start = time.monotonic()
        process = subprocess.Popen(argv, env=variables, cwd=cwd or home, start_new_session=True,
                                   stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            stdout, stderr = process.communicate(stdin, timeout)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            stdout, stderr = process.communicate()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            pytest.fail(f"{argv} did not end within {timeout} s; stdout {stdout!r}, stderr {stderr!r}")
        seconds = time.monotonic() - start
        diag = Path(variables.get("RETRY_DIAG_FILE", os.devnull))
        return Result(argv, process.returncode, stdout, stderr, seconds, diag.read_bytes() if diag.is_file() else b"")


def events(result):
    """The diagnostics of a run, as objects."""
    return [json.loads(line) for line in result.diag.splitlines()]
