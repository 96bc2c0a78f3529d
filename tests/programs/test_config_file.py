"""A configuration file: settings by destination, whose word counts, and what happens to a file that is of no use."""

import json
import os
import shlex

import pytest

from harness import BUILD, FaultServer, built, events, run
from host_state import BLOCKING, CLIENTS, active_opens, failing_lookup, state  # noqa: F401
from network import ADDRESS, PORT, network, python, traced  # noqa: F401
from rangeserver import Answer, RangeServer

pytestmark = pytest.mark.usefixtures("network")

OTHER = PORT + 1
STANDARD = "/etc/retryshim.conf"


@pytest.fixture
def file(tmp_path):
    """Writes the file; returns the setting that names it."""
    def write(text):
        path = tmp_path / "retryshim.conf"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return {"config": path}
    return write


def with_standard(argv, text, owner="0:0", mode="644"):
    """argv where the standard file is this one."""
    script = f"""d=$(mktemp -d) && mount -t tmpfs none $d && cp -a /etc/. $d && mount --bind $d /etc && umount -l $d && rmdir $d &&
printf '%s' {shlex.quote(text)} >{STANDARD} && chown {owner} {STANDARD} && chmod {mode} {STANDARD} && exec "$@\""""
    return ["unshare", "--mount", "--propagation=private", "sh", "-c", script, "sh", *argv]


def attempts(argv, **options):
    """How many connects the kernel counted."""
    before = active_opens()
    result = run(argv, **{"base_delay_ms": 1, "budget": "off", "breaker": "off", **options})
    return active_opens() - before, result


def refused(port=PORT):
    return python(BLOCKING, str(port))


# ---- by destination -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CLIENTS)
def test_each_hook_obeys_the_section(file, kind):
    assert attempts(CLIENTS[kind], shim=False)[0] == 1
    assert attempts(CLIENTS[kind], **file(f"[127.0.0.1:{PORT}]\nmax_attempts = 5"))[0] == 5
    assert attempts(CLIENTS[kind], **file(f"[127.0.0.1:{OTHER}]\nmax_attempts = 5"))[0] == 3
    count, result = attempts(CLIENTS[kind], **file(f"[127.0.0.1:{PORT}]\nenabled = 0"))
    assert count == 1 and events(result) == []


@pytest.mark.parametrize("kind, name", [("blocking", "enabled"), ("poll", "nonblock"), ("epoll", "nonblock"), ("easy", "curl"), ("multi", "curl")])
def test_a_family_is_switched_off_for_one_destination_and_on_for_one(file, kind, name):
    off = f"[127.0.0.1:{PORT}]\n{name} = 0\nnonblock = 0"
    assert attempts(CLIENTS[kind], **file(off))[0] == 1
    assert attempts(CLIENTS[kind], **file(off.replace(str(PORT), str(OTHER))))[0] == 3
    on = f"{name} = 0\nnonblock = 0\n[127.0.0.1:{PORT}]\n{name} = 1\nnonblock = 1"
    assert attempts(CLIENTS[kind], **file(on))[0] == 3
    assert attempts(CLIENTS[kind], **file(on.replace(str(PORT), str(OTHER))))[0] == 1


def test_one_process_and_several_destinations(file):
    argv = python(BLOCKING, str(PORT), str(OTHER), str(OTHER + 1), str(PORT))
    _, result = attempts(argv, **file(f"max_attempts = 2\n[*:{PORT}]\nmax_attempts = 4\n[*:{OTHER}]\nmax_attempts = 1\n"))
    told = [(event["target"].rsplit(":", 1)[1], event["attempt"]) for event in events(result) if event["event"] == "exhausted"]
    assert told == [(str(PORT), 4), (str(OTHER), 1), (str(OTHER + 1), 2), (str(PORT), 4)]


def test_look_ups(file):
    argv = failing_lookup('socket.getaddrinfo("host.test", PORT)')

    def attempts_of(text):
        return [event["attempt"] for event in events(run(argv, base_delay_ms=1, budget="off", max_attempts=2, **file(text)))]

    assert attempts_of("") == [1, 2]
    assert attempts_of("[host.test]\nmax_attempts = 3") == [1, 2, 3]
    assert attempts_of("[other.test]\nmax_attempts = 3") == [1, 2]
    assert attempts_of("[host.test]\ndns = 0") == []


def test_statuses_and_methods(file):
    def requests(section, argv):
        with FaultServer(["418", "418", "200"]) as server:
            run([*argv, server.url], base_delay_ms=1, **file(f"[127.0.0.1:{server.port}]\n{section}\n"))
            return [request["step"] for request in server.requests()]

    get, post = ["curl", "-s"], ["curl", "-s", "-d", "x"]
    assert requests("resume = 0", get) == ["418"]
    assert requests("http_status = 418", get) == ["418", "418", "200"]
    assert requests("http_status = 418", post) == ["418"]
    assert requests("http_status = 418\nmethods = POST", post) == ["418", "418", "200"]
    assert requests("http_status = 418\noperation = tea\nmax_attempts = 2", get) == ["418", "418"]


