"""Signals that arrive while connect() backs off."""

import signal

import pytest
from harness import events, wait_until
from hosts import ENDLESS, SLOW, Host, LatePort, run_host


def recovers(host, port):
    with port.open() as server:
        said = host.finish()
        assert (said["connect"], said["descriptors_changed"]) == ("ok", "0")
        assert len(server.wait("accept", 1)) == 1
    assert host.events()[-1]["event"] == "succeeded"
    return said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGALRM])
def test_default_action_ends_the_program_at_once(number):
    with LatePort() as port, Host("signals", "once", port.number, **ENDLESS) as host:
        host.kill_in_backoff(number)
        host.finish(status=-number, timeout=10)
        assert len(host.events()) == 1


def test_handler_with_restart_does_not_end_the_backoff():
    with LatePort() as port, Host("signals", "handler", port.number, "restart", **SLOW) as host:
        host.kill_in_backoff(signal.SIGALRM)
        assert int(recovers(host, port)["handled"]) == 1


def test_handler_without_restart_gets_the_true_error():
    with LatePort() as port, Host("signals", "handler", port.number, "interrupt", **ENDLESS) as host:
        host.kill_in_backoff(signal.SIGALRM)
        assert host.finish() == {"connect": "ECONNREFUSED", "handled": "1", "descriptors_changed": "0"}
        last = host.events()[-1]
        assert (last["event"], last["reason"], last["error"]) == ("given_up", "signal", "ECONNREFUSED")


@pytest.mark.parametrize("scenario, number", [("once", signal.SIGWINCH), ("once", signal.SIGCHLD),
                                              ("once", signal.SIGURG), ("child-ignored", signal.SIGCHLD)])
def test_signals_without_a_handler_do_not_disturb(scenario, number):
    with LatePort() as port, Host("signals", scenario, port.number, **SLOW) as host:
        host.kill_in_backoff(number)
        recovers(host, port)
        assert "given_up" not in [event["event"] for event in host.events()]


def test_end_of_a_child_does_not_disturb():
    with LatePort() as port, Host("signals", "child-ends", port.number, **SLOW) as host:
        host.wait_event("attempt_failed")
        recovers(host, port)


def test_stopped_and_continued():
    with LatePort() as port, Host("signals", "once", port.number, **SLOW) as host:
        host.wait_event("attempt_failed")
        host.kill(signal.SIGSTOP)
        wait_until(lambda: host.state() == "T", what="stopped")
        host.kill(signal.SIGCONT)
        recovers(host, port)


def test_connect_inside_a_handler():
    with LatePort() as port, Host("signals", "inside", port.number, **SLOW) as host:
        host.wait_event("attempt_failed")
        recovers(host, port)
    with LatePort() as port:
        assert run_host("signals", "inside", port.number, shim=False)[0]["connect"] == "ECONNREFUSED"


def test_connect_inside_a_handler_during_a_backoff():
    """Both end as connects do; whether the inner one is retried is not promised."""
    with LatePort() as port, Host("signals", "both", port.number, **SLOW) as host:
        host.kill_in_backoff(signal.SIGALRM)
        with port.open():
            said = host.finish()
        assert said["connect"] == "ok" and said["handled"] == "1" and said["descriptors_changed"] == "0"
        assert said["handler"] in ("ok", "ECONNREFUSED")
        assert len({event["op"] for event in events(host)}) in (1, 2)
