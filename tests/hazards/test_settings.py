"""Settings are those that the process was started with; in a set-user-ID program they do not count."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from harness import SHIM, built, events, run
from hosts import ENDLESS, LatePort, compiled, run_host, said


@pytest.mark.parametrize("scenario", ["once", "overwrite", "clear", "set"])
def test_settings_survive_the_program(scenario):
    with LatePort() as port:
        told, result = run_host("settings", scenario, port.number, max_attempts=4, base_delay_ms=1)
    assert told["connect"] == "ECONNREFUSED"
    assert [event["event"] for event in events(result)] == ["attempt_failed"] * 3 + ["exhausted"]


def read_slowly(scenario, file, text):
    file.write_text(text)
    with LatePort() as port:
        result = run([compiled("reading", "-rdynamic"), scenario, port.number], config=file, base_delay_ms=1, budget="off", breaker="off")
    assert result.returncode == 0, result
    return said(result.stdout), [event["event"] for event in events(result)]


def test_child_forked_while_the_file_is_read(tmp_path):
    """What the file says is not known to it: it retries nothing."""
    told, seen = read_slowly("child", tmp_path / "file", "[127.0.0.1]\nenabled = 0\n")
    assert told == {"child": "ECONNREFUSED", "first": "ECONNREFUSED"} and seen == []


def test_thread_that_comes_while_the_file_is_read(tmp_path):
    told, seen = read_slowly("other", tmp_path / "file", "max_attempts = 2\n")
    assert told == {"other": "ECONNREFUSED", "first": "ECONNREFUSED"}
    assert sorted(seen) == ["attempt_failed"] * 2 + ["exhausted"] * 2


# Obeyed, they would keep the program for an hour, and would be told of.
HOSTILE = {**ENDLESS, "max_attempts": 2, "timeout": 20}


def test_settings_do_not_count_in_a_secure_program():
    with LatePort() as port:
        told, result = run_host("settings", "secure", port.number, **HOSTILE)
    assert told["connect"] == "ECONNREFUSED" and result.diag + result.stderr == b""


@pytest.fixture
def open_folder():
    """A folder that every user may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory(prefix="hazards-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def test_settings_do_not_count_in_a_set_user_id_program(open_folder):
    """Linked with the object, since the loader preloads nothing into such a program from where we build."""
    if os.geteuid() != 0 or os.statvfs(open_folder).f_flag & os.ST_NOSUID:
        pytest.fail("needs root and a folder that is not mounted nosuid: no other can make a set-user-ID program of another user")
    shutil.copy(built(SHIM), open_folder)
    linked = compiled("signals", "-Wl,--no-as-needed", built(SHIM), f"-Wl,-rpath,{open_folder}", output="linked")
    program = shutil.copy(linked, open_folder / "host")
    with LatePort() as port:
        plain = run([program, "once", port.number], shim=False, max_attempts=3, base_delay_ms=1)
        assert len(events(plain)) == 3
        os.chown(program, 65534, 65534)
        os.chmod(program, 0o4755)
        secure = run([program, "once", port.number], shim=False, **HOSTILE)
    assert secure.diag + secure.stderr == b"" and said(secure.stdout)["connect"] == "ECONNREFUSED"
