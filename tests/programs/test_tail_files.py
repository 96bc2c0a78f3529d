"""`retryshim tail`: files as they grow, are rotated, cut off and replaced; how far back it begins; standard input."""

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from harness import FaultServer, wait_until
from network import ADDRESS, PORT, Running, network, python  # noqa: F401
from test_tail import Following, event, file, numbered, pids, tail  # noqa: F401

NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
DENIED = ["strace", "-D", "-qq", "-o", os.devnull, "-e", "trace=inotify_init1", "-e", "inject=inotify_init1:error=EMFILE"]


def add(path, text):
    with open(path, "ab") as writer:
        writer.write(text if isinstance(text, bytes) else text.encode())


# ---- following ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("network")
def test_real_programs(file):
    """A file that is not there yet; two programs write to it at once."""
    options = {"diag_file": file, "base_delay_ms": 300, "multiplier": 1, "max_attempts": 100}
    with Following(file) as it:
        it.until(lambda: f"waiting for '{file}': No such file or directory\n" in it.told)
        argv = python('socket.create_connection(("127.0.0.1", PORT))')
        with Running(argv, **options) as one, Running(["curl", "-s", f"http://{ADDRESS}"], **options) as other:
            it.until(lambda: "python3[" in it.shown and "curl[" in it.shown)
            with FaultServer("200", port=PORT):
                assert one.result().returncode == other.result().returncode == 0
            it.until(lambda: it.shown.count(" succeeded on attempt ") == 2)
        shown, told = it.shown, it.told
    assert told.count("\n") == 1
    assert shown == tail("--no-follow", "-n", "+1", file) and len(shown.splitlines()) == len(file.read_text().splitlines())


@pytest.mark.parametrize("prefix", [[], DENIED], ids=["inotify", "denied"])
def test_growing(file, prefix):
    """With inotify at once, without it within a second."""
    file.write_text(numbered(1))
    with Following(file, prefix=prefix) as it:
        it.sees(1)
        count = 4 if prefix else 30
        start = time.monotonic()
        for number in range(2, count):
            add(file, numbered(number))
            it.sees(*range(1, number + 1))
        assert time.monotonic() - start < 10


@pytest.mark.parametrize("prefix", [[], DENIED], ids=["inotify", "denied"])
def test_rotation(file, prefix):
    file.write_text(numbered(1))
    with Following(file, prefix=prefix) as it:
        it.sees(1)
        file.rename(file.with_suffix(".1"))
        add(file.with_suffix(".1"), numbered(2))  # by a program that had opened it
        it.sees(1, 2)
        add(file, numbered(3))
        it.sees(1, 2, 3)
        add(file.with_suffix(".1"), "no longer ours\n")
        add(file, numbered(4))
        it.sees(1, 2, 3, 4)
        assert it.told == ""


def test_rotation_leaves_nothing_behind(file):
    """What stands in the old file when the new one appears, and a last line without its end."""
    file.write_text(numbered(1))
    with Following(file) as it:
        it.sees(1)
        it.process.send_signal(signal.SIGSTOP)
        add(file, numbered(2) + numbered(3).rstrip())
        file.rename(file.with_suffix(".1"))
        file.write_text(numbered(4))
        it.process.send_signal(signal.SIGCONT)
        it.sees(1, 2, 3, 4)


def test_many_rotations(file):
    """Seen at once, and with no more open than before; old files stay where they are."""
    start = time.monotonic()
    with Following(file) as it:
        for number in range(1, 31):
            new = file.with_suffix(".new")
            new.write_text(numbered(number))
            if number > 1:
                file.rename(file.with_suffix(f".{number}"))
            new.rename(file)
            it.sees(*range(1, number + 1))
        held = [entry.read_text() for entry in Path(f"/proc/{it.process.pid}/fdinfo").iterdir()]
    assert time.monotonic() - start < 10
    assert len(held) == 5  # the three, inotify's, the file's
    assert sum(text.count("inotify wd:") for text in held) == 2


