"""Blocking connect(): what is recovered, on the same descriptor, and what must be left alone."""

import errno
import subprocess

import pytest

from harness import FaultServer, environment, events, run, wait_until
from network import PORT, SLOW, SOON, network, python, recovers, traced  # noqa: F401

pytestmark = pytest.mark.usefixtures("network")

# ---- the same descriptor ------------------------------------------------------------------------

OPTIONS = """
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 12345)
s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 50000)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 60000)
s.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 16)
s.bind(("127.0.0.1", 5555))
def state():
    level, tcp = socket.SOL_SOCKET, socket.IPPROTO_TCP
    asked = [(level, socket.SO_KEEPALIVE), (tcp, socket.TCP_NODELAY), (tcp, socket.TCP_USER_TIMEOUT),
             (level, socket.SO_SNDBUF), (level, socket.SO_RCVBUF), (socket.IPPROTO_IP, socket.IP_TOS)]
    return [s.getsockopt(*each) for each in asked], s.getsockname(), s.fileno(), os.fstat(s.fileno()).st_ino
before = state()
s.connect(("127.0.0.1", PORT))
print(before == state(), before[1])
s.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
print(s.recv(15))
"""


def test_descriptor_keeps_port_and_options():
    assert b"ConnectionRefused" in run(python(OPTIONS), shim=False).stderr
    result, log = recovers(python(OPTIONS))
    assert result.stdout == b"True ('127.0.0.1', 5555)\nb'HTTP/1.1 200 OK'\n"
    assert [entry["method"] for entry in log if entry["event"] == "request"] == ["GET"]


def test_no_other_descriptor_appears():
    code = 'print(sorted(os.listdir("/proc/self/fd")))'
    code = f'{code}\ns = socket.socket(); s.connect(("127.0.0.1", PORT)); print("connected")\n{code}'
    result, _ = recovers(python(code))
    before, connected, after = result.stdout.splitlines()
    assert connected == b"connected" and len(eval(after)) == len(eval(before)) + 1


def test_errno_is_untouched_by_a_recovery():
    code = """import ctypes
libc = ctypes.CDLL(None, use_errno=True)
s = socket.socket()
ctypes.set_errno(77)
print(libc.connect(s.fileno(), bytes([2, 0, 0x1f, 0x90, 127, 0, 0, 1]) + bytes(8), 16), ctypes.get_errno())"""
    assert run(python(code), shim=False).stdout == f"-1 {errno.ECONNREFUSED}\n".encode()
    result, _ = recovers(python(code))
    assert result.stdout == b"0 77\n"


@pytest.mark.parametrize("family, bind, address", [
    ("AF_INET", "127.0.0.1", '("127.0.0.1", PORT)'),
    ("AF_INET6", "::1", '("::1", PORT)'),
    ("AF_INET6", "127.0.0.1", '("::ffff:127.0.0.1", PORT)'),
], ids=["ipv4", "ipv6", "mapped"])
def test_families(family, bind, address):
    argv = python(f's = socket.socket(socket.{family}); s.connect({address}); print("connected")')
    assert b"ConnectionRefused" in run(argv, shim=False).stderr
    result, _ = recovers(argv, server={"bind": bind})
    assert result.stdout == b"connected\n"
    expected = f"[{bind}]:{PORT}" if ":" in bind else f"{bind}:{PORT}"
    assert {entry["target"] for entry in events(result)} == {expected}


# ---- every errno of the table, put in the kernel's place on the first attempt -------------------

NETWORK = ["ECONNREFUSED", "ETIMEDOUT", "ECONNRESET", "ECONNABORTED", "EHOSTUNREACH", "ENETUNREACH", "ENETDOWN",
           "EHOSTDOWN"]
RESOURCE = ["EADDRNOTAVAIL", "ENOBUFS", "ENOMEM"]
UNTOUCHED = ["EACCES", "EPERM", "EINVAL", "EAFNOSUPPORT", "EADDRINUSE", "EFAULT", "EBADF", "ENOTSOCK",
             "EAGAIN", "ENOENT", "EIO", "EPROTOTYPE", "ENOSYS"]
OUTCOME = f"""s = socket.socket()
try: s.connect(("127.0.0.1", {PORT})); print(0)
except OSError as error: print(error.errno)"""


def injected(name, tmp_path, code=OUTCOME):
    return traced(python(code), "connect", tmp_path / "trace", "-e", f"inject=connect:error={name}:when=1")


@pytest.mark.parametrize("name", NETWORK + RESOURCE)
def test_retried_errno(name, tmp_path):
    number = getattr(errno, name)
    with FaultServer("200", port=PORT) as server:
        assert run(injected(name, tmp_path), shim=False).stdout == f"{number}\n".encode()
        assert server.accepts() == []
        result = run(injected(name, tmp_path))
        assert result.stdout == b"0\n" and len(server.wait("accept")) == 1
    failed, succeeded = events(result)
    assert (failed["event"], succeeded["event"], succeeded["attempt"]) == ("attempt_failed", "succeeded", 2)
    expected = ("network", "medium") if name in NETWORK else ("resource", "high")
    assert (failed["error"], failed["category"], failed["severity"]) == (name, *expected)


@pytest.mark.parametrize("name", UNTOUCHED)
def test_untouched_errno(name, tmp_path):
    with FaultServer("200", port=PORT) as server:
        outcomes = [run(injected(name, tmp_path), shim=shim, base_delay_ms=SLOW) for shim in (False, True)]
        assert server.accepts() == []
    assert [each.stdout for each in outcomes] == [f"{getattr(errno, name)}\n".encode()] * 2
    assert outcomes[1].seconds < SOON
    assert {entry["event"] for entry in events(outcomes[1])} <= {"not_retryable"}


