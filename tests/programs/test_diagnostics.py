"""What diagnostics say: each event's text and JSON, identifiers, traces, bad values, and no secrets."""

import re
import time

import pytest

from harness import FaultServer, events, run, wait_until
from network import ADDRESS, PORT, SLOW, Running, instant, ip, network, python  # noqa: F401

pytestmark = pytest.mark.usefixtures("network")

CLIENT = """print(os.getpid())
try: socket.socket().connect((sys.argv[1], PORT))
except OSError: pass"""
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


def exhausted(**settings):
    return run(python(CLIENT, "127.0.0.1"), max_attempts=2, base_delay_ms=100, **settings)


def succeeded(**settings):
    with Running(python(CLIENT, "127.0.0.1"), max_attempts=2, base_delay_ms=1000, **settings) as program:
        if settings.get("diag_format") == "text":
            wait_until(lambda: program.diag.exists() and b"failed" in program.diag.read_bytes())
        else:
            program.wait("attempt_failed")
        with FaultServer("200", port=PORT):
            return program.result()


def given_up(**settings):
    return run(python(CLIENT, "127.0.0.1"), base_delay_ms=SLOW, timeout_ms=500, **settings)


def not_retryable(**settings):
    ip("route add prohibit 192.0.2.1")
    return run(python(CLIENT, "192.0.2.1"), **settings)


REFUSED = {"category": "network", "severity": "medium", "error": "ECONNREFUSED", "message": "Connection refused"}
# what happens: target, its lines in text, its lines in JSON
EVENTS = {
    exhausted: (ADDRESS, [
        "Retry attempt 1/2 failed: ECONNREFUSED: Connection refused. Next attempt in 0.1s",
        "All 2 attempts failed for connect. Returning ECONNREFUSED.",
    ], [
        {"event": "attempt_failed", "attempt": 1, "max_attempts": 2, "delay_ms": 100, **REFUSED},
        {"event": "exhausted", "attempt": 2, "max_attempts": 2, **REFUSED},
    ]),
    succeeded: (ADDRESS, [
        "Retry attempt 1/2 failed: ECONNREFUSED: Connection refused. Next attempt in 1.0s",
        "connect succeeded on attempt 2 after 1 retries.",
    ], [
        {"event": "attempt_failed", "attempt": 1, "max_attempts": 2, "delay_ms": 1000, **REFUSED},
        {"event": "succeeded", "attempt": 2, "max_attempts": 2},
    ]),
    given_up: (ADDRESS, [
        "Giving up connect after attempt 1 (deadline): ECONNREFUSED: Connection refused.",
    ], [
        {"event": "given_up", "attempt": 1, "max_attempts": 3, "reason": "deadline", **REFUSED},
    ]),
    not_retryable: (f"192.0.2.1:{PORT}", [
        "Non-retryable error in connect: EACCES: Permission denied.",
    ], [
        {"event": "not_retryable", "attempt": 1, "max_attempts": 3, "category": "permanent", "severity": "high",
         "error": "EACCES", "message": "Permission denied"},
    ]),
}
each_event = pytest.mark.parametrize("happens, target, texts, objects", [(key, *value) for key, value in EVENTS.items()],
                                     ids=[key.__name__ for key in EVENTS])


@each_event
def test_text(happens, target, texts, objects):
    assert objects
    result = happens(diag_format="text")
    pid = int(result.stdout)
    lines = result.diag.decode().splitlines(keepends=True)
    heads = {re.match(rf"retryshim\[{pid}\] ([0-9a-f]{{16}}) {re.escape(target)}: ", line) for line in lines}
    assert None not in heads and len({head[1] for head in heads}) == 1
    assert [line.split(f" {target}: ", 1)[1] for line in lines] == [f"{text}\n" for text in texts]


@each_event
def test_json(happens, target, texts, objects):
    """Every key, with its type; those that say nothing about an event are left out."""
    assert texts
    start = time.time()
    result = happens()
    end = time.time()
    seen = events(result)
    assert start <= instant(seen[0]) <= instant(seen[-1]) <= end
    for entry in seen:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", entry.pop("ts"))
        assert re.fullmatch("[0-9a-f]{16}", entry["op"])
        assert 0 <= entry.pop("elapsed_ms") <= (end - start) * 1000
    assert len({entry.pop("op") for entry in seen}) == 1
    same = {"pid": int(result.stdout), "program": "python3", "operation": "connect", "target": target}
    expected = [{**same, **each} for each in objects]
    assert seen == expected
    assert [{key: type(value) for key, value in entry.items()} for entry in seen] == [
        {key: type(value) for key, value in entry.items()} for entry in expected]


