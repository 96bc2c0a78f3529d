"""Where diagnostics go, and where they must not: sinks, broken sinks, and programs that close descriptor 2."""

import errno
import json
import os
import re
import subprocess

import pytest

from harness import environment, events, run
from network import PORT, SOON, network, python, traced  # noqa: F401

pytestmark = pytest.mark.usefixtures("network")

# Prints its process id, and the errno of a connect() that fails.
CLIENT = """print(os.getpid())
try: socket.socket().connect(("127.0.0.1", PORT))
except OSError as error: print(error.errno)"""
QUICK = {"max_attempts": 3, "base_delay_ms": 1}
EVENTS = ["attempt_failed", "attempt_failed", "exhausted"]


def outcome(result):
    """What the program itself did: its exit status, and what it printed after its process id."""
    return result.returncode, result.stdout.split()[1:]


FAILED = (0, [b"%d" % errno.ECONNREFUSED])


def events_of(text):
    return [json.loads(line)["event"] for line in text.splitlines()]


def test_standard_error_is_the_default():
    result = run(python(CLIENT), diag_file=None, **QUICK)
    assert outcome(result) == FAILED and events_of(result.stderr) == EVENTS


def test_file_is_appended_to(tmp_path):
    file = tmp_path / "log"
    file.write_text("before\n")
    for _ in range(2):
        result = run(python(CLIENT), diag_file=file, **QUICK)
        assert result.stderr == b""
    before, *rest = file.read_bytes().splitlines()
    assert before == b"before" and events_of(b"\n".join(rest)) == EVENTS * 2


def test_file_for_each_process(tmp_path):
    """Also for a child that a fork makes; %p may stand more than once."""
    code = f"child = os.fork()\nif child: os.waitpid(child, 0)\n{CLIENT}"
    result = run(python(code), diag_file=tmp_path / "%p.%p", **QUICK)
    pids = result.stdout.split()[::2]
    assert len(pids) == 2
    assert {file.name for file in tmp_path.iterdir()} == {f"{pid.decode()}.{pid.decode()}" for pid in pids}
    for file in tmp_path.iterdir():
        told = [json.loads(line) for line in file.read_text().splitlines()]
        assert [entry["event"] for entry in told] == EVENTS
        assert {f"{entry['pid']}.{entry['pid']}" for entry in told} == {file.name}


@pytest.mark.parametrize("operation, name", [(None, "connect"), ("a/../b c", "a____b_c"), ("ü" * 500, "_+")],
                         ids=["hook", "path", "long"])
def test_directory_has_a_file_an_event(tmp_path, operation, name):
    result = run(python(CLIENT), diag_file=None, diag_dir=tmp_path, operation=operation, **QUICK)
    files = sorted(tmp_path.iterdir())
    assert outcome(result) == FAILED and result.stderr == b""
    for file in files:
        assert re.fullmatch(rf"\d{{8}}T\d{{6}}\.\d{{6}}Z_retry_{name}\.txt", file.name)
    assert [events_of(file.read_bytes()) for file in files] == [[event] for event in EVENTS]


def test_file_and_directory_together(tmp_path):
    result = run(python(CLIENT), diag_dir=tmp_path, **QUICK)
    assert [entry["event"] for entry in events(result)] == EVENTS and result.stderr == b""
    assert len(list(tmp_path.iterdir())) == 3


def test_directory_with_many_at_once(tmp_path):
    code = """import threading
def client():
    try: socket.socket().connect(("127.0.0.1", PORT))
    except OSError: pass
for turn in range(20): threading.Thread(target=client).start()"""
    run(python(code), diag_file=None, diag_dir=tmp_path, budget="off", breaker="off", **QUICK)
    files = list(tmp_path.iterdir())
    assert len(files) == 60 and {file.read_bytes().count(b"\n") for file in files} == {1}


# ---- broken sinks -------------------------------------------------------------------------------


