"""Unmodified programs whose connect() blocks, against a port that opens late; and some that do not."""

import re
import subprocess
import zlib

import pytest

from harness import FaultServer, events, need, run, wait_until
from network import (ADDRESS, PORT, PYTHON, SLOW, SOON, Running, late_server, network, python,  # noqa: F401
                     recovers, traced)

pytestmark = pytest.mark.usefixtures("network")

URL = f"http://{ADDRESS}"
BASH = f'exec 3<>/dev/tcp/127.0.0.1/{PORT} && printf "GET /bash HTTP/1.0\\r\\n\\r\\n" >&3 && cat <&3'
URLLIB = f'import urllib.request; print(urllib.request.urlopen("{URL}/urllib").read().decode(), end="")'
PERL = f"""use IO::Socket::INET; my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => {PORT})
    or die "no: $!\\n"; print $s "GET /perl HTTP/1.0\\r\\n\\r\\n"; print while <$s>;"""
SOCKET = """s = socket.create_connection(("127.0.0.1", PORT))
s.sendall(b"GET /socket HTTP/1.0\\r\\n\\r\\n")
while data := s.recv(4096): os.write(1, data)"""

# name: argv, the failure's exit status and a piece of its stderr, the path asked for
CLIENTS = {
    "wget": (["wget", "-nv", "-O-", f"{URL}/wget"], 4, b"Connection refused", "/wget"),
    "wget-once": (["wget", "-nv", "--tries=1", "-O-", f"{URL}/once"], 4, b"Connection refused", "/once"),
    "wget-timed": (["wget", "-nv", "-T30", "--tries=1", "-O-", f"{URL}/timed"], 4, b"Connection refused", "/timed"),
    "bash": (["bash", "-c", BASH], 1, b"Connection refused", "/bash"),
    "python-socket": (python(SOCKET), 1, b"ConnectionRefusedError", "/socket"),
    "python-urllib": ([PYTHON, "-c", URLLIB], 1, b"Connection refused", "/urllib"),
    "perl": (["perl", "-e", PERL], 111, b"no: Connection refused", "/perl"),
}
clients = pytest.mark.parametrize("argv, status, complaint, path", CLIENTS.values(), ids=CLIENTS)


@clients
def test_recovers_when_the_port_opens_late(argv, status, complaint, path):
    without = run(argv, shim=False)
    assert (without.returncode, without.stdout) == (status, b"") and complaint in without.stderr
    result, log = recovers(argv, ["200,body=late,close=1"])
    assert result.returncode == 0 and result.stdout.endswith(b"late")
    assert complaint not in result.stderr
    seen = [(entry["method"], entry["path"], entry["step"]) for entry in log if entry["event"] == "request"]
    assert seen == [("GET", path, "200")]


@clients
def test_failure_stays_the_programs_own(argv, status, complaint, path):
    assert path
    without = run(argv, shim=False)
    result = run(argv, max_attempts=2)
    assert (result.returncode, result.stdout) == (without.returncode, without.stdout)
    assert without_clock(result.stderr) == without_clock(without.stderr)
    assert [entry["event"] for entry in events(result)] == ["attempt_failed", "exhausted"]
    assert status == result.returncode and complaint in result.stderr


