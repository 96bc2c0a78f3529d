"""The time that a program allows its connect stays what it is: no retry prolongs it, and its own error ends it."""

import socket

import pytest

from harness import events, run
from network import PORT, network, python  # noqa: F401
from nonblock_clients import (ADDRESS, ASYNCIO, NODE_GET, PHP_SOCKET, RUBY, SOCKET, URL, command, java, perl, php,
                              without_clock)

pytestmark = pytest.mark.usefixtures("network")

# argv with a limit of one second; a piece of what the program says when that is over
LIMITED = {
    "python-socket": (python(SOCKET % 1), b"TimeoutError: timed out"),
    "python-asyncio": (python(ASYNCIO % 1), b"TimeoutError"),
    "node": (["node", "-e", NODE_GET % 1], b"Error: too long"),
    "java": (java("url", 1), b"SocketTimeoutException: Connect timed out"),
    "php": (php(PHP_SOCKET % 1), b"no: Connection timed out"),
    "perl-inet": (perl("INET", 1), b"no: IO::Socket::INET: connect: timeout"),
    "perl-ip": (perl("IP", 1), b"no: Connection timed out"),
    "ruby": (["ruby", "-e", RUBY % 1], b"Net::OpenTimeout"),
    "curl": (["curl", "-sS", "--connect-timeout", "1", URL], b"curl: (28)"),
    "nc": (["nc", "-v", "-w", "1", "127.0.0.1", str(PORT)], b"timed out"),
    "socat": (["socat", "-", f"TCP:{ADDRESS},connect-timeout=1"], b"Connection timed out"),
}


@pytest.mark.parametrize("argv, complaint", LIMITED.values(), ids=LIMITED)
def test_limit_stays_the_programs_own(argv, complaint):
    """Refused, and then in a backoff of three seconds, a program says what it says of a server that does not answer."""
    # A full queue of connections lets no further one in, and answers nothing.
    with socket.create_server(("127.0.0.1", PORT), backlog=0) as silent, socket.create_connection(silent.getsockname()):
        without = run(command(argv), shim=False)
    result = run(command(argv), curl=0, base_delay_ms=3000)
    assert complaint in without.stderr and without.returncode != 0
    assert (result.returncode, result.stdout) == (without.returncode, without.stdout)
    assert without_clock(result.stderr) == without_clock(without.stderr)
    assert 1.0 <= result.seconds < 2.5
    assert [entry["event"] for entry in events(result)] == ["attempt_failed"]
