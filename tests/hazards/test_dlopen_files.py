"""What is no file, no object or a broken one: dlopen() says of it what it says without us, and blocks only
where it does without us. Each is asked with RTLD_DEEPBIND, for only then is the file looked at."""

import os
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path

import pytest
from dlopen_objects import LIBCURL, host, needs, outcome, plugin, same
from harness import run, wait_until
from hosts import Host
from mutants import NAMED, named, numbered

CANNOT = "cannot open shared object file"
FILES = {
    "garbage": "invalid ELF header", "script": "invalid ELF header", "nothing": "file too short", "zeros": "invalid ELF header",
    "sparse": "invalid ELF header", "folder": "cannot read file data: Is a directory", "folder/": None,
    "missing/x.so": f"{CANNOT}: No such file or directory", "garbage/x.so": f"{CANNOT}: Not a directory",
    "circle": f"{CANNOT}: Too many levels of symbolic links", "dangling": f"{CANNOT}: No such file or directory",
    "socket": f"{CANNOT}: No such device or address", "null": "file too short", "zero": "invalid ELF header",
    "x" * 255: f"{CANNOT}: No such file or directory", "x" * 256: f"{CANNOT}: File name too long",
    "/".join(["x" * 200] * 30): f"{CANNOT}: File name too long", "unreadable.so": None,
}


@pytest.fixture(scope="module", name="place")
def strange_files():
    with tempfile.TemporaryDirectory(prefix="strange-") as name, socket.socket(socket.AF_UNIX) as listener:
        place = Path(name)
        place.chmod(0o755)
        (place / "garbage").write_bytes(b"\x7fELG" + bytes(range(256)) * 100)
        (place / "script").write_text("INPUT(libc.so.6)\n" * 100)
        (place / "nothing").touch()
        (place / "zeros").write_bytes(bytes(100000))
        with (place / "sparse").open("wb") as file:
            file.truncate(1 << 42)
        (place / "folder").mkdir()
        (place / "circle").symlink_to("circle")
        (place / "dangling").symlink_to("nowhere")
        (place / "null").symlink_to("/dev/null")
        (place / "zero").symlink_to("/dev/zero")
        (place / "link.so").symlink_to(plugin("needs.so", *needs(LIBCURL)))
        listener.bind(str(place / "socket"))
        shutil.copy(plugin("needs.so", *needs(LIBCURL)), place / "unreadable.so")
        (place / "unreadable.so").chmod(0)
        yield place


@pytest.mark.parametrize("name", FILES, ids=lambda name: name[:20] + str(len(name)))
def test_no_object(place, name):
    told = same(f"open nd {place}/{name}")
    if FILES[name] is not None:
        assert told == [f"open={place}/{name}: {FILES[name]}"]


def test_file_that_may_not_be_read(place):
    name = f"{place}/unreadable.so"
    assert same(f"user open nd {name}") == [f"open={name}: {CANNOT}: Permission denied"]


def test_link_to_an_object(place):
    """It is the file that counts, not its name."""
    assert "asks=1" in outcome(f"open nd {place}/link.so asks")[1]
    assert "asks=2" in outcome(f"open nd {place}/link.so asks", shim=False)[1]


@pytest.mark.parametrize("content", [b"", b"\x7fELF" + bytes(60), b"garbage" * 1000], ids=["nothing", "header", "garbage"])
def test_fifo(tmp_path, content):
    """It blocks until somebody writes, once, and what is written is the loader's: no look of ours takes it away."""
    told = []
    for shim in (False, True):
        path = tmp_path / f"fifo{shim}"
        os.mkfifo(path)
        with Host(None, "open", "nd", path, program=host(), shim=shim) as running:
            # As long as nobody reads, a writer that does not wait gets ENXIO.
            writer = wait_until(lambda: opened_for_writing(path), what="a reader")
            time.sleep(0.05)
            assert running.process.poll() is None
            os.write(writer, content)
            os.close(writer)
            told.append({name: value.replace(str(path), "fifo") for name, value in running.finish().items()})
    assert told[0] == told[1] and told[0]["open"].startswith("fifo: ")


