"""`retryshim check`: each claim that a program is reached, or is not, is held against what happens when it is really run with
the preload and its server refuses."""

import json
import os
import random
import re
import socket
import subprocess
from pathlib import Path

import pytest

from cli_programs import COMMAND, KINDS, Rights, compile_program, install, make_kinds
from harness import BUILD, PATH, ROOT, SHIM, events, need, run

REACHES = {"reached": 0, "partly": 1, "not": 3}


@pytest.fixture(scope="session")
def kinds(tmp_path_factory):
    return make_kinds(tmp_path_factory.mktemp("kinds"))


@pytest.fixture(scope="session")
def rights():
    made = Rights()
    yield made
    made.folder.cleanup()


@pytest.fixture(scope="session")
def refused():
    """A port where nobody listens, and nobody else will."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield str(bound.getsockname()[1])


def environment(**extra):
    return {"PATH": PATH, "LANG": "C.UTF-8", **extra}


def check(*words, env=None, command=COMMAND, **options):
    return subprocess.run([command, "check", "--json", "--", *map(str, words)], env=env or environment(),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30, **options)


def checked(*words, **options):
    """The object that --json prints, its exit status compared with it."""
    done = check(*words, **options)
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert done.returncode == REACHES[told["reach"]]
    return told


def keys(told, reach=None):
    return [finding["key"] for finding in told["findings"] if reach in (None, finding["reach"])]


def retried_in(result):
    """Other processes than the program's own may tell of failures, too."""
    return any(event["event"] == "attempt_failed" for event in events(result))


def texts(*words, env=None, command=COMMAND):
    """What people read, and the exit status."""
    done = subprocess.run([command, "check", "--", *map(str, words)], env=env or environment(), stdout=subprocess.PIPE,
                          text=True, timeout=30)
    return done.stdout, done.returncode


# ---- what is there, really run --------------------------------------------------------------------------

NODE = "require('net').connect({host: '127.0.0.1', port: %s, autoSelectFamily: false}).on('error', () => process.exit(1))"
JAVA = """class Fetch {
	public static void main(String[] a) throws Exception { new java.net.Socket("127.0.0.1", Integer.parseInt(a[0])); }
}"""

