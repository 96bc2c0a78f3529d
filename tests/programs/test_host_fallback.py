"""RETRY_FALLBACK: where a program of any kind ends up when its attempts are used up, and what it must not notice."""

import contextlib
import socket
import ssl
import threading

import pytest

from curl_hosts import raw_server
from harness import FaultServer, events, run
from host_state import (  # noqa: F401
    ALIVE, BLOCKING, CLIENTS, LONG, active_opens, destination, multi_client, shimmed, state, told)
from multi_hosts import STYLES, done, infos, running
from network import ADDRESS, PORT, SOON, network, python, with_files  # noqa: F401
from nonblock_clients import CLIENTS as PROGRAMS

pytestmark = pytest.mark.usefixtures("network")

SPARE = f"127.0.0.1:{ALIVE}"
TO_SPARE = {"fallback": f"{ADDRESS}={SPARE}", "base_delay_ms": 10, "max_attempts": 2}
LATE = "200,body=late,close=1"
SPOKEN = ["attempt_failed", "fallback", "succeeded"]
CURLS = {"easy": [], "multi": ["-Z", "--no-progress-meter"]}
PARALLEL = pytest.mark.parametrize("parallel", CURLS.values(), ids=CURLS)
URL = f"http://{ADDRESS}"


def curl(parallel, *arguments, **options):
    return run(["curl", "-sS", *parallel, *arguments], **{**TO_SPARE, **options})


def unused(result):
    """What was told of a fallback that cannot be used."""
    return [entry["reason"] for entry in events(result) if entry["event"] == "unused_value" and
            entry["variable"] == "RETRY_FALLBACK"]


# ---- programs of every kind ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("attempts", [1, 3])
def test_when_the_attempts_are_used_up(kind, attempts):
    with FaultServer(LATE, port=ALIVE) as spare:
        assert run(CLIENTS[kind], shim=False).returncode != 0
        before = active_opens()
        result = run(CLIENTS[kind], **{**TO_SPARE, "max_attempts": attempts})
        assert active_opens() - before == attempts + 1
        assert [entry["path"] for entry in spare.requests()] == ["/late"]
    assert (result.returncode, result.stdout[-4:]) == (0, b"late")
    assert told(result) == ["attempt_failed"] * (attempts - 1) + ["fallback", "succeeded"]
    [entry] = [entry for entry in events(result) if entry["event"] == "fallback"]
    assert (entry["target"], entry["fallback"], entry["attempt"]) == (ADDRESS, SPARE, attempts)


@pytest.mark.parametrize("name", PROGRAMS)
def test_in_many_programs(name):
    client = PROGRAMS[name]
    with FaultServer(client.steps, port=ALIVE) as spare:
        result = run(client.command(), **{**TO_SPARE, **client.options})
        assert len(spare.accepts()) >= 1
    assert (result.returncode, result.stdout[-len(client.printed):]) == (0, client.printed), result
    assert told(result)[:3] == SPOKEN


@pytest.mark.parametrize("style", STYLES)
def test_in_a_multi(style):
    with FaultServer(LATE, port=ALIVE) as spare:
        result = run(multi_client(style), **TO_SPARE)
        assert len(spare.requests()) == 1
    assert done(result) == [(0, 0)] and running(result) == [1, 0] and told(result) == SPOKEN
    assert infos(result)[0]["status"] == 200


@pytest.mark.parametrize("style", STYLES)
def test_in_a_multi_whose_circuit_rejects(state, style):
    run(python(BLOCKING, str(PORT)), state=state, max_attempts=1, breaker_threshold=1)
    with FaultServer(LATE, port=ALIVE):
        before = active_opens()
        result = run(multi_client(style), state=state, breaker="reject", breaker_open_ms=60000, **TO_SPARE)
        assert active_opens() - before == 1
    assert done(result) == [(0, 0)] and running(result) == [1, 0] and told(result)[0] == "fallback"


@pytest.mark.parametrize("kind", CLIENTS)
def test_without_one_it_fails(kind):
    with FaultServer(LATE, port=ALIVE) as spare:
        result = run(CLIENTS[kind], **{**TO_SPARE, "fallback": f"127.0.0.1:{PORT + 100}={SPARE}"})
        assert result.returncode != 0 and spare.accepts() == []
    assert told(result)[0] == "attempt_failed" and "fallback" not in told(result)


