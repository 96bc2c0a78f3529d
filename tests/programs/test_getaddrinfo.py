"""getaddrinfo() against a name server that fails for a while, each query counted."""

import socket
import struct
import threading

import pytest

from harness import FaultServer, events, run, wait_until
from network import PORT, SLOW, SOON, Running, attempts, network, python, with_files  # noqa: F401

pytestmark = pytest.mark.usefixtures("network")

NAME = "host.test"
SERVFAIL, NXDOMAIN, REFUSED = 2, 3, 5
A, AAAA = 1, 28


class NameServer:
    """Answers each query with the next code of `codes`, then with an A record for 127.0.0.1.

    A look-up asks for A and AAAA: the codes count look-ups, by the queries of each type.
    """

    def __init__(self, codes=(), silent=0):
        self.codes, self.silent = list(codes), silent
        self.queries = []  # (name, type)
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 53))
        self.thread = threading.Thread(target=self.serve)

    def answer(self, query):
        end = query.index(b"\0", 12) + 1
        (kind,) = struct.unpack("!H", query[end:end + 2])
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += query[at] + 1
        turn = self.count(kind)
        self.queries.append((".".join(labels), kind))
        if turn < self.silent:
            return None
        code = self.codes[turn] if turn < len(self.codes) else 0
        found = code == 0 and kind == A
        answer = b"\xc0\x0c" + struct.pack("!HHIH4B", A, 1, 0, 4, 127, 0, 0, 1) if found else b""
        return query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, int(found), 0, 0) + query[12:end + 4] + answer

    def count(self, kind=A):
        return sum(1 for _, each in self.queries if each == kind)

    def serve(self):
        while True:
            query, client = self.socket.recvfrom(512)
            if len(query) < 12:
                return
            if answer := self.answer(query):
                self.socket.sendto(answer, client)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        with socket.socket(type=socket.SOCK_DGRAM) as end:
            end.sendto(b"end", ("127.0.0.1", 53))
        self.thread.join(10)
        self.socket.close()


def asking(argv):
    """argv with the name server of the test's network as its only one, asked once a look-up."""
    return with_files(argv, resolv_conf="nameserver 127.0.0.1\\noptions timeout:1 attempts:1\\n",
                      nsswitch_conf="hosts: files dns\\n", hosts="127.0.0.1 localhost\\n")


LOOKUP = f"""try: print(sorted({{found[4][0] for found in socket.getaddrinfo("{NAME}", PORT)}}))
except socket.gaierror as error: print(error.errno == socket.EAI_AGAIN, error.errno)"""

# name: argv, stdout when it works, exit status when it does not
CLIENTS = {
    "python": (python(LOOKUP), b"['127.0.0.1']\n", 0),
    "getent": (["getent", "ahosts", NAME], b"127.0.0.1       STREAM host.test", 2),
    "wget": (["wget", "-qO-", "--tries=1", f"http://{NAME}:{PORT}/"], b"ok\n", 4),
    "bash": (["bash", "-c", f"exec 3<>/dev/tcp/{NAME}/{PORT} && echo good"], b"good\n", 1),
    "perl": (["perl", "-MSocket=getaddrinfo", "-e",
              f'my ($e, @l) = getaddrinfo("{NAME}", ""); die if $e; print scalar(@l) > 0'], b"1", None),
}


@pytest.mark.parametrize("argv, stdout, status", CLIENTS.values(), ids=CLIENTS)
def test_recovers_from_failing_name_server(argv, stdout, status):
    with FaultServer("200", port=PORT):
        with NameServer([SERVFAIL] * 50) as names:
            without = run(asking(argv), shim=False)
            assert stdout not in without.stdout and names.count() >= 1
            assert status is None or without.returncode == status
            asked_by_one_lookup = names.count()
        with NameServer([SERVFAIL] * 2 * asked_by_one_lookup) as names:
            result = run(asking(argv), max_attempts=3)
            assert result.returncode == 0 and result.stdout.startswith(stdout)
            assert names.count() == 2 * asked_by_one_lookup + 1
            assert {name for name, _ in names.queries} == {NAME}
    told = events(result)
    assert [entry["event"] for entry in told] == ["attempt_failed", "attempt_failed", "succeeded"]
    assert {entry["operation"] for entry in told} == {"getaddrinfo"} and len({entry["op"] for entry in told}) == 1
    assert {(entry["error"], entry["category"]) for entry in told[:2]} == {("EAI_AGAIN", "network")}
    assert {entry["target"].partition(":")[0] for entry in told} == {NAME}


