"""`retryshim tail`: what it makes of each line: words, layout, colours, filters; and how it ends."""

import fcntl
import json
import os
import pty
import random
import re
import select
import signal
import subprocess
import termios
import time

import pytest

from harness import BUILD, ROOT, FaultServer, run
from network import ADDRESS, PORT, ip, network, python  # noqa: F401
from test_diagnostics import CLIENT, EVENTS, TRACE_ID, TRACEPARENT

COMMAND = BUILD / "retryshim"
NO_CONTROL = re.compile(r"[^\x00-\x09\x0b-\x1f\x7f-\x9f]*")


def environment(**extra):
    ours = ("RETRY_", "LC_", "LD_PRELOAD", "NO_COLOR")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**inherited, "LANG": "C.UTF-8", "TERM": "xterm", "TZ": "UTC-2", **extra}


def event(name="exhausted", **members):
    """A line of JSON diagnostics. None leaves a member out."""
    standard = {"ts": "2026-01-31T23:59:59.999999Z", "pid": 7, "program": "curl", "op": "0123456789abcdef",
                "operation": "connect", "target": "h:1", "event": name, "attempt": 2, "max_attempts": 2,
                "error": "ECONNREFUSED", "message": "Connection refused"}
    return json.dumps({key: value for key, value in {**standard, **members}.items() if value is not None}) + "\n"


def numbered(*numbers):
    """Events that can be told apart by their pid."""
    return "".join(event(pid=number) for number in numbers)


def pids(text):
    return [int(pid) for pid in re.findall(r"\[(\d+)\]", text)]


def undated(text):
    """Without the lines that say which day it is."""
    return re.sub(r"^(\033\[2m)?--- [\d-]{10} ---(\033\[0m)?\n", "", text, flags=re.M)


def tail(*arguments, stdin=None, check=0, prefix=(), dates=False, **extra):
    """Runs it to its end; its stdout, and its stderr if it failed as expected."""
    stdin = stdin.encode() if isinstance(stdin, str) else stdin or b""
    done = subprocess.run([*prefix, COMMAND, "tail", *map(str, arguments)], env=environment(**extra), input=stdin,
                          capture_output=True, timeout=30)
    out, told = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == check, (done.returncode, out, told)
    if check == 0:
        assert told == ""
        return out if dates else undated(out)
    return out, told


