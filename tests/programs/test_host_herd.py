"""A crowd of real processes at one port: how often the kernel connects for them, how late they are, how evenly they come."""

import bisect
import contextlib
import itertools
import json
import os
import signal
import statistics
import tempfile
import threading
import time
from pathlib import Path

import pytest

from harness import FaultServer, environment, need
from host_state import BASH, REFUSED, active_opens
from network import PORT, instant, network, python  # noqa: F401
from nonblock_clients import ASYNCIO

pytestmark = pytest.mark.usefixtures("network")

CROWD = 300
# Where between two probes of the host a port opens is chance: several times, and the latenesses go together.
CLOSED_S = [3, 3.2, 3.4]
RETRY = {"base_delay_ms": 250, "jitter": "full", "seed": None}

# The greeting is an answer to those that speak HTTP.
GREETING = "greet=HTTP/1.0 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nhello"
SOCAT = ["socat", "-u", f"TCP:127.0.0.1:{PORT},connect-timeout=60", "OPEN:/dev/null"]
CURL = ["curl", "-sS", "-o", "/dev/null", f"http://127.0.0.1:{PORT}/"]
CURLS = ["curl", "-sS", "-Z", "--no-progress-meter", "-o", "/dev/null", f"http://127.0.0.1:{PORT}/"]
NETCAT = ["nc", "-w", "60", "127.0.0.1", str(PORT)]
ASYNC = python(ASYNCIO % 60)
# Of 30: 12 that block, 18 that do not; the heavy ones few.
MIXTURE = [BASH, SOCAT, NETCAT, BASH, CURL, SOCAT, BASH, NETCAT, CURLS, BASH, SOCAT, CURL, BASH, NETCAT, BASH,
           SOCAT, BASH, NETCAT, BASH, SOCAT, CURL, BASH, NETCAT, BASH, SOCAT, BASH, CURLS, NETCAT, BASH, ASYNC]


class Sampler:
    """The kernel's count of connects, each 20 ms."""

    def __init__(self):
        self.times, self.counts = [time.monotonic()], [active_opens()]
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.sample)

    def sample(self):
        while not self.ended.wait(0.02):
            self.times.append(time.monotonic())
            self.counts.append(active_opens())

    def at(self, instant_):
        """Between two samples, as if evenly."""
        after = bisect.bisect_left(self.times, instant_)
        if after in (0, len(self.times)):
            return self.counts[min(after, len(self.counts) - 1)]
        share = (instant_ - self.times[after - 1]) / (self.times[after] - self.times[after - 1])
        return self.counts[after - 1] + share * (self.counts[after] - self.counts[after - 1])

    @property
    def total(self):
        return self.counts[-1] - self.counts[0]

    def busiest(self, span_s=0.1):
        """The most connects in any time of this length."""
        ends = [now + span_s for now in self.times] + self.times
        return max(self.at(end) - self.at(end - span_s) for end in ends)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
        self.times.append(time.monotonic())
        self.counts.append(active_opens())


class Crowd:
    """Processes that are started evenly over a second, and what they told."""

    def __init__(self, commands, span_s=1.0, **retry):
        self.folder = tempfile.TemporaryDirectory(prefix="crowd-")
        self.diag, self.errors = Path(self.folder.name, "diag"), Path(self.folder.name, "stderr")
        self.pids, self.statuses = [], []
        variables = environment(self.folder.name, **{"diag_file": self.diag, "state": Path(self.folder.name, "state"), **RETRY, **retry})
        null = os.open(os.devnull, os.O_RDWR)
        errors = os.open(self.errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, errors, 2)]
        start = time.monotonic()
        for number, argv in enumerate(itertools.islice(itertools.cycle(commands), CROWD)):
            time.sleep(max(0.0, start + number * span_s / CROWD - time.monotonic()))
            self.pids.append(os.posix_spawn(need(argv[0]), argv, variables, file_actions=actions))
        self.started_s = time.monotonic() - start
        self.start = start
        os.close(null)
        os.close(errors)

    def told(self, *kinds):
        lines = self.diag.read_text().splitlines(keepends=True) if self.diag.exists() else []
        return [entry for entry in map(json.loads, (line for line in lines if line.endswith("\n"))) if entry["event"] in kinds]

    def wait_for_all(self, event):
        def all_have():
            return len({entry["op"] for entry in self.told(event)}) >= CROWD
        deadline = time.monotonic() + 60
        while not all_have():
            assert time.monotonic() < deadline, f"not {event} of everybody"
            time.sleep(0.1)

    def end(self):
        """The statuses of all."""
        while self.pids:
            self.statuses.append(os.waitstatus_to_exitcode(os.waitpid(self.pids[0], 0)[1]))
            self.pids.pop(0)
        return self.statuses

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.end()
        self.folder.cleanup()


