"""The object under the thread sanitizer in hosts with threads: waits, epoll, look-ups, cancellation, fork, dlopen, libcurl.
(connect: test_threads; descriptors that are reused: test_crowd.)"""

import ctypes
import functools
import subprocess

import dlopen_objects
import matrix_cells
import pytest
from curl_hosts import FLAGS, SOURCES
from harness import FaultServer, need, run
from hosts import Host, LatePort, compiled, folder, sanitized_object, shared
from matrix_cells import Cell, Ports

OFTEN = {"base_delay_ms": 100, "multiplier": "1.0", "max_attempts": 1000, "budget": "off", "breaker": "off", "state": "state",
         "metrics": "emf:emf,prom:r.prom"}
SANITIZE = "-fsanitize=thread"
NO_RANDOM_ADDRESSES = 0x0040000  # personality(2)


@pytest.fixture(autouse=True, scope="module")
def fixed_addresses():
    """Newer kernels else put others where the sanitizer must be."""
    libc = ctypes.CDLL(None)
    before = libc.personality(0xFFFFFFFF)
    libc.personality(before | NO_RANDOM_ADDRESSES)
    yield
    libc.personality(before)


def sanitized_env(*behind, **more):
    """gcc's sanitizer is a library, which stands behind ours: its functions, which hide what happens in them, then call nothing
    of ours. It is named, since a program that is not built with it finds it too late."""
    runtime = subprocess.run([need("gcc"), "-print-file-name=libtsan.so"], capture_output=True, text=True, check=True).stdout.strip()
    objects = [sanitized_object("gcc", "thread"), *behind, runtime]
    return {"LD_PRELOAD": ":".join(objects), "TSAN_OPTIONS": "exitcode=66 report_thread_leaks=0", **more}


def suppressing(what, folder_of_list):
    """The same, without these reports."""
    (folder_of_list / "known").write_text(what + "\n")
    env = sanitized_env()
    env["TSAN_OPTIONS"] += f" suppressions={folder_of_list}/known print_suppressions=0"
    return env


def sanitized_host(name):
    return compiled(name, SANITIZE, output=f"{name}-tsan", compiler="gcc")


@functools.cache
def sanitized_curl_host(name):
    target = folder() / f"curl-{name}-tsan"
    made = subprocess.run([need("gcc"), *FLAGS, SANITIZE, "-o", target, SOURCES / f"{name}.c", "-lcurl", "-pthread"],
                          capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return target


def recovers(name, *arguments, **expected):
    """The host ends well once the port is open, says what is expected, and nothing is reported."""
    with LatePort() as port, Host(name, *arguments, port.number, program=sanitized_host(name), env=sanitized_env(), **OFTEN) as host:
        host.wait_event("attempt_failed", timeout=60)
        with port.open():
            told = host.finish(timeout=60)
        assert host.stderr == b"", host.stderr.decode()
        assert {word: told[word] for word in expected} == expected, told


@pytest.mark.parametrize("trigger", ["edge", "oneshot"])
def test_threads_of_one_set(trigger):
    recovers("epoll_threads", "threads", trigger, count="1", wrong="0", connect="ok")


@pytest.mark.parametrize("arguments", [("left-alone", "edge"), ("left-waiting", "edge"), ("reactor", "call", "edge"), ("reactor", "ring", "level")],
                         ids=" ".join)
def test_one_thread_connects_and_another_waits(arguments):
    recovers("epoll_threads", *arguments, thread="event", connect="ok")


def test_many_sockets_of_one_set():
    recovers("epoll_threads", "stormed", "edge", once="200", connected="200", wrong="0")


@pytest.mark.parametrize("wait", ["poll", "pselect"])
def test_cancelled_in_a_wait(wait):
    recovers("wait_signals", "cancelled", wait, thread="cancelled", mask="kept", connect="ok")


def test_cancelled_in_a_backoff():
    with LatePort() as port, Host("cancel", "storm", port.number, 20, program=sanitized_host("cancel"), env=sanitized_env(),
                                  **OFTEN) as host:
        assert host.wait_line() == "stuck=0"
        with port.open():
            assert host.finish(timeout=60)["connect"] == "ok"
        assert host.stderr == b"", host.stderr.decode()


def test_fork_while_a_thread_backs_off():
    with LatePort() as port, Host("forks", "during", port.number, 5, program=sanitized_host("forks"), env=sanitized_env(),
                                  **OFTEN) as host:
        host.wait_event("attempt_failed", 6, timeout=60)
        with port.open():
            assert host.finish(timeout=60) == {"children_failed": "0"}
        assert host.stderr == b"", host.stderr.decode()


def test_lookups():
    env = sanitized_env(shared("resolver"), RESOLVER_FAILURES=20)
    result = run([sanitized_host("lookups"), "many"], env=env, **{**OFTEN, "base_delay_ms": 1})
    assert (result.returncode, result.stdout, result.stderr) == (0, b"found=8\n", b""), result
    assert result.diag.count(b'"attempt_failed"') >= 20


def test_dlopen(tmp_path):
    """The loader's own lock is none that the sanitizer sees; what it keeps on the heap under it is its affair."""
    dlopen_objects.plugin("needs.so", *dlopen_objects.needs(dlopen_objects.LIBCURL))
    program = dlopen_objects.host("dlopens-tsan", SANITIZE)
    result = run([program, "threads", 8, 1, dlopen_objects.folder() / "needs.so"],
                 env=suppressing("race:ld-linux", tmp_path))
    assert (result.returncode, result.stdout, result.stderr) == (0, b"threads=400\n", b""), result


def test_curl_threads():
    with FaultServer(["503", "200", "empty", "200", "200,size=1000"]) as server:
        result = run([sanitized_curl_host("threads"), server.url, 8, 8], env=sanitized_env(),
                     **{**OFTEN, "max_attempts": 20, "base_delay_ms": 2})
    assert (result.returncode, result.stdout, result.stderr) == (0, b"right 64 wrong 0\n", b""), result


def test_curl_multis(tmp_path):
    """A multi a thread. libcurl closes its own handles behind our back, and another thread's next one may lie at that address:
    free() and malloc() order the two, which the sanitizer does not know of its own ones."""
    with FaultServer(["503", "200", "empty", "reset", "200,size=1000"]) as server:
        words = ["new", f"url={server.url}", "add", "drive", "info"]
        result = run([sanitized_curl_host("multi"), "style=poll", *[*words, "--"] * 5, *words],
                     env=suppressing("race_top:easy_add", tmp_path),
                     **{**OFTEN, "max_attempts": 20, "base_delay_ms": 2})
    assert (result.returncode, result.stderr) == (0, b"") and result.stdout.count(b"status=200") == 6, result


def test_each_hook_in_a_thread():
    # Not libcurl's, which other tests here are about: a program that is not built with the sanitizer, and has GnuTLS loaded,
    # hangs in its end, in freelocale(3).
    hooks = [*matrix_cells.CONNECTS, "getaddrinfo"]
    with Ports(hooks) as ports:
        cells = [Cell("thread", hook, ports, env=sanitized_env(*[shared("resolver")] * (hook == "getaddrinfo"))) for hook in hooks]
        for cell in matrix_cells.run(cells, late=True):
            assert (cell.status, cell.noise) == (0, b""), (cell.hook, cell.noise.decode())
            assert "succeeded" in cell.events and "outcome=ok" in cell.told, (cell.hook, cell.told)