# name: (command line, with PORT; reach; a finding that it has to have; whether it is retried)
REAL = {
    "curl": (["curl", "-sS", "http://127.0.0.1:PORT/"], "reached", "curl", True),
    "wget": (["wget", "-q", "-t", "1", "http://127.0.0.1:PORT/"], "reached", "connect", True),
    "git": (["git", "ls-remote", "git://127.0.0.1:PORT/x"], "reached", "connect", True),
    "git-remote-http": (["/usr/lib/git-core/git-remote-http", "origin", "http://127.0.0.1:PORT/x"], "reached", "curl", None),
    "python": (["/usr/bin/python3", "-c", "import socket; socket.create_connection(('127.0.0.1', PORT))"], "reached", "plugins", True),
    "node": (["node", "-e", NODE % "PORT"], "reached", "syscall", True),
    "php": (["php", "-r", "exit(@fsockopen('127.0.0.1', PORT) ? 0 : 1);"], "reached", "plugins", True),
    "perl": (["perl", "-MIO::Socket::INET", "-e", "exit(!IO::Socket::INET->new('127.0.0.1:PORT'))"], "reached", "connect", True),
    "ruby": (["ruby", "-rsocket", "-e", "TCPSocket.new('127.0.0.1', PORT)"], "reached", "no-network", True),
    "bash": (["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/PORT"], "reached", "shell", True),
    "npm": (["npm", "ping", "--registry=http://127.0.0.1:PORT/", "--fetch-retries=0"], "reached", "script", True),
    "bash-static": (["bash-static", "-c", "exec 3<>/dev/tcp/127.0.0.1/PORT"], "not", "static", False),
    "gron": (["gron", "http://127.0.0.1:PORT/"], "partly", "go-lookups", False),
    "env": (["env", "A=1", "curl", "-sS", "http://127.0.0.1:PORT/"], "reached", "wrapper", True),
    "env -S": (["env", "-S", "A='1 2' curl -sS", "http://127.0.0.1:PORT/"], "reached", "curl", True),
    "many": (["nice", "-n", "5", "timeout", "-k", "1", "50", "nohup", "setsid", "-w", "stdbuf", "-oL",
              "curl", "-sS", "http://127.0.0.1:PORT/"], "reached", "curl", True),
    "env -i": (["env", "-i", "curl", "-sS", "http://127.0.0.1:PORT/"], "not", "clears", False),
    "env -u": (["env", "-u", "LD_PRELOAD", "curl", "-sS", "http://127.0.0.1:PORT/"], "not", "clears", False),
    "env LD_PRELOAD=": (["env", "LD_PRELOAD=", "curl", "-sS", "http://127.0.0.1:PORT/"], "not", "replaces", False),
    "env RETRY_ENABLED": (["env", "RETRY_ENABLED=0", "curl", "-sS", "http://127.0.0.1:PORT/"], "not", "disabled", False),
    "sudo": (["sudo", "-n", "curl", "-sS", "http://127.0.0.1:PORT/"], "not", "scrubs", False),
    "sudo -E": (["sudo", "-n", "-E", "curl", "-sS", "http://127.0.0.1:PORT/"], "not", "scrubs", False),
    "su": (["su", "root", "-c", "curl -sS http://127.0.0.1:PORT/"], "reached", "wrapper-unclear", True),
    "su -": (["su", "-", "root", "-c", "curl -sS http://127.0.0.1:PORT/"], "not", "clears", False),
    "setpriv": (["setpriv", "--reset-env", "curl", "-sS", "http://127.0.0.1:PORT/"], "not", "clears", False),
    "ld.so": (["/lib64/ld-linux-x86-64.so.2", "/usr/bin/curl", "-sS", "http://127.0.0.1:PORT/"], "reached", "curl", True),
    "busybox's way": (["xargs", "-n", "1", "-I", "{}", "curl", "http://127.0.0.1:PORT/{}"], "reached", "curl", None),
}


@pytest.mark.parametrize("name", REAL)
def test_real_program(refused, name):
    words, reach, key, retried = REAL[name]
    words = [word.replace("PORT", refused) for word in words]
    need(words[0])
    told = checked(*words)
    assert (told["reach"], key in keys(told)) == (reach, True), told
    assert told["program"] == words[0] and told["object"] == str(SHIM)
    if retried is not None:
        result = run(words, base_delay_ms=1, max_attempts=2)
        assert result.returncode != 0
        assert retried_in(result) == retried, result.stderr


def test_java(tmp_path, refused):
    (tmp_path / "Fetch.java").write_text(JAVA)
    subprocess.run([need("javac"), "Fetch.java"], cwd=tmp_path, check=True)
    words = ["java", "-Xshare:auto", "-cp", tmp_path, "Fetch", refused]
    told = checked(*words)
    assert told["reach"] == "reached" and {"no-network", "plugins"} <= set(keys(told))
    assert events(run(words, base_delay_ms=1))


# name: (reach, findings, whether it is retried; None: it cannot be run with the preload)
COMPILED = {
    "plain": ("reached", ["connect"], True),
    "no-hash": ("reached", ["connect"], True),
    "static": ("not", ["static"], False),
    "static-pie": ("not", ["static"], False),
    "m32": ("not", ["word-size"], False),
    "musl": ("not", ["libc"], None),
    "musl-static": ("not", ["static"], False),
    "arm": ("not", ["word-size", "no-loader"], None),
    "arm64": ("not", ["processor", "no-loader"], None),
    "asan": ("not", ["sanitizer"], None),
    "raw": ("partly", ["no-network", "raw-connect"], False),
    "uring": ("partly", ["io-uring", "no-network"], False),
    "late": ("partly", ["curl-late", "no-network", "plugins"], True),
    "inside": ("partly", ["connect", "curl-inside"], True),
    "through": ("reached", ["connect"], True),
    "missing": ("reached", ["library-missing", "no-network"], None),
}