def test_cut_off(file):
    """Each time it is shorter than it was."""
    file.write_text(numbered(1, 2) + '{"event":')
    with Following(file) as it:
        it.sees(1, 2)
        os.truncate(file, 0)
        add(file, numbered(3))
        it.sees(1, 2, 3)
        os.truncate(file, 0)
        add(file, event(pid=4, message=None))
        it.sees(1, 2, 3, 4)
        it.until(lambda: it.told == f"retryshim: '{file}' was cut off\n" * 2)


@pytest.mark.parametrize("before, after", [((1,), (3, 4, 5)), ((1, 2), (3, 4)), ((1, 2), (3, 4, 5)), ((), (3, 4))], ids=str)
def test_cut_off_and_grown_again(file, before, after):
    """Between two looks, to its old length or beyond; lines that are as long, and differ far from their ends only. What
    stands there from the beginning is not read."""
    file.write_text(numbered(*before))
    with Following("-n0", file) as it:
        wait_until(lambda: Path(f"/proc/{it.process.pid}/wchan").read_text().startswith(("do_poll", "poll", "do_sys_poll")))
        it.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: " T " in Path(f"/proc/{it.process.pid}/stat").read_text())
        os.truncate(file, 0)
        add(file, numbered(*after))
        it.process.send_signal(signal.SIGCONT)
        it.sees(*after)
        assert it.told.count("was cut off") == (1 if before else 0)
        add(file, numbered(6))
        it.sees(*after, 6)


def test_deleted_and_made_again(file):
    """A deleted file is let go: else it would keep its place on the disk."""
    file.write_text(numbered(1))
    with Following(file) as it:
        it.sees(1)
        file.unlink()
        wait_until(lambda: not any("events.jsonl" in os.path.realpath(each.path) for each in os.scandir(f"/proc/{it.process.pid}/fd")))
        file.write_text(numbered(2))
        it.sees(1, 2)
        assert it.told == ""


def test_late_folder(tmp_path):
    file = tmp_path / "late" / "events.jsonl"
    with Following(file) as it:
        it.until(lambda: "waiting" in it.told)
        file.parent.mkdir()
        file.write_text(numbered(1, 2))
        it.sees(1, 2)
        add(file, numbered(3))
        it.sees(1, 2, 3)
        assert it.told.count("\n") == 1


def test_link_that_is_moved(file, tmp_path):
    for number in 1, 2:
        (tmp_path / f"day{number}").write_text(numbered(number))
    file.symlink_to("day1")
    with Following(file) as it:
        it.sees(1)
        (tmp_path / "link").symlink_to("day2")
        (tmp_path / "link").rename(file)
        it.sees(1, 2)
        add(tmp_path / "day2", numbered(3))
        it.sees(1, 2, 3)


def test_partial_lines(file):
    """One that is there at the beginning is no line yet; bytes come one by one, also within a character."""
    line = event(pid=2, program="caf\u00e9").encode()
    file.write_bytes(numbered(1).encode() + line[:20])
    with Following(file) as it:
        it.sees(1)
        for at in range(20, len(line)):
            add(file, line[at:at + 1])
        it.sees(1, 2)
        add(file, line[:-1])
        time.sleep(0.05)  # perhaps it reads the half
        assert pids(it.shown) == [1, 2]
        add(file, b"\n")
        it.sees(1, 2, 2)


def test_two_files(file, tmp_path):
    other = tmp_path / "other"
    file.write_text(numbered(*range(1, 21)))
    with Following("-n2", file, other) as it:
        it.sees(19, 20)
        add(other, numbered(30))
        it.sees(19, 20, 30)
        for number in range(31, 36):
            add([file, other][number % 2], numbered(number))
            it.sees(19, 20, *range(30, number + 1))


@pytest.fixture
def public_file():
    """In a folder that every user may look into; pytest's are root's alone."""
    with tempfile.TemporaryDirectory(prefix="tail-") as folder:
        os.chmod(folder, 0o755)
        path = Path(folder, "events.jsonl")
        path.write_text(numbered(1))
        yield path


def test_replaced_by_what_cannot_be_read(public_file):
    """Said once; it goes on when it can be read."""
    with Following(public_file, prefix=NOBODY) as it:
        it.sees(1)
        new = public_file.with_suffix(".new")
        new.write_text(numbered(2))
        new.chmod(0o600)
        new.rename(public_file)
        it.until(lambda: f"waiting for '{public_file}': Permission denied\n" in it.told)
        time.sleep(1.1)  # it has tried again
        public_file.chmod(0o644)
        it.sees(1, 2)
        assert it.told.count("\n") == 1


