"""The manual pages: every option and variable there is, with its default; none that is not; and clean to both formatters."""

import json
import os
import re
import subprocess

import pytest

from harness import BUILD, ROOT, FaultServer, built, events, need, run

COMMAND_PAGE, OBJECT_PAGE = ROOT / "shim/cli/retryshim.1", ROOT / "shim/libretryshim.7"
PAGES = [COMMAND_PAGE, OBJECT_PAGE]
COMMON = {"--help", "--usage"}


def command(*arguments):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RETRY_")}
    return subprocess.run([built(BUILD / "retryshim"), *arguments], capture_output=True, text=True, check=True, env=clean).stdout


def variables():
    return {row["name"]: row for row in json.loads(command("env", "--json"))["variables"]}


def section(page, level, name):
    """Its text up to the next one of its level or a higher one."""
    found = re.search(rf'^\.{level} "?{re.escape(name)}"?\n(.*?)(?=^\.Sh|^\.{level} |\Z)', page.read_text(), re.M | re.S)
    return found.group(1)


def plain(source):
    """A line of mdoc as it reads."""
    source = re.sub(r"(^|(?<= ))(\.It|Fl|Ar|Cm|Ev|Li|Op|Pq) ", lambda m: {"Fl": "-", "Pq": "("}.get(m[2], ""), source)
    return re.sub(r" ?\bNs\b ?", "", source).replace(r"\&", "").replace(" , -", ", --")


def options(text):
    """Long option -> the whole line that introduces it, as it reads."""
    lines = [plain(line) for line in re.findall(r"^\.It Fl .*", text.replace("\\\n", ""), re.M)]
    return {re.search(r"--[a-z-]+", line)[0]: line for line in lines}


# ---- retryshim(1) ---------------------------------------------------------------------------------------------------


COMMANDS = re.findall(r"^  ([a-z]+)  +\S", command("help"), re.M)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_with_its_options_and_no_other(name):
    there = set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", command(name, "--help"), re.M)) - COMMON
    assert set(options(section(COMMAND_PAGE, "Ss", name))) == there


def test_no_other_command():
    assert re.findall(r"^\.Ss (.*)", COMMAND_PAGE.read_text(), re.M) == COMMANDS


def test_options_name_their_defaults_and_variables():
    """As the help does: `--jitter=J ... (default full; RETRY_JITTER)`."""
    helped = re.split(r"\n +(?:-\w, )?(?=--[a-z])", command("run", "--help"))
    variable = {text.split("=")[0].split()[0]: re.findall(r"RETRY_[A-Z_]+", text) for text in helped if text.startswith("--")}
    default = {text.split("=")[0].split()[0]: re.findall(r"\(default\s+([^\s;]+);", text) for text in helped}
    for option, line in options(section(COMMAND_PAGE, "Ss", "run")).items():
        assert re.findall(r"RETRY_[A-Z_]+", line) == variable[option][-1:], line
        assert re.findall(r"default ([^\s;]+);", line) == default[option], line


def test_exit_statuses():
    documented = set(re.findall(r"^\.It (\d+)$", section(COMMAND_PAGE, "Sh", "EXIT STATUS"), re.M))
    told = {status for name in COMMANDS for status in re.findall(r"^  (\d+) +\S", command(name, "--help"), re.M)}
    assert documented == told == {"0", "1", "2", "3", "126", "127"}


# ---- libretryshim(7) ------------------------------------------------------------------------------------------------


def test_each_variable_with_its_default():
    items = re.findall(r"^\.It Ev (.*)", section(OBJECT_PAGE, "Sh", "ENVIRONMENT"), re.M)
    written = {}
    for item in items:
        names, _, default = item.partition(" Pq ")
        written.update({name: default for name in names.split(" , ")})
    there = {name: row["default"] for name, row in variables().items()}
    # Of these two the default is a path, which stands in their text.
    assert {name: default for name, default in written.items() if name != "TRACEPARENT"} == {**there, "RETRY_CONFIG": "", "RETRY_STATE": ""}
    assert "/etc/retryshim.conf" in OBJECT_PAGE.read_text() and "/dev/shm/retryshim- Ns Ar UID" in OBJECT_PAGE.read_text()


