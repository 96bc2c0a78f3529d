"""Forked, vforked and spawned children: their jitter, their ids, their recovery."""

import pytest
from hosts import ENDLESS, SLOW, Host, LatePort, run_host


def first_failures(scenario, children, **retry):
    """The first event of the parent and of each child; all of them then back off until they are killed."""
    with LatePort() as port, Host("forks", scenario, port.number, children, **{**ENDLESS, **retry}) as host:
        events = host.wait_event("attempt_failed", children + 1)
        assert len({event["pid"] for event in events}) == children + 1
        return events


@pytest.mark.parametrize("scenario", ["before", "during"])
def test_jitter_differs_between_relatives(scenario):
    delays = [event["delay_ms"] for event in first_failures(scenario, 20, jitter="full")]
    # 21 draws out of 3.6 million: one pair alike is chance already (1 in 17,000).
    assert len(set(delays)) >= 20
    assert max(delays) - min(delays) > 1000000


def test_seed_repeats_the_jitter():
    def run(seed):
        return {event["delay_ms"] for event in first_failures("before", 3, jitter="full", seed=seed)}

    assert run(7) == run(7) != run(8)
    assert len(run(7)) == 1


@pytest.mark.parametrize("scenario", ["before", "during"])
def test_operation_ids_are_unique(scenario):
    events = first_failures(scenario, 50, jitter="none", seed=7)
    assert len({event["op"] for event in events}) == 51


def test_vfork_child_recovers_and_its_parent_too():
    with LatePort() as port, Host("forks", "vfork", port.number, **SLOW) as host:
        host.wait_event("attempt_failed")
        with port.open() as server:
            assert host.finish() == {"child": "42", "connect": "ok", "descriptors_changed": "0"}
            assert len(server.wait("accept", 2)) == 2
        assert {event["pid"] == host.process.pid for event in host.events()} == {False}


def test_vfork_child_killed_in_its_backoff_leaves_the_parent_sound():
    with LatePort() as port, Host("forks", "vfork-killed", port.number, **SLOW) as host:
        assert host.wait_line() == "child=142"
        told = len(host.events("attempt_failed"))
        host.wait_event("attempt_failed", told + 1)
        with port.open() as server:
            assert host.finish()["connect"] == "ok"
            assert len(server.wait("accept", 1)) == 1
        assert host.events()[-1]["event"] == "succeeded"


@pytest.mark.parametrize("scenario", ["spawn", "system"])
def test_spawned_child_recovers(scenario):
    with LatePort() as port, Host("forks", scenario, port.number, **SLOW) as host:
        failed = host.wait_event("attempt_failed")
        assert failed[0]["pid"] != host.process.pid
        with port.open() as server:
            assert host.finish() == {"child": "42"}
            assert len(server.wait("accept", 1)) == 1


@pytest.mark.parametrize("scenario", ["vfork", "spawn", "system"])
def test_child_fails_without_the_shim(scenario):
    with LatePort() as port:
        assert run_host("forks", scenario, port.number, shim=False)[0]["child"] == "1"
