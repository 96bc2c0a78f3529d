"""pycurl: an extension module, loaded RTLD_LOCAL, with libcurl-gnutls inside."""

import textwrap

import pytest

from curl_hosts import crc32, digests, events, lines, methods, names, run, steps
from harness import FaultServer

PYTHON = "/usr/bin/python3"


def python(server, body, **options):
    """Runs a program with `curl`, a fresh handle for the server, and `out`, a buffer for its body."""
    program = textwrap.dedent("""\
        import io, sys, pycurl
        out, curl = io.BytesIO(), pycurl.Curl()
        curl.setopt(pycurl.URL, sys.argv[1])
        curl.setopt(pycurl.WRITEDATA, out)
        def perform():
            try:
                curl.perform()
                print(curl.getinfo(pycurl.RESPONSE_CODE), out.getvalue())
            except pycurl.error as error:
                print(*error.args)
        """) + textwrap.dedent(body)
    return run([PYTHON, "-c", program, server.url], **options)


@pytest.mark.parametrize("script, failure", [
    (["503", "200"], "503 b'503 Service Unavailable\\n'"), (["empty", "200"], "52 Empty reply from server"),
    (["reset-after", "429", "200"], "56 Recv failure: Connection reset by peer")])
def test_get(script, failure):
    with FaultServer(script) as server:
        assert lines(python(server, "perform()", shim=False)) == [failure]
    with FaultServer(script) as server:
        result = python(server, "perform()")
        assert lines(result) == ["200 b'ok\\n'"] and result.stderr == b"" and steps(server) == script
    assert {event["program"] for event in events(result)} == {"python3"} and names(result)[-1] == "succeeded"


def test_port_that_opens_late():
    with FaultServer("200", open_after="500ms") as server:
        assert lines(python(server, "perform()", shim=False))[0].startswith("7 ")
        assert lines(python(server, "perform()", max_attempts=40)) == ["200 b'ok\\n'"]


def test_post():
    post = "curl.setopt(pycurl.POSTFIELDS, 'a=b')\n"
    with FaultServer(["503", "200"]) as server:
        assert lines(python(server, post + "perform()")) == ["503 b'503 Service Unavailable\\n'"]
        assert methods(server) == ["POST"]
    key = "curl.setopt(pycurl.HTTPHEADER, ['Idempotency-Key: 1'])\n"
    with FaultServer(["503", "reset-after", "200"]) as server:
        assert lines(python(server, post + key + "perform()", max_attempts=4)) == ["200 b'ok\\n'"]
        assert set(digests(server)) == {(crc32(b"a=b"), 3)}


def test_callbacks():
    program = """\
        seen = []
        curl.setopt(pycurl.HEADERFUNCTION, lambda line: seen.append(('header', line)))
        curl.setopt(pycurl.WRITEFUNCTION, lambda data: seen.append(('write', data)))
        curl.setopt(pycurl.NOPROGRESS, False)
        curl.setopt(pycurl.XFERINFOFUNCTION, lambda *numbers: None)
        for _ in range(3):
            perform()
            print([data for kind, data in seen if kind == 'write'], len([1 for kind, data in seen if b'HTTP/' in data]))
            seen.clear()
        """
    with FaultServer(["503,body=bad", "200", "200", "empty", "502,body=bad", "200"]) as server:
        result = python(server, program)
        assert lines(result) == ["200 b''", "[b'ok\\n'] 1"] * 3
        assert len(server.requests()) >= 6


def test_upload_with_a_read_function():
    program = """\
        data = io.BytesIO(b'0123456789' * 10000)
        curl.setopt(pycurl.UPLOAD, True)
        curl.setopt(pycurl.HTTPHEADER, ['Expect:'])
        curl.setopt(pycurl.READFUNCTION, data.read)
        curl.setopt(pycurl.INFILESIZE, 100000)
        if {seek}:
            curl.setopt(pycurl.SEEKFUNCTION, lambda offset, origin: data.seek(offset, origin) and 0)
        perform()
        """
    content = (crc32(b"0123456789" * 10000), 100000)
    with FaultServer(["503", "200"]) as server:
        assert lines(python(server, program.format(seek=True))) == ["200 b'ok\\n'"]
        assert digests(server)[-1] == content
    with FaultServer(["reset-after", "200"]) as server:
        assert lines(python(server, program.format(seek=False)))[0].startswith("56 ")
        assert digests(server) == [content]


def test_exception_in_a_callback():
    program = """\
        def refuse(data):
            raise ValueError('no')
        curl.setopt(pycurl.HEADERFUNCTION, refuse)
        perform()
        """
    with FaultServer("200") as server:
        plain, result = python(server, program, shim=False), python(server, program)
        assert lines(result) == lines(plain) and result.stderr == plain.stderr
        assert result.stderr.count(b"ValueError: no") == 1


def test_copy_and_reset():
    program = """\
        copy = curl.duphandle()
        curl.close()
        curl = copy
        perform()
        curl.reset()
        curl.setopt(pycurl.URL, sys.argv[1])
        curl.setopt(pycurl.WRITEDATA, out)
        perform()
        """
    with FaultServer(["503", "200", "503", "200"]) as server:
        assert lines(python(server, program)) == ["200 b'ok\\n'", "200 b'ok\\nok\\n'"]
        assert steps(server) == ["503", "200", "503", "200"]


def test_signal_during_a_backoff():
    """The held response is delivered, and the handler runs at once."""
    program = """\
        import signal, time
        signal.signal(signal.SIGALRM, lambda *_: print('alarm'))
        signal.setitimer(signal.ITIMER_REAL, 0.4)
        start = time.monotonic()
        perform()
        print(time.monotonic() - start < 10)
        """
    with FaultServer(["503", "200"]) as server:
        result = python(server, program, base_delay_ms=25000)
        assert sorted(lines(result)) == ["503 b'503 Service Unavailable\\n'", "True", "alarm"]
        assert len(server.requests()) == 1
    assert names(result) == ["attempt_failed", "given_up signal"]


@pytest.mark.parametrize("multi", [False, True], ids=["easy", "multi"])
def test_socket_that_the_program_refuses(multi):
    """To libcurl an address that the program does not want looks like one that does not answer. It is asked once."""
    body = """\
        def no(purpose, address):
            print("asked")
            return pycurl.SOCKET_BAD
        curl.setopt(pycurl.OPENSOCKETFUNCTION, no)
        """
    many = """\
        many = pycurl.CurlMulti()
        many.add_handle(curl)
        while many.perform()[1]:
            many.select(1)
        print(many.info_read()[2][0][1])
        """
    body = textwrap.dedent(body) + (textwrap.dedent(many) if multi else "perform()")
    with FaultServer("200") as server:
        plain, result = python(server, body, shim=False), python(server, body)
        assert len(server.accepts()) == 0
    assert lines(plain)[0] == "asked" and lines(plain)[1].startswith("7")
    assert lines(result) == lines(plain) and names(result) == ["not_retryable"]


def test_socket_that_the_program_makes():
    """Its callback stays in its place, and what fails is retried."""
    body = """\
        import socket
        def make(purpose, address):
            print("asked")
            return socket.socket(address.family, address.socktype, address.protocol)
        curl.setopt(pycurl.OPENSOCKETFUNCTION, make)
        perform()
        """
    with FaultServer(["503,close=1", "200"]) as server:
        result = python(server, body)
    assert lines(result) == ["asked", "asked", "200 b'ok\\n'"] and names(result) == ["attempt_failed", "succeeded"]
