"""What a review of the curl hooks found, and what must not come back: one test a finding."""

import contextlib
import re
import socket
import struct
import threading

import pytest

from curl_hosts import crc32, curl, events, host, methods, names, pattern, run, steps
from harness import FaultServer

SIZE = 16 * 1024 * 1024  # of the host's uploads: more than the buffers of a socket hold


def review(*words, **options):
    """The host that obeys a list of words (curl_hosts/review.c), and what it told."""
    result = run([host("review"), *words], **options)
    assert result.returncode == 0, (result.returncode, result.stderr)
    return result, result.stderr.decode().splitlines()


@contextlib.contextmanager
def listening(serve):
    """serve(client) has each connection in turn, in a thread; yields the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept():
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                client, _ = listener.accept()
                with client, contextlib.suppress(OSError, EOFError):
                    serve(client)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(20)


def refused_port():
    """Held, so that nobody else listens there, but refusing."""
    holder = socket.socket()
    holder.bind(("127.0.0.1", 0))
    return holder


# --- Uploads


def answer(status):
    return b"HTTP/1.1 %d Said\r\nContent-Length: 3\r\n\r\n%d" % (status, status)


class EarlyAnswer:
    """Answers the first PUT when a little of its body has come, the next ones after the whole body."""

    def __init__(self):
        self.bodies = []  # (CRC-32, length), of each request

    def __call__(self, client):
        with client.makefile("rb") as stream:
            while True:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    line = stream.readline()
                    if not line:
                        return
                    head += line
                length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
                body = stream.read(50_000)
                early = not self.bodies
                if early:
                    client.sendall(answer(503))
                body += stream.read(length - len(body))
                self.bodies.append((crc32(body), len(body)))
                if not early:
                    client.sendall(answer(200))


def test_a_body_that_is_still_being_sent_is_not_rewound():
    server, whole = EarlyAnswer(), (crc32(pattern(SIZE)), SIZE)
    with listening(server) as port:
        result, told = review(f"url=http://127.0.0.1:{port}/", "upload", "keep_sending", "perform")
    assert server.bodies == [whole, whole]
    # One rewind, and libcurl had read everything before it.
    assert told[0] == f"seek 0 from 0 at {SIZE}" and told[1].startswith("perform code 0 status 200")
    assert len(told) == 2 and result.stdout == b"200"
    assert names(result) == ["attempt_failed", "succeeded"]


class FtpUpload:
    """An FTP server that resets each upload's data connection after its first bytes."""

    REPLIES = {"USER": "331 who", "PASS": "230 in", "PWD": '257 "/"', "TYPE": "200 ok", "QUIT": "221 bye"}

    def __init__(self):
        self.commands = []

    def __call__(self, control):
        with control.makefile("rb") as stream, socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(30)
            replies = {**self.REPLIES, "EPSV": f"229 ok (|||{listener.getsockname()[1]}|)"}
            control.sendall(b"220 hi\r\n")
            for line in stream:
                word = line.decode().split()[0]
                self.commands.append(word)
                if word in ("APPE", "STOR"):
                    data, _ = listener.accept()
                    control.sendall(b"150 go\r\n")
                    data.recv(1000)
                    data.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    data.close()
                    control.sendall(b"426 broken\r\n")
                else:
                    control.sendall(replies.get(word, "500 no").encode() + b"\r\n")


@pytest.mark.parametrize("resume, command, sent, end", [(5, "APPE", 1, "given_up unsafe"), (0, "STOR", 3, "exhausted")])
def test_ftp_upload_that_the_server_appends_is_sent_once(resume, command, sent, end):
    server = FtpUpload()
    with listening(server) as port:
        result, told = review(f"url=ftp://127.0.0.1:{port}/f", "upload", f"resume={resume}", "perform")
    assert server.commands.count(command) == sent and names(result)[-1] == end
    assert not told[-1].startswith("perform code 0 ")


# --- Left by siglongjmp, copied in the middle


