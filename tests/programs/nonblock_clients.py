"""Programs that connect without blocking, each asking for /late on PORT in its own way: CLIENTS."""

import functools
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from curl_hosts import compile_c, folder
from harness import need
from network import ADDRESS, PORT, python

URL = f"http://{ADDRESS}/late"
REQUEST = b"GET /late HTTP/1.0\r\n\r\n"

SOCKET = f"""s = socket.create_connection(("127.0.0.1", PORT), timeout=%s)
s.sendall({REQUEST})
while data := s.recv(4096): os.write(1, data)"""
URLLIB = f'import urllib.request; print(urllib.request.urlopen("{URL}", timeout=30).read().decode(), end="")'
ASYNCIO = f"""import asyncio
async def main():
    reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", PORT), %s)
    writer.write({REQUEST})
    os.write(1, await reader.read())
    writer.close()
asyncio.run(main())"""
SELECTORS = f"""import errno, selectors
s = socket.socket()
s.setblocking(False)
assert s.connect_ex(("127.0.0.1", PORT)) == errno.EINPROGRESS
with selectors.DefaultSelector() as selector:
    selector.register(s, selectors.EVENT_WRITE)
    selector.select()
    if error := s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR): sys.exit(os.strerror(error))
    s.sendall({REQUEST})
    selector.modify(s, selectors.EVENT_READ)
    while selector.select() and (data := s.recv(4096)): os.write(1, data)"""
# Registered once, for everything; whatever an edge means, the program acts on it.
EDGES = f"""import select
s = socket.socket()
s.setblocking(False)
s.connect_ex(("127.0.0.1", PORT))
epoll, sent = select.epoll(), False
epoll.register(s, select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET)
while True:
    epoll.poll()
    if error := s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR): sys.exit(os.strerror(error))
    if not sent: sent = s.send({REQUEST})
    try:
        while data := s.recv(4096): os.write(1, data)
        break
    except BlockingIOError: pass"""
PERL = f"""use IO::Socket::%s; my $s = IO::Socket::%s->new(PeerAddr => "127.0.0.1", PeerPort => {PORT}, Timeout => %s)
    or die "no: $@\\n"; print $s "GET /late HTTP/1.0\\r\\n\\r\\n"; print while <$s>;"""
NODE_GET = f"""const print = (response) => response.pipe(process.stdout);
const request = require("http").get("{URL}", {{timeout: %s000}}, print);
request.on("timeout", () => request.destroy(new Error("too long")));"""
NODE_FETCH = f'fetch("{URL}").then((response) => response.text()).then((text) => process.stdout.write(text))'
PHP_SOCKET = f"""$s = @stream_socket_client("tcp://{ADDRESS}", $code, $text, %s);
    $s or fwrite(STDERR, "no: $text ($code)\\n") and exit(1);
    fwrite($s, "GET /late HTTP/1.0\\r\\n\\r\\n"); fpassthru($s);"""
PHP_FILE = f'$text = file_get_contents("{URL}"); $text === false and exit(1); echo $text;'
RUBY = f"""require "net/http"
http = Net::HTTP.new("127.0.0.1", {PORT})
http.open_timeout = %s
print http.get("/late").body"""
LFTP = f"set net:max-retries 1; set net:timeout 30; cat {URL}"
# What the server answers to psql at once: authentication is over, ready for a query.
POSTGRES = "greet=R\\0\\0\\0\x08\\0\\0\\0\\0Z\\0\\0\\0\x05I"
CONNINFO = f"host=127.0.0.1 port={PORT} user=u dbname=d connect_timeout=30 sslmode=disable gssencmode=disable"


def perl(kind, limit=30):
    return ["perl", "-e", PERL % (kind, kind, limit)]


def php(code):
    return ["php", "-n", "-d", "display_errors=stderr", "-r", code]


@functools.cache
def libuv():
    return compile_c("libuv-client", source="../nonblock_hosts/libuv", libraries=("-luv",))


@functools.cache
def libevent():
    return compile_c("libevent-client", source="../nonblock_hosts/libevent", libraries=("-levent",))


@functools.cache
def classes():
    """Where Late.class is: compiled once, since a JVM that compiles takes seconds to start."""
    source = Path(__file__).resolve().parent / "nonblock_hosts" / "Late.java"
    subprocess.run([need("javac"), "-d", folder(), source], check=True, timeout=120)
    return folder()


def java(way, limit=30):
    return ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", classes, "Late", way, str(PORT), str(limit)]


def event_loop(style, backend="epoll", **env):
    """A client of libevent whose environment leaves it this backend."""
    return Client([libevent, str(PORT), style, backend], 1, b"Connection refused", options={"env": env})


