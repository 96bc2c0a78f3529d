"""Name look-ups take part in what the processes of a host know: one asks for all, and its answer lets all go on."""

import pytest

from host_state import LOOKS, SLEEPS, state, told  # noqa: F401
from network import SOON, Running, network  # noqa: F401
from test_getaddrinfo import SERVFAIL, NameServer, asking

pytestmark = pytest.mark.usefixtures("network")

NAME = "host.test"
LOOK_UP = asking(["getent", "ahosts", NAME])
# Two backoffs of a second each, so that a busy machine keeps their order.
THREE = {"base_delay_ms": 1000, "multiplier": 1, "jitter": "none", "max_attempts": 3}


def two_in_turn(**options):
    """Two programs whose name server fails, the second started in the first one's backoff; and the look-ups of both."""
    with NameServer([SERVFAIL] * 100) as names, Running(LOOK_UP, **THREE, **options) as first:
        first.wait("attempt_failed")
        with Running(LOOK_UP, **THREE, **options) as second:
            return first.result(), second.result(), names.count()


def test_failure_of_another_counts(state):
    first, second, lookups = two_in_turn(state=state)
    assert (first.returncode, second.returncode) == (2, 2) and lookups == 4
    # The second one's first attempt comes in the first one's backoff, and is its second; and so on.
    assert told(first) == ["attempt_failed", "attempt_failed shared", "exhausted shared"]
    assert told(second) == ["attempt_failed", "attempt_failed", "exhausted"]


def test_each_asks_for_itself_without_sharing():
    assert two_in_turn()[2] == 6


def test_success_of_another_wakes(state):
    """The sleeper's own backoff would last for long."""
    with Running(LOOK_UP, state=state, **SLEEPS) as sleeper, Running(LOOK_UP, state=state, **LOOKS) as scout:
        sleeper.wait("attempt_failed")
        scout.wait("attempt_failed")
        with NameServer() as names:
            results = [scout.result(), sleeper.result()]
            assert names.count() == 2
    assert [told(result)[-1] for result in results] == ["succeeded"] * 2
    assert all(result.stdout.startswith(b"127.0.0.1") and result.seconds < SOON for result in results)
