"""Ten thousand transfers through faults at random places: each byte right, each header block once, each POST executed
at most once, and nothing that failed called a success. CHAOS_SEED repeats a run: curl_hosts/chaosserver.c says what
the dice decide, curl_hosts/chaos.c what a program checks while it is told."""

import contextlib
import functools
import os
import re
import subprocess
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from curl_hosts import compile_c, host, lines, run

SEED = int(os.environ.get("CHAOS_SEED", "20261125"))
HALVES, SHARE = [(mode, resume) for mode in ("easy", "multi") for resume in (0, 1)], 2500
SETTINGS = {"seed": SEED, "max_attempts": 12, "base_delay_ms": 1, "max_delay_ms": 5, "jitter": "full",
            "budget": "off", "breaker": "off"}
PERMANENT = {404, 502}  # 502: comes with two hours of Retry-After
LIES = {"whole", "whole-changed", "changed", "unnamed", "shifted", "short", "416"}
SABOTAGES = {"byte": "is wrong", "block": "status lines", "silence": "a success", "seek": "spoilt", "post": "executed 2 times"}

ATTEMPT = re.compile(r"(\d+) attempt (\d+) (\w+) (\S+) range=(\S+) answer=(\d+) out=(\d+)/(\d+) head=(\d+) lie=(\S+)")


@dataclass
class Attempt:
    """What the server did with one request."""
    text: str
    method: str
    part: bool      # the rest of a download was asked for
    status: int     # 0: it died before the request was whole
    out: int
    total: int
    head: int
    lie: str

    @property
    def broke_late(self):
        """The program has been told of the answer, and then it broke."""
        return self.status in {200, *PERMANENT} and self.head <= self.out < self.total


class Chaos:
    """One run of the host against a server of its own. told: transfer -> (method, code, status, complaints)."""

    def __init__(self, folder, mode, count=SHARE, first=0, sabotage=None, **settings):
        self.name = f"CHAOS_SEED={SEED}, {mode}, {settings}"
        self.attempts, self.executed, self.spoilt = defaultdict(list), Counter(), Counter()
        log = folder / f"log-{mode}-{first}-{sabotage}"
        with server(log) as url:
            words = [host("chaos"), mode, url, SEED, first, count, *([sabotage] if sabotage else [])]
            told = lines(run(words, timeout=120, **{**SETTINGS, **settings}))
        self.told = {int(number): (method, int(code), int(status), text) for number, method, code, status, text in
                     (re.fullmatch(r"(\d+) (\w+) (\d+) (\d+) \d+(.*)", line).groups() for line in told)}
        assert sorted(self.told) == list(range(first, first + count)), self.name
        for line in log.read_text().splitlines():
            self.read(line)

    def read(self, line):
        number, event = line.split()[:2]
        if event == "attempt":
            _, _, method, _, start, status, out, total, head, lie = ATTEMPT.match(line).groups()
            self.attempts[int(number)].append(
                Attempt(line, method, start != "-", int(status), int(out), int(total), int(head), lie))
        else:
            getattr(self, event)[int(number)] += 1

    def wrong(self):
        """Each promise that was broken: transfer -> what is wrong with it."""
        return {number: text for number in self.told if (text := self.wrong_with(number))}

    def wrong_with(self, number):
        method, code, status, text = self.told[number]
        last = self.attempts[number][-1] if self.attempts[number] else None
        if self.executed[number] > 1:
            text += f" [executed {self.executed[number]} times]"
        if code == 28:
            text += " [a time-out, and nothing stalls]"
        if self.spoilt[number]:
            text += " [spoilt upload]"
        if code == 0 and not (last and last.out == last.total and status == (200 if last.part else last.status)):
            text += " [a success that the server knows nothing of]"
        if code == 0 and method == "POST" and self.executed[number] != 1:
            text += " [a success that was not executed]"
        return text

    def explain(self, numbers):
        """For an assertion: everything about the first few of these transfers."""
        story = [f"{self.name}: {len(numbers)} transfers"]
        for number in sorted(numbers)[:5]:
            story += [f"transfer {number}: {self.told[number]}; executed {self.executed[number]}"]
            story += ["    " + attempt.text for attempt in self.attempts[number]]
        return "\n".join(story)

    def permanent(self, number):
        return any(attempt.status in PERMANENT for attempt in self.attempts[number])

    def asked(self, *methods):
        """Those that nothing permanent befell."""
        return [number for number, told in self.told.items() if told[0] in methods and not self.permanent(number)]

    def broke_late(self, numbers):
        return [number for number in numbers if any(attempt.broke_late for attempt in self.attempts[number])]

    def failed(self, numbers):
        return [number for number in numbers if self.told[number][1:3] != (0, 200)]

    def recovered(self, numbers):
        """The share that ended with a 200."""
        return 1 - len(self.failed(numbers)) / len(numbers)