def command(argv):
    """Its words; functions among them, which build what they name, are called now."""
    return [str(word()) if callable(word) else word for word in argv]


class Client(NamedTuple):
    argv: list  # see command()
    status: int  # of the failure
    complaint: bytes  # a piece of the failure's stderr
    steps: str | list = "200,body=late,close=1"
    asked: list = ["GET /late"]  # what the server read: requests, or lines
    printed: bytes = b"late"  # how stdout ends
    operations: int = 1  # more if the program itself tries again
    options: dict = {}  # of run()

    def command(self):
        return command(self.argv)


REFUSED = b"Connection refused"
POLL = {"EVENT_NOEPOLL": 1}
SELECT = {**POLL, "EVENT_NOPOLL": 1}
CHANGELIST = {"EVENT_EPOLL_USE_CHANGELIST": 1}
HEAD = "0123456789abcdef0123456789abcdef01234567"
CLIENTS = {
    "python-socket": Client(python(SOCKET % 30), 1, b"ConnectionRefusedError"),
    "python-urllib": Client(python(URLLIB), 1, REFUSED),
    "python-asyncio": Client(python(ASYNCIO % 30), 1, b"ConnectionRefusedError"),
    "python-selectors": Client(python(SELECTORS), 1, REFUSED),
    "python-edges": Client(python(EDGES), 1, REFUSED),
    "node-get": Client(["node", "-e", NODE_GET % 30], 1, b"Error: connect ECONNREFUSED"),
    "node-fetch": Client(["node", "-e", NODE_FETCH], 1, b"fetch failed"),
    "libuv": Client([libuv, str(PORT)], 1, b"connection refused"),
    "libevent-plain": event_loop("plain"),
    "libevent-plain-changelist": event_loop("plain", "epoll (with changelist)", **CHANGELIST),
    "libevent-plain-poll": event_loop("plain", "poll", **POLL),
    "libevent-plain-select": event_loop("plain", "select", **SELECT),
    "libevent-buffered": event_loop("buffered"),
    "libevent-buffered-changelist": event_loop("buffered", "epoll (with changelist)", **CHANGELIST),
    "libevent-buffered-poll": event_loop("buffered", "poll", **POLL),
    "libevent-buffered-select": event_loop("buffered", "select", **SELECT),
    "java-url": Client(java("url"), 1, b"ConnectException: Connection refused"),
    "java-client": Client(java("client"), 1, b"ConnectException", operations=2),
    "java-selector": Client(java("selector"), 1, b"ConnectException: Connection refused"),
    "php-socket": Client(php(PHP_SOCKET % 30), 1, b"no: Connection refused (111)"),
    "php-file": Client(php(PHP_FILE), 1, REFUSED),
    "perl-inet": Client(perl("INET"), 111, b"no: IO::Socket::INET: connect: Connection refused"),
    "perl-ip": Client(perl("IP"), 111, b"no: Connection refused"),
    "ruby": Client(["ruby", "-e", RUBY % 30], 1, b"Errno::ECONNREFUSED"),
    # The connect hooks serve libcurl itself where its transfers are not retried.
    "curl": Client(["curl", "-sS", URL], 7, b"curl: (7)", options={"curl": 0}),
    "curl-parallel": Client(["curl", "-Z", "--no-progress-meter", URL], 7, b"curl: (7)", options={"curl": 0}),
    "git": Client(["git", "ls-remote", URL], 128, b"unable to access",
                  [f"200,body={HEAD}\trefs/heads/main\n", "200,body=ref: refs/heads/main\n"],
                  ["GET /late/info/refs?service=git-upload-pack", "GET /late/HEAD"],
                  f"{HEAD}\trefs/heads/main\n".encode(), options={"curl": 0}),
    "nc": Client(["nc", "-v", "-w", "30", "127.0.0.1", str(PORT)], 1, REFUSED, options={"stdin": REQUEST}),
    "socat": Client(["socat", "-t30", "-", f"TCP:{ADDRESS},connect-timeout=30"], 1, REFUSED,
                    options={"stdin": REQUEST}),
    "lftp": Client(["lftp", "-c", LFTP], 1, REFUSED),
    "redis-cli": Client(["redis-cli", "-h", "127.0.0.1", "-p", str(PORT), "PING"], 1, REFUSED,
                        "dialog=|||+PONG", ["*1", "$4", "PING"], b"PONG\n", operations=2),
    "psql": Client(["psql", "-X", "-w", "-c", r"\echo late", CONNINFO], 2, REFUSED, POSTGRES, [], b"late\n"),
}


def without_clock(text):
    """A client's messages without what differs from run to run: dates, durations, numbers of processes."""
    return re.sub(rb"after \d+ ms|^\d{4}/\S+ \S+ socat\[\d+\]", b"*", text)
