"""Compiles the host programs of this folder, and runs them while a test watches.

    with LatePort() as port, Host("signals", "once", port.number) as host:
        host.wait_event("attempt_failed")
        with port.open() as server:
            assert host.finish()["connect"] == "ok"
"""

import atexit
import functools
import os
import shlex
import signal
import socket
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness import ROOT, FaultServer, environment, events, need, run, wait_until

HERE = Path(__file__).resolve().parent
WARNINGS = "-Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Werror".split()
GREETING = "greet=hello"

# A backoff long enough for a test to act in it, however busy the machine is.
SLOW = {"base_delay_ms": 400, "multiplier": "1.0", "max_attempts": 30, "budget": "off"}
# One that nobody waits for the end of.
ENDLESS = {"base_delay_ms": 3600000, "max_delay_ms": 3600000, "timeout_ms": 0}


@functools.cache
def folder():
    """Lives as long as the test session."""
    made = tempfile.TemporaryDirectory(prefix="hazards-")
    atexit.register(made.cleanup)
    return Path(made.name)


@functools.cache
def compiled(name, *flags, output=None, compiler=None):
    """Path of the program (or, with -shared, the object) made from NAME.c."""
    compiler = shlex.split(compiler or os.environ.get("CC") or "cc")
    target = folder() / (output or name)
    argv = [need(compiler[0]), *compiler[1:], "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-g", *WARNINGS,
            "-o", target, HERE / f"{name}.c", *flags, "-pthread"]
    made = subprocess.run(list(map(str, argv)), capture_output=True, text=True)
    if made.returncode != 0:
        pytest.fail(f"{name}.c:\n{made.stderr}", pytrace=False)
    return str(target)


@functools.cache
def sanitized_object(compiler, sanitizers):
    """Path of the object, built with these of the compiler's sanitizers from the same sources; any report is an end.

    Unoptimized: the instrumented code then compiles in a third of the time, and no access is left out of it.
    """
    target = folder() / f"libretryshim-{compiler}-{sanitizers}.so"
    work = target.with_suffix(".objects")
    work.mkdir()
    flags = [*shlex.split("-std=gnu11 -D_GNU_SOURCE -O0 -g -fPIC -fvisibility=hidden -ftls-model=initial-exec "
                          "-fno-sanitize-recover=all -Iinclude -Ishim"), f"-fsanitize={sanitizers}",
             '-DLIBRETRYSHIM_DIR="/usr/local/lib"']

    def make(output, *words):
        made = subprocess.run([need(compiler), *flags, "-o", output, *words], cwd=ROOT, capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
        return output

    sources = [path for room in ("policy", "runtime", "report", "hooks") for path in (ROOT / "shim" / room).glob("*.c")]
    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(lambda path: make(work / f"{path.parent.name}-{path.stem}.o", "-c", path), sources))
    return str(make(target, "-shared", "-Wl,--version-script=shim/libretryshim.map", *objects))


def library(name):
    """Path of an installed library, whatever the architecture's folder."""
    found = sorted(Path("/usr/lib").glob(f"*/{name}"))
    return str(found[0]) if found else pytest.fail(f"missing library: {name}", pytrace=False)


def shared(name):
    return compiled(name, "-shared", "-fPIC", output=f"{name}.so")


def said(text):
    """The `name=value` lines of a host as a dictionary; a repeated name keeps its last value."""
    return dict(line.split("=", 1) for line in text.decode().splitlines() if "=" in line)


def run_host(name, *arguments, **options):
    """Runs a host program to its end: what it said, and the harness' result."""
    result = run([compiled(name), *arguments], **options)
    assert result.returncode == 0, result
    return said(result.stdout), result


class LatePort:
    """A port that refuses until open() puts a fault server there."""

    def __enter__(self):
        self.holder = socket.socket()
        self.holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.holder.bind(("127.0.0.1", 0))
        self.number = self.holder.getsockname()[1]
        return self

    def __exit__(self, *_):
        self.holder.close()

    def open(self, steps=GREETING):
        return FaultServer(steps, port=self.number)


class Host:
    """A host program that runs while the test acts on it."""

    def __init__(self, name, *arguments, program=None, shim=True, env=None,
                 stderr=subprocess.PIPE, **retry):
        self.home = tempfile.TemporaryDirectory(prefix="home-")
        variables = environment(self.home.name, shim, env, **retry)
        self.diag_path = Path(variables.get("RETRY_DIAG_FILE", os.devnull))
        self.process = subprocess.Popen([program or compiled(name), *map(str, arguments)], env=variables, cwd=self.home.name,
                                        start_new_session=True, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=stderr)

    @property
    def diag(self):
        text = self.diag_path.read_bytes() if self.diag_path.is_file() else b""
        return text[:text.rfind(b"\n") + 1]

    def events(self, name=None):
        return [event for event in events(self) if name in (None, event["event"])]

    def wait_event(self, name, count=1, timeout=20):
        """The events of this name, as soon as there are `count`."""
        def enough():
            ended = self.process.poll() is not None
            found = self.events(name)
            assert len(found) >= count or not ended, (self.process.communicate(), self.diag)
            return found if len(found) >= count else None

        return wait_until(enough, timeout, f"{count} x {name}")

    def wait_line(self):
        """The next line that the host says."""
        return self.process.stdout.readline().decode().rstrip("\n")

    def kill(self, number):
        self.process.send_signal(number)

    def kill_in_backoff(self, number):
        """Once it sleeps: told of a failure, it may still be on its way to the wait, where a handler ends nothing."""
        self.wait_event("attempt_failed")
        wait_until(lambda: self.state() == "S", what="sleep")
        self.kill(number)

    def state(self):
        """R, S, T ... of /proc/PID/stat."""
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def finish(self, status=0, timeout=30):
        """What it said, once it has ended with this status (negative: a signal)."""
        out, err = self.process.communicate(timeout=timeout)
        assert self.process.returncode == status, (self.process.returncode, out, err)
        self.stderr = err
        return said(out)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()
        self.home.cleanup()