def test_resume(file):
    for section, recovers in (("127.0.0.1", True), ("127.0.0.2", False)):
        with RangeServer(Answer(cut=5000), Answer()) as server:
            result = run(["curl", "-s", server.url], base_delay_ms=1, **file(f"[{section}]\nresume = 1\n"))
            assert (result.stdout == server.content) == recovers and (result.returncode == 0) == recovers


def test_fallback_of_one_destination(file):
    with FaultServer("greet=hello", port=OTHER) as server:
        code = 's = socket.create_connection(("127.0.0.1", PORT)); print(s.recv(5))'
        result = run(python(code), base_delay_ms=1, **file(f"[127.0.0.1:{PORT}]\nfallback = {ADDRESS}={ADDRESS[:-4]}{OTHER}\n"))
        assert result.stdout == b"b'hello'\n" and len(server.wait("accept", 1)) == 1
        settings = file(f"fallback = {ADDRESS}={ADDRESS[:-4]}{OTHER}\n[127.0.0.1:{PORT}]\nfallback =\n")
        assert run(python(code), base_delay_ms=1, **settings).returncode == 1  # taken back
        assert len(server.accepts()) == 1


@pytest.mark.parametrize("kind", CLIENTS)
def test_reject(file, state, kind):
    """By a process in which nothing has failed; and of another destination in it, not."""
    run(python(BLOCKING, *[str(PORT)] * 4), state=state, max_attempts=1, breaker_threshold=2)
    common = {"state": state, "breaker": None, "base_delay_ms": 30000, "breaker_open_ms": 60000}
    count, result = attempts(CLIENTS[kind], **common, **file(f"[127.0.0.1:{PORT}]\nbreaker = reject"))
    assert count == 0 and result.returncode != 0
    assert [event["reason"] for event in events(result)] == ["breaker"]
    count, _ = attempts(CLIENTS[kind], **common, **file(f"[127.0.0.1:{OTHER}]\nbreaker = reject"))
    assert count == 1


# ---- whose word counts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text, environment, count", [
    ("max_attempts = 5", None, 5), ("max_attempts = 5", 2, 2), ("max_attempts = 5", "", 5), ("max_attempts = 5", "x", 5),
    ("max_attempts = 5\n[*]\nmax_attempts = 6", 2, 6), ("max_attempts = 5\n[*]\nmax_attempts =", 2, 3),
    ("max_attempts = 5\n[*]\nresume = 1", 2, 2), ("max_attempts = 5\n[*]\nresume = 1", None, 5),
    ("[10.0.0.0/8]\nmax_attempts = 6\n[127.0.0.0/8]\nmax_attempts = 4\n[*]\nmax_attempts = 7", 2, 4),
])
def test_order(file, text, environment, count):
    assert attempts(refused(), max_attempts=environment, **file(text))[0] == count


def test_the_environment_switches_all_off(file):
    setting = file("enabled = 1\n[*]\nenabled = 1")
    count, result = attempts(refused(), enabled=0, **setting)
    assert count == 1 and events(result) == []
    assert attempts(refused(), programs="other", **setting)[0] == 1
    assert attempts(refused(), **file("programs = other\n[*]\nenabled = 1"))[0] == 1
    assert attempts(refused(), **file("skip_programs = other\n"))[0] == 3


def test_diagnostics_by_the_file_alone(file, tmp_path):
    setting = file(f"diag = 1\ndiag_format = json\ndiag_file = {tmp_path}/told\nbase_delay_ms = 1\n")
    run(refused(), diag=None, diag_file=None, diag_format=None, base_delay_ms=None, **setting)
    assert (tmp_path / "told").read_text().count("attempt_failed") == 2


# ---- of no use ------------------------------------------------------------------------------------------------------


def complaints(result):
    return [(event["value"], event["reason"]) for event in events(result) if event["event"] == "unused_value"]


def test_bad_lines_are_named_and_skipped(file):
    setting = file("max_attempt = 5\nmax_attempts = 4\n[127.0.0.1\n[*]\nstate = off\nbase_delay_ms = x\n")
    count, result = attempts(refused(), **setting)
    assert count == 4
    assert complaints(result) == [
        (f"{setting['config']}:1: max_attempt", "there is no such setting"),
        (f"{setting['config']}:3: [127.0.0.1", "this is no list of destinations"),
        (f"{setting['config']}:5: state", "it holds for whole processes: put it above the sections"),
        (f"{setting['config']}:6: base_delay_ms", "it cannot have this value")]
    result = run(refused(), base_delay_ms=1, diag_format="text", **file("diga = 1\n"))
    assert result.diag.split(b"] ", 1)[1].startswith(
        f"RETRY_CONFIG={setting['config']}:1: diga is not used (there is no such setting); the line is skipped.\n".encode())


