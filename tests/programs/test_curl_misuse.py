"""What programs do to handles at moments that nobody expects: curl_hosts/misuse.c tells what."""

from curl_hosts import host, lines, names, run
from harness import FaultServer
from rangeserver import Answer, RangeServer
from test_curl_valgrind import check


def misuse(what, url, **settings):
    return run([host("misuse"), what, url], **settings)


def test_copy_of_a_handle_whose_download_is_resumed():
    """The copy asks for the whole, and knows nothing of what the original's attempt asked for."""
    with RangeServer(Answer(cut=5000), Answer()) as server:
        result = misuse("dup", server.url, resume=1, base_delay_ms=10)
        assert lines(result) == ["0 200 20000", "0 200 20000"]
        assert server.saw("range") == [None, "bytes=5000-", None] and server.saw("if-range")[2] is None


def test_no_meter_of_libcurls_own():
    """The program's old progress callback stays in its place."""
    with RangeServer(Answer(cut=5000), Answer()) as server:
        result = misuse("meter", server.url, resume=1, base_delay_ms=10)
    assert lines(result) == ["0 200 20000"] * 3 and result.stderr == b""


def test_multi_destroyed_by_a_callback():
    """As libcurl refuses it: CURLM_RECURSIVE_API_CALL, and the transfer goes on."""
    with FaultServer(["503", "200"]) as server:
        printed = check(host("misuse"), "cleanup", server.url, base_delay_ms=1000)
    assert printed.splitlines() == ["message 0", "destroyed 8"]


def test_pause_does_not_outlive_the_limit():
    """Without us the refused connect ends the transfer, paused or not."""
    with FaultServer("200", open_after="30s") as server:
        assert lines(misuse("pause", server.url, shim=False)) == ["message 7"]
        result = misuse("pause", server.url, base_delay_ms=100)
    assert lines(result) == ["message 7"] and result.seconds < 3
    assert names(result) == ["attempt_failed", "given_up deadline"]


def test_no_multi():
    plain = misuse("null", "x", shim=False)
    assert lines(plain) == ["1 1"] and lines(misuse("null", "x")) == lines(plain)
