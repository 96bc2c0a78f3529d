"""What the tests of the shared state have in common: a state file, what `retryshim status` says of it, connects as
the kernel counts them, and clients of every kind of hook.

    def test_it(network, state):
        before = active_opens()
        with Running(BASH, state=state, **PATIENT) as program: ...
        assert active_opens() - before == 4
        assert destination(state)["circuit"] == "closed"
"""

import contextlib
import json
import socket
import subprocess
from pathlib import Path

import pytest

from curl_hosts import host
from harness import BUILD, built, environment, events
from multi_hosts import STYLES
from network import ADDRESS, PORT, instant, python, with_files
from nonblock_clients import ASYNCIO, SELECTORS, SOCKET, URL

ALIVE = 8082
LONG = 60  # seconds: a program's own limit that no test reaches
REFUSED = b"Connection refused"

# One backoff that no test waits for: who ends within SOON has been woken.
SLEEPS = {"base_delay_ms": 30000, "max_attempts": 3, "timeout_ms": 0}
# Many short ones.
LOOKS = {"base_delay_ms": 100, "multiplier": 1, "max_attempts": 100, "budget": "off"}

BASH = ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{PORT} && echo connected"]
CONNECT = python('socket.create_connection(("127.0.0.1", PORT)); print("connected")')
# One operation after the other; each one's errno, or 0.
BLOCKING = """for port in map(int, sys.argv[1:]):
    with socket.socket() as s: print(s.connect_ex(("127.0.0.1", port)))"""

# By the hook that serves them. Each asks for /late, and prints what it was answered.
CLIENTS = {
    "blocking": ["wget", "-q", "-t1", "-O-", URL],
    "poll": python(SOCKET % LONG),
    "select": python(SELECTORS),
    "epoll": python(ASYNCIO % LONG),
    "easy": ["curl", "-sS", URL],
    "multi": ["curl", "-sS", "-Z", "--no-progress-meter", URL],
}


def multi_client(style):
    """The same in one of the styles in which programs drive a multi (multi_hosts.STYLES)."""
    return [host(STYLES[style]), f"style={style}", "new", f"url={URL}", "add", "drive", "info"]


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


def active_opens():
    """How many TCP connects the kernel has begun in this network."""
    titles, values = [line.split() for line in Path("/proc/thread-self/net/snmp").read_text().splitlines()
                      if line.startswith("Tcp:")]
    return int(values[titles.index("ActiveOpens")])


def destinations(path, **retry):
    """{target: what `retryshim status` says}; retry: the environment that it reads it by, e.g. breaker_open_ms=1."""
    variables = {f"RETRY_{name.upper()}": str(value) for name, value in retry.items()}
    done = subprocess.run([built(BUILD / "retryshim"), "status", "--json", "--state", path], env=variables,
                          capture_output=True, timeout=30, check=True)
    return {each["target"]: each for each in json.loads(done.stdout)["destinations"]}


def destination(path, target=ADDRESS, **retry):
    return destinations(path, **retry)[target]


def told(result):
    """The diagnostics in a word or two each: event, reason, and whose attempt it was."""
    return [" ".join(filter(None, (entry["event"], entry.get("reason"), "shared" if entry.get("shared") else "")))
            for entry in events(result)]


def span(result, first="attempt_failed", last="succeeded"):
    """Seconds from the first event of one kind to the last of another."""
    its = events(result)
    begin = next(entry for entry in its if entry["event"] == first)
    end = next(entry for entry in reversed(its) if entry["event"] == last)
    return instant(end) - instant(begin)


class Hanging:
    """A port that refuses, then neither accepts nor refuses, then accepts."""

    def __init__(self):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1", PORT))
        self.fillers = []

    def hang(self):
        self.socket.listen(0)
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", PORT))
            self.fillers.append(filler)

    def accept(self):
        """Room for whoever tries from now on."""
        self.socket.listen(100)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for each in [self.socket, *self.fillers]:
            each.close()


def failing_lookup(code):
    """argv of a Python client whose name server does not answer."""
    return with_files(python(code), resolv_conf="nameserver 127.0.0.1\\noptions timeout:1 attempts:1\\n",
                      nsswitch_conf="hosts: files dns\\n", hosts="127.0.0.1 localhost\\n")


@contextlib.contextmanager
def shimmed(argv, **retry):
    """A program that is talked to."""
    process = subprocess.Popen(argv, env=environment("/tmp", **{**retry, "diag": 0}), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


__all__ = ["ALIVE", "BASH", "BLOCKING", "CLIENTS", "CONNECT", "Hanging", "LONG", "LOOKS", "REFUSED", "SLEEPS",
           "active_opens", "destination", "destinations", "failing_lookup", "multi_client", "shimmed", "span", "state",
           "told"]
