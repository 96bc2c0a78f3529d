"""Unmodified programs whose connect() does not block, against a port that opens late."""

import functools
import re
import subprocess

import pytest

from harness import PATH, FaultServer, events, run
from network import ADDRESS, PORT, PYTHON, Running, late_server, network, recovers, with_files  # noqa: F401
from nonblock_clients import CLIENTS, URL, without_clock

pytestmark = pytest.mark.usefixtures("network")

every_client = pytest.mark.parametrize("name", CLIENTS)


def outcome(result):
    return result.returncode, result.stdout, without_clock(result.stderr)


@functools.cache
def failing(name):
    """What the client says of a port that refuses, without the shim; in any test's network the same."""
    client = CLIENTS[name]
    result = run(client.command(), shim=False, **client.options)
    assert result.returncode == client.status and client.complaint in result.stderr, result
    assert client.printed not in result.stdout
    return outcome(result)


@every_client
def test_recovers_when_the_port_opens_late(name):
    assert failing(name)
    client = CLIENTS[name]
    result, log = recovers(client.command(), client.steps, **client.options)
    assert result.returncode == 0 and result.stdout.endswith(client.printed), result
    assert client.complaint not in result.stderr
    asked = [entry["text"] if entry["event"] == "line" else f"{entry['method']} {entry['path']}"
             for entry in log if entry["event"] in ("line", "request")]
    assert asked == client.asked


@every_client
def test_failure_stays_the_programs_own(name):
    client = CLIENTS[name]
    result = run(client.command(), max_attempts=2, **client.options)
    assert outcome(result) == failing(name)
    told = [(entry["event"], entry["error"]) for entry in events(result)]
    assert told == [("attempt_failed", "ECONNREFUSED"), ("exhausted", "ECONNREFUSED")] * client.operations


@every_client
def test_switched_off(name):
    client = CLIENTS[name]
    result = run(client.command(), nonblock=0, **client.options)
    assert outcome(result) == failing(name) and events(result) == []


@every_client
def test_healthy_run_is_identical(name):
    client, outcomes = CLIENTS[name], []
    for shim in (False, True):
        with FaultServer(client.steps, port=PORT) as server:
            result = run(client.command(), shim=shim, diag=None, diag_file=None, diag_format=None, **client.options)
            assert len(server.wait("accept")) == 1
        outcomes.append(outcome(result))
    assert outcomes[0] == outcomes[1] and outcomes[0][0] == 0 and outcomes[0][1].endswith(client.printed)


# They get all addresses of a name, and go through them in ways of their own.
RESOLVERS = ["python-asyncio", "node-get", "node-fetch", "java-url", "perl-ip", "curl", "nc", "psql"]


@pytest.mark.parametrize("name", RESOLVERS)
def test_last_address_of_a_name_recovers(name):
    """The failure of ::1 is the program's at once; that of 127.0.0.1, which comes last, is retried."""
    client = CLIENTS[name]
    argv = [word.replace("127.0.0.1", "localhost") for word in client.command()]
    if name == "curl":  # on a busy machine it would begin with the other one before it looks at the first
        argv += ["--happy-eyeballs-timeout-ms", "60000"]
    argv = with_files(argv, hosts="127.0.0.1 localhost\\n::1 localhost\\n")
    result, _ = recovers(argv, client.steps, **client.options)
    assert result.returncode == 0 and result.stdout.endswith(client.printed), result


def test_many_connections_at_once():
    """Five transfers of one curl, whose libcurl is left alone: each connection is an operation, and recovers."""
    urls = [f"{URL}/{number}" for number in range(5)]
    argv = ["curl", "-Z", "--parallel-immediate", "--no-progress-meter", *urls]
    without = run(argv, shim=False)
    assert without.returncode == 7 and without.stderr.count(b"curl: (7)") == 5
    with Running(argv, base_delay_ms=200, max_attempts=100, curl=0) as program, late_server(program) as server:
        result = program.result()
        assert sorted(request["path"] for request in server.requests()) == [f"/late/{number}" for number in range(5)]
        assert len(server.accepts()) == 5
    assert (result.returncode, result.stdout, result.stderr) == (0, b"ok\n" * 5, b"")
    told = {}
    for entry in events(result):
        told.setdefault(entry["op"], []).append(entry["event"])
    assert len(told) == 5
    for happened in told.values():
        assert happened == ["attempt_failed"] * (len(happened) - 1) + ["succeeded"]


def test_ab():
    """It learns of a failure from recv(), not from SO_ERROR. At its end it opens connections that it does not use."""
    argv = ["ab", "-q", "-n", "20", "-c", "5", URL]
    complaint = b"apr_socket_recv: Connection refused (111)"
    for shim, settings in ((False, {}), (True, {"nonblock": 0}), (True, {"max_attempts": 2})):
        result = run(argv, shim=shim, **settings)
        assert result.returncode == 111 and complaint in result.stderr
    with Running(argv, base_delay_ms=200, max_attempts=100) as program, late_server(program) as server:
        result = program.result()
        assert len(server.requests()) == 20
    assert result.returncode == 0 and complaint not in result.stderr
    assert re.search(rb"Complete requests: +20\nFailed requests: +0\n", result.stdout)
    assert {entry["event"] for entry in events(result)} == {"attempt_failed", "succeeded"}


@pytest.fixture(name="repository")
def repository_behind_a_web_server(tmp_path):
    """One commit, served as plain files on port 9419; its name."""
    env = {"PATH": PATH, "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    script = """git init -q repository && cd repository && echo late >file && git add file &&
        git -c user.name=t -c user.email=t@example.org commit -q -m x && git update-server-info && git rev-parse HEAD"""
    commit = subprocess.check_output(["sh", "-c", script], env=env, cwd=tmp_path)
    argv = [PYTHON, "-u", "-m", "http.server", "--bind=127.0.0.1", "--protocol=HTTP/1.1", "9419"]
    folder = tmp_path / "repository"
    with subprocess.Popen(argv, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout.readline().startswith(b"Serving")
        yield commit
        server.terminate()


def test_git_clones_over_http(repository):
    script = f"git clone -q http://{ADDRESS}/.git copy && git -C copy rev-parse HEAD && cat copy/file"
    without = run(["sh", "-c", script], shim=False)
    assert without.returncode == 128 and b"unable to access" in without.stderr
    result, _ = recovers(["sh", "-c", script], "forward=127.0.0.1:9419")
    assert (result.returncode, result.stdout, result.stderr) == (0, repository + b"late\n", b"")
