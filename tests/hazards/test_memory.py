"""Recovery needs no heap and little stack."""

from pathlib import Path

import pytest
from harness import FaultServer
from hosts import GREETING, SLOW, Host, LatePort, run_host


def recovered(scenario, **options):
    """A host that recovers, and what it said."""
    with LatePort() as port, Host("memory", scenario, port.number, **{**SLOW, **options}) as host:
        host.wait_event("attempt_failed")
        with port.open() as server:
            told = host.finish()
            assert len(server.wait("accept", 1)) == 1
        assert host.events()[-1]["event"] == "succeeded"
        assert told["connect"] == "ok"
        return told


def healthy(shim):
    with FaultServer(GREETING) as server:
        told, result = run_host("memory", "counts", server.port, shim=shim)
        assert told["connect"] == "ok" and result.diag == b""
        return told


def test_healthy_process_allocates_nothing_more():
    assert healthy(True) == healthy(False)
    assert healthy(True)["in_connect"] == "0"


# The folder is the host's own.
METRICS = "emf:emf,prom:r.prom,statsd://127.0.0.1:8125,emf:udp://[::1]:25888,prom:/nonexistent/file,statsd://nobody:1"


@pytest.mark.parametrize("metrics", [None, METRICS], ids=["", "metrics"])
@pytest.mark.parametrize("format", ["text", "json"])
def test_recovery_allocates_nothing(format, metrics):
    with LatePort() as port, Host("memory", "counts", port.number, metrics=metrics, **{**SLOW, "max_attempts": 4, "base_delay_ms": 1,
                                                                                    "diag_format": format}) as host:
        told = host.finish()
        assert (told["connect"], told["in_connect"]) == ("ECONNREFUSED", "0")
        assert len([line for line in host.diag.splitlines() if b"RETRY_METRICS" not in line and b"unused" not in line]) == 4
        assert metrics is None or len((Path(host.home.name) / "emf").read_bytes().splitlines()) == 4
    assert recovered("counts")["in_connect"] == "0"


def test_recovery_without_memory():
    recovered("fails")


def test_connect_inside_malloc():
    assert recovered("connects") == {"started": "yes", "malloc": "ok", "connect": "ok", "descriptors_changed": "0"}
    with LatePort() as port:
        assert run_host("memory", "connects", port.number, shim=False)[0]["connect"] == "ECONNREFUSED"


def stack(size, shim=True, env=None, **options):
    """Bytes of a thread's stack that a connect touched; the pages of a thread that needs more crash it."""
    with LatePort() as port:
        told, _ = run_host("memory", "stack", port.number, size, shim=shim, env=env, max_attempts=3, base_delay_ms=1,
                           **options)
        assert told["connect"] == "ECONNREFUSED"
        return int(told["touched"])


SINKS = {"off": {"diag": 0}, "stderr": {"diag_file": None}, "file": {}, "directory": {"diag_file": None, "diag_dir": "."},
         "a bad value": {"env": {"RETRY_HTTP_STATUS": "x"}}, "a missing folder": {"diag_file": "/nonexistent/file"},
         "metrics": {"metrics": METRICS}}


@pytest.mark.parametrize("sink", SINKS)
def test_small_stack_suffices(sink):
    """32 KiB, the thread's own block and the C library's share of it included, whatever is told where."""
    assert stack(32768, **SINKS[sink]) < 24576


def test_smallest_stack_suffices_without_diagnostics():
    """PTHREAD_STACK_MIN, of which the program's own connect needs half."""
    assert stack(16384, diag=0) < stack(16384, shim=False) + 4096


@pytest.mark.parametrize("sink", METRICS.split(","))
def test_smallest_stack_suffices_for_metrics(sink):
    assert stack(16384, diag=0, metrics=sink, state="state") < stack(16384, shim=False) + 6656