def test_every_kind_is_tried(kinds):
    assert set(COMPILED) == set(kinds[0]) and set(KINDS) <= set(COMPILED)


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_program(kinds, refused, name):
    reach, found, retried = COMPILED[name]
    program = kinds[0][name]
    told = checked(program)
    assert (told["reach"], sorted(keys(told))) == (reach, sorted(found)), told
    if retried is not None:
        assert retried_in(run([program, refused], base_delay_ms=1)) == retried


def test_stripped_of_everything(tmp_path, kinds, refused):
    """Without section headers the hash tables tell how many symbols there are."""
    for name in "plain", "no-hash":
        data = bytearray(kinds[0][name].read_bytes())
        data[40:48], data[58:64] = bytes(8), bytes(6)
        program = tmp_path / name
        program.write_bytes(data)
        program.chmod(0o755)
        told = checked(program)
        assert (told["reach"], keys(told)) == ("reached", ["connect"])
        assert events(run([program, refused], base_delay_ms=1))


def test_go_program_without_section_headers(tmp_path):
    data = bytearray(Path(need("gron")).read_bytes())
    data[40:48], data[58:64] = bytes(8), bytes(6)
    program = tmp_path / "gron"
    program.write_bytes(data)
    program.chmod(0o755)
    assert keys(checked(program)) == ["go-lookups"]


def test_raw_system_call_of_aarch64(tmp_path):
    source = 'int main(void) { register long x8 __asm__("x8") = 203; __asm__ volatile("svc #0" : : "r"(x8)); return 0; }'
    program = compile_program(tmp_path / "raw", "aarch64-linux-gnu-gcc", "-static", "-nostdlib", "-e", "main", source=source)
    code = program.read_bytes()
    assert b"\x68\x19\x80\xd2\x01\x00\x00\xd4" in code or b"\x68\x19\x80\x52\x01\x00\x00\xd4" in code


# ---- rights ---------------------------------------------------------------------------------------------

NOBODY = {
    "plain": ("reached", "curl", True),
    "setuid": ("not", "setuid", False),
    "setgid": ("not", "setgid", False),
    "capable": ("not", "capabilities", False),
    "own": ("reached", "setuid-idle", True),
    "closed": ("partly", "unreadable", True),
}


@pytest.mark.parametrize("name", NOBODY)
def test_rights_for_nobody(rights, refused, name):
    reach, key, retried = NOBODY[name]
    done = rights.run([rights.command, "check", "--json", "--", rights.root / name])
    told = json.loads(done.stdout)
    assert (told["reach"], key in keys(told), done.returncode) == (reach, True, REACHES[reach]), told
    tried = rights.run([rights.command, "run", "--state=off", "--base-delay=1", "--diag", "--", rights.root / name, "-sS",
                        f"http://127.0.0.1:{refused}/"])
    assert (b"Retry attempt" in tried.stderr) == retried
    assert (b"the loader drops LD_PRELOAD" in tried.stderr) == (reach == "not")


@pytest.mark.parametrize("name", ["setuid", "setgid", "capable"])
def test_rights_for_root_or_without_new_ones(rights, refused, name):
    told = checked(rights.root / name)
    assert (told["reach"], keys(told)[0]) == ("reached", "setuid-idle")
    assert events(run([rights.root / name, "-sS", f"http://127.0.0.1:{refused}/"], base_delay_ms=1))
    done = rights.run([need("setpriv"), "--no-new-privs", rights.command, "check", "--json", "--", rights.root / name])
    assert (done.returncode, keys(json.loads(done.stdout))[0]) == (0, "setuid-idle")


