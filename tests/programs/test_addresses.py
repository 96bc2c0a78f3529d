"""Addresses first, backoff last: a name with several addresses, of which only some answer."""

import re
import statistics

import pytest

from harness import FaultServer, events, run
from network import PORT, SLOW, SOON, Running, ip, network, python, traced, with_files  # noqa: F401

pytestmark = pytest.mark.usefixtures("network")

NAME = "both.test"
BOTH = f"::1 {NAME}\\n127.0.0.1 {NAME}\\n"
SOCKET = f's = socket.create_connection(("{NAME}", PORT)); print(s.getpeername()[0])'

CLIENTS = {
    "python": python(SOCKET),
    "wget": ["wget", "-qO-", "--tries=1", f"http://{NAME}:{PORT}/"],
    "curl": ["curl", "-sS", f"http://{NAME}:{PORT}/"],
    "bash": ["bash", "-c", f'exec 3<>/dev/tcp/{NAME}/{PORT} && printf "GET / HTTP/1.0\\r\\n\\r\\n" >&3 && cat <&3'],
    "perl": ["perl", "-MIO::Socket::IP", "-e",
             f'my $s = IO::Socket::IP->new(PeerHost => "{NAME}", PeerPort => {PORT}) or die; print $s->peerhost'],
}


def knowing(argv, hosts=BOTH):
    return with_files(argv, hosts=hosts, nsswitch_conf="hosts: files\\n")


def traced_connects(argv, trace):
    return traced(argv, "socket,connect", trace)


def connects(trace):
    """Where the stream sockets of a trace were connected to, in order: glibc and the shim ask the kernel for
    routes with datagram sockets."""
    found, streams = [], {}
    for line in trace.read_text().splitlines():
        if made := re.search(r"socket\(\w+, (\w+).* = (\d+)$", line):
            streams[made[2]] = made[1] == "SOCK_STREAM"
        elif used := re.search(rf"connect\((\d+), .*htons\({PORT}\)", line):
            four = re.search(r'inet_addr\("([^"]+)"', line)
            six = re.search(r'inet_pton\(AF_INET6, "([^"]+)"', line)
            if streams.get(used[1]):
                found.append((four or six)[1])
    return found


@pytest.mark.parametrize("argv", CLIENTS.values(), ids=CLIENTS)
def test_first_address_refuses_second_answers(argv, tmp_path):
    """No backoff at all, not a line told, the same connects."""
    outcomes = []
    for shim in (False, True):
        with FaultServer("200,close=1", port=PORT) as server:
            trace = tmp_path / f"trace-{shim}"
            result = run(traced_connects(knowing(argv), trace), shim=shim, base_delay_ms=SLOW)
            assert len(server.wait("accept")) == 1
        assert result.seconds < SOON
        outcomes.append((result.returncode, result.stdout, result.stderr, connects(trace)))
    assert events(result) == []
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] == 0 and outcomes[0][3] == ["::1", "127.0.0.1"]


@pytest.mark.parametrize("name", ["python", "curl"])
def test_is_not_slower(name):
    """Even the shortest backoff would show. The median of several runs, without and with in turn."""
    spent = {False: [], True: []}
    with FaultServer("200,close=1", port=PORT):
        for _ in range(7):
            for shim, times in spent.items():
                times.append(run(knowing(CLIENTS[name]), shim=shim, base_delay_ms=1000).seconds)
    without, with_shim = statistics.median(spent[False]), statistics.median(spent[True])
    assert with_shim < without * 1.5 + 0.05, spent


