"""Faults under memcheck: no error, nothing lost; the record of a handle stays reachable for the next one."""

import re

import pytest

from curl_hosts import EVENTFUL, eventful, host, run
from harness import FaultServer

CHECK = ["valgrind", "--quiet", "--error-exitcode=9", "--leak-check=full", "--show-leak-kinds=definite,indirect,possible",
         "--errors-for-leak-kinds=definite,indirect,possible"]


def check(*command, **options):
    result = run([*CHECK, *command], timeout=120, **options)
    assert result.returncode == 0, result.stderr.decode()
    return result.stdout.decode()


def test_session():
    with FaultServer(EVENTFUL) as server:
        words = eventful(server.url)
        printed = check(host("session"), *words, max_attempts=6, base_delay_ms=5)
    assert [int(code) for code in re.findall(r"perform -> (\d+)", printed)] == [0, 0, 0, 22, 0, 0]


@pytest.mark.parametrize("kind", ["seek", "mime"])
def test_bodies(kind, tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 5000)
    with FaultServer(["503", "reset-mid=1000", "200"]) as server:
        printed = check(host("bodies"), server.url, kind, tmp_path / "file")
        assert printed == "ok\ncode 0 status 200\n"


def test_threads():
    with FaultServer(["503", "200", "empty", "200", "200,size=1000"]) as server:
        assert check(host("threads"), server.url, "4", "8", max_attempts=20, base_delay_ms=2) == "right 32 wrong 0\n"
