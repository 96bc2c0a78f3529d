"""State files that are not used: the program says so once, and recovers all the same."""

import os
import resource
import socket
import stat
import tempfile
from pathlib import Path

import pytest
from harness import events, run
from network import ADDRESS, network, python, traced  # noqa: F401
from state_files import (  # noqa: F401
    CLIENTS, CONNECT, FAILS, HASTY, LAYOUT, MAGIC, QUIET, STATE_BYTES, as_user, destinations,
    header, recovers_alone, state, symlink, under, valid, write)

pytestmark = pytest.mark.usefixtures("network")

# ---- what is refused ------------------------------------------------------------------------------


def dangling(path):
    path.symlink_to(path.with_name("missing"))


def unix_socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def foreign(path):
    valid(path)
    os.chown(path, 65534, 65534)


def with_mode(mode):
    def make(path):
        valid(path)
        path.chmod(mode)
    return make


def with_size(size):
    return lambda path: write(path, header().ljust(STATE_BYTES + 1, b"\0")[:size])


OTHER_SIZE = "it is of another size, hence of another version or damaged"
DAMAGED = "it is damaged, or of another version"
OPEN_TO_OTHERS = "other users may open it"
NO_FILE = "it is no regular file"

REFUSED = {
    "symlink": (symlink, "ELOOP"),
    "dangling": (dangling, "ELOOP"),
    "directory": (Path.mkdir, "EISDIR"),
    "fifo": (os.mkfifo, NO_FILE),
    "device": (lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3)), NO_FILE),
    "socket": (unix_socket, "ENXIO"),
    "foreign": (foreign, "it belongs to another user"),
    "0644": (with_mode(0o644), OPEN_TO_OTHERS),
    "0666": (with_mode(0o666), OPEN_TO_OTHERS),
    "0610": (with_mode(0o610), OPEN_TO_OTHERS),
    "truncated": (with_size(STATE_BYTES // 2), OTHER_SIZE),
    "one byte": (with_size(1), OTHER_SIZE),
    "longer": (with_size(STATE_BYTES + 1), OTHER_SIZE),
    "magic": (lambda path: valid(path, magic=MAGIC + 1), DAMAGED),
    "layout": (lambda path: valid(path, layout=LAYOUT + 1), DAMAGED),
}


def seen(path):
    """What must stay as it was, of the path and of all that lies beside it."""
    def one(entry):
        its = entry.lstat()
        content = entry.read_bytes() if stat.S_ISREG(its.st_mode) else None
        return its.st_mode, its.st_uid, its.st_ino, its.st_size, content
    return {entry.name: one(entry) for entry in path.parent.iterdir()}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(kind, state):
    make, reason = REFUSED[kind]
    make(state)
    before = seen(state)
    recovers_alone(CONNECT, state, reason)
    assert seen(state) == before
    # And without RETRY_DIAG not one byte: what the program says itself is all.
    plain = run(FAILS, shim=False)
    result = run(FAILS, state=state, **HASTY, **QUIET)
    assert (result.returncode, result.stdout, result.stderr) == (plain.returncode, plain.stdout, plain.stderr)
    assert seen(state) == before


@pytest.mark.parametrize("client", CLIENTS)
def test_every_kind_of_client_goes_on_alone(client, state):
    symlink(state)
    recovers_alone(CLIENTS[client], state, "ELOOP")
    assert state.with_name("ours").read_bytes() == b"ours"


@pytest.mark.parametrize("client", CLIENTS)
def test_a_good_one_is_used(client, state):
    recovers_alone(CLIENTS[client], state, None)
    recovers_alone(CLIENTS[client], state, None)  # as it lies there now
    assert destinations(state)[ADDRESS]["recoveries"] == 2


def test_told_once_however_many_operations(state):
    state.mkdir()
    three = python("""for port in 81, 82, 81:
    try: socket.create_connection(("127.0.0.1", port))
    except ConnectionRefusedError: pass""")
    told = events(run(three, state=state, **HASTY))
    assert [each["event"] for each in told] == ["unused_value"] + ["attempt_failed", "exhausted"] * 3
    text = run(three, state=state, diag_format="text", **HASTY).diag.decode().splitlines()
    named = [line for line in text if "RETRY_STATE" in line]
    assert len(named) == 1 and len(text) == 7
    assert named[0].endswith(f"RETRY_STATE={state} is not used (EISDIR); this process keeps to itself what it learns.")


@pytest.mark.parametrize("path", ["/tmp/" + "x" * 256, "/tmp/" + "./" * 2060 + "x", "/tmp" + "/." * 2046],
                         ids=["component", "whole", "whole-directory"])
def test_path_too_long(path):
    before = set(os.listdir("/tmp"))
    recovers_alone(CONNECT, path, "ENAMETOOLONG")
    assert not {name for name in set(os.listdir("/tmp")) - before if name.startswith("x")}


def test_missing_folder(state):
    recovers_alone(CONNECT, state / "deeper" / "state", "ENOENT")
    assert not state.exists()


@pytest.fixture
def public():
    """A folder that every user may enter, and nobody but root may write to."""
    with tempfile.TemporaryDirectory(prefix="public-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def test_unwritable_folder(public):
    recovers_alone(as_user(65534, CONNECT), public / "state", "EACCES", cwd="/")
    assert list(public.iterdir()) == []


def test_anothers_file_as_another_user(public):
    valid(public / "state")
    recovers_alone(as_user(65534, CONNECT), public / "state", "EACCES", cwd="/")
    os.chmod(public / "state", 0o666)
    recovers_alone(as_user(65534, CONNECT), public / "state", "it belongs to another user", cwd="/")
    assert (public / "state").read_bytes() == header().ljust(STATE_BYTES, b"\0")


@pytest.mark.parametrize("size, reason", [("64k", "ENOSPC"), ("4k", "ENOSPC"), ("208k", "ENOSPC"), ("216k", None)])
def test_full_disk(state, size, reason):
    """The last one has room for the file, and not for a page more."""
    disk = state.with_name("disk")
    disk.mkdir()
    mount = f"mount -t tmpfs -o size={size} none {disk}"
    recovers_alone(under(mount, CONNECT), disk / "state", reason)
    full = mount + f"\n! dd if=/dev/zero of={disk}/other bs=4k 2>/dev/null\n: >{disk}/state && chmod 600 {disk}/state"
    recovers_alone(under(full, CONNECT), disk / "state", "ENOSPC")


def test_holes_on_a_full_disk(state):
    """A file that somebody has copied: right in every way, and not all of it is there."""
    disk = state.with_name("disk")
    disk.mkdir()
    script = f"""mount -t tmpfs -o size=32k none {disk}
truncate -s {STATE_BYTES} {disk}/state; chmod 600 {disk}/state
! dd if=/dev/zero of={disk}/other bs=4k 2>/dev/null"""
    recovers_alone(under(script, CONNECT), disk / "state", "ENOSPC")


@pytest.mark.parametrize("there", [False, True])
def test_read_only_file_system(state, there):
    disk = state.with_name("disk")
    disk.mkdir()
    made = f"mount -t tmpfs none {disk}"
    if there:
        made += f"\nhead -c {STATE_BYTES} /dev/zero >{disk}/state\nchmod 600 {disk}/state"
    recovers_alone(under(f"{made}\nmount -o remount,ro {disk}", CONNECT), disk / "state", "EROFS")


# ---- what a process may be denied -----------------------------------------------------------------

BASH_CONNECTS = CLIENTS["bash"][2]


@pytest.mark.parametrize("blocks", [0, 1, 64])
def test_file_size_limit(state, blocks):
    """SIGXFSZ ends a process that does nothing about it, as bash does."""
    recovers_alone(["bash", "-c", f"ulimit -f {blocks}; {BASH_CONNECTS}"], state, "EFBIG")
    assert state.stat().st_size < STATE_BYTES


def test_a_file_size_limit_does_not_matter_to_one_that_is_there(state):
    recovers_alone(CONNECT, state, None)
    recovers_alone(["bash", "-c", f"ulimit -f 0; {BASH_CONNECTS}"], state, None)
    assert destinations(state)[ADDRESS]["recoveries"] == 2


def test_a_handler_of_the_programs_own_is_not_called(state):
    """The signal is ours, not its: it has written nothing. One that was pending before stays so."""
    code = """import resource, signal
signal.signal(signal.SIGXFSZ, lambda *_: print("handler"))
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
""" + CONNECT[2].split("\n", 2)[2]
    result = recovers_alone(python(code), state, "EFBIG")
    assert result.stdout == b"connected\n"


def test_no_descriptor_is_free(state):
    code = """import resource
s = socket.socket()
resource.setrlimit(resource.RLIMIT_NOFILE, (s.fileno() + 3, s.fileno() + 3))
held = []
try:
    while True: held.append(os.open("/dev/null", os.O_RDONLY))
except OSError: pass
s.connect(("127.0.0.1", PORT)); print("connected")"""
    recovers_alone(python(code), state, "EMFILE")
    assert not state.exists()


def test_no_address_space_is_left(state):
    """Less than the file takes."""
    recovers_alone(["bash", "-c", f"read size rest </proc/self/statm; ulimit -v $((size * {resource.getpagesize() // 1024} + 64)); "
                    + BASH_CONNECTS], state, "ENOMEM")


@pytest.mark.parametrize("call, error, reason", [
    ("mmap", "EPERM", "EPERM"), ("openat", "EACCES", "EACCES"), ("fallocate", "EIO", "EIO"), ("fallocate", "EDQUOT", "EDQUOT")])
def test_denied_system_call(state, call, error, reason):
    """Of these calls, the one that is about the file (strace -P)."""
    log = state.with_name("trace")
    if call == "mmap":
        valid(state)
    recovers_alone(traced(CONNECT, call, log, "-P", state, "-e", f"inject={call}:error={error}"), state, reason)
    assert "INJECTED" in log.read_text()
