"""`retryshim report` as a command: what it reads, what it refuses, and that nothing in the data gets out of its place."""

import json
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

from harness import run
from report_page import COMMAND, data, exhausted, given_up, lines, not_retryable, recovered, report

TWO = lines(recovered(), exhausted())
# Each is one line, and no event of ours.
NO_EVENTS = {
    "text": b"retryshim[1] 087867dc479ec7a4 db:5432: Retry attempt 1/5 failed",
    "nothing": b"",
    "not an object": b'["event"]',
    "half a line": TWO.splitlines()[0][:-9],
    "two objects": TWO.splitlines()[0] * 2,
    "another program's": b'{"ts":"2026-03-01T12:00:00Z","op":"1","event":"user_logged_in"}',
    "no operation": b'{"ts":"2026-03-01T12:00:00Z","event":"succeeded"}',
    "no time": b'{"op":"1","event":"succeeded"}',
    "a name that goes on": rb'{"ts":"2026-03-01T12:00:00Z","op":"1","event":"succeeded\u0000x"}',
    "event is no text": b'{"ts":"2026-03-01T12:00:00Z","op":"1","event":{"event":"succeeded"}}',
    "bytes that are no UTF-8": TWO.splitlines()[0].replace(b"curl", b"c\xff\xferl"),
    "NUL between": b"\0".join([b'{"ts":"2026-03-01T12:00:00Z"', b'"op":"1","event":"succeeded"}']),
    "NUL alone": b"\0",
    "ten megabytes": b'{"ts":"2026-03-01T12:00:00Z","op":"1","event":"succeeded","target":"' + b"x" * 10_000_000 + b'"}',
    "ten megabytes of nothing": b" " * 10_000_000,
    "nested without end": b'{"event":' * 30_000,
    "nested deeply": b"[" * 30_000 + b"]" * 30_000,
    "numbers beyond all": b'{"ts":"2026-03-01T12:00:00Z","op":"1","event":"succeeded","pid":' + b"9" * 400 + b"}",
}