@functools.cache
def compile_server():
    return compile_c("chaosserver", libraries=["-pthread"])


@contextlib.contextmanager
def server(log):
    process = subprocess.Popen([compile_server(), str(SEED), log], stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().split()[1]}"
        assert process.poll() is None, "the server ended"
    finally:
        process.kill()
        process.communicate()


def promises_hold(chaos):
    wrong = chaos.wrong()
    assert not wrong, chaos.explain(wrong)


def is_at_least(share, chaos, numbers):
    assert chaos.recovered(numbers) >= share, f"{chaos.recovered(numbers):.4f} of {len(numbers)}: {chaos.explain(chaos.failed(numbers))}"


@pytest.fixture(name="halves", scope="module")
def all_ten_thousand(tmp_path_factory):
    """(mode, resume) -> its run. With diagnostics in half of them, which must make no difference."""
    folder = tmp_path_factory.mktemp("chaos")
    host("chaos"), compile_server()
    with ThreadPoolExecutor(len(HALVES)) as pool:
        runs = [pool.submit(Chaos, folder, mode, first=SHARE * at, resume=resume, diag=resume)
                for at, (mode, resume) in enumerate(HALVES)]
        return dict(zip(HALVES, [each.result() for each in runs]))


every_half = pytest.mark.parametrize("half", HALVES, ids=[f"{mode}-{'resume' if resume else 'plain'}" for mode, resume in HALVES])


@every_half
def test_promises(halves, half):
    promises_hold(halves[half])


@every_half
def test_recovery(halves, half):
    chaos = halves[half]
    for method in ("GET", "HEAD", "PUT"):
        asked = chaos.asked(method)
        late = chaos.broke_late(asked)
        if method == "GET":
            assert 0.25 < len(late) / len(asked) < 0.6, chaos.name
        if method == "GET" and half[1]:
            is_at_least(0.95, chaos, asked)
            continue
        assert set(late) <= set(chaos.failed(asked)), chaos.explain(set(late) - set(chaos.failed(asked)))
        assert all(chaos.told[number][1] != 0 for number in late), chaos.explain(late)
        is_at_least(0.99, chaos, sorted(set(asked) - set(late)))


def test_every_fault_was_met(halves):
    """Else the rest proves little."""
    attempts = [attempt for chaos in halves.values() for each in chaos.attempts.values() for attempt in each]
    posts = [attempt for attempt in attempts if attempt.method == "POST"]
    assert {attempt.lie for attempt in attempts if attempt.part} == LIES | {"none"}
    assert {attempt.status for attempt in attempts} == {0, 200, 206, 404, 416, 429, 500, 502, 503}
    assert sum(attempt.out == 0 and attempt.status != 0 for attempt in posts) > 20, "executed, and nothing said"
    assert sum(0 < attempt.out < attempt.head for attempt in posts) > 20
    assert sum(attempt.status == 0 for attempt in posts) > 50


@pytest.mark.parametrize("mode", ["easy", "multi"])
def test_nobody_helps(tmp_path, mode):
    """The server and the host are right by themselves, libcurl's own replays included, and far fewer recover."""
    chaos = Chaos(tmp_path, mode, shim=False)
    promises_hold(chaos)
    for methods, most in ((["GET"], 0.7), (["HEAD", "PUT"], 0.9)):
        assert chaos.recovered(chaos.asked(*methods)) < most


@pytest.mark.parametrize("sabotage", SABOTAGES)
def test_mistake_is_found(tmp_path, sabotage):
    wrong = Chaos(tmp_path, "easy", 1500, sabotage=sabotage).wrong()
    assert wrong and all(number % 3 == 0 for number in wrong)
    assert all(SABOTAGES[sabotage] in text for text in wrong.values()), wrong
