"""pthread_cancel in a backoff that is shared with other processes: at once, and nobody waits for the dead."""

import pytest
from harness import run
from hosts import ENDLESS, SLOW, Host, LatePort


@pytest.mark.parametrize("scenario", ["backoff", "asynchronous"])
def test_cancelled_in_an_endless_backoff(tmp_path, scenario):
    with LatePort() as port, Host("cancel", scenario, port.number, state=tmp_path / "state", **ENDLESS) as host:
        assert host.wait_line() == "thread=cancelled"
        assert host.wait_line() == "now=others"
        # Its claim is an hour off. The thread that comes now has no backoff of its own that could be waited for.
        host.wait_event("attempt_failed", 2)
        with port.open():
            other = run(["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port.number}"], state=tmp_path / "state")
            assert other.returncode == 0
    assert host.events("given_up") == []


@pytest.mark.parametrize("scenario", ["backoff", "asynchronous"])
def test_cancelled_while_it_rides(tmp_path, scenario):
    """Another process has the claim; the cancelled thread leaves nothing behind, and the others go on."""
    options = {**SLOW, "base_delay_ms": 1000, "state": tmp_path / "state"}
    with LatePort() as port, Host("cancel", scenario, port.number, **options) as first:
        first.wait_event("attempt_failed")
        with Host("cancel", scenario, port.number, **options) as second:
            assert second.wait_line() == "thread=cancelled" and first.wait_line() == "thread=cancelled"
            assert (first.wait_line(), second.wait_line()) == ("now=others", "now=others")
            first.wait_event("attempt_failed", 2)
            second.wait_event("attempt_failed", 2)
            with port.open():
                for host in first, second:
                    said = host.finish()
                    assert (said["connect"], said["descriptors_changed"]) == ("ok", "0")
