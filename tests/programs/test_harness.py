"""The harness itself: what it promises about environments, missing programs and time-outs."""

import os
import time

import pytest

import harness
from harness import FaultServer, environment, events, need, run

HARMLESS = "libc.so.6"  # a preload that changes nothing


@pytest.fixture(name="stand_in")
def stand_in_for_the_shim(monkeypatch):
    """The harness is told that another, harmless object is the shim."""
    def built(path):
        return HARMLESS if path == harness.SHIM else str(path)
    monkeypatch.setattr(harness, "built", built)


def variables(result):
    return dict(line.split("=", 1) for line in result.stdout.decode().splitlines())


def test_environment_is_clean(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("RETRY_MAX_ATTEMPTS", "9")
    seen = variables(run(["env"], shim=False, max_attempts=4, jitter=None, env={"EXTRA": "1", "LANG": None}))
    home = seen.pop("HOME")
    assert seen == {"PATH": harness.PATH, "EXTRA": "1", "RETRY_STATE": "off", "RETRY_MAX_ATTEMPTS": "4",
                    "RETRY_BASE_DELAY_MS": "50", "RETRY_DIAG": "1", "RETRY_DIAG_FORMAT": "json",
                    "RETRY_DIAG_FILE": f"{home}/diag"}
    assert not os.path.exists(home)


@pytest.mark.usefixtures("stand_in")
def test_only_the_preload_differs():
    with_shim, without = variables(run(["env"])), variables(run(["env"], shim=False))
    assert with_shim.pop("LD_PRELOAD") == HARMLESS
    assert with_shim.keys() == without.keys()


def test_result():
    script = "cat; pwd >&2; echo '{\"event\":\"x\"}' >$RETRY_DIAG_FILE; kill -9 $$"
    result = run(["sh", "-c", script], shim=False, stdin=b"\0in")
    assert (result.returncode, result.stdout) == (-9, b"\0in")
    assert result.stderr.startswith(b"/tmp/home-") and 0 < result.seconds < 60
    assert events(result) == [{"event": "x"}]
    assert events(run(["true"], shim=False)) == []


def test_missing_program_fails_the_test():
    assert need("sh").endswith("/sh")
    with pytest.raises(pytest.fail.Exception, match="no-such-program"):
        run(["no-such-program"], shim=False)


def test_missing_shim_fails_the_test(monkeypatch):
    monkeypatch.setattr(harness, "SHIM", harness.ROOT / "no-such-object.so")
    with pytest.raises(pytest.fail.Exception, match="no-such-object"):
        run(["true"])


def test_time_out_ends_the_whole_group():
    start = time.monotonic()
    with pytest.raises(pytest.fail.Exception, match="did not end within 0.2 s; stdout b'begun"):
        run(["sh", "-c", "echo begun; sleep 50 & wait"], shim=False, timeout=0.2)
    assert time.monotonic() - start < 40


def test_server_that_does_not_start_says_why():
    with pytest.raises(RuntimeError, match="unknown step 'nonsense'"):
        FaultServer("nonsense")


def test_server_that_dies_fails_the_test():
    with pytest.raises(AssertionError, match="status -9"), FaultServer("200") as server:
        server.process.kill()


def test_addresses():
    with FaultServer("200", bind="::1") as server:
        assert server.url == f"http://[::1]:{server.port}" and server.wait("open")
        with pytest.raises(AssertionError, match="1 x accept"):
            server.wait("accept", timeout=0.05)