# Not by socket.connect(): after EINTR that would wait for the connection itself.
RAW = """import ctypes
libc = ctypes.CDLL(None, use_errno=True)
s = socket.socket()
print(libc.connect(s.fileno(), bytes([2, 0, 0x1f, 0x90, 127, 0, 0, 1]) + bytes(8), 16), ctypes.get_errno())"""


@pytest.mark.parametrize("name", ["EINPROGRESS", "EALREADY", "EISCONN", "EINTR"])
def test_what_is_no_failure_is_not_even_told(name, tmp_path):
    without, result = [run(injected(name, tmp_path, RAW), shim=shim, base_delay_ms=SLOW) for shim in (False, True)]
    assert without.stdout == result.stdout == f"-1 {getattr(errno, name)}\n".encode()
    assert result.seconds < SOON and events(result) == []


WRONG = """import ctypes, mmap
libc = ctypes.CDLL(None, use_errno=True)
libc.connect.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint]
good = ctypes.create_string_buffer(bytes([2, 0, 0x1f, 0x90, 127, 0, 0, 1]) + bytes(8), 16)
six = ctypes.create_string_buffer(bytes([10, 0, 0x1f, 0x90]) + bytes(24), 28)
alien = ctypes.create_string_buffer(bytes([99, 0]) + bytes(14), 16)
def call(name, fd, address, length):
    ctypes.set_errno(0)
    print(name, libc.connect(fd, address, length), ctypes.get_errno())
tcp, file = socket.socket(), os.open("/dev/null", os.O_RDONLY)
call("closed", 999, good, 16)
call("closed, wild", 999, 8, 16)
call("negative", -1, None, 16)
call("file", file, good, 16)
call("file, wild", file, 8, 16)
call("null", tcp.fileno(), None, 16)
call("wild", tcp.fileno(), 8, 16)
call("short", tcp.fileno(), good, 4)
call("empty", tcp.fileno(), None, 0)
call("one byte", tcp.fileno(), good, 1)
call("huge", tcp.fileno(), good, 0xffffffff)
call("huge, wild", tcp.fileno(), 8, 0x7fffffff)
call("alien", tcp.fileno(), alien, 16)
call("other family", tcp.fileno(), six, 28)
listening = socket.create_server(("127.0.0.1", 0))
call("listening", listening.fileno(), good, 16)
"""


def test_calls_that_cannot_work():
    """Wild pointers too: the kernel answers EFAULT, and so must we."""
    without = run(python(WRONG), shim=False)
    result = run(python(WRONG), base_delay_ms=SLOW)
    assert without.returncode == 0 and b"wild -1 %d\n" % errno.EFAULT in without.stdout
    assert (result.returncode, result.stdout, result.stderr) == (0, without.stdout, b"")
    assert result.seconds < SOON
    assert {entry["event"] for entry in events(result)} <= {"not_retryable"}


# ---- sockets that are not ours ------------------------------------------------------------------

OTHERS = """def attempt(name, s, address):
    try: s.connect(address); print(name, 0)
    except OSError as error: print(name, error.errno)
attempt("udp", socket.socket(type=socket.SOCK_DGRAM), ("127.0.0.1", PORT))
attempt("udp, no route", socket.socket(type=socket.SOCK_DGRAM), ("192.0.2.1", PORT))
attempt("raw, no route", socket.socket(socket.AF_INET, socket.SOCK_RAW, 17), ("192.0.2.1", PORT))
attempt("unix datagram", socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), "/nowhere")
attempt("netlink", socket.socket(socket.AF_NETLINK, socket.SOCK_RAW), (0, 0))
nonblocking = socket.socket(); nonblocking.setblocking(False)
attempt("no route", nonblocking, ("192.0.2.1", PORT))
attempt("nonblocking", nonblocking, ("127.0.0.1", PORT))
"""


def test_other_sockets_are_untouched():
    without = run(python(OTHERS), shim=False)
    result = run(python(OTHERS), base_delay_ms=SLOW, nonblock=0, unix="all")
    assert f"udp, no route {errno.ENETUNREACH}\n" in without.stdout.decode()
    assert f"no route {errno.ENETUNREACH}\nnonblocking {errno.EINPROGRESS}\n" in without.stdout.decode()
    assert (result.stdout, result.stderr) == (without.stdout, without.stderr)
    assert result.seconds < SOON and events(result) == []


REUSED = """import threading
s = socket.socket()
def connect():
    try: s.connect(("127.0.0.1", PORT)); print("connected")
    except OSError as error: print(error.errno)
thread = threading.Thread(target=connect); thread.start()
sys.stdin.readline()
foreign = socket.socket()
os.dup2(foreign.fileno(), s.fileno())
print("replaced", flush=True)
thread.join()
try: foreign.getpeername(); print("foreign connected")
except OSError as error: print(error.errno)
"""


def test_descriptor_reused_during_a_backoff_is_not_connected(tmp_path):
    """The number is another socket's when the backoff ends: that one must stay as it is."""
    diag = tmp_path / "diag"
    env = environment(tmp_path, base_delay_ms=1000, diag_file=diag)
    with subprocess.Popen(python(REUSED), env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        wait_until(lambda: diag.exists() and "attempt_failed" in diag.read_text())
        with FaultServer("200", port=PORT) as server:
            out, _ = client.communicate("go\n", timeout=30)
            assert server.accepts() == []
    assert out.split() == ["replaced", str(errno.ECONNREFUSED), str(errno.ENOTCONN)]
