"""Runs cells of the hazard matrix (matrix.c) side by side, each with a port of its own.

    with Ports(["connect", "poll"]) as ports:           # refused until opened
        cells = [Cell("fork", hook, ports[hook]) for hook in ports]
        run(cells, late=True)
    cells[0].told, cells[0].got
"""

import contextlib
import functools
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from dlopen_objects import LIBCURL, empty
from harness import SHIM, built, environment
from hosts import compiled, folder, shared

CURL = ["curl_easy_perform", "curl_multi_poll", "curl_multi_wait", "curl_multi_socket_action"]
SENDS = ["send", "sendto", "sendmsg", "write", "writev"]
RECEIVES = ["recv", "recvfrom", "recvmsg", "read", "readv", "__read_chk", "__recv_chk", "__recvfrom_chk"]
WAITS = ["poll", "ppoll", "__poll_chk", "__ppoll_chk", "select", "pselect", "epoll_wait", "epoll_pwait", "epoll_pwait2",
         "epoll_ctl", "epoll-before"]
CONNECTS = ["connect", "connect-again", "getsockopt", *WAITS, *SENDS, *RECEIVES]
HOOKS = [*CONNECTS, "getaddrinfo", "dlopen", *CURL]

# Quick, and endless for what a test waits for.
RETRY = {"base_delay_ms": 50, "multiplier": "1.0", "max_attempts": 400, "budget": "off", "breaker": "off"}


@functools.cache
def program(name):
    """matrix, or matrix-curl: the same, with libcurl's rows."""
    flags = ["-DWITH_CURL", "-lcurl"] if name == "matrix-curl" else []
    library = compiled("matrix", "-shared", "-fPIC", "-Wl,--no-as-needed", *flags, output=f"lib{name}.so")
    return compiled("matrix_main", library, f"-Wl,-rpath,{folder()}", output=name)


@functools.cache
def objects():
    """What the cells find in their folders: an object that needs libcurl, a plugin."""
    program("matrix-curl")
    place = folder() / "matrix-objects"
    place.mkdir()
    flags = ["-shared", "-fPIC", "-Wl,--no-as-needed", empty(LIBCURL), "-Wl,-rpath,$ORIGIN"]
    compiled("dlopen_plugin", *flags, output=place / "needs.so")
    shutil.copy(empty(LIBCURL), place / LIBCURL)
    shutil.copy(folder() / "libmatrix-curl.so", place / "plugin.so")
    return place


class Ports:
    """A listener a hook, which refuses until it is opened; what each of its connections sent is kept."""

    def __init__(self, hooks):
        self.selector = selectors.DefaultSelector()
        self.listeners = {hook: socket.socket() for hook in hooks}
        self.got = {hook: [] for hook in hooks}
        for listener in self.listeners.values():
            listener.bind(("127.0.0.1", 0))  # without SO_REUSEADDR nobody else gets the port before it is opened
        self.awake, self.wake = socket.socketpair()
        self.selector.register(self.awake, selectors.EVENT_READ)
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def number(self, hook):
        return self.listeners[hook].getsockname()[1]

    def open(self, hook):
        self.listeners[hook].listen()
        self.selector.register(self.listeners[hook], selectors.EVENT_READ, hook)

    def serve(self):
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is self.awake:
                    return
                if isinstance(key.data, str):
                    self.accept(key.fileobj, key.data)
                else:
                    self.receive(key.fileobj, *key.data)

    def accept(self, listener, hook):
        connection = listener.accept()[0]
        connection.setblocking(False)
        self.got[hook].append(bytearray())
        if hook not in CURL:
            connection.send(b"g")
        self.selector.register(connection, selectors.EVENT_READ, (hook, self.got[hook][-1]))

    def receive(self, connection, hook, got):
        try:
            data = connection.recv(4096)
        except ConnectionError:
            data = b""
        if data:
            got += data
            if hook in CURL and got.endswith(b"\r\n\r\n"):
                connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            return
        got += b"."  # the end
        self.selector.unregister(connection)
        connection.close()

    def settled(self, hook):
        return all(got.endswith(b".") for got in self.got[hook])

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.wake.send(b".")
        self.thread.join()
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        for listener in self.listeners.values():
            listener.close()
        self.wake.close()


def preload(place, hook, shim):
    names = ["resolver"] * (hook == "getaddrinfo") + ["nomem"] * (place == "memory")
    return ":".join([built(SHIM)] * shim + [shared(name) for name in names]) or None


