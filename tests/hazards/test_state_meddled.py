"""What anybody may do to the state file while processes use it, and what may be in it."""

import contextlib
import os
import random
import struct
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness import BUILD, FaultServer, built, events, run
from network import ADDRESS, PORT, Running, instant, network, python  # noqa: F401
from state_files import (  # noqa: F401
    CLIENTS, DEAD, FAILS, HASTY, HEADER_BYTES, PATIENT, PLACES, PLACE_BYTES, QUIET, SERIES_AT, STATE_BYTES,
    URL, WORDS, destinations, state, symlink, valid, write)

pytestmark = pytest.mark.usefixtures("network")

# ---- what others do to it meanwhile ---------------------------------------------------------------


def replace(path):
    valid(path.with_name("new"))
    path.with_name("new").rename(path)


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


def replace_by_symlink(path):
    path.unlink()
    symlink(path)


def overwrite(path):
    with path.open("r+b") as file:
        file.write(random.Random(1).randbytes(STATE_BYTES))


def truncate(path, size):
    os.truncate(path, size)


MEDDLING = {
    "deleted": Path.unlink,
    "replaced": replace,
    "folder": replace_by_folder,
    "symlink": replace_by_symlink,
    "truncated to 0": lambda path: truncate(path, 0),
    "truncated to half": lambda path: truncate(path, STATE_BYTES // 2),
    "truncated to a page": lambda path: truncate(path, 4096),
    "extended": lambda path: truncate(path, STATE_BYTES + 1),
    "overwritten": overwrite,
    "zeros": lambda path: path.write_bytes(bytes(STATE_BYTES)),  # cut off, then filled again
    "opened to others": lambda path: path.chmod(0o666),
}


@pytest.mark.parametrize("kind", MEDDLING)
def test_meddled_with_in_a_backoff(kind, state):
    """Whatever happens to the file: all are still there, and connect when the port opens."""
    slow = {**PATIENT, "base_delay_ms": 300, "state": state}
    with contextlib.ExitStack() as stack:
        programs = [stack.enter_context(Running(CLIENTS[client], **slow)) for client in CLIENTS]
        for program in programs:
            program.wait("attempt_failed")
        MEDDLING[kind](state)
        for program in programs:
            program.wait("attempt_failed", 3)
        with FaultServer("200", port=PORT) as server:
            server.opened = time.time()
            results = [program.result() for program in programs]
            server.wait("accept", len(CLIENTS))
    for client, result in zip(CLIENTS, results):
        told = events(result)
        assert (result.returncode, result.stderr) == (0, b""), (client, result)
        assert told[-1]["event"] == "succeeded" and instant(told[-1]) - server.opened < 10
        assert sum(each["event"] == "unused_value" for each in told) <= 1
        assert {each["event"] for each in told} <= {"attempt_failed", "unused_value", "succeeded"}


MEDDLER = python("""
import random
path, choose = sys.argv[1], random.Random(1)
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    what = choose.randrange(4)
    try:
        if what == 0: os.unlink(path)
        elif what == 1: os.rename(path, path + ".old")
        elif what == 2: os.chmod(path, 0o644)
        else:
            with open(path, "r+b") as file:
                file.seek(choose.randrange(STATE_BYTES - 1000))
                file.write(choose.randbytes(1000))
    except FileNotFoundError: pass
    time.sleep(choose.random() * 0.002)
""".replace("STATE_BYTES", str(STATE_BYTES)))


def test_meddled_with_all_the_time(state):
    """Deleted, renamed, opened to others and overwritten a thousand times a second, while processes come and go. (Cut off
    all the time it would be SIGBUS now and then, between the look at its size and the use.)"""
    one = f"for i in 1 2 3 4 5 6 7 8 9 10; do exec 3<>/dev/tcp/127.0.0.1/{DEAD}; done 2>/dev/null; exit 0"
    crowd = ["bash", "-c", f"""for p in 1 2 3 4 5 6; do
    (for n in 1 2 3 4 5; do bash -c '{one}' || exit 9; done) & all="$all $!"
done
for p in $all; do wait $p || exit 1; done"""]
    with ThreadPoolExecutor(2) as pool:
        meddler = pool.submit(run, [*MEDDLER, state, "3"], shim=False)
        result = pool.submit(run, crowd, state=state, base_delay_ms=1, multiplier=1, max_attempts=20, budget="off", breaker="off",
                             **QUIET).result()
        assert meddler.result().returncode == 0
    assert (result.returncode, result.stderr) == (0, b""), result


# ---- what may be in it ----------------------------------------------------------------------------

TIMEOUT_MS = 1500
BEHIND = {"max_attempts": 4, "base_delay_ms": 30, "timeout_ms": TIMEOUT_MS, "breaker_open_ms": 1000}


def word(choose, now_us):
    """Any bits; or an instant that is not far off, as each kind of word has it."""
    apart = choose.choice((-1, 1)) * choose.randrange(1, choose.choice((1000, 10 ** 6, 10 ** 9, 10 ** 10)))
    at_us, low = now_us + apart, choose.getrandbits(64)
    shift, at = choose.choice(((16, at_us), (22, at_us // 1000), (30, at_us // 1000), (0, at_us // 1000)))
    near = at << shift | low & (1 << shift) - 1
    return choose.choice((low, near, near, 0)) & 2 ** 64 - 1


def scramble(original, seed):
    """All of the file behind its header; every other time the tags stay, so that what is there is looked at."""
    choose, now_us = random.Random(seed), time.monotonic_ns() // 1000
    content = bytearray(original[:HEADER_BYTES] + choose.randbytes(STATE_BYTES - HEADER_BYTES))
    for at in range(HEADER_BYTES, SERIES_AT, PLACE_BYTES):
        tag = original[at:at + 8]
        if any(tag):
            for name, number in WORDS.items():
                content[at + 8 * number:at + 8 * number + 8] = struct.pack("=Q", word(choose, now_us))
            if seed % 2:
                content[at:at + 8] = tag
    return bytes(content)


def ends_in_time(result):
    told = [each for each in events(result) if "op" in each]
    assert result.seconds < TIMEOUT_MS / 1000 + 10, result
    if told:
        assert instant(told[-1]) - instant(told[0]) < TIMEOUT_MS / 1000 + 0.3, told
    return [each["event"] for each in told]


FETCHES = ["curl", "-sS", "-w", "%{http_code}", "-o", "/dev/null", URL]


def meets_nonsense(original, seed, folder, breaker):
    """Who cannot succeed fails with the true error, who can may succeed; in time, and never by a signal."""
    path = folder / f"state-{breaker}-{seed}"
    write(path, scramble(original, seed))
    options = {"state": path, "breaker": breaker, **BEHIND}
    dead, alive = run(FAILS, **options), run(FETCHES, **options)
    assert dead.returncode == 1 and b"Connection refused" in dead.stderr, (seed, dead)
    assert ends_in_time(dead)[-1] in ("exhausted", "given_up"), (seed, events(dead))
    assert (alive.returncode, alive.stdout) in ((0, b"200"), (0, b"503"), (7, b"000")), (seed, alive)
    assert alive.returncode == 0 or breaker == "reject", (seed, alive)
    done = subprocess.run([built(BUILD / "retryshim"), "status", "--state", path], env={}, capture_output=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, b""), seed
    assert path.stat().st_size == STATE_BYTES
    return "succeeded" in ends_in_time(alive)


def test_any_bytes_behind_the_header(state):
    """Of the destinations that are looked at, too."""
    run(FAILS, state=state, **HASTY)
    with FaultServer(["503", "200"] * 500, port=PORT), ThreadPoolExecutor(8) as pool:
        run(FETCHES, state=state, **BEHIND)
        original = state.read_bytes()
        assert set(destinations(state)) == {f"127.0.0.1:{DEAD}", ADDRESS}
        runs = [pool.submit(meets_nonsense, original, seed, state.parent, "reject" if seed % 4 > 1 else "pass")
                for seed in range(200)]
        recovered = [each.result() for each in runs]
    assert sum(recovered) >= 40, recovered  # in spite of it


def test_more_destinations_than_places(state):
    """The newest are there, and the file is as large as ever."""
    many = python("""for port in range(1000, 1600):
    try: socket.create_connection(("127.0.0.1", port))
    except ConnectionRefusedError: pass""")
    result = run(many, state=state, max_attempts=2, base_delay_ms=1, jitter="none", **QUIET)
    assert (result.returncode, result.stderr) == (0, b"")
    assert state.stat().st_size == STATE_BYTES
    known = destinations(state)
    assert 400 <= len(known) <= PLACES
    for port in range(1550, 1600):
        assert known[f"127.0.0.1:{port}"]["attempts"] == 2
    # One that was forgotten begins anew.
    assert run(FAILS, state=state, **HASTY).returncode == 1
    assert destinations(state)[f"127.0.0.1:{DEAD}"]["attempts"] == 2 and state.stat().st_size == STATE_BYTES
