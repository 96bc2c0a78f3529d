"""Hooks that are called before the shim's constructor ran, and after main() is over."""

import pytest
from harness import SHIM, built, run
from hosts import SLOW, Host, LatePort, compiled, folder, said, shared

MOMENTS = ["EARLY_CONSTRUCTOR", "EARLY_ATEXIT", "EARLY_DESTRUCTOR"]
ORDERS = {"before": "{early}:{shim}", "after": "{shim}:{early}"}


def preload(order):
    return ORDERS[order].format(early=shared("early"), shim=built(SHIM))


def recovers(host, port, moment):
    failed = host.wait_event("attempt_failed")[0]
    with port.open() as server:
        assert host.finish()[moment] == "ok"
        assert len(server.wait("accept", 1)) == 1
    assert (failed["operation"], failed["target"]) == ("connect", f"127.0.0.1:{port.number}")
    assert failed["program"] == host.process.args[0].rpartition("/")[2]
    assert [event["event"] for event in host.events()][-1] == "succeeded"
    assert host.stderr == b""


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_from_a_preloaded_library(moment, order):
    with LatePort() as port, \
            Host("idle", env={"LD_PRELOAD": preload(order), moment: port.number}, **SLOW) as host:
        recovers(host, port, moment)


@pytest.mark.parametrize("moment", MOMENTS)
def test_from_a_needed_library(moment):
    """The program is linked with it; it fails without the shim."""
    library = shared("early")
    flags = ["-Wl,--no-as-needed", library, f"-Wl,-rpath,{folder()}"]
    program = compiled("idle", *flags, output="idle-needs-early")
    with LatePort() as port:
        alone = run([program], shim=False, env={moment: port.number})
        assert said(alone.stdout)[moment] == "ECONNREFUSED"
        with Host("idle", env={moment: port.number}, program=program, **SLOW) as host:
            recovers(host, port, moment)


def test_diagnostics_on_standard_error_before_the_constructor():
    with LatePort() as port:
        env = {"LD_PRELOAD": preload("after"), "EARLY_CONSTRUCTOR": port.number}
        result = run([compiled("idle")], env=env, diag_file=None, diag_format="text", max_attempts=2, base_delay_ms=1)
    lines = result.stderr.decode().splitlines()
    assert len(lines) == 2 and "attempt 1/2 failed: ECONNREFUSED" in lines[0] and "All 2 attempts" in lines[1]
    assert said(result.stdout) == {"EARLY_CONSTRUCTOR": "ECONNREFUSED", "main": "reached"}


@pytest.mark.parametrize("order, first", [("after", True), ("before", False)])
def test_order_of_constructors_is_as_the_tests_assume(order, first):
    """The last in LD_PRELOAD is initialised first."""
    result = run([compiled("idle")], env={"LD_PRELOAD": preload(order), "LD_DEBUG": "files"})
    started = [line.rpartition(": ")[2] for line in result.stderr.decode().splitlines() if "calling init:" in line]
    assert (started.index(shared("early")) < started.index(built(SHIM))) == first