class Following:
    """One that goes on; its output, as it comes."""

    def __init__(self, *arguments, prefix=(), stdin=subprocess.DEVNULL, **extra):
        self.process = subprocess.Popen([*prefix, COMMAND, "tail", *map(str, arguments)], env=environment(**extra), stdin=stdin,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        self.shown = self.told = ""

    def more(self, seconds):
        out, err = self.process.stdout, self.process.stderr
        for ready in select.select([out, err], [], [], seconds)[0]:
            text = ready.read(65536).decode()
            self.shown += text if ready is out else ""
            self.told += text if ready is err else ""

    def until(self, condition, timeout=10):
        """Everything shown so far, once condition() holds."""
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, (self.shown, self.told)
            self.more(0.1)
        return self.shown

    def sees(self, *numbers):
        """Waits for the last of these numbered events; these have been shown in all, and no others."""
        self.until(lambda: len(pids(self.shown)) >= len(numbers) and self.shown.endswith("\n"))
        assert pids(self.shown) == list(numbers)

    def ends(self, timeout=10):
        """Its exit status."""
        self.until(lambda: self.process.poll() is not None, timeout)
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


# ---- words ----------------------------------------------------------------------------------------


def falls_back(**settings):
    with FaultServer("200", bind="127.0.0.2", port=PORT) as server:
        return run(python(CLIENT, "127.0.0.1"), max_attempts=1, fallback=f"{ADDRESS}={server.authority}", **settings)


def replayed(**settings):
    """The second request goes out on a kept connection that the server resets: libcurl sends it again."""
    with FaultServer(["503", "reset", "200"], port=PORT):
        return run(["curl", "-s", f"http://{ADDRESS}"], **settings)


def badly_set(**settings):
    return run(python(CLIENT, "127.0.0.1"), max_attempts="thr\te", fallback="nonsense", base_delay_ms=0, **settings)


def without_state(**settings):
    return run(python(CLIENT, "127.0.0.1"), max_attempts=1, **{"state": "/missing/folder/state", **settings})


@pytest.mark.usefixtures("network")
@pytest.mark.parametrize("happens", [*EVENTS, falls_back, replayed, badly_set, without_state], ids=lambda each: each.__name__)
def test_words_are_those_of_the_text(happens):
    texts = happens(diag_format="text").diag.decode().splitlines()
    words = [re.sub(r"^retryshim\[\d+\] ([0-9a-f]{16} \S+: )?", "", text) for text in texts]
    ip("route flush 192.0.2.1")  # not_retryable() adds it
    lines = tail(stdin=happens(diag_format="json").diag).splitlines()
    shown = [re.sub(r"^\S+ \w*\[\d+\] ([0-9a-f]{6} \S+: )?", "", line) for line in lines]
    # What follows from an unused value is not in the JSON.
    words = [re.sub(r"(is not used \(.*\)); .*\.$", r"\1.", text) for text in words]
    assert shown == words and words


@pytest.mark.parametrize("members, words", [
    ({"shared": 1}, "All 2 attempts failed for connect. Returning ECONNREFUSED. [another's attempt]"),
    ({"replays": 3, "shared": 1}, "Returning ECONNREFUSED. [another's attempt] [replayed by libcurl: 3]"),
    ({"event": "given_up", "reason": "retry_after"}, "Giving up connect after attempt 2 (retry_after): ECONNREFUSED: Conn"),
    ({"event": "not_retryable", "message": None}, "Non-retryable error in connect: ECONNREFUSED."),
    ({"event": "attempt_failed", "delay_ms": 749}, "Retry attempt 2/2 failed: ECONNREFUSED: Connection refused. Next attempt in 0.7s"),
    ({"event": "fallback", "fallback": "[::1]:80"}, "Falling back to [::1]:80 for connect after attempt 2: ECONNREFUSED"),
    ({"event": "fallback", "fallback": "db.example:5432"}, "Falling back to db.example:5432 for connect"),
])
def test_words(members, words):
    assert words in tail(stdin=event(**members))


def test_every_reason_has_its_words():
    """Those that the object can name."""
    reasons = re.findall(r'case REASON_\w+: return "(\w+)"', (ROOT / "shim/policy/decide.c").read_text())
    assert len(reasons) >= 8
    shown = tail(stdin="".join(event("given_up", reason=reason) for reason in reasons)).splitlines()
    assert [line.split(" (")[1].split("): ")[0] for line in shown] == reasons


@pytest.mark.parametrize("members, words", [
    ({"event": "op_paused", "error": None, "message": "a\nb", "secret": 1},
     'op_paused operation="connect" attempt=2 max_attempts=2 message="a\\nb"'),
    ({"event": "given_up", "reason": "newer"}, 'given_up operation="connect" attempt=2 max_attempts=2 error='),
    ({"event": "given_up"}, "given_up operation="),
    ({"attempt": 0}, "exhausted operation="),
    ({"attempt": 2**40}, "exhausted operation="),
    ({"max_attempts": "2"}, "exhausted operation="),
    ({"error": None}, "exhausted operation="),
    ({"event": "bad_value", "variable": "RETRY_X"}, "bad_value operation="),
    ({"event": "attempt_failed"}, "attempt_failed operation="),
])
def test_what_has_no_words_is_shown_plainly(members, words):
    assert tail(stdin=event(**members)).startswith(f"01:59:59.999 curl[7] 012345 h:1: {words}")


# ---- layout ---------------------------------------------------------------------------------------


def test_line():
    """Milliseconds are cut: rounded, they would be those of the next day."""
    assert tail(stdin=event()) == ("01:59:59.999 curl[7] 012345 h:1: All 2 attempts failed for connect. "
                                   "Returning ECONNREFUSED.\n")


@pytest.mark.parametrize("members, start", [
    ({"program": None}, "[7] 012345 h:1: All"),
    ({"pid": None}, "curl 012345 h:1: All"),
    ({"pid": None, "program": None, "target": None}, "012345 All"),
    ({"op": None, "event": "bad_value", "variable": "V"}, "curl[7] h:1: bad_value"),
    ({"target": "unix:/run/x y"}, "curl[7] 012345 unix:/run/x y: All"),
])
def test_what_is_missing_takes_no_place(members, start):
    assert tail(stdin=event(**members)).startswith(f"01:59:59.999 {start}")


@pytest.mark.parametrize("ts", ["now", "2026-01-31T23:59:59Z", "2026-01-31T23:59:59.123", "2026-01-31T23:59:59.1Z",
                                "2026-01-31T23:59:59.123+01:00", "2026-99-31T23:59:59.123Z"])
def test_no_time(ts):
    assert tail(stdin=event(ts=ts), dates=True).startswith("--:--:--.--- curl[7]")


def test_days():
    """Said before the first event that is not of today, and where another begins; local ones: it is two hours later."""
    times = ["2026-01-31T21:59:59.999Z", "2026-01-31T22:00:00.000Z", "now", "2026-01-31T23:00:00.000Z",
             "2025-02-01T01:00:00.000Z", "2025-02-01T01:00:00.000Z", "2025-01-31T23:00:00.000Z", "2026-02-01T01:00:00.000Z"]
    shown = tail(stdin="noise\n" + "".join(event(ts=ts, pid=number) for number, ts in enumerate(times)), dates=True)
    assert re.findall(r"--- .* ---|\[\d\]", shown) == [
        "--- 2026-01-31 ---", "[0]", "--- 2026-02-01 ---", "[1]", "[2]", "[3]", "--- 2025-02-01 ---", "[4]", "[5]", "[6]",
        "--- 2026-02-01 ---", "[7]"]
    first = event(ts=times[0])
    assert tail("--color=always", stdin=first, dates=True).startswith("\033[2m--- 2026-01-31 ---\033[0m\n\033[2m23:59")
    assert tail("--program=wget", stdin=first, dates=True) == ""
    while True:
        now = time.gmtime(time.time() + 2 * 3600)
        shown = tail(stdin=event(ts=time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())) + first, dates=True)
        if now.tm_yday == time.gmtime(time.time() + 2 * 3600).tm_yday:
            break
    assert re.findall(r"--- .* ---|curl", shown) == ["curl", "--- 2026-01-31 ---", "curl"]


