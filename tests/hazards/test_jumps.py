"""siglongjmp out of a backoff leaves nothing locked, open or switched off."""

import pytest
from harness import SHIM, built
from hosts import SLOW, Host, LatePort, shared

CLEAN = {"descriptors_changed": "0", "mask_changed": "0", "cancel": "enabled"}


def storm(scenario, port, times, operation, env=None):
    with Host("jumps", scenario, port.number, times, env=env, **SLOW) as host:
        left = dict(host.wait_line().split("=") for _ in range(4))
        assert int(left.pop("jumped")) > times / 2
        assert left == CLEAN
        assert host.events("attempt_failed")[0]["operation"] == operation
        operations = {event["op"] for event in host.events()}
        # The jumps skip most backoffs; the last connect's own begins when a new operation shows.
        host.wait_event("attempt_failed", len(host.events("attempt_failed")) + 1)
        with port.open() as server:
            assert host.finish()["connect"] == "ok"
            assert len(server.wait("accept", 1)) == 1
        last = host.events()[-1]
        assert last["event"] == "succeeded" and last["operation"] == "connect"
        return operations


def test_out_of_connect():
    with LatePort() as port:
        assert len(storm("connects", port, 1000, "connect")) > 500


def test_out_of_getaddrinfo():
    env = {"LD_PRELOAD": f"{built(SHIM)}:{shared('resolver')}", "RESOLVER_FAILURES": 1000000}
    with LatePort() as port:
        assert len(storm("lookups", port, 300, "getaddrinfo", env)) > 150


@pytest.mark.parametrize("scenario", ["connects", "lookups"])
def test_nothing_to_jump_out_of_without_the_shim(scenario):
    """The same program alone: a refused connect ends long before the alarm."""
    with LatePort() as port, Host("jumps", scenario, port.number, 20, shim=False) as host:
        assert host.finish()["connect"] == "ECONNREFUSED"
