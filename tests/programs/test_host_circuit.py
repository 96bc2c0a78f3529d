"""The circuit of a destination: what opens it, what an open one does to programs of every kind, what closes it."""

import errno
import os
import signal

import pytest

from harness import FaultServer, events, run, wait_until
from host_state import (  # noqa: F401
    BASH, BLOCKING, CLIENTS, CONNECT, LONG, LOOKS, SLEEPS, Hanging, active_opens, destination, destinations,
    failing_lookup, multi_client,
    state, told)
from multi_hosts import STYLES, done, running
from network import ADDRESS, PORT, SOON, Running, ip, late_server, network, python  # noqa: F401
from nonblock_clients import CLIENTS as PROGRAMS

pytestmark = pytest.mark.usefixtures("network")

QUICK = {"base_delay_ms": 10, "multiplier": 1, "max_attempts": 3}
MINUTE = {"breaker_open_ms": 60000}
# Its time is over for who is configured so.
DUE = {"breaker_open_ms": 1}


def open_circuit(state, argv=None, **options):
    """Two operations that fail with their only attempt."""
    argv = argv or python(BLOCKING, str(PORT), str(PORT))
    run(argv, **{"state": state, "max_attempts": 1, "breaker_threshold": 2, **options})


def test_opens_after_failed_operations_in_a_row(state):
    run(CONNECT, state=state, max_attempts=1, breaker_threshold=2)
    assert (destination(state)["circuit"], destination(state)["failures_in_a_row"]) == ("closed", 1)
    run(CONNECT, state=state, max_attempts=1, breaker_threshold=2)
    seen = destination(state, **MINUTE)
    assert (seen["circuit"], seen["failures_in_a_row"]) == ("open", 2) and 0 < seen["probe_in_ms"] <= 60000


def test_success_in_between_begins_the_row_again(state):
    code = """s = [socket.socket() for _ in range(4)]
assert s[0].connect_ex(("127.0.0.1", PORT)) != 0
listener = socket.create_server(("127.0.0.1", PORT))
s[1].connect(("127.0.0.1", PORT))
listener.close()
s[1].close()
for each in s[2:]:
    assert each.connect_ex(("127.0.0.1", PORT)) != 0
    print("refused", flush=True)
    sys.stdin.readline()"""
    result = run(python(code), state=state, max_attempts=1, breaker_threshold=2)
    assert result.stdout == b"refused\n" * 2, result.stderr
    assert destination(state)["failures_in_a_row"] == 2 and destination(state)["circuit"] == "open"
    code = code.replace("range(4)", "range(3)")
    result = run(python(code), state=state.with_name("other"), max_attempts=1, breaker_threshold=2)
    assert destination(state.with_name("other"))["circuit"] == "closed"


@pytest.mark.parametrize("kind", CLIENTS)
def test_pass_leaves_one_plain_attempt(state, kind):
    alone = run(CLIENTS[kind], shim=False)
    open_circuit(state)
    before = active_opens()
    result = run(CLIENTS[kind], state=state, base_delay_ms=30000, **MINUTE)
    assert active_opens() - before == 1
    assert result.returncode == alone.returncode != 0
    assert told(result) == ["given_up breaker"]


def test_pass_does_not_touch_what_works(state):
    open_circuit(state)
    with FaultServer("200,body=late", port=PORT):
        for argv in CLIENTS.values():
            result = run(argv, state=state, **MINUTE)
            assert result.stdout.endswith(b"late") and result.diag == b""


@pytest.mark.parametrize("kind", CLIENTS)
def test_reject_makes_no_attempt(state, kind):
    alone = run(CLIENTS[kind], shim=False)
    open_circuit(state)
    with FaultServer("200,body=late", port=PORT) as server:  # it would work: nobody is to find out
        before = active_opens()
        result = run(CLIENTS[kind], state=state, breaker="reject", base_delay_ms=30000, **MINUTE)
        assert active_opens() == before and server.accepts() == []
    assert result.returncode == alone.returncode != 0 and result.stdout == b""
    assert told(result) == ["given_up breaker"]
    [entry] = events(result)
    assert (entry["target"], entry["attempt"]) == (ADDRESS, 1)
    assert result.seconds < SOON


@pytest.mark.parametrize("style", STYLES)
def test_reject_in_a_multi(state, style):
    """However the program waits: one message."""
    plain = run(multi_client(style), shim=False)
    open_circuit(state)
    before = active_opens()
    result = run(multi_client(style), state=state, breaker="reject", **MINUTE)
    assert (done(result), done(plain), active_opens()) == ([(0, 7)], [(0, 7)], before)
    assert running(result) in ([], [1, 0]) and told(result) == ["given_up breaker"] and result.seconds < SOON


