"""epoll: a non-blocking connect recovers in any kind of set, by any kind of registration, and nothing else changes."""

import signal

import pytest
from harness import events
from hosts import ENDLESS, Host, LatePort, run_host
from test_waits import BRIEF, among, check_recovered, fails_without, recovers

TRIGGERS = ["level", "edge", "oneshot", "exclusive"]
WAITS = ["wait", "pwait", "pwait2"]


def check(expected, said):
    assert among(expected, said) == expected


# ---- recoveries ----------------------------------------------------------------------------------


def check_one_event(said, trigger):
    """Nothing but the connection itself is told, once unless the program asked for the level."""
    further = {"level": "1", "exclusive": "1"}.get(trigger, "0")
    check({"start": "EINPROGRESS", "count": "1", "events": "OUT ", "data": "own", "further": further, "descriptors_changed": "0"}, said)


REGISTRATIONS = [("recover", trigger) for trigger in [*TRIGGERS, "edge-oneshot"]]
REGISTRATIONS += [("ring-recover", trigger) for trigger in TRIGGERS if trigger != "oneshot"]


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("scenario, trigger", REGISTRATIONS)
def test_registrations(scenario, trigger, order):
    check_one_event(recovers("epolls", scenario, "wait", trigger, order, "fd"), trigger)


def check_honest(*arguments):
    """What cannot be recovered is as the kernel's: the event, the error, and not a word."""
    with LatePort() as port:
        without, _ = run_host("epolls", *arguments, port.number, shim=False)
        said, result = run_host("epolls", *arguments, port.number, **BRIEF)
    assert said == without and said["connect"] == "ECONNREFUSED"
    assert result.diag == b""


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("trigger", ["oneshot", "edge-oneshot"])
def test_oneshot_through_io_uring(trigger, order):
    """Fired, nobody knows any more what it was for."""
    check_honest("ring-recover", "wait", trigger, order, "fd")


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("data", ["pointer", "garbage", "zero"])
@pytest.mark.parametrize("scenario", ["recover", "ring-recover"])
def test_data_of_the_program(scenario, data, order):
    check_one_event(recovers("epolls", scenario, "wait", "edge", order, data), "edge")


@pytest.mark.parametrize("trigger", TRIGGERS)
@pytest.mark.parametrize("wait", ["pwait", "pwait2"])
def test_other_waits(wait, trigger):
    check_one_event(recovers("epolls", "recover", wait, trigger, "after", "fd"), trigger)


@pytest.mark.parametrize("trigger", TRIGGERS)
@pytest.mark.parametrize("wait", WAITS)
def test_looks_that_do_not_wait(wait, trigger):
    check({"count": "1", "events": "OUT ", "data": "own"}, recovers("epolls", "looks", wait, trigger))


@pytest.mark.parametrize("attempts", [1, 3])
@pytest.mark.parametrize("trigger", TRIGGERS)
def test_last_failure_looks_as_the_kernels(trigger, attempts):
    """The event, the errno once, and what the set says then."""
    with LatePort() as port:
        without, _ = run_host("epolls", "exhausted", trigger, port.number, shim=False)
        said, result = run_host("epolls", "exhausted", trigger, port.number, max_attempts=attempts, base_delay_ms=20)
    assert said == without and without["connect"] == "ECONNREFUSED"
    assert len([event for event in events(result) if event["event"] == "attempt_failed"]) == attempts - 1


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_switched_off(trigger):
    with LatePort() as port:
        without, _ = run_host("epolls", "exhausted", trigger, port.number, shim=False)
        said, result = run_host("epolls", "exhausted", trigger, port.number, nonblock=0, **ENDLESS)
    assert said == without and events(result) == []


# ---- the program's own limits, and its other descriptors -----------------------------------------


@pytest.mark.parametrize("wait", WAITS)
def test_time_out_of_the_program_is_exact(wait):
    with LatePort() as port:
        fails_without("epolls", "timeout", wait, 300, port.number)
        said, _ = run_host("epolls", "timeout", wait, 300, port.number, **ENDLESS)
    for call in ("first", "second"):
        assert 300 <= int(said[f"{call}_ms"]) < 1800 and int(said[f"{call}_cpu_ms"]) < 100, said