def test_variables_are_those_of_the_table():
    """What `env` lists is what the object parses."""
    assert set(variables()) == set(re.findall(r'^\t\{"(RETRY_[A-Z_]+)"', (ROOT / "shim/policy/config.c").read_text(), re.M))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_variable_that_does_not_exist(page):
    assert set(re.findall(r"\bRETRY_[A-Z_]*[A-Z]\b", page.read_text())) <= set(variables())


def test_choices_of_variables():
    text = section(OBJECT_PAGE, "Sh", "ENVIRONMENT")
    rows = re.findall(r'\{"(RETRY_[A-Z_]+)", KIND_(?:CHOICE|JITTER),[^"]*"([^"]*)"', (ROOT / "shim/policy/config.c").read_text())
    assert len(rows) > 4
    for name, choices in rows:
        item = re.search(rf"^\.It Ev {name} .*?(?=^\.It)", text, re.M | re.S)[0]
        words = set(re.findall(r"[a-z]+", " ".join(re.findall(r"^\.Cm (.*)", item, re.M))))
        assert words == set(choices.split("|")), name


def test_settings_of_whole_processes():
    """Those that a section of a file may not hold."""
    rows = re.findall(r'\{"RETRY_([A-Z_]+)", KIND_\w+, PROCESS,', (ROOT / "shim/policy/config.c").read_text())
    found = re.search(r"^\.Po\n(.*?)^\.Pc", section(OBJECT_PAGE, "Sh", "CONFIGURATION FILE"), re.M | re.S)[1]
    assert set(re.findall(r"[a-z_]{3,}", found)) == {row.lower() for row in rows}


def test_members_and_events_of_json():
    with FaultServer(["503", "200"]) as server:
        result = run(["curl", "-sS", server.url + "/x"], env={"TRACEPARENT": f"00-{'a' * 32}-{'b' * 16}-01"}, jitter="x")
    text = section(OBJECT_PAGE, "Sh", "DIAGNOSTICS")
    documented = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"^(?:\.It Li|\.Li) (.*)", text, re.M))))
    seen = {member for event in events(result) for member in event}
    assert {"ts", "trace_id", "delay_ms", "default"} <= seen <= documented
    source = (ROOT / "shim/report/event.c").read_text()
    assert set(re.findall(r'line_json_\w+\(&?line, "([a-z_]+)"', source)) <= documented
    names = set(re.findall(r'EVENT_\w+: return "([a-z_]+)"', (ROOT / "shim/policy/decide.c").read_text()))
    reasons = set(re.findall(r'REASON_\w+: return "([a-z_]+)"', (ROOT / "shim/policy/decide.c").read_text()))
    names |= set(re.findall(r'begin\(&line, config, wall_us, "([a-z_]+)"', source))
    words = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"^\.Cm (.*)", text, re.M))))
    assert len(names) > 7 and len(reasons) > 7 and names | reasons <= words


# ---- both -----------------------------------------------------------------------------------------------------------


def test_lint():
    """Whether other packages' pages are installed here is not the pages' fault."""
    done = subprocess.run([need("mandoc"), "-Tlint", *PAGES], capture_output=True, text=True)
    assert [line for line in done.stdout.splitlines() if "referenced manual not found" not in line] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_renders(page):
    rendered = subprocess.run([need("groff"), "-ww", "-mandoc", "-Tutf8", "-P-cbou", page], capture_output=True, text=True)
    assert (rendered.stderr, rendered.returncode) == ("", 0)
    environment = {"PATH": "/usr/bin:/bin", "MANWIDTH": "80", "LC_ALL": "C.UTF-8"}
    shown = subprocess.run([need("man"), "--warnings", "-l", page], capture_output=True, text=True, env=environment)
    assert (shown.stderr, shown.returncode) == ("", 0)
    assert "\nENVIRONMENT\n" in shown.stdout and "\nSEE ALSO\n" in shown.stdout
    assert max(map(len, shown.stdout.split("\n"))) <= 80
