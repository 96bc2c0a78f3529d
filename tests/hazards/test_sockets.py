"""What programs do to a socket, and to its descriptor, while its non-blocking connect backs off; and real errors of the kernel's."""

import contextlib
import socket
import struct

import pytest
from harness import FaultServer, events
from hosts import ENDLESS, Host, LatePort, compiled, run_host, said
from network import PORT, SOON, Running, ip, network, sysctl, with_files  # noqa: F401
from test_connect_kernel import BROKEN, FAR, full_listener
from test_waits import BRIEF, CONNECTED, among, check_recovered, fails_without, recovers


def check(expected, told):
    assert among(expected, told) == expected


# ---- closed, and the number used again -----------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "close_range", "dup2"])
@pytest.mark.parametrize("kind, peer", [("socket", "ENOTCONN"), ("pipe", "ENOTSOCK"), ("file", "ENOTSOCK")])
def test_number_that_is_another_files(kind, peer, how):
    """Nothing of ours touches it; the program's other connect goes on."""
    with LatePort() as port:
        fails_without("sockets", "reuse", how, kind, port.number)
        with Host("sockets", "reuse", how, kind, port.number, **BRIEF) as host:
            host.wait_event("attempt_failed", 2)
            with port.open() as server:
                told = host.finish()
                check_recovered(host, server, told)
                assert len(server.accepts()) == 1
    check({"at_once": "yes", "peer": peer, "afterwards": "same"}, told)


def test_number_that_connects_anew():
    with LatePort() as port, Host("sockets", "reuse-by-connect", port.number, **BRIEF) as host:
        host.wait_event("attempt_failed", 3)
        with port.open() as server:
            check_recovered(host, server, host.finish())
            assert len(server.accepts()) == 1


def test_dissolved():
    """connect(AF_UNSPEC) ends the backoff; the socket is like new, and may connect again."""
    with LatePort() as port:
        fails_without("sockets", "unspec", port.number)
        with Host("sockets", "unspec", port.number, **BRIEF) as host:
            host.wait_event("attempt_failed", 2)
            with port.open() as server:
                told = host.finish()
                check_recovered(host, server, told)
                assert len(server.accepts()) == 1
    check({"unspec": "ok", "peer": "ENOTCONN", "error": "ok", "fresh": "yes", "fresh_still": "yes"}, told)


@pytest.mark.parametrize("original", ["open", "closed", "reused"])
def test_duplicate(original):
    recovers("sockets", "duplicate", original)


def test_several_numbers_in_one_call():
    assert recovers("sockets", "triplicate", base_delay_ms=500)["busy"] == "no"


# ---- data ----------------------------------------------------------------------------------------


def test_receiving_in_a_backoff_is_no_end_of_file():
    told = recovers("sockets", "receive", base_delay_ms=300)
    assert "end of file" not in (told["recv"], told["read"], told["message"]) and told["peer"] == "ENOTCONN"


def test_sending_in_a_backoff_breaks_no_pipe():
    told = recovers("sockets", "transmit", base_delay_ms=300)
    assert told["broken_pipes"] == "0" and "ok" not in (told["send"], told["write"], told["message"])


def test_reset_before_the_program_looks():
    """Accepted, and reset before the program knows of a connection: it has sent nothing, and gets the next one."""
    with FaultServer("reset") as server:
        assert run_host("sockets", "reset", "silent", server.port, shim=False)[0]["connect"] == "ECONNRESET"
    with FaultServer(["reset", "greet=hello"]) as server:
        told, result = run_host("sockets", "reset", "silent", server.port, base_delay_ms=20)
        check(CONNECTED, told)
        assert len(server.wait("accept", 2)) == 2
    assert [entry["event"] for entry in events(result)] == ["attempt_failed", "succeeded"]