def short_outage(commands, closed_s=3.0, **retry):
    """The port opens closed_s after the start (later if somebody has not yet met it closed). What became of it."""
    with Sampler() as sampler, Crowd(commands, max_attempts=10, **retry) as crowd:
        crowd.wait_for_all("attempt_failed")
        time.sleep(max(0.0, crowd.start + closed_s - time.monotonic()))
        closed_s = time.monotonic() - crowd.start
        opened = time.time()
        with FaultServer(GREETING, port=PORT):
            statuses = crowd.end()
        late = sorted(instant(entry) - opened for entry in crowd.told("succeeded"))
        errors = crowd.errors.read_text()
        unhappy = crowd.told("exhausted", "given_up", "not_retryable")
    return {"statuses": set(statuses), "attempts": sampler.total / CROWD, "late": statistics.median(late) if late else None,
            "latenesses": late, "successes": len(late), "busiest": sampler.busiest() / sampler.total, "started_s": crowd.started_s, "closed_s": closed_s,
            "errors": errors, "unhappy": [(entry["event"], entry.get("reason"), entry["attempt"]) for entry in unhappy]}


def total_outage(**retry):
    with Sampler() as sampler, Crowd([BASH], max_attempts=3, **retry) as crowd:
        statuses = crowd.end()
        errors = crowd.errors.read_bytes().splitlines()
        ends = crowd.told("exhausted", "given_up")
    return {"statuses": set(statuses), "attempts": sampler.total / CROWD, "busiest": sampler.busiest() / sampler.total,
            "refused": sum(line.endswith(b"connect: " + REFUSED) for line in errors), "ends": len(ends),
            "reasons": {reason: sum(entry.get("reason") == reason for entry in ends) for reason in {e.get("reason") for e in ends}},
            "started_s": crowd.started_s}


@pytest.mark.parametrize("commands", [[BASH], MIXTURE], ids=["blocking", "mixture"])
def test_short_outage(commands):
    latenesses, medians = [], []
    for closed_s in CLOSED_S:
        found = short_outage(commands, closed_s)
        latenesses += found.pop("latenesses")
        medians.append(found["late"])
        assert (found["statuses"], found["successes"], found["unhappy"]) == ({0}, CROWD, []), found
        assert found["attempts"] <= 2.1, found
        assert found["busiest"] <= 0.2, found
    assert statistics.median(latenesses) <= 0.5, medians


def test_short_outage_without_sharing():
    found = short_outage([BASH], state="off")
    latenesses = found.pop("latenesses")
    assert (found["statuses"], found["successes"]) == ({0}, CROWD), found
    assert found["attempts"] > 4, found
    assert statistics.median(latenesses) > 0.5, found


def test_total_outage():
    found = total_outage()
    assert (found["statuses"], found["refused"], found["ends"]) == ({1}, CROWD, CROWD), found
    assert found["attempts"] <= 1.15, found


def test_total_outage_without_sharing():
    found = total_outage(state="off")
    assert (found["statuses"], found["refused"], found["ends"]) == ({1}, CROWD, CROWD), found
    assert found["attempts"] > 2.5, found
