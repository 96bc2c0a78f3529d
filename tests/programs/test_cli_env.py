"""`retryshim env`: what a program would read, held against what the object makes of the same environment."""

import json
import os
import re
import subprocess

import pytest

from harness import BUILD, PATH, ROOT, SHIM, run

COMMAND = BUILD / "retryshim"
NAMES = re.findall(r'^\s*\{"(RETRY_\w+)"', (ROOT / "shim/policy/config.c").read_text(), re.M)


def show(*arguments, **variables):
    return subprocess.run([COMMAND, "env", *arguments], env={"PATH": PATH, "LANG": "C.UTF-8", **variables},
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30)


def told(**variables):
    done = show("--json", **variables)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    return {row["name"]: row for row in told["variables"]}, told["unknown"]


def test_every_variable_once():
    rows, unknown = told()
    assert list(rows) == NAMES and len(NAMES) > 30 and unknown == []
    for row in rows.values():
        assert row["from"] == "default" and row["set"] is None and row["value"] == row["default"] and row["meaning"]
    assert rows["RETRY_MAX_ATTEMPTS"]["default"] == "3"
    assert rows["RETRY_STATE"]["default"] == f"/dev/shm/retryshim-{os.getuid()}"


def test_defaults_are_those_of_the_readme():
    rows, _ = told()
    readme = (ROOT / "README.md").read_text()
    for names, default in re.findall(r"^\| ((?:`RETRY_\w+`(?:, )?)+) \| ([^|]*) \|", readme, re.M):
        names, defaults = re.findall(r"RETRY_\w+", names), re.findall(r"`([^`]*)`", default)
        defaults = defaults * len(names) if len(defaults) == 1 else defaults
        for name, expected in zip(names, defaults):
            assert rows[name]["default"] == expected.replace("UID", str(os.getuid())), name


def test_what_is_set():
    rows, unknown = told(RETRY_MAX_ATTEMPTS="5", RETRY_JITTER="sometimes", RETRY_SEED="", RETRY_MAX_ATEMPTS="9", RETRYX="1",
                         RETRY_STATE="off")
    assert unknown == ["RETRY_MAX_ATEMPTS"]
    assert {name: (row["value"], row["from"], row["set"]) for name, row in rows.items() if row["set"]} == {
        "RETRY_MAX_ATTEMPTS": ("5", "environment", "5"),
        "RETRY_JITTER": ("full", "default", "sometimes"),
        "RETRY_STATE": ("off", "environment", "off"),
    }
    assert {name for name, row in rows.items() if row["refused"]} == {"RETRY_JITTER"}


@pytest.mark.parametrize("value", ["sometimes", "-1", "0", "a\nb", "", "1,5", "999999999999999999"])
def test_refuses_what_the_object_refuses(value):
    """The object names each value that it does not use."""
    quiet = {"RETRY_ENABLED", "RETRY_PROGRAMS", "RETRY_DIAG", "RETRY_DIAG_FILE", "RETRY_DIAG_DIR", "RETRY_DIAG_FORMAT"}
    others = {name: value for name in NAMES if name not in quiet}
    rows, _ = told(**others)
    refused = {name for name, row in rows.items() if row["refused"]}
    code = "import socket; socket.socket().connect_ex(('127.0.0.1', 1))"
    env = {**{name: None for name in NAMES}, **others, "LD_PRELOAD": SHIM, "RETRY_DIAG": "1"}
    for name in "RETRY_STATE", "RETRY_METRICS":  # what they name is not to be made
        if name not in refused:
            env[name] = None
    result = run(["/usr/bin/python3", "-c", code], shim=False, env=env)
    named = set(re.findall(r"(RETRY_\w+)=(?:.|\n)*? is not valid", result.stderr.decode("utf-8", "replace")))
    assert named - {"RETRY_STATE", "RETRY_METRICS"} == refused - {"RETRY_STATE", "RETRY_METRICS"}, result.stderr