@pytest.mark.parametrize("kind", CLIENTS)
def test_that_is_dead_too(kind):
    alone = run(CLIENTS[kind], shim=False)
    before = active_opens()
    result = run(CLIENTS[kind], **TO_SPARE)
    assert active_opens() - before == 3
    assert result.returncode == alone.returncode
    assert told(result)[:2] == ["attempt_failed", "fallback"] and "succeeded" not in told(result)
    assert told(result).count("fallback") == 1


@pytest.mark.parametrize("kind", CLIENTS)
def test_that_is_dead_is_not_held_against_the_original(state, kind):
    run(CLIENTS[kind], state=state, breaker_threshold=10, **TO_SPARE)
    seen = destination(state)
    assert (seen["failures_in_a_row"], seen["exhausted"], seen["attempts"]) == (1, 1, 2)


@pytest.mark.parametrize("limit", ["None", f"{LONG}"], ids=["blocking", "timeout"])
def test_same_descriptor_and_options(limit):
    code = f"""s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
s.bind(("127.0.0.1", 5555))
s.settimeout({limit})
before = s.fileno(), os.fstat(s.fileno()).st_ino
s.connect(("127.0.0.1", PORT))
assert before == (s.fileno(), os.fstat(s.fileno()).st_ino)
print(s.getpeername(), s.getsockname(), s.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), s.gettimeout())
print(s.recv(5))"""
    with FaultServer("greet=hello", port=ALIVE):
        result = run(python(code), **TO_SPARE)
    assert result.stdout.decode() == f"('127.0.0.1', {ALIVE}) ('127.0.0.1', 5555) 1 {float(limit) if limit != 'None' else None}\nb'hello'\n"


@pytest.mark.parametrize("kind", CLIENTS)
def test_of_a_circuit_that_rejects_at_once(state, kind):
    run(python(BLOCKING, str(PORT)), state=state, max_attempts=1, breaker_threshold=1)
    assert destination(state)["circuit"] == "open"
    with FaultServer(LATE, port=ALIVE) as spare:
        before = active_opens()
        result = run(CLIENTS[kind], state=state, breaker="reject", breaker_open_ms=60000, **{**TO_SPARE, "base_delay_ms": 30000})
        assert active_opens() - before == 1
        assert [entry["path"] for entry in spare.requests()] == ["/late"]
    assert (result.returncode, result.stdout[-4:]) == (0, b"late") and result.seconds < SOON
    assert told(result)[0] == "fallback" and set(told(result)) <= {"fallback", "succeeded"}
    assert destination(state, breaker_open_ms=60000)["circuit"] == "open"  # the spare one's success is not its


@pytest.mark.parametrize("kind", CLIENTS)
def test_of_a_circuit_that_passes(state, kind):
    """Its one plain attempt has failed."""
    run(python(BLOCKING, str(PORT)), state=state, max_attempts=1, breaker_threshold=1)
    with FaultServer(LATE, port=ALIVE):
        before = active_opens()
        result = run(CLIENTS[kind], state=state, breaker_open_ms=60000, **{**TO_SPARE, "base_delay_ms": 30000})
        assert active_opens() - before == 2
    assert result.stdout.endswith(b"late") and told(result) == ["fallback", "succeeded"]


@pytest.mark.parametrize("kind", CLIENTS)
def test_of_an_empty_bucket(state, kind):
    with FaultServer(LATE, port=ALIVE):
        before = active_opens()
        result = run(CLIENTS[kind], state=state, budget_burst=1, budget_per_sec=0, **{**TO_SPARE, "max_attempts": 10})
        assert active_opens() - before == 3
    assert result.stdout.endswith(b"late") and told(result) == SPOKEN


# ---- families and names -------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["None", "60"], ids=["blocking", "timeout"])
def test_ipv6_address_for_an_ipv4_socket(limit):
    code = f"""s = socket.socket()
s.settimeout({limit})
print(s.connect_ex(("127.0.0.1", PORT)))"""
    with FaultServer("greet=hello", port=ALIVE, bind="::1") as spare:
        result = run(python(code), **{**TO_SPARE, "fallback": f"{ADDRESS}=[::1]:{ALIVE}"})
        assert spare.accepts() == []
    assert result.stdout == b"111\n" and "fallback" not in told(result)
    assert len(unused(result)) == 1 and "address family" in unused(result)[0], events(result)


def test_ipv4_address_for_an_ipv6_socket():
    code = """s = socket.socket(socket.AF_INET6)
s.connect(("::1", PORT))
print(s.getpeername()[0], s.recv(5))"""
    with FaultServer("greet=hello", port=ALIVE):
        result = run(python(code), **{**TO_SPARE, "fallback": f"[::1]:{PORT}={SPARE}"})
    assert result.stdout == b"::ffff:127.0.0.1 b'hello'\n" and told(result) == SPOKEN


