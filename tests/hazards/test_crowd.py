"""A thousand non-blocking connects in one loop, and descriptors that are closed and reused in mid-backoff."""


import pytest
from harness import FaultServer, need
from hosts import GREETING, Host, LatePort, compiled
from test_threads import sanitized  # noqa: F401

QUIETLY = {"diag": None, "diag_file": None, "diag_format": None}
SOON = {"base_delay_ms": 100, "multiplier": "1.0", "jitter": "equal", "max_attempts": 100}


@pytest.mark.parametrize("mode", ["level", "edge"])
@pytest.mark.parametrize("count", [1000, 4000])
def test_a_crowd_connects(count, mode):
    """Refused for half a second; each connects once, and is heard of once. 200 ms of the processor's time were asked
    for 1,000: a quiet machine needs that, one whose system calls cost more (some virtual ones) half as much again."""
    with LatePort() as port, Host("crowd", "loop", port.number, count, mode, shim=False, **QUIETLY) as host:
        assert int(host.finish()["failed"]) == count
    with FaultServer(GREETING, open_after="500ms", lifetime="60s") as server:
        with Host("crowd", "loop", server.port, count, mode, **QUIETLY, **SOON) as host:
            told = host.finish()
        assert len(server.wait("accept", count)) == count
    assert (told["connected"], told["failed"], told["doubled"]) == (str(count), "0", "0")
    assert int(told["cpu_ms"]) < 200 * count / 1000 * 4  # and tests run beside others


STRESS = {"base_delay_ms": 1, "multiplier": "1.0", "jitter": "full", "max_attempts": 5}


def test_no_foreign_connect():
    """Sixteen threads connect, look and close; sixteen others take the numbers for sockets of their own."""
    with LatePort() as port, Host("crowd", "reuse", port.number, 16, 3, **QUIETLY, **STRESS) as host:
        assert host.finish(timeout=60) == {"foreign": "0", "descriptors_changed": "0"}
    # The same with a server that accepts: a connect that goes astray would succeed.
    with FaultServer(GREETING) as server, Host("crowd", "reuse", server.port, 16, 2, **QUIETLY, **STRESS) as host:
        assert host.finish(timeout=60) == {"foreign": "0", "descriptors_changed": "0"}


def test_no_race_in_the_table(sanitized):  # noqa: F811
    host = compiled("crowd", "-fsanitize=thread", output="crowd-tsan", compiler="gcc")
    env = {"LD_PRELOAD": None, "TSAN_OPTIONS": "exitcode=66 symbolize=0"}
    shim = f'exec setarch -R env LD_PRELOAD="{sanitized}" "$@"'
    with LatePort() as port, Host(None, "-c", shim, "sh", host, "reuse", port.number, 8, 3, program=need("sh"),
                                  env=env, **QUIETLY, **STRESS) as running:
        told = running.finish(timeout=60)
    assert told == {"foreign": "0", "descriptors_changed": "0"}
    assert running.stderr == b"", running.stderr.decode()[:4000]