@pytest.mark.usefixtures("network")
def test_trace():
    diag = run(python(CLIENT, "127.0.0.1"), max_attempts=1, env={"TRACEPARENT": TRACEPARENT}).diag
    assert TRACE_ID not in tail(stdin=diag)
    op = json.loads(diag)["op"][:6]
    assert f" {op}/{TRACE_ID} {ADDRESS}: " in tail("--trace", stdin=diag)


# ---- other lines, and hostile ones ----------------------------------------------------------------

OTHERS = ["plain text", "{}", "[1]", '{"event":1}', '{"event":"x"', event()[:-2], event()[:-1] + "x", "",
          '{"event":"user logged in","user":"x","level":"info"}', '{"event":"started","ts":"2026-01-31T23:59:59.999Z"}',
          *(event(**members).rstrip() for members in [
              {"ts": None}, {"ts": ""}, {"ts": 1}, {"op": None}, {"op": ""}, {"op": 1}, {"event": ""}, {"event": "exhausted\0x"},
              {"event": "bad_value"}, {"event": "unused_value", "variable": 1}])]


def test_other_lines():
    stdin = "\n".join(OTHERS) + "\n" + numbered(1)
    assert pids(tail(stdin=stdin)) == [1]
    assert tail("--all", stdin=stdin).splitlines()[:-1] == OTHERS


def test_other_lines_are_fit_for_a_terminal():
    shown = tail("--all", "--color=always", stdin=b"a\tb\x00c\x1b[31md\xff\xc3\xa9\xc2\x9b\r\n")
    assert shown == "\033[2ma b?c?[31md?\u00e9?\033[0m\n"
    assert tail("--all", stdin="\u00e9\n", LANG="C") == "?\n"


def test_carriage_returns():
    """One, at a line's end."""
    assert tail("--all", stdin="a\r\n\r\nb\rc\r\r\n\nd") == "a\n\nb?c?\n\nd\n"
    assert pids(tail(stdin=numbered(1).replace("\n", "\r\n"))) == [1]


@pytest.mark.parametrize("member", ["program", "op", "target", "operation", "error", "message", "trace_id"])
def test_nul_hides_nothing(member):
    assert "go?od" in tail("--trace", stdin=event("not_retryable", **{"trace_id": "t", member: "go\0od"}))
    if member in ("program", "target"):
        assert tail(f"--{member}=go", stdin=event(**{member: "go\0od"})) == ""


@pytest.mark.parametrize("member", ["program", "op", "target", "event", "operation", "error", "message", "trace_id", "ts"])
def test_hostile_member(member):
    nul = "" if member == "event" else "\0"  # an event of such a name is none
    nasty = f"\033]0;x\007\r\n\u009b31m\u202e\x7f{nul}end%s%n"
    for extra in {}, {"event": "fallback", "fallback": nasty}, {"event": "bad_value", "variable": nasty, "value": "1", "default": ""}:
        shown = tail("--trace", stdin=event(**{**extra, member: nasty}))
        assert shown.count("\n") == 1 and NO_CONTROL.fullmatch(shown) and "\u202e" not in shown