def without_clock(text):
    return re.sub(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|[\d.,]+ [KMG]?B/s", b"*", text)


@clients
def test_healthy_run_is_identical(argv, status, complaint, path):
    assert status and complaint and path
    outcomes = []
    for shim in (False, True):
        with FaultServer("200,body=fine,close=1", port=PORT) as server:
            result = run(argv, shim=shim, diag=None, diag_file=None, diag_format=None)
            assert len(server.wait("accept")) == len(server.wait("request")) == 1
        outcomes.append((result.returncode, result.stdout, without_clock(result.stderr)))
    assert outcomes[0] == outcomes[1] and outcomes[0][0] == 0


@clients
def test_failing_run_without_diagnostics_is_identical(argv, status, complaint, path):
    assert complaint and path
    results = [run(argv, shim=shim, diag=None, diag_file=None, max_attempts=2) for shim in (False, True)]
    outcomes = [(result.returncode, result.stdout, without_clock(result.stderr)) for result in results]
    assert outcomes[0] == outcomes[1] and outcomes[0][0] == status


def test_wget_posts_once():
    body = b"x=1&y=" + b"z" * 5000
    argv = ["wget", "-qO-", f"--post-data={body.decode()}", f"{URL}/form"]
    assert run(argv, shim=False).returncode == 4
    result, log = recovers(argv)
    assert result.stdout == b"ok\n"
    requests = [entry for entry in log if entry["event"] == "request"]
    assert [(r["method"], r["body_len"], r["body_crc32"]) for r in requests] == [
        ("POST", len(body), f"{zlib.crc32(body):08x}")]


def test_each_connection_of_a_program_is_an_operation():
    """One wget, two servers that are both late."""
    argv = ["wget", "-qO-", "--tries=1", f"{URL}/one", "http://127.0.0.1:8081/two"]
    assert run(argv, shim=False).returncode == 4
    with Running(argv, base_delay_ms=200, multiplier=1.0, max_attempts=100) as program, late_server(program) as first:
        first.wait("request")
        wait_until(lambda: [e for e in program.events("attempt_failed") if e["target"].endswith(":8081")])
        with FaultServer("200", port=8081) as second:
            result = program.result()
            assert [[r["path"] for r in each.requests()] for each in (first, second)] == [["/one"], ["/two"]]
    assert (result.returncode, result.stdout) == (0, b"ok\nok\n")
    told = events(result)
    assert [e["target"] for e in told if e["event"] == "succeeded"] == [ADDRESS, "127.0.0.1:8081"]
    assert len({e["op"] for e in told}) == 2


# ---- git ----------------------------------------------------------------------------------------


@pytest.fixture(name="repository")
def repository_behind_a_git_daemon(tmp_path):
    """One commit, served on port 9419 by git's own daemon."""
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    repository = tmp_path / "repository"
    git = [need("git"), "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(repository)]
    subprocess.run([need("git"), "init", "-q", str(repository)], env=env, check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], env=env, check=True)
    daemon = subprocess.Popen([need("git"), "daemon", "--listen=127.0.0.1", "--port=9419", "--reuseaddr",
                               "--export-all", f"--base-path={tmp_path}"],
                              env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: run(["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9419"], shim=False).returncode == 0)
    yield subprocess.check_output([*git, "rev-parse", "HEAD"], env=env).strip()
    daemon.terminate()
    daemon.wait(10)


def test_git_clones_when_the_port_opens_late(repository):
    script = f"git clone -q git://{ADDRESS}/repository copy && git -C copy rev-parse HEAD"
    without = run(["sh", "-c", script], shim=False)
    assert without.returncode == 128 and b"Connection refused" in without.stderr
    result, _ = recovers(["sh", "-c", script], "forward=127.0.0.1:9419")
    assert (result.returncode, result.stdout.strip(), result.stderr) == (0, repository, b"")


def test_git_healthy_is_identical(repository):
    argv = ["git", "ls-remote", f"git://{ADDRESS}/repository"]
    outcomes = []
    for shim in (False, True):
        with FaultServer("forward=127.0.0.1:9419", port=PORT) as server:
            result = run(argv, shim=shim, diag=None, diag_file=None)
            assert len(server.wait("accept")) == 1
        outcomes.append((result.returncode, result.stdout, result.stderr))
    assert outcomes[0] == outcomes[1] and outcomes[0][0] == 0 and repository in outcomes[0][1]


# ---- non-blocking connects are left alone -------------------------------------------------------

NONBLOCKING = {
    "nc": ["nc", "-v", "127.0.0.1", str(PORT)],
    "nc-timed": ["nc", "-v", "-w5", "127.0.0.1", str(PORT)],
    "redis-cli": ["redis-cli", "-h", "127.0.0.1", "-p", str(PORT), "PING"],
    "python-timed": python('socket.create_connection(("127.0.0.1", PORT), timeout=5)'),
}


@pytest.mark.parametrize("argv", NONBLOCKING.values(), ids=NONBLOCKING)
def test_nonblocking_connects_are_the_programs_own(argv, tmp_path):
    outcomes = []
    for shim in (False, True):
        log = tmp_path / f"trace-{shim}"
        result = run(traced(argv, "connect", log), shim=shim, nonblock=0, base_delay_ms=SLOW)
        assert result.seconds < SOON and events(result) == []
        connects = [line.split(" ", 1)[1].strip() for line in log.read_text().splitlines() if f"htons({PORT})" in line]
        outcomes.append((result.returncode, result.stdout, result.stderr, connects))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] != 0 and "EINPROGRESS" in outcomes[0][3][0]
