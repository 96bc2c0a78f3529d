"""What the curl tests share: the C hosts compiled once a session, and short words for what a server saw."""

import atexit
import contextlib
import functools
import os
import shlex
import socket
import subprocess
import tempfile
import threading
import zlib
from pathlib import Path

import harness
from harness import events, run

SOURCES = Path(__file__).resolve().parent / "curl_hosts"
FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-DCURL_DISABLE_DEPRECATION", "-O1", "-g", "-Wall", "-Wextra", "-Werror"]


@functools.cache
def folder():
    """Where the hosts are built; it ends with the session."""
    place = tempfile.TemporaryDirectory(prefix="curl-hosts-")
    atexit.register(place.cleanup)
    return Path(place.name)


def compile_c(name, *arguments, source=None, libraries=("-lcurl", "-pthread")):
    """Compiles curl_hosts/SOURCE.c to a file called `name`; returns its path."""
    output = folder() / name
    compiler = shlex.split(os.environ.get("CC", "cc"))
    done = subprocess.run([*compiler, *FLAGS, *arguments, "-o", output, SOURCES / f"{source or name}.c", *libraries],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return output


@functools.cache
def host(name):
    return compile_c(name)


def crc32(data):
    return f"{zlib.crc32(data):08x}"


def steps(server):
    return [entry["step"] for entry in server.requests()]


def methods(server):
    return [entry["method"] for entry in server.requests()]


def digests(server):
    """Of the bodies that arrived whole, or not: (CRC-32, length)."""
    return [(entry["body_crc32"], entry["body_len"]) for entry in server.requests()]


def gaps_ms(server):
    """Time between one request and the next."""
    times = [entry["t_ms"] for entry in server.requests()]
    return [later - earlier for earlier, later in zip(times, times[1:])]


def names(result):
    """What the shim told, in a word or two an event."""
    return [" ".join(filter(None, (entry["event"], entry.get("reason")))) for entry in events(result)]


def curl(*arguments, **options):
    """curl as scripts use it; its environment and limits as harness.run()."""
    return run(["curl", "-sS", *arguments], **options)


def session(*commands, **options):
    """The host that obeys a list of commands (curl_hosts/session.c)."""
    return run([host("session"), *commands], **options)


# For tests that look for what a session leaves behind: every way of failing, and of using a handle.
EVENTFUL = ["503,close=1", "reset-after", "partial-header,reset=1", "302,header=Location: /next", "503,size=100000",
            "302,header=Location: /next", "200", "503,size=600000", "404", "empty", "200", "503"]


def eventful(url):
    """Commands for a server of these steps; the fourth of six performs ends with 22."""
    return ["new", f"url={url}", "headers", "header", "debug", "follow", "progress", "progress=0",
            "perform", "perform", "dup=1", "own", "use=0", "cleanup", "use=1", "perform", "renew",
            f"url={url}", "fail", "perform", "reset", f"url={url}", "multi", "perform"]


def lines(result):
    """What a host printed, a line an item; it must have ended well."""
    assert result.returncode == 0, (result.returncode, result.stdout, result.stderr)
    return result.stdout.decode().splitlines()


def pattern(size):
    """The body that the fault server's size=N makes."""
    return b"".join(b"%015d\n" % number for number in range(size // 16 + 1))[:size]


@contextlib.contextmanager
def raw_server(*answers):
    """Gives each connection the next of these bytes, the last one for ever, once a request's header block
    has come; then closes. Yields (URL, list of the requests' header blocks)."""
    seen, listener = [], socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                client, _ = listener.accept()
                with client, contextlib.suppress(OSError):
                    block = b""
                    while b"\r\n\r\n" not in block and (piece := client.recv(65536)):
                        block += piece
                    seen.append(block)
                    client.sendall(answers[min(len(seen), len(answers)) - 1])

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(20)


__all__ = ["harness", "compile_c", "crc32", "curl", "digests", "events", "folder", "gaps_ms", "host", "lines",
           "methods", "names", "pattern", "raw_server", "run", "session", "steps"]
