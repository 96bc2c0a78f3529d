"""The object built with musl, in programs of musl: another loader, that knows no versions of symbols, and another library."""

import signal
import subprocess
from pathlib import Path

import pytest
from foreign import Foreign
from harness import ROOT, events, need
from hosts import ENDLESS, Host, LatePort, said as told
from test_waits import BRIEF, WAITS, among

BIND_NOW = {"LD_BIND_NOW": "1"}


def without_libc(folder):
    """Options for a folder with what musl-gcc lacks, and nothing of glibc: the kernel's headers and curl's."""
    for name in ("linux", "asm", "asm-generic", "curl"):
        found = [path for path in (Path("/usr/include", name), *sorted(Path("/usr/include").glob(f"*-linux-gnu/{name}"))) if path.is_dir()]
        assert found, f"missing headers: {name}"
        (folder / name).symlink_to(found[0])
    return ["-idirafter", str(folder)]


@pytest.fixture(scope="module", name="musl")
def made(tmp_path_factory):
    place = Foreign(tmp_path_factory.mktemp("musl"), "musl-gcc", without_libc(tmp_path_factory.mktemp("headers")),
                    ("-Wno-sign-conversion",))  # of musl's own FD_SET
    place.make()
    return place


def test_object_is_what_the_loader_wants(musl):
    """No name of glibc's is left: a program that binds all at once says which one is."""
    checked = subprocess.run([ROOT / "tests" / "elf.sh", musl.object], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    assert b"GLIBC" not in subprocess.check_output([need("objdump"), "-T", musl.object])
    result = musl.run(musl.host("idle"), env=BIND_NOW)
    assert (result.returncode, result.stderr, result.diag) == (0, b"", b"")


def test_make_says_that_there_is_no_command(musl, tmp_path):
    argv = [need("make"), f"B={tmp_path}", "CC=musl-gcc", f"CPPFLAGS={' '.join(musl.headers)}", "JANSSON=", f"{tmp_path}/retryshim"]
    made = subprocess.run(argv, cwd=ROOT, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert made.returncode != 0 and "has no argp.h" in made.stderr, made


@pytest.mark.parametrize("wait", WAITS)
def test_waits_recover(musl, wait):
    said = musl.recovers(musl.host("waits"), "recover", wait, -1)
    assert (said["start"], said["calls"], said["descriptors_changed"]) == ("EINPROGRESS", "1", "0")


@pytest.mark.parametrize("wait", ["wait", "pwait"])
def test_epoll_recovers(musl, wait):
    said = musl.recovers(musl.host("epolls"), "recover", wait, "level", "after", "fd", env=BIND_NOW)
    assert (said["count"], said["events"], said["data"]) == ("1", "OUT ", "own")


@pytest.mark.parametrize("wait", WAITS)
def test_time_out_of_the_program_is_exact(musl, wait):
    with LatePort() as port:
        said = told(musl.run(musl.host("waits"), "timeout", wait, 300, port.number, **ENDLESS).stdout)
    assert among({"result": "0", "ready": "no", "failed": "ok"}, said) == {"result": "0", "ready": "no", "failed": "ok"}
    assert 300 <= int(said["first_ms"]) < 3000 and 300 <= int(said["second_ms"]) < 3000, said


@pytest.mark.parametrize("count", [1, 16])
def test_blocking_connects_recover(musl, count):
    program = musl.host("threads")
    with LatePort() as port:
        assert told(musl.run(program, "many", port.number, count, shim=False).stdout)["connected"] == "0"
        with Host("threads", "many", port.number, count, program=program, env=musl.env(), **BRIEF, breaker="off") as host:
            host.wait_event("attempt_failed", count)
            with port.open() as server:
                assert host.finish() == {"connected": str(count), "descriptors_changed": "0"}
                assert len(server.wait("accept", count)) == count


@pytest.mark.parametrize("count", [1, 16])
def test_healthy_path(musl, count):
    """Nothing to tell, nothing left behind."""
    with LatePort() as port, port.open() as server:
        for shim in (False, True):
            result = musl.run(musl.host("threads"), "many", port.number, count, shim=shim)
            assert told(result.stdout) == {"connected": str(count), "descriptors_changed": "0"}
            assert (result.stderr, result.diag) == (b"", b"")
        assert len(server.wait("accept", 2 * count)) == 2 * count


def test_lookups_recover(musl):
    resolver = musl.host("resolver", "-shared", "-fPIC", output="musl-resolver.so")
    failing = {"RESOLVER_FAILURES": 2, "LD_PRELOAD": f"{musl.object}:{resolver}"}
    result = musl.run(musl.host("lookups"), "once", "restart", env=failing, base_delay_ms=1)
    assert told(result.stdout) == {"lookup": "ok", "handled": "0", "descriptors_changed": "0"}, result
    assert [event["event"] for event in events(result)] == ["attempt_failed", "attempt_failed", "succeeded"]
    result = musl.run(musl.host("lookups"), "once", "restart", env={**failing, "LD_PRELOAD": resolver})
    assert told(result.stdout)["lookup"] == "EAI_AGAIN"


@pytest.mark.parametrize("scenario", ["backoff", "asynchronous"])
def test_cancelled_in_a_backoff(musl, scenario):
    with LatePort() as port, Host("cancel", scenario, port.number, program=musl.host("cancel"), env=musl.env(), **ENDLESS) as host:
        host.wait_event("attempt_failed")
        assert host.wait_line() == "thread=cancelled"


def test_default_action_ends_the_program_at_once(musl):
    with LatePort() as port, Host("threads", "many", port.number, 1, program=musl.host("threads"), env=musl.env(), **ENDLESS) as host:
        host.wait_event("attempt_failed")
        host.kill(signal.SIGINT)
        host.finish(status=-signal.SIGINT, timeout=10)


def test_curl(musl):
    """The loader takes our names, which have versions, for the program's and libcurl's, which have none."""
    flags = ["-shared", "-fPIC", "-Wl,-soname,libcurl.so.4", "-Wno-missing-prototypes"]
    library = Path(musl.host("musl_libcurl", *flags, output="musl-libcurl.so.4"))
    program = musl.host("musl_curl", str(library), f"-Wl,-rpath,{musl.folder}", output="musl-curl")
    (musl.folder / "libcurl.so.4").symlink_to(library)
    failing = {"CURL_FAILURES": 2, **BIND_NOW}
    result = musl.run(program, "http://127.0.0.1:9/", env=failing, shim=False)
    assert told(result.stdout) == {"code": "7", "same": "yes"}, result
    result = musl.run(program, "http://127.0.0.1:9/", env=failing, base_delay_ms=1)
    assert told(result.stdout) == {"code": "0", "same": "yes"}, result
    assert [event["event"] for event in events(result)] == ["attempt_failed", "attempt_failed", "succeeded"]
