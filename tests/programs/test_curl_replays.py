"""libcurl itself sends a request again when a kept connection turns out to be dead. That is not ours to forbid; what
we tell of an operation counts it."""

import pytest

from curl_hosts import lines, session
from harness import FaultServer, events


def replayed(url, *words, **settings):
    """A request that leaves its connection open, and one that meets its end."""
    return session("new", f"url={url}", "perform", *words, "perform", **settings)


@pytest.mark.parametrize("words, methods", [([], ["GET", "GET", "GET"]), (["post=a=b"], ["GET", "POST", "POST"])], ids=["GET", "POST"])
def test_replay_of_libcurls_own(words, methods):
    """With us and without: the same requests, since it happens inside one attempt. A first-time success says nothing."""
    for shim in (False, True):
        with FaultServer(["200", "empty", "200"]) as server:
            result = replayed(server.url, *words, shim=shim)
            assert [entry["method"] for entry in server.requests()] == methods
            assert lines(result)[-1] == "0 perform -> 0" and result.diag == b""


def test_replay_is_counted():
    """The replay meets a 503: the attempt's line tells that its request went out twice."""
    with FaultServer(["200", "empty", "503", "200"]) as server:
        result = replayed(server.url)
        assert [entry["step"] for entry in server.requests()] == ["200", "empty", "503", "200"]
    told = events(result)
    assert [entry["event"] for entry in told] == ["attempt_failed", "succeeded"]
    assert [entry.get("replays", 0) for entry in told] == [1, 0]


def test_replay_is_counted_in_text():
    with FaultServer(["200", "empty", "503", "200"]) as server:
        result = replayed(server.url, diag_format="text")
    first, second = result.diag.decode().splitlines()
    assert first.endswith("[replayed by libcurl: 1]") and "replayed" not in second


def test_what_is_no_replay():
    """Redirects, rounds of an authentication and our own retries are requests of their own."""
    with FaultServer(["302,header=Location: /next", "503", "302,header=Location: /next", "200"]) as server:
        result = session("new", f"url={server.url}", "follow", "perform")
        assert len(server.requests()) == 4
    assert all("replays" not in entry for entry in events(result))
