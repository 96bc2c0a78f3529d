"""Signals, cancellation and inner connects while getaddrinfo() backs off."""

import signal

from harness import SHIM, built, events
from hosts import ENDLESS, SLOW, Host, LatePort, run_host, shared


def failing(times, **more):
    """The environment in which that many look-ups fail."""
    return {"LD_PRELOAD": f"{built(SHIM)}:{shared('resolver')}", "RESOLVER_FAILURES": times, **more}


def test_recovers_and_fails_without_the_shim():
    told, result = run_host("lookups", "once", "restart", env=failing(2), base_delay_ms=1)
    assert told == {"lookup": "ok", "handled": "0", "descriptors_changed": "0"}
    assert [event["event"] for event in events(result)] == ["attempt_failed", "attempt_failed", "succeeded"]
    told, _ = run_host("lookups", "once", "restart", env={**failing(2), "LD_PRELOAD": shared("resolver")})
    assert told["lookup"] == "EAI_AGAIN"


def test_default_action_ends_the_program_at_once():
    with Host("lookups", "once", "restart", env=failing(9), **ENDLESS) as host:
        host.kill_in_backoff(signal.SIGINT)
        host.finish(status=-signal.SIGINT, timeout=10)


def test_handler_with_restart_does_not_end_the_backoff():
    with Host("lookups", "once", "restart", env=failing(1), **SLOW) as host:
        host.kill_in_backoff(signal.SIGALRM)
        assert host.finish() == {"lookup": "ok", "handled": "1", "descriptors_changed": "0"}


def test_handler_without_restart_gets_the_true_error():
    with Host("lookups", "once", "interrupt", env=failing(1), **ENDLESS) as host:
        host.kill_in_backoff(signal.SIGALRM)
        assert host.finish() == {"lookup": "EAI_AGAIN", "handled": "1", "descriptors_changed": "0"}
        assert (host.events()[-1]["event"], host.events()[-1]["reason"]) == ("given_up", "signal")


def test_cancelled():
    with Host("lookups", "cancelled", env=failing(1), **ENDLESS) as host:
        assert host.finish() == {"thread": "cancelled", "descriptors_changed": "0"}


def test_connect_inside_a_lookup_is_tried_once():
    """Three look-ups, each with one connect of a name service module: three connects, not nine."""
    with LatePort() as port:
        env = failing(2, RESOLVER_CONNECTS=port.number)
        env["LD_PRELOAD"] += f":{shared('tally')}"
        told, result = run_host("lookups", "nested", env=env, max_attempts=3, base_delay_ms=1)
    assert told == {"lookup": "ok", "connects": "3"}
    assert {event["operation"] for event in events(result)} == {"getaddrinfo"}