ATTEMPT_2_HAS_2_SECONDS = {"base_delay_ms": 1000, "multiplier": "1.0", "max_attempts": 5}


def test_a_handle_that_was_jumped_out_of_has_its_own_settings():
    """The second attempt has 2 of the 4 seconds and a new connection; it ends, its backoff is left."""
    script = ["421,header=Retry-After: 2", "503", "200,delay=2500ms"]
    with FaultServer(script) as server:
        _, told = review(f"url={server.url}", "timeout=4000", "jump=2", "perform", "perform", **ATTEMPT_2_HAS_2_SECONDS)
        assert told == ["jumped", "perform code 0 status 200 connects 0"]
        assert steps(server) == ["421", "503", "200"] and len(server.accepts()) == 2


def test_a_handle_that_was_jumped_out_of_works_in_a_multi():
    with FaultServer(["503", "503,size=5000", "200"]) as server:
        result, told = review(f"url={server.url}", "jump=1", "perform", "multi",
                              base_delay_ms=50_000, max_delay_ms=50_000)
        assert [line.rpartition(" connects")[0] for line in told[1:]] == ["multi code 0 status 503"]
        assert told[0] == "jumped" and result.stdout == pattern(5000) and len(server.requests()) == 2


def test_copy_made_in_a_later_attempt_has_the_programs_time_limit():
    with FaultServer(["503,header=Retry-After: 2", "200", "200,delay=2500ms"]) as server:
        result, told = review(f"url={server.url}", "timeout=4000", "copies", "perform", "copies=0", "copy", "perform",
                              **ATTEMPT_2_HAS_2_SECONDS)
        assert [line.rpartition(" connects")[0] for line in told] == ["perform code 0 status 200"] * 2
        assert result.stdout == b"ok\nok\n" and steps(server) == ["503", "200", "200"]


# --- Proxies


@pytest.mark.parametrize("fault, again", [("503", []), ("503,close=1", ["200,body=,reason=Connected"])])
def test_header_blocks_of_a_redirect_behind_a_tunnel_come_once(fault, again):
    tunnel, redirect = "200,body=,reason=Connected", "302,header=Location: /y"
    with FaultServer([tunnel, redirect, fault, *again, redirect, "200"]) as server:
        result = curl("-i", "-L", "-p", "-x", server.url, "http://example.test/x")
        assert methods(server) == ["CONNECT", "GET", "GET", *["CONNECT"] * len(again), "GET", "GET"]
    assert re.findall(rb"^HTTP/1.1 \d+ (.*)\r$", result.stdout, re.M) == [b"Connected", b"Found", b"OK"]
    assert result.returncode == 0 and result.stdout.endswith(b"\r\n\r\nok\n")


# --- Hosts and names


@pytest.mark.parametrize("setting, retried", [({"skip_hosts": "127.0.0.0/8,::1/128"}, False), ({"hosts": "127.0.0.0/8"}, True),
                                              ({"hosts": "10.0.0.0/8"}, False)])
def test_networks_hold_for_a_name(setting, retried):
    with FaultServer(["503", "200"]) as server:
        result = curl(f"http://localhost:{server.port}/", **setting)
        assert steps(server) == (["503", "200"] if retried else ["503"])
        assert names(result) == (["attempt_failed", "succeeded"] if retried else [])
    with refused_port() as holder:
        result = curl(f"http://localhost:{holder.getsockname()[1]}/", **setting)
        assert result.returncode == 7
        assert names(result) == (["attempt_failed", "attempt_failed", "exhausted"] if retried else [])


def test_the_last_one_of_many_hosts_is_skipped():
    many = ",".join(f"host-{number:05d}.example.org" for number in range(4500))
    for last, requests in (("127.0.0.1", 1), ("127.0.0.2", 2)):
        with FaultServer(["503", "200"]) as server:
            curl(server.url, skip_hosts=f"{many},{last}")
            assert len(many) > 100_000 and len(server.requests()) == requests