# ---- scripts --------------------------------------------------------------------------------------------

def script(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_scripts_lead_to_their_interpreter(tmp_path, refused):
    code = f"import socket\nsocket.create_connection(('127.0.0.1', {refused}))\n"
    for line in "#!/usr/bin/python3", "#! /usr/bin/python3 -u  ", "#!/usr/bin/env python3", "#!/usr/bin/env -S python3 -u -B":
        program = script(tmp_path / "get", f"{line}\n{code}")
        told = checked(program, env=environment())
        assert Path(told["file"]).name == "python3" and told["reach"] == "reached"
        assert keys(told)[0] == "script"
        assert events(run([program], base_delay_ms=1)), line


def test_scripts_run_by_scripts(tmp_path, refused):
    """As many as the kernel allows, and one more."""
    script(tmp_path / "0", f"#!/usr/bin/python3\nimport socket\nsocket.create_connection(('127.0.0.1', {refused}))\n")
    for i in range(1, 6):
        script(tmp_path / str(i), f"#!{tmp_path / str(i - 1)}\n")
    for i in range(5):
        assert checked(tmp_path / str(i))["reach"] == "reached"
        assert run([tmp_path / str(i)], base_delay_ms=1).diag
    done = check(tmp_path / "5")
    assert (done.returncode, done.stdout) == (126, "")
    assert "too many scripts" in done.stderr
    with pytest.raises(OSError, match="Too many levels"):
        subprocess.run([tmp_path / "5"])


def test_script_without_a_first_line(tmp_path, refused):
    program = script(tmp_path / "job", f"curl -sS http://127.0.0.1:{refused}/\n")
    told = checked(program)
    assert (told["file"], told["reach"], "shell" in keys(told)) == ("/bin/sh", "reached", True)
    done = subprocess.run([COMMAND, "run", "--state=off", "--base-delay=1", "--diag", "--", program],
                          stderr=subprocess.PIPE, env=environment())
    assert b"Retry attempt" in done.stderr


def test_what_a_shell_script_does(tmp_path):
    program = script(tmp_path / "start", "#!/bin/sh\n# LD_PRELOAD=no\nJAVA=java\nexec 3>/dev/null\nexport MY_LD_PRELOAD=x\n"
                                         "LD_PRELOAD=/lib/other.so\nexec java -jar x.jar\n")
    told = checked(program)
    found = {finding["key"]: finding for finding in told["findings"]}
    assert told["reach"] == "partly"
    assert found["script-preload"]["text"] == f"{program} itself changes LD_PRELOAD, in line 6"
    assert found["script-exec"]["text"] == f"{program} ends as java"
    assert found["script-exec"]["advice"] == "Check that, too: retryshim check -- java."
    for line in 'exec "$JAVA" -jar x', "exec", "exec 2>&1", "exec $0", "executable x":
        assert "script-exec" not in keys(checked(script(tmp_path / "other", f"#!/bin/sh\n{line}\n"))), line


def test_chroot(tmp_path):
    assert checked("chroot", tmp_path, "curl")["reach"] == "not"
    assert keys(checked("chroot", tmp_path, "curl"))[-1] == "chroot"
    assert checked("chroot", "/", "curl")["reach"] == "reached"


@pytest.mark.parametrize("words,reach,key", [
    (["docker", "run", "x"], "not", "elsewhere"),
    (["docker"], "reached", "no-network"),
    (["systemd-run", "curl"], "not", "elsewhere"),
    (["systemd-run", "--scope", "curl"], "reached", "no-network"),
    (["ssh", "host", "curl"], "reached", "remote"),
    (["taskset", "-c", "0", "plain"], "reached", "connect"),
    (["timeout", "--signal", "KILL", "--kill-after=3", "5", "plain"], "reached", "connect"),
    (["nice", "-n5", "--", "plain"], "reached", "connect"),
    (["strace", "-f", "-o", "/dev/null", "-e", "trace=network", "plain"], "reached", "connect"),
    (["strace", "-p", "1"], "reached", "no-network"),
    (["flock", "/dev/null", "plain"], "reached", "connect"),
    (["flock", "/dev/null", "-c", "plain | cat"], "reached", "wrapper-unclear"),
    (["nice"], "reached", "no-network"),
    (["env"], "reached", "no-network"),
    (["env", "-u"], "reached", "no-network"),
    (["env", "PATH=/nonexistent:HERE", "plain"], "reached", "connect"),
])
def test_wrappers(tmp_path, kinds, words, reach, key):
    """Where these are not installed, a program of their name stands for them."""
    for name in "docker", "systemd-run":
        (tmp_path / name).symlink_to("/usr/bin/true")
    (tmp_path / "plain").symlink_to(kinds[0]["plain"])
    told = checked(*[word.replace("HERE", str(tmp_path)) for word in words], env=environment(PATH=f"{tmp_path}:{PATH}"))
    assert (told["reach"], key in keys(told)) == (reach, True), told


def test_itself():
    """The signs that it looks for are in its own file."""
    assert keys(checked(COMMAND, "run", "--rerun", "2", "--", "curl"))[:2] == ["wrapper", "curl"]
    told = checked(COMMAND, "status")
    assert told["reach"] == "reached" and not {"go", "go-lookups", "curl-inside", "raw-connect"} & set(keys(told)), told


# ---- what stands between ----------------------------------------------------------------------------------

@pytest.mark.parametrize("variables,reach,key", [
    ({"RETRY_ENABLED": "off"}, "not", "disabled"),
    ({"RETRY_ENABLED": "nonsense"}, "reached", "curl"),
    ({"RETRY_SKIP_PROGRAMS": "wget,cu*"}, "not", "skipped"),
    ({"RETRY_PROGRAMS": "wget"}, "not", "skipped"),
    ({"RETRY_PROGRAMS": "curl"}, "reached", "curl"),
    ({"RETRY_CURL": "0"}, "partly", "family-off"),
    ({"RETRY_NONBLOCK": "0"}, "partly", "family-off"),
    ({"RETRY_DNS": "0"}, "partly", "family-off"),
    ({"LD_PRELOAD": "libeatmydata.so"}, "reached", "beside"),
    ({"LD_PRELOAD": f"{SHIM}"}, "reached", "curl"),
])
def test_environment(refused, variables, reach, key):
    told = checked("curl", env=environment(**variables))
    assert (told["reach"], key in keys(told)) == (reach, True), told
    if reach == "not":
        assert not events(run(["curl", "-sS", f"http://127.0.0.1:{refused}/"], env=variables, base_delay_ms=1))


@pytest.mark.parametrize("text,variables,reach,key", [
    ("enabled = 0\n", {}, "not", "disabled"),
    ("enabled = 0\n", {"RETRY_ENABLED": "1"}, "reached", "curl"),
    ("enabled = 0\n[127.0.0.1]\nenabled = 1\n", {}, "reached", "curl"),
    ("[127.0.0.1]\nenabled = 1\n", {"RETRY_ENABLED": "0"}, "not", "disabled"),
    ("skip_programs = cu*\n", {}, "not", "skipped"),
    ("curl = 0\n", {}, "partly", "family-off"),
])
def test_configuration_file(tmp_path, refused, text, variables, reach, key):
    (tmp_path / "conf").write_text(text)
    variables = {"RETRY_CONFIG": f"{tmp_path}/conf", **variables}
    told = checked("curl", env=environment(**variables))
    assert (told["reach"], key in keys(told)) == (reach, True), told
    assert bool(events(run(["curl", "-sS", f"http://127.0.0.1:{refused}/"], env=variables, base_delay_ms=1))) == (reach != "not")


def test_switched_off_behind_env(tmp_path):
    (tmp_path / "conf").write_text("[127.0.0.1]\nenabled = 1\n")
    assert "disabled" in keys(checked("env", "RETRY_ENABLED=0", "curl", env=environment(RETRY_CONFIG=f"{tmp_path}/conf")))


def test_deepbind_is_kept():
    assert keys(checked("php", env=environment(RETRY_DEEPBIND="keep")), "partly") == ["keeps-deepbind"]


def test_object_that_is_not_there(tmp_path):
    command = install(tmp_path / "a", {})
    (tmp_path / "a/lib/libretryshim.so").unlink()
    told = checked("curl", command=command)
    assert (told["reach"], told["object"], keys(told)) == ("not", None, ["no-object"])
    assert f"{tmp_path}/a/lib, " in told["findings"][0]["text"]
    (tmp_path / "a/lib/libretryshim.so").write_bytes(b"\x7fELF")
    assert "object-broken" in keys(checked("curl", command=command), "not")
    command = install(tmp_path / "with blank", {})
    assert keys(checked("curl", command=command), "not") == ["object-path"]


# ---- `run` ------------------------------------------------------------------------------------------------

def run_by(command, *words, env=None):
    return subprocess.run([command, "run", *map(str, words)], env=env or environment(), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30)


@pytest.mark.parametrize("name,what", [
    ("m32", "it is a program for i386, 32-bit: its loader cannot take the object."),
    ("musl", "it is built for musl: it would not start with the object preloaded."),
])
@pytest.mark.parametrize("way", [[], ["env", "A=1"], ["nice"]], ids=" ".join)
def test_run_says_what_cannot_take_the_object(kinds, refused, name, what, way):
    """One line, and the program as it would be without us; the loader has nothing to say."""
    program = kinds[0][name]
    direct = subprocess.run([*way, program, refused], env=environment(LD_PRELOAD=str(SHIM)), stderr=subprocess.PIPE)
    assert direct.stderr, "the loader is expected to complain"
    done = run_by(COMMAND, "--", *way, program, refused)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"retryshim: {re.escape(str(program))}: {re.escape(what)} .* Until then it runs without retries, "
                        r"and so does what it starts\.\n", done.stderr)


