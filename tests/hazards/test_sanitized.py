"""The object itself under the address and undefined-behaviour sanitizers, and plain in programs that are built with one."""

import contextlib
import functools
import re

import curl_hosts
import multi_hosts
import pytest
import test_curl_chaos
from harness import SHIM, FaultServer, built, need, run
from hosts import Host, LatePort, compiled, sanitized_object

OFTEN = {"base_delay_ms": 100, "multiplier": "1.0", "max_attempts": 300, "budget": "off", "breaker": "off"}
HOSTS = [("waits", "recover", "poll", -1), ("epolls", "recover", "wait", "edge", "after", "fd"), ("threads", "many")]
METRICS = "emf:emf,prom:r.prom"
# The libraries of gcc's sanitizers are objects of their own; clang's are in the program.
BUILDS = [("gcc", "address,undefined"), ("clang", "address,undefined"), ("gcc", "thread"), ("clang", "thread"), ("gcc", "undefined")]


def check_recoveries(preload, compiler, sanitizers, **options):
    """Each host, built so, recovers from a port that opens late; and no report."""
    with contextlib.ExitStack() as stack:
        running = []
        for name, *arguments in HOSTS:
            program = compiled(name, f"-fsanitize={sanitizers}", output=f"{name}-{compiler}-{sanitizers}", compiler=compiler)
            port = stack.enter_context(LatePort())
            count = 8 if name == "threads" else 1
            more = [count] if name == "threads" else []
            # Without randomised addresses: newer kernels put others where the thread sanitizer must be.
            words = ["-R", "env", f"LD_PRELOAD={preload}", program, *arguments, port.number, *more]
            env = {"LD_PRELOAD": None, "TSAN_OPTIONS": "exitcode=66", "UBSAN_OPTIONS": "halt_on_error=1"}
            running.append((port, count, stack.enter_context(Host(None, *words, program=need("setarch"), env=env, **OFTEN, **options))))
        for port, count, host in running:
            host.wait_event("attempt_failed", count, timeout=60)
            with port.open() as server:
                said = host.finish(timeout=60)
                assert said.get("connect", said.get("connected")) in ("ok", str(count)), (said, host.stderr)
                assert len(server.wait("accept", count)) == count
            assert host.stderr == b"", host.stderr.decode()


def address_sanitizer():
    """gcc's library, which refuses not to be the first."""
    return run(["gcc", "-print-file-name=libasan.so"], shim=False).stdout.decode().strip()


@pytest.mark.parametrize("compiler, sanitizers", BUILDS)
def test_plain_object_in_sanitized_programs(compiler, sanitizers):
    first = [address_sanitizer()] if (compiler, sanitizers) == ("gcc", "address,undefined") else []
    check_recoveries(":".join([*first, built(SHIM)]), compiler, sanitizers)


def sanitized_preload():
    return f'{address_sanitizer()}:{sanitized_object("gcc", "address,undefined")}'


def test_sanitized_object():
    check_recoveries(sanitized_preload(), "gcc", "address,undefined", metrics=METRICS, state="state")


@functools.cache
def sanitized_curl_host(name):
    """Built with the sanitizer, too: without, a program that has GnuTLS loaded hangs in freelocale(3) at its end, with
    libasan.so alone before it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CC", "gcc")
        return curl_hosts.compile_c(f"{name}-asan", "-fsanitize=address,undefined", source=name)


def sanitized_run(*command, **options):
    """What the program printed; nothing is reported, no leak neither."""
    env = {"LD_PRELOAD": sanitized_preload(), "UBSAN_OPTIONS": "halt_on_error=1"}
    result = run(command, env=env, timeout=60, **{**OFTEN, "base_delay_ms": 2, "metrics": METRICS, "state": "state", **options})
    assert (result.returncode, result.stderr) == (0, b""), result
    return result.stdout.decode()


def test_curl_handles():
    with FaultServer(curl_hosts.EVENTFUL) as server:
        words = curl_hosts.eventful(server.url)
        printed = sanitized_run(sanitized_curl_host("session"), *words, max_attempts=6)
    assert re.findall(r"perform -> (\d+)", printed) == ["0", "0", "0", "22", "0", "0"]


def test_curl_threads():
    with FaultServer(["503", "200", "empty", "200", "200,size=1000"]) as server:
        assert sanitized_run(sanitized_curl_host("threads"), server.url, "4", "8", max_attempts=20) == "right 32 wrong 0\n"


@pytest.mark.parametrize("style", ["poll", "action"])
def test_curl_multis(style):
    """Six threads, each with a multi, a header callback and two transfers."""
    with FaultServer(["503", "reset-after", "empty", "reset", "200,size=1000"]) as server:
        words = ["new", f"url={server.url}", "headers", "add", "new", f"url={server.url}", "add", "drive", "all"]
        printed = sanitized_run(sanitized_curl_host(multi_hosts.STYLES[style]), f"style={style}", *[*words, "--"] * 5, *words, max_attempts=20)
    assert printed.count("status=200") == 12, printed


@pytest.mark.parametrize("mode", ["easy", "multi"])
def test_chaos(mode, tmp_path, monkeypatch):
    """Fewer transfers than in test_curl_chaos, with resumed downloads."""
    monkeypatch.setattr(test_curl_chaos, "run", lambda words, **options: run(words, env={"LD_PRELOAD": sanitized_preload()}, **options))
    monkeypatch.setattr(test_curl_chaos, "host", sanitized_curl_host)
    chaos = test_curl_chaos.Chaos(tmp_path, mode, count=400, resume=1, metrics=METRICS)
    test_curl_chaos.promises_hold(chaos)
    test_curl_chaos.is_at_least(0.9, chaos, chaos.asked("GET"))


def test_undefined_behaviour_in_unmodified_programs():
    """gcc's runtime for it is a library, which the object brings along."""
    shim = sanitized_object("gcc", "undefined")
    for command in (["curl", "-sS"], ["wget", "-qO-"], ["python3", "-c", "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode(), end='')"]):
        with LatePort() as port, Host(None, *command[1:], f"http://127.0.0.1:{port.number}/", program=need(command[0]),
                                      env={"LD_PRELOAD": shim}, **OFTEN) as host:
            host.wait_event("attempt_failed")
            with port.open("200"):
                out, err = host.process.communicate(timeout=30)
            assert (host.process.returncode, out, err) == (0, b"ok\n", b"")
    with FaultServer(["503", "reset", "200"]) as server:
        result = run(["curl", "-sS", server.url], env={"LD_PRELOAD": shim}, base_delay_ms=1)
        assert (result.returncode, result.stdout, result.stderr) == (0, b"ok\n", b"")