# These two take it for granted that connect() answers EINPROGRESS: here it fails at once, as with a missing route.
@pytest.mark.parametrize("name", sorted(PROGRAMS.keys() - {"python-selectors", "python-edges"}))
def test_reject_in_many_programs(state, name):
    """Each ends as when the kernel refuses."""
    client = PROGRAMS[name]
    if name == "lftp":  # which has other words for it
        client = client._replace(complaint=b"max-retries exceeded")
    open_circuit(state)
    before = active_opens()
    result = run(client.command(), state=state, breaker="reject", **{**MINUTE, **client.options})
    assert active_opens() == before
    assert result.returncode == client.status and client.complaint in result.stderr, result
    assert told(result) == ["given_up breaker"] * client.operations and result.seconds < LONG


@pytest.mark.parametrize("limit", ["None", str(LONG)], ids=["blocking", "timeout"])
def test_reject_with_the_errno_that_opened_it(state, limit):
    ip("route add unreachable 192.0.2.1/32")
    twice = python(f"""for _ in range(2):
    s = socket.socket()
    s.settimeout({limit})
    try: s.connect(("192.0.2.1", PORT))
    except OSError as error: print(error.errno)""")
    open_circuit(state, twice)
    assert destination(state, f"192.0.2.1:{PORT}")["circuit"] == "open"
    ip("route del unreachable 192.0.2.1/32")  # whoever asks the kernel now is answered otherwise
    before = active_opens()
    result = run(twice, state=state, breaker="reject", **MINUTE)
    assert result.stdout == b"%d\n" % errno.EHOSTUNREACH * 2 and active_opens() == before
    assert told(result) == ["given_up breaker"] * 2
    assert {entry["error"] for entry in events(result)} == {"EHOSTUNREACH"}


@pytest.mark.parametrize("parallel", [[], ["-Z", "--no-progress-meter"]], ids=["easy", "multi"])
def test_reject_with_the_code_that_opened_it(state, parallel):
    """A name that is nowhere."""
    argv = ["curl", "-sS", *parallel, f"http://nowhere.invalid:{PORT}/"]
    assert run(argv, shim=False).returncode == 6
    for _ in range(2):
        assert run(argv, state=state, max_attempts=1, breaker_threshold=2).returncode == 6
    assert destination(state, f"nowhere.invalid:{PORT}")["circuit"] == "open"
    result = run(argv, state=state, breaker="reject", **MINUTE)
    assert (result.returncode, told(result)) == (6, ["given_up breaker"])


def test_a_broken_handshake_says_nothing_of_the_host(state):
    """It may be of the client's own settings."""
    with FaultServer("close", port=PORT) as server:
        argv = ["curl", "-sS", server.url.replace("http:", "https:")]
        for _ in range(3):
            assert run(argv, state=state, max_attempts=1, breaker_threshold=2).returncode == 35
        assert destination(state)["circuit"] == "closed"


def test_a_programs_own_limit_opens_nothing(state):
    with Hanging() as port:
        port.hang()
        for _ in range(2):
            result = run(["curl", "-sS", "--connect-timeout", "0.2", f"http://{ADDRESS}/"], state=state, max_attempts=1,
                         breaker_threshold=2)
            assert result.returncode == 28
    assert (destination(state)["circuit"], destination(state)["failures_in_a_row"]) == ("closed", 0)


def test_reject_of_one_transfer_among_others(state):
    open_circuit(state)
    with FaultServer("200,body=there", port=PORT + 1) as there:
        urls = [f"{there.url}/{number}" for number in range(3)] + [f"http://{ADDRESS}/"]
        result = run(["curl", "-s", "-Z", "--no-progress-meter", *urls, "-w", "%{exitcode} "], state=state,
                     breaker="reject", **MINUTE)
        assert len(there.requests()) == 3
    assert sorted(result.stdout.replace(b"there", b"").split()) == [b"0", b"0", b"0", b"7"]


def test_reject_of_the_name_service(state):
    argv = failing_lookup('socket.getaddrinfo("host.test", PORT)')
    for _ in range(2):
        assert b"Temporary failure in name resolution" in run(argv, state=state, max_attempts=1, breaker_threshold=2).stderr
    [(target, seen)] = destinations(state).items()
    assert target.startswith("host.test") and seen["circuit"] == "open"
    result = run(argv, state=state, breaker="reject", **MINUTE)
    assert b"Temporary failure in name resolution" in result.stderr and told(result) == ["given_up breaker"]


# ---- the probe --------------------------------------------------------------------------------------


