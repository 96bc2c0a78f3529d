"""What reads metrics, none of it ours: a statsd daemon, node_exporter, promtool, a JSON schema; and sums over what they got.

All counts are {(metric, operation, target, category, reason): sum}, by the names of RETRY_METRICS, whatever a sink calls them.
"""

import collections
import json
import re
import socket
import subprocess
import tempfile
import urllib.request
from pathlib import Path

import jsonschema
import pytest

from harness import BUILD, ROOT, need, wait_until

STATSD_PORT, EMF_PORT, EXPORTER_PORT = 8125, 25888, 9100
COMMAND = BUILD / "retryshim"
SO_RCVBUFFORCE = 33
FAMILIES = {
    "retryshim_retries_total": "RetryAttempt", "retryshim_retry_delay_seconds_total": "RetryDelayMs",
    "retryshim_recovered_total": "RetryRecovered", "retryshim_exhausted_total": "RetryExhausted",
    "retryshim_given_up_total": "RetryGivenUp",
}

# ---- CloudWatch ----------------------------------------------------------------------------------------

UNITS = ["Seconds", "Microseconds", "Milliseconds", "Bytes", "Percent", "Count", "Count/Second", "None"]
NAME = {"type": "string", "minLength": 1, "maxLength": 250, "pattern": r"^[\x20-\x7e]+$"}

# The rules of "Specification: Embedded metric format" in the CloudWatch user guide, which are those of the schema there and a
# little more: nothing in _aws but what is specified, one of our own dimension sets, dimension values that CloudWatch takes.
EMF_SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "required": ["_aws", "Operation", "Target", "Category"],
    "properties": {
        "_aws": {
            "type": "object",
            "required": ["Timestamp", "CloudWatchMetrics"],
            "additionalProperties": False,
            "properties": {
                "Timestamp": {"type": "integer", "minimum": 1_500_000_000_000, "maximum": 9_999_999_999_999},
                "CloudWatchMetrics": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["Namespace", "Dimensions", "Metrics"],
                        "additionalProperties": False,
                        "properties": {
                            "Namespace": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[A-Za-z0-9.\\-_/#: ]+$"},
                            "Dimensions": {"type": "array", "minItems": 1, "items": {"type": "array", "maxItems": 30, "items": NAME}},
                            "Metrics": {
                                "type": "array",
                                "minItems": 1,
                                "maxItems": 100,
                                "items": {
                                    "type": "object",
                                    "required": ["Name"],
                                    "additionalProperties": False,
                                    "properties": {"Name": NAME, "Unit": {"enum": UNITS}, "StorageResolution": {"enum": [1, 60]}},
                                },
                            },
                        },
                    },
                },
            },
        },
        **{name: {"type": "string", "minLength": 1, "maxLength": 1024, "pattern": r"^[\x20-\x7e]+$"}
           for name in ("Operation", "Target", "Category")},
    },
}
VALIDATOR = jsonschema.Draft7Validator(EMF_SCHEMA)


def emf_entries(text):
    """The objects, each valid, and what no schema can say: every reference has its member, of the right type."""
    entries = [json.loads(line) for line in text.splitlines()]
    for entry in entries:
        VALIDATOR.validate(entry)
        (directive,) = entry["_aws"]["CloudWatchMetrics"]
        assert directive["Dimensions"] == [["Operation"], ["Operation", "Target", "Category"]]
        for metric in directive["Metrics"]:
            assert type(entry[metric["Name"]]) is int
            assert metric["Unit"] == ("Milliseconds" if metric["Name"] == "RetryDelayMs" else "Count")
        names = {metric["Name"] for metric in directive["Metrics"]}
        assert names == {name for name in entry if name.startswith("Retry")}
    return entries


def emf_counts(text):
    counts = collections.Counter()
    for entry in emf_entries(text):
        labels = entry["Operation"], entry["Target"], entry["Category"], entry.get("reason", "")
        for name in filter(lambda name: name.startswith("Retry"), entry):
            counts[name, *labels] += entry[name]
    return dict(counts)


class Datagrams:
    """Receives datagrams on a port of its own, as the CloudWatch agent does."""

    def __init__(self, port=EMF_PORT):
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)  # read at the end only
        self.socket.bind(("127.0.0.1", port))
        self.socket.setblocking(False)

    def all(self):
        """What has arrived; over loopback that is all that has been sent."""
        found = []
        while True:
            try:
                found.append(self.socket.recv(65536).decode())
            except BlockingIOError:
                return found

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


