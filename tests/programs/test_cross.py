"""The object for aarch64, cross-compiled and run by qemu: what is written in that processor's own language
there, dlopen, and that the rest is not this processor's alone. The hosts are those of tests/hazards."""

import os
import subprocess
from pathlib import Path

import pytest

from harness import ROOT, FaultServer, events, need, run

TRIPLE = "aarch64-linux-gnu"
HAZARDS = ROOT / "tests" / "hazards"
OWN, PROGRAMS = 2, 1  # whose function a plugin gets that the program has too: see test_dlopen.py
FLAGS = "-std=gnu11 -D_GNU_SOURCE -O1 -g -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Werror -pthread".split()


def curl_headers(place):
    """A folder with nothing in it but curl's headers: they are the same for every processor, their neighbours are not."""
    found = [path for path in (Path("/usr/include/curl"), *sorted(Path("/usr/include").glob("*/curl"))) if path.is_dir()]
    assert found, "missing headers: curl/curl.h"
    (place / "include").mkdir()
    (place / "include" / "curl").symlink_to(found[0])
    return place / "include"


@pytest.fixture(scope="module", name="place")
def cross_compiled(tmp_path_factory):
    """A folder with the object, the command, the hosts and what they open."""
    place = tmp_path_factory.mktemp("cross")
    argv = [need("make"), "-j2", f"B={place}/build", f"CC={TRIPLE}-gcc", "JANSSON=", f"CPPFLAGS=-I{curl_headers(place)}"]
    # Not the variables of the make that runs the tests.
    env = {"PATH": os.environ["PATH"], "HOME": str(place)}
    made = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert made.returncode == 0 and made.stderr == "", made.stderr
    for name in ("caller/own", "beside"):
        (place / name).mkdir(parents=True)
    shared = ["-shared", "-fPIC"]
    stub = compiled(place, "libcurl.so.4", "/dev/null", *shared, "-nostdlib", "-Wl,-soname,libcurl.so.4")
    caller = compiled(place, "caller/libdlopen_caller.so", "dlopen_caller.c", *shared, "-Wl,-rpath,$ORIGIN/own")
    compiled(place, "dlopens", "dlopens.c", "-rdynamic", caller, "-Wl,-rpath,$ORIGIN/caller:$ORIGIN/beside")
    for name in ("plain.so", "beside/beside.so", "caller/own/own.so"):
        compiled(place, name, "dlopen_plugin.c", *shared)
    needs = ["-Wl,--no-as-needed", stub, "-Wl,--as-needed", f"-Wl,-rpath,{place}"]
    compiled(place, "needs.so", "dlopen_plugin.c", *shared, *needs)
    compiled(place, "traces.so", "dlopen_plugin.c", *shared, "-DTRACES", *needs)
    compiled(place, "leaves.so", "dlopen_plugin.c", *shared, "-DLEAVES", *needs)
    for name in ("threads", "waits"):
        compiled(place, name, f"{name}.c")
    return place


def compiled(place, name, source, *flags):
    made = subprocess.run([need(f"{TRIPLE}-gcc"), *FLAGS, "-x", "c", HAZARDS / source, "-x", "none", *flags, "-o", place / name],
                          capture_output=True, text=True, timeout=60)
    assert made.returncode == 0, made.stderr
    return place / name


def emulated(place, *argv, shim=True, **options):
    """Runs one of the programs; the preload is for it, and not for qemu."""
    preload = ["-E", f"LD_PRELOAD={place}/build/libretryshim.so"] if shim else []
    name, *rest = argv
    return run(["qemu-aarch64", "-L", f"/usr/{TRIPLE}", *preload, place / name, *rest], shim=False, **options)


def told(result):
    assert result.returncode == 0 and result.stderr == b"", result
    return result.stdout.decode().splitlines()


def answers(place, words, **options):
    """Of dlopens.c, a line a word; nothing is told by the shim."""
    result = emulated(place, "dlopens", *words.format(place=place).split(), **options)
    assert result.diag == b""
    return [line.partition(" errno=")[0] for line in told(result)]


# ---- the object itself ------------------------------------------------------------------------------