def test_table_for_people():
    done = show(RETRY_MAX_ATTEMPTS="5", RETRY_JITTER="a\033[2J", RETRY_MAX_ATEMPTS="9", RETRY_HOSTS="x" * 60)
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr, len(lines)) == (0, "", len(NAMES) + 2)
    assert "\033" not in done.stdout
    cells = [re.split(r"  +", line) for line in lines]
    assert cells[0] == ["VARIABLE", "VALUE", "FROM", "MEANING"]
    assert [row[0] for row in cells[1:-1]] == NAMES
    assert cells[3] == ["RETRY_MAX_ATTEMPTS", "5", "environment (default 3)", "attempts in all, the first included; 1 = never retry"]
    assert cells[7][:3] == ["RETRY_JITTER", "full", "default, for 'a?[2J' is malformed"]
    assert cells[11][:3] == ["RETRY_HOSTS", "x" * 60, "environment (default -)"]
    assert lines[-1] == "RETRY_MAX_ATEMPTS is set, and no variable of that name is known."
    starts = [line.index(row[3]) for line, row in zip(lines, cells) if len(row) == 4 and row[0] != "RETRY_HOSTS"]
    assert len(set(starts)) == 1


FILE = """max_attempts = 5
timeout_ms = 9
nonsense = 1
[db.internal:5432, unix:/run/*]
max_attempts = 10
methods =
"""


@pytest.mark.parametrize("destination, attempts, methods", [
    (None, ("5", "file"), "environment"), ("db.internal:5432", ("10", "section"), "section"), ("db.internal:1", ("5", "file"), "environment"),
    ("unix:/run/x", ("10", "section"), "section"), ("10.0.0.1:5", ("5", "file"), "environment")])
def test_what_a_file_says(tmp_path, destination, attempts, methods):
    (tmp_path / "conf").write_text(FILE)
    arguments = ["--for", destination] if destination else []
    done = show("--json", *arguments, RETRY_CONFIG=str(tmp_path / "conf"), RETRY_METHODS="GET", RETRY_TIMEOUT_MS="x")
    told = json.loads(done.stdout)
    rows = {row["name"]: row for row in told["variables"]}
    assert (rows["RETRY_MAX_ATTEMPTS"]["value"], rows["RETRY_MAX_ATTEMPTS"]["from"]) == attempts
    assert rows["RETRY_METHODS"]["from"] == methods
    assert rows["RETRY_METHODS"]["value"] == (rows["RETRY_METHODS"]["default"] if methods == "section" else "GET")
    assert (rows["RETRY_TIMEOUT_MS"]["value"], rows["RETRY_TIMEOUT_MS"]["from"], rows["RETRY_TIMEOUT_MS"]["refused"]) == ("9", "file", True)
    assert told["file"] == str(tmp_path / "conf")
    assert told["skipped"] == [{"line": 3, "what": "nonsense", "why": "there is no such setting"}]
    shown = show(*arguments, RETRY_CONFIG=str(tmp_path / "conf"), RETRY_TIMEOUT_MS="x").stdout.splitlines()
    assert shown[-1] == f"{tmp_path}/conf:3: nonsense is not used: there is no such setting."
    line = next(line for line in shown if line.startswith("RETRY_MAX_ATTEMPTS"))
    assert re.split("  +", line)[1:3] == [attempts[0], f"{attempts[1]} (default 3)"]
    assert len([line for line in shown if " default " not in line]) == 5 + (methods == "section")  # the example of --help


def test_switched_off_no_file_is_read(tmp_path):
    """RETRY_ENABLED=0 in the environment is the end of it: no section can switch it on again."""
    (tmp_path / "conf").write_text("[db:5432]\nenabled = 1\n")
    done = json.loads(show("--json", "--for", "db:5432", RETRY_CONFIG=str(tmp_path / "conf"), RETRY_ENABLED="0").stdout)
    assert [(it["value"], it["from"]) for it in done["variables"] if it["name"] == "RETRY_ENABLED"] == [("0", "environment")]
    assert done["file"] is None


def test_a_file_that_is_not_there(tmp_path):
    assert show(RETRY_CONFIG=f"{tmp_path}/none").stdout.splitlines()[-1] == f"{tmp_path}/none is not used: No such file or directory."
    assert json.loads(show("--json").stdout)["file"] is None
    assert "is not a destination" in show("--for", "").stderr


def test_as_run_sets_it():
    done = subprocess.run([COMMAND, "run", "--attempts=7", "--", COMMAND, "env", "--json"], stdout=subprocess.PIPE,
                          env={"PATH": PATH})
    rows = {row["name"]: row for row in json.loads(done.stdout)["variables"]}
    assert (rows["RETRY_MAX_ATTEMPTS"]["value"], rows["RETRY_MAX_ATTEMPTS"]["from"]) == ("7", "environment")


def test_no_arguments():
    done = show("more")
    assert (done.returncode, done.stdout) == (2, "") and "unexpected argument 'more'" in done.stderr