def test_random_bytes():
    """Lines with bytes changed here and there, some of which are still JSON."""
    dice = random.Random(1)
    lines = [event(name).encode() for name in ("exhausted", "attempt_failed", "bad_value", "fallback", "new")]
    stdin = bytearray(b"".join(dice.choice(lines) for _ in range(3000)))
    for _ in range(3000):
        stdin[dice.randrange(len(stdin))] = dice.randrange(256)
    shown = tail("--all", stdin=bytes(stdin))
    assert NO_CONTROL.fullmatch(shown) and len(shown.splitlines()) == stdin.count(b"\n") + (stdin[-1:] != b"\n")
    assert len(tail(stdin=bytes(stdin)).splitlines()) > 500


def test_endless_line():
    stdin = "x" * 1000000 + "\n" + numbered(1) + event(message="y" * 10**6) + numbered(2)
    assert pids(tail(stdin=stdin)) == [1, 2]
    assert len(tail("--all", stdin=stdin)) < 300000
    assert "z" * 900 in tail(stdin=event("not_retryable", message="z" * 60000))  # no longer than the text's own line


def test_deep_and_huge_json():
    deep = "[" * 30000 + "]" * 30000
    stdin = event().replace('"Connection refused"', deep) + event().replace("7", "9" * 400, 1) + numbered(1)
    assert tail(stdin=stdin).count("\n") == 1


# ---- filters --------------------------------------------------------------------------------------

MIXED = (event(pid=1, program="curl", target="10.1.2.3:80") + event(pid=2, program="python3", target="[::1]:443") +
         event("succeeded", pid=3, program="wget", target="db.Example.com:5432") +
         event("fallback", pid=4, program="curl", target="unix:/run/a.sock", fallback="h:1") +
         event("bad_value", pid=5, program=None, target=None, op=None, variable="V", value="x", default=""))


@pytest.mark.parametrize("arguments, seen", [
    ([], [1, 2, 3, 4, 5]),
    (["--program=curl"], [1, 4]),
    (["--program=cur?,py*"], [1, 2, 4]),
    (["--program=CURL"], []),
    (["--event=exhausted"], [1, 2]),
    (["--event=*_value,succeeded"], [3, 5]),
    (["--target=10.0.0.0/8"], [1]),
    (["--target=*:80"], [1]),
    (["--target=[::1]"], [2]),
    (["--target=*.example.com,unix:/run/*"], [3, 4]),
    (["--target=db.example.com:80"], []),
    (["--target=*"], [1, 2, 3]),
    (["--program=curl", "--event=exhausted"], [1]),
    (["--program="], []),
])
def test_filters(arguments, seen):
    assert pids(tail(*arguments, stdin="noise\n" + MIXED)) == seen


# ---- colours --------------------------------------------------------------------------------------


