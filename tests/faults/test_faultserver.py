"""The fault server itself, without any preload: if it fails in another way than scripted, no other
test means anything."""

import contextlib
import email.utils
import http.client
import re
import socket
import struct
import subprocess
import threading
import time
import zlib

import pytest

import harness
from harness import FaultServer, run


def pattern(size, offset=0):
    """The body that size=N stands for."""
    first, last = offset // 16, (offset + size) // 16 + 1
    text = b"".join(b"%015d\n" % number for number in range(first, last))
    return text[offset - first * 16:][:size]


def request(server, method="GET", path="/x", body=None, **headers):
    """One request on its own connection: the answer, its body read."""
    connection = http.client.HTTPConnection(server.address, server.port, timeout=20)
    with contextlib.closing(connection):
        connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
        answer = connection.getresponse()
        answer.content = answer.read()
        return answer


@contextlib.contextmanager
def plain(server, data=b""):
    """A bare connection, with `data` sent."""
    with socket.create_connection((server.address, server.port), timeout=20) as client:
        client.sendall(data)
        yield client


def received(client):
    """Everything until the server closes; ConnectionResetError if it resets."""
    parts = []
    while part := client.recv(65536):
        parts.append(part)
    return b"".join(parts)


def received_before_reset(client):
    data = b""
    with pytest.raises(ConnectionResetError):
        while True:
            part = client.recv(65536)
            assert part, "an orderly close where a reset was scripted"
            data += part
    return data


def expect_reset_at_once(server):
    """Where the reset is faster than the client, connect() itself reports it."""
    with pytest.raises(ConnectionResetError), plain(server) as client:
        assert received(client) is None, "an orderly close where a reset was scripted"


GET = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n0123456789"


def curl(*arguments):
    return run(["curl", "-sS", "--max-time", "20", *arguments], shim=False)


# --- The command line


def command(*arguments):
    return subprocess.run([harness.built(harness.SERVER), *arguments], capture_output=True, text=True, timeout=20)


def test_help_tells_every_step_and_modifier():
    done = command("--help")
    assert done.returncode == 0 and done.stderr == ""
    for word in ("STATUS reset-after reset-mid empty partial-header partial-body hang reset close greet dialog forward "
                 "header= body= size= offset= reason= delay= interim= gap= slow= piece= chunked= bytes= for= "
                 "--bind --port --unix --open-after --log --lifetime --backlog").split():
        assert word in done.stdout
    assert max(map(len, done.stdout.splitlines())) < 80


@pytest.mark.parametrize("step, complaint", [
    ("frobnicate", "unknown step 'frobnicate'"),
    ("99", "unknown step '99'"),
    ("600", "unknown step '600'"),
    ("2000", "unknown step"),
    ("", "unknown step ''"),
    ("200=1", "takes no value"),
    ("reset=1", "'reset' takes no value"),
    ("greet", "'greet' needs a value"),
    ("reset-mid=x", "'x' is no number"),
    ("200,delay=5", "'5' is no duration"),
    ("200,delay=-5s", "no duration"),
    ("200,delay=1e99s", "no duration"),
    ("200,size=99999999999999999999", "no number"),
    ("200,nothing", "no key=value"),
    ("200,nothing=1", "unknown modifier 'nothing'"),
    ("reset,body=x", "does not belong to step 'reset'"),
    ("200,body=x\\q", "unknown escape"),
    ("200,body=x\\", "unknown escape"),
    ("200,body=x,size=1", "exclude each other"),
    ("200,offset=1", "needs a size"),
    ("200,piece=0", "at least one byte"),
    ("200,chunked=2", "neither 0 nor 1"),
    ("200,interim=101", "no interim status"),
    ("200,header=no colon", "no `NAME: VALUE'"),
    ("200,header=Date: @+soon", "no duration"),
    ("partial-body,size=1,bytes=2", "greater than size"),
    ("forward=localhost", "no HOST:PORT"),
    ("forward=localhost:70000", "no HOST:PORT"),
])
def test_bad_step(step, complaint):
    done = command("--", "200", step)
    assert done.returncode == 2 and done.stdout == ""
    assert complaint in done.stderr and f"step '{step}'" in done.stderr


