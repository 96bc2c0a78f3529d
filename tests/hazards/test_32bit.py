"""A 32-bit object in 32-bit programs, on this kernel: with the C library's usual names, and with those that programs with 64-bit
time call. It shares the host's state with 64-bit processes."""

import json
import subprocess
from pathlib import Path

import pytest
from foreign import Foreign
from harness import BUILD, ROOT, built, events, need, run
from hosts import ENDLESS, Host, LatePort, compiled, said as told
from test_waits import BRIEF, WAITS, among

TIME64 = ("-D_TIME_BITS=64", "-D_FILE_OFFSET_BITS=64")
TIMES = pytest.mark.parametrize("flags", [(), TIME64], ids=["time32", "time64"])


@pytest.fixture(scope="module", name="i386")
def made(tmp_path_factory):
    """The kernel's own headers are one set for both sizes, beside those of 64-bit libraries."""
    place = Foreign(tmp_path_factory.mktemp("i386"), "gcc -m32", ["-idirafter", "/usr/include/x86_64-linux-gnu"])
    place.make()
    return place


def test_object_is_what_the_loader_wants(i386):
    checked = subprocess.run([ROOT / "tests" / "elf.sh", i386.object], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("source, names", [
    ("waits", {"__getsockopt64", "__ppoll64", "__pselect64", "__select64"}), ("epolls", {"__epoll_pwait2_time64"}),
    ("sockets", {"__recvmsg64", "__sendmsg64"})])
def test_64_bit_time_has_other_names(i386, source, names):
    """Or what follows would show nothing."""
    listing = subprocess.check_output([need("nm"), "-D", "--undefined-only", i386.host(source, *TIME64)], text=True)
    called = {line.split()[-1].partition("@")[0] for line in listing.splitlines()}
    exported = subprocess.check_output([need("nm"), "-D", "--defined-only", i386.object], text=True)
    assert names <= called and names <= {line.split()[-1] for line in exported.splitlines()}


@TIMES
@pytest.mark.parametrize("wait", WAITS)
def test_waits_recover(i386, flags, wait):
    said = i386.recovers(i386.host("waits", *flags), "recover", wait, -1)
    assert (said["start"], said["calls"], said["descriptors_changed"]) == ("EINPROGRESS", "1", "0")


@TIMES
@pytest.mark.parametrize("wait", ["wait", "pwait2"])
def test_epoll_recovers(i386, flags, wait):
    said = i386.recovers(i386.host("epolls", *flags), "recover", wait, "level", "after", "fd")
    assert (said["count"], said["events"], said["data"]) == ("1", "OUT ", "own")


@TIMES
def test_data_in_a_backoff(i386, flags):
    program = i386.host("sockets", *flags)
    said = i386.recovers(program, "receive", base_delay_ms=300)
    assert "end of file" not in (said["recv"], said["read"], said["message"]) and said["peer"] == "ENOTCONN"
    said = i386.recovers(program, "transmit", base_delay_ms=300)
    assert said["broken_pipes"] == "0" and "ok" not in (said["send"], said["write"], said["message"])


@TIMES
@pytest.mark.parametrize("wait", WAITS)
def test_time_out_of_the_program_is_exact(i386, flags, wait):
    """In its own measure of time; select tells what is left."""
    with LatePort() as port:
        said = told(i386.run(i386.host("waits", *flags), "timeout", wait, 300, port.number, **ENDLESS).stdout)
    assert among({"result": "0", "ready": "no", "failed": "ok"}, said) == {"result": "0", "ready": "no", "failed": "ok"}
    for call in ("first", "second"):
        assert 300 <= int(said[f"{call}_ms"]) < 3000 and said[f"{call}_left_ms"] == "0", said


@pytest.mark.parametrize("wait, argument", [("ppoll", "time"), ("pselect", "time"), ("select", "time"), ("select", "time-with-set")])
def test_senseless_times_are_refused(i386, wait, argument):
    """In a backoff as without us."""
    with LatePort() as port:
        result = i386.run(i386.host("waits", *TIME64), "bad-argument", wait, argument, port.number, **ENDLESS)
    assert told(result.stdout)["answer"] == "EINVAL", result


@pytest.mark.parametrize("count", [1, 16])
def test_blocking_connects_recover(i386, count):
    program = i386.host("threads")
    with LatePort() as port:
        assert told(i386.run(program, "many", port.number, count, shim=False).stdout)["connected"] == "0"
        with Host("threads", "many", port.number, count, program=program, env=i386.env(), **BRIEF, breaker="off") as host:
            host.wait_event("attempt_failed", count)
            with port.open() as server:
                assert host.finish() == {"connected": str(count), "descriptors_changed": "0"}
                assert len(server.wait("accept", count)) == count


# ---- one state for both -----------------------------------------------------------------------------


def seen(state):
    """The destinations of a state file, by this machine's own command."""
    listing = subprocess.run([built(BUILD / "retryshim"), "status", "--json", "--state", state], capture_output=True, text=True)
    assert listing.returncode == 0, listing
    return json.loads(listing.stdout)["destinations"]


@pytest.mark.parametrize("opener", ["i386", "native"])
def test_circuit_that_the_one_opens_the_other_sees(i386, opener, tmp_path):
    state = Path(tmp_path, "state")
    kinds = {"i386": (i386.host("threads"), i386.env()), "native": (compiled("threads"), {})}
    (first, its_env), (second, others_env) = (kinds[kind] for kind in ([opener] + [kind for kind in kinds if kind != opener]))
    with LatePort() as port:
        for _ in range(2):
            run([first, "many", port.number, 1], env=its_env, state=state, max_attempts=1, breaker_threshold=2)
        result = run([second, "many", port.number, 1], env=others_env, state=state, breaker_threshold=2)
    assert [(event["event"], event["reason"]) for event in events(result)] == [("given_up", "breaker")]
    (destination,) = seen(state)
    assert (destination["circuit"], destination["failures_in_a_row"]) == ("open", 3)


def test_one_wakes_the_other(i386, tmp_path):
    """A 32-bit program that would sleep for an hour goes on when a 64-bit one has got through."""
    state = Path(tmp_path, "state")
    slow, quick = {**ENDLESS, "breaker": "off", "state": state}, {**BRIEF, "breaker": "off", "state": state}
    with LatePort() as port:
        with Host("threads", "many", port.number, 1, program=i386.host("threads"), env=i386.env(), **slow) as waiting:
            waiting.wait_event("attempt_failed")
            with Host("threads", "many", port.number, 1, **quick) as trying:
                trying.wait_event("attempt_failed")
                with port.open() as server:
                    assert trying.finish()["connected"] == "1" and waiting.finish()["connected"] == "1"
                    assert len(server.wait("accept", 2)) == 2
    assert len(seen(state)) == 1
