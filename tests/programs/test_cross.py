"""The object for other processors, cross-compiled and run by qemu: what is written in a processor's own language there
(dlopen, on 64-bit ARM), what 32 bits have room for, and that the rest is not one processor's alone. The hosts are those of
tests/hazards. test_32bit.py has the non-blocking connects of a 32-bit program, which qemu does not know the sockets for."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import ROOT, FaultServer, events, need, run

HAZARDS = ROOT / "tests" / "hazards"
OWN, PROGRAMS = 2, 1  # whose function a plugin gets that the program has too: see test_dlopen.py
FLAGS = "-std=gnu11 -D_GNU_SOURCE -O1 -g -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Werror -pthread".split()
TIME64 = ["-D_TIME_BITS=64", "-D_FILE_OFFSET_BITS=64"]


@dataclass
class Place:
    """A folder with the object, the command, the hosts and what they open, for one processor."""

    folder: Path
    triple: str
    qemu: str
    machine: str  # as readelf(1) says it

    def make(self):
        argv = [need("make"), "-j2", f"B={self.folder}/build", f"CC={self.triple}-gcc", "CFLAGS=-O2", "JANSSON=",
                f"CPPFLAGS=-I{curl_headers(self.folder)}"]
        # Not the variables of the make that runs the tests.
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        made = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
        assert made.returncode == 0 and made.stderr == "", made.stderr

    def compile(self, name, source, *flags):
        argv = [need(f"{self.triple}-gcc"), *FLAGS, "-x", "c", HAZARDS / source, "-x", "none", *flags, "-o", self.folder / name]
        made = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        assert made.returncode == 0, made.stderr
        return self.folder / name

    def run(self, name, *arguments, shim=True, **options):
        """Runs one of the programs; the preload is for it, and not for qemu."""
        preload = ["-E", f"LD_PRELOAD={self.folder}/build/libretryshim.so"] if shim else []
        argv = [self.qemu, "-L", f"/usr/{self.triple}", *preload, self.folder / name, *arguments]
        return run(argv, shim=False, **options)


def curl_headers(place):
    """A folder with nothing in it but curl's headers: they are the same for every processor, their neighbours are not."""
    found = [path for path in (Path("/usr/include/curl"), *sorted(Path("/usr/include").glob("*/curl"))) if path.is_dir()]
    assert found, "missing headers: curl/curl.h"
    (place / "include").mkdir()
    (place / "include" / "curl").symlink_to(found[0])
    return place / "include"


@pytest.fixture(scope="module", name="aarch64")
def made_for_aarch64(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("aarch64"), "aarch64-linux-gnu", "qemu-aarch64", "AArch64")
    place.make()
    for name in ("caller/own", "beside"):
        (place.folder / name).mkdir(parents=True)
    shared = ["-shared", "-fPIC"]
    stub = place.compile("libcurl.so.4", "/dev/null", *shared, "-nostdlib", "-Wl,-soname,libcurl.so.4")
    caller = place.compile("caller/libdlopen_caller.so", "dlopen_caller.c", *shared, "-Wl,-rpath,$ORIGIN/own")
    place.compile("dlopens", "dlopens.c", "-rdynamic", caller, "-Wl,-rpath,$ORIGIN/caller:$ORIGIN/beside")
    for name in ("plain.so", "beside/beside.so", "caller/own/own.so"):
        place.compile(name, "dlopen_plugin.c", *shared)
    needs = ["-Wl,--no-as-needed", stub, "-Wl,--as-needed", f"-Wl,-rpath,{place.folder}"]
    place.compile("needs.so", "dlopen_plugin.c", *shared, *needs)
    place.compile("traces.so", "dlopen_plugin.c", *shared, "-DTRACES", *needs)
    place.compile("leaves.so", "dlopen_plugin.c", *shared, "-DLEAVES", *needs)
    for name in ("threads", "waits"):
        place.compile(name, f"{name}.c")
    return place


@pytest.fixture(scope="module", name="armhf")
def made_for_armhf(tmp_path_factory):
    """A program whose time has 64 bits calls other names."""
    place = Place(tmp_path_factory.mktemp("armhf"), "arm-linux-gnueabihf", "qemu-arm", "ARM")
    place.make()
    place.compile("threads", "threads.c")
    for name, flags in (("waits", []), ("waits64", TIME64)):
        place.compile(name, "waits.c", *flags)
    return place