def test_run_leaves_other_preloads_to_it(tmp_path, kinds):
    script(tmp_path / "job", "#!/bin/sh\necho $LD_PRELOAD\n")
    done = run_by(COMMAND, "--print", "--attempts=2", kinds[0]["musl"], env=environment(LD_PRELOAD=f"/x/other.so:{SHIM}"))
    assert done.stdout == "LD_PRELOAD=/x/other.so\nRETRY_MAX_ATTEMPTS=2\n"
    assert run_by(COMMAND, "--print", "--attempts=2", kinds[0]["musl"]).stdout == "RETRY_MAX_ATTEMPTS=2\n"


@pytest.mark.parametrize("name,places", [
    ("m32", ["lib/i386-linux-gnu", "lib32", "lib/retryshim/i386"]),
    ("musl", ["lib/musl", "lib/retryshim/musl"]),
])
def test_run_takes_the_object_for_its_kind(tmp_path, kinds, refused, name, places):
    programs, objects = kinds
    for i, place in enumerate(places):
        command = install(tmp_path / str(i), {f"{place}/libretryshim.so": objects[name]})
        done = run_by(command, "--", programs[name], refused)
        assert (done.returncode, done.stderr) == (1, "loaded\n")
        assert run_by(command, "--", "true").stderr == ""
        told = checked(programs[name], command=command)
        assert told["object"] == f"{tmp_path}/{i}/{place}/libretryshim.so"
        assert (told["reach"], keys(told)) == ("reached", ["other-object", "connect"])