def test_ipv4_address_for_a_socket_that_is_ipv6_only():
    code = """s = socket.socket(socket.AF_INET6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
print(s.connect_ex(("::1", PORT)))"""
    result = run(python(code), **{**TO_SPARE, "fallback": f"[::1]:{PORT}={SPARE}"})
    assert result.stdout == b"111\n", result.stdout  # and not what an address of the wrong family gets


def test_name_for_a_blocking_connect():
    with FaultServer(LATE, port=ALIVE) as spare:
        argv = with_files(CLIENTS["blocking"], nsswitch_conf="hosts: files\\n", hosts="127.0.0.1 spare.test\\n")
        result = run(argv, **{**TO_SPARE, "fallback": f"{ADDRESS}=spare.test:{ALIVE}"})
        assert [entry["path"] for entry in spare.requests()] == ["/late"]
    assert result.stdout == b"late" and told(result) == SPOKEN
    assert [entry["fallback"] for entry in events(result) if "fallback" in entry] == [f"spare.test:{ALIVE}"]


@pytest.mark.parametrize("limit", ["None", str(LONG)], ids=["blocking", "timeout"])
def test_of_a_name_with_several_addresses(limit):
    """The program itself tries the next one: it is the last one that is replaced."""
    code = f"""s = socket.create_connection(("db.test", PORT), timeout={limit})
print(s.getpeername()[1], s.recv(5))"""
    with FaultServer("greet=hello", port=ALIVE):
        argv = with_files(python(code), nsswitch_conf="hosts: files\\n", hosts="127.0.0.1 db.test\\n127.0.0.2 db.test\\n")
        before = active_opens()
        result = run(argv, **{**TO_SPARE, "fallback": f"db.test:{PORT}={SPARE}"})
        assert active_opens() - before == 4
    assert result.stdout == b"%d b'hello'\n" % ALIVE and told(result) == SPOKEN


def test_name_that_is_unknown():
    argv = with_files(python(BLOCKING, str(PORT)), nsswitch_conf="hosts: files\\n", hosts="127.0.0.1 localhost\\n")
    result = run(argv, **{**TO_SPARE, "fallback": f"{ADDRESS}=spare.test:{ALIVE}"})
    assert result.stdout == b"111\n"


@pytest.mark.parametrize("kind", ["poll", "select", "epoll"])
def test_name_for_a_connect_that_must_not_block(kind):
    with FaultServer(LATE, port=ALIVE) as spare:
        argv = with_files(CLIENTS[kind], nsswitch_conf="hosts: files\\n", hosts="127.0.0.1 spare.test\\n")
        result = run(argv, **{**TO_SPARE, "fallback": f"{ADDRESS}=spare.test:{ALIVE}"})
        assert result.returncode != 0 and spare.accepts() == []
    assert len(unused(result)) == 1 and "look-up" in unused(result)[0], events(result)


def test_name_that_the_program_knows():
    code = f"""socket.getaddrinfo("spare.test", {ALIVE})
s = socket.create_connection(("127.0.0.1", PORT), timeout=60)
print(s.recv(5))"""
    with FaultServer("greet=hello", port=ALIVE):
        argv = with_files(python(code), nsswitch_conf="hosts: files\\n", hosts="127.0.0.1 spare.test\\n")
        result = run(argv, **{**TO_SPARE, "fallback": f"{ADDRESS}=spare.test:{ALIVE}"})
    assert result.stdout == b"b'hello'\n" and told(result) == SPOKEN


# ---- libcurl ------------------------------------------------------------------------------------------


def headers(block):
    """Of a request's header block."""
    return dict(line.split(": ", 1) for line in block.decode().split("\r\n")[1:] if line)


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlate"


def redirect(to):
    return b"HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % to.encode()


def to(url):
    """RETRY_FALLBACK that leads from the dead port to a raw_server()."""
    return f"{ADDRESS}={url.removeprefix('http://')}"


@PARALLEL
def test_host_header_stays(parallel):
    with raw_server(ANSWER) as (url, seen):
        result = curl(parallel, f"http://site.test:{PORT}/late", "--resolve", f"site.test:{PORT}:127.0.0.1",
                      fallback=to(url).replace("127.0.0.1", "site.test", 1))
    assert result.stdout == b"late" and told(result) == SPOKEN
    [block] = seen
    assert headers(block)["Host"] == f"site.test:{PORT}" and block.startswith(b"GET /late HTTP/1.1\r\n")


