"""Under the tools that look into a program: gdb, strace, ltrace, helgrind, drd. (memcheck: test_threads, test_curl_valgrind.)"""

import re
from collections import Counter

import pytest
from harness import RETRY_DEFAULTS, SHIM, FaultServer, built, need, run
from hosts import GREETING, HERE, Host, LatePort, compiled, said

OFTEN = {"base_delay_ms": 200, "multiplier": "1.0", "max_attempts": 300, "budget": "off", "breaker": "off"}
WAITS = ["poll", "ppoll", "select", "pselect", "epoll_wait", "epoll_pwait", "epoll_pwait2"]


# ---- gdb -----------------------------------------------------------------------------------------

def gdb_words(*commands, program=()):
    """After `gdb`: the object is in the debugged program alone."""
    words = ["-nx", "-batch", "-ex", "set startup-with-shell off", "-ex", f"set environment LD_PRELOAD {built(SHIM)}"]
    for command in commands:
        words += command if isinstance(command, list) else ["-ex", command]
    return [*words, *(["--args", *map(str, program)] if program else [])]


def frames(text):
    """The functions of the first backtrace in what gdb said, the innermost first."""
    found = []
    for number, name in re.findall(r"^#(\d+) +(?:0x[0-9a-f]+ in )?(<signal handler called>|[^ (]+)", text, re.M):
        if int(number) != len(found):
            break
        found.append(name)
    return found


def check_frames(found, *expected):
    """These stand in this order, the last of them last, and every frame has a name."""
    rest = iter(found)
    assert "??" not in found and all(name in rest for name in expected) and found[-1] == expected[-1], found


def test_gdb_stops_in_connect_and_the_program_recovers():
    words = gdb_words("break connect", "run", "backtrace", "delete", "continue")
    with LatePort() as port, Host(None, *words, "--args", compiled("signals"), "once", port.number, program=need("gdb"),
                                  shim=False, **OFTEN) as host:
        host.wait_event("attempt_failed", timeout=60)
        with port.open() as server:
            out, err = host.process.communicate(timeout=60)
            assert len(server.wait("accept")) == 1
    told = said(out)
    assert (told["connect"], told["descriptors_changed"]) == ("ok", "0"), (out, err)
    check_frames(frames(out.decode()), "connect", "connect_and_read", "once", "main")
    assert b"exited normally" in out


def test_gdb_unwinds_each_instruction_of_the_waits():
    """They are written by hand, and so is what leads a debugger out of them."""
    words = gdb_words(f"python WAITS = {WAITS}", ["-x", HERE / "stepped.py"], program=[compiled("debugged"), "ready", *WAITS, *WAITS])
    result = run(["gdb", *words], shim=False)
    steps = re.findall(r"^(\w+) (\d+) (plain|late)$", result.stdout.decode(), re.M)
    assert [(name, how) for name, _, how in steps] == [(name, how) for how in ("plain", "late") for name in WAITS], result
    counts = {(name, how): int(count) for name, count, how in steps}
    assert all(counts[name, "late"] > counts[name, "plain"] > 4 for name in WAITS), counts
    told = said(result.stdout)
    assert [told[name] for name in WAITS] == ["ready"] * len(WAITS)


def test_gdb_unwinds_a_handler_that_interrupts_a_wait():
    program = [compiled("debugged"), "interrupted", *WAITS]
    result = run(["gdb", *gdb_words("break handler", "run", *["backtrace", "continue"] * len(WAITS), program=program)], shim=False)
    told, text = said(result.stdout), result.stdout.decode()
    assert [told[name] for name in WAITS] == ["EINTR"] * len(WAITS), result
    for name, story in zip(WAITS, text.split("Breakpoint 1, handler")[1:], strict=True):
        check_frames(frames(story), "handler", "<signal handler called>", name, "wait_by", "interrupted", "main")


@pytest.mark.parametrize("command, through", [
    (["signals", "once"], ["connect_and_read", "once", "main"]),
    (["waits", "recover", "poll", -1], ["look_by_poll_or_ppoll", "recover", "main"]),
    (["waits", "recover", "pselect", -1], ["pselect_sets", "recover", "main"]),
], ids=["connect", "poll", "pselect"])
def test_gdb_attaches_in_a_backoff_and_leaves(command, through):
    with LatePort() as port, Host(*command, port.number, **{**OFTEN, "base_delay_ms": 1000}) as host:
        host.kill_in_backoff(0)  # no signal: it sleeps
        attached = run(["gdb", "-nx", "-batch", "-p", host.process.pid, "-ex", "backtrace"], shim=False)
        check_frames(frames(attached.stdout.decode()), *through)
        with port.open() as server:
            assert host.finish()["connect"] == "ok"
            assert len(server.wait("accept")) == 1


# ---- strace, ltrace ------------------------------------------------------------------------------