@pytest.mark.parametrize("words,what", [
    (["bash-static", "-c", "exit 5"], "it is linked statically"),
    (["sudo", "-n", "sh", "-c", "exit 5"], "starts programs without LD_PRELOAD"),
    (["env", "-i", "sh", "-c", "exit 5"], "without LD_PRELOAD (-i)"),
])
def test_run_says_what_is_not_reached_with_diagnostics(words, what):
    for options, env in [(["--diag"], None), ([], environment(RETRY_DIAG="1"))]:
        done = run_by(COMMAND, *options, "--", *words, env=env)
        assert done.returncode == 5 and what in done.stderr and done.stderr.count("\n") == 1
    done = run_by(COMMAND, "--", *words)
    assert (done.returncode, done.stderr) == (5, "")


# ---- what people read -------------------------------------------------------------------------------------

def test_words_for_people(kinds):
    assert texts("curl") == ("curl: reached (/usr/bin/curl)\n"
                             "  reached  it uses libcurl (libcurl.so.4 with OpenSSL): transfers are retried, with their HTTP statuses\n", 0)
    assert texts("bash-static") == (
        "bash-static: not reached (/usr/bin/bash-static)\n"
        "  not      it is linked statically: there is no loader that could preload anything. Use a dynamically linked build. "
        "Programs that it starts are reached.\n", 3)
    assert texts("env", "-i", "wget") == (
        "env: not reached (/bin/wget)\n"
        "  not      /usr/bin/env is told to start its program without LD_PRELOAD (-i). "
        "Put retryshim behind it, before PROGRAM: retryshim run -- PROGRAM.\n", 3)
    assert texts("sudo", "wget")[0].splitlines()[-1] == (
        "  not      /usr/bin/sudo starts programs without LD_PRELOAD. Put retryshim behind it: sudo retryshim run -- PROGRAM.")
    assert texts("npm")[0].splitlines()[1:3] == [
        "  note     /usr/bin/npm is a script, run by /usr/bin/env node",
        "  note     /usr/bin/env starts node, and hands LD_PRELOAD on"]
    assert texts(kinds[0]["through"])[0].splitlines()[1] == "  reached  it calls libc's connect() in libthrough.so: connects are retried"