@pytest.fixture(name="secure")
def secure_server(tmp_path):
    """A server of one connection at a time on the spare port, for site.test alone; its certificate, and the names asked for."""
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    made = run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
                "2", "-subj", "/CN=site.test", "-addext", "subjectAltName=DNS:site.test", "-keyout", key, "-out",
                certificate], shim=False)
    assert made.returncode == 0, made.stderr
    asked = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    listener = socket.create_server(("127.0.0.1", ALIVE))

    def serve():
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                with contextlib.suppress(OSError), context.wrap_socket(client, server_side=True) as secure:
                    secure.recv(65536)
                    secure.sendall(ANSWER)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield certificate, asked
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(20)


@PARALLEL
def test_tls_name_stays(secure, parallel):
    certificate, asked = secure
    result = curl(parallel, f"https://site.test:{PORT}/late", "--resolve", f"site.test:{PORT}:127.0.0.1", "--cacert",
                  certificate, fallback=f"site.test:{PORT}={SPARE}")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"late", b"")
    assert asked == ["site.test"] and told(result) == SPOKEN


@PARALLEL
def test_tls_name_is_still_checked(secure, parallel):
    certificate, asked = secure
    result = curl(parallel, f"https://other.test:{PORT}/late", "--resolve", f"other.test:{PORT}:127.0.0.1", "--cacert",
                  certificate, fallback=f"other.test:{PORT}={SPARE}")
    assert result.returncode == 60 and asked == ["other.test"] and result.stdout == b""


@PARALLEL
def test_redirect_to_another_host_goes_its_way(parallel):
    with raw_server(ANSWER) as (other, others), raw_server(redirect(f"{other}/there")) as (url, seen):
        result = curl(parallel, "-L", f"{URL}/here", fallback=to(url))
    assert result.stdout == b"late" and told(result) == SPOKEN
    assert [block.split()[1] for block in seen] == [b"/here"] and headers(seen[0])["Host"] == ADDRESS
    assert [block.split()[1] for block in others] == [b"/there"] and headers(others[0])["Host"] in other


@PARALLEL
def test_redirect_to_a_host_that_is_dead(parallel):
    """The operation begins anew; of its hosts the dead one alone is replaced."""
    with raw_server(ANSWER) as (spare, spares), raw_server(redirect(f"{URL}/there")) as (url, seen):
        result = curl(parallel, "-L", f"{url}/here", fallback=to(spare))
    assert result.stdout == b"late" and told(result) == SPOKEN
    assert {block.split()[1] for block in seen} == {b"/here"} and len(seen) == 3
    assert [block.split()[1] for block in spares] == [b"/there"]


@PARALLEL
def test_connect_to_of_the_program_stays(parallel):
    with raw_server(ANSWER) as (other, others), raw_server(redirect("http://other.test/there")) as (url, seen):
        result = curl(parallel, "-L", f"{URL}/here", "--connect-to", f"other.test:80:{other.removeprefix('http://')}",
                      fallback=to(url))
    assert result.stdout == b"late", (result.stderr, events(result))
    assert len(seen) == len(others) == 1 and headers(others[0])["Host"] == "other.test"


def test_connect_to_of_the_program_for_the_same_host():
    """It leads to a dead port; the fallback goes before it, and afterwards it counts again."""
    code = f"""import pycurl
curl = pycurl.Curl()
curl.setopt(pycurl.URL, "http://site.test:{PORT}/late")
curl.setopt(pycurl.CONNECT_TO, ["site.test:{PORT}:127.0.0.1:{PORT + 1}"])
curl.setopt(pycurl.WRITEFUNCTION, lambda piece: print(piece))
for _ in range(2):
    curl.perform()
    print("done", flush=True)
    sys.stdin.readline()"""
    with FaultServer(LATE, port=ALIVE) as spare, \
            shimmed(python(code), **{**TO_SPARE, "fallback": f"site.test:{PORT}={SPARE}"}) as process:
        assert [process.stdout.readline() for _ in range(2)] == [b"b'late'\n", b"done\n"]
        assert len(spare.requests()) == 1
        with FaultServer("200,body=own", port=PORT + 1) as own:
            out = process.communicate(b"\n\n", SOON)[0]
            assert out == b"b'own'\ndone\n" and len(own.requests()) == len(spare.requests()) == 1