# ---- what cannot be opened ------------------------------------------------------------------------


def test_unreadable_file(public_file):
    public_file.chmod(0)
    for arguments in [], ["--no-follow"]:
        out, told = tail(*arguments, public_file, check=1, prefix=NOBODY)
        assert (out, told) == ("", f"retryshim: cannot read '{public_file}': Permission denied\n")


def test_folder_and_missing_file(tmp_path):
    for arguments in [], ["--no-follow"]:
        assert tail(*arguments, tmp_path, check=1) == ("", f"retryshim: cannot read '{tmp_path}': Is a directory\n")
    missing = tmp_path / "missing"
    assert tail("--no-follow", missing, check=1) == ("", f"retryshim: cannot read '{missing}': No such file or directory\n")


@pytest.mark.parametrize("redirection, why", [("</", "Is a directory"), ("<&-", "Bad file descriptor")])
def test_unreadable_standard_input(redirection, why):
    out, told = tail(check=1, prefix=["sh", "-c", f'exec "$@" {redirection}', "sh"])
    assert (out, told) == ("", f"retryshim: cannot read standard input: {why}\n")


# ---- how far back ---------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments, seen", [
    ([], range(11, 21)), (["-n", 3], [18, 19, 20]), (["-n3"], [18, 19, 20]), (["--lines=20"], range(1, 21)),
    (["-n", 1000], range(1, 21)), (["-n", 0], []), (["-n", "+1"], range(1, 21)), (["-n", "+0"], range(1, 21)),
    (["-n", "+19"], [19, 20]), (["-n", "+21"], []), (["--all-events"], range(1, 21)), (["-n5", "--program=wget"], [6, 7, 8, 9, 10]),
    (["-n", "+3", "--program=wget"], range(3, 11)), (["-n", 18446744073709551615], range(1, 21)),
], ids=str)
def test_lines(file, arguments, seen):
    file.write_text("".join(event(pid=number, program="wget" if number <= 10 else "curl") + "noise\n" for number in range(1, 21)))
    assert pids(tail("--no-follow", *arguments, file)) == list(seen)
    with Following(*arguments, file) as it:
        if seen:
            it.sees(*seen)
            add(file, event(pid=21, program="wget"))
            it.sees(*seen, 21)


def test_lines_that_are_still_to_come(file):
    file.write_text(numbered(1))
    with Following("-n", "+3", file) as it:
        add(file, numbered(2, 3))
        it.sees(3)


def test_blocks(file):
    """Lines of many lengths: some begin or end where a block does."""
    lines = [event(pid=number, message="x" * (number * 37 % 900)) for number in range(1, 1500)]
    file.write_text("".join(lines))
    for count in [1, 2, 10, *range(95, 115), *range(180, 200, 3), 700, 1498, 1499, 1500]:
        assert pids(tail("--no-follow", "-n", count, file)) == list(range(max(1500 - count, 1), 1500)), count


def test_last_line_without_an_end(file):
    file.write_text(numbered(1, 2, 3).rstrip())
    assert pids(tail("--no-follow", "-n2", file)) == [2, 3]
    file.write_text("x" * 200000 + "\n" + numbered(1))
    assert pids(tail("--no-follow", file)) == [1]
    file.write_text("x" * 200000)
    assert tail("--no-follow", file) == ""
    file.write_text("")
    assert tail("--no-follow", file) == ""


def test_huge_file_is_not_read_whole(file, tmp_path):
    with open(file, "wb") as writer:
        writer.truncate(2 << 30)
    add(file, "\n" + numbered(*range(1, 13)))
    log = tmp_path / "log"
    shown = tail("--no-follow", file, prefix=["strace", "-qq", "-e", "trace=pread64", "-o", log])
    assert pids(shown) == list(range(3, 13))
    assert 0 < len(log.read_text().splitlines()) < 10


