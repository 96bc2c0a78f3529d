"""What a scripted file server answers, over any version of HTTP, and one that speaks HTTP/1.1.

    with RangeServer(Answer(cut=5000), Answer()) as server:
        result = curl(server.url, resume=1)
    assert result.stdout == server.content
    assert [request.get("range") for request in server.requests] == [None, "bytes=5000-"]

Each request takes the next answer, the last one for ever. A file with a strong ETag, a date and
`Accept-Ranges: bytes` unless the answer says otherwise; If-Range is heeded.
"""

import contextlib
import functools
import re
import socket
import ssl
import struct
import threading
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

from curl_hosts import folder, pattern, run

BEFORE, MID_HEADERS = "before the headers", "within the headers"  # values of Answer.cut
ETAG, DATE = '"one"', "Mon, 03 Feb 2020 10:00:00 GMT"


@dataclass
class Answer:
    """One answer. The break comes after `cut` bytes of this answer's body (from the end if negative)."""
    status: int = None            # None: 200, or 206 if the request has a Range that holds
    headers: dict = field(default_factory=dict)  # on top of the usual ones; None takes one away
    body: bytes = None            # None: the file, or its part
    etag: str = ETAG              # None: has none
    date: str = DATE
    ranges: bool = True           # heeds Range
    shift: int = 0                # a 206 starts that much later than asked for, and says so
    cut: object = None            # None: whole; a number of bytes; BEFORE; MID_HEADERS
    how: str = "reset"            # the break: reset, close, stall; over HTTP/2 an error code's name or goaway, too
    chunked: bool = False         # HTTP/1.1 only
    then: object = None           # called once the answer, or what there is of it, is out


@dataclass
class Request:
    """What a server saw. Header names are in lower case."""
    method: str
    path: str
    headers: dict
    body: bytes
    connection: int               # from 0, in the order of arrival
    at: float

    def get(self, name):
        return self.headers.get(name)


def offset_wanted(request, answer):
    """The N of `Range: bytes=N-`, if it holds; else None."""
    wanted = re.fullmatch(r"bytes=(\d+)-", request.get("range") or "")
    condition = request.get("if-range")
    return int(wanted[1]) if wanted and answer.ranges and condition in (None, answer.etag, answer.date) else None


def compose(request, answer, content):
    """(status, headers as pairs, body) of an answer to a request."""
    start = offset_wanted(request, answer)
    headers = {"accept-ranges": "bytes", "etag": answer.etag, "last-modified": answer.date, "date": formatdate(usegmt=True)}
    status, body = answer.status or 200, content if answer.body is None else answer.body
    if start is not None and answer.status in (None, 206):
        status, start = 206, start + answer.shift
        headers["content-range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:] if answer.body is None else answer.body
    headers["content-length"] = str(len(body))
    headers.update({name.lower(): value for name, value in answer.headers.items()})
    return status, [(name, value) for name, value in headers.items() if value is not None], body


def cut_of(answer, body):
    """How many of the body's bytes go out; None for all of them."""
    return answer.cut if answer.cut is None or answer.cut >= 0 else len(body) + answer.cut


def reset(connection):
    """Has the socket closed by an RST; not at once, since an RST throws away what is still to be sent."""
    time.sleep(0.03)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@functools.cache
def certificate():
    """Path of a file with a key and a certificate for 127.0.0.1, made once a session."""
    path = folder() / "certificate.pem"
    made = run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
                "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path, "-out",
                f"{path}.crt"], shim=False)
    assert made.returncode == 0, made.stderr
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


def tls(connection, protocol):
    """The server's side of a TLS connection, its handshake done."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate())
    context.set_alpn_protocols([protocol])
    return context.wrap_socket(connection, server_side=True, suppress_ragged_eofs=True)


class ScriptedServer:
    """Accepts, a thread a connection, until the `with` ends. A subclass serves one connection.

    gate: given a request, an answer that is not the next of the list, or None.
    """
    protocol = "http/1.1"

    def __init__(self, *answers, content=None, secure=False, gate=lambda request: None):
        self.scheme, self.gate = "https" if secure else "http", gate
        self.answers, self.requests = list(answers) or [Answer()], []
        self.content = pattern(20000) if content is None else content
        self.connections, self.sockets, self.ending, self.taken = 0, [], threading.Event(), 0
        self.lock, self.errors, self.threads = threading.Lock(), [], []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.port}/file"

    def saw(self, name):
        """One header's value, request by request."""
        return [request.get(name) for request in self.requests]

    def next_answer(self, request):
        with self.lock:
            self.requests.append(request)
            if (answer := self.gate(request)) is not None:
                return answer
            self.taken += 1
            return self.answers[min(self.taken, len(self.answers)) - 1]

    def refuse_for(self, seconds):
        """Connections are refused from now on, for so long."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

        def reopen():
            if not self.ending.wait(seconds):
                self.listener = socket.create_server(("127.0.0.1", self.port))
                self._accept()

        self._start(reopen)

    def _start(self, function, *arguments):
        self.threads.append(threading.Thread(target=function, args=arguments, daemon=True))
        self.threads[-1].start()

    def _accept(self):
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                connection, _ = self.listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connections += 1
                self.sockets.append(connection)
                self._start(self._serve, connection, self.connections - 1)

    def _serve(self, connection, number):
        try:
            with contextlib.suppress(OSError), connection:
                if self.scheme == "http":
                    self.serve(connection, number)
                else:
                    with tls(connection, self.protocol) as secured:
                        self.serve(secured, number)
        except Exception as error:  # told by __exit__: a broken server proves nothing
            self.errors.append(error)

    def serve(self, connection, number):
        raise NotImplementedError

    def __enter__(self):
        self._start(self._accept)
        return self

    def __exit__(self, kind, *_):
        self.ending.set()
        for each in [self.listener, *self.sockets]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(10)
        assert kind or not self.errors, self.errors


class RangeServer(ScriptedServer):
    """HTTP/1.1 with kept connections."""

    def serve(self, connection, number):
        stream = connection.makefile("rb")
        while line := stream.readline():
            method, path, _ = line.decode().split()
            headers = {}
            while (line := stream.readline().decode().strip()):
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            if headers.get("expect"):
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = stream.read(int(headers.get("content-length", 0)))
            request = Request(method, path, headers, body, number, time.monotonic())
            if not self.give(connection, request, self.next_answer(request)):
                return

    def give(self, connection, request, answer):
        """False: the connection is over."""
        status, headers, body = compose(request, answer, self.content)
        cut, bare = answer.cut, request.method == "HEAD" or status in (204, 304)
        if answer.chunked:
            headers = [(n, v) for n, v in headers if n != "content-length"] + [("transfer-encoding", "chunked")]
        block = f"HTTP/1.1 {status} Told\r\n" + "".join(f"{n}: {v}\r\n" for n, v in headers) + "\r\n"
        if cut in (BEFORE, MID_HEADERS):
            connection.sendall(block.encode()[:0 if cut == BEFORE else len(block) // 2])
        else:
            body = b"" if bare else body
            cut = cut_of(answer, body)
            connection.sendall(block.encode())
            connection.sendall(self.framed(body[:cut], cut is None) if answer.chunked else body[:cut])
        if answer.then:
            answer.then()
        if cut is None:
            return True
        if answer.how == "stall":
            self.ending.wait(20)
        elif answer.how == "reset":
            reset(connection)
        return False

    @staticmethod
    def framed(body, whole):
        chunks = [body[at:at + 4000] for at in range(0, len(body), 4000)]
        return b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in chunks) + (b"0\r\n\r\n" if whole else b"")
