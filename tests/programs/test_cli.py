"""The `retryshim` command, from outside: what it sets, what it refuses, what it leaves alone.

Runs $RETRYSHIM_BUILD/retryshim (default: build/ at the top of the repository), which must have a
libretryshim.so beside it.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("RETRYSHIM_BUILD", ROOT / "build")).resolve()
COMMAND = BUILD / "retryshim"
OBJECT = "libretryshim.so"

MAPPINGS = [
    (["--attempts", "5"], {"RETRY_MAX_ATTEMPTS": "5"}),
    (["--base-delay", "200ms"], {"RETRY_BASE_DELAY_MS": "200"}),
    (["--max-delay", "10s"], {"RETRY_MAX_DELAY_MS": "10000"}),
    (["--multiplier", "1.5"], {"RETRY_MULTIPLIER": "1.5"}),
    (["--jitter", "decorrelated"], {"RETRY_JITTER": "decorrelated"}),
    (["--jitter", "0.25"], {"RETRY_JITTER": "0.25"}),
    (["--timeout", "2m"], {"RETRY_TIMEOUT_MS": "120000"}),
    (["--http-status", "429,503"], {"RETRY_HTTP_STATUS": "429,503"}),
    (["--methods", "GET,HEAD"], {"RETRY_METHODS": "GET,HEAD"}),
    (["--hosts", "*.example.com:443,10.0.0.0/8"], {"RETRY_HOSTS": "*.example.com:443,10.0.0.0/8"}),
    (["--hosts", ""], {"RETRY_HOSTS": ""}),
    (["--skip-hosts", "unix:/run/*"], {"RETRY_SKIP_HOSTS": "unix:/run/*"}),
    (["--programs", "wget,git*"], {"RETRY_PROGRAMS": "wget,git*"}),
    (["--skip-programs", "gpg"], {"RETRY_SKIP_PROGRAMS": "gpg"}),
    (["--no-nonblock"], {"RETRY_NONBLOCK": "0"}),
    (["--no-dns"], {"RETRY_DNS": "0"}),
    (["--no-curl"], {"RETRY_CURL": "0"}),
    (["--unix", "all"], {"RETRY_UNIX": "all"}),
    (["--deepbind", "keep"], {"RETRY_DEEPBIND": "keep"}),
    (["--resume"], {"RETRY_RESUME": "1"}),
    (["--config", "/etc/mine.conf"], {"RETRY_CONFIG": "/etc/mine.conf"}),
    (["--config", "off"], {"RETRY_CONFIG": "off"}),
    (["--state", "off"], {"RETRY_STATE": "off"}),
    (["--state", "/dev/shm/mine"], {"RETRY_STATE": "/dev/shm/mine"}),
    (["--no-budget"], {"RETRY_BUDGET": "off"}),
    (["--budget-burst", "20"], {"RETRY_BUDGET_BURST": "20"}),
    (["--budget-ratio", "0.5"], {"RETRY_BUDGET_RATIO": "0.5"}),
    (["--budget-per-sec", "0.2"], {"RETRY_BUDGET_PER_SEC": "0.2"}),
    (["--breaker", "reject"], {"RETRY_BREAKER": "reject"}),
    (["--breaker-threshold", "7"], {"RETRY_BREAKER_THRESHOLD": "7"}),
    (["--breaker-open", "1m"], {"RETRY_BREAKER_OPEN_MS": "60000"}),
    (["--fallback", "a:1=b:2"], {"RETRY_FALLBACK": "a:1=b:2"}),
    (["--metrics", "statsd://localhost:8125"], {"RETRY_METRICS": "statsd://localhost:8125"}),
    (["--metrics", "emf:udp://192.0.2.9:1,prom:/x"], {"RETRY_METRICS": "emf:udp://192.0.2.9:1,prom:/x"}),
    (["--metrics-namespace", "Cluster/Retry"], {"RETRY_METRICS_NAMESPACE": "Cluster/Retry"}),
    (["--operation", "it's a job"], {"RETRY_OPERATION": "it's a job"}),
    (["--diag"], {"RETRY_DIAG": "1"}),
    (["--diag-file", "/tmp/r.%p"], {"RETRY_DIAG": "1", "RETRY_DIAG_FILE": "/tmp/r.%p"}),
    (["--diag-dir", "/tmp/r"], {"RETRY_DIAG": "1", "RETRY_DIAG_DIR": "/tmp/r"}),
    (["--diag-format", "json"], {"RETRY_DIAG_FORMAT": "json"}),
    (["--seed", "42"], {"RETRY_SEED": "42"}),
]

# Arguments, and a part of the message that says what is allowed.
REFUSED = [
    (["--attempts", "0"], "--attempts: '0' is not a whole number from 1 to 1000"),
    (["--attempts", "1001"], "from 1 to 1000"),
    (["--attempts", "3x"], "whole number"),
    (["--attempts", ""], "whole number"),
    (["--attempts", "-1"], "whole number"),
    (["--base-delay", "2h"], "--base-delay: '2h' is not a duration from 0 to 1h"),
    (["--timeout", "169h"], "from 0 to 168h"),
    (["--breaker-open", "0"], "from 1ms to 1h"),
    (["--multiplier", "0.5"], "a number from 1 to 10"),
    (["--multiplier", "1,5"], "a number from 1 to 10"),
    (["--jitter", "some"], "full, equal, decorrelated or none, or a factor from 0 to 1"),
    (["--jitter", "1.1"], "a factor from 0 to 1"),
    (["--http-status", "200"], "HTTP statuses from 400 to 599"),
    (["--http-status", ""], "HTTP statuses"),
    (["--methods", "GET POST"], "HTTP methods"),
    (["--methods", ""], "HTTP methods"),
    (["--hosts", "10.0.0.0/99"], "name globs, addresses or CIDR"),
    (["--skip-hosts", "a,,b"], "name globs, addresses or CIDR"),
    (["--programs", "a,"], "names"),
    (["--unix", "none"], "busy, all or off"),
    (["--budget-burst", "0"], "a number from 1 to 1000000"),
    (["--breaker", "open"], "pass, reject or off"),
    (["--fallback", "a:1"], "host:port=host:port"),
    (["--metrics", "graphite://h:1"], "statsd://HOST:PORT"),
    (["--diag-file", ""], "--diag-file: ''"),
    (["--diag-dir", ""], "--diag-dir: ''"),
    (["--diag-file", "a\nb"], "printable"),
    (["--state", ""], "--state: ''"),
    (["--config", ""], "--config: ''"),
    (["--diag-format", "xml"], "text or json"),
    (["--seed", "-1"], "a whole number from 0"),
]

DURATIONS = {
    "0": 0, "250": 250, "200ms": 200, "2s": 2000, "1.5s": 1500, "1.1s": 1100, "0.001s": 1, ".5s": 500, "1m": 60000,
    "0.5m": 30000, "1h": 3600000, "1.000s": 1000,
}
BAD_DURATIONS = [
    "", "s", ".", "-1s", "+1s", "1 s", " 1s", "1S", "1sec", "1.5", "0.0001s", "1.2.3s", "1e3", "99999999999999999999",
    "9223372036854775807h", "1.0000000000000000000000s", "inf", "--",
]


def clean_environment(**extra):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RETRY_") and k != "LD_PRELOAD"}
    return {**environment, **extra}


def retryshim(*arguments, command=COMMAND, env=None, **options):
    options.setdefault("stdin", subprocess.DEVNULL)
    options.setdefault("stdout", subprocess.PIPE)
    return subprocess.run(
        [command, *map(str, arguments)], env=env or clean_environment(), stderr=subprocess.PIPE, text=True, timeout=30,
        **options)


def printed(*arguments, **options):
    """What `run --print` says, as a dictionary, read as a shell would read it."""
    done = retryshim("run", "--print", *arguments, **options)
    assert (done.returncode, done.stderr) == (0, "")
    pairs = [word.split("=", 1) for word in shlex.split(done.stdout)]
    assert pairs[0][0] == "LD_PRELOAD"
    return dict(pairs)


def install(root, objects, executable="bin/retryshim"):
    """Copies the command into an installed tree with an object at each of these places."""
    target = root / executable
    target.parent.mkdir(parents=True)
    shutil.copy(COMMAND, target)
    for place in objects:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).touch()
    return target


@pytest.mark.parametrize("arguments,expected", MAPPINGS, ids=lambda value: " ".join(value))
def test_option_sets_its_variable(arguments, expected):
    variables = printed(*arguments)
    del variables["LD_PRELOAD"]
    assert variables == expected


@pytest.mark.parametrize("arguments,expected", MAPPINGS, ids=lambda value: " ".join(value))
def test_program_sees_what_is_printed(arguments, expected):
    done = retryshim("run", *arguments, "--", "env")
    seen = dict(line.split("=", 1) for line in done.stdout.splitlines() if line.startswith(("RETRY_", "LD_PRELOAD=")))
    assert seen == {**expected, "LD_PRELOAD": str(BUILD / OBJECT)}


def test_every_variable_has_an_option():
    source = (ROOT / "shim/policy/config.c").read_text()
    variables = set(re.findall(r'^\s*\{"(RETRY_\w+)"', source, re.M))
    assert len(variables) > 30
    assert set().union(*(expected for _, expected in MAPPINGS)) == variables - {"RETRY_ENABLED"}
    shown = retryshim("run", "--help").stdout
    assert variables - {"RETRY_ENABLED"} == set(re.findall(r"\b(RETRY_\w+)(?:=\w+)?\)", shown))


@pytest.mark.parametrize("text,ms", DURATIONS.items())
def test_duration(text, ms):
    assert printed("--base-delay", text)["RETRY_BASE_DELAY_MS"] == str(ms)


@pytest.mark.parametrize("text", BAD_DURATIONS)
def test_bad_duration(text):
    done = retryshim("run", f"--base-delay={text}", "--", "true")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"--base-delay: '{text}' is not a duration from 0 to 1h" in done.stderr


@pytest.mark.parametrize("arguments,message", REFUSED, ids=lambda value: value if isinstance(value, str) else " ".join(value))
def test_bad_value(arguments, message):
    done = retryshim("run", *arguments, "--", "echo", "ran")
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "--help" in done.stderr


def test_last_of_an_option_counts():
    assert printed("--attempts", "4", "--attempts=6")["RETRY_MAX_ATTEMPTS"] == "6"


def test_environment_stays_and_an_option_wins():
    environment = clean_environment(RETRY_SEED="7", RETRY_MAX_ATTEMPTS="nonsense", RETRY_JITTER="none")
    done = retryshim("run", "--jitter", "equal", "sh", "-c", "echo $RETRY_SEED $RETRY_MAX_ATTEMPTS $RETRY_JITTER", env=environment)
    assert (done.stdout, done.stderr) == ("7 nonsense equal\n", "")


@pytest.mark.parametrize("dashes", [[], ["--"]])
def test_options_of_the_program_are_its_own(dashes):
    done = retryshim("run", "--diag", *dashes, "printf", "%s;", "--attempts", "--", "--help", "-x", "")
    assert (done.returncode, done.stdout) == (0, "--attempts;--;--help;-x;;")


def test_print_needs_no_program_and_runs_none():
    assert retryshim("run", "--print").stdout == f"LD_PRELOAD={shlex.quote(str(BUILD / OBJECT))}\n"
    assert "ran" not in retryshim("run", "--print", "--", "echo", "ran").stdout


def test_printed_lines_survive_a_shell():
    value = "it's \"a\" $HOME `x` \\ *~#!&"
    lines = retryshim("run", "--print", "--operation", value).stdout.replace("\n", " ")
    lines = lines.replace(f"LD_PRELOAD={BUILD / OBJECT}", "")
    assert subprocess.run(f"env {lines} printenv RETRY_OPERATION", shell=True, stdout=subprocess.PIPE, text=True).stdout == value + "\n"


@pytest.mark.parametrize("status", [0, 1, 2, 42, 126, 127, 255])
def test_exit_status_passes_through(status):
    done = retryshim("run", "--", "sh", "-c", f"exit {status}")
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGPIPE", "SIGINT"])
def test_death_by_signal_passes_through(name):
    assert retryshim("run", "sh", "-c", f"kill -{name[3:]} $$").returncode == -signal.Signals[name]


def test_program_takes_over_the_process():
    child = subprocess.Popen([COMMAND, "run", "--", "sh", "-c", "echo $$"], env=clean_environment(), stdout=subprocess.PIPE)
    assert int(child.communicate(timeout=30)[0]) == child.pid


def test_streams_pass_through():
    data = bytes(range(256)) * 1000
    done = subprocess.run(
        [COMMAND, "run", "--", "sh", "-c", "cat; echo oops >&2"], env=clean_environment(), input=data,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
    assert (done.stdout, done.stderr) == (data, b"oops\n")


def test_no_descriptor_is_added():
    listing = "ls /proc/self/fd | wc -l"
    plain = subprocess.run(["sh", "-c", listing], stdout=subprocess.PIPE, text=True).stdout
    assert retryshim("run", "--", "sh", "-c", listing).stdout == plain


@pytest.mark.parametrize("program", ["no-such-program-here", "/nonexistent/foo", ""])
def test_missing_program(program):
    done = retryshim("run", "--", program)
    assert done.returncode == 127
    assert done.stderr == f"retryshim: cannot run '{program}': No such file or directory\n"


def test_unusable_program(tmp_path):
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\necho ran\n")
    script.chmod(0o644)
    for program in script, tmp_path:
        done = retryshim("run", "--", program)
        assert (done.returncode, done.stdout) == (126, "")
        assert done.stderr == f"retryshim: cannot run '{program}': Permission denied\n"


@pytest.mark.parametrize("before,after", [
    ("", ""),
    ("/x/other.so", ":/x/other.so"),
    ("/x/a.so /x/b.so", ":/x/a.so:/x/b.so"),
    ("{object}", ""),
    ("/x/a.so:{object}:/x/b.so", ":/x/a.so:/x/b.so"),
    ("/elsewhere/libretryshim.so:libretryshim.so::/x/notlibretryshim.so", ":/x/notlibretryshim.so"),
])
def test_preload_is_prepended_once(before, after):
    path = str(BUILD / OBJECT)
    environment = clean_environment(LD_PRELOAD=before.format(object=path))
    done = retryshim("run", "--print", env=environment)
    assert shlex.split(done.stdout) == ["LD_PRELOAD=" + path + after]


@pytest.mark.parametrize("place", ["bin", "lib", "lib/retryshim", "lib/x86_64-linux-gnu"])
def test_installed_layout(tmp_path, place):
    command = install(tmp_path, [f"{place}/{OBJECT}"])
    assert printed(command=command)["LD_PRELOAD"] == f"{tmp_path}/{place}/{OBJECT}"
    link = tmp_path / "link"
    link.symlink_to(command)
    assert printed(command=link)["LD_PRELOAD"] == f"{tmp_path}/{place}/{OBJECT}"


def test_nearest_object_is_taken(tmp_path):
    places = ["bin", "lib", "lib/retryshim", "lib/aaa"]
    command = install(tmp_path, [f"{place}/{OBJECT}" for place in places])
    for place in places:
        assert printed(command=command)["LD_PRELOAD"] == f"{tmp_path}/{place}/{OBJECT}"
        (tmp_path / place / OBJECT).unlink()


def test_missing_object(tmp_path):
    command = install(tmp_path, [])
    (tmp_path / "lib" / "below" / OBJECT).mkdir(parents=True)  # a directory is no object
    done = retryshim("run", "--", "true", command=command)
    if done.returncode == 0:  # one is installed on this machine, in the directory that was compiled in
        assert Path(printed(command=command)["LD_PRELOAD"]).is_file()
        return
    assert done.returncode == 2
    for directory in "bin", "lib", "lib/retryshim", "lib/*":
        assert f"  {tmp_path}/{directory}\n" in done.stderr
    assert "Install it" in done.stderr


@pytest.mark.parametrize("name", ["with blank", "with:colon"])
def test_path_that_cannot_be_preloaded(tmp_path, name):
    command = install(tmp_path / name, [f"lib/{OBJECT}"])
    for arguments in ["--print"], ["--", "echo", "ran"]:
        done = retryshim("run", *arguments, command=command)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"'{tmp_path}/{name}/lib/{OBJECT}' cannot be preloaded" in done.stderr
        assert "ld.so(8)" in done.stderr


def test_relative_files_are_made_absolute(tmp_path):
    variables = printed(
        "--diag-file", "d/%p.log", "--diag-dir", "events", "--state", "s", "--config", "c", "--metrics",
        "emf:m.json, prom:../p,emf:udp://192.0.2.9:1,prom:/abs", cwd=tmp_path)
    assert variables["RETRY_DIAG_FILE"] == f"{tmp_path}/d/%p.log"
    assert variables["RETRY_DIAG_DIR"] == f"{tmp_path}/events"
    assert variables["RETRY_STATE"] == f"{tmp_path}/s"
    assert variables["RETRY_CONFIG"] == f"{tmp_path}/c"
    assert variables["RETRY_METRICS"] == f"emf:{tmp_path}/m.json,prom:{tmp_path}/../p,emf:udp://192.0.2.9:1,prom:/abs"
    assert printed("--diag-file", "x", cwd="/")["RETRY_DIAG_FILE"] == "/x"


@pytest.mark.parametrize("name,arguments", [("a,b", ["--metrics", "emf:x"]), ("a\nb", ["--diag-file", "x"])])
def test_relative_file_in_a_directory_that_no_variable_can_hold(tmp_path, name, arguments):
    (tmp_path / name).mkdir()
    done = retryshim("run", *arguments, "--print", cwd=tmp_path / name)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{tmp_path}/{name}/x' is not " in done.stderr


def test_relative_file_in_a_removed_directory(tmp_path):
    script = f"mkdir gone && cd gone && rmdir ../gone && {shlex.quote(str(COMMAND))} run --diag-file x --print"
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert "--diag-file: no path for the current directory" in done.stderr


@pytest.mark.parametrize("arguments,message", [
    ([], "no command given"),
    (["frobnicate"], "unknown command 'frobnicate'"),
    (["--frobnicate"], "unknown option '--frobnicate'"),
    (["help", "frobnicate"], "unknown command 'frobnicate'"),
    (["help", "run", "more"], "'more'"),
    (["version", "more"], "'more'"),
    (["run"], "no PROGRAM given"),
    (["run", "--diag", "--"], "no PROGRAM given"),
    (["run", "--frobnicate", "true"], "'--frobnicate'"),
    (["run", "-z", "true"], "'z'"),
    (["run", "--attempts"], "'--attempts' requires an argument"),
    (["run", "--diag=1", "true"], "'--diag' doesn't allow an argument"),
])
def test_usage_error(arguments, message):
    done = retryshim(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "--help" in done.stderr


def test_version():
    header = (ROOT / "include/retryshim/version.h").read_text()
    expected = "retryshim " + re.search(r'RETRYSHIM_VERSION "(.*)"', header)[1] + "\n"
    for arguments in ["version"], ["--version"]:
        done = retryshim(*arguments)
        assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")


@pytest.mark.parametrize("name", ["run", "check", "env", "status", "metrics", "report", "tail", "help", "version"])
def test_help_of_each_command(name):
    texts = [retryshim(*arguments) for arguments in ([name, "--help"], [name, "-h"], ["help", name])]
    for done in texts:
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("Usage: retryshim ")
        assert done.stdout == texts[0].stdout
        assert max(map(len, done.stdout.splitlines())) <= 80


def test_help_lists_the_commands():
    texts = [retryshim(*arguments).stdout for arguments in (["help"], ["--help"], ["-h"])]
    assert texts[0] == texts[1] == texts[2]
    assert re.findall(r"^  (\w+)  +\w", texts[0], re.M) == ["run", "check", "env", "status", "metrics", "report", "tail", "help", "version"]


def test_help_of_run_tells_defaults_examples_and_statuses():
    text = " ".join(retryshim("run", "--help").stdout.split())
    for part in "(default 3; RETRY_MAX_ATTEMPTS)", "(default 1m; RETRY_TIMEOUT_MS)", "Examples:", "Exit status:", "127":
        assert part in text


@pytest.mark.parametrize("arguments", [["run", "--print"], ["run", "--help"], ["run", "--usage"], ["help"], ["version"],
                                       ["status", "--state=/nowhere"]])
def test_full_disk_is_reported(arguments):
    with open("/dev/full", "w") as full:
        done = retryshim(*arguments, stdout=full)
    assert done.returncode == 1
    assert done.stderr == "retryshim: cannot write to standard output: No space left on device\n"


@pytest.mark.parametrize("settings", [[], ["JANSSON="]])
def test_plain_make_builds_both_products(settings, tmp_path):
    # Not the variables of the make that runs the tests.
    shown = subprocess.run(["make", "-n", f"B={tmp_path}", *settings], cwd=ROOT, env={"PATH": os.environ["PATH"]},
                           capture_output=True, text=True, check=True).stdout
    assert re.findall(r"LINK\t(\S+)'", shown) == [f"{tmp_path}/{name}" for name in (OBJECT, "retryshim")]