def test_reset_after_data_is_not_retried():
    outcomes = []
    for shim in (False, True):
        with FaultServer(["reset-after", "greet=hello"]) as server:
            told, _ = run_host("sockets", "reset", "sent", server.port, shim=shim)
            outcomes.append(told)
            assert len(server.wait("accept", 1)) == 1
    assert outcomes[0] == outcomes[1] and outcomes[0]["connect"] == "ECONNRESET" and outcomes[0]["sent"] == "18"


# ---- forks ---------------------------------------------------------------------------------------

STATES = ["in-flight", "quiet"]


@pytest.mark.parametrize("child", ["idles", "closes", "waits"])
@pytest.mark.parametrize("state", STATES)
def test_child_leaves_the_connect_to_its_parent(state, child):
    told = recovers("sockets", "forked", state, child)
    assert told["child"] == "42"


@pytest.mark.parametrize("state", STATES)
def test_child_takes_the_connect_over(state):
    recovers("sockets", "inherited", state)


@pytest.mark.parametrize("state", STATES)
def test_parent_and_child_wait_for_the_same_connect(state):
    """Whoever is first connects: there is one connection."""
    with LatePort() as port:
        without, _ = run_host("sockets", "shared", state, port.number, shim=False)
        assert "ECONNREFUSED" in (without["connect"], without.get("child_connect"))
        with Host("sockets", "shared", state, port.number, **BRIEF) as host:
            host.wait_event("attempt_failed", 2)
            with port.open() as server:
                told = host.finish()
                check({**CONNECTED, "child": "42", "child_events": "4", "child_connect": "ok"}, told)
                assert len(server.accepts()) == 1


# ---- several addresses of one name ---------------------------------------------------------------

NAME = "both.test"


def knowing(*arguments):
    argv = [compiled("sockets"), *arguments, NAME, str(PORT)]
    return with_files(argv, hosts=f"::1 {NAME}\\n127.0.0.1 {NAME}\\n", nsswitch_conf="hosts: files\\n")


@pytest.mark.parametrize("scenario", ["addresses", "eyeballs"])
def test_other_address_answers(scenario, network):  # noqa: F811
    """The first one's failure is told at once, and nobody backs off."""
    with FaultServer("greet=hello", port=PORT) as server, Running(knowing(scenario), **ENDLESS) as program:
        result = program.result()
        assert len(server.wait("accept", 1)) == 1
    told = said(result.stdout)
    check({"connect_1": "ECONNREFUSED", "connect_2": "ok", "greeting": "hello"}, told)
    assert int(told["first_ms"]) < 1500 and result.seconds < SOON and events(result) == []


@pytest.mark.parametrize("scenario", ["addresses", "eyeballs"])
def test_last_address_is_retried(scenario, network):  # noqa: F811
    with Running(knowing(scenario), shim=False) as program:
        assert said(program.result().stdout)["connect"] == "ECONNREFUSED"
    with Running(knowing(scenario), **BRIEF) as program:
        program.wait("attempt_failed", 2)
        with FaultServer("greet=hello", port=PORT) as server:
            result = program.result()
            assert len(server.wait("accept", 1)) == 1
    told = said(result.stdout)
    check({"connect_1": "ECONNREFUSED", "connect_2": "ok", "greeting": "hello"}, told)
    assert int(told["first_ms"]) < 1500
    assert len({entry["op"] for entry in events(result)}) == 1


# ---- errors that the kernel itself makes ---------------------------------------------------------


def to(address, scenario="recover"):
    return [compiled("sockets"), scenario, f"{address},{PORT}"]


def told_without(argv):
    with Running(argv, shim=False) as program:
        return said(program.result().stdout)


@contextlib.contextmanager
def recovering(argv, name):
    """Fails with this error without the shim; the caller mends the network once it has failed with it."""
    assert told_without(argv)["connect"] == name
    with Running(argv, **BRIEF) as program:
        assert program.wait("attempt_failed")[0]["error"] == name
        yield program
        result = program.result()
    check({**CONNECTED, "start": "EINPROGRESS"}, said(result.stdout))
    assert events(result)[-1]["event"] == "succeeded"