PYTHON = """import select, socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1].split(":")[2].strip("/")))) as server:
    server.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
    waiter = select.poll()
    waiter.register(server, select.POLLIN)
    waiter.poll()
    print(server.makefile().readlines()[-1], end="")
"""
# What the loader does for one more object; and it maps its segments.
LOADED = Counter({"openat": 1, "read": 1, "fstat": 1, "close": 1})
SEGMENTS = {"mmap", "mprotect", "munmap"}
UNSET = {name: None for name in (*RETRY_DEFAULTS, "diag_file")}
# A process' first curl handle reads the settings, with signals held.
SETTINGS = Counter({"rt_sigprocmask": 2})
HEALTHY = {"curl": (["curl", "-sS"], SETTINGS), "wget": (["wget", "-qO-"], Counter()), "python": (["python3", "-S", "-c", PYTHON], Counter())}


def counted(command, url, shim, log):
    """System call -> how often, from a healthy run."""
    preload = ["-E", f"LD_PRELOAD={built(SHIM)}"] if shim else []
    result = run(["strace", "-f", "-c", "-U", "name,calls", "-o", log, *preload, need(command[0]), *command[1:], url], shim=False, **UNSET)
    assert (result.returncode, result.stdout, result.stderr, result.diag) == (0, b"ok\n", b"", b""), result
    counts = Counter()
    for name, calls in re.findall(r"^(\w+) +(\d+)$", log.read_text(), re.M):
        counts["fstat" if name == "newfstatat" else name] += int(calls)
    del counts["total"]
    return counts


@pytest.mark.parametrize("program", HEALTHY)
def test_strace_counts_the_same_calls(program, tmp_path):
    """How often a program waits differs from run to run: one pair of runs must be alike, and a call of ours would be in all."""
    command, ours = HEALTHY[program]
    differences = []
    with FaultServer("200") as server:
        for _ in range(12):
            without, shim = (counted(command, server.url, shim, tmp_path / "log") for shim in (False, True))
            differences.append({name: shim[name] - without[name] for name in shim | without if shim[name] != without[name]})
            segments = {name: differences[-1].pop(name, 0) for name in SEGMENTS}
            if differences[-1] == LOADED + ours and segments["mmap"] <= 6 and segments["mprotect"] <= 2 and segments["munmap"] == 0:
                return
    pytest.fail(f"{differences}")


TRACERS = {
    "strace": (["-f", "-E", "LD_PRELOAD={shim}"], r"connect\(3, .*\) += 0$"),
    "ltrace": (["-f", "-e", "connect", "env", "LD_PRELOAD={shim}"], r"connect\(3, .*\) += 0$|connect resumed>.* += 0$"),
}


@pytest.mark.parametrize("tracer", TRACERS)
def test_recovery_under_a_tracer(tracer, tmp_path):
    options, connected = TRACERS[tracer]
    words = [word.format(shim=built(SHIM)) for word in ["-o", str(tmp_path / "log"), *options]]
    with LatePort() as port, Host(None, *words, compiled("signals"), "once", port.number, program=need(tracer), shim=False,
                                  **OFTEN) as host:
        host.wait_event("attempt_failed", timeout=60)
        with port.open() as server:
            told = host.finish()
            assert (told["connect"], told["descriptors_changed"], host.stderr) == ("ok", "0", b"")
            assert len(server.wait("accept")) == 1
    assert re.search(connected, (tmp_path / "log").read_text(), re.M)


# ---- valgrind's thread tools ---------------------------------------------------------------------

# Neither knows C11's atomic accesses, on which all that our threads share rests: on x86 they are plain instructions to them.
# The thread sanitizer knows them (test_races). Left are locks, the thread library, and what the C library does for us but
# copy bytes.
ATOMICS = {"helgrind": "Helgrind:Race", "drd": "drd:ConflictingAccess"}


@pytest.mark.parametrize("tool", ATOMICS)
def test_threads_under(tool, tmp_path):
    known = tmp_path / "known"
    known.write_text("".join(f"{{\natomic accesses\n{ATOMICS[tool]}\n{above}obj:*/libretryshim.so\n}}\n" for above in ("", "fun:mem*\n")))
    words = ["--quiet", f"--tool={tool}", "--error-exitcode=9", f"--suppressions={known}", compiled("threads"), "many"]
    with FaultServer(GREETING) as server:
        result = run(["valgrind", *words, server.port, 4], shim=False)
        assert (result.returncode, result.stderr) == (0, b"") and said(result.stdout)["connected"] == "4", result
    with LatePort() as port, Host(None, *words, port.number, 4, program=need("valgrind"), metrics="emf:emf,prom:r.prom",
                                  state="state", **OFTEN) as host:
        host.wait_event("attempt_failed", 4, timeout=60)
        with port.open() as server:
            told = host.finish(timeout=60)
            assert (told, host.stderr) == ({"connected": "4", "descriptors_changed": "0"}, b"")
            assert len(server.wait("accept", 4)) == 4