@pytest.mark.parametrize("name", ["python", "wget", "bash"])
def test_only_the_last_address_is_backed_off(name, tmp_path):
    trace = tmp_path / "trace"
    assert run(knowing(CLIENTS[name]), shim=False).returncode != 0
    argv = traced_connects(knowing(CLIENTS[name]), trace)
    with Running(argv, base_delay_ms=200, multiplier=1.0, max_attempts=100) as program:
        program.wait("attempt_failed", 2)
        with FaultServer("200,close=1", port=PORT) as server:
            result = program.result()
            assert len(server.wait("accept")) == 1
    assert result.returncode == 0
    told = events(result)
    assert len({entry["op"] for entry in told}) == 1 and told[-1]["event"] == "succeeded"
    assert {entry["target"] for entry in told} == {f"{NAME}:{PORT}"}
    tried = connects(trace)
    assert tried == ["::1"] + ["127.0.0.1"] * told[-1]["attempt"] and len(tried) >= 4


def test_every_round_begins_anew():
    """The addresses are tried again by the program itself: each round's last one is backed off, the others never."""
    code = f"""found = socket.getaddrinfo("{NAME}", PORT, type=socket.SOCK_STREAM)
for turn in range(3):
    for family, kind, _, _, address in found:
        try: socket.socket(family, kind).connect(address)
        except OSError: pass"""
    result = run(knowing(python(code)), max_attempts=2, base_delay_ms=10)
    assert [entry["event"] for entry in events(result)] == ["attempt_failed", "exhausted"] * 3
    assert len({entry["op"] for entry in events(result)}) == 3


def test_threads_that_ask_for_the_same_name_have_rounds_of_their_own():
    code = f"""import threading
barrier = threading.Barrier(8)
def connect():
    barrier.wait()
    try: socket.create_connection(("{NAME}", PORT))
    except OSError: pass
threads = [threading.Thread(target=connect) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]"""
    result = run(knowing(python(code)), max_attempts=2, base_delay_ms=10)
    told = events(result)
    assert len({entry["op"] for entry in told}) == 8
    assert sorted(entry["event"] for entry in told) == ["attempt_failed"] * 8 + ["exhausted"] * 8


def test_name_that_was_looked_up_twice():
    """The older list of the same name must not be taken for addresses that are still untried."""
    code = f'socket.getaddrinfo("{NAME}", PORT)\n{SOCKET}'
    result = run(knowing(python(code)), max_attempts=2, base_delay_ms=10)
    assert [entry["event"] for entry in events(result)] == ["attempt_failed", "exhausted"]


def test_address_that_was_never_looked_up():
    result = run(python('socket.socket().connect(("127.0.0.1", PORT))'), max_attempts=2, base_delay_ms=10)
    assert [entry["event"] for entry in events(result)] == ["attempt_failed", "exhausted"]


@pytest.mark.parametrize("far", ["192.0.2.1", "2001:db8::1"])
def test_address_without_a_route_does_not_count(far, tmp_path):
    """It comes last, and 127.0.0.1 is not left for it."""
    trace = tmp_path / "trace"
    argv = traced_connects(knowing(python(SOCKET), hosts=f"127.0.0.1 {NAME}\\n{far} {NAME}\\n"), trace)
    without = run(argv, shim=False)
    assert without.returncode == 1 and connects(trace) == ["127.0.0.1", far]
    with Running(argv, base_delay_ms=200, multiplier=1.0, max_attempts=100) as program:
        program.wait("attempt_failed")
        with FaultServer("200", port=PORT):
            assert program.result().stdout == b"127.0.0.1\n"
    assert set(connects(trace)) == {"127.0.0.1"}


def test_address_with_a_route_counts(tmp_path):
    """The same two addresses, once the far one can be reached: it is tried before any backoff."""
    ip("addr add 192.0.2.1/32 dev lo")
    trace = tmp_path / "trace"
    argv = traced_connects(knowing(python(SOCKET), hosts=f"127.0.0.1 {NAME}\\n192.0.2.1 {NAME}\\n"), trace)
    with FaultServer("200", port=PORT, bind="192.0.2.1"):
        result = run(argv, base_delay_ms=SLOW)
    assert result.stdout == b"192.0.2.1\n" and result.seconds < SOON and events(result) == []