def test_lines_are_ascii_in_any_locale():
    result = exhausted(env={"LANG": "de_DE.UTF-8", "LC_ALL": "de_DE.UTF-8"}, diag_format="text")
    assert b"Next attempt in 0.1s\n" in result.diag


# ---- identifiers --------------------------------------------------------------------------------

TWICE = "for turn in range(2):\n try: socket.socket().connect(('127.0.0.1', PORT))\n except OSError: pass"


@pytest.mark.parametrize("seed", [None, 1])
def test_operations_have_identifiers_of_their_own(seed):
    """Also in other processes, and in children of a fork, however the jitter is fixed."""
    code = f"if os.fork() == 0:\n os.nice(0)\n{TWICE}\ntry: os.wait()\nexcept ChildProcessError: pass"
    told = [entry for _ in range(2) for entry in events(run(python(code), max_attempts=2, base_delay_ms=1, seed=seed))]
    lines = {}
    for entry in told:
        lines.setdefault(entry["op"], []).append((entry["event"], entry["pid"]))
    assert len(lines) == 8
    for each in lines.values():
        assert [event for event, _ in each] == ["attempt_failed", "exhausted"] and len({pid for _, pid in each}) == 1


def test_operation_can_be_named():
    result = run(python(CLIENT, "127.0.0.1"), max_attempts=1, operation="nightly import")
    assert [entry["operation"] for entry in events(result)] == ["nightly import"]
    text = run(python(CLIENT, "127.0.0.1"), max_attempts=1, operation="nightly", diag_format="text").diag
    assert text.endswith(b": All 1 attempts failed for nightly. Returning ECONNREFUSED.\n")


def test_a_long_name_does_not_cost_the_event():
    result = exhausted(operation="n" * 872)
    assert [(entry["event"], entry["attempt"]) for entry in events(result)] == [("attempt_failed", 1), ("exhausted", 2)]


def test_trace_id():
    result = exhausted(env={"TRACEPARENT": TRACEPARENT})
    assert [entry["trace_id"] for entry in events(result)] == [TRACE_ID] * 2
    text = exhausted(env={"TRACEPARENT": TRACEPARENT}, diag_format="text").diag.decode().splitlines()
    assert len(text) == 2 and all(line.split(f" {ADDRESS}: ")[0].endswith(TRACE_ID) for line in text)


@pytest.mark.parametrize("value", [
    "", "00", "nonsense", TRACEPARENT + "-00", TRACEPARENT + "0", TRACEPARENT.upper(), TRACEPARENT[:-1], TRACEPARENT[:50],
    TRACEPARENT.replace(TRACE_ID, "0" * 32), TRACEPARENT.replace(TRACE_ID, TRACE_ID[1:]), "ff" + TRACEPARENT[2:],
    TRACEPARENT.replace("00f067aa0ba902b7", "0" * 16), TRACEPARENT.replace(TRACE_ID, TRACE_ID[:-1] + '"'),
])
def test_malformed_trace_is_left_out(value):
    result = run(python(CLIENT, "127.0.0.1"), max_attempts=1, env={"TRACEPARENT": value})
    assert [(entry["event"], "trace_id" in entry) for entry in events(result)] == [("exhausted", False)]
    assert result.stderr == b""


# ---- bad values ---------------------------------------------------------------------------------

BAD = {"max_attempts": "three", "base_delay_ms": "-1", "jitter": "maybe", "timeout_ms": "1e3", "multiplier": "11",
       "http_status": "200", "unix": "sometimes", "breaker": "maybe", "nonblock": "2"}
DEFAULTS = {"max_attempts": "3", "base_delay_ms": "1000", "jitter": "full", "timeout_ms": "60000", "multiplier": "2.0",
            "http_status": "408,429,500,502,503,504", "unix": "busy", "breaker": "pass", "nonblock": "1"}


def test_bad_values_are_named_once():
    """Two operations fail; the defaults stand: three attempts each."""
    settings = {**BAD, "base_delay_ms": "0"}
    result = run(python(TWICE), **settings)
    told = events(result)
    bad = [entry for entry in told if entry["event"] == "bad_value"]
    wanted = {f"RETRY_{name.upper()}": (BAD[name], DEFAULTS[name]) for name in BAD if name != "base_delay_ms"}
    assert {entry["variable"]: (entry["value"], entry["default"]) for entry in bad} == wanted and len(bad) == len(wanted)
    assert told[:len(bad)] == bad and all(type(entry["pid"]) is int and entry["ts"] for entry in bad)
    assert [(entry["event"], entry["max_attempts"]) for entry in told[len(bad):]] == [
        ("attempt_failed", 3), ("attempt_failed", 3), ("exhausted", 3)] * 2


