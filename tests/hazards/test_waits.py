"""poll, ppoll, select and pselect: a non-blocking connect recovers in the program's own wait, and nothing else changes."""

import contextlib
import signal
import socket
import subprocess

import pytest
from harness import FaultServer, events, need, run
from hosts import ENDLESS, Host, LatePort, compiled, run_host

WAITS = ["poll", "ppoll", "select", "pselect"]
# A backoff that is soon over, as often as it takes.
BRIEF = {"base_delay_ms": 100, "multiplier": "1.0", "max_attempts": 1000, "budget": "off"}
CONNECTED = {"connect": "ok", "error_again": "ok", "greeting": "hello"}
REFUSED = {"start": "EINPROGRESS", "connect": "ECONNREFUSED", "error_again": "ok"}


def among(expected, said):
    """`expected`, if it is what was said under these names; for a readable failure."""
    return {name: said.get(name) for name in expected}


def fails_without(name, *arguments):
    """The program is told of the failure when there is no shim; returns what it said."""
    said, _ = run_host(name, *arguments, shim=False)
    assert said["connect"] == "ECONNREFUSED", said
    return said


def check_recovered(host, server, said):
    assert among(CONNECTED, said) == CONNECTED, (said, host.events())
    assert len(server.wait("accept", 1)) == 1
    assert host.events()[-1]["event"] == "succeeded", host.events()


def recovers(name, *arguments, compiler=(), **retry):
    """Fails without the shim, recovers with it when the port opens late; returns what the host said then."""
    program = compiled(name, *compiler, output=f"{name}-{len(compiler)}") if compiler else compiled(name)
    with LatePort() as port:
        without = run([program, *arguments, port.number], shim=False)
        assert without.returncode == 0 and b"connect=ECONNREFUSED\n" in without.stdout, without
        with Host(name, *arguments, port.number, program=program, **{**BRIEF, **retry}) as host:
            host.wait_event("attempt_failed")
            with port.open() as server:
                said = host.finish()
                check_recovered(host, server, said)
                return said


# ---- recoveries ----------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("timeout", [-1, 0, 30])
def test_recovers(wait, timeout):
    """One long call, calls that do not wait at all, calls that are shorter than the backoff."""
    said = recovers("waits", "recover", wait, timeout)
    assert said["start"] == "EINPROGRESS" and said["descriptors_changed"] == "0"
    assert (int(said["calls"]) == 1) == (timeout == -1)


@pytest.mark.parametrize("wait", WAITS)
def test_descriptor_over_the_size_of_a_set(wait):
    assert recovers("waits", "high", wait)["fd"] == "2000"


def test_among_many_descriptors():
    assert among({"result": "1", "ready": "yes"}, recovers("waits", "many")) == {"result": "1", "ready": "yes"}


def test_second_connect():
    """As a socket that is connecting: EALREADY, then success once, then EISCONN."""
    expected = {"first": "EALREADY", "outcome": "ok", "afterwards": "EISCONN"}
    assert among(expected, recovers("waits", "again")) == expected


def test_second_connect_without_a_wait():
    with LatePort() as port:
        said, _ = run_host("waits", "again-only", port.number, shim=False)
        assert said["outcome"] == "ECONNREFUSED"
        with Host("waits", "again-only", port.number, **BRIEF) as host:
            host.wait_event("attempt_failed")
            with port.open() as server:
                said = host.finish()
                assert said["outcome"] == "ok"
                check_recovered(host, server, said)


def test_error_without_a_wait():
    with LatePort() as port:
        assert run_host("waits", "error-only", port.number, shim=False)[0]["outcome"] == "ECONNREFUSED"
        with Host("waits", "error-only", port.number, **BRIEF) as host:
            host.wait_event("attempt_failed")
            with port.open() as server:
                said = host.finish()
                assert said["outcome"] == "ok"
                check_recovered(host, server, said)


FORTIFIED = ("-O2", "-D_FORTIFY_SOURCE=2")


@pytest.mark.parametrize("wait", ["poll", "ppoll"])
def test_fortified_names(wait):
    program = compiled("waits", *FORTIFIED, output="waits-2")
    called = subprocess.run([need("nm"), "-D", "--undefined-only", program], capture_output=True, text=True, check=True)
    assert f"__{wait}_chk" in called.stdout
    recovers("waits", "recover", wait, -1, compiler=FORTIFIED)


@pytest.mark.parametrize("wait", ["poll", "ppoll"])
def test_fortified_names_still_check(wait):
    program = compiled("waits", *FORTIFIED, output="waits-2")
    without, result = [run([program, "overflow", wait], shim=shim) for shim in (False, True)]
    assert without.returncode == result.returncode == -signal.SIGABRT
    assert without.stderr == result.stderr != b""


