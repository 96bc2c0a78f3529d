"""curl over FTP and SMTP: 4yz replies are repeated, a message that was handed over never is."""

import pytest

from harness import FaultServer, events, run

MAIL = ["--mail-from", "a@example.org", "--mail-rcpt", "b@example.org", "-T", "-"]
MESSAGE = b"Subject: x\r\n\r\nhello\r\n"
ACCEPTED = "dialog=220 hi|250 ok|250 ok|250 ok|354 go||||250 done|221 bye"


def reasons(result):
    return [(event["event"], event.get("reason"), event.get("error")) for event in events(result)]


def test_ftp_421_is_tried_again():
    with FaultServer(r"greet=421 busy\r\n") as server:
        plain = run(["curl", "-sS", f"ftp://{server.authority}/f"], shim=False)
        before = len(server.accepts())
        ours = run(["curl", "-sS", f"ftp://{server.authority}/f"])
        assert (before, len(server.accepts()) - before) == (1, 3)
    assert plain.returncode == ours.returncode != 0
    assert plain.stderr == ours.stderr
    assert [event["event"] for event in events(ours)] == ["attempt_failed", "attempt_failed", "exhausted"]


def test_ftp_lines_are_shown_once():
    """The replies of attempts that came to nothing reach no header callback."""
    with FaultServer(r"greet=421 busy\r\n") as server:
        ours = run(["curl", "-sSv", f"ftp://{server.authority}/f"])
        assert len(server.accepts()) == 3
    assert ours.stderr.count(b"< 421 busy") == 1


@pytest.mark.parametrize("refused", ["dialog=220 hi|250 ok|451 later|221 bye", "dialog=220 hi|250 ok|250 ok|451 later|221 bye"])
def test_mail_refused_before_the_message_is_sent_again(refused):
    argv = ["curl", "-sS", *MAIL]
    with FaultServer([refused, ACCEPTED]) as server:
        assert run([*argv, f"smtp://{server.authority}"], shim=False, stdin=MESSAGE, timeout=20).returncode != 0
    with FaultServer([refused, ACCEPTED]) as server:
        ours = run([*argv, f"smtp://{server.authority}"], stdin=MESSAGE, timeout=20)
        lines = server.lines()
    assert ours.returncode == 0, ours.stderr
    assert [event["event"] for event in events(ours)] == ["attempt_failed", "succeeded"]
    assert lines.count("Subject: x") == lines.count("hello") == 1


def test_a_message_that_was_handed_over_is_never_sent_twice():
    lost = "dialog=220 hi|250 ok|250 ok|250 ok|354 go||||451 later|221 bye"
    with FaultServer([lost, ACCEPTED]) as server:
        ours = run(["curl", "-sS", *MAIL, f"smtp://{server.authority}"], stdin=MESSAGE, timeout=20)
        assert server.lines().count("hello") == 1
        assert len(server.accepts()) == 1
    assert ours.returncode != 0
    assert [(event, reason) for event, reason, _ in reasons(ours)] == [("given_up", "unsafe")]