# ---- statsd --------------------------------------------------------------------------------------------


class Statsd:
    """The statsd daemon, which is asked for its sums by its management port (docs/admin_interface.md of statsd)."""

    MANAGEMENT_PORT = STATSD_PORT + 1

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="statsd-")
        program = ROOT / "build/npm/node_modules/statsd/stats.js"
        if not program.is_file():
            pytest.fail(f"missing: {program} (scripts/deps installs it)", pytrace=False)
        settings = Path(self.folder.name, "config.js")
        settings.write_text(f'{{ port: {STATSD_PORT}, mgmt_port: {self.MANAGEMENT_PORT}, flushInterval: 3600000, backends: [], '
                            'address: "127.0.0.1", mgmt_address: "127.0.0.1" }')
        self.process = subprocess.Popen([need("node"), program, settings], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.process.stdout.readline()
        wait_until(self.answers, 20, "statsd")

    def answers(self):
        assert self.process.poll() is None, self.process.stdout.read()
        try:
            return self.ask("counters")
        except ConnectionRefusedError:
            return None

    def ask(self, what):
        with socket.create_connection(("127.0.0.1", self.MANAGEMENT_PORT)) as connection:
            connection.sendall(f"{what}\n".encode())
            text = b""
            while b"END" not in text:
                text += connection.recv(65536)
            return text.decode()

    def counts(self, prefix="RetryShim."):
        """Its sums; of a timer with very many values none."""
        counts = collections.Counter()
        found = re.findall(r"'([^']+)': (\d+|\[[^]]*\])", self.ask("counters") + self.ask("timers"))
        for key, value in found:
            name, *tags = key.split(";")
            if name in ("statsd.packets_received", "statsd.metrics_received"):
                continue
            if name == "statsd.bad_lines_seen":
                assert int(value) == 0
                continue
            assert name.startswith(prefix), key
            if "more item" in value:  # it shows a hundred
                continue
            tags = dict(tag.split("=", 1) for tag in tags)
            total = sum(map(int, re.findall(r"\d+", value)))
            counts[name[len(prefix):], tags["operation"], tags["target"], tags["category"], tags.get("reason", "")] += total
        return dict(counts)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.folder.cleanup()


def statsd_key(counts):
    """As the daemon keeps it: no colon in a key's name."""
    return {(metric, operation, target.replace(":", ""), *rest): n for (metric, operation, target, *rest), n in counts.items()}


# ---- Prometheus ----------------------------------------------------------------------------------------


def checked_exposition(text):
    """The text, after promtool has found nothing to say about it."""
    done = subprocess.run([need("promtool"), "check", "metrics"], input=text, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), (done, text)
    return text


def exposition_counts(text):
    """Samples that are not zero."""
    counts, seen = {}, set()
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, labels, value = re.fullmatch(r"(\w+)\{(.*)\} ([\d.]+)", line).groups()
        if name not in FAMILIES:
            continue
        assert (name, labels) not in seen, line
        seen.add((name, labels))
        labels = {key: re.sub(r"\\(.)", r"\1", text) for key, text in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels)}
        amount = round(float(value) * 1000) if "seconds" in name else int(value)
        if amount:
            counts[FAMILIES[name], labels["operation"], labels["target"], labels["category"], labels.get("reason", "")] = amount
    return counts


def command_counts(state):
    done = subprocess.run([COMMAND, "metrics", "--state", state], env={}, capture_output=True, text=True, timeout=30, check=True)
    return exposition_counts(checked_exposition(done.stdout))


class Exporter:
    """node_exporter with nothing but its textfile collector."""

    def __init__(self, folder):
        self.process = subprocess.Popen(
            [need("prometheus-node-exporter"), "--collector.disable-defaults", "--collector.textfile",
             f"--collector.textfile.directory={folder}", f"--web.listen-address=127.0.0.1:{EXPORTER_PORT}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        wait_until(self.answers, 20, "node_exporter")

    def answers(self):
        assert self.process.poll() is None, self.process.stderr.read()
        try:
            return self.scrape()
        except OSError:
            return None

    def scrape(self):
        """What it exposes of ours; it says so itself if it could not read a file."""
        with urllib.request.urlopen(f"http://127.0.0.1:{EXPORTER_PORT}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        assert "\nnode_textfile_scrape_error 0\n" in text, text
        return text

    def counts(self):
        return exposition_counts("\n".join(line for line in self.scrape().splitlines() if line.startswith("retryshim")))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()