@pytest.mark.parametrize("name", ["fifo", "socket", "null", "zero"])
def test_only_the_loader_opens_what_is_no_file(place, tmp_path, name):
    """To open a device or a FIFO is to do something to it: a writer that waits is let go, and the loader,
    which comes too late, waits for ever."""
    path = place / name
    if name == "fifo":
        path = tmp_path / name
        os.mkfifo(path)
    script = f"""[ {name} != fifo ] || echo nothing >{path} & strace -f -qq -e trace=open,openat -o trace "$@"; cat trace"""
    argv = ["sh", "-c", script, "sh", host(), "open", "nd", path]
    for shim in (False, True):
        trace = run(argv, shim=shim, timeout=10).stdout.decode().splitlines()
        assert len([line for line in trace if f'"{path}"' in line and "O_PATH" not in line]) == 1


def opened_for_writing(path):
    try:
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


def test_fifo_that_nobody_writes(tmp_path):
    """Both wait; a signal ends them."""
    for shim in (False, True):
        path = tmp_path / f"fifo{shim}"
        os.mkfifo(path)
        with Host(None, "open", "nd", path, program=host(), shim=shim) as running:
            wait_until(lambda: running.state() == "S", what="sleep")
            time.sleep(0.2)
            assert running.process.poll() is None
            running.kill(signal.SIGTERM)
            running.finish(status=-signal.SIGTERM)


# ---- broken objects -------------------------------------------------------------------------------


def outcomes(paths, flags, shim):
    """What became of each file, by its name. Where the loader crashes, how is a matter of addresses."""
    status, out, err, diag = outcome(f"each {flags} {' '.join(map(str, paths))}", shim=shim)
    assert status == 0 and diag == b"", (status, err)
    found, said = {}, []
    for line in out.splitlines():
        if line.startswith("/"):
            name, _, end = line[1:].partition(" ")
            crashed = end in ("Segmentation fault", "Bus error", "Illegal instruction", "Aborted") or (end == "ended" and not said)
            found[name], said = "crashed" if crashed else " ".join([end, *said]), []
        else:
            said.append(line)
    assert len(found) == len(paths)
    return found


def different(paths):
    """What each did without the shim, and which never do the same with it. With it the loader may do what
    it does without the flag; where memory is laid over other memory, chance has a part in it."""
    seen = {shim: {path.name: set() for path in paths} for shim in (False, True)}
    left, first = paths, None
    for _ in range(6):
        plain = outcomes(left, "nd", False)
        first = first or plain
        for found, shim in ((plain, False), (outcomes(left, "n", False), False), (outcomes(left, "nd", True), True)):
            for name, end in found.items():
                seen[shim][name].add(end)
        left = [path for path in left if not seen[False][path.name] & seen[True][path.name]]
        if not left:
            break
    return first, {path.name: (seen[False][path.name], seen[True][path.name]) for path in left}


@pytest.mark.parametrize("original", ["needs.so", "plain.so"])
def test_objects_that_lie(tmp_path, original):
    source = plugin(original, *(needs(LIBCURL) if original == "needs.so" else ()))
    for name in NAMED:
        if original == "plain.so" and "name" in name:
            continue
        (tmp_path / name.replace(" ", "-")).write_bytes(named(source, name))
    plain, unlike = different(sorted(tmp_path.iterdir()))
    assert unlike == {}
    refused = [end for end in plain.values() if end != "crashed" and "each=ok" not in end]
    assert len(refused) > len(plain) // 3


@pytest.mark.parametrize("original", ["needs.so", "plain.so"])
def test_random_objects(tmp_path, original):
    source = plugin(original, *(needs(LIBCURL) if original == "needs.so" else ()))
    for number in range(250):
        (tmp_path / f"{number:03}").write_bytes(numbered(source, number))
    plain, unlike = different(sorted(tmp_path.iterdir()))
    assert unlike == {}
    opened = [end for end in plain.values() if end != "crashed" and "each=ok" in end]
    assert 20 < len(opened) < 230  # neither harmless nor hopeless
