"""No failure is taken for success, and nobody else's descriptor is touched. Each scenario was once a defect."""

import pytest
from hosts import LatePort, run_host

# Two attempts and out; or a backoff that is still going on when the scenario ends.
BRIEF = {"base_delay_ms": 100, "max_attempts": 2}
LONG = {"base_delay_ms": 3600000, "max_delay_ms": 3600000, "timeout_ms": 0}
TRUTH = {"error": "ECONNREFUSED", "connected": "no", "deceived": "no"}


@pytest.fixture(name="port")
def refused_port():
    with LatePort() as port:
        yield port.number


@pytest.mark.parametrize("timeout", ["-1", "20000"])
def test_a_wait_that_began_before_the_first_connect(port, timeout):
    told, _ = run_host("deceived", "reactor", port, timeout, **BRIEF)
    assert told == TRUTH


@pytest.mark.parametrize("threads", [2, 4])
@pytest.mark.parametrize("delay", [1, 1000])
def test_threads_that_share_a_set(port, threads, delay):
    told, _ = run_host("deceived", "workers", port, threads, base_delay_ms=delay, max_attempts=2, diag=None)
    assert told == {"deceptions": "0"}


def test_closed_while_its_error_is_read(port):
    told, _ = run_host("deceived", "closed-under", port, base_delay_ms=1, diag=None)
    assert told == {"foreign": "0"}


@pytest.mark.parametrize("when", ["connecting", "quiet", "quiet-reused", "quiet-waited", "reused"])
def test_moved_to_another_number(port, when):
    how = {"connecting": "-", "quiet": "q", "quiet-reused": "qr", "quiet-waited": "qw", "reused": "r"}[when]
    told, _ = run_host("deceived", "moved", port, how, **BRIEF)
    assert told.pop("reused", "yes") == "yes"
    assert told == {"ready": "1", **TRUTH}


def test_a_healthy_socket_on_the_old_number_is_heard(port):
    told, _ = run_host("deceived", "replaced", port, **LONG)
    assert told == {"same_number": "yes", "heard": "1"}


def test_duplicates_do_not_spin(port):
    told, _ = run_host("deceived", "duplicates", port, **LONG)
    assert told["ready"] == "0" and int(told["cpu_ms"]) < 200


@pytest.mark.parametrize("trigger", ["level", "edge"])
def test_data_that_two_registrations_share(port, trigger):
    told, _ = run_host("deceived", "shared", port, trigger, **LONG)
    assert told == {"hidden": "0", "heard": "1", "event": "IN"}


def test_in_more_sets_than_are_followed(port):
    told, _ = run_host("deceived", "many-sets", port, **LONG)
    assert told == {"deceived": "0"}


def test_a_made_connection_that_is_reset():
    told, result = run_host("deceived", "reset", **BRIEF)
    assert told == {"heard": "1", "reset": "1", "same_port": "yes", "error": "ECONNRESET"}
    assert result.diag == b""


@pytest.mark.parametrize("scenario", ["same-set", "short-set"])
def test_select_as_programs_call_it(port, scenario):
    told, _ = run_host("deceived", scenario, port, **BRIEF)
    assert told.pop("changed", "0") == "0"
    assert told == {"ready": "1", **TRUTH}