def test_names_cannot_write_to_the_terminal(tmp_path):
    program = script(tmp_path / "a\033[2J\nb", "#!/bin/sh\n")
    shown = texts(program)[0]
    assert "\033" not in shown and f"{tmp_path}/a?[2J?b: reached" in shown
    assert checked(program)["program"] == str(program)


def test_every_finding_has_its_sentences():
    text = r'((?:"(?:[^"\\]|\\.)*"\s*)+)'
    rows = re.findall(rf'\[(FINDING_\w+)\] = {{\s*(REACH_\w+), "([a-z-]+)",\s*{text},\s*{text},\s*}}',
                      (ROOT / "shim/cli/findings.c").read_text())
    names = re.findall(r"^\t(FINDING_\w+),", (ROOT / "shim/cli/findings.h").read_text(), re.M)
    assert [row[0] for row in rows] == names
    assert len({row[2] for row in rows}) == len(rows)
    for _, reach, key, _, advice in rows:
        assert reach != "REACH_NOT" or advice.strip() != '""', f"{key} says nothing about what to do"


# ---- any bytes --------------------------------------------------------------------------------------------

def test_what_is_no_program(tmp_path, rights):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo", 0o755)
    (tmp_path / "plain").write_text("x")
    script(tmp_path / "zeros", "\0\0\n")
    script(tmp_path / "lost", "#!/nonexistent/interpreter\n")
    script(tmp_path / "windows", "#!/bin/sh\r\n")
    (tmp_path / "loop").symlink_to("loop")
    for words, status, message in [
        (["no-such-program"], 127, "cannot check 'no-such-program': No such file or directory"),
        ([""], 127, "cannot check '': No such file or directory"),
        ([tmp_path / "lost"], 127, f"cannot check '{tmp_path}/lost', which starts '/nonexistent/interpreter': No such file or directory"),
        ([tmp_path / "windows"], 127, f"cannot check '{tmp_path}/windows', which starts '/bin/sh?': No such file or directory"),
        (["env", "no-such-program"], 127, "cannot check 'env', which starts 'no-such-program': No such file or directory"),
        ([tmp_path / "folder"], 126, f"cannot check '{tmp_path}/folder': it is no regular file"),
        ([tmp_path / "fifo"], 126, f"cannot check '{tmp_path}/fifo': it is no regular file"),
        (["/dev/null"], 126, "cannot check '/dev/null': it is no regular file"),
        ([tmp_path / "plain"], 126, f"cannot check '{tmp_path}/plain': Permission denied"),
        ([tmp_path / "zeros"], 126, f"cannot check '{tmp_path}/zeros': it is neither a program of this machine nor a script"),
        ([tmp_path / "loop"], 126, f"cannot check '{tmp_path}/loop': Too many levels of symbolic links"),
    ]:
        done = check(*words)
        assert (done.returncode, done.stdout, done.stderr) == (status, "", f"retryshim: {message}\n")