@pytest.mark.parametrize("arguments", [
    [], ["--port", "65536", "200"], ["--port", "x", "200"], ["--bind", "localhost", "200"], ["--no-such", "200"],
    ["--open-after", "soon", "200"], ["--lifetime", "5", "200"], ["--backlog", "-1", "200"],
    ["--open-after", "3s", "--lifetime", "2s", "200"]])
def test_bad_option(arguments):
    done = command(*arguments)
    assert done.returncode == 2 and done.stdout == "" and "--help" in done.stderr


def test_taken_port_is_told():
    with FaultServer("200") as server:
        done = command("--port", str(server.port), "200")
    assert done.returncode == 1 and "cannot bind" in done.stderr


def test_terminated_server_exits_cleanly():
    server = FaultServer("200")
    with plain(server):
        server.wait("accept")
        assert server.close() == 0


def test_lifetime_ends_it():
    with FaultServer("200", lifetime="50ms") as server:
        assert server.process.wait(timeout=20) == 0


def test_dies_with_its_parent(tmp_path):
    script = '"$0" --log log 200 & echo $!; wait'
    with subprocess.Popen(["sh", "-c", script, harness.built(harness.SERVER)], cwd=tmp_path,
                          stdout=subprocess.PIPE, text=True) as shell:
        told = sorted([shell.stdout.readline(), shell.stdout.readline()])  # their order is open
        shell.kill()
        # The pipe ends when its last writer, the server, is gone.
        assert told[1].startswith("listening ") and shell.stdout.read() == ""


# --- Answers


def test_answer_and_log_of_a_request():
    with FaultServer("503") as server:
        answer = request(server, "POST", "/a?b=\"c", b"hello", X_One="1", x_two="zwei\xe9")
        log = server.requests()[0]
        server.wait("closed")
        events = [entry["event"] for entry in server.log()]
    assert (answer.status, answer.reason, answer.content) == (503, "Service Unavailable", b"503 Service Unavailable\n")
    assert events == ["open", "accept", "request", "closed"]
    assert log["headers"].pop("host") == f"127.0.0.1:{server.port}"
    assert log["headers"]["x-one"] == "1" and log["headers"]["x-two"] == "zwei\xe9"
    assert 0 < log.pop("t_ms") < 60000 and log.pop("headers")
    assert log == {"event": "request", "conn": 1, "req": 1, "step": "503", "method": "POST", "path": "/a?b=\"c",
                   "body_len": 5, "body_crc32": f"{zlib.crc32(b'hello'):08x}", "complete": True}


def test_repeated_header_is_one_key():
    with FaultServer("200,close=1") as server, plain(server, b"GET / HTTP/1.1\nA: 1\nB: 2\nA: 3\n\n") as client:
        assert received(client).endswith(b"\r\n\r\nok\n")
        assert server.requests()[0]["headers"] == {"a": "1, 3", "b": "2"}


def test_steps_follow_each_other_and_the_last_repeats():
    with FaultServer(["500", "404", "200"]) as server:
        assert [request(server).status for _ in range(5)] == [500, 404, 200, 200, 200]


@pytest.mark.parametrize("step, status, reason, body", [
    ("200", 200, "OK", b"ok\n"),
    ("201", 201, "Created", b"ok\n"),
    ("429", 429, "Too Many Requests", b"429 Too Many Requests\n"),
    ("599", 599, "Unknown", b"599 Unknown\n"),
    ("404,reason=Gone fishing,body=a\\,b\\\\\\r\\n\\0c", 404, "Gone fishing", b"a,b\\\r\n\0c"),
    ("404,reason=Gone", 404, "Gone", b"404 Gone\n"),
    ("200,size=1000", 200, "OK", pattern(1000)),
    ("206,size=37,offset=963", 206, "Partial Content", pattern(1000)[963:]),
    ("200,size=0", 200, "OK", b""),
    ("200,body=", 200, "OK", b""),
    ("204", 204, "No Content", b""),
    ("304", 304, "Not Modified", b""),
])
def test_answer(step, status, reason, body):
    with FaultServer(step) as server:
        answer = request(server)
        assert (answer.status, answer.reason, answer.content) == (status, reason, body)