# ---- the last failure ----------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", [("exhausted", wait) for wait in WAITS] + [("exhausted-by-connect",)], ids="-".join)
@pytest.mark.parametrize("attempts", [1, 3])
def test_last_failure_looks_as_the_kernels(scenario, attempts):
    """The event, then the errno, once."""
    with LatePort() as port:
        without, _ = run_host("waits", *scenario, port.number, shim=False)
        said, result = run_host("waits", *scenario, port.number, max_attempts=attempts, base_delay_ms=20)
    assert said == without and "ECONNREFUSED" in said.values()
    assert len([event for event in events(result) if event["event"] == "attempt_failed"]) == attempts - 1


@pytest.mark.parametrize("retry", [{"nonblock": 0}, {"enabled": 0}, {"skip_hosts": "127.0.0.1"}, {"hosts": "*.invalid"}],
                         ids=lambda retry: "-".join(retry))
@pytest.mark.parametrize("scenario", [("recover", "poll", "-1"), ("recover", "select", "-1"), ("again",), ("again-only",)],
                         ids="-".join)
def test_switched_off(scenario, retry):
    """Everything as without the shim, and nothing told."""
    with LatePort() as port:
        without, _ = run_host("waits", *scenario, port.number, shim=False)
        said, result = run_host("waits", *scenario, port.number, **{**ENDLESS, **retry})
    assert said == without and "ECONNREFUSED" in said.values()
    assert events(result) == []


# ---- the program's own limits --------------------------------------------------------------------


@pytest.mark.parametrize("wait", WAITS)
def test_time_out_of_the_program_is_exact(wait):
    """The call that meets the failure, and the one after it, end when the program said; neither is busy."""
    with LatePort() as port:
        fails_without("waits", "timeout", wait, 300, port.number)
        said, _ = run_host("waits", "timeout", wait, 300, port.number, **ENDLESS)
    assert among({"result": "0", "ready": "no", "failed": "ok"}, said) == {"result": "0", "ready": "no", "failed": "ok"}
    for call in ("first", "second"):
        assert 300 <= int(said[f"{call}_ms"]) < 1800, said
        assert int(said[f"{call}_cpu_ms"]) < 100, said
        assert said[f"{call}_left_ms"] == "0"


@pytest.mark.parametrize("wait", WAITS)
def test_time_out_is_exact_over_many_attempts(wait):
    with LatePort() as port:
        said, result = run_host("waits", "timeout", wait, 300, port.number, **{**BRIEF, "base_delay_ms": 7})
    assert 300 <= int(said["first_ms"]) < 1800 and 300 <= int(said["second_ms"]) < 1800, said
    assert len(events(result)) > 10


@pytest.mark.parametrize("wait", WAITS)
def test_other_descriptors_are_delivered_at_once(wait):
    """One that is ready with the failure, and one that becomes ready in the backoff."""
    with LatePort() as port:
        fails_without("waits", "others", wait, port.number)
        said, _ = run_host("waits", "others", wait, port.number, **ENDLESS)
    expected = {"result": "1", "ready": "no", "other": "yes", "second_result": "1", "second_other": "yes"}
    assert among(expected, said) == expected
    assert int(said["first_ms"]) < 1500 and 100 <= int(said["second_ms"]) < 1600
    if wait == "select":
        for call in ("first", "second"):
            assert 9900 <= int(said[f"{call}_ms"]) + int(said[f"{call}_left_ms"]) < 11500, said


# ---- signals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", ["restart", "interrupt"])
@pytest.mark.parametrize("wait", WAITS)
def test_handler_ends_the_call(wait, flags):
    """EINTR, as a wait is never restarted; the next call recovers."""
    with LatePort() as port, Host("wait_signals", "signalled", wait, flags, port.number, **BRIEF) as host:
        host.kill_in_backoff(signal.SIGALRM)
        assert [host.wait_line(), host.wait_line()] == ["start=EINPROGRESS", "interrupted=once"]
        with port.open() as server:
            said = host.finish()
            check_recovered(host, server, said)
    assert (said["interrupted"], said["handled"]) == ("1", "1")


@pytest.mark.parametrize("moment", ["during", "pending", "pending-quiet"])
@pytest.mark.parametrize("wait", ["ppoll", "pselect"])
def test_mask_of_the_call(wait, moment):
    """A signal that the call alone lets through ends it, once, also when it was pending before."""
    with LatePort() as port:
        fails_without("wait_signals", "masked", wait, "during", port.number)
        with Host("wait_signals", "masked", wait, moment, port.number, **BRIEF) as host:
            host.wait_event("attempt_failed")
            if moment == "during":
                host.kill_in_backoff(signal.SIGALRM)
            assert [host.wait_line(), host.wait_line()] == ["start=EINPROGRESS", "interrupted=once"]
            with port.open() as server:
                said = host.finish()
                check_recovered(host, server, said)
    assert (said["interrupted"], said["handled"], said["blocked"]) == ("1", "1", "yes")