def test_next_transfer_of_the_handle_goes_to_the_original():
    code = f"""import pycurl
curl = pycurl.Curl()
curl.setopt(pycurl.URL, "{URL}/late")
curl.setopt(pycurl.WRITEFUNCTION, lambda piece: print(piece))
for _ in range(3):
    curl.perform()
    print(curl.getinfo(pycurl.PRIMARY_PORT), flush=True)
    sys.stdin.readline()"""
    with FaultServer("200,body=late", port=ALIVE) as spare, shimmed(python(code), **TO_SPARE) as process:
        assert [process.stdout.readline() for _ in range(2)] == [b"b'late'\n", b"%d\n" % ALIVE]
        with FaultServer("200,body=own,close=1", port=PORT):
            process.stdin.write(b"\n")
            process.stdin.flush()
            assert [process.stdout.readline() for _ in range(2)] == [b"b'own'\n", b"%d\n" % PORT]
        out = process.communicate(b"\n\n", SOON)[0]
        assert out == b"b'late'\n%d\n" % ALIVE and len(spare.requests()) == 2


def test_next_transfer_of_a_multi_goes_to_the_original():
    code = f"""import pycurl
multi, curl = pycurl.CurlMulti(), pycurl.Curl()
curl.setopt(pycurl.URL, "{URL}/late")
curl.setopt(pycurl.WRITEFUNCTION, lambda piece: print(piece))
for _ in range(2):
    multi.add_handle(curl)
    while multi.perform()[1]: multi.select(1)
    print(multi.info_read()[1:], curl.getinfo(pycurl.PRIMARY_PORT), flush=True)
    multi.remove_handle(curl)
    sys.stdin.readline()"""
    with FaultServer("200,body=late", port=ALIVE) as spare, shimmed(python(code), **TO_SPARE) as process:
        assert process.stdout.readline() == b"b'late'\n"
        assert process.stdout.readline().endswith(b" %d\n" % ALIVE)
        with FaultServer("200,body=own", port=PORT) as own:
            out = process.communicate(b"\n\n", SOON)[0]
            assert out.startswith(b"b'own'\n") and len(own.requests()) == len(spare.requests()) == 1


@PARALLEL
def test_status_goes_to_the_fallback_for_a_request_that_may_be_sent_again(parallel):
    with FaultServer("503,body=down", port=PORT) as own, FaultServer(LATE, port=ALIVE) as spare:
        result = curl(parallel, f"{URL}/late")
        assert len(own.requests()) == 2 and len(spare.requests()) == 1
    assert (result.returncode, result.stdout) == (0, b"late")
    assert told(result) == SPOKEN


@PARALLEL
def test_status_of_the_fallback_is_delivered(parallel):
    with FaultServer("503,body=down", port=PORT), FaultServer("503,body=spare", port=ALIVE) as spare:
        result = curl(parallel, f"{URL}/late", "-w", "%{http_code}")
        assert len(spare.requests()) == 1
    assert (result.returncode, result.stdout) == (0, b"spare503")


@PARALLEL
def test_status_does_not_for_one_that_must_not(parallel):
    with FaultServer("503,body=down", port=PORT) as own, FaultServer(LATE, port=ALIVE) as spare:
        result = curl(parallel, f"{URL}/late", "-d", "a=b")
        assert len(own.requests()) == 1 and spare.accepts() == []
    assert (result.returncode, result.stdout, told(result)) == (0, b"down", ["given_up unsafe"])


@PARALLEL
def test_request_that_was_never_sent_goes_there_with_its_body(parallel):
    with FaultServer("200,body=late", port=ALIVE) as spare:
        result = curl(parallel, f"{URL}/late", "-d", "a=b")
        assert [(entry["method"], entry["body_len"]) for entry in spare.requests()] == [("POST", 3)]
    assert result.stdout == b"late" and told(result) == SPOKEN


@PARALLEL
def test_time_that_is_over_is_not_stretched(parallel):
    """The program's own limit is for all of it."""
    with FaultServer("200,body=late,delay=20s", port=ALIVE) as spare:
        result = curl(parallel, f"{URL}/late", "-m", "1")
        assert len(spare.requests()) == 1
    assert result.returncode == 28 and 0.9 < result.seconds < 10


def test_one_transfer_of_many():
    """Of those that run at the same time only those to the dead host go there."""
    with FaultServer("200,body=own", port=PORT + 1) as own, FaultServer("200,body=late", port=ALIVE) as spare:
        result = curl(CURLS["multi"], *[f"{own.url}/{number}" for number in range(3)], f"{URL}/late")
        assert (len(own.requests()), len(spare.requests())) == (3, 1)
    assert sorted(result.stdout.replace(b"own", b"own ").replace(b"late", b"late ").split()) == [b"late", b"own", b"own", b"own"]
