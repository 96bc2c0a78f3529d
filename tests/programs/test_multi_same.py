"""Sessions of a multi look the same with and without us when nothing is retried: every callback, count, message
and return value, and what curl_easy_getinfo tells."""

import re

import pytest

from curl_hosts import lines, names
from harness import FaultServer
from multi_hosts import MAIN_STYLES, STYLES, done, in_every_style, multi

MODES = {
    "header and write callbacks": ["headers"],
    "write callback alone": [],
    "CURLOPT_HEADER": ["include=1", "headers"],
    "debug callback": ["headers", "debug=1"],
    "progress callback": ["headers", "progress=0"],
}
STEPS = ["200", "200,size=50", "302,header=Location: /next", "200", "404", "200,chunked=1,body=abc", "204",
         "200,interim=103", "200,body=", "200,body=put", "200,body=posted", "501", "200,close=1", "200"]
# No answer comes in the call that sends its request: that would be one turn less.
SCRIPT = [f"{step},delay=10ms" for step in STEPS]


def normal(style, result, port):
    """What was called back and told, what the counts were, and what events were asked for: each in its order. A block
    that is cut off is delivered when its connection is closed already. What the kernel and the clock decide is taken
    out: ports, addresses, times, how a body is cut, how often progress is asked for, and the timers of
    curl_multi_socket_all, which looks at everything in each turn."""
    text = re.sub(r"0x[0-9a-f]+", "", "\n".join(lines(result)).replace(str(port), "PORT"))
    text = re.sub(r"after \d+ milliseconds| progress=\d+ gap_ms=\d+|.* data_in .*\n", "", text)
    parts = {"m0": [], "socket": [], "timer": [], "close": [], "": []}
    for line in text.splitlines():
        parts[next((word for word in line.split()[:2] if word in parts), "")].append(line)
    return {**parts, "timer": []} if style == "all" else parts


def both(style, script, words, **options):
    """The same words without and with the object: [(transcript, number of requests, result)]."""
    outcomes = []
    for shim in (False, True):
        with FaultServer(script) as server:
            result = multi(style, *(word.format(url=server.url) for word in words), shim=shim, **options)
            outcomes.append((normal(style, result, server.port), result.stderr, len(server.requests()), result))
    return outcomes


def same(plain, result):
    assert plain[:3] == result[:3]
    assert any("info status=" in line for line in plain[0][""])
    return plain, result


@pytest.mark.parametrize("style, mode", [*((style, "header and write callbacks") for style in STYLES),
                                         *((style, mode) for style in ("poll", "action") for mode in list(MODES)[1:])])
def test_healthy(style, mode):
    """One request after another on one handle; it is added once, or again and again."""
    turn = ["add", "drive", "due", "info=full", "remove"]
    words = ["new", "url={url}/path", *MODES[mode], "traced", "follow=1", *turn * 8, "put=2000", "seek", "field=Expect:", *turn,
             "get=1", "post=a=b", *turn, "get=1", *turn * 2, "perform", "info=full", "add", "add", "remove", "remove", "due",
             "destroy"]
    _, result = same(*both(style, SCRIPT, words))
    assert result[2] == len(STEPS) and len(done(result[3])) == 12
    assert any("status=204" in line for line in result[0][""]) and "destroy -> 0" in result[0][""]
    assert set(names(result[3])) == {"not_retryable"}  # of 404 and 501


@in_every_style
def test_several_at_once(style):
    """In the order that the server's delays make."""
    outcomes = []
    for shim in (False, True):
        servers = [FaultServer(f"200,delay={delay}ms,size=100") for delay in (80, 0, 160)]
        with servers[0], servers[1], servers[2]:
            words = [word for server in servers for word in ("new", f"url={server.url}/x", "headers", "add")]
            result = multi(style, "lazy", *words, "drive", "all", "due", shim=shim)
            outcomes.append(lines(result))
    assert outcomes[0] == outcomes[1]
    assert [line for line in outcomes[0] if "done" in line] == ["1 done 0 left=2", "0 done 0 left=1", "2 done 0 left=0"]


FAULTS = {"503": ["503,size=200"], "reset": ["reset-after"], "empty": ["empty"], "half": ["partial-header,reset=1"],
          "cut": ["partial-body,size=100"], "429": ["302,header=Location: /a", "429,header=Retry-After: 1"]}


@pytest.mark.parametrize("style, fault, settings", [
    *((style, fault, {"max_attempts": 1}) for style in MAIN_STYLES for fault in FAULTS),
    *((style, fault, {switch: 0}) for style in ("poll", "action") for fault in ("503", "reset")
      for switch in ("curl", "enabled"))])
def test_failing_in_one_attempt(style, fault, settings):
    script = [f"{step},delay=10ms" if step[0].isdigit() else step for step in (*FAULTS[fault], "200")]
    words = ["new", "url={url}/path", "headers", "traced", "debug=1", "follow=1", "add", "drive", "info=full", "remove",
             "fail=1", "add", "drive", "info=full", "remove", "perform", "info=full"]
    _, result = same(*both(style, script, words, **settings))
    assert len(done(result[3])) == 2


@in_every_style
@pytest.mark.parametrize("words", [
    ["pass=30", "remove", "info"], ["pass=30", "cleanup"], ["pass=30", "destroy", "info"],
    ["pause=1", "pass=30", "pause=0", "drive", "info"], ["timeout=30", "drive", "info"]], ids="-".join)
def test_disturbed(style, words):
    """In the middle of a healthy transfer that takes its time."""
    same(*both(style, ["200,delay=120ms,size=10", "200"],
               ["new", "url={url}/x", "headers", "add", *words, "all", "new", "url={url}/y", "perform", "info"]))


@pytest.mark.parametrize("style", ["poll", "wait", "fdset"])
def test_aborted_by_its_progress_callback(style):
    words = ["new", "url={url}/x", "headers", "patience=20", "progress=60", "add", "drive", "info"]
    plain, _ = same(*both(style, ["200,delay=500ms,size=10"], words))
    assert done(plain[3]) == [(0, 42)]


@in_every_style
def test_wrong_calls(style):
    """Of what is not in the multi, or no handle at all."""
    words = ["new", "url={url}/x", "remove", "multi=0", "remove", "add", "drive", "info", "use=3", "add", "remove", "pause=1",
             "read"]
    same(*both(style, ["200"], words))


@pytest.mark.parametrize("style", ["poll", "wait", "fdset"])
def test_interrupted_waits(style):
    """A multi with nothing in it."""
    how = {"poll": ["wakeup", "extra", "timeout"], "wait": ["extra"], "fdset": []}[style]
    words = ["multi=0", *(f"interrupt={name}" for name in how), "due", "new", "url={url}/x", "add", "drive", "info"]
    outcomes = both(style, ["200"], words)
    transcripts = [[re.sub(r" ms=\d+", "", line) for line in outcome[0][""]] for outcome in outcomes]
    assert transcripts[0] == transcripts[1]
