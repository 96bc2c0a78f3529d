"""Handlers that interrupt a backoff: what they connect is not backed off, what comes after a jump is."""

import signal

from hosts import Host, LatePort

DELAY_MS = 3000
LONG = {"base_delay_ms": DELAY_MS, "multiplier": "1.0", "max_attempts": 10}


def test_a_connect_of_a_handler_during_a_backoff_is_not_backed_off():
    with LatePort() as port, LatePort() as other, Host("handlers", "nested", port.number, other.number, **LONG) as host:
        host.kill_in_backoff(signal.SIGALRM)
        assert host.wait_line() == "handler=ECONNREFUSED"
        assert int(host.wait_line().partition("=")[2]) < DELAY_MS * 2 / 3
        with port.open() as server:
            assert host.finish() == {"connect": "ok"}
            assert len(server.wait("accept", 1)) == 1
        # The outer one went on, undisturbed; of the inner one there is nothing to tell.
        assert {event["target"] for event in host.events()} == {f"127.0.0.1:{port.number}"}
        assert {event["event"] for event in host.events()} == {"attempt_failed", "succeeded"}
        assert len({event["op"] for event in host.events()}) == 1


def test_a_connect_after_a_jump_out_of_a_backoff_is_recovered():
    with LatePort() as port, LatePort() as other, Host("handlers", "jumped", port.number, other.number, **LONG) as host:
        host.kill_in_backoff(signal.SIGALRM)
        host.wait_event("attempt_failed", 2)
        with other.open() as server:
            assert host.finish() == {"connect": "ok"}
            assert len(server.wait("accept", 1)) == 1
        first, second, *_, last = host.events()
        assert (first["target"], second["target"]) == (f"127.0.0.1:{port.number}", f"127.0.0.1:{other.number}")
        assert second["attempt"] == 1 and (last["event"], last["op"]) == ("succeeded", second["op"])