def test_gives_up_with_the_same_error():
    with NameServer([SERVFAIL] * 50) as names:
        without = run(asking(python(LOOKUP)), shim=False)
        asked = names.count()
        result = run(asking(python(LOOKUP)), max_attempts=3)
        assert without.stdout == result.stdout == b"True -3\n"
        assert names.count() == asked + 3 * asked
    assert [entry["event"] for entry in events(result)] == ["attempt_failed", "attempt_failed", "exhausted"]


def test_no_name_server_at_all():
    """Nothing listens on port 53 at first."""
    assert run(asking(python(LOOKUP)), shim=False).stdout == b"True -3\n"
    with Running(asking(python(LOOKUP)), base_delay_ms=200, multiplier=1.0, max_attempts=100) as program:
        program.wait("attempt_failed")
        with NameServer() as names:
            assert program.result().stdout == b"['127.0.0.1']\n" and names.count() == 1


def test_silent_name_server():
    with NameServer(silent=1) as names:
        result = run(asking(python(LOOKUP)), base_delay_ms=10)
        assert result.stdout == b"['127.0.0.1']\n" and names.count() == 2
    assert [entry["event"] for entry in events(result)] == ["attempt_failed", "succeeded"]


def test_unknown_name_is_asked_for_once():
    with NameServer([NXDOMAIN] * 50) as names:
        without = run(asking(python(LOOKUP)), shim=False)
        asked = names.count()
        result = run(asking(python(LOOKUP)), base_delay_ms=SLOW)
        assert without.stdout == result.stdout == b"False -2\n"
        assert asked == 1 and names.count() == 2
    assert result.seconds < SOON
    assert [(entry["event"], entry["error"]) for entry in events(result)] == [("not_retryable", "EAI_NONAME")]


@pytest.mark.parametrize("settings", [{"dns": 0}, {"enabled": 0}, {"skip_hosts": "*.test"}, {"hosts": "other.test"},
                                      {"skip_programs": "python3"}, {"max_attempts": 1}])
def test_switched_off(settings):
    with NameServer([SERVFAIL]) as names:
        result = run(asking(python(LOOKUP)), base_delay_ms=SLOW, **settings)
        assert result.stdout == b"True -3\n" and names.count() == 1
    assert result.seconds < SOON
    assert [entry["event"] for entry in events(result)] == (["exhausted"] if "max_attempts" in settings else [])


def test_switched_off_for_names_alone():
    """RETRY_DNS=0 leaves connect() as it is."""
    result = run(python('socket.create_connection(("127.0.0.1", PORT))'), dns=0, max_attempts=2)
    assert attempts(result) == [2] and {entry["operation"] for entry in events(result)} == {"connect"}


def test_wrong_arguments_fail_at_once():
    code = """numeric = socket.AI_NUMERICHOST
for arguments in [("localhost", "no-such-service"), ("localhost", 80, 99), ("no address", 80, 0, 0, 0, numeric)]:
    try: socket.getaddrinfo(*arguments); print(0)
    except OSError as error: print(type(error).__name__, error.errno)"""
    without, result = [run(asking(python(code)), shim=shim, base_delay_ms=SLOW) for shim in (False, True)]
    assert without.stdout == result.stdout and without.stdout.count(b"gaierror") == 3
    assert result.seconds < SOON and {entry["event"] for entry in events(result)} == {"not_retryable"}


def test_name_and_connection_recover_in_turn():
    """The name service fails first, then the port refuses: two operations, each with its own events."""
    argv = asking(["wget", "-qO-", "--tries=1", f"http://{NAME}:{PORT}/"])
    with NameServer([SERVFAIL]) as names, \
            Running(argv, base_delay_ms=200, multiplier=1.0, max_attempts=100) as program:
        wait_until(lambda: [e for e in program.events("attempt_failed") if e["operation"] == "connect"])
        with FaultServer("200", port=PORT) as server:
            assert program.result().stdout == b"ok\n"
            assert len(server.wait("accept")) == len(server.wait("request")) == 1
        assert names.count() == 2
    told = events(program.result())
    assert [e["event"] for e in told if e["operation"] == "getaddrinfo"] == ["attempt_failed", "succeeded"]
    assert {e["target"] for e in told if e["operation"] == "connect"} == {f"{NAME}:{PORT}"}
    assert len({e["op"] for e in told}) == 2