def hostile(data, rng):
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        at = rng.randrange(min(rng.choice([64, 64, 1024, len(data)]), len(data)))
        size = rng.choice([1, 2, 4, 8])
        value = rng.choice([0, 1, rng.getrandbits(64), 2**31 - 1, 2**32 - 1, 2**63, 2**64 - 1, len(data)])
        data[at:at + size] = (value % 2**(8 * size)).to_bytes(size, "little")
    return data


def survives(program, data):
    program.write_bytes(data)
    done = check(program)
    assert done.returncode in (0, 1, 3, 126), (done.returncode, done.stderr)
    if done.returncode == 126:
        assert re.fullmatch(r"retryshim: cannot check '.*': .*\n", done.stderr)
    else:
        assert json.loads(done.stdout)["findings"]


@pytest.mark.parametrize("name", ["plain", "m32", "musl"])
def test_truncated_at_each_byte_of_the_headers(tmp_path, kinds, name):
    data = kinds[0][name].read_bytes()
    program = script(tmp_path / "program", "")
    headers = 64 + 13 * 56 if name == "plain" else 64
    for length in [*range(1, 66), *range(66, headers, 7), len(data) // 3, len(data) // 2, len(data) - 100]:
        survives(program, data[:length])


def test_mutated(tmp_path, kinds):
    rng = random.Random(7)
    program = script(tmp_path / "program", "")
    files = [kinds[0][name].read_bytes() for name in ("plain", "no-hash", "m32", "musl", "arm")]
    for _ in range(250):
        data = hostile(rng.choice(files), rng)
        survives(program, data)
        assert run_by(COMMAND, "--print", "--", program).returncode == 0


def test_mutated_library(tmp_path, kinds):
    rng = random.Random(8)
    library = (kinds[0]["through"].parent / "libthrough.so").read_bytes()
    for name in "through", "libthrough.so":
        (tmp_path / name).write_bytes((kinds[0]["through"].parent / name).read_bytes())
    (tmp_path / "through").chmod(0o755)
    for _ in range(60):
        (tmp_path / "libthrough.so").write_bytes(hostile(library, rng))
        assert checked(tmp_path / "through")["reach"] == "reached"


def test_mutated_cache_of_libraries(tmp_path):
    """ld.so.cache, replaced in a mount namespace of our own."""
    rng = random.Random(9)
    real = Path("/etc/ld.so.cache").read_bytes()
    for i in range(12):
        data = hostile(real, rng) if i else b"glibc-ld.so.cache1.1" + b"\xff" * 100
        (tmp_path / "cache").write_bytes(data)
        told = json.loads(subprocess.run(
            [need("unshare"), "--mount", "--propagation=private", "sh", "-c",
             'mount --bind "$1" /etc/ld.so.cache && exec "$2" check --json -- curl', "sh", tmp_path / "cache", COMMAND],
            env=environment(), stdout=subprocess.PIPE).stdout)
        assert told["reach"] == "reached"
