"""Transfers of a multi recover, are sent as often as they may be, and fail as they would have without us, however
the program waits."""

import pytest

from curl_hosts import crc32, digests, events, gaps_ms, names, pattern, steps
from harness import FaultServer
from multi_hosts import MAIN_STYLES, STYLES, done, in_every_style, in_styles, in_two_styles, infos, multi, running

OK = f"{crc32(b'ok' + bytes([10]))}/3"
LARGE = 300_000


def fetch(style, server, *words, **options):
    """One transfer with its header counted; then what it came to."""
    options = {"base_delay_ms": 20, **options}
    return multi(style, "new", f"url={server.url}/x", "headers", *words, "add", "drive", "info", **options)


def is_recovered(result, body=OK, blocks=1):
    """By the multi's hooks: one message, that all is well; body and header once; the count says 1 until then."""
    assert done(result) == [(0, 0)] and running(result) == [1, 0], result.stdout
    info, = infos(result)
    assert (info["status"], info["body"], info["blocks"]) == (200, body, blocks)
    assert result.stderr == b"" and {entry["operation"] for entry in events(result)} == {"curl_multi"}


def same(result, plain):
    return (done(result), running(result), infos(result)) == (done(plain), running(plain), infos(plain))


# --- Faults

# step: the codes it ends with when nobody helps
FAULTS = {"503": (0,), "503,close=1,size=5000": (0,), "429,chunked=1": (0,), "reset": (7, 52, 55, 56), "empty": (52,),
          "reset-after": (56,), "partial-header,reset=1": (56,)}


@in_every_style
@pytest.mark.parametrize("step", FAULTS)
def test_fault(style, step):
    with FaultServer([step, "200"]) as server:
        plain = fetch(style, server, shim=False)
        (_, code), = done(plain)
        assert code in FAULTS[step] and infos(plain)[0]["body"] != OK
    with FaultServer([step, step, "200"]) as server:
        result = fetch(style, server)
        is_recovered(result)
        assert len(server.accepts()) == (3 if FAULTS[step] != (0,) or "close" in step else 1)
        if step != "reset":
            name = step.partition(",")[0]
            assert steps(server) == [name, name, "200"]
            assert all(gap >= 19 for gap in gaps_ms(server))
    assert names(result) == ["attempt_failed", "attempt_failed", "succeeded"]


@in_styles("socket", "all")
def test_older_names(style):
    """curl_multi_socket and curl_multi_socket_all."""
    assert style in STYLES and style not in MAIN_STYLES
    with FaultServer(["503", "200"]) as server:
        assert infos(fetch(style, server, shim=False))[0]["status"] == 503
    with FaultServer(["503", "reset-after", "200"]) as server:
        is_recovered(fetch(style, server))
        assert steps(server) == ["503", "reset-after", "200"]


@in_every_style
def test_port_that_opens_late(style):
    with FaultServer("200", open_after="400ms") as server:
        assert done(fetch(style, server, shim=False)) == [(0, 7)]
        result = fetch(style, server, max_attempts=40)
        is_recovered(result)
        assert steps(server) == ["200"]
    assert set(names(result)) == {"attempt_failed", "succeeded"}
    assert events(result)[0]["error"] == "CURLE_COULDNT_CONNECT"


@in_two_styles
def test_server_that_stalls(style):
    with FaultServer(["hang", "200"]) as server:
        result = fetch(style, server, "stalls=1")
        is_recovered(result)
        assert steps(server) == ["hang", "200"]
    assert events(result)[0]["error"] == "CURLE_OPERATION_TIMEDOUT"


@in_two_styles
def test_redirect_before_the_fault(style):
    redirect = "302,header=Location: /next,body=elsewhere"
    with FaultServer([redirect, "503", redirect, "200"]) as server:
        result = fetch(style, server, "follow")
        is_recovered(result, blocks=2)
        assert [entry["path"] for entry in server.requests()] == ["/x", "/next"] * 2


@in_two_styles
def test_status_that_asks_for_a_new_connection(style):
    with FaultServer(["421", "200"]) as server:
        is_recovered(fetch(style, server))
        assert len(server.accepts()) == 2


@in_two_styles
def test_error_body_too_large_to_keep(style):
    with FaultServer(["503,size=1000000", "200"]) as server:
        is_recovered(fetch(style, server))
    with FaultServer("503,size=1000000") as server:
        result = fetch(style, server, max_attempts=2)
        assert infos(result)[0]["body"] == f"{crc32(pattern(1_000_000))}/1000000" and done(result) == [(0, 0)]


@in_every_style
@pytest.mark.parametrize("value", ["1", "@+1s"])
def test_retry_after_is_a_floor(style, value):
    with FaultServer([f"429,header=Retry-After: {value}", "200"]) as server:
        result = fetch(style, server)
        is_recovered(result)
        assert 900 <= gaps_ms(server)[0] < 15000 and events(result)[0]["delay_ms"] >= 900


# --- What is not retried


@in_every_style
@pytest.mark.parametrize("words", [[], ["fail"], ["include=1"]], ids=" ".join)
def test_exhaustion(style, words):
    """The last response is delivered whole, with one message."""
    last = "500,body=third\n,header=X-Last: yes"
    with FaultServer(last) as server:
        plain = fetch(style, server, *words, shim=False)
    with FaultServer(["503,body=first\n", "502,size=3000", last]) as server:
        result = fetch(style, server, *words)
        assert steps(server) == ["503", "502", "500"]
    assert done(plain) == [(0, 22 if words == ["fail"] else 0)] and infos(plain)[0]["blocks"] == 1
    assert same(result, plain) and names(result) == ["attempt_failed", "attempt_failed", "exhausted"]