@pytest.mark.parametrize("data", ["own", "same"])
@pytest.mark.parametrize("trigger", ["level", "edge"])
def test_other_descriptors_are_delivered_at_once(trigger, data):
    """Each exactly once, also when the program gives all of them the same data."""
    check({"delivered": "3", "count": "1", "events": "OUT "},
          recovers("epolls", "others", trigger, data, base_delay_ms=400))


def test_event_of_another_descriptor_with_the_same_data():
    check({"pipe": "1", "count": "1", "events": "OUT "}, recovers("epolls", "same-data"))


def test_event_of_another_descriptor_whose_data_looks_like_ours():
    """Taken for ours, it ends the retry: the error is told, as without us."""
    check_honest("index-data")


def test_data_of_a_closed_socket_is_used_again():
    with LatePort() as port:
        fails_without("epolls", "data-again", port.number)
        with Host("epolls", "data-again", port.number, **BRIEF) as host:
            host.wait_event("attempt_failed", 2)
            with port.open() as server:
                said = host.finish()
                check_recovered(host, server, said)
        check({"count": "1", "events": "OUT "}, said)


# ---- several sets, sets in sets, duplicates ------------------------------------------------------


@pytest.mark.parametrize("trigger", TRIGGERS)
@pytest.mark.parametrize("sets", [3])
def test_several_sets(sets, trigger):
    check({"silent": str(sets), "told": str(sets)}, recovers("epolls", "several", trigger, sets))


@pytest.mark.parametrize("trigger", TRIGGERS)
@pytest.mark.parametrize("wait", ["epoll", "poll", "select"])
def test_set_inside_a_wait(wait, trigger):
    check({"in_vain": "a few", "events": "OUT ", "data": "own"}, recovers("epolls", "nested", wait, trigger))


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("kind", ["duplicate", "duplicate-original-closed", "duplicate-original-reused"])
def test_duplicates(kind, order):
    check({"count": "1", "events": "OUT ", "data": "own"}, recovers("epolls", "duplicate", kind, "epoll", order))


@pytest.mark.parametrize("order", ["before", "after"])
def test_registration_of_a_descriptor_that_was_closed(order):
    """A duplicate keeps the socket in the set, and nobody can silence it there."""
    check_honest("duplicate", "original-then-closed", "epoll", order)


# ---- threads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("trigger", ["edge", "oneshot"])
def test_one_of_several_threads_gets_the_event(trigger):
    check({"count": "1", "wrong": "0", "late": "0"}, recovers("epoll_threads", "threads", trigger))


@pytest.mark.parametrize("scenario", ["left-alone", "left-waiting"])
@pytest.mark.parametrize("trigger", TRIGGERS)
def test_another_thread_goes_on(scenario, trigger):
    """The one that met the failure never looks again."""
    check({"thread": "event"}, recovers("epoll_threads", scenario, trigger))


@pytest.mark.parametrize("by, trigger", [(by, trigger) for by in ("call", "ring") for trigger in TRIGGERS if (by, trigger) != ("ring", "oneshot")])
def test_thread_that_waited_before_the_connect(by, trigger):
    check({"thread": "event"}, recovers("epoll_threads", "reactor", by, trigger))


@pytest.mark.parametrize("trigger", ["edge", "oneshot"])
def test_storm(trigger):
    """Hundreds of sockets, several threads: all connect, each is told of once, and of nothing else. The backoff is
    longer than a thread is held up between the kernel's answer and its look at it."""
    with LatePort() as port:
        fails_without("epoll_threads", "stormed", trigger, port.number)
        with Host("epoll_threads", "stormed", trigger, port.number, **{**BRIEF, "base_delay_ms": 100}) as host:
            host.wait_event("attempt_failed", 600)
            with port.open("hang") as server:
                said = host.finish()
                check({"once": "200", "connected": "200", "wrong": "0"}, said)
                assert len(server.wait("accept", 200)) == 200