@pytest.mark.parametrize("wait", ["ppoll", "pselect"])
def test_storm_of_signals(wait):
    """Each handler that has run has ended one call."""
    with LatePort() as port, Host("wait_signals", "stormed", wait, port.number, **{**BRIEF, "base_delay_ms": 10}) as host:
        host.wait_event("attempt_failed", 15)
        with port.open() as server:
            said = host.finish()
            check_recovered(host, server, said)
    assert (said["each_once"], said["many"]) == ("yes", "yes")


@pytest.mark.parametrize("wait", ["poll", "select"])
def test_cancelled_thread(wait):
    """It ends, with its mask as it was, and leaves the connect to the others."""
    said = recovers("wait_signals", "cancelled", wait)
    assert (said["thread"], said["mask"]) == ("cancelled", "kept")


# ---- bad arguments -------------------------------------------------------------------------------


BAD = {"poll": ["pointer", "count"], "ppoll": ["time"], "pselect": ["time"],
       "select": ["count", "time", "time-with-set", "pointer", "descriptor"]}


@pytest.mark.parametrize("wait, argument", [(wait, argument) for wait, arguments in BAD.items() for argument in arguments])
def test_bad_argument_gets_the_kernels_answer(wait, argument):
    with LatePort() as port:
        without, _ = run_host("waits", "bad-argument", wait, argument, port.number, shim=False)
        said, _ = run_host("waits", "bad-argument", wait, argument, port.number, **ENDLESS)
    assert said == without and without["answer"] in ("EFAULT", "EINVAL", "EBADF")


def test_select_of_more_descriptors_than_there_are():
    assert among({"result": "1", "ready": "yes"}, recovers("waits", "select-all")) == {"result": "1", "ready": "yes"}


# ---- unix sockets --------------------------------------------------------------------------------


@contextlib.contextmanager
def full_queue(path):
    """A unix listener whose queue is full."""
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(path))
        listener.listen(0)
        first.connect(str(path))
        yield listener


@pytest.mark.parametrize("timeout", [-1, 0])
@pytest.mark.parametrize("wait", WAITS)
def test_unix_socket_with_a_full_queue(wait, timeout, tmp_path):
    with full_queue(tmp_path / "s") as listener:
        assert run_host("waits", "recover", wait, timeout, tmp_path / "s", shim=False)[0]["start"] == "EAGAIN"
        with Host("waits", "recover", wait, timeout, tmp_path / "s", **BRIEF) as host:
            assert host.wait_event("attempt_failed")[0]["error"] == "EAGAIN"
            listener.accept()[0].close()
            listener.settimeout(10)
            with listener.accept()[0] as connection:
                connection.send(b"hello")
                said = host.finish()
    assert among(CONNECTED, said) == CONNECTED and said["start"] == "EINPROGRESS" and said["descriptors_changed"] == "0"


@pytest.mark.parametrize("scenario", [("recover", wait, "-1") for wait in WAITS] + [("again",), ("error-only",)], ids="-".join)
@pytest.mark.parametrize("error", ["ENOENT", "ECONNREFUSED"])
def test_unix_server_that_starts_late(scenario, error, tmp_path):
    path = tmp_path / "s"
    if error == "ECONNREFUSED":
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(str(path))
    assert run_host("waits", *scenario, path, shim=False)[0]["start"] == error
    with Host("waits", *scenario, path, unix="all", **BRIEF) as host:
        assert host.wait_event("attempt_failed")[0]["error"] == error
        path.unlink(missing_ok=True)
        with FaultServer("greet=hello", unix=path) as server:
            said = host.finish()
            check_recovered(host, server, said)


@pytest.mark.parametrize("mode, error", [("off", "EAGAIN"), ("off", "ENOENT"), ("off", "ECONNREFUSED"), ("busy", "ENOENT"),
                                         ("busy", "ECONNREFUSED")])
def test_unix_errors_that_are_not_retried(mode, error, tmp_path):
    """At once, from connect itself."""
    path = tmp_path / "s"
    with full_queue(path) if error == "EAGAIN" else contextlib.nullcontext():
        if error == "ECONNREFUSED":
            with socket.socket(socket.AF_UNIX) as gone:
                gone.bind(str(path))
        said, _ = run_host("waits", "recover", "poll", -1, path, unix=mode, **ENDLESS)
    assert said == {"start": error, "connect": error}


@pytest.mark.parametrize("wait", ["poll", "select"])
def test_unix_failure_that_stays(wait, tmp_path):
    """What connect would have said is told by the event and SO_ERROR."""
    said, _ = run_host("waits", "exhausted", wait, tmp_path / "s", unix="all", max_attempts=3, base_delay_ms=20)
    expected = {"start": "EINPROGRESS", "ready": "yes", "connect": "ENOENT", "error_again": "ok"}
    assert among(expected, said) == expected