@pytest.fixture(name="place", params=["aarch64", "armhf"])
def on_each_processor(request):
    return request.getfixturevalue(request.param)


def told(result):
    assert result.returncode == 0 and result.stderr == b"", result
    return result.stdout.decode().splitlines()


def answers(place, words, **options):
    """Of dlopens.c, a line a word; nothing is told by the shim."""
    result = place.run("dlopens", *words.format(place=place.folder).split(), **options)
    assert result.diag == b""
    return [line.partition(" errno=")[0] for line in told(result)]


# ---- the object itself ------------------------------------------------------------------------------


def test_object_is_what_the_loader_wants(place):
    """The same names as here, and the same care."""
    listing = subprocess.check_output([need("readelf"), "-hldW", place.folder / "build" / "libretryshim.so"], text=True)
    assert place.machine in listing and "TEXTREL" not in listing and "GNU_RELRO" in listing
    needed = [line for line in listing.splitlines() if "(NEEDED)" in line]
    assert all("libc.so" in line or "ld-linux" in line for line in needed), needed
    checked = subprocess.run([ROOT / "tests" / "elf.sh", place.folder / "build" / "libretryshim.so"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_command_says_its_version(place):
    assert told(place.run("build/retryshim", "--version", shim=False))[0].startswith("retryshim ")


# ---- connect ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 8])
def test_port_that_opens_late(place, count):
    with FaultServer("greet=hello", open_after="20s", lifetime="30s") as server:
        argv = ["threads", "many", server.port, count]
        assert "connected=0" in told(place.run(*argv, shim=False))
        exhausted = place.run(*argv, base_delay_ms=1, budget="off", breaker="off")
        assert "connected=0" in told(exhausted)
        assert [event["event"] for event in events(exhausted)].count("exhausted") == count
    with FaultServer("greet=hello", open_after="2s") as server:
        result = place.run("threads", "many", server.port, count, max_attempts=100, budget="off", breaker="off")
        assert told(result) == [f"connected={count}", "descriptors_changed=0"]
        assert len(server.wait("accept", count)) == count
    assert events(result)[0]["error"] == "ECONNREFUSED" and events(result)[-1]["event"] == "succeeded"


def check_without_cookies(place, host, wait):
    """qemu knows no SO_COOKIE, nor does Linux before 4.12: there a non-blocking connect is the program's own."""
    with FaultServer("greet=hello", open_after="20s", lifetime="30s") as server:
        results = [place.run(host, "recover", wait, -1, server.port, shim=shim) for shim in (False, True)]
        assert told(results[0]) == told(results[1]) and "connect=ECONNREFUSED" in told(results[1])
        assert results[1].diag == b""


@pytest.mark.parametrize("wait", ["poll", "select"])
def test_kernel_without_cookies(place, wait):
    check_without_cookies(place, "waits", wait)


@pytest.mark.parametrize("wait", ["ppoll", "select", "pselect"])
def test_names_of_64_bit_time(armhf, wait):
    check_without_cookies(armhf, "waits64", wait)


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
def test_dlopen_is_the_same(aarch64, words):
    expected = [line.format(place=aarch64.folder) for line in SAME[words]]
    for shim in (False, True):
        found = answers(aarch64, words, shim=shim)
        assert [line for line in found if line != "descriptors_changed=0"] == expected


@pytest.mark.parametrize("settings, asks", [
    ({}, PROGRAMS), ({"deepbind": "drop"}, PROGRAMS), ({"deepbind": "keep"}, OWN), ({"curl": 0}, OWN), ({"enabled": 0}, OWN)])
def test_deepbind(aarch64, settings, asks):
    words = "open nd {place}/needs.so asks"
    assert answers(aarch64, words, shim=False)[-1] == f"asks={OWN}"
    assert answers(aarch64, words, **settings)[-1] == f"asks={asks}"


def test_stack(aarch64):
    """As in test_dlopen.py: no frame of ours, the stack is aligned, a float survives."""
    plain, with_shim = (answers(aarch64, "open nd {place}/traces.so", shim=shim) for shim in (False, True))
    assert with_shim == plain and plain[:2] == ["numbers=1.500 2.250", "misaligned=0"]
    assert "frame=/traces.so" in plain and "frame=/dlopens" in plain
