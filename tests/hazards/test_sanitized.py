"""The object itself under the address and undefined-behaviour sanitizers, and plain in programs that are built with one."""

import contextlib

import pytest
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


@pytest.mark.parametrize("compiler, sanitizers", BUILDS)
def test_plain_object_in_sanitized_programs(compiler, sanitizers):
    asan = run(["gcc", "-print-file-name=libasan.so"], shim=False).stdout.decode().strip()
    first = [asan] if (compiler, sanitizers) == ("gcc", "address,undefined") else []
    check_recoveries(":".join([*first, built(SHIM)]), compiler, sanitizers)


@pytest.mark.parametrize("compiler, sanitizers", [("clang", "address,undefined")])
def test_sanitized_object(compiler, sanitizers):
    check_recoveries(sanitized_object(compiler, sanitizers), compiler, sanitizers, metrics=METRICS, state="state")


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
