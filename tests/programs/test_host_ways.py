"""What a second review of the host-shared state found: ways to one host that are not one way, and events of others."""

import pytest

from curl_hosts import host, lines
from harness import FaultServer, events, run
from host_state import BLOCKING, Hanging, destination, shimmed, state, told  # noqa: F401
from multi_hosts import multi
from network import ADDRESS, PORT, Running, network, python  # noqa: F401
from test_host_review import ALIVE, ANSWER, DEAD, OPENS, PROXY, REJECTS, TO_SPARE, URL, claims, curl, isolated

pytestmark = pytest.mark.usefixtures("network")

EXEMPT = {"no_proxy": "other.test, 127.0.0.1"}


@pytest.mark.parametrize("dead, alive", [
    (curl(URL, env={"http_proxy": PROXY}), curl(URL, env={"http_proxy": PROXY, **EXEMPT})),
    (curl("-x", PROXY, URL), curl("-x", PROXY, "--noproxy", "127.0.0.1", URL)),
    (curl(URL, env={"http_proxy": PROXY}), curl("--noproxy", "127.0.0.1", URL, env={"http_proxy": PROXY})),
    (curl(URL, env={"http_proxy": PROXY}), curl("-x", "", URL, env={"http_proxy": PROXY})),
    (curl("--preproxy", f"socks5://127.0.0.1:{DEAD}", URL), curl(URL)),
    (curl("-6", f"http://localhost:{PORT}/"), curl("-4", f"http://localhost:{PORT}/")),
], ids=["no_proxy", "both options", "option", "empty", "preproxy", "family"])
def test_exceptions_are_ways_of_their_own(state, dead, alive):
    with FaultServer("200", port=PORT):
        isolated(state, dead, alive)


@pytest.mark.parametrize("env", [{"https_proxy": PROXY}, {"ftp_proxy": PROXY}, {"http_proxy": PROXY, **EXEMPT}],
                         ids=["https", "ftp", "exempt"])
def test_proxy_that_is_for_others_hinders_no_fallback(env):
    with FaultServer(ANSWER, port=ALIVE):
        result = curl(URL, env=env)(**TO_SPARE)
    assert (result.returncode, result.stdout, told(result)) == (0, b"late", ["fallback", "succeeded"])


def test_proxy_hinders_a_fallback():
    with FaultServer(ANSWER, port=ALIVE) as spare:
        result = curl(URL, env={"http_proxy": PROXY})(**TO_SPARE)
        assert (result.returncode, spare.log("accept")) == (7, [])
    assert [entry["event"] for entry in events(result)] == ["unused_value", "exhausted"]


def test_list_is_looked_at_when_libcurl_looks(state):
    """A program may fill it until then, and leave an item without text."""
    with FaultServer("200", bind="127.0.0.3", port=PORT):
        argv = [host("late_list"), f"http://site.test:{PORT}/", f"site.test:{PORT}:127.0.0.3"]
        assert run(argv, shim=False).stdout.splitlines()[-1] == b"0"
        assert run(argv, state=state).stdout.splitlines()[-1] == b"0"


def test_failures_of_a_named_host_are_its_own(state):
    """A 503, then a refusal."""
    url = f"http://localhost:{PORT}/"
    with FaultServer("503,close=1", port=PORT) as server, \
            Running(["curl", "-sS", url], state=state, base_delay_ms=800, jitter="none", max_attempts=2) as program:
        program.wait("attempt_failed")
        server.close()
        assert program.result().returncode == 7
    assert destination(state, f"localhost:{PORT}")["failures_in_a_row"] == 1


