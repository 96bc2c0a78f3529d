"""A healthy session prints the same transcript with and without us: every callback with its bytes, in
its order, every return value, and what curl_easy_getinfo tells."""

import re

import pytest

from curl_hosts import lines, raw_server, session
from harness import FaultServer

SCRIPT = ["200", "200,size=50", "200,body=posted", "302,header=Location: /next", "200", "404", "200,chunked=1,body=abc",
          "204", "200,interim=103", "200,body="]

MODES = {
    "header and write callbacks": ["headers"],
    "write callback alone": [],
    "HEADERDATA alone": ["headerdata"],
    "CURLOPT_HEADER": ["header=1"],
    "CURLOPT_HEADER and callbacks": ["header=1", "headers"],
    "debug callback": ["headers", "debug"],
    "debug callback alone": ["debug"],
    "debug and CURLOPT_HEADER": ["header=1", "debug"],
}


def commands(url, mode):
    """What the session does, one request after another on one handle, then on copies of it."""
    return ["new", f"url={url}/path", *mode, "follow", "perform", "info",
            "nobody=1", "perform", "info", "nobody=0", "get", "post=a=b", "perform", "info", "get",
            "perform", "info", "perform", "info", "perform", "info", "perform", "info", "perform", "info",
            "dup=1", "own", *mode, "perform", "info", "cleanup", "use=0", "reset", f"url={url}/last", "perform", "info"]


def normal(result, port):
    text = re.sub(r"0x[0-9a-f]+", "0x", "\n".join(lines(result)))
    # Bodies are cut into pieces as the kernel has them.
    return re.sub(r".* data_in .*\n", "", text.replace(str(port), "PORT")).splitlines()


@pytest.mark.parametrize("mode", MODES)
def test_transcript(mode):
    transcripts = []
    for shim in (False, True):
        with FaultServer(SCRIPT) as server:
            result = session(*commands(server.url, MODES[mode]), shim=shim)
            transcripts.append((normal(result, server.port), result.stderr, len(server.requests())))
    assert transcripts[0] == transcripts[1]
    assert transcripts[0][2] == len(SCRIPT) + 1 and any("status=204" in line for line in transcripts[0][0])


RAW = {
    "trailers": "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\nok\n0\nX-Trailer: 1\n\n",
    "folded header": "HTTP/1.1 200 OK\nX-A: one\n two\nContent-Length: 2\n\nok",
    "HTTP/1.0": "HTTP/1.0 200 OK\n\nok",
    "no reason": "HTTP/1.1 200\nContent-Length: 2\n\nok",
    "interim blocks": "HTTP/1.1 102 Processing\n\nHTTP/1.1 103 x\nLink: y\n\nHTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "body like a status line": "HTTP/1.1 200 OK\nContent-Length: 14\n\nHTTP/1.1 503\n",
    "cut header block": "HTTP/1.1 200 OK\nContent-Length: 2\n",
    "cut header line": "HTTP/1.1 200 OK\nContent-Le",
    "cut body": "HTTP/1.1 200 OK\nContent-Length: 20\n\nok",
    "no HTTP": "SSH-2.0-x\n",
    "bad chunk": "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\nzz\n",
    "two lengths": "HTTP/1.1 200 OK\nContent-Length: 2\nContent-Length: 3\n\nok",
    "bad header": "HTTP/1.1 200 OK\n: x\nContent-Length: -2\n\nok",
    "upgrade": "HTTP/1.1 101 Switching\nUpgrade: x\nConnection: Upgrade\n\nok",
    "redirect without a target": "HTTP/1.1 302 Found\nContent-Length: 2\n\nok",
    "endless redirect": "HTTP/1.1 302 Found\nLocation: /x\nContent-Length: 2\n\nok",
    "permanent error": "HTTP/1.1 501 No\nContent-Length: 2\n\nno",
    "encoded": "HTTP/1.1 200 OK\nContent-Encoding: gzip\nContent-Length: 2\n\nok",
}


@pytest.mark.parametrize("mode", MODES)
def test_raw_response(mode):
    """What is odd, and what fails for good, looks the same too."""
    transcripts = {}
    for name, raw in RAW.items():
        for shim in (False, True):
            with raw_server(raw.replace("\n", "\r\nConnection: close\r\n", 1).replace("\n", "\r\n").replace("\r\r", "\r").encode()) as (url, _):
                # One attempt: a response that ends too early is retried otherwise, as it should be.
                words = ["new", f"url={url}/", *MODES[mode], "follow", "redirects=3", "perform", "info"]
                result = session(*words, shim=shim, max_attempts=1)
                transcripts[name, shim] = normal(result, url.rpartition(":")[2])
    for name in RAW:
        assert transcripts[name, True] == transcripts[name, False], name


@pytest.mark.parametrize("arguments", [["nobody=1"], ["header=1", "nobody=1"], ["header=1"], []])
def test_file_url(arguments, tmp_path):
    """libcurl makes header lines of its own for a file."""
    path = tmp_path / "file"
    path.write_text("some text\n")
    words = ["new", f"url=file://{path}", "headers", *arguments, "perform", "info"]
    assert lines(session(*words)) == lines(session(*words, shim=False))


def test_no_handle():
    assert lines(session("perform", "info")) == lines(session("perform", "info", shim=False))
