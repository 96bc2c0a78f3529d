"""What a review of the host-shared state and of fallbacks found, and what must not come back."""

import contextlib
import ctypes
import errno
import functools
import mmap
import os
import socket
import ssl
import struct
import threading
import time

import pytest

from curl_hosts import host, lines
from harness import FaultServer, events, run, wait_until
from host_state import (  # noqa: F401
    ALIVE, BASH, BLOCKING, CLIENTS, LOOKS, REFUSED, SLEEPS, Hanging, active_opens, destination, shimmed, state, told)
from multi_hosts import infos, multi, told as told_of
from network import ADDRESS, PORT, SOON, Running, instant, ip, late_server, network, python, with_files  # noqa: F401
from rangeserver import certificate

pytestmark = pytest.mark.usefixtures("network")

DEAD = 9  # a port that refuses
URL = f"http://{ADDRESS}/"
ANSWER = "200,body=late,close=1"
TO_SPARE = {"fallback": f"{ADDRESS}=127.0.0.1:{ALIVE}", "max_attempts": 1}

# One failure opens a circuit for as long as a test lasts.
OPENS = {"max_attempts": 1, "breaker_threshold": 1}
REJECTS = {"breaker": "reject", "breaker_open_ms": 60000}
# Its time is over.
DUE = {"breaker": "reject", "breaker_open_ms": 1}
CURLS = pytest.mark.parametrize("parallel", [[], ["-Z", "--no-progress-meter"]], ids=["easy", "multi"])


def curl(*arguments, **options):
    """A run of curl yet to come."""
    return functools.partial(run, ["curl", "-sS", *map(str, arguments)], **options)


# ---- the lists of CURLOPT_CONNECT_TO ----------------------------------------------------------------


def by(port, name="site.test"):
    return f"{name}:80:127.0.0.1:{port}"


@pytest.mark.parametrize("how", ["close", "reset"])
def test_handle_that_was_cut_off_in_its_fallback_leaves_no_list_behind(how):
    """The program's own lists count from then on."""
    with FaultServer("200,size=1000,slow=60s", port=ALIVE), FaultServer("200") as one, FaultServer("200") as two:
        result = run([host("lists"), how, URL, by(one.port), by(two.port)], **TO_SPARE)
    assert lines(result) == [f"0 {one.port}", f"0 {two.port}"], result


def test_list_that_is_replaced_and_freed_in_a_fallback():
    """A redirect goes by the program's latest list."""
    with FaultServer("302,header=Location: http://site.test/", port=ALIVE), FaultServer("200") as one, \
            FaultServer("200") as two:
        result = run([host("lists"), "change", URL, by(one.port), by(two.port)], **TO_SPARE)
        assert (len(one.requests()), len(two.requests())) == (0, 1)
    assert lines(result) == [f"0 {two.port}"]


# ---- answers that are not retried -------------------------------------------------------------------


@CURLS
@pytest.mark.parametrize("status", [404, 401, 501])
def test_probe_that_is_answered_closes_the_circuit(state, parallel, status):
    """For everybody, whatever the answer is."""
    run(BASH, state=state, **OPENS)
    assert destination(state)["circuit"] == "open"
    with FaultServer([f"{status},close=1", ANSWER], port=PORT):
        result = curl(*parallel, "-w", "%{http_code}", URL)(state=state, **DUE)
        assert result.stdout.endswith(b"%d" % status)
        assert (destination(state)["circuit"], destination(state)["failures_in_a_row"]) == ("closed", 0)
        assert run(CLIENTS["blocking"], state=state, **REJECTS).stdout == b"late"


@pytest.mark.parametrize("status", [404, 401, 501])
def test_answer_wakes_who_waits(state, status):
    """They start as with any success of another."""
    with Running(BASH, state=state, **{**SLEEPS, "base_delay_ms": 15000, "max_attempts": 2}) as sleeper:
        sleeper.wait("attempt_failed")
        with Running(["curl", "-sS", URL], state=state, **LOOKS) as scout, late_server(scout, f"{status},close=1"):
            assert scout.result().returncode == 0
            assert sleeper.result().stdout == b"connected\n" and sleeper.result().seconds < SOON


# ---- waiting while others succeed -------------------------------------------------------------------

# The first connect fails; the others begin when they are told to, and go on until its input ends.
BUSY = python("""import select
def connect():
    with socket.socket() as s: return s.connect_ex(("127.0.0.1", PORT))
print(connect(), flush=True)
sys.stdin.readline()
while not select.select([0], [], [], 0.02)[0] and connect() == 0: pass""")