def test_success_at_another_host_closes_no_circuit(state):
    """The retry is not redirected, and what had refused is not heard of."""
    dead = f"127.0.0.1:{DEAD}"
    run(python(BLOCKING, str(DEAD)), state=state, **OPENS)
    assert destination(state, dead)["circuit"] == "open"
    with FaultServer([f"302,close=1,header=Location: http://{dead}/", ANSWER], port=PORT):
        result = run(["curl", "-sS", "-L", URL], state=state, breaker_open_ms=1, base_delay_ms=1)
    assert (result.stdout, told(result)) == (b"late", ["attempt_failed", "succeeded"])
    assert destination(state, dead)["circuit"] != "closed" and destination(state, dead)["recoveries"] == 0


def test_handle_with_a_new_url_is_rejected_after_a_redirect(state):
    run(python(BLOCKING, str(DEAD)), state=state, **OPENS)
    with FaultServer(["302,header=Location: /there", "200"], port=PORT):
        words = ["new", f"url={URL}", "follow=1", "perform", f"url=http://127.0.0.1:{DEAD}/", "perform"]
        result = multi("poll", *words, state=state, max_attempts=1, **REJECTS)
    assert lines(result) == ["0 perform -> 0", "0 perform -> 7"] and told(result) == ["given_up breaker"]


# ---- events of others ---------------------------------------------------------------------------------

FALSE_EVENT = python("""import ctypes, select
class Event(ctypes.Structure): _pack_ = 1; _fields_ = [("events", ctypes.c_uint32), ("data", ctypes.c_uint64)]
libc = ctypes.CDLL(None)
client = socket.socket()
client.setblocking(False)
client.connect_ex(("127.0.0.1", PORT))
ours, theirs = socket.socketpair()
set = libc.epoll_create1(0)
event = Event(select.EPOLLOUT, client.fileno())
libc.epoll_ctl(set, 1, ours.fileno(), ctypes.byref(event))
print(libc.epoll_wait(set, ctypes.byref(Event()), 1, 5000))""")


def test_event_of_another_descriptor_is_no_success(state):
    """Its data are a connecting descriptor's number."""
    with Hanging() as port:
        run(python(BLOCKING, str(PORT)), state=state, **OPENS)
        port.hang()
        result = run(FALSE_EVENT, state=state, **REJECTS | {"breaker_open_ms": 1})
        assert result.stdout.splitlines()[-1] == b"1"
    assert destination(state)["circuit"] != "closed"


UNSPEC_LATER = python("""import ctypes, select
client = socket.socket()
client.setblocking(False)
client.connect_ex(("127.0.0.1", PORT))
wait = select.poll()
wait.register(client, select.POLLOUT)
wait.poll(0)
print("quiet", flush=True)
sys.stdin.readline()
wait.poll(1000)
print(ctypes.CDLL(None).connect(client.fileno(), bytes(16), 16))""")


def test_attempt_that_is_ended_by_dissolving_the_association(state):
    """Its claim is nobody's any more."""
    with Hanging() as port, shimmed(UNSPEC_LATER, state=state, base_delay_ms=300, jitter="none", max_attempts=3) as client:
        assert client.stdout.readline() == b"quiet\n"
        port.hang()
        assert client.communicate(b"\n", 30)[0] == b"0\n"
    assert claims(state) == [0]


def test_abstract_socket_is_one_in_every_folder(state, tmp_path):
    code = 'socket.socket(socket.AF_UNIX).connect("\\0nobody")'
    for folder in ("/", tmp_path):
        run(python(code), state=state, cwd=folder, unix="all", max_attempts=1)
    assert destination(state, "unix:@nobody")["attempts"] == 2


def test_short_write_is_for_want_of_room(tmp_path):
    """A limit in the middle of a line."""
    diag = tmp_path / "diag"
    diag.write_bytes(b"x" * 1000)
    shell = 'ulimit -f 1; exec "$@" 2>&1 | cat'
    result = run(["bash", "-c", shell, "bash", *python(BLOCKING, str(PORT))], diag_file=diag, max_attempts=1)
    assert b"RETRY_DIAG_FILE=%s cannot be written (ENOSPC)" % str(diag).encode() in result.stdout
