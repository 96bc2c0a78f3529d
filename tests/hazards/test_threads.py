"""Sixty-four threads that fail together; the same under the thread sanitizer and valgrind."""

import pytest
from harness import events, need
from hosts import SLOW, Host, LatePort, compiled, sanitized_object

COUNT = 64


def all_recover(host, port, count, timeout=60):
    host.wait_event("attempt_failed", count, timeout=timeout)
    with port.open() as server:
        told = host.finish(timeout=timeout)
        assert told == {"connected": str(count), "descriptors_changed": "0"}
        assert len(server.wait("accept", count)) == count
    assert len(host.events("succeeded")) == count
    assert len({event["op"] for event in host.events()}) == count


def test_all_threads_recover():
    with LatePort() as port, Host("threads", "many", port.number, COUNT, **SLOW) as host:
        all_recover(host, port, COUNT)


@pytest.fixture
def sanitized():
    """With gcc's sanitizer, whose own functions stand behind ours: test_races."""
    return sanitized_object("gcc", "thread")


def test_no_data_race(sanitized):
    """Twenty processes whose first failures, parses and diagnostics all happen at the same time."""
    host = compiled("threads", "-fsanitize=thread", output="threads-tsan", compiler="gcc")
    # Without randomised addresses: newer kernels put others where the sanitizer must be.
    env = {"LD_PRELOAD": None, "RETRY_HOSTS": "127.0.0.0/8", "RETRY_HTTP_STATUS": "x",
           "TSAN_OPTIONS": "exitcode=66 symbolize=0", "RETRY_METRICS": "emf:emf,prom:r.prom,statsd://127.0.0.1:8125"}
    shim = f'exec setarch -R env LD_PRELOAD="{sanitized}" "$@"'
    for turn in range(20):
        # Two attempts: what all threads tell fits into the pipe, and a full one would rightly lose lines.
        options = {"diag_file": None, "max_attempts": 2, "base_delay_ms": 1, "breaker": "off", "budget": "off"} if turn % 2 else SLOW
        with LatePort() as port, Host(None, "-c", shim, "sh", host, "many", port.number, COUNT, program=need("sh"),
                                      env=env, **options) as running:
            if turn % 2:
                assert running.finish(timeout=60)["connected"] == "0"
                assert b"WARNING" not in running.stderr, running.stderr.decode()
                assert running.stderr.count(b'"event":"exhausted"') == COUNT
            else:
                running.wait_event("attempt_failed", COUNT, timeout=60)
                with port.open() as server:
                    assert running.finish(timeout=60)["connected"] == str(COUNT)
                    assert len(server.wait("accept", COUNT)) == COUNT
                assert running.stderr == b""


def test_valgrind_finds_nothing():
    argv = ["--quiet", "--error-exitcode=9", "--leak-check=full", "--track-fds=no", compiled("threads"), "many"]
    with LatePort() as port, Host(None, *argv, port.number, 4, program=need("valgrind"), **SLOW) as host:
        all_recover(host, port, 4)
        assert events(host)