@pytest.mark.parametrize("breaks, address, name", BROKEN.values(), ids=BROKEN)
def test_unreachable(breaks, address, name, network):  # noqa: F811
    """At once from connect, or (arp) by an ICMP message that the kernel sends itself."""
    breaks()
    with recovering(to(address), name) as program:
        ip(f"addr add {address} dev lo", "nodad" if ":" in address else "")
        with FaultServer("greet=hello", bind=address, port=PORT) as server:
            program.result()
            assert len(server.wait("accept", 1)) == 1


def test_unreachable_for_good(network):  # noqa: F811
    """The errno of a connect that failed at once: the event, then SO_ERROR, once."""
    with Running(to(FAR), max_attempts=3, base_delay_ms=20) as program:
        result = program.result()
    check({"start": "EINPROGRESS", "connect": "ENETUNREACH", "error_again": "ok"}, said(result.stdout))
    assert [entry["event"] for entry in events(result)] == ["attempt_failed"] * 2 + ["exhausted"]


def test_route_that_is_forbidden_later(network):  # noqa: F811
    """A later attempt's error is permanent: it is the one that is told."""
    with Running(to(FAR), **BRIEF) as program:
        program.wait("attempt_failed")
        ip(f"route add prohibit {FAR}")
        result = program.result()
    check({"start": "EINPROGRESS", "connect": "EACCES", "error_again": "ok"}, said(result.stdout))


@pytest.mark.parametrize("kind, name", [("prohibit", "EACCES"), ("blackhole", "EINVAL")])
def test_routes_that_forbid(kind, name, network):  # noqa: F811
    ip(f"route add {kind} {FAR}")
    check_untouched(to(FAR), name)


def test_wrong_family(network):  # noqa: F811
    check_untouched(to("::1", "wrong-family"), "EAFNOSUPPORT")


def test_an_address_of_the_old_length(network):  # noqa: F811
    """Nothing behind it is read."""
    argv = to("::1", "without-scope")
    without = told_without(argv)
    with Running(argv, **ENDLESS) as program:
        result = program.result()
    assert said(result.stdout) == without
    assert (without["start"], without["connect"]) == ("EINPROGRESS", "ECONNREFUSED")


def check_untouched(argv, name):
    """The same errno, from connect itself."""
    without = told_without(argv)
    with Running(argv, **ENDLESS) as program:
        result = program.result()
    assert said(result.stdout) == without == {"start": name, "connect": name}
    assert result.seconds < SOON


def test_timed_out(network):  # noqa: F811
    listener, first = full_listener()
    with listener, first, recovering(to("127.0.0.1", "impatient"), "ETIMEDOUT"):
        listener.accept()[0].close()
        listener.settimeout(20)
        with listener.accept()[0] as connection:
            connection.send(b"hello")


def test_no_port_left(network):  # noqa: F811
    sysctl("ipv4/ip_local_port_range", "40000 40001")
    with socket.create_server(("127.0.0.1", PORT)) as listener, contextlib.ExitStack() as opened:
        listener.settimeout(20)
        holders = [opened.enter_context(socket.create_connection(("127.0.0.1", PORT))) for _ in range(2)]
        accepted = [opened.enter_context(listener.accept()[0]) for _ in range(2)]
        with recovering(to("127.0.0.1"), "EADDRNOTAVAIL"):
            # With a reset, so that no TIME_WAIT keeps the port.
            holders[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            holders[0].close()
            accepted.append(opened.enter_context(listener.accept()[0]))
            accepted[2].send(b"hello")


def test_refused(network):  # noqa: F811
    with recovering(to("127.0.0.1"), "ECONNREFUSED") as program, FaultServer("greet=hello", port=PORT) as server:
        program.result()
        assert len(server.wait("accept", 1)) == 1
