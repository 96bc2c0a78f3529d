"""libcurl over FTP and SMTP: 4yz replies are repeated, a message that was handed over never is.

A server's replies reach a header callback at once, since its refusal must come before the next command. So
they count as delivered: curl, which has such a callback, is left to its error; pycurl, without one, recovers.
"""

import pytest

from harness import FaultServer, events, run

FTP = """
import io, pycurl, sys
c = pycurl.Curl()
c.setopt(pycurl.URL, sys.argv[1])
c.setopt(pycurl.WRITEDATA, io.BytesIO())
c.perform()
"""
MAIL = """
import io, pycurl, sys
c = pycurl.Curl()
c.setopt(pycurl.URL, sys.argv[1])
c.setopt(pycurl.MAIL_FROM, "a@example.org")
c.setopt(pycurl.MAIL_RCPT, ["b@example.org"])
c.setopt(pycurl.UPLOAD, 1)
c.setopt(pycurl.READDATA, io.BytesIO(b"Subject: x\\r\\n\\r\\nhello\\r\\n"))
c.perform()
"""
ACCEPTED = "dialog=220 hi|250 ok|250 ok|250 ok|354 go||||250 done|221 bye"


def pycurl(code, url, **options):
    return run(["/usr/bin/python3", "-c", code, url], timeout=20, **options)


def told(result):
    return [(event["event"], event.get("reason")) for event in events(result)]


def test_ftp_421_is_tried_again():
    with FaultServer(r"greet=421 busy\r\n") as server:
        plain = pycurl(FTP, f"ftp://{server.authority}/f", shim=False)
        before = len(server.accepts())
        ours = pycurl(FTP, f"ftp://{server.authority}/f")
        assert (before, len(server.accepts()) - before) == (1, 3)
    assert plain.returncode == ours.returncode == 1
    assert plain.stderr == ours.stderr
    assert told(ours) == [("attempt_failed", None), ("attempt_failed", None), ("exhausted", None)]


def test_replies_that_were_shown_are_not_shown_again():
    with FaultServer(r"greet=421 busy\r\n") as server:
        plain = run(["curl", "-sSv", f"ftp://{server.authority}/f"], shim=False)
        ours = run(["curl", "-sSv", f"ftp://{server.authority}/f"])
        assert len(server.accepts()) == 2
    assert ours.stderr.count(b"< 421 busy") == plain.stderr.count(b"< 421 busy") == 1
    assert ours.returncode == plain.returncode
    assert told(ours) == [("given_up", "delivered")]


def test_replies_and_commands_keep_their_order():
    """Nothing fails here: what curl shows must be what it shows without us."""
    dialog = "dialog=220 hi|331 who|230 in|257 \"/\"|500 no|500 no|500 no"
    def shown(shim):
        with FaultServer(dialog) as server:
            lines = run(["curl", "-sSv", f"ftp://{server.authority}/f"], shim=shim).stderr.splitlines()
        return [line for line in lines if line[:1] in b"<>"]
    without = shown(False)
    assert [line[:1] for line in without[:4]] == [b"<", b">", b"<", b">"]
    assert shown(True) == without


REFUSING = """
import io, pycurl, sys
def refuse(line):
    print("line", line.decode().strip(), flush=True)
    if line.startswith(b"230"):
        return -1
c = pycurl.Curl()
c.setopt(pycurl.URL, sys.argv[1])
c.setopt(pycurl.HEADERFUNCTION, refuse)
c.setopt(pycurl.UPLOAD, 1)
c.setopt(pycurl.READDATA, io.BytesIO(b"data"))
try:
    c.perform()
except pycurl.error as error:
    print("error", error.args[0])
"""


def test_a_refused_reply_ends_the_transfer_before_the_next_command():
    dialog = "dialog=220 hi|331 who|230 in|257 \"/\"|229 (|||1|)|150 go"
    def seen(shim):
        with FaultServer(dialog) as server:
            result = pycurl(REFUSING, f"ftp://{server.authority}/f", shim=shim)
            return result.stdout, [line for line in server.lines() if not line.startswith("QUIT")]
    assert seen(True) == seen(False)
    assert [line.split()[0] for line in seen(True)[1]] == ["USER", "PASS"]


@pytest.mark.parametrize("refused", ["dialog=220 hi|250 ok|451 later|221 bye", "dialog=220 hi|250 ok|250 ok|451 later|221 bye"])
def test_mail_refused_before_the_message_is_sent_again(refused):
    with FaultServer([refused, ACCEPTED]) as server:
        assert pycurl(MAIL, f"smtp://{server.authority}", shim=False).returncode != 0
    with FaultServer([refused, ACCEPTED]) as server:
        ours = pycurl(MAIL, f"smtp://{server.authority}")
        lines = server.lines()
    assert ours.returncode == 0, ours.stderr
    assert told(ours) == [("attempt_failed", None), ("succeeded", None)]
    assert lines.count("Subject: x") == lines.count("hello") == 1


def test_a_message_that_was_handed_over_is_never_sent_twice():
    lost = "dialog=220 hi|250 ok|250 ok|250 ok|354 go||||451 later|221 bye"
    with FaultServer([lost, ACCEPTED]) as server:
        ours = pycurl(MAIL, f"smtp://{server.authority}")
        assert server.lines().count("hello") == 1
        assert len(server.accepts()) == 1
    assert ours.returncode != 0
    assert told(ours) == [("given_up", "unsafe")]
