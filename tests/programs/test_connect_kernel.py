"""connect() errors that the kernel itself makes, each in a network built for it, and healed in mid-operation."""

import errno
import socket
import struct

import pytest

from harness import FaultServer, events, run
from network import PORT, SLOW, SOON, Running, ip, network, python, sysctl  # noqa: F401

pytestmark = pytest.mark.usefixtures("network")

FAR = "192.0.2.1"
FAR6 = "2001:db8::1"
CONNECT = """try: s = socket.create_connection((sys.argv[1], PORT)); print(0)
except OSError as error: print(error.errno)"""


def no_route():
    """A network with a loopback interface alone has none."""


def unreachable():
    ip(f"route add unreachable {FAR}")


def unreachable6():
    ip(f"route add unreachable {FAR6}")


def nobody_answers_arp():
    ip("link add v0 type veth peer name v1")
    ip("addr add 192.0.2.9/24 dev v0")
    ip("link set v0 up")
    ip("link set v1 up")
    sysctl("ipv4/neigh/v0/mcast_solicit", 1)
    sysctl("ipv4/neigh/v0/retrans_time_ms", 100)


BROKEN = {
    "no-route": (no_route, FAR, "ENETUNREACH"),
    "no-route6": (no_route, FAR6, "ENETUNREACH"),
    "unreachable": (unreachable, FAR, "EHOSTUNREACH"),
    "unreachable6": (unreachable6, FAR6, "EHOSTUNREACH"),
    "arp": (nobody_answers_arp, FAR, "EHOSTUNREACH"),
}


@pytest.mark.parametrize("breaks, address, name", BROKEN.values(), ids=BROKEN)
def test_unreachable(breaks, address, name):
    """It heals when the address comes up, on this very host."""
    breaks()
    argv = python(CONNECT, address)
    assert run(argv, shim=False).stdout == f"{getattr(errno, name)}\n".encode()
    with Running(argv, max_attempts=100, base_delay_ms=200, multiplier=1.0) as program:
        assert program.wait("attempt_failed")[0]["error"] == name
        ip(f"addr add {address} dev lo", "nodad" if ":" in address else "")
        with FaultServer("200", bind=address, port=PORT) as server:
            assert program.result().stdout == b"0\n"
            assert len(server.wait("accept")) == 1
    told = events(program.result())
    assert {entry["error"] for entry in told[:-1]} <= {name, "ECONNREFUSED"} and told[-1]["event"] == "succeeded"
    assert told[0]["category"] == "network"


@pytest.mark.parametrize("kind, name", [("prohibit", "EACCES"), ("blackhole", "EINVAL")])
def test_routes_that_forbid(kind, name):
    ip(f"route add {kind} {FAR}")
    without, result = [run(python(CONNECT, FAR), shim=shim, base_delay_ms=SLOW) for shim in (False, True)]
    assert without.stdout == result.stdout == f"{getattr(errno, name)}\n".encode()
    assert result.seconds < SOON
    assert [(entry["event"], entry["error"]) for entry in events(result)] == [("not_retryable", name)]


# ---- time-outs ----------------------------------------------------------------------------------


def full_listener():
    """A listener whose queue is full: the kernel drops further connection requests."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", PORT))
    listener.listen(0)
    return listener, socket.create_connection(("127.0.0.1", PORT))


IMPATIENT = """s = socket.socket()
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 500)  # looked at when a second is over
try: s.connect(("127.0.0.1", PORT)); print(0)
except OSError as error: print(error.errno)"""


def test_timed_out():
    """The second attempt gets through when the queue is emptied during the first backoff."""
    listener, first = full_listener()
    with listener, first:
        assert run(python(IMPATIENT), shim=False).stdout == f"{errno.ETIMEDOUT}\n".encode()
        with Running(python(IMPATIENT), base_delay_ms=300) as program:
            assert program.wait("attempt_failed")[0]["error"] == "ETIMEDOUT"
            listener.accept()[0].close()
            assert program.result().stdout == b"0\n"
            listener.settimeout(10)
            listener.accept()[0].close()
    assert [entry["event"] for entry in events(program.result())] == ["attempt_failed", "succeeded"]


# ---- ports --------------------------------------------------------------------------------------


def test_no_port_left():
    """All local ports are taken; one becomes free during the backoff."""
    sysctl("ipv4/ip_local_port_range", "40000 40001")
    with FaultServer("hang", port=PORT) as server:
        holders = [socket.create_connection(("127.0.0.1", PORT)) for _ in range(2)]
        argv = python(CONNECT, "127.0.0.1")
        assert run(argv, shim=False).stdout == f"{errno.EADDRNOTAVAIL}\n".encode()
        with Running(argv, max_attempts=100, base_delay_ms=200, multiplier=1.0) as program:
            failed = program.wait("attempt_failed")[0]
            assert (failed["error"], failed["category"], failed["severity"]) == ("EADDRNOTAVAIL", "resource", "high")
            # With a reset, so that no TIME_WAIT keeps the port.
            holders[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            holders[0].close()
            assert program.result().stdout == b"0\n"
        assert len(server.wait("accept", 3)) == 3
        holders[1].close()


BOUND = """s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", 5555))
try: s.connect(("127.0.0.1", PORT)); print(0)
except OSError as error: print(error.errno)"""


def test_bound_port_that_is_taken():
    """The program chose the port itself: another attempt would ask for the same."""
    with FaultServer("hang", port=PORT) as server:
        holder = socket.socket()
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 5555))
        holder.connect(("127.0.0.1", PORT))
        without, result = [run(python(BOUND), shim=shim, base_delay_ms=SLOW) for shim in (False, True)]
        assert without.stdout == result.stdout == f"{errno.EADDRNOTAVAIL}\n".encode()
        assert result.seconds < SOON and len(server.wait("accept")) == 1
        assert [entry["event"] for entry in events(result)] == ["not_retryable"]
        holder.close()
