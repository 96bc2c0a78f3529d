"""The sinks of one group of programs: files that are rotated and read, a socket, and the sums that must agree."""

import asyncio
import collections
import json
import os
import re
import socket
import subprocess
from pathlib import Path

PROM_LIMIT = 128 << 10  # bytes: 256 series of a few hundred
EVENTS = {"succeeded": "RetryRecovered", "exhausted": "RetryExhausted", "given_up": "RetryGivenUp"}
FAMILIES = {"retryshim_retries_total": "RetryAttempt", "retryshim_recovered_total": "RetryRecovered",
            "retryshim_exhausted_total": "RetryExhausted", "retryshim_given_up_total": "RetryGivenUp"}


class Sinks:
    def __init__(self, folder, command):
        self.folder, self.command = Path(folder), command
        self.folder.mkdir()
        self.state = self.folder / "state"
        self.told, self.metered = collections.Counter(), collections.Counter()
        self.datagrams, self.state_sizes, self.prom_largest = 0, set(), 0
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)

    def variables(self):
        port = self.socket.getsockname()[1]
        return {"RETRY_STATE": self.state, "RETRY_DIAG": 1, "RETRY_DIAG_FORMAT": "json", "RETRY_DIAG_FILE": self.folder / "diag",
                "RETRY_METRICS": f"emf:{self.folder}/emf,statsd://127.0.0.1:{port},prom:{self.folder}/metrics.prom"}

    def read(self, path):
        for line in path.read_text().splitlines() if path.exists() else ():
            entry = json.loads(line)
            if "_aws" in entry:
                self.metered.update({name: entry[name] for name in entry if name in FAMILIES.values()})
            else:
                self.told[entry["event"]] += 1
        path.unlink(missing_ok=True)

    def turn(self):
        """Rotates. A process may still be writing to the file that it opened a moment ago: that is read at the next turn."""
        for name in ("diag", "emf"):
            old, current = self.folder / f"{name}.1", self.folder / name
            self.read(old)
            if current.exists():
                os.rename(current, old)
        if self.state.exists():
            self.state_sizes.add(self.state.stat().st_size)
        prom = self.folder / "metrics.prom"
        self.prom_largest = max(self.prom_largest, prom.stat().st_size if prom.exists() else 0)

    async def keep_turning(self):
        asyncio.get_running_loop().add_reader(self.socket, self.take)
        while True:
            await asyncio.sleep(1)
            self.turn()

    def take(self):
        try:
            while self.socket.recv(65536):
                self.datagrams += 1
        except BlockingIOError:
            pass

    def exposed(self):
        """Sums over the series that the host's state holds."""
        text = subprocess.run([self.command, "metrics", "--state", self.state], env={}, capture_output=True, text=True, check=True).stdout
        sums = collections.Counter()
        for name, value in re.findall(r"^(\w+)\{.*\} ([\d.]+)$", text, re.MULTILINE):
            if name in FAMILIES:
                sums[FAMILIES[name]] += int(value)
        return sums

    def objections(self):
        """What does not agree, when all programs have ended."""
        for _ in range(3):
            self.turn()
        self.socket.close()
        exposed = self.exposed()
        told = collections.Counter({metric: self.told[event] for event, metric in EVENTS.items()})
        if +exposed != +self.metered:
            yield f"prom says {dict(exposed)}, EMF {dict(self.metered)}"
        if any(told[metric] != exposed[metric] for metric in told):
            yield f"prom says {dict(exposed)}, the diagnostics {dict(told)}"
        if len(self.state_sizes) != 1:
            yield f"the state's file has had the sizes {sorted(self.state_sizes)}"
        if not 0 < self.prom_largest < PROM_LIMIT:
            yield f"the prom file has had {self.prom_largest} bytes"
        if not self.datagrams:
            yield "statsd heard nothing"
        self.retries = exposed["RetryAttempt"]