def test_headers():
    with FaultServer("200,header=Retry-After: 7,header=X: a\\, b,header=X: c,header=Content-Type: image/png") as server:
        answer = request(server)
    assert answer.headers["Retry-After"] == "7" and answer.headers.get_all("X") == ["a, b", "c"]
    assert answer.headers.get_all("Content-Type") == ["image/png"]


def test_scripted_framing_is_not_doubled():
    with FaultServer("200,header=Content-Length: 2,close=1") as server, plain(server, GET) as client:
        text = received(client)
    assert text.count(b"Content-Length") == 1 and text.endswith(b"ok\n")


def test_date_header():
    before = time.time()
    with FaultServer("503,header=Retry-After: @+90s") as server:
        text = request(server).headers["Retry-After"]
    assert re.fullmatch(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", text)
    assert before + 90 <= email.utils.parsedate_to_datetime(text).timestamp() <= time.time() + 91


def test_head_has_headers_only():
    head = b"HEAD / HTTP/1.1\r\nConnection: close\r\n\r\n"
    with FaultServer("200,size=1000") as server, plain(server, head) as client:
        text = received(client)
    assert b"Content-Length: 1000\r\n" in text and text.endswith(b"\r\n\r\n")


def test_keep_alive():
    with FaultServer(["503", "200"]) as server:
        connection = http.client.HTTPConnection(server.address, server.port, timeout=20)
        for status in (503, 200, 200):
            connection.request("PUT", "/", b"data")
            answer = connection.getresponse()
            assert answer.status == status and answer.read()
        connection.close()
        assert [(log["conn"], log["req"]) for log in server.requests()] == [(1, 1), (1, 2), (1, 3)]
        assert [log["step"] for log in server.accepts()] == [None]


@pytest.mark.parametrize("step, head", [
    ("200,close=1", b"GET / HTTP/1.1\r\n\r\n"), ("200", b"GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n"),
    ("200", b"GET / HTTP/1.0\r\n\r\n")])
def test_no_keep_alive(step, head):
    with FaultServer(step) as server, plain(server, head) as client:
        assert b"Connection: close\r\n" in received(client)


def test_http10_keep_alive_and_pipelining():
    head = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    with FaultServer(["200", "200,close=1"]) as server, plain(server, head * 2) as client:
        text = received(client)
    assert text.count(b"\r\n\r\nok\n") == 2 and text.count(b"Connection: keep-alive") == 1


def test_chunked_answer():
    with FaultServer("200,size=1000,chunked=1,piece=300,close=1") as server, plain(server, GET) as client:
        head, _, body = received(client).partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head and b"Content-Length" not in head
    pieces = [pattern(1000)[start:start + 300] for start in range(0, 1000, 300)]
    assert body == b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])


def test_chunked_request():
    data = pattern(5000)
    with FaultServer("200") as server:
        answer = request(server, "POST", "/", iter([data[:1], data[1:3000], data[3000:]]))
        log = server.requests()[0]
    assert answer.status == 200 and log["headers"]["transfer-encoding"] == "chunked"
    assert (log["body_len"], log["body_crc32"], log["complete"]) == (5000, f"{zlib.crc32(data):08x}", True)


def test_large_bodies_both_ways():
    data = pattern(3_000_000)
    with FaultServer("200,size=3000000") as server:
        assert request(server, "PUT", "/", data).content == data
        assert server.requests()[0]["body_crc32"] == f"{zlib.crc32(data):08x}"


def test_delay():
    start = time.monotonic()
    with FaultServer("200,delay=200ms") as server:
        request(server)
    assert time.monotonic() - start >= 0.2