def test_waiter_starts_although_others_go_on_succeeding(state):
    """Its spread counts from the first success, not from the latest."""
    backoff = {**SLEEPS, "base_delay_ms": 8000, "timeout_ms": 20000, "seed": 3}
    with Running(BASH, state=state, **backoff) as waiter, shimmed(BUSY, state=state, max_attempts=1) as busy:
        waiter.wait("attempt_failed")
        assert busy.stdout.readline() == b"%d\n" % errno.ECONNREFUSED
        with FaultServer("greet=hello", port=PORT):
            opened = time.time()
            busy.stdin.write(b"\n")
            busy.stdin.flush()
            result = waiter.result()
            assert busy.poll() is None
    assert result.stdout == b"connected\n"
    assert instant(events(result)[-1]) - opened < 4  # a second, and what a busy machine adds


# ---- other destinations -----------------------------------------------------------------------------


def isolated(state, dead, alive, **options):
    """A failure of the one opens its circuit, of which the other knows nothing."""
    assert dead(state=state, **OPENS, **options).returncode != 0
    assert told(dead(state=state, **REJECTS, **options)) == ["given_up breaker"]
    result = alive(state=state, **REJECTS, **options)
    assert (result.returncode, result.diag) == (0, b""), result


PROXY = f"http://127.0.0.1:{DEAD}"


@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy", "ALL_PROXY"])
def test_dead_proxy_of_an_environment(state, variable):
    """Who goes direct has nothing to do with it."""
    with FaultServer("200", port=PORT):
        isolated(state, curl(URL, env={variable: PROXY}), curl(URL))


def test_two_proxies(state):
    """One host by each of them is two destinations."""
    with FaultServer("200", port=ALIVE) as proxy:
        isolated(state, curl("-x", PROXY, "http://site.test/"), curl("-x", proxy.url, "http://site.test/"))
        isolated(state.with_name("env"), curl("http://site.test/", env={"http_proxy": PROXY}),
                 curl("http://site.test/", env={"http_proxy": proxy.url}))


@pytest.mark.parametrize("option, dead, alive", [
    ("--connect-to", by(DEAD), by(PORT)),
    ("--resolve", "site.test:80:127.0.0.2", "site.test:80:127.0.0.3"),
    ("--unix-socket", "/nonexistent/socket", "UNIX"),
    ("--interface", "127.0.0.9", "127.0.0.1"),
])
def test_backends_of_one_url(state, tmp_path, option, dead, alive):
    """What an option leads to is a destination of its own."""
    ip("rule add pref 1000 lookup local")
    ip("rule del pref 0")
    ip("rule add pref 100 from 127.0.0.9 unreachable")
    url = URL if option == "--interface" else "http://site.test/"
    path = tmp_path / "socket"
    with FaultServer("200", port=PORT), FaultServer("200", bind="127.0.0.3", port=80), FaultServer("200", unix=path):
        isolated(state, curl(option, dead, url), curl(option, path if alive == "UNIX" else alive, url))


def test_failure_at_the_other_end_of_a_redirect(state):
    """It is no evidence for the host that the operation is about: the one where its first failure was met."""
    with Running(["curl", "-sS", "-L", URL], state=state, base_delay_ms=1000, max_attempts=2) as program:
        with FaultServer(f"302,close=1,header=Location: http://127.0.0.1:{ALIVE}/", port=PORT), \
                FaultServer("503,close=1", port=ALIVE):
            [failed] = program.wait("attempt_failed")
        result = program.result()  # the first of the two refuses
    assert (result.returncode, told(result)) == (7, ["attempt_failed", "exhausted"])
    assert failed["target"] == f"127.0.0.1:{ALIVE}" and destination(state, failed["target"])["failures_in_a_row"] == 0


@contextlib.contextmanager
def tls_server():
    """TLS 1.3 and nothing older, at PORT."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate())
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    listener = socket.create_server(("127.0.0.1", PORT))

    def serve():
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # it was closed
                return
            with contextlib.suppress(OSError), client, context.wrap_socket(client, server_side=True) as stream:
                stream.recv(4096)
                stream.sendall(b"HTTP/1.0 200 OK\r\n\r\nok\n")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(20)


def test_handshake_that_a_clients_own_settings_break(state):
    """It is no evidence for clients with other settings."""
    url = URL.replace("http:", "https:")
    with tls_server():
        assert curl("-k", "--tls-max", "1.2", url)(state=state, **OPENS).returncode == 35
        result = curl("-k", url)(state=state, **REJECTS)
        assert (result.stdout, result.diag) == (b"ok\n", b"")


def test_relative_unix_paths_of_two_folders(state, tmp_path):
    """One text, two destinations."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir(), there.mkdir()
    client = functools.partial(run, python('socket.socket(socket.AF_UNIX).connect("s.sock")'))
    run(python('socket.socket(socket.AF_UNIX).bind("s.sock")'), shim=False, cwd=here)  # its server is no more
    with FaultServer("greet=hello", unix=there / "s.sock"):
        isolated(state, functools.partial(client, cwd=here), functools.partial(client, cwd=there), unix="all")