@in_every_style
def test_exhaustion_of_a_broken_connection(style):
    with FaultServer(["503,close=1", "empty", "reset-after"]) as server:
        result = fetch(style, server)
        assert done(result) == [(0, 56)] and running(result) == [1, 0]
        assert steps(server) == ["503", "empty", "reset-after"]
    info, = infos(result)
    assert (info["status"], info["lines"], info["down"]) == (0, 0, 0) and info["body"].endswith("/0")
    assert names(result) == ["attempt_failed", "attempt_failed", "exhausted"]


@in_two_styles
@pytest.mark.parametrize("script, words, settings, told", [
    (["404"], [], {}, "not_retryable"),
    (["partial-body,size=1000"], [], {}, "given_up delivered"),
    (["503,header=Retry-After: 31"], [], {}, "given_up retry_after"),
    (["503,header=Retry-After: 5"], ["timeout=4000"], {}, "given_up retry_after"),
    (["503"], [], {"base_delay_ms": 5000, "timeout_ms": 2000}, "given_up deadline"),
    (["503"], [], {"curl": 0}, None), (["reset-after"], [], {"enabled": 0}, None),
    (["503"], [], {"skip_hosts": "127.0.0.0/8"}, None), (["503"], [], {"max_attempts": 1}, "exhausted")])
def test_left_as_it_is(style, script, words, settings, told):
    with FaultServer([*script, "200"]) as server:
        plain = fetch(style, server, *words, shim=False)
    with FaultServer([*script, "200"]) as server:
        result = fetch(style, server, *words, **settings)
        assert len(server.requests()) == 1
    assert same(result, plain) and result.seconds < 3
    assert names(result) == ([told] if told else [])


@in_two_styles
def test_time_out_bounds_all_attempts(style):
    with FaultServer(["503", "hang"]) as server:
        result = fetch(style, server, "timeout=1000")
        assert done(result) == [(0, 28)] and steps(server) == ["503", "hang"]
        assert 0.9 < result.seconds < 1.95
    assert names(result)[:1] == ["attempt_failed"] and names(result)[-1].startswith("given_up")


# --- Requests with a body


SENT = ["503", "reset-after", "empty"]
PUT = [f"put={LARGE}", "field=Expect:"]


@in_two_styles
@pytest.mark.parametrize("step", SENT)
def test_post_is_seen_once(step, style):
    with FaultServer([step, "200"]) as server:
        plain = fetch(style, server, "post=a=b", shim=False)
    with FaultServer([step, "200"]) as server:
        result = fetch(style, server, "post=a=b")
        assert digests(server) == [(crc32(b"a=b"), 3)]
    assert same(result, plain) and names(result) == ["given_up unsafe"]


@in_two_styles
@pytest.mark.parametrize("step", SENT)
def test_post_with_a_key_is_repeated(step, style):
    with FaultServer([step, step, "200"]) as server:
        is_recovered(fetch(style, server, "post=a=b", "field=Idempotency-Key: 1"))
        assert digests(server) == [(crc32(b"a=b"), 3)] * 3


@in_two_styles
def test_post_before_which_the_port_was_shut(style):
    with FaultServer("200", open_after="300ms") as server:
        is_recovered(fetch(style, server, "post=a=b", max_attempts=40))
        assert digests(server) == [(crc32(b"a=b"), 3)]


@in_every_style
@pytest.mark.parametrize("step", [*SENT, "reset-mid=100000"])
def test_upload_is_rewound(style, step):
    with FaultServer([step, "200"]) as server:
        plain = fetch(style, server, *PUT, "seek", shim=False)
        assert (done(plain), infos(plain)[0]["status"]) != ([(0, 0)], 200)
    with FaultServer([step, "200"]) as server:
        result = fetch(style, server, *PUT, "seek")
        assert infos(result)[0]["seeks"] == 1
        is_recovered(result)
        assert digests(server)[-1] == (crc32(pattern(LARGE)), LARGE) and len(server.requests()) == 2


@in_two_styles
@pytest.mark.parametrize("step", SENT)
def test_upload_that_cannot_be_rewound(style, step):
    with FaultServer([step, "200"]) as server:
        plain = fetch(style, server, *PUT, shim=False)
    with FaultServer([step, "200"]) as server:
        result = fetch(style, server, *PUT)
        assert digests(server) == [(crc32(pattern(LARGE)), LARGE)]
    assert same(result, plain) and names(result) == ["given_up rewind"]


@in_two_styles
def test_upload_before_which_the_port_was_shut(style):
    with FaultServer("200", open_after="300ms") as server:
        is_recovered(fetch(style, server, *PUT, max_attempts=40))
        assert digests(server) == [(crc32(pattern(LARGE)), LARGE)]


@in_two_styles
def test_upload_that_waits_for_a_hundred(style):
    """Its body is asked for by the answer to the second request alone."""
    with FaultServer(["503", "200"]) as server:
        is_recovered(fetch(style, server, f"put={LARGE}", "seek", "field=Expect: 100-continue"), blocks=2)
        assert digests(server) == [(crc32(b""), 0), (crc32(pattern(LARGE)), LARGE)]