def on_terminal(*arguments, until=None, **extra):
    """What a terminal gets from it; ended by Ctrl-C once `until` was shown. The terminal outlives it: else it may take the
    last lines with it."""
    main, end = pty.openpty()
    process = subprocess.Popen([COMMAND, "tail", *map(str, arguments)], env=environment(**extra), stdin=end, stdout=end,
                               stderr=end, start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    shown = b""
    while select.select([main], [], [], 0.1)[0] or process.poll() is None:
        if select.select([main], [], [], 0)[0]:
            shown += os.read(main, 65536)
        if until and until in shown.decode(errors="replace"):
            until = None
            os.write(main, b"\x03")
    os.close(main)
    os.close(end)
    return process.returncode, undated(shown.decode().replace("\r\n", "\n"))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "events.jsonl"


def test_colours_on_a_terminal(file):
    ops = ["00000000", "00000000", "11111111", "22222222", "33333333"]
    file.write_text("".join(event(name, op=op, delay_ms=1) for name, op in
                            zip(["attempt_failed", "succeeded", "exhausted", "given_up", "new"], ops)))
    status, shown = on_terminal("--no-follow", file)
    lines = shown.splitlines()
    assert status == 0 and re.sub(r"\033\[\d*m", "", shown) == tail("--no-follow", file)
    assert all(line.startswith("\033[2m01:59:59.999\033[0m curl[7] \033[") for line in lines)
    of_op = [re.search(r"\] \033\[(\d+)m\d+\033\[0m h:1: ", line)[1] for line in lines]
    assert of_op[0] == of_op[1] and len(set(of_op)) >= 3
    assert [re.search(r"h:1: (?:\033\[(\d+)m)?\w", line)[1] for line in lines] == ["33", "32", "31", "31", None]
    assert tail("--color=always", "--no-follow", file) == tail("--color", "--no-follow", file, NO_COLOR="1") == shown


@pytest.mark.parametrize("arguments, extra", [([], {"NO_COLOR": "1"}), ([], {"TERM": "dumb"}), (["--color=never"], {})], ids=str)
def test_no_colours_on_a_terminal(file, arguments, extra):
    file.write_text(numbered(1))
    assert on_terminal("--no-follow", *arguments, file, **extra) == (0, tail("--no-follow", file))
    assert "\033" in on_terminal("--no-follow", file, NO_COLOR="")[1]


# ---- how it ends ----------------------------------------------------------------------------------


def test_ctrl_c(file):
    file.write_text(numbered(1))
    assert on_terminal(file, until="Returning ECONNREFUSED.")[0] == -signal.SIGINT


def test_reader_that_has_gone(file):
    """Nothing is written meanwhile: the next event may be days away."""
    file.write_text(numbered(1, 2))
    with Following(file) as it:
        it.sees(1, 2)
        it.process.stdout.close()
        assert it.process.wait(10) == -signal.SIGPIPE
        assert it.process.stderr.read() == b""


@pytest.mark.parametrize("arguments", [["--no-follow"], []], ids=str)
def test_full_disk(file, arguments):
    file.write_text(numbered(1))
    with open("/dev/full", "w") as full:
        done = subprocess.run([COMMAND, "tail", *arguments, file], env=environment(), timeout=30, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr == b"retryshim: cannot write to standard output: No space left on device\n"


@pytest.mark.parametrize("text", ["", numbered(1)], ids=["empty", "event"])
def test_closed_standard_output(file, text):
    """Said at once, not with the first event; and no file is opened in its place."""
    file.write_text(text)
    told = tail(file, check=1, prefix=["sh", "-c", 'exec "$@" >&-', "sh"])[1]
    assert told == "retryshim: cannot write to standard output: Bad file descriptor\n"


@pytest.mark.parametrize("redirection", ['"$@" "$0" >> "$0"', '"$@" < "$0" >> "$0"', '"$@" --no-follow - "$0" < /dev/null >> "$0"'])
def test_output_that_is_read(file, redirection):
    """It would feed itself."""
    file.write_text("noise\n")
    told = tail("--all", "-n", "+1", check=1, prefix=["sh", "-c", f"exec {redirection}", file])[1]
    name = "standard input" if redirection.startswith('"$@" <') else f"'{file}'"
    assert told == f"retryshim: cannot read {name}: it is standard output as well\n"
    assert file.read_text() == "noise\n"


def test_output_that_takes_the_name_of_an_input(file, tmp_path):
    with open(tmp_path / "out", "wb") as out:
        process = subprocess.Popen([COMMAND, "tail", "--all", file], env=environment(), stdout=out, stderr=subprocess.PIPE)
    assert b"waiting for" in process.stderr.readline()
    (tmp_path / "out").rename(file)
    assert b"it is standard output as well" in process.communicate(timeout=10)[1] and process.returncode == 1


@pytest.mark.parametrize("arguments, message", [
    (["--frobnicate"], "'--frobnicate'"),
    (["-n"], "requires an argument"),
    (["--all=1"], "doesn't allow an argument"),
    (["--color=red"], "--color: 'red'"),
    (["--color="], "--color: ''"),
    (["--target=a b"], "--target: 'a b'"),
    (["-", "file", "-"], "standard input (-) is given more than once"),
    *((["-n", text], f"-n: '{text}'") for text in ["", "+", "-1", "x", "1k", "++1", " 1", "99999999999999999999"]),
], ids=str)
def test_bad_arguments(arguments, message):
    out, told = tail(*arguments, check=2)
    assert out == "" and message in told and "--help" in told


def test_help_lists_every_option():
    text = tail("--help")
    options = set(re.findall(r'^\s*\{"([\w-]+)", (?:KEY_|\')', (ROOT / "shim/cli/tail.c").read_text(), re.M))
    assert len(options) == 12 and options == set(re.findall(r"^ .{5}--([\w-]+)", text, re.M))
    assert max(map(len, text.splitlines())) < 80
    assert "-n is for files" in text and "cut off within a second of being written may be lost" in text.replace("\n", " ")
    assert subprocess.check_output([COMMAND, "help", "tail"], text=True) == text
    assert "\n  tail " in subprocess.check_output([COMMAND, "help"], text=True)