def test_gap_and_slow_body_come_piece_by_piece():
    start = time.monotonic()
    with FaultServer("200,body=abcde,gap=100ms,slow=50ms,piece=2,close=1") as server, plain(server, GET) as client:
        text = b""
        while not text.endswith(b"\r\n\r\n"):
            text += client.recv(1)
        assert client.recv(1) == b"a" and time.monotonic() - start >= 0.1
        assert received(client) == b"bcde" and time.monotonic() - start >= 0.2


def test_slow_default_is_ten_pieces():
    start = time.monotonic()
    with FaultServer("200,size=100,slow=20ms") as server:
        assert request(server).content == pattern(100)
    assert time.monotonic() - start >= 9 * 0.02


def test_interim_block_comes_first():
    with FaultServer("200,interim=103,close=1") as server:
        with plain(server, GET) as client:
            assert received(client).startswith(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n")
        with plain(server, b"GET / HTTP/1.0\r\n\r\n") as client:
            assert received(client).startswith(b"HTTP/1.1 200 OK\r\n")


EXPECT = b"POST / HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"


def test_expect_continue():
    with FaultServer("201,close=1") as server, plain(server, EXPECT) as client:
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"hello")
        assert received(client).startswith(b"HTTP/1.1 201 ")
        assert server.requests()[0]["body_len"] == 5


def test_expect_refused_without_the_body():
    with FaultServer("503") as server, plain(server, EXPECT) as client:
        text = received(client)
        log = server.requests()[0]
    assert text.startswith(b"HTTP/1.1 503 ") and b"Connection: close" in text
    assert (log["body_len"], log["complete"]) == (0, False)


def test_expect_refused_with_the_body():
    with FaultServer("503") as server, plain(server, EXPECT + b"hello") as client:
        assert client.recv(1000).startswith(b"HTTP/1.1 503 ")
        assert server.requests()[0]["complete"]


@pytest.mark.parametrize("step, status", [("200", b"200"), ("503", b"503")])
def test_expect_of_curl(step, status):
    with FaultServer(step) as server:
        done = curl("-H", "Expect: 100-continue", "--expect100-timeout", "15", "--data-binary", "x" * 5000,
                    "-o", "/dev/null", "-w", "%{http_code} %{size_upload}", server.url)
        assert done.returncode == 0 and done.stdout == status + (b" 5000" if step == "200" else b" 0")
        assert done.seconds < 10


# --- Faults


def test_reset():
    with FaultServer(["reset", "200"]) as server:
        expect_reset_at_once(server)
        assert request(server).status == 200
        assert [log["step"] for log in server.accepts()] == ["reset", None]


@pytest.mark.parametrize("data", [b"", GET])
def test_close_is_orderly(data):
    with FaultServer("close") as server, plain(server, data) as client:
        assert received(client) == b""
        assert server.accepts()[0]["step"] == "close" and server.requests() == []


def test_reset_after():
    with FaultServer("reset-after") as server, plain(server, POST) as client:
        assert received_before_reset(client) == b""
        assert server.requests()[0]["complete"] and server.requests()[0]["body_len"] == 10


def test_reset_mid():
    with FaultServer("reset-mid=4") as server, plain(server, POST) as client:
        assert received_before_reset(client) == b""
        log = server.requests()[0]
    assert (log["body_len"], log["body_crc32"], log["complete"]) == (4, f"{zlib.crc32(b'0123'):08x}", False)


def test_empty():
    with FaultServer("empty") as server, plain(server, POST) as client:
        assert received(client) == b""
        assert server.requests()[0]["complete"]


def test_partial_header():
    with FaultServer(["partial-header", "partial-header,bytes=8", "partial-header,bytes=0"]) as server:
        for length in (None, 8, 0):
            with plain(server, GET) as client:
                text = received(client)
            assert b"HTTP/1.1 200 OK\r\n".startswith(text[:17]) and b"\r\n\r\n" not in text
            assert len(text) > 17 if length is None else len(text) == length


