"""Other preloaded libraries that interpose the same functions, in front of ours and behind."""

import contextlib
import subprocess
from datetime import datetime, timedelta, timezone

import pytest
from harness import SHIM, FaultServer, built, need, run
from hosts import Host, LatePort, library, run_host, shared

OFTEN = {"base_delay_ms": 100, "multiplier": "1.0", "max_attempts": 300, "budget": "off", "breaker": "off"}


def runtime(name):
    """A sanitizer's library, as gcc finds it."""
    return subprocess.run([need("gcc"), f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()


# name: its file, its settings, and what it does for the program: what the host says of that
OTHERS = {
    "libfaketime": (lambda: library("faketime/libfaketime.so.1"), {"FAKETIME": "-4000d"},
                    {"year": str((datetime.now(timezone.utc) - timedelta(days=4000)).year)}),
    "libfaketimeMT": (lambda: library("faketime/libfaketimeMT.so.1"), {"FAKETIME": "-4000d"},
                      {"year": str((datetime.now(timezone.utc) - timedelta(days=4000)).year)}),
    "libeatmydata": (lambda: library("libeatmydata.so"), {}, {"synchronous": "no"}),
    "libjemalloc": (lambda: library("libjemalloc.so.2"), {}, {"malloc": "libjemalloc.so.2"}),
    "libtcmalloc": (lambda: library("libtcmalloc_minimal.so.4"), {}, {"malloc": "libtcmalloc_minimal.so.4"}),
    "libasan": (lambda: runtime("libasan.so"), {}, {"malloc": "libasan.so"}),
    "libsocket_wrapper": (lambda: library("libsocket_wrapper.so"), {}, {}),
}
# libasan refuses to be second, and libsocket_wrapper asks the C library itself, past whatever was preloaded behind it.
ALONE = {("libasan", "ours"), ("libsocket_wrapper", "theirs")}
PAIRS = [(name, first) for name in OTHERS for first in ("ours", "theirs") if (name, first) not in ALONE]
HOSTS = [("signals", "once"), ("waits", "recover", "poll", -1), ("waits", "recover", "select", 0),
         ("epolls", "recover", "wait", "edge", "after", "fd"), ("stacked", "serves")]


def preload(*names, more=()):
    """The environment with these libraries in this order; "ours" is one of the names."""
    files = [built(SHIM) if name == "ours" else OTHERS[name][0]() for name in names]
    settings = {key: value for name in names if name != "ours" for key, value in OTHERS[name][1].items()}
    return {**settings, "LD_PRELOAD": ":".join(map(str, [*files, *more]))}


def ordered(name, first):
    return ("ours", name) if first == "ours" else (name, "ours")


def recovers_everywhere(names, threads=8):
    """Each kind of connect at once, each from a late port of its own; returns what the last host said."""
    with contextlib.ExitStack() as stack:
        running = []
        for arguments in [*HOSTS, ("threads", "many")]:
            port = stack.enter_context(LatePort())
            more = [threads] if arguments[0] == "threads" else []
            running.append((port, len(more) and threads or 1,
                            stack.enter_context(Host(*arguments, port.number, *more, env=preload(*names), **OFTEN))))
        told = {}
        for port, count, host in running:
            host.wait_event("attempt_failed", count)
            with port.open() as server:
                said = host.finish()
                assert said.get("connect", said.get("connected")) in ("ok", str(count)), (said, host.stderr)
                assert said["descriptors_changed"] == "0"
                assert len(server.wait("accept", count)) == count
            assert host.stderr == b""
            told |= said
        return told


@pytest.mark.parametrize("name, first", PAIRS)
def test_recovers_beside(name, first):
    told = recovers_everywhere(ordered(name, first))
    expected = OTHERS[name][2]
    assert {key: told[key] for key in expected} == expected


def test_recovers_among_many():
    """Not libfaketime and libjemalloc together: each calls the other before that is ready, and never ends."""
    told = recovers_everywhere(["libfaketime", "libeatmydata", "ours", "libtcmalloc", "libsocket_wrapper"])
    for name in ("libfaketime", "libeatmydata", "libtcmalloc"):
        assert told.items() >= OTHERS[name][2].items()


@pytest.mark.parametrize("name", OTHERS)
def test_fails_beside_them_without_us(name):
    with LatePort() as port:
        told, _ = run_host("signals", "once", port.number, shim=False, env=preload(name))
        assert told["connect"] == "ECONNREFUSED"


@pytest.mark.parametrize("name, first", [pair for pair in PAIRS if pair[0] != "libasan"])
def test_look_ups_and_curl(name, first):
    """libasan in front of curl never gets as far as main(), without us."""
    names = ordered(name, first)
    env = {**preload(*names, more=[shared("resolver")]), "RESOLVER_FAILURES": 2}
    told, result = run_host("lookups", "once", "restart", env=env, base_delay_ms=1)
    assert told == {"lookup": "ok", "handled": "0", "descriptors_changed": "0"} and result.stderr == b""
    with FaultServer(["503", "reset", "200"]) as server:
        result = run(["curl", "-sS", server.url], env=preload(*names), base_delay_ms=1)
        assert (result.returncode, result.stdout, result.stderr) == (0, b"ok\n", b"")
        assert [entry["step"] for entry in server.requests()] == ["503", "reset", "200"]


# ---- what cannot be, and is as without us --------------------------------------------------------


def test_library_that_passes_us_by():
    with LatePort() as port:
        told, result = run_host("signals", "once", port.number, env=preload("libsocket_wrapper", "ours"))
        assert told == {"connect": "ECONNREFUSED", "handled": "0", "descriptors_changed": "0"}
        assert result.diag + result.stderr == b""


def test_library_that_must_be_first():
    """libasan says so and ends the program, whoever it is that stands before it."""
    def complaint(first):
        result = run(["true"], env={"LD_PRELOAD": f"{first}:{runtime('libasan.so')}"})
        assert result.returncode != 0 and result.stdout == b""
        return result.stderr.partition(b"==")[2].partition(b"==")[2]

    assert complaint(built(SHIM)) == complaint(shared("tally")) and b"come first" in complaint(built(SHIM))


# ---- libsocket_wrapper at work -------------------------------------------------------------------


def test_wrapped_sockets(tmp_path, monkeypatch):
    """Connections that are unix sockets in a folder, and never reach the kernel's network."""
    wrapped = {"SOCKET_WRAPPER_DIR": str(tmp_path), "SOCKET_WRAPPER_DEFAULT_IFACE": "1"}
    with Host("signals", "once", 7777, env={**preload("ours", "libsocket_wrapper"), **wrapped}, **OFTEN) as host:
        host.wait_event("attempt_failed")
        with monkeypatch.context() as patch:
            for name, value in {**preload("libsocket_wrapper"), **wrapped}.items():
                patch.setenv(name, value)
            server = FaultServer("greet=hello", port=7777)
        with server:
            assert host.finish()["connect"] == "ok"
            assert len(server.wait("accept", 1)) == 1
            assert [path.is_socket() for path in tmp_path.iterdir()].count(True) >= 1
        assert host.stderr == b"" and host.events()[-1]["event"] == "succeeded"


# ---- attempts are counted once -------------------------------------------------------------------


def test_counts_every_attempt_behind_us_and_one_in_front():
    ours, tally = built(SHIM), shared("tally")
    for order, connects in ((f"{ours}:{tally}", "3"), (f"{tally}:{ours}", "1")):
        with LatePort() as port:
            told, _ = run_host("sandbox", "denied", port.number, "none", env={"LD_PRELOAD": order}, base_delay_ms=1)
            assert (told["connect"], told["connects"]) == ("ECONNREFUSED", connects)