@pytest.mark.parametrize("breaker", ["pass", "reject"])
def test_probe_has_all_its_attempts(state, breaker):
    open_circuit(state)
    options = {"state": state, "breaker": breaker, "breaker_open_ms": 1000, **QUICK}
    wait_until(lambda: destination(state, breaker_open_ms=1000)["probe_in_ms"] == 0)
    before = active_opens()
    result = run(BASH, **options)
    assert told(result) == ["attempt_failed", "attempt_failed", "exhausted"]
    assert active_opens() - before == 3
    # It has failed: open once more, for as long again.
    assert destination(state, **MINUTE)["circuit"] == "open" and destination(state, **MINUTE)["probe_in_ms"] > 50000


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("breaker", ["pass", "reject"])
def test_probe_that_recovers_closes_it(state, kind, breaker):
    open_circuit(state)
    options = {"state": state, "breaker": breaker, "breaker_open_ms": 1000}
    wait_until(lambda: destination(state, breaker_open_ms=1000)["probe_in_ms"] == 0)
    with Running(CLIENTS[kind], **{**LOOKS, **options}) as probe, late_server(probe, "200,body=late,close=1"):
        assert destination(state)["circuit"] == "half-open"
        assert probe.result().stdout.endswith(b"late")
    seen = destination(state)
    assert (seen["circuit"], seen["failures_in_a_row"]) == ("closed", 0)


@pytest.mark.parametrize("kind", CLIENTS)
def test_probe_in_which_nothing_has_failed_closes_it(state, kind):
    open_circuit(state)
    with FaultServer("200,body=late,close=1", port=PORT) as server:
        result = run(CLIENTS[kind], state=state, breaker="reject", **DUE)
        assert (result.returncode, result.stdout[-4:], result.diag) == (0, b"late", b"")
        seen = destination(state)
        assert (seen["circuit"], seen["failures_in_a_row"]) == ("closed", 0)
        # For everybody.
        assert run(CLIENTS["blocking"], state=state, breaker="reject", **MINUTE).stdout == b"late"
        assert len(server.requests()) == 2


@pytest.mark.parametrize("breaker", ["pass", "reject"])
def test_half_open_for_one(state, breaker):
    open_circuit(state)
    assert told(run(BASH, state=state, breaker=breaker, **MINUTE)) == ["given_up breaker"]  # its time is not over
    with Running(BASH, state=state, **{**SLEEPS, **DUE}) as probe:
        probe.wait("attempt_failed")
        assert destination(state)["circuit"] == "half-open"
        before = active_opens()
        for argv in CLIENTS.values():
            assert told(run(argv, state=state, breaker=breaker, **MINUTE)) == ["given_up breaker"]
        assert active_opens() - before == (len(CLIENTS) if breaker == "pass" else 0)
        assert destination(state)["circuit"] == "half-open"
        os.kill(probe.events()[0]["pid"], signal.SIGKILL)


def test_half_open_while_the_first_attempt_is_under_way(state):
    open_circuit(state)
    with Hanging() as port:
        port.hang()
        with Running(BASH, state=state, breaker="reject", diag=1, **{**LOOKS, **DUE}) as probe:
            wait_until(lambda: destination(state)["circuit"] == "half-open")
            before = active_opens()
            result = run(BASH, state=state, breaker="reject", **MINUTE)
            assert told(result) == ["given_up breaker"] and active_opens() == before
            port.accept()
            assert probe.result().stdout == b"connected\n"
    assert destination(state)["circuit"] == "closed"


def test_off_never_opens(state):
    options = {"state": state, "breaker": "off", "budget": "off", "breaker_threshold": 1}
    before = active_opens()
    result = run(python(BLOCKING, *[str(PORT)] * 20), **{**options, **QUICK, "max_attempts": 2})
    assert told(result) == ["attempt_failed", "exhausted"] * 20 and active_opens() - before == 40
    assert (destination(state)["circuit"], destination(state)["failures_in_a_row"]) == ("closed", 0)


def test_off_does_not_mind_an_open_one(state):
    open_circuit(state)
    result = run(BASH, state=state, breaker="off", **QUICK)
    assert told(result) == ["attempt_failed", "attempt_failed", "exhausted"]


def test_status_shows_each_state(state):
    run(BASH, state=state, max_attempts=1, breaker_threshold=2)
    assert (destination(state)["circuit"], destination(state)["probe_in_ms"]) == ("closed", None)
    run(BASH, state=state, max_attempts=1, breaker_threshold=2)
    assert destination(state)["circuit"] == "open" and 0 < destination(state, **MINUTE)["probe_in_ms"] <= 60000
    assert destination(state, **DUE)["probe_in_ms"] == 0
    with Running(BASH, state=state, **{**LOOKS, **DUE}) as probe:
        probe.wait("attempt_failed")
        assert destination(state)["circuit"] == "half-open"
        with FaultServer("greet=hello", port=PORT):
            assert probe.result().returncode == 0
    assert (destination(state)["circuit"], destination(state)["probe_in_ms"]) == ("closed", None)