class Cell:
    """One call of a hook at a place, with or without the shim; its outcome once run() has ended."""

    # Where no file can be opened the shim tells on standard error, which is the same file then.
    ON_STDERR = {"descriptors", "descriptors-threads", "sandbox", "killing-sandbox", "denied"}
    BARE = "bare"  # the place of `env -i`: main, with a bare environment
    SILENT = {BARE, "sandbox", "killing-sandbox"}  # where the shim cannot tell

    def __init__(self, place, hook, ports, shim=True, healthy=False, env=None, **retry):
        self.place, self.hook, self.ports, self.shim, self.healthy = place, hook, ports, shim, healthy
        self.home = tempfile.TemporaryDirectory(prefix="matrix-")
        self.path = Path(self.home.name)
        diag_file = None if place in self.ON_STDERR else "/diag" if place == "chroot" else self.path / "diag"
        self.settings = {**RETRY, "diag_file": diag_file, **retry}
        self.env = env or {}
        self.opened = False
        self.status = None

    def start(self):
        for name in ("needs.so", LIBCURL, "plugin.so"):
            os.link(objects() / name, self.path / name)
        name = "matrix-curl" if self.hook in CURL and self.place != "unplugged" else "matrix"
        argv = [program(name), "main" if self.place == self.BARE else self.place, self.hook, str(self.ports.number(self.hook))]
        if self.place == "closed":
            argv = ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *argv]
        own = {"LD_PRELOAD": preload(self.place, self.hook, self.shim), "RESOLVER_FAILURES": 2, **self.env}
        if self.healthy:
            own["RESOLVER_FAILURES"] = 0
        if self.place == self.BARE:
            needed = ["LD_PRELOAD"] * (own["LD_PRELOAD"] is not None) + ["RESOLVER_FAILURES"] * (self.hook == "getaddrinfo")
            env = {name: str(own[name]) for name in needed}
        else:
            env = environment(self.path, self.shim, own, **self.settings)
        with open(self.path / "out", "wb") as out, open(self.stderr_path, "ab") as err:
            self.process = subprocess.Popen(argv, env=env, cwd=self.path, start_new_session=True, stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=err)

    @property
    def stderr_path(self):
        return self.path / ("diag" if self.place in self.ON_STDERR else "err")

    def diag(self):
        with contextlib.suppress(FileNotFoundError):
            return (self.path / "diag").read_bytes()
        return b""

    def backs_off(self):
        if self.place not in self.SILENT and self.settings.get("diag") != 0:
            # Twice, since hooks differ in how they meet a second failure. Where a thread is cancelled in its backoff, it is
            # the other one that is to recover.
            diag = self.diag()
            lines = [line for line in diag[:diag.rfind(b"\n") + 1].splitlines() if b"attempt_failed" in line]
            operations = {json.loads(line)["op"] for line in lines}
            return len(lines) >= 2 and len(operations) >= (2 if self.place == "cancelled" else 1)
        # Once it has begun to call, it sleeps when it has failed, and not before.
        states = self.states()
        threads = 2 if self.place == "stack" else 1
        return b"calls=" in (self.path / "out").read_bytes() and states == ["S"] * threads

    def states(self):
        """Of its threads."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            texts = [path.read_text() for path in Path(f"/proc/{self.process.pid}/task").glob("*/stat")]
            return [text.rpartition(")")[2].split()[0] for text in texts]
        return []

    def open(self):
        if not self.opened and self.hook not in ("getaddrinfo", "dlopen"):
            self.ports.open(self.hook)
        self.opened = True

    def ended(self):
        self.status = self.process.poll()
        return self.status is not None

    def collect(self):
        self.told = (self.path / ("told" if self.place == "closed" else "out")).read_text().splitlines()
        self.noise = b"" if self.place in self.ON_STDERR else self.stderr_path.read_bytes()
        if self.place == "closed":
            self.noise += (self.path / "out").read_bytes()
        # A line that is none of an event's is a stray one.
        lines = self.diag().splitlines()
        self.events = [json.loads(line)["event"] for line in lines if line.startswith(b"{")]
        self.noise += b"\n".join(line for line in lines if not line.startswith(b"{"))
        self.got = [bytes(got) for got in self.ports.got[self.hook]]
        self.home.cleanup()

    def end(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.status = "hangs"
        self.process.wait()


def run(cells, late, timeout=60):
    """Runs the cells to their ends. late: each port opens once its cell has failed."""
    running = []

    def look():
        for cell in running:
            if late and not cell.opened and cell.process.poll() is None and cell.backs_off():
                cell.open()
        running[:] = [cell for cell in running if not cell.ended() or not cell.ports.settled(cell.hook)]

    for cell in cells:
        if cell.healthy:
            cell.open()
        cell.start()
        running.append(cell)
        look()
    end = time.monotonic() + timeout
    while running and time.monotonic() < end:
        look()
        time.sleep(0.01)
    for cell in cells:
        cell.end()
        cell.collect()
    return cells