def test_thread_in_a_network_of_its_own(state):
    """What is refused in one network is asked for in the other."""
    code = """import ctypes, threading
def connect():
    with socket.socket() as s: print(s.connect_ex(("127.0.0.1", PORT)))
def elsewhere():
    assert ctypes.CDLL(None).unshare(0x40000000) == 0
    connect()
connect()
thread = threading.Thread(target=elsewhere)
thread.start()
thread.join()"""
    run(BASH, state=state, **OPENS)
    result = run(python(code), state=state, max_attempts=1, **REJECTS)
    # Its loopback interface is down.
    assert result.stdout == b"%d\n%d\n" % (errno.ECONNREFUSED, errno.ENETUNREACH), result.stderr
    assert told(result)[0] == "given_up breaker" and told(result).count("given_up breaker") == 1


# ---- the probe --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CLIENTS)
def test_probe_of_a_circuit_that_rejects_has_all_its_attempts(state, kind):
    run(BASH, state=state, **OPENS)
    its = {"state": state, "breaker": "reject", "breaker_open_ms": 500}
    wait_until(lambda: destination(state, breaker_open_ms=500)["probe_in_ms"] == 0)
    before = active_opens()
    result = run(CLIENTS[kind], base_delay_ms=10, multiplier=1, max_attempts=4, **its)
    assert told(result) == ["attempt_failed"] * 3 + ["exhausted"] and active_opens() - before == 4


def test_reused_handle_is_not_judged_by_its_last_redirect(state):
    """The circuit of the redirect's host is another's."""
    run(python(BLOCKING, str(DEAD)), state=state, **OPENS)
    curl(f"http://127.0.0.1:{DEAD}/")(state=state, **OPENS)
    assert destination(state, f"127.0.0.1:{DEAD}")["circuit"] == "open"
    with FaultServer([f"302,header=Location: http://127.0.0.1:{DEAD}/", "200"], port=PORT) as server:
        words = ["new", f"url={URL}", "follow=1", "perform", "perform"]
        result = multi("poll", *words, state=state, max_attempts=1, **REJECTS)
        assert len(server.requests()) == 2
    assert lines(result) == ["0 perform -> 7", "0 perform -> 0"]


def test_rejected_transfer_has_no_status(state):
    """Not that of the one before."""
    run(python(BLOCKING, str(DEAD)), state=state, **OPENS)
    with FaultServer("200", port=PORT):
        words = ["new", f"url={URL}", "perform", "info", f"url=http://127.0.0.1:{DEAD}/", "perform", "info"]
        result = multi("poll", *words, state=state, max_attempts=1, **REJECTS)
    assert [line.split(" ")[:3] for line in lines(result) if "perform" in line] == [["0", "perform", "->"]] * 2
    assert [info["status"] for info in infos(result)] == [200, 0]


# ---- what is left to the program --------------------------------------------------------------------

# Of include/retryshim/host.h and runtime.h: a header, then the places.
HEADER_BYTES, PLACE_BYTES, PLACES, CLAIM, SUCCESSES = 4096, 248, 512, 6 * 8, 13 * 8


def places(content):
    """Where the destinations in a state file are."""
    every = range(HEADER_BYTES, HEADER_BYTES + PLACES * PLACE_BYTES, PLACE_BYTES)
    return [at for at in every if struct.unpack_from("=Q", content, at)[0] != 0]


def claims(state):
    content = state.read_bytes()
    return [struct.unpack_from("=Q", content, at + CLAIM)[0] for at in places(content)]


LEFT = python("""import select
s = socket.socket()
s.setblocking(False)
s.connect_ex(("127.0.0.1", PORT))
poll = select.poll()
poll.register(s, select.POLLOUT)
poll.poll(60000)
os.rename(sys.argv[2], sys.argv[3])
while not os.path.exists(sys.argv[1]): time.sleep(0.01)
print(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))""")