def test_partial_header_with_reset():
    with FaultServer("partial-header,bytes=8,reset=1") as server, plain(server, GET) as client:
        assert received_before_reset(client) == b"HTTP/1.1"


@pytest.mark.parametrize("modifiers, sent", [("", 500), (",size=100,bytes=30", 30), (",size=100,bytes=0", 0)])
@pytest.mark.parametrize("ending", [received, received_before_reset])
def test_partial_body(modifiers, sent, ending):
    reset = ",reset=1" if ending is received_before_reset else ""
    with FaultServer(f"partial-body,header=ETag: \"e\"{modifiers}{reset}") as server, plain(server, GET) as client:
        head, _, body = ending(client).partition(b"\r\n\r\n")
    size = 100 if modifiers else 1000
    assert b"Content-Length: %d" % size in head and b'ETag: "e"' in head and body == pattern(sent)


def test_partial_body_resumed_by_curl(tmp_path):
    target = tmp_path / "file"
    with FaultServer(["partial-body,size=1000,bytes=400,reset=1",
                      "206,size=600,offset=400,header=Content-Range: bytes 400-999/1000"]) as server:
        assert curl("-o", target, server.url).returncode == 56
        assert curl("-C", "-", "-o", target, server.url).returncode == 0
        assert server.requests()[1]["headers"]["range"] == "bytes=400-"
    assert target.read_bytes() == pattern(1000)


def test_hang_until_the_client_closes():
    with FaultServer("hang") as server:
        with plain(server, POST) as client:
            server.wait("request")
            client.settimeout(0.1)
            with pytest.raises(TimeoutError):
                client.recv(1)
            assert server.log("closed") == []
        server.wait("closed")


def test_hang_for_a_time():
    with FaultServer("hang,for=50ms") as server, plain(server, GET) as client:
        assert received(client) == b""