@pytest.mark.parametrize("variable, value, symbol", [
    ("diag_file", "/nowhere/log", "ENOENT"), ("diag_file", "/", "EISDIR"), ("diag_file", "/dev/full", "ENOSPC"),
    ("diag_file", "fifo", "ENXIO"), ("diag_dir", "/nowhere", "ENOENT"), ("diag_dir", "/dev/null", "ENOTDIR"),
    ("diag_dir", "/" + "x" * 500, "ENAMETOOLONG"), ("diag_dir", "/" + "x" * 5000, "ENAMETOOLONG"),
], ids=lambda value: value[:20])
def test_broken_sink_is_named_once(variable, value, symbol, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    settings = {"diag_file": None, variable: value}
    result = run(python(CLIENT), cwd=tmp_path, **settings, **QUICK)
    assert outcome(result) == FAILED and result.seconds < SOON
    (line,) = result.stderr.decode().splitlines()
    start = f"retryshim[{int(result.stdout.split()[0])}] RETRY_{variable.upper()}={value}"
    assert line.startswith(start[:250]) and len(line) < 1024
    assert line.endswith(f" cannot be written ({symbol}); its diagnostics are lost.")
    assert len(value) > 250 or line == f"{start} cannot be written ({symbol}); its diagnostics are lost."


def test_broken_sink_does_not_silence_the_other():
    result = run(python(CLIENT), diag_dir="/nowhere", **QUICK)
    assert [entry["event"] for entry in events(result)] == EVENTS
    assert result.stderr.count(b"\n") == 1 and b"RETRY_DIAG_DIR=/nowhere" in result.stderr


def client_with_stderr(stderr, home, code=CLIENT):
    """(exit status, stdout) of the client with `stderr`, which the shim may write to."""
    env = environment(home, diag_file=None, **QUICK)
    done = subprocess.run(python(code), env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr,
                          timeout=60, check=False)
    return done.returncode, done.stdout.split()[1:]


def test_standard_error_without_a_reader(tmp_path):
    """A program that would die of SIGPIPE does not die of ours."""
    reader, writer = os.pipe()
    os.close(reader)
    code = f"import signal; signal.signal(signal.SIGPIPE, signal.SIG_DFL)\n{CLIENT}"
    assert client_with_stderr(writer, tmp_path, code) == FAILED
    os.close(writer)


def test_standard_error_that_is_full(tmp_path):
    """Nobody reads; lines are lost, the program is not stopped."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writer, bytes(65536))
    os.set_blocking(writer, True)
    assert client_with_stderr(writer, tmp_path) == FAILED
    os.close(writer)
    os.close(reader)


# ---- descriptor 2 -------------------------------------------------------------------------------

REPLACED = f"""mine, other = socket.socketpair()
os.dup2(mine.fileno(), 2)
{CLIENT}
other.setblocking(False)
try: print(other.recv(100))
except BlockingIOError: print("nothing")"""


@pytest.mark.parametrize("closed", ["", "2>&-"], ids=["replaced", "closed-at-start"])
@pytest.mark.parametrize("settings", [{"diag_file": None}, {"diag_file": "/nowhere/log"}], ids=["stderr", "broken-file"])
def test_socket_in_the_place_of_standard_error_gets_nothing(settings, closed):
    result = run(["sh", "-c", f'exec "$@" {closed}', "sh", *python(REPLACED)], **settings, **QUICK)
    assert outcome(result) == (0, [b"%d" % errno.ECONNREFUSED, b"nothing"]) and result.stderr == b""


def test_standard_error_that_was_only_duplicated_is_used():
    result = run(python(f"os.dup2(os.dup(2), 2)\n{CLIENT}"), diag_file=None, **QUICK)
    assert events_of(result.stderr) == EVENTS


# ---- silence, and one write an event ------------------------------------------------------------


@pytest.mark.parametrize("diag", [None, 0, "", "off"])
def test_not_a_byte_without_diag(diag, tmp_path):
    """Not a file is made, nothing is written anywhere: not about bad values, not about sinks."""
    trace, files = tmp_path / "trace", tmp_path / "files"
    files.mkdir()
    argv = traced(python(CLIENT), "write,open,openat,sendto,sendmsg", trace)
    result = run(argv, diag=diag, diag_file=files / "log", diag_dir=files, timeout_ms="bad", jitter="bad", **QUICK)
    assert outcome(result) == FAILED and result.stderr == b"" and list(files.iterdir()) == []
    calls = trace.read_text()
    assert str(files) not in calls and "retryshim[" not in calls
    writes = [line for line in calls.splitlines() if " write(" in line]
    assert writes and all(" write(1," in line for line in writes)


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("sink", ["stderr", "file", "directory"])
def test_one_write_an_event_of_a_kilobyte_at_most(sink, form, tmp_path):
    trace, files = tmp_path / "trace", tmp_path / "files"
    files.mkdir()
    settings = {"stderr": {"diag_file": None}, "file": {}, "directory": {"diag_file": None, "diag_dir": files}}[sink]
    result = run(traced(python(CLIENT), "write", trace), diag_format=form, operation="x" * 3000, **settings, **QUICK)
    assert outcome(result) == FAILED
    calls = [line.split(" ", 1)[1] for line in trace.read_text().splitlines() if "write(" in line]
    ours = [call for call in calls if not call.lstrip().startswith("write(1,")]
    sizes = [int(call.rsplit("= ", 1)[1]) for call in ours]
    assert len(ours) == 3 and max(sizes) <= 1024
    told = {"stderr": result.stderr, "file": result.diag,
            "directory": b"".join(file.read_bytes() for file in sorted(files.iterdir()))}[sink]
    assert len(told) == sum(sizes) and told.count(b"\n") == 3 and told.endswith(b"\n")
    if form == "json":
        assert events_of(told) == EVENTS