# ---- epoll_ctl in the middle of a backoff --------------------------------------------------------

ANSWERS = {
    "modify": {"modified": "ok"},
    "modify-events": {"modified": "ok"},
    "remove-and-add": {"removed": "ok", "removed_again": "ENOENT", "modified": "ENOENT", "added": "ok"},
    "add-twice": {"added_again": "EEXIST", "modified": "ok"},
    "make-edge": {"modified": "ok"},
    "make-oneshot": {"modified": "ok"},
    "modify-often": {"modified": "ok", "told": "0"},
}


def check_change(change, trigger, registered, changed):
    """The kernel's answers; silence until there is a connection; and what was asked for last counts."""
    told = recovers("epoll_changes", "change", change, trigger, registered, changed, base_delay_ms=300)
    oneshot = change == "make-oneshot" or (trigger == "oneshot" and change != "make-edge")
    check({**ANSWERS[change], "quiet": "0", "count": "1", "events": "OUT ", "data": "own",
           "readable": "not asked" if oneshot else "yes"}, told)


@pytest.mark.parametrize("trigger", ["level", "edge", "oneshot"])
@pytest.mark.parametrize("change", ANSWERS)
def test_changes_in_a_backoff(change, trigger):
    check_change(change, trigger, "call", "call")


@pytest.mark.parametrize("registered", ["ring", "call"])
@pytest.mark.parametrize("trigger", ["level", "edge"])
@pytest.mark.parametrize("change", [change for change in ANSWERS if change != "make-oneshot"])
def test_changes_by_a_ring(change, trigger, registered):
    check_change(change, trigger, registered, "ring")


@pytest.mark.parametrize("registered", ["ring", "call"])
@pytest.mark.parametrize("change", [change for change in ANSWERS if change != "make-oneshot"])
def test_changes_by_a_ring_that_cannot_be_followed(change, registered):
    """EPOLLONESHOT that has fired: what it was for is not known. The failure is told, and so is its error: never
    a connection that is none."""
    with LatePort() as port:
        said, _ = run_host("epoll_changes", "change", change, "oneshot", registered, "ring", port.number, **{**BRIEF, "max_attempts": 2})
    assert said["connect"] == "ECONNREFUSED"


def test_registration_that_is_removed():
    check({"removed": "ok", "result": "1", "count": "0"}, recovers("epoll_changes", "removed", base_delay_ms=300))


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_registration_that_is_made_in_the_backoff(trigger):
    check({"quiet": "0", "count": "1", "events": "OUT ", "data": "own"}, recovers("epoll_changes", "added-late", trigger, base_delay_ms=300))


def test_rules_of_exclusive_registrations():
    with LatePort() as port:
        without, _ = run_host("epoll_changes", "exclusive-rules", port.number, shim=False)
        said, _ = run_host("epoll_changes", "exclusive-rules", port.number, **ENDLESS)
    assert said == without and {"EINVAL", "EEXIST", "ENOENT", "EFAULT"} <= set(without.values())


# ---- signals -------------------------------------------------------------------------------------

MOMENTS = [("wait", "plain")] + [(wait, moment) for wait in WAITS[1:] for moment in ("plain", "during", "pending", "pending-quiet")]


@pytest.mark.parametrize("wait, moment", MOMENTS)
def test_signals(wait, moment):
    """One that the call lets through ends it with EINTR, once, whenever it came."""
    with LatePort() as port:
        fails_without("epolls", "signalled", wait, "during", port.number)
        with Host("epolls", "signalled", wait, moment, port.number, **BRIEF) as host:
            host.wait_event("attempt_failed")
            if not moment.startswith("pending"):
                host.kill_in_backoff(signal.SIGALRM)
            assert [host.wait_line(), host.wait_line()] == ["start=EINPROGRESS", "interrupted=once"]
            with port.open() as server:
                said = host.finish()
                check_recovered(host, server, said)
    check({"count": "1", "interrupted": "1", "handled": "1", "blocked": "no" if moment == "plain" else "yes"}, said)
