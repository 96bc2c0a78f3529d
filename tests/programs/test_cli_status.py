"""`retryshim status`: what it shows of states that real programs have made, and of files that nobody should trust."""

import contextlib
import errno
import fcntl
import json
import os
import pty
import random
import re
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest

from harness import BUILD, FaultServer, need, run, wait_until
from network import ADDRESS, PORT, Running, late_server, network, python, with_files  # noqa: F401

COMMAND = BUILD / "retryshim"

# include/retryshim/host.h
MAGIC, LAYOUT, PLACES, PLACE_BYTES, HEADER_BYTES, NAME_BYTES = 0x33796873792D7274, 3, 512, 248, 4096, 136
SERIES, SERIES_BYTES = 256, 328
STATE_BYTES = HEADER_BYTES + PLACES * PLACE_BYTES + SERIES * SERIES_BYTES
WORDS = ["tag", "used", "bucket", "circuit", "floor", "evidence", "claim", "failure", "opened_by", "attempts", "retries",
         "recoveries", "exhausted"]
CONNECT, RESOLVE, CURL, HTTP = range(4)
OPEN, HALF_OPEN = 1, 2

# The two kinds of destination that most tests want: one refuses, one is there.
REFUSED = python("""for port in map(int, sys.argv[1:]):
    try: socket.create_connection(("127.0.0.1", port))
    except ConnectionRefusedError: pass""")
CONNECTED = python('socket.create_connection(("127.0.0.1", PORT))')


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


def environment(**extra):
    ours = ("RETRY_", "LC_", "LD_PRELOAD", "NO_COLOR")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**inherited, "LANG": "C.UTF-8", "TERM": "xterm", **extra}