@pytest.mark.parametrize("data, method", [
    (b"nonsense\r\n\r\n", ""), (b"GET /half HTTP/1.1\r\nHo", ""), (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", "GET"),
    (b"GET / HTTP/1.1\r\nA: \0\r\n\r\n", ""), (b"GET / HTTP/2.0\r\n\r\n", "GET"), (b"\x16\x03\x01\x02\0\x01\n\n", ""),
    (b"A" * 70000, "")])
def test_broken_request_takes_no_step(data, method):
    with FaultServer("200") as server, plain(server, data) as client:
        client.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            assert received(client) == b""
        log = server.wait("request")[0]
        assert (log["step"], log["method"], log["complete"]) == (None, method, False)
        assert request(server).status == 200


def test_request_cut_off_in_its_body():
    with FaultServer("200") as server:
        with plain(server, POST[:-3]):
            pass
        log = server.wait("request")[0]
        assert (log["body_len"], log["complete"]) == (7, False)


def test_connection_step_due_on_a_kept_connection():
    with FaultServer(["503", "reset", "200"]) as server, plain(server, GET) as client:
        while not client.recv(1000).endswith(b"503 Service Unavailable\n"):
            pass
        client.sendall(GET)
        assert received_before_reset(client) == b""
        assert [log["step"] for log in server.requests()] == ["503", "reset"]


# --- Below HTTP


def test_greet():
    with FaultServer("greet=SSH-2.0-x\\r\\n") as server:
        with plain(server) as client:
            assert received(client) == b"SSH-2.0-x\r\n"
        assert server.wait("closed") and server.accepts()[0]["step"] == "greet"


def test_dialog():
    with FaultServer("dialog=220-hi\\r\\n220 there|250 a\\|b||354 go\\n") as server, plain(server) as client:
        lines = client.makefile("rb")
        assert [lines.readline(), lines.readline()] == [b"220-hi\r\n", b"220 there\r\n"]
        client.sendall(b"EHLO \"me\"\r\n")
        assert lines.readline() == b"250 a|b\r\n"
        client.sendall(b"no answer\nDATA\r\n")
        assert lines.readline() == b"354 go\n"
        client.sendall(b"after the end\n")
        assert lines.read() == b""
        assert server.lines() == ['EHLO "me"', "no answer", "DATA", "after the end"]


def test_dialog_with_smtp_of_curl():
    with FaultServer("dialog=220 x|250 x|250 ok|250 ok|354 go|||||250 done|221 bye") as server:
        done = run(["curl", "-sS", "--max-time", "20", "--mail-from", "a@x", "--mail-rcpt", "b@x", "-T", "-",
                    f"smtp://{server.authority}/h"], shim=False, stdin=b"S: x\r\n\r\nhello\r\nworld\r\n")
        assert done.returncode == 0, done.stderr
        assert server.lines()[1:4] == ["MAIL FROM:<a@x>", "RCPT TO:<b@x>", "DATA"]


def test_forward():
    with FaultServer("200,size=100000") as real, FaultServer(["reset", f"forward={real.authority}"]) as server:
        expect_reset_at_once(server)
        assert request(server, "PUT", "/", pattern(100000)).content == pattern(100000)
        assert real.requests()[0]["body_len"] == 100000
        server.wait("closed", 2)


def test_forward_on_a_kept_connection_passes_the_request_on():
    with FaultServer("200,body=real,close=1") as real, FaultServer(["503", f"forward={real.authority}"]) as server:
        with plain(server, GET) as client:
            while not client.recv(1000).endswith(b"503 Service Unavailable\n"):
                pass
            client.sendall(POST)
            assert received(client).endswith(b"real")
        assert real.requests()[0]["body_len"] == 10


def test_forward_to_nobody():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with FaultServer(f"forward=127.0.0.1:{closed.getsockname()[1]}") as server:
            expect_reset_at_once(server)
            assert server.log("failure")[0]["text"] == "Connection refused"


# --- Addresses and load


def test_open_after_refuses_until_then():
    with FaultServer("200", open_after="1s") as server:
        with pytest.raises(ConnectionRefusedError):
            request(server)
        assert server.wait("open")[0]["t_ms"] >= 1000
        assert request(server).status == 200


def test_unix_socket(tmp_path):
    path = tmp_path / "s"
    server = FaultServer(["503", "200"], unix=path)
    for status in (b"503", b"200"):
        done = curl("--unix-socket", path, "-o", "/dev/null", "-w", "%{http_code}", "http://x/")
        assert (done.returncode, done.stdout) == (0, status)
    assert server.close() == 0 and not path.exists()


def test_unix_socket_open_after(tmp_path):
    path = tmp_path / "s"
    with FaultServer("greet=hi", unix=path, open_after="1s") as server:
        with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
            client.connect(str(path))
        server.wait("open")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            assert received(client) == b"hi"


def test_ipv6():
    with FaultServer("200", bind="::1") as server:
        assert curl(server.url).stdout == b"ok\n"


def test_log_is_appended_in_whole_lines(tmp_path):
    log = tmp_path / "log"
    log.write_text('{"event":"mine"}\n')
    with FaultServer("200", log=log) as server:
        clients = [threading.Thread(target=lambda: [request(server) for _ in range(20)]) for _ in range(8)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        server.wait("closed", 160)
        entries = server.log()
    assert entries[0] == {"event": "mine"} and len(log.read_text().splitlines()) == len(entries)
    assert sum(entry["event"] == "request" for entry in entries) == 160
    assert len({entry["conn"] for entry in entries if entry["event"] == "accept"}) == 160


def test_hundreds_of_connections_at_once():
    count = 300
    with FaultServer("200,close=1") as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(plain(server)) for _ in range(count)]
        server.wait("accept", count)
        for client in clients:
            client.sendall(GET)
        assert all(received(client).endswith(b"ok\n") for client in clients)
        assert len(server.requests()) == count


def test_client_that_resets_does_no_harm():
    with FaultServer("200,size=10000000") as server:
        for _ in range(5):
            with plain(server, GET) as client:
                client.recv(1)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server.wait("closed", 5)
        assert server.process.poll() is None