def test_object_is_what_the_loader_wants(place):
    """The same names as here, and the same care."""
    listing = subprocess.check_output([need("readelf"), "-hldW", place / "build" / "libretryshim.so"], text=True)
    assert "AArch64" in listing and "TEXTREL" not in listing and "GNU_RELRO" in listing
    needed = [line for line in listing.splitlines() if "(NEEDED)" in line]
    assert all("libc.so" in line or "ld-linux" in line for line in needed), needed
    checked = subprocess.run([ROOT / "tests" / "elf.sh", place / "build" / "libretryshim.so"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_command_says_its_version(place):
    assert told(emulated(place, "build/retryshim", "--version", shim=False))[0].startswith("retryshim ")


# ---- connect ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 8])
def test_port_that_opens_late(place, count):
    with FaultServer("greet=hello", open_after="20s", lifetime="30s") as server:
        argv = ["threads", "many", server.port, count]
        assert "connected=0" in told(emulated(place, *argv, shim=False))
        exhausted = emulated(place, *argv, base_delay_ms=1)
        assert "connected=0" in told(exhausted)
        assert [event["event"] for event in events(exhausted)].count("exhausted") == count
    with FaultServer("greet=hello", open_after="2s") as server:
        result = emulated(place, "threads", "many", server.port, count, max_attempts=100)
        assert told(result) == [f"connected={count}", "descriptors_changed=0"]
        assert len(server.wait("accept", count)) == count
    assert events(result)[0]["error"] == "ECONNREFUSED" and events(result)[-1]["event"] == "succeeded"


@pytest.mark.parametrize("wait", ["poll", "select"])
def test_kernel_without_cookies(place, wait):
    """qemu knows no SO_COOKIE, nor does Linux before 4.12: there a non-blocking connect is the program's own."""
    with FaultServer("greet=hello", open_after="20s", lifetime="30s") as server:
        results = [emulated(place, "waits", "recover", wait, -1, server.port, shim=shim) for shim in (False, True)]
        assert told(results[0]) == told(results[1]) and "connect=ECONNREFUSED" in told(results[1])
        assert results[1].diag == b""


# ---- dlopen -----------------------------------------------------------------------------------------

CANNOT = "cannot open shared object file: No such file or directory"
SAME = {
    "open nd {place}/plain.so asks": ["open=ok", f"asks={OWN}"],
    "open n {place}/plain.so asks": ["open=ok", f"asks={PROGRAMS}"],
    "open nd beside.so asks": ["open=ok", f"asks={OWN}"],
    "open n own.so": [f"open=own.so: {CANNOT}"],
    "library n own.so": ["library=ok"],
    "library nd own.so": ["library=ok"],
    "library nd beside.so": [f"library=beside.so: {CANNOT}"],
    "open nd NULL local contested": ["open=ok", "local=found"],
    "open nd {place}/missing.so error": ["open={place}/missing.so: " + CANNOT, "error=none"],
    "pointer nd {place}/plain.so asks": ["pointer=ok", "symbol=dlopen", f"asks={OWN}"],
    "leave {place}/leaves.so": ["unwound=yes", "leave=joined"],
    f"threads 8 {OWN} {{place}}/plain.so": ["threads=400"],
}


@pytest.mark.parametrize("words", SAME)
def test_dlopen_is_the_same(place, words):
    expected = [line.format(place=place) for line in SAME[words]]
    for shim in (False, True):
        found = answers(place, words, shim=shim)
        assert [line for line in found if line != "descriptors_changed=0"] == expected


@pytest.mark.parametrize("settings, asks", [
    ({}, PROGRAMS), ({"deepbind": "drop"}, PROGRAMS), ({"deepbind": "keep"}, OWN), ({"curl": 0}, OWN), ({"enabled": 0}, OWN)])
def test_deepbind(place, settings, asks):
    words = "open nd {place}/needs.so asks"
    assert answers(place, words, shim=False)[-1] == f"asks={OWN}"
    assert answers(place, words, **settings)[-1] == f"asks={asks}"


def test_stack(place):
    """As in test_dlopen.py: no frame of ours, the stack is aligned, a float survives."""
    plain, with_shim = (answers(place, "open nd {place}/traces.so", shim=shim) for shim in (False, True))
    assert with_shim == plain and plain[:2] == ["numbers=1.500 2.250", "misaligned=0"]
    assert "frame=/traces.so" in plain and "frame=/dlopens" in plain
