"""State files of every kind for tests, and programs that meet them."""

import json
import struct
import subprocess

import pytest
from harness import BUILD, FaultServer, built, run
from network import ADDRESS, PORT, python

# include/retryshim/host.h
MAGIC, LAYOUT, PLACES, PLACE_BYTES, HEADER_BYTES = 0x33796873792D7274, 3, 512, 248, 4096
SERIES, SERIES_BYTES = 256, 328
SERIES_AT = HEADER_BYTES + PLACES * PLACE_BYTES
STATE_BYTES = SERIES_AT + SERIES * SERIES_BYTES
WORDS = {"tag": 0, "used": 1, "bucket": 2, "circuit": 3, "floor": 4, "evidence": 5, "claim": 6, "failure": 7, "opened_by": 8}

DEAD = 81  # nobody ever listens there
URL = f"http://{ADDRESS}/"
CONNECT = python('socket.create_connection(("127.0.0.1", PORT)); print("connected")')
CLIENTS = {
    "python": CONNECT,
    "poll": python('s = socket.create_connection(("127.0.0.1", PORT), timeout=30); print("connected")'),
    "bash": ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{PORT} && echo connected"],
    "curl": ["curl", "-sSo", "/dev/null", URL],
    "multi": ["curl", "-sSZ", "--no-progress-meter", "-o", "/dev/null", URL],
}
FAILS = ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{DEAD}"]

PATIENT = {"base_delay_ms": 60, "multiplier": 1, "max_attempts": 100, "budget": "off"}
HASTY = {"base_delay_ms": 10, "multiplier": 1, "max_attempts": 2}
QUIET = {"diag": None, "diag_file": None, "diag_format": None}


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


def header(magic=MAGIC, layout=LAYOUT):
    return struct.pack("=QIIIII", magic, layout, PLACES, PLACE_BYTES, SERIES, SERIES_BYTES).ljust(HEADER_BYTES, b"\0")


def write(path, content, mode=0o600):
    path.write_bytes(content)
    path.chmod(mode)


def valid(path, **options):
    write(path, header(**options).ljust(STATE_BYTES, b"\0"))


def destinations(path):
    """{target: what `retryshim status` says}; a target that stands there twice fails the test."""
    done = subprocess.run([built(BUILD / "retryshim"), "status", "--json", "--state", path], env={}, capture_output=True,
                          timeout=30, check=True)
    found = json.loads(done.stdout)["destinations"]
    names = [each["target"] for each in found]
    assert len(set(names)) == len(names), names
    return {each["target"]: each for each in found}


def under(script, argv):
    """argv behind a shell script in a mount namespace of its own."""
    return ["unshare", "--mount", "--propagation=private", "sh", "-ec", f'{script}\nexec "$@"', "sh", *map(str, argv)]


def as_user(uid, argv):
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *map(str, argv)]


def symlink(path):
    path.with_name("ours").write_bytes(b"ours")
    path.symlink_to(path.with_name("ours"))


def recovers_alone(argv, path, reason, **options):
    """The port opens late: the program connects, and says once why the file is not used (reason None: it is)."""
    options = {"diag_file": None, **PATIENT, **options}
    with FaultServer("200", port=PORT, open_after="250ms", lifetime="60s") as server:
        result = run(argv, state=path, **options)
        assert result.returncode == 0, result
        assert len(server.wait("accept")) == 1
    told = [json.loads(line) for line in result.stderr.splitlines()]
    complaints = [(each["variable"], each["value"], each["reason"]) for each in told if each["event"] == "unused_value"]
    assert complaints == ([("RETRY_STATE", str(path)[:256], reason)] if reason else []), told
    rest = [each["event"] for each in told if each["event"] != "unused_value"]
    assert rest == ["attempt_failed"] * (len(rest) - 1) + ["succeeded"] and len(rest) >= 2
    return result
