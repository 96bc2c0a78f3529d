"""Diagnostics never reach a file that is not theirs, and never stop or end the program."""

import contextlib
import os
import stat

import pytest
from harness import FaultServer, need, run
from hosts import SLOW, Host, LatePort, compiled, run_host, said

QUICK = {"max_attempts": 3, "base_delay_ms": 1}
TO_STDERR = {**QUICK, "diag_file": None}


@contextlib.contextmanager
def pipe_end(reader=True):
    """The writing end of a pipe; with a reader it is full, without one it is broken."""
    read, write = os.pipe()
    if reader:
        os.set_blocking(write, False)
        with contextlib.suppress(BlockingIOError):
            while os.write(write, b"x" * 4096):
                pass
        os.set_blocking(write, True)
    else:
        os.close(read)
    yield write
    os.close(write)
    if reader:
        os.close(read)


@pytest.mark.parametrize("format", ["text", "json"])
def test_socket_in_place_of_standard_error(format):
    with LatePort() as port:
        told, result = run_host("streams", "socket", port.number, **TO_STDERR, diag_format=format)
    assert told == {"connect": "ECONNREFUSED", "descriptors_changed": "0", "socket_got": "nothing"}
    assert result.stderr == b""


def test_file_in_place_of_standard_error():
    with LatePort() as port:
        told, _ = run_host("streams", "file", port.number, "file", **TO_STDERR)
    assert told == {"connect": "ECONNREFUSED", "descriptors_changed": "0", "file_bytes": "0"}


def test_connecting_socket_is_descriptor_2():
    """Recovered on a socket that took the place of standard error: nothing is written into the connection."""
    shell = [need("sh"), "-c", 'exec "$0" closed "$1" 2>&-', compiled("streams")]
    with LatePort() as port, Host(None, *shell[1:], port.number, program=shell[0], **SLOW) as host:
        host.wait_event("attempt_failed")
        with port.open("dialog=hello|bye") as server:
            assert host.finish() == {"socket": "2", "connect": "ok"}
            assert len(server.wait("accept", 1)) == 1 and server.lines() == []
        assert host.events()[-1]["event"] == "succeeded"
    with FaultServer("dialog=hello|bye", open_after="400ms") as server:
        result = run([*shell, server.port], **{**SLOW, "base_delay_ms": 100, "diag_file": None})
        assert said(result.stdout) == {"socket": "2", "connect": "ok"}
        assert len(server.wait("accept", 1)) == 1 and server.lines() == []


def test_pipe_without_a_reader():
    with pipe_end(reader=False) as end, LatePort() as port, \
            Host("streams", "once", port.number, stderr=end, **TO_STDERR) as host:
        assert host.finish() == {"connect": "ECONNREFUSED", "descriptors_changed": "0"}


def test_broken_pipe_signal_is_neither_raised_nor_swallowed():
    with pipe_end(reader=False) as end, LatePort() as port, \
            Host("streams", "pipe-signal", port.number, stderr=end, **TO_STDERR) as host:
        assert host.finish() == {"connect": "ECONNREFUSED", "descriptors_changed": "0", "handled": "0", "pending": "kept"}


def test_full_pipe():
    with pipe_end() as end, LatePort() as port, Host("streams", "once", port.number, stderr=end, **TO_STDERR) as host:
        assert host.finish(timeout=10) == {"connect": "ECONNREFUSED", "descriptors_changed": "0"}


@pytest.mark.parametrize("diag", [0, None])
def test_standard_error_is_untouched_without_diagnostics(diag):
    env = {"RETRY_HTTP_STATUS": "not a status"}
    with LatePort() as port:
        told, result = run_host("streams", "once", port.number, env=env, **{**TO_STDERR, "diag": diag})
    assert told["connect"] == "ECONNREFUSED" and result.stderr == b""


@contextlib.contextmanager
def unusable_sink(kind, folder):
    paths = {"fifo": folder / "fifo", "directory": folder, "missing": folder / "no" / "file", "full": "/dev/full",
             "too long": "x" * 5000}
    if kind == "fifo":
        os.mkfifo(paths[kind])
    yield str(paths[kind])


@pytest.mark.parametrize("kind", ["fifo", "directory", "missing", "full", "too long"])
def test_unusable_diagnostics_file(kind, tmp_path):
    """Named once on standard error; the program recovers all the same."""
    with unusable_sink(kind, tmp_path) as path, LatePort() as port, \
            Host("streams", "once", port.number, **{**SLOW, "diag_file": path}) as host:
        complaint = host.process.stderr.readline().decode()
        assert "RETRY_DIAG_FILE" in complaint and "cannot be written" in complaint and len(complaint) <= 1024
        with port.open() as server:
            assert host.finish() == {"connect": "ok", "descriptors_changed": "0"}
            assert len(server.wait("accept", 1)) == 1
        assert host.stderr == b""
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_unusable_diagnostics_folder():
    with LatePort() as port:
        told, result = run_host("streams", "once", port.number, **TO_STDERR, diag_dir="/nonexistent")
    assert told == {"connect": "ECONNREFUSED", "descriptors_changed": "0"}
    assert result.stderr.count(b"\n") == 1 and b"RETRY_DIAG_DIR" in result.stderr
