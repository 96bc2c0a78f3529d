"""Other preloaded libraries that interpose the same functions, in front of ours and behind."""

import pytest
from harness import SHIM, built
from hosts import SLOW, Host, LatePort, library, run_host, shared

# libsocket_wrapper asks the C library itself, past whatever was preloaded behind it.
RECOVERING = [("libfaketime", "ours"), ("libfaketime", "theirs"), ("libsocket_wrapper", "ours"),
              ("libeatmydata", "ours"), ("libeatmydata", "theirs")]
OTHERS = {"libfaketime": "faketime/libfaketime.so.1", "libsocket_wrapper": "libsocket_wrapper.so",
          "libeatmydata": "libeatmydata.so"}
SETTINGS = {"FAKETIME": "-400d"}


def preload(name, first):
    both = [built(SHIM), library(OTHERS[name])]
    return {**SETTINGS, "LD_PRELOAD": ":".join(both if first == "ours" else reversed(both))}


@pytest.mark.parametrize("name, first", RECOVERING)
def test_recovers_beside(name, first):
    with LatePort() as port, Host("signals", "once", port.number, env=preload(name, first), **SLOW) as host:
        host.wait_event("attempt_failed")
        with port.open() as server:
            told = host.finish()
            assert (told["connect"], told["descriptors_changed"]) == ("ok", "0")
            assert len(server.wait("accept", 1)) == 1
        assert host.stderr == b""


@pytest.mark.parametrize("name", OTHERS)
def test_fails_beside_them_without_us(name):
    with LatePort() as port:
        told, _ = run_host("signals", "once", port.number, shim=False, env={**SETTINGS, "LD_PRELOAD": library(OTHERS[name])})
        assert told["connect"] == "ECONNREFUSED"


def test_library_that_passes_us_by():
    with LatePort() as port:
        told, result = run_host("signals", "once", port.number, env=preload("libsocket_wrapper", "theirs"))
        assert told == {"connect": "ECONNREFUSED", "handled": "0", "descriptors_changed": "0"}
        assert result.diag + result.stderr == b""


def test_counts_every_attempt_behind_us_and_one_in_front():
    ours, tally = built(SHIM), shared("tally")
    for order, connects in ((f"{ours}:{tally}", "3"), (f"{tally}:{ours}", "1")):
        with LatePort() as port:
            told, _ = run_host("sandbox", "denied", port.number, "none", env={"LD_PRELOAD": order}, base_delay_ms=1)
            assert (told["connect"], told["connects"]) == ("ECONNREFUSED", connects)
