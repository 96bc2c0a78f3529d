"""curl through an HTTP proxy: the answer to CONNECT is a header block too, but not the last one."""

import contextlib
import re
import socket
import threading

import pytest

from curl_hosts import curl, methods, names
from harness import FaultServer

TUNNEL = "200,body=,reason=Connected"


@contextlib.contextmanager
def socks_server(*answers):
    """Answers each message of a connection with the next of these, then closes; yields port and the first messages."""
    greetings, listener = [], socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                client, _ = listener.accept()
                with client, contextlib.suppress(OSError):
                    for number, answer in enumerate(answers):
                        message = client.recv(1024)
                        if number == 0:
                            greetings.append(message)
                        client.sendall(answer)
                    client.recv(1024)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], greetings
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(20)


def through(server, *arguments, **options):
    """By CONNECT, to a server that plays both proxy and origin."""
    return curl("-i", "-p", "-x", server.url, "http://example.test/x", *arguments, **options)


def reasons(result):
    """The reason phrases of the header blocks that came out."""
    return re.findall(rb"^HTTP/1.1 \d+ (.*)\r$", result.stdout, re.M)


def test_healthy():
    with FaultServer([TUNNEL, "200"]) as server:
        plain = through(server, shim=False)
        port = server.port
    with FaultServer([TUNNEL, "200"], port=port) as server:
        result = through(server)
        assert (result.returncode, result.stdout, result.stderr) == (0, plain.stdout, plain.stderr)
        assert reasons(result) == [b"Connected", b"OK"] and methods(server) == ["CONNECT", "GET"]


def test_status_through_a_tunnel_that_stays():
    """The second attempt has no CONNECT: its first block is not the one that was delivered already."""
    with FaultServer([TUNNEL, "503", "200"]) as server:
        result = through(server)
        assert methods(server) == ["CONNECT", "GET", "GET"]
        assert reasons(result) == [b"Connected", b"OK"] and result.stdout.endswith(b"\r\n\r\nok\n")


@pytest.mark.parametrize("fault", ["503,close=1", "reset-after", "empty"])
def test_fault_behind_the_tunnel(fault):
    with FaultServer([TUNNEL, fault, TUNNEL, fault, TUNNEL, "200"]) as server:
        result = through(server, "-v")
        assert methods(server) == ["CONNECT", "GET"] * 3
        assert reasons(result) == [b"Connected", b"OK"] and result.stdout.endswith(b"\r\n\r\nok\n")
        assert len(re.findall(rb"^< HTTP", result.stderr, re.M)) == 2
    assert names(result) == ["attempt_failed", "attempt_failed", "succeeded"]


def test_proxy_that_is_overloaded():
    with FaultServer("503") as server:
        plain, result = through(server, shim=False), through(server)
        assert (result.returncode, result.stdout, result.stderr) == (plain.returncode, plain.stdout, plain.stderr)
        assert methods(server) == ["CONNECT"] * 4
    with FaultServer(["503", TUNNEL, "200"]) as server:
        assert reasons(through(server)) == [b"Connected", b"OK"]


def test_post_is_seen_once_behind_the_tunnel():
    with FaultServer([TUNNEL, "503", "200"]) as server:
        result = through(server, "-d", "x")
        assert methods(server) == ["CONNECT", "POST"] and reasons(result) == [b"Connected", b"Service Unavailable"]


def test_what_socks_cannot_carry():
    """A host name of 300 bytes does not fit (RFC 1928, 4): no attempt ends better. A refusal may."""
    with socks_server(b"\x05\x00") as (port, greetings):
        arguments = ["--socks5-hostname", f"127.0.0.1:{port}", f"http://{'a.' * 150}test/"]
        plain, result = curl(*arguments, shim=False), curl(*arguments)
        assert (plain.returncode, result.returncode, len(greetings)) == (97, 97, 2)
    assert names(result) == ["not_retryable"]
    with socks_server(b"\x05\x00", b"\x05\x05\x00\x01" + bytes(6)) as (port, greetings):
        result = curl("--socks5-hostname", f"127.0.0.1:{port}", "http://name.test/")
        assert (result.returncode, len(greetings)) == (97, 3)
    assert names(result) == ["attempt_failed", "attempt_failed", "exhausted"]