@pytest.mark.parametrize("diag_format", ["json", "text"])
def test_no_part_of_a_password_with_a_slash_is_told(diag_format):
    result = curl("http://alice:s3/cret@localhost/", diag_format=diag_format)
    assert result.returncode == 3 and b"CURLE_URL_MALFORMAT" in result.diag
    assert not re.search(rb"alice|s3|cret", result.diag)


# --- Attempts


def test_a_misdirected_request_has_its_own_second_attempt():
    script = ["503", "503", "421"]
    with FaultServer([*script, "200"]) as server:
        result = curl(server.url, max_attempts=5)
        assert result.stdout == b"ok\n" and steps(server) == [*script, "200"]
        assert events(result)[-1]["event"] == "succeeded" and events(result)[-1]["attempt"] == 4
    with FaultServer([*script, "421"]) as server:
        result = curl(server.url, max_attempts=5, diag_format="text")
        assert result.stdout == b"421 Misdirected Request\n" and steps(server) == [*script, "421"]
        assert b"All 4 attempts failed for curl_easy_perform. Returning HTTP 421." in result.diag.splitlines()[-1]


@pytest.mark.parametrize("words, retried", [(["quote=NOOP", "quote="], True), (["quote=NOOP"], False)])
def test_ftp_commands_can_be_taken_back(words, retried):
    with FaultServer(r"greet=421 busy\r\n") as server:
        result, _ = review(f"url=ftp://{server.authority}/f", *words, "perform")
        assert len(server.accepts()) == (3 if retried else 1)
        assert names(result)[-1] == ("exhausted" if retried else "given_up unsafe")


@pytest.mark.parametrize("words, retried", [(["hsts=1", "hsts=0"], True), (["hsts=1"], False),
                                            (["aliases=ICY 200 OK", "aliases="], True), (["aliases=ICY 200 OK"], False)])
def test_what_is_left_alone_and_taken_back(words, retried):
    with FaultServer(["503", "200"]) as server:
        result, told = review(f"url={server.url}", *words, "perform")
        assert len(server.requests()) == (2 if retried else 1)
        assert result.stdout == (b"ok\n" if retried else b"503 Service Unavailable\n")
        assert told[0].startswith(f"perform code 0 status {200 if retried else 503} ")


# --- Bodies that are dropped


LARGE = 1_000_000


def test_a_body_too_large_to_keep_is_cut():
    with FaultServer([f"503,size={LARGE}", "200"]) as server:
        result = curl("-i", server.url)
        assert result.stdout.endswith(b"\r\n\r\nok\n") and b"503" not in result.stdout
        assert steps(server) == ["503", "200"] and len(server.accepts()) == 2  # not read to its end


def test_a_body_too_large_to_keep_is_whole_in_the_last_attempt():
    with FaultServer([f"503,size={LARGE}", f"503,size={LARGE}"]) as server:
        result = curl(server.url, max_attempts=2)
        assert result.returncode == 0 and result.stdout == pattern(LARGE) and len(server.requests()) == 2
    assert names(result) == ["attempt_failed", "exhausted"]


def test_a_body_too_large_to_keep_is_whole_when_the_deadline_is_near():
    """To be retried by its status, but no longer when it turns out to be too large."""
    with FaultServer([f"503,size={LARGE},gap=800ms", "200"]) as server:
        result = curl(server.url, timeout_ms=1500, base_delay_ms=1000)
        assert result.returncode == 0 and result.stdout == pattern(LARGE) and len(server.requests()) == 1
    assert names(result) == ["given_up deadline"]


def test_a_body_that_is_kept_is_whole_after_an_interrupted_backoff():
    with FaultServer(["503,size=204800", "200"]) as server:
        result, told = review(f"url={server.url}", "interrupt=1", "perform", base_delay_ms=50_000, max_delay_ms=50_000)
        assert result.stdout == pattern(204800) and len(server.requests()) == 1
    assert told[0].startswith("perform code 0 status 503") and names(result) == ["attempt_failed", "given_up signal"]