def test_bad_values_in_text():
    result = run(python(CLIENT, "127.0.0.1"), max_attempts="three", base_delay_ms="0", diag_format="text")
    first, *rest = result.diag.decode().splitlines()
    assert first == f"retryshim[{int(result.stdout)}] RETRY_MAX_ATTEMPTS=three is not valid; using 3 instead."
    assert len(rest) == 3


def test_bad_format_and_bad_switch():
    result = run(python(CLIENT, "127.0.0.1"), max_attempts=1, diag_format="xml")
    assert b"RETRY_DIAG_FORMAT=xml is not valid; using text instead.\n" in result.diag
    silent = run(python(CLIENT, "127.0.0.1"), max_attempts=1, diag="perhaps")
    assert silent.diag == silent.stderr == b""


def test_bad_value_is_escaped():
    nasty = 'a"\\\n\x1b[31m\xff'
    result = run(python(CLIENT, "127.0.0.1"), max_attempts=nasty, base_delay_ms="0")
    bad = events(result)[0]
    assert bad["value"].startswith('a"\\\n\x1b[31m') and b"\x1b" not in result.diag
    text = run(python(CLIENT, "127.0.0.1"), max_attempts=nasty, base_delay_ms="0", diag_format="text").diag
    assert b"\x1b" not in text and text.count(b"\n") == 4


# ---- secrets ------------------------------------------------------------------------------------

SECRETS = [b"us3r", b"pa55w0rd", b"p4th", b"qu3ry", b"s3cret", b"h3ader", b"b0dy"]
REST = "/p4th?qu3ry=s3cret"
CLIENTS = {
    "refused": ["curl", "-s", "-H", "X-Token: h3ader", "-d", "b0dy", f"http://us3r:pa55w0rd@{ADDRESS}{REST}"],
    "unknown-host": ["curl", "-s", "-H", "X-Token: h3ader", f"http://us3r:pa55w0rd@nowhere.invalid{REST}"],
    "bad-url": ["curl", "-s", f"http://us3r:pa55w0rd@127.0.0.1:99999{REST}"],
    "bad-proxy": ["curl", "-s", "-x", f"http://us3r:pa55w0rd@{ADDRESS}", f"http://127.0.0.1:81{REST}"],
    "wget": ["wget", "-q", "--header=X-Token: h3ader", f"http://us3r:pa55w0rd@{ADDRESS}{REST}"],
}


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("argv", CLIENTS.values(), ids=CLIENTS)
def test_no_secret_is_told(argv, form, tmp_path):
    settings = {"diag_format": form, "base_delay_ms": 1, "timeout_ms": 5000}
    assert run(argv, shim=False).returncode != 0
    result = run(argv, **settings, diag_dir=tmp_path)
    on_stderr = run(argv, **settings, diag_file=None).stderr
    files = b"".join(bytes(file) + file.read_bytes() for file in tmp_path.iterdir())
    for secret in SECRETS:
        assert secret not in result.diag + files + on_stderr
    assert result.diag and on_stderr.count(b"\n") == result.diag.count(b"\n") == len(list(tmp_path.iterdir()))


@pytest.mark.parametrize("step", ["404", "503", "reset", "empty"])
def test_no_secret_of_a_request_is_told(step):
    argv = ["curl", "-sf", "-H", "X-Token: h3ader", "-d", "b0dy", f"http://us3r:pa55w0rd@{ADDRESS}{REST}"]
    with FaultServer(step, port=PORT) as server:
        result = run(argv, base_delay_ms=1)
        assert step == "reset" or server.requests()
    assert result.returncode != 0 and events(result)
    assert [secret for secret in SECRETS if secret in result.diag] == []
    assert {entry["target"] for entry in events(result)} == {ADDRESS}


def test_healthy_run_says_nothing():
    with FaultServer("200,close=1", port=PORT):
        for argv in (["curl", "-s", f"http://{ADDRESS}/"], ["wget", "-qO-", f"http://{ADDRESS}/"]):
            result = run(argv)
            assert (result.stdout, result.stderr, result.diag) == (b"ok\n", b"", b"")