def test_twenty_bad_lines_are_enough(file):
    assert len(complaints(run(refused(), base_delay_ms=1, **file("nonsense\n" * 100)))) == 20


@pytest.mark.parametrize("make, why", {
    "missing": (lambda path: None, "ENOENT"),
    "folder": (lambda path: path.mkdir(), "it is no regular file"),
    "fifo": (lambda path: os.mkfifo(path), "it is no regular file"),
    "long": (lambda path: path.write_text("#" * 65537), "it is longer than 65536 bytes"),
    "binary": (lambda path: path.write_bytes(b"max_attempts = 9\0\n"), "it is no text"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "it is no regular file"),
    "loop": (lambda path: path.symlink_to(path), "ELOOP"),
}.values(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_file_of_no_use_is_named_and_left(tmp_path, make, why):
    path = tmp_path / "retryshim.conf"
    make(path)
    count, result = attempts(refused(), config=path)
    assert count == 3 and result.stdout == b"111\n" and result.stderr == b""
    assert complaints(result) == [(str(path), why)]


def test_the_longest_file_is_read(file):
    text = "[*]\nmax_attempts = 5\n"
    assert attempts(refused(), **file("#" * (65536 - len(text) - 1) + "\n" + text))[0] == 5


def test_descriptors_that_are_used_up_pass(file):
    code = f"""import resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (4, hard))
s = [socket.socket()]
print(s[0].connect_ex(("127.0.0.1", PORT)))
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
print(socket.socket().connect_ex(("127.0.0.1", PORT)))"""
    count, result = attempts(python(code), **file("max_attempts = 5"))
    assert result.stdout == b"111\n111\n", result.stderr
    assert count == 3 + 5


# ---- the standard file ----------------------------------------------------------------------------------------------


def test_the_standard_file_is_read_at_the_first_failure(tmp_path):
    log = tmp_path / "trace"
    with FaultServer("200", port=PORT):
        run(with_standard(traced(CLIENTS["easy"], "openat", log), "max_attempts = 5"))
    assert STANDARD not in log.read_text()
    count, _ = attempts(with_standard(traced(CLIENTS["easy"], "openat", log), "max_attempts = 5"))
    assert count == 5 and log.read_text().count(STANDARD) == 1


@pytest.mark.parametrize("kind", CLIENTS)
def test_the_standard_file(kind):
    assert attempts(with_standard(CLIENTS[kind], f"[127.0.0.1:{PORT}]\nmax_attempts = 5"))[0] == 5
    assert attempts(with_standard(CLIENTS[kind], f"[127.0.0.1:{PORT}]\nmax_attempts = 5"), config="off")[0] == 3
    assert attempts(with_standard(CLIENTS[kind], "[127.0.0.1]\nenabled = 0"))[0] == 1


def test_a_file_of_its_own_stands_for_it(file):
    assert attempts(with_standard(refused(), "max_attempts = 7"), **file("max_attempts = 5"))[0] == 5


@pytest.mark.parametrize("options, why", [
    ({"owner": "65534:0"}, "it does not belong to root"), ({"mode": "664"}, "others than root may write to it"),
    ({"mode": "646"}, "others than root may write to it"), ({"mode": "640", "owner": "0:65533"}, None)])
def test_a_standard_file_that_is_not_roots_alone_is_left(options, why):
    count, result = attempts(with_standard(refused(), "max_attempts = 5", **options))
    assert (count, complaints(result)) == ((5, []) if why is None else (3, [(STANDARD, why)]))


def test_no_standard_file_is_nothing_to_tell():
    count, result = attempts(refused())
    assert count == 3 and complaints(result) == []


def test_the_command_looks_where_the_programs_do(file, state):
    setting = file(f"state = {state}\n")
    run(refused(), base_delay_ms=1, **{**setting, "state": None})
    told = run([built(BUILD / "retryshim"), "status"], shim=False, **{**setting, "state": None}).stdout.decode()
    assert told.splitlines()[1].split()[0] == ADDRESS
    assert run([BUILD / "retryshim", "status"], shim=False, **{**file(""), "state": state}).stdout.decode() == told


def test_status_shows_a_bucket_of_the_sections_size(file, state):
    setting = file(f"[127.0.0.1:{PORT}]\nbudget_burst = 50\nbudget_per_sec = 0\n")
    run(python(BLOCKING, str(PORT), str(OTHER)), base_delay_ms=1, state=state, **setting)
    told = run([built(BUILD / "retryshim"), "status", "--json"], shim=False, **{**setting, "state": state}).stdout
    assert {each["target"]: (each["tokens"], each["burst"]) for each in json.loads(told)["destinations"]} == {
        ADDRESS: (48, 50), f"127.0.0.1:{OTHER}": (pytest.approx(8, abs=1), 10)}