def status(*arguments, check=0, prefix=(), **extra):
    """Runs it; its stdout, and its stderr if it failed as expected."""
    done = subprocess.run([*prefix, COMMAND, "status", *map(str, arguments)], env=environment(**extra), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
    out, told = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == check, (done.returncode, out, told)
    if check == 0:
        assert told == ""
        return out
    return out, told


def rows(text):
    """A table's lines, each as {title: cell}."""
    titles, *lines = [re.split(r" {2,}", line) for line in text.splitlines()]
    assert all(len(line) == len(titles) for line in lines), text
    return [dict(zip(titles, line)) for line in lines]


def table(state, **extra):
    return rows(status("--state", state, **extra))


def destinations(state, **extra):
    seen = json.loads(status("--state", state, "--json", **extra))
    assert seen["path"] == str(state)
    return seen["destinations"]


def fails(state, *ports, **options):
    """One operation after another that uses up its attempts."""
    options = {"max_attempts": 2, "base_delay_ms": 10, **options}
    assert run([*REFUSED, *map(str, ports)], state=state, **options).returncode == 0


def place(name, **words):
    """One destination as it lies in the file."""
    values = {"tag": 1, **words}
    return struct.pack("=13Q2I136s", *(values.get(word, 0) for word in WORDS), 0, 0,
                       name if isinstance(name, bytes) else name.encode())


def write(path, *places, magic=MAGIC, layout=LAYOUT, filler=b""):
    header = struct.pack("=QIIIII", magic, layout, PLACES, PLACE_BYTES, SERIES, SERIES_BYTES).ljust(HEADER_BYTES, b"\0")
    body = b"".join(places) + filler
    path.write_bytes((header + body).ljust(STATE_BYTES, b"\0"))
    path.chmod(0o600)
    return path


def evidence(source, code, age_s=0.0):
    at_us = time.monotonic_ns() // 1000 - int(age_s * 1e6)
    return (at_us & (1 << 48) - 1) << 16 | (code & 0xFFF) << 4 | source << 1


def circuit(state, failures=0, age_ms=0):
    return (time.monotonic_ns() // 1000000 - age_ms) << 22 | failures << 2 | state


# ---- what real programs have left -----------------------------------------------------------------


@pytest.mark.usefixtures("network")
class TestRealStates:
    def test_table_and_json_agree(self, state):
        fails(state, 81, 81)
        with Running(CONNECTED, state=state, base_delay_ms=100, multiplier=1, max_attempts=100) as program:
            with late_server(program):
                retries = len(program.events("attempt_failed")) if program.result().returncode == 0 else None
        by_target = {each["target"]: each for each in destinations(state)}
        assert list(by_target) == [ADDRESS, "127.0.0.1:81"]  # the latest failure first
        expected = {"circuit": "closed", "probe_in_ms": None, "floor_ms": 0, "burst": 10, "last_failure": "ECONNREFUSED"}
        for each, counts in [(by_target[ADDRESS], {"failures_in_a_row": 0, "attempts": retries + 1, "retries": retries,
                                                   "recoveries": 1, "exhausted": 0}),
                             (by_target["127.0.0.1:81"], {"failures_in_a_row": 2, "attempts": 4, "retries": 2,
                                                          "recoveries": 0, "exhausted": 2})]:
            assert {key: each[key] for key in {**expected, **counts}} == {**expected, **counts}
            assert 0 <= each["last_failure_age_ms"] < 60000
            assert 10 - each["retries"] <= each["tokens"] <= 10
        assert by_target["127.0.0.1:81"]["last_failure_age_ms"] >= by_target[ADDRESS]["last_failure_age_ms"]
        for row, each in zip(table(state), destinations(state)):
            assert "FLOOR" not in row
            assert (row["TARGET"], row["CIRCUIT"], row["LAST FAILURE"]) == (each["target"], "closed", "ECONNREFUSED")
            assert re.fullmatch(r"\d+s ago", row["WHEN"])
            tokens, burst = row["TOKENS"].split("/")
            assert abs(float(tokens) - each["tokens"]) < 1 and burst == "10"
            for title in "ATTEMPTS", "RETRIES", "RECOVERIES", "EXHAUSTED":
                assert row[title] == str(each[title.lower()])

    def test_open_circuit(self, state):
        fails(state, 81, 81, max_attempts=1, breaker_threshold=2)
        [seen] = destinations(state)
        assert (seen["circuit"], seen["failures_in_a_row"]) == ("open", 2) and 0 < seen["probe_in_ms"] <= 30000
        assert re.fullmatch(r"open, probe in \d\d?s", table(state)[0]["CIRCUIT"])
        assert re.fullmatch(r"open, probe in 59m", table(state, RETRY_BREAKER_OPEN_MS="3599000")[0]["CIRCUIT"])
        assert table(state, RETRY_BREAKER_OPEN_MS="1")[0]["CIRCUIT"] == "open, probe due"
        assert destinations(state, RETRY_BREAKER_OPEN_MS="1")[0]["probe_in_ms"] == 0

    def test_half_open_circuit(self, state):
        fails(state, PORT, max_attempts=1, breaker_threshold=1)
        options = {"base_delay_ms": 200, "multiplier": 1, "max_attempts": 100}
        with Running(CONNECTED, state=state, breaker_open_ms=1, **options) as probe:
            probe.wait("attempt_failed")
            assert table(state)[0]["CIRCUIT"] == "half-open"
            with late_server(probe):
                assert probe.result().returncode == 0
        assert table(state)[0]["CIRCUIT"] == "closed"

    def test_floor_has_a_column_if_there_is_one(self, state):
        fails(state, 81)
        with FaultServer("429") as server:
            run(["curl", "-s", server.url], state=state, max_attempts=1, base_delay_ms=20000)
            limited, refused = table(state)
            assert (limited["TARGET"], limited["FLOOR"], limited["LAST FAILURE"]) == (server.authority, "20s", "HTTP 429")
        assert refused["FLOOR"] == "-"
        assert [each["floor_ms"] for each in destinations(state)] == [20000, 0]

    def test_failures_of_libcurl_and_the_resolver(self, state):
        run(["curl", "-s", f"http://{ADDRESS}/"], state=state, max_attempts=2)
        lookup = python('try: socket.getaddrinfo("host.test", PORT)\nexcept OSError: pass')
        run(with_files(lookup, resolv_conf="nameserver 127.0.0.1\\noptions timeout:1 attempts:1\\n",
                       nsswitch_conf="hosts: files dns\\n", hosts="127.0.0.1 localhost\\n"), state=state, max_attempts=2)
        seen = {row["TARGET"].partition(":")[0]: row["LAST FAILURE"] for row in table(state)}
        assert seen == {"host.test": "EAI_AGAIN", "127.0.0.1": "CURLE_COULDNT_CONNECT"}

    def test_budget_of_the_environment(self, state):
        fails(state, 81)
        assert table(state, RETRY_BUDGET_BURST="2.5", RETRY_BUDGET_PER_SEC="0")[0]["TOKENS"] == "1.5/2.5"
        assert table(state, RETRY_BUDGET="off")[0]["TOKENS"] == "off"
        [seen] = destinations(state, RETRY_BUDGET="off")
        assert (seen["tokens"], seen["burst"]) == (None, None)
        assert table(state, RETRY_BUDGET_BURST="nonsense")[0]["TOKENS"].endswith("/10")

    def test_file_of_the_environment(self, state, tmp_path):
        fails(state, 81)
        assert rows(status(RETRY_STATE=str(state))) == table(state)
        assert rows(status(f"--state={state}", RETRY_STATE=str(tmp_path / "other"))) == table(state)
        assert "other does not exist" in status(RETRY_STATE=str(tmp_path / "other"))

    def test_looking_changes_nothing(self, state):
        fails(state, 81)
        before = state.read_bytes(), os.stat(state).st_mtime_ns
        status("--state", state)
        status("--state", state, "--json")
        assert (state.read_bytes(), os.stat(state).st_mtime_ns) == before

    def test_reset_of_one(self, state):
        fails(state, 81, 82)
        assert status("--state", state, "--reset", "127.0.0.1:81") == "Forgot 1 destination.\n"
        assert [row["TARGET"] for row in table(state)] == ["127.0.0.1:82"]
        assert status("--state", state, "--reset=127.0.0.1:82") == "Forgot 1 destination.\n"
        assert status("--state", state) == f"No destination has failed yet ({state} lists none).\n"
        fails(state, 81)
        assert [(each["target"], each["attempts"]) for each in destinations(state)] == [("127.0.0.1:81", 2)]

    def test_reset_of_all(self, state):
        fails(state, 81, 82, 83, breaker_threshold=1)
        assert status("--state", state, "--reset") == "Forgot 3 destinations.\n"
        assert destinations(state) == []
        assert status("--state", state, "--reset") == f"No destination has failed yet ({state} lists none).\n"

    def test_reset_of_a_name_with_an_address(self, state):
        run(with_files(python('try: socket.create_connection(("db.test", PORT))\nexcept OSError: pass'),
                       nsswitch_conf="hosts: files\\n", hosts="127.0.0.1 db.test\\n127.0.0.2 db.test\\n"),
            state=state, max_attempts=1)
        names = sorted(row["TARGET"] for row in table(state))
        assert all(name.startswith(f"db.test:{PORT} (127.0.0.") for name in names) and names
        status("--state", state, "--reset", f"db.test:{PORT}", check=1)
        assert status("--state", state, "--reset", names[0]) == "Forgot 1 destination.\n"
        assert sorted(row["TARGET"] for row in table(state)) == names[1:]

    def test_reset_under_a_program_in_its_backoff(self, state):
        with Running(CONNECTED, state=state, base_delay_ms=200, multiplier=1, max_attempts=100) as program:
            program.wait("attempt_failed")
            assert status("--state", state, "--reset") == "Forgot 1 destination.\n"
            with late_server(program):
                assert program.result().returncode == 0

    def test_watch_sees_changes(self, state, tmp_path):
        with watching(state, tmp_path) as (process, seen):
            seen("does not exist")
            fails(state, 81)
            seen("127.0.0.1:81 ")
            os.rename(state, tmp_path / "away")
            seen("does not exist")
            state.write_text("no state")
            wait_until(lambda: "Delete it" in (tmp_path / "stderr").read_text())
            os.rename(tmp_path / "away", state)
            seen("127.0.0.1:81 ")
            process.send_signal(signal.SIGINT)
            assert process.wait(10) in (-signal.SIGINT, 130)
            text = (tmp_path / "stdout").read_text()
        assert "\033" not in text
        for block in text.strip("\n").split("\n\n"):
            assert block.startswith(("No destination has failed yet", "TARGET ")), text

    def test_watch_with_json_is_a_line_each(self, state, tmp_path):
        with watching(state, tmp_path, "--json") as (process, seen):
            seen('"destinations":[]')
            fails(state, 81)
            seen("127.0.0.1:81")
            process.terminate()
            process.wait(10)
            lines = (tmp_path / "stdout").read_text().splitlines()
        assert json.loads(lines[0])["destinations"] == [] and json.loads(lines[-1])["destinations"] != []


@contextlib.contextmanager
def watching(state, tmp_path, *arguments):
    """A --watch that writes to files; and a function that waits until it has shown a text once more."""
    out = tmp_path / "stdout"
    offset = 0

    def seen(text):
        nonlocal offset

        def shown():
            found = out.read_text().find(text, offset)
            return found + len(text) if found >= 0 else 0
        offset = wait_until(shown, what=text)

    with open(out, "w") as stdout, open(tmp_path / "stderr", "w") as stderr:
        process = subprocess.Popen([COMMAND, "status", "--state", state, "--watch=0.1", *arguments], env=environment(),
                                   stdout=stdout, stderr=stderr)
    try:
        yield process, seen
    finally:
        process.kill()
        process.wait()


def test_watch_ends_when_nothing_can_be_written(state):
    with open("/dev/full", "w") as full:
        done = subprocess.run([COMMAND, "status", "--state", state, "--watch"], env=environment(), timeout=30, stdout=full,
                              stderr=subprocess.PIPE)
    assert done.returncode == 1 and done.stderr.startswith(b"retryshim: cannot write to standard output")


# ---- facts from words -----------------------------------------------------------------------------


@pytest.mark.parametrize("source, code, symbol", [
    (CONNECT, errno.ECONNREFUSED, "ECONNREFUSED"),
    (CONNECT, 2047, "errno 2047"),
    (RESOLVE, -3, "EAI_AGAIN"),
    (RESOLVE, -11, "EAI_SYSTEM"),
    (RESOLVE, 77, "EAI 77"),
    (CURL, 7, "CURLE_COULDNT_CONNECT"),
    (CURL, 2000, "CURLE_2000"),
    (HTTP, 503, "HTTP 503"),
    (HTTP, -2048, "HTTP -2048"),
])
def test_symbol(state, source, code, symbol):
    write(state, place("t:1", failure=evidence(source, code)))
    assert table(state)[0]["LAST FAILURE"] == symbol
    assert destinations(state)[0]["last_failure"] == symbol


@pytest.mark.parametrize("age_s, text", [
    (0.5, "0s ago"), (3.5, "3s ago"), (59, "59s ago"), (61, "1m ago"), (3601, "1h ago"), (180001, "2d ago"), (-100, "-"),
])
def test_age(state, age_s, text):
    up_s = 200000  # longer than this machine may have been
    prefix = [need("unshare"), "--time", "--monotonic", str(up_s)]
    write(state, place("t:1", failure=evidence(CONNECT, errno.ETIMEDOUT, age_s - up_s)))
    assert table(state, prefix=prefix)[0]["WHEN"] == text
    age_ms = destinations(state, prefix=prefix)[0]["last_failure_age_ms"]
    assert age_ms is None if age_s < 0 else age_s * 1000 <= age_ms < age_s * 1000 + 30000


def test_latest_failure_first_and_unknown_ones_last(state):
    ages = {"b:1": 5, "a:1": 1, "future:1": -500, "c:1": 3}
    write(state, place("never:1"), place("free:1", tag=0, failure=1), place("being-made:1", tag=2, failure=1),
          *(place(name, failure=evidence(CONNECT, errno.ECONNREFUSED, age)) for name, age in ages.items()))
    assert [row["TARGET"] for row in table(state)] == ["a:1", "c:1", "b:1", "future:1", "never:1"]
    last = table(state)[-1]
    assert (last["LAST FAILURE"], last["WHEN"]) == ("-", "-")
    assert destinations(state)[-1]["last_failure"] is None


def test_circuit_since_the_future_holds_nobody_up(state):
    write(state, place("t:1", circuit=circuit(OPEN, 5, age_ms=-10**6)), place("u:1", circuit=circuit(3, 5)))
    assert [row["CIRCUIT"] for row in table(state)] == ["open, probe due", "closed"]


def test_largest_numbers(state):
    most = 2**64 - 1
    write(state, place("t:1", **{word: most for word in WORDS}))
    assert destinations(state)[0]["attempts"] == most and table(state)[0]["EXHAUSTED"] == str(most)


# ---- hostile content ------------------------------------------------------------------------------


def test_random_bytes(state):
    shown = 0
    for seed in range(100):
        write(state, filler=random.Random(seed).randbytes(PLACES * PLACE_BYTES))
        seen = destinations(state, LANG=["C", "C.UTF-8"][seed % 2])
        assert {each["circuit"] for each in seen} <= {"closed", "open", "half-open"}
        shown += len(seen)
        text = status("--state", state, LANG=["C.UTF-8", "C"][seed % 2])
        assert len(text.splitlines()) == len(seen) + 1
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
        assert seed % 2 == 0 or text.isascii()
    assert shown > 100 * PLACES * 0.4


# name in the file: what the table shows, what JSON holds
NAMES = {
    b"plain:1": ("plain:1", "plain:1"),
    b"\x1b[31mred\x07:1": ("?[31mred?:1", "\x1b[31mred\x07:1"),
    b"line\nbreak\r:1": ("line?break?:1", "line\nbreak\r:1"),
    b'quo"te\\:1': ('quo"te\\:1', 'quo"te\\:1'),
    b"unix:/tmp/\xc3\xa9": ("unix:/tmp/\u00e9", "unix:/tmp/\u00e9"),
    b"bad\xff\xc3:1": ("bad??:1", "bad\ufffd\ufffd:1"),
    b"overlong\xc0\x80\xe0\x80\x80": ("overlong?????", "overlong" + 5 * "\ufffd"),
    b"surrogate\xed\xa0\x80": ("surrogate???", "surrogate\ufffd\ufffd\ufffd"),
    b"beyond\xf4\x90\x80\x80": ("beyond????", "beyond" + 4 * "\ufffd"),
    "c1\u009b31m:1".encode(): ("c1?31m:1", "c1\u009b31m:1"),
    "turned\u202eback:1".encode(): ("turned?back:1", "turned\u202eback:1"),
    "\u5bb6:1".encode(): ("\u5bb6:1", "\u5bb6:1"),
    "\U0001f600:1".encode(): ("\U0001f600:1", "\U0001f600:1"),
    b"": ("-", ""),
    b"x" * NAME_BYTES: ("x" * NAME_BYTES, "x" * NAME_BYTES),
    b"y" * (NAME_BYTES - 1) + b"\xc3": ("y" * (NAME_BYTES - 1) + "?", "y" * (NAME_BYTES - 1) + "\ufffd"),
    b"%s%n:1": ("%s%n:1", "%s%n:1"),
}


@pytest.mark.parametrize("name", NAMES)
def test_hostile_name(state, name):
    shown, in_json = NAMES[name]
    write(state, place(name), place("other:1"))
    assert shown in {row["TARGET"] for row in table(state)}
    assert in_json in {each["target"] for each in destinations(state)}
    assert status("--state", state, "--reset", shown) == "Forgot 1 destination.\n"
    assert [row["TARGET"] for row in table(state)] == ["other:1"]


def test_columns_stand_below_each_other(state):
    write(state, place("\u5bb6\u5bb6:1"), place("caf\u00e9:1"), place("plain-name:1"))
    lines = status("--state", state).splitlines()
    columns = {line.index("closed") + len(re.findall("\u5bb6", line)) for line in lines[1:]}
    assert columns == {lines[0].index("CIRCUIT")}


def test_all_of_one_name_are_forgotten(state):
    write(state, place("same:1", tag=3), place("other:1", tag=5), place("same:1", tag=7))
    assert status("--state", state, "--reset", "same:1") == "Forgot 2 destinations.\n"
    assert [row["TARGET"] for row in table(state)] == ["other:1"]


def test_reset_leaves_words_of_zero(state):
    write(state, place("t:1", **{word: 2**64 - 1 for word in WORDS}))
    status("--state", state, "--reset")
    words = dict(zip(WORDS, struct.unpack_from("=13Q", state.read_bytes(), HEADER_BYTES)))
    assert {word for word, value in words.items() if value != 0} == {"used"}


# ---- files that are not there, or not ours ---------------------------------------------------------


@pytest.mark.parametrize("content", [None, b"", bytes(STATE_BYTES)], ids=["missing", "empty", "zeros"])
def test_nothing_yet(state, content):
    why = "does not exist"
    if content is not None:
        state.write_bytes(content)
        state.chmod(0o600)
        why = "lists none"
    for arguments in [], ["--reset"]:
        assert status("--state", state, *arguments) == f"No destination has failed yet ({state} {why}).\n"
    assert destinations(state) == []
    _, told = status("--state", state, "--reset", "h:1", check=1)
    assert f"no destination 'h:1' in {state}" in told
    assert (state.read_bytes() if state.exists() else None) == content


def test_default_path():
    user = 54321  # has no file yet
    prefix = [need("setpriv"), "--reuid", str(user), "--clear-groups"]
    assert status(prefix=prefix) == f"No destination has failed yet (/dev/shm/retryshim-{user} does not exist).\n"


def link(state):
    state.symlink_to(write(state.with_name("real"), place("t:1")))


def truncated(state):
    write(state, place("t:1"))
    os.truncate(state, 5000)


def other_owner(state):
    os.chown(write(state, place("t:1")), 12345, -1)


DISTRUSTED = {
    "truncated": (truncated, "of another size", "Delete it"),
    "version": (lambda state: write(state, place("t:1"), layout=99), "another version", "Delete it"),
    "magic": (lambda state: write(state, place("t:1"), magic=1), "another version", "Delete it"),
    "owner": (other_owner, "belongs to another user", "user 12345"),
    "mode": (lambda state: write(state, place("t:1")).chmod(0o666), "other users may open it", "chmod 600"),
    "link": (link, "symbolic link", "Name the file itself"),
    "folder": (lambda state: state.mkdir(), "", ""),
    "fifo": (lambda state: os.mkfifo(state, 0o600), "no regular file", "Remove it"),
    "device": (lambda state: state.symlink_to("/dev/zero"), "symbolic link", ""),
}


@pytest.mark.parametrize("make, why, what", DISTRUSTED.values(), ids=DISTRUSTED)
def test_distrusted_file(state, make, why, what):
    make(state)
    for arguments in [], ["--json"], ["--reset"], ["--reset", "t:1"]:
        out, told = status("--state", state, *arguments, check=1)
        assert out == "" and told.startswith("retryshim: ") and told.count("\n") == 1
        assert str(state) in told and why in told and what in told


def test_file_that_is_cut_off_again_and_again(state):
    whole = write(state, place("t:1", failure=evidence(HTTP, 503))).read_bytes()
    script = """start = bytes.fromhex(sys.argv[3])
while True:
    with open(sys.argv[1], "r+b") as file:
        file.truncate(0)
        file.truncate(int(sys.argv[2]))
        file.write(start)"""
    writer = subprocess.Popen(python(script, state, str(len(whole)), whole[:HEADER_BYTES + PLACE_BYTES].hex()))
    try:
        for turn in range(90):
            arguments = ["--reset"] if turn % 3 == 2 else ["--json"]
            done = subprocess.run([COMMAND, "status", "--state", state, *arguments], env=environment(), timeout=30,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            assert done.returncode in (0, 1), done
            assert writer.poll() is None
    finally:
        writer.kill()
        writer.wait()


# ---- terminals ------------------------------------------------------------------------------------


def on_terminal(*arguments, lines=24, until=None, **extra):
    """What a terminal gets from it; ended by Ctrl-C once `until` was shown."""
    main, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("4H", lines, 200, 0, 0))
    process = subprocess.Popen([COMMAND, "status", *map(str, arguments)], env=environment(**extra), stdin=end, stdout=end,
                               stderr=end, start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    os.close(end)
    shown = b""
    with contextlib.suppress(OSError):  # EIO: the other end is closed
        while chunk := os.read(main, 65536):
            shown += chunk
            if until and until in shown.decode(errors="replace"):
                until = None
                os.write(main, b"\x03")
    process.wait(10)
    os.close(main)
    return process.returncode, shown.decode().replace("\r\n", "\n")


def three_circuits(state):
    return write(state, place("a:1", failure=evidence(HTTP, 503, 1), circuit=circuit(OPEN)),
                 place("b:1", failure=evidence(HTTP, 503, 2), circuit=circuit(HALF_OPEN)),
                 place("c:1", failure=evidence(HTTP, 503, 3)))


def test_colours_on_a_terminal(state):
    three_circuits(state)
    returncode, shown = on_terminal("--state", state)
    assert returncode == 0
    assert re.search(r"a:1 +\033\[31mopen, probe in \d+s\033\[0m ", shown)
    assert re.search(r"b:1 +\033\[33mhalf-open\033\[0m ", shown)
    assert re.search(r"c:1 +\033\[32mclosed\033\[0m ", shown)
    plain = re.sub(r"\033\[\d*m", "", shown)
    assert rows(plain)[0].keys() == table(state)[0].keys()
    assert len({line.index("/10") for line in plain.splitlines()[1:]}) == 1


@pytest.mark.parametrize("extra", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_no_colours_on_a_terminal(state, extra):
    assert "\033" not in on_terminal("--state", three_circuits(state), **extra)[1]
    assert "\033" in on_terminal("--state", state, NO_COLOR="")[1]


def test_no_colours_elsewhere(state):
    assert "\033" not in status("--state", three_circuits(state))
    assert "\033" not in on_terminal("--state", state, "--json")[1]


def test_watch_clears_the_screen_and_ends_on_ctrl_c(state):
    write(state, *(place(f"h{n}:1", tag=2 * n + 1) for n in range(20)))
    returncode, shown = on_terminal("--watch=0.1", "--state", state, lines=10, until="more\r\n\033[H\033[J")
    assert returncode in (-signal.SIGINT, 130)
    first = shown.split("\033[H\033[J")[1]
    assert len(first.splitlines()) == 9 and first.endswith("... and 13 more\n")


# ---- arguments ------------------------------------------------------------------------------------


def test_state_off(state):
    for out, told in [status(check=2, RETRY_STATE="off"), status("--json", "--state", "off", check=2),
                      status("--reset", RETRY_STATE="off", check=2)]:
        assert out == "" and "RETRY_STATE" in told and "--state" in told
    assert status("--state", state, RETRY_STATE="off").startswith("No destination")


@pytest.mark.parametrize("arguments, message", [
    (["--frobnicate"], "'--frobnicate'"),
    (["-x"], "'x'"),
    (["--state"], "'--state' requires an argument"),
    (["--state="], "--state: ''"),
    (["--json=1"], "'--json' doesn't allow an argument"),
    (["h:1"], "unexpected argument 'h:1'"),
    (["--watch", "2"], "unexpected argument '2' (seconds are written --watch=SECONDS)"),
    (["--reset", "a:1", "b:1"], "unexpected argument 'b:1'"),
    (["--reset=a:1", "b:1"], "unexpected argument 'b:1'"),
    (["--reset", "--json"], "--reset goes with neither"),
    (["--watch", "--reset"], "--reset goes with neither"),
    *(([f"--watch={text}"], f"--watch: '{text}' is not a number of seconds")
      for text in ["", "0", "0.05", "-1", "x", "1,5", "1e3", "nan", "86401", "99999999999999999999", "."]),
], ids=str)
def test_bad_arguments(arguments, message):
    out, told = status(*arguments, check=2)
    assert out == "" and message in told and "--help" in told


@pytest.mark.parametrize("text", ["0.1", "2", "1.5", "2s", "500ms", "1m", ".5"])
def test_interval(state, tmp_path, text):
    with open(tmp_path / "stdout", "w") as stdout:
        process = subprocess.Popen([COMMAND, "status", "--state", state, f"--watch={text}"], env=environment(), stdout=stdout)
    wait_until(lambda: "No destination" in (tmp_path / "stdout").read_text())
    process.terminate()
    assert process.wait(10) == -signal.SIGTERM


def test_an_empty_destination_is_not_all(state):
    write(state, place("t:1"))
    status("--state", state, "--reset", "", check=1)
    status("--state", state, "--reset=", check=1)
    assert len(table(state)) == 1


def test_help_lists_every_option():
    text = status("--help")
    source = (Path(__file__).resolve().parents[2] / "shim/cli/status.c").read_text()
    options = set(re.findall(r'^\s*\{"(\w+)", (?:KEY_|\'h\')', source, re.M))
    assert options == {"state", "json", "watch", "reset", "help", "usage"}
    assert options == set(re.findall(r"--(\w+)", text.split("\nTARGET")[0].split("\n\n", 1)[1]))
    assert "Examples:" in text and "Exit status:" in text
    assert max(map(len, text.splitlines())) <= 80