def test_failure_that_is_judged_when_there_is_a_token_again(state, tmp_path):
    """The program has seen it: it is the last, and told so."""
    go_on, before, polled = tmp_path / "go on", tmp_path / "before", tmp_path / "polled"
    before.touch()
    bucket = {"budget_burst": 1, "budget_ratio": 0, "budget_per_sec": 2}
    with Running([*LEFT, go_on, before, polled], state=state, base_delay_ms=10, max_attempts=5, **bucket) as program:
        wait_until(polled.exists)
        wait_until(lambda: destination(state, **bucket)["tokens"] >= 1)
        go_on.touch()
        result = program.result()
    assert result.stdout == b"%d\n" % errno.ECONNREFUSED, result
    assert told(result)[-1] == "given_up unsafe" and claims(state) == [0]


UNSPEC = python("""import ctypes, select
s = socket.socket()
s.setblocking(False)
s.connect_ex(("127.0.0.1", PORT))
poll = select.poll()
poll.register(s, select.POLLOUT)
assert poll.poll(300) == []
print(ctypes.CDLL(None).connect(s.fileno(), bytes(16), 16))""")


def test_backoff_that_is_ended_by_dissolving_the_association(state):
    """connect(2) with AF_UNSPEC: nothing will be tried, nobody is to wait for it."""
    result = run(UNSPEC, state=state, **SLEEPS)
    assert result.stdout == b"0\n", result.stderr
    assert told(result) == ["attempt_failed", "given_up unsafe"] and claims(state) == [0]


# ---- fallbacks --------------------------------------------------------------------------------------


@CURLS
def test_no_fallback_at_the_deadline(parallel):
    """The time is over: the answer stands."""
    with FaultServer("503,delay=400ms,close=1", port=PORT), FaultServer("200", port=ALIVE) as spare:
        result = curl(*parallel, URL)(**TO_SPARE, timeout_ms=200)
        assert spare.accepts() == []
    assert result.stdout == b"503 Service Unavailable\n" and told(result)[-1:] == ["exhausted"]


def test_no_fallback_of_a_connect_at_the_deadline():
    """The socket's own limit (TCP_USER_TIMEOUT, tcp(7)) has ended it later than ours."""
    code = """s = socket.socket()
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 400)
print(s.connect_ex(("127.0.0.1", PORT)))"""
    with Hanging() as port, FaultServer("greet=hello", port=ALIVE) as spare:
        port.hang()
        result = run(python(code), **TO_SPARE, timeout_ms=200)
        assert spare.accepts() == []
    assert result.stdout == b"%d\n" % errno.ETIMEDOUT and told(result) == ["exhausted"]


def test_fallback_whose_name_is_unknown():
    """The kernel's error stands, and the diagnostics end."""
    argv = with_files(BASH, nsswitch_conf="hosts: files\\n", hosts="127.0.0.1 localhost\\n")
    result = run(argv, base_delay_ms=10, max_attempts=2, fallback=f"{ADDRESS}=spare.test:{ALIVE}")
    assert result.returncode == 1 and REFUSED in result.stderr
    assert told(result) == ["attempt_failed", "fallback", "exhausted"]
    assert {entry["error"] for entry in events(result)} == {"ECONNREFUSED"}


# ---- words that change all the time -----------------------------------------------------------------

libc = ctypes.CDLL(None)
SYS_FUTEX = {"x86_64": 202, "aarch64": 98}[os.uname().machine]
FUTEX_WAKE, EVERYBODY = 1, 2**31 - 1


def meddle(state, over):
    """Changes what sleepers in a state file look at, and wakes them, again and again."""
    with open(state, "r+b") as file, mmap.mmap(file.fileno(), 0) as words:
        buffer = ctypes.c_char.from_buffer(words)
        successes = [ctypes.c_uint32.from_buffer(words, at + SUCCESSES) for at in places(words)]
        while not over():
            for word in successes:
                word.value += 1
                libc.syscall(SYS_FUTEX, ctypes.byref(word), FUTEX_WAKE, EVERYBODY, None, None, 0)
        del word, successes, buffer


def test_news_without_end_do_not_keep_a_processor_busy(state):
    """A sleeper rests between two looks."""
    argv = [host("multi"), "style=poll", "new", f"url={URL}", "perform", "told"]
    with Running(argv, state=state, base_delay_ms=1200, max_attempts=2) as program:
        program.wait("attempt_failed")
        meddle(state, program.future.done)
        assert told_of(program.result(), "cpu_ms") < 300