class TestCommand:
    @pytest.mark.parametrize("arguments", [["report", "--help"], ["report", "-h"], ["help", "report"]])
    def test_help(self, arguments):
        done = subprocess.run([COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("Usage: retryshim report [OPTION...] [FILE...] > report.html\n")
        assert "--title=TEXT" in done.stdout and "Exit status:" in done.stdout

    def test_listed(self):
        done = subprocess.run([COMMAND, "help"], stdout=subprocess.PIPE, timeout=20, text=True)
        assert re.search(r"^  report +make an HTML page", done.stdout, re.MULTILINE)

    def test_unknown_option(self):
        assert "unrecognized option '--colour'" in report("--colour", check=2)

    def test_terminal_is_refused(self):
        controller, terminal = pty.openpty()
        done = subprocess.run([COMMAND, "report", "/dev/null"], stdout=terminal, stderr=subprocess.PIPE, timeout=20, text=True)
        os.close(terminal)
        os.set_blocking(controller, False)
        with pytest.raises(OSError):  # the end, or nothing there: either way not one byte
            assert os.read(controller, 1) is None
        os.close(controller)
        assert done.returncode == 2
        assert "standard output is a terminal; redirect it: retryshim report FILE > report.html" in done.stderr

    def test_full_disk(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([COMMAND, "report", "/dev/null"], stdout=full, stderr=subprocess.PIPE, timeout=20, text=True)
        assert done.returncode == 1
        assert done.stderr == "retryshim: cannot write to standard output: No space left on device\n"


@pytest.mark.parametrize("char", ["signed", "unsigned"])
def test_compiles_whatever_char_is(char):
    """It is unsigned on aarch64."""
    warnings = ["-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror"]
    subprocess.run([os.environ.get("CC", "cc"), "-std=gnu11", "-D_GNU_SOURCE", f"-f{char}-char", *warnings, "-fsyntax-only",
                    "-Iinclude", "-Ishim", "shim/cli/report.c", "shim/cli/report_page.c"],
                   cwd=Path(__file__).parents[2], check=True, timeout=60)


class TestFiles:
    def test_files_and_standard_input(self, tmp_path):
        one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
        one.write_bytes(lines(recovered()))
        other.write_bytes(lines(exhausted()).rstrip(b"\n"))
        events, facts = data(report(str(one), "-", str(other), stdin=lines(given_up())))
        assert facts["files"] == [str(one), "standard input", str(other)]
        assert (facts["lines"], facts["skipped"]) == (6, 0)
        assert [event["event"] for event in events] == ["attempt_failed", "succeeded", "given_up", "attempt_failed",
                                                        "attempt_failed", "exhausted"]

    @pytest.mark.parametrize("arguments", [[], ["-"]])
    def test_standard_input(self, arguments):
        events, facts = data(report(*arguments, stdin=TWO))
        assert events == [json.loads(line) for line in TWO.splitlines()]
        assert facts["files"] == ["standard input"]

    def test_nothing_at_all(self):
        version = subprocess.run([COMMAND, "version"], stdout=subprocess.PIPE, timeout=20, text=True).stdout.split()[-1]
        assert data(report("/dev/null")) == ([], {"title": "Retries", "version": version, "files": ["/dev/null"], "lines": 0,
                                                  "skipped": 0})

    @pytest.mark.parametrize("name, why", [("missing", "No such file or directory"), ("folder", "Is a directory"),
                                           ("", "No such file or directory")])
    def test_unreadable(self, tmp_path, name, why):
        good = tmp_path / "good"
        good.write_bytes(TWO)
        (tmp_path / "folder").mkdir()
        bad = str(tmp_path / name) if name else ""
        assert report(str(good), bad, check=1) == f"retryshim: cannot read '{bad}': {why}\n"

    def test_title_and_name_of_any_bytes(self, tmp_path):
        path = os.path.join(os.fsencode(tmp_path), b"caf\xe9 \xff.jsonl")
        with open(path, "wb") as file:
            file.write(TWO)
        facts = data(report("--title", b"N\xc3\xa4chte \xe2\x80\xae", path))[1]
        assert facts["title"] == "Nächte \u202e"
        assert facts["files"] == [f"{tmp_path}/caf? ?.jsonl"]
        assert data(report("--title", b"\xff<", path))[1]["title"] == "?<"

    def test_under_the_shim(self, tmp_path):
        path = tmp_path / "two.jsonl"
        path.write_bytes(TWO)
        result = run([COMMAND, "report", path])
        assert (result.returncode, result.stderr, result.diag) == (0, b"", b"")
        assert len(data(result.stdout.decode())[0]) == 5


class TestLines:
    @pytest.mark.parametrize("line", NO_EVENTS.values(), ids=NO_EVENTS.keys())
    def test_no_event(self, line):
        events, facts = data(report(stdin=TWO + line + b"\n" + lines(not_retryable())))
        assert (len(events), facts["lines"], facts["skipped"]) == (6, 7, 1)

    def test_crlf_and_blanks_do_not_matter(self):
        events, facts = data(report(stdin=b"  " + TWO.replace(b"\n", b" \r\n")))
        assert (len(events), facts["skipped"]) == (5, 0)

    def test_settings_are_events(self):
        who = {"ts": "2026-03-01T12:00:00Z", "pid": 1}
        told = [{**who, "event": "bad_value", "variable": "RETRY_JITTER", "value": "much", "default": "full"},
                {**who, "event": "unused_value", "variable": "RETRY_STATE", "value": "/x", "reason": "EACCES"}]
        assert data(report(stdin=lines(told)))[0] == told

    def test_only_what_the_page_knows(self):
        strange = {"ts": "2026-03-01T12:00:00Z", "op": "1", "event": "succeeded", "target": ["deep", {"er": 1}], "attempt": "2",
                   "elapsed_ms": 1.5, "pid": True, "password": "secret", "__proto__": {"a": 1}}
        assert data(report(stdin=lines([strange])))[0] == [{"ts": "2026-03-01T12:00:00Z", "op": "1", "event": "succeeded"}]


HOSTILE = ["</script><script>window.pwned=1</script>", "<!--<script>", "]]>", "&lt;", "\"'`\\", "\u2028\u2029", "\u202egpj.exe",
           "é\U0001f4a5\x7f", "a\u0000b"]


class TestEscaping:
    @pytest.mark.parametrize("member", ["program", "target", "error", "message", "op", "trace_id", "reason"])
    @pytest.mark.parametrize("hostile", HOSTILE)
    def test_nothing_gets_out(self, member, hostile):
        page = report(stdin=lines(recovered(**{member: hostile})))
        assert data(page)[0][0][member] == hostile  # whole, and as it was
        text = page[page.index('id="events">\n') + 13:]
        assert not re.search(r"[<>&]|[^\x20-\x7e\n]", text[:text.index("</script>")])

    def test_facts_as_well(self, tmp_path):
        hostile = tmp_path / "<!--<script>&.jsonl"
        hostile.write_bytes(TWO)
        page = report("--title", "</script>", str(hostile))
        text = page[page.index('id="facts">') + 11:]
        assert not re.search(r"[<>&]", text[:text.index("\n")])
        assert data(page)[1]["title"] == "</script>"

    def test_policy(self):
        pages = [report(stdin=TWO), report(stdin=TWO)]
        nonces = [re.findall(r"nonce[-=]\"?([0-9a-f]{32})['\"]", page) for page in pages]
        for page, found in zip(pages, nonces):
            assert len(found) == 4 and len(set(found)) == 1
            policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
            assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
            assert len(re.findall("<script", page)) == 3 and "<link" not in page and "<img" not in page
            assert not re.search(r"(src|href|action)=|url\(|@import|(inner|outer)HTML|insertAdjacent|document\.write|eval\(", page)
        assert nonces[0] != nonces[1]
        assert [page.replace(found[0], "") for page, found in zip(pages, nonces)][0] == pages[1].replace(nonces[1][0], "")
