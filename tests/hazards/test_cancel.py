"""pthread_cancel ends a thread of ours at once; the others recover."""

import socket

import pytest
from harness import run
from hosts import ENDLESS, SLOW, Host, LatePort, compiled, said


def others_recover(host, port):
    """The host has said that it goes on; its other thread then fails first and recovers."""
    told = len(host.events("attempt_failed"))
    while host.wait_line() != "now=others":
        assert host.process.poll() is None
    host.wait_event("attempt_failed", told + 1)
    with port.open() as server:
        said = host.finish()
        assert (said["connect"], said["descriptors_changed"]) == ("ok", "0")
        assert len(server.wait("accept", 1)) == 1
    assert host.events()[-1]["event"] == "succeeded"


@pytest.mark.parametrize("scenario", ["backoff", "asynchronous"])
def test_during_a_backoff(scenario):
    with LatePort() as port, Host("cancel", scenario, port.number, **{**SLOW, "base_delay_ms": 1000}) as host:
        host.wait_event("attempt_failed")
        assert host.wait_line() == "thread=cancelled"
        # Cancelled within its first backoff: no second line of that operation.
        assert len(host.events()) <= 2
        others_recover(host, port)
        assert host.events("given_up") == []


def test_during_an_attempt_the_send_timeout_is_restored():
    """The second attempt hangs in a full queue, with what is left of SO_SNDTIMEO."""
    with LatePort() as port, LatePort() as full, \
            Host("cancel", "attempt", port.number, full.number, **{**SLOW, "base_delay_ms": 1100}) as host:
        assert host.wait_line() == "now=hang"
        full.holder.listen(0)
        with socket.create_connection(("127.0.0.1", full.number)):
            assert host.wait_line() == "shortened=yes"
            assert host.wait_line() == "thread=cancelled"
            assert host.wait_line() == "restored=yes"
        others_recover(host, port)


def test_while_diagnostics_are_written():
    with LatePort() as port, Host("cancel", "storm", port.number, 500, **SLOW) as host:
        assert host.wait_line() == "stuck=0"
        others_recover(host, port)
        whole = [event for event in host.events() if event["event"] == "attempt_failed"]
        assert len(whole) > 50


def test_endless_backoff_is_cancelled_promptly():
    with LatePort() as port, Host("cancel", "backoff", port.number, **ENDLESS) as host:
        assert host.wait_line() == "thread=cancelled"


@pytest.mark.parametrize("wait", ["poll", "ppoll", "select", "pselect", "epoll_wait", "epoll_pwait", "epoll_pwait2"])
def test_in_a_wait_while_nothing_is_pending(wait):
    """The unwinder goes through the wait's frame: the caller's own cleanup runs."""
    result = run([compiled("unwound", "-fexceptions"), wait])
    assert said(result.stdout) == {"thread": "cancelled", "cleaned": "yes"}, result