# ---- standard input, pipes ------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["-"], ["--no-follow"], ["-n", "1", "-"]], ids=str)
def test_standard_input(arguments):
    """All of it, as it comes, to its end."""
    with Following(*arguments, stdin=subprocess.PIPE) as it:
        it.process.stdin.write(numbered(1).encode())
        it.sees(1)
        it.process.stdin.write((numbered(*range(2, 20)) + numbered(20).rstrip()).encode())
        it.sees(*range(1, 20))
        it.process.stdin.close()
        it.sees(*range(1, 21))
        assert it.ends() == 0
        it.process.stdin = None


def test_pipe_beside_a_file(file, tmp_path):
    """A pipe without a writer holds up nobody."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    file.write_text(numbered(1))
    with Following(pipe, file) as it:
        it.sees(1)
        with open(pipe, "w") as writer:
            writer.write(numbered(2))
            writer.flush()
            it.sees(1, 2)
            add(file, numbered(3))
            it.sees(1, 2, 3)
            writer.write(numbered(4))
        it.sees(1, 2, 3, 4)
        add(file, numbered(5))
        it.sees(1, 2, 3, 4, 5)


def wait_until_open(it, path):
    """realpath() bears with a descriptor that is closed meanwhile."""
    wait_until(lambda: any(os.path.realpath(each.path) == str(path) for each in os.scandir(f"/proc/{it.process.pid}/fd")))


def test_fifo_has_no_end(tmp_path):
    """The shim opens its sink for each event, and closes it again. -n is for files."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with Following("-n1", pipe) as it:
        wait_until_open(it, pipe)
        for number in range(1, 20, 2):
            with open(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK), "w") as writer:  # fails where nobody reads
                writer.write(numbered(number, number + 1))
            it.sees(*range(1, number + 2))
        assert it.process.poll() is None


@pytest.mark.usefixtures("network")
def test_fifo_as_the_sink(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with Following(pipe) as it:
        wait_until_open(it, pipe)
        with Running(python('socket.create_connection(("127.0.0.1", PORT))'), diag_file=pipe, base_delay_ms=10, max_attempts=3) as one:
            one.result()
        it.until(lambda: it.shown.count("\n") == 3)
        assert "All 3 attempts failed" in it.shown


def test_fifo_ends_where_it_may_not_be_written(public_file):
    """And with --no-follow."""
    pipe = public_file.with_name("pipe")
    os.mkfifo(pipe)
    for mode, arguments in (0o644, []), (0o666, ["--no-follow"]):
        pipe.chmod(mode)
        with Following(*arguments, pipe, prefix=NOBODY) as it:
            with open(pipe, "w") as writer:
                writer.write(numbered(1))
            it.sees(1)
            assert it.ends() == 0


def test_pipe_alone_ends():
    assert pids(tail("/dev/stdin", stdin=numbered(1, 2))) == [1, 2]
    assert tail("/dev/null") == ""


def test_process_substitution_ends(file):
    """A pipe that has a path, but no name."""
    file.write_text(numbered(1, 2))
    assert pids(tail(prefix=["bash", "-c", f'exec "$@" <(cat {file})', "bash"])) == [1, 2]


def test_more_files_than_descriptors(tmp_path):
    """Those that are missing have none."""
    files = [tmp_path / str(number) for number in range(300)]
    with Following(*files, prefix=["prlimit", "--nofile=256"]) as it:
        it.until(lambda: it.told.count("waiting for") == 300)
        files[299].write_text(numbered(1))
        it.sees(1)


def test_sleeps_while_nothing_happens(file, tmp_path):
    """Waiting costs nothing, also when it reads what has an end, or none; notices that have come are over."""
    file.write_text(numbered(1))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with Following(file) as it, Following(stdin=subprocess.PIPE) as piped, Following(pipe) as fifo:
        it.sees(1)
        with open(pipe, "w") as writer:
            writer.write(numbered(1))
        fifo.sees(1)
        add(file, numbered(2))
        (tmp_path / "sibling").touch()
        it.sees(1, 2)
        time.sleep(1)
        for each in it, piped, fifo:
            fields = open(f"/proc/{each.process.pid}/stat").read().split()
            assert int(fields[13]) + int(fields[14]) < 10
