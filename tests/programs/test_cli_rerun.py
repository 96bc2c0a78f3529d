"""`retryshim run --rerun`: what is run again, what each run reads, which output goes out, who gets the signals."""

import fcntl
import hashlib
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest

from harness import BUILD, FaultServer, built, environment, events, need, run, wait_until

COMMAND = BUILD / "retryshim"
QUICK = ["--base-delay", "1ms", "--multiplier", "1"]

# Fails until it has been run as often as its first argument says, with the status of the second. What the third does
# comes before that.
FLAKY = """import os, signal, sys, time
with open("runs", "a") as file: file.write("x")
turn = os.path.getsize("runs")
%s
sys.exit(0 if turn >= int(sys.argv[1]) else int(sys.argv[2]))"""
SAYS = 'print("run", turn, flush=True)'


def flaky(successful, status=1, action=SAYS):
    return [sys.executable, "-c", FLAKY % action, str(successful), str(status)]


def rerun(*options, argv, shim=False, **settings):
    return run([built(COMMAND), "run", *QUICK, *options, "--", *argv], shim=shim, **settings)


def runs(folder):
    path = Path(folder, "runs")
    return path.stat().st_size if path.exists() else 0


def told(result):
    return [event["event"] for event in events(result)]


# ---- which runs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options, successful, status, count, returned", [
    (["--rerun", "3"], 1, 1, 1, 0), (["--rerun", "3"], 3, 1, 3, 0), (["--rerun", "3"], 4, 1, 4, 0), (["--rerun", "3"], 5, 7, 4, 7),
    (["--rerun", "1"], 9, 125, 2, 125), (["--rerun", "3"], 9, 126, 1, 126), (["--rerun", "3"], 9, 127, 1, 127),
    (["--rerun", "3", "--rerun-on", "7"], 9, 1, 1, 1), (["--rerun", "3", "--rerun-on", "1,5-7"], 9, 6, 4, 6),
    (["--rerun", "3", "--rerun-on", "126"], 9, 126, 4, 126), ([], 9, 1, 1, 1)])
def test_runs_and_status(tmp_path, options, successful, status, count, returned):
    result = rerun(*options, argv=flaky(successful, status), cwd=tmp_path)
    assert (runs(tmp_path), result.returncode) == (count, returned), result
    last = f"run {count}\n".encode()
    assert result.stdout == last and result.stderr == b""


def test_what_is_told(tmp_path):
    result = rerun("--rerun", "3", argv=flaky(3, 7), cwd=tmp_path)
    said = events(result)
    assert told(result) == ["attempt_failed", "attempt_failed", "succeeded"]
    name = os.path.basename(sys.executable)
    assert {(event["operation"], event["target"], event["program"], event["max_attempts"]) for event in said} == \
        {(name, f"command:{name}", name, 4)}
    assert said[0]["error"] == "exit 7" and said[0]["category"] == "transient"
    assert told(rerun("--rerun", "1", argv=flaky(9), cwd=tmp_path / "..")) == ["attempt_failed", "exhausted"]
    assert told(rerun("--rerun", "1", argv=["sh", "-c", "exit 127"])) == ["not_retryable"]
    assert told(rerun("--rerun", "1", argv=["true"])) == []


def test_backoff_and_deadline(tmp_path):
    said = events(rerun("--base-delay", "100ms", "--jitter", "none", "--multiplier", "2", "--rerun", "2", argv=["false"]))
    assert [event.get("delay_ms") for event in said] == [100, 200, None]
    result = rerun("--base-delay", "1h", "--max-delay", "1h", "--jitter", "none", "--rerun", "5", "--rerun-timeout", "30s", argv=flaky(2), cwd=tmp_path)
    assert runs(tmp_path) == 1 and events(result)[-1]["reason"] == "deadline" and result.returncode == 1


def test_budget_and_counts(tmp_path):
    options = ["--state", str(tmp_path / "state"), "--budget-burst", "3", "--budget-per-sec", "0", "--metrics", f"emf:{tmp_path}/emf", "--operation", "step"]
    result = rerun(*options, "--rerun", "9", argv=flaky(99), cwd=tmp_path)
    assert runs(tmp_path) == 4 and events(result)[-1]["reason"] == "budget"
    lines = [json.loads(line) for line in (tmp_path / "emf").read_text().splitlines()]
    assert sum(line.get("RetryAttempt", 0) for line in lines) == 3 and sum(line.get("RetryGivenUp", 0) for line in lines) == 1
    assert {(line["Operation"], line["Category"], line["Target"]) for line in lines} == {("step", "transient", f"command:{os.path.basename(sys.executable)}")}
    status = run([COMMAND, "status", "--json", "--state", tmp_path / "state"], shim=False)
    assert [each["target"] for each in json.loads(status.stdout)["destinations"]] == [f"command:{os.path.basename(sys.executable)}"]


def test_the_switch_is_obeyed(tmp_path):
    assert rerun("--rerun", "3", argv=flaky(3), cwd=tmp_path, enabled=0).returncode == 1 and runs(tmp_path) == 1


def test_host_and_program_lists_are_about_the_inside(tmp_path):
    assert rerun("--rerun", "3", "--hosts", "db", "--programs", "wget", argv=flaky(3), cwd=tmp_path).returncode == 0


def test_what_is_inside_recovers_as_well(tmp_path):
    with FaultServer(["503", "503", "404", "200"]) as server:
        result = rerun("--attempts", "2", "--rerun", "2", argv=["curl", "-sf", server.url], cwd=tmp_path)
        assert [request["step"] for request in server.requests()] == ["503", "503", "404", "200"]
    assert result.returncode == 0 and result.stdout == b"ok\n"


@pytest.mark.parametrize("argv, status", [(["./nosuch"], 127), (["nosuch-program"], 127), (["/etc/passwd"], 126), (["/"], 126)])
def test_what_cannot_be_run_is_not_run_again(argv, status):
    plain, result = rerun(argv=argv), rerun("--rerun", "3", argv=argv)
    assert (result.returncode, result.stderr) == (plain.returncode, plain.stderr) and result.returncode == status
    assert result.stderr.count(b"cannot run") == 1 and told(result) == []


@pytest.mark.parametrize("options, complaint", [
    (["--rerun", "0"], "whole number from 1 to 999"), (["--rerun", "1000"], "whole number from 1 to 999"), (["--rerun", "x"], "whole number"),
    (["--rerun", ""], "whole number"), (["--rerun", "1", "--rerun-timeout", "x"], "is not a duration"),
    (["--rerun", "1", "--rerun-on", "0"], "list of exit statuses"), (["--rerun", "1", "--rerun-output", "some"], "not last or all"),
    (["--rerun-on", "3"], "means nothing without --rerun"), (["--rerun-output", "all"], "means nothing without --rerun")])
def test_wrong_options(options, complaint):
    result = rerun(*options, argv=["true"])
    assert result.returncode == 2 and complaint in result.stderr.decode(), result


# ---- what a run reads -----------------------------------------------------------------------------------------------

COPIES = 'data = sys.stdin.buffer.read(); sys.stdout.buffer.write(data); sys.stdout.flush()'


@pytest.mark.parametrize("size", [0, 1, 65536, 3000000])
def test_input_from_a_pipe_is_given_again(tmp_path, size):
    data = os.urandom(size)
    result = rerun("--rerun", "3", argv=flaky(3, action=COPIES), cwd=tmp_path, stdin=data)
    assert result.returncode == 0 and result.stdout == data


def test_input_that_was_read_in_part_is_given_again(tmp_path):
    action = 'sys.stdout.buffer.write(os.read(0, 10) if turn < 3 else sys.stdin.buffer.read()); sys.stdout.flush()'
    data = os.urandom(3000000)
    result = rerun("--rerun", "3", argv=flaky(3, action=action), cwd=tmp_path, stdin=data)
    assert result.returncode == 0 and result.stdout == data


def test_input_comes_as_it_comes(tmp_path):
    """An answer is read before the next question is asked."""
    with subprocess.Popen([COMMAND, "run", "--rerun", "1", "--rerun-output", "all", "--", "cat"], env=environment(tmp_path, shim=False),
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        for text in (b"one\n", b"two\n"):
            process.stdin.write(text)
            process.stdin.flush()
            assert process.stdout.readline() == text
        process.stdin.close()
        assert process.wait(20) == 0


def test_input_from_a_file_is_wound_back_to_where_it_was(tmp_path):
    (tmp_path / "file").write_bytes(b"first\nsecond\nthird\n")
    with (tmp_path / "file").open("rb", buffering=0) as file:
        file.seek(6)
        argv = [COMMAND, "run", *QUICK, "--rerun", "3", "--", *flaky(3, action=COPIES)]
        done = subprocess.run(argv, env=environment(tmp_path, shim=False), cwd=tmp_path, stdin=file, stdout=subprocess.PIPE, timeout=60)
        assert done.stdout == b"second\nthird\n"
        assert file.tell() == 19
    # What the last run has left is for whoever comes next, as without us.
    script = f'{{ "{COMMAND}" run --base-delay 1ms --rerun 2 -- sh -c \'echo x >>n; head -c 6 >got; test $(wc -l <n) -eq 2\'; cat; }} <file'
    done = subprocess.run(["sh", "-c", script], env=environment(tmp_path, shim=False), cwd=tmp_path, stdout=subprocess.PIPE, timeout=60)
    assert (tmp_path / "got").read_bytes() == b"first\n" and done.stdout == b"second\nthird\n"


def test_more_input_than_can_be_kept_ends_it(tmp_path):
    """64 MiB; the command gets all of it all the same."""
    action = """import hashlib
print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())"""
    data = os.urandom(1 << 20) * 65
    result = rerun("--rerun", "3", argv=flaky(3, 5, action=action), cwd=tmp_path, stdin=data, timeout=120)
    assert result.stdout.decode().strip() == hashlib.sha256(data).hexdigest()
    assert result.returncode == 5 and runs(tmp_path) == 1 and events(result)[-1]["reason"] == "rewind"


# ---- which output goes out ------------------------------------------------------------------------------------------


def test_output_to_a_file_is_that_of_the_last_run(tmp_path):
    for mode, start in (("wb", b""), ("r+b", b"before\n"), ("ab", b"before\n")):
        (tmp_path / "runs").unlink(missing_ok=True)
        (tmp_path / "out").write_bytes(start)
        with (tmp_path / "out").open(mode) as out:
            out.seek(len(start))
            argv = [COMMAND, "run", *QUICK, "--rerun", "3", "--", *flaky(3, action='print("a longer one" if turn < 3 else "short")')]
            subprocess.run(argv, env=environment(tmp_path, shim=False), cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=out, timeout=60, check=True)
        assert (tmp_path / "out").read_bytes() == start + b"short\n"


def test_what_lies_behind_in_a_file_stays(tmp_path):
    """A file that was opened to be written into (`1<>`): nothing is cut off that no run has written."""
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with open(path, "r+b") as file:
        file.seek(2)
        argv = [built(COMMAND), "run", *QUICK, "--rerun", "3", "--", *flaky(2, action='print("ab" * turn, end="", flush=True)')]
        subprocess.run(argv, env=environment(tmp_path, shim=False), cwd=tmp_path, stdout=file, timeout=60, check=True)
    assert path.read_bytes() == b"01abab6789"


def test_all_output_if_asked_for(tmp_path):
    assert rerun("--rerun", "3", "--rerun-output", "all", argv=flaky(3), cwd=tmp_path).stdout == b"run 1\nrun 2\nrun 3\n"


def test_a_log_keeps_all(tmp_path):
    """Standard output and standard error are one file, or one pipe."""
    argv = [COMMAND, "run", *QUICK, "--rerun", "3", "--", *flaky(3)]
    for out in (subprocess.PIPE, (tmp_path / "log").open("wb")):
        (tmp_path / "runs").unlink(missing_ok=True)
        done = subprocess.run(argv, env=environment(tmp_path, shim=False), cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                              timeout=60, check=True)
        assert (done.stdout or (tmp_path / "log").read_bytes()) == b"run 1\nrun 2\nrun 3\n"


def test_the_last_output_goes_out_when_all_have_failed(tmp_path):
    result = rerun("--rerun", "2", argv=flaky(9, 3), cwd=tmp_path)
    assert (result.stdout, result.returncode) == (b"run 3\n", 3)


def test_more_output_than_can_be_held_ends_it(tmp_path):
    """It goes out, and so the command cannot be run again."""
    action = "sys.stdout.buffer.write(bytes(range(256)) * (65 << 12)); sys.stdout.flush()"
    result = rerun("--rerun", "3", argv=flaky(3, 5, action=action), cwd=tmp_path, timeout=120)
    assert result.stdout == bytes(range(256)) * (65 << 12)
    assert result.returncode == 5 and runs(tmp_path) == 1 and events(result)[-1]["reason"] == "delivered"


@pytest.mark.parametrize("argv", [["yes"], ["echo", "one"]])
def test_a_reader_that_is_gone(tmp_path, argv):
    """As without us, but that echo learns it as we do: when its output goes out."""
    reader, writer = os.pipe()
    os.close(reader)
    argv = [COMMAND, "run", "--rerun", "1", "--", *argv]
    done = subprocess.run(argv, env=environment(tmp_path, shim=False), stdout=writer, stderr=subprocess.PIPE, timeout=60)
    os.close(writer)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


@pytest.mark.parametrize("writes", ["head -c 1000000 /dev/zero", "yes"])
def test_a_reader_that_is_stuck_can_be_left(tmp_path, writes):
    """Output that is held, or that passes because it was too much to be held: SIGTERM ends what waits for room."""
    reading, writing = os.pipe()
    process = subprocess.Popen([built(COMMAND), "run", *QUICK, "--rerun", "1", "--", "sh", "-c", f"exec {writes}"], stdout=writing,
                               env=environment(tmp_path, shim=False))
    os.close(writing)
    wait_until(lambda: fcntl.ioctl(reading, termios.FIONREAD, bytes(4)) == (65536).to_bytes(4, sys.byteorder), what="a full pipe")
    process.terminate()
    assert process.wait(10) == -signal.SIGTERM
    os.close(reading)


def test_a_full_disk_is_told(tmp_path):
    with open("/dev/full", "wb") as full:
        argv = [COMMAND, "run", "--rerun", "1", "--", "echo", "one"]
        done = subprocess.run(argv, env=environment(tmp_path, shim=False), stdout=full, stderr=subprocess.PIPE, timeout=60)
    plain = subprocess.run(["sh", "-c", "/bin/echo one >/dev/full"], stderr=subprocess.PIPE)
    assert (done.returncode == 0) == (plain.returncode == 0) and done.stderr


def test_what_is_left_behind_is_not_waited_for(tmp_path):
    """A daemon that has the output open. Who reads it waits for the daemon, as ever: what that writes comes later."""
    argv = [built(COMMAND), "run", *QUICK, "--rerun", "1", "--", "sh", "-c", "mkfifo go; { read x <go; echo later; } & echo started"]
    process = subprocess.Popen(argv, env=environment(tmp_path, shim=False), cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.wait(30) == 0 and process.stdout.readline() == b"started\n"
    (tmp_path / "go").write_text("x\n")
    assert process.stdout.read() == b"later\n"


def test_only_the_last_runs_daemon_is_heard(tmp_path):
    action = """if os.fork() == 0: time.sleep(0.3); os.write(1, b"late %d\\n" % turn); os._exit(0)"""
    assert rerun("--rerun", "3", argv=flaky(3, action=action), cwd=tmp_path).stdout == b"late 3\n"


# ---- signals --------------------------------------------------------------------------------------------------------

# Says what it gets, and ends well with SIGTERM.
LISTENS = """def told(number, frame):
    os.write(1, f"got {signal.Signals(number).name}\\n".encode())
    if number == signal.SIGTERM: sys.exit(4)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP): signal.signal(number, told)
os.write(1, b"ready\\n")
while True: signal.pause()"""


class Started:
    def __init__(self, folder, argv, *options, **settings):
        self.diag = Path(folder, "diag")
        self.process = subprocess.Popen([COMMAND, "run", *QUICK, *options, "--", *argv], env=environment(folder, shim=False, **settings),
                                        cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def test_signals_reach_the_command(tmp_path):
    with Started(tmp_path, flaky(9, action=LISTENS), "--rerun", "3", "--rerun-output", "all") as started:
        lines = started.process.stdout
        assert lines.readline() == b"ready\n"
        for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            started.process.send_signal(number)
            assert lines.readline().decode() == f"got {number.name}\n"
        assert started.process.wait(20) == 4 and runs(tmp_path) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGRTMIN])
def test_a_command_that_is_killed(tmp_path, number):
    result = rerun("--rerun", "2", argv=["sh", "-c", f"echo x >>runs; kill -{number.value} $$"], cwd=tmp_path)
    assert result.returncode == -number and (tmp_path / "runs").read_text() == "x\n" and told(result) == ["not_retryable"]
    result = rerun("--rerun", "2", "--rerun-on", f"{128 + number}", argv=["sh", "-c", f"echo x >>again; kill -{number.value} $$"], cwd=tmp_path)
    assert result.returncode == -number and (tmp_path / "again").read_text() == "x\n" * 3
    assert events(result)[0]["message"] == f"killed by {number.name if number < signal.SIGRTMIN else f'signal {number.value}'}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_in_a_backoff_ends_it(tmp_path, number):
    with Started(tmp_path, flaky(2), "--rerun", "3", "--base-delay", "1h", "--max-delay", "1h", "--jitter", "none") as started:
        wait_until(lambda: started.diag.exists() and b"attempt_failed" in started.diag.read_bytes())
        started.process.send_signal(number)
        out, err = started.process.communicate(timeout=20)
        assert started.process.returncode == -number and runs(tmp_path) == 1
        assert (out, err) == (b"run 1\n", b"")
        assert [json.loads(line).get("reason") for line in started.diag.read_text().splitlines()] == [None, "signal"]


def test_a_terminals_interrupt_comes_once(tmp_path):
    """From the keyboard: the command is in the terminal's foreground as well."""
    action = """got = []
signal.signal(signal.SIGINT, lambda *_: got.append(1))
print("ready", os.isatty(0), os.isatty(1), flush=True)
while not got: signal.pause()
time.sleep(0.3)
print("got", len(got), flush=True)"""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        os.execve(COMMAND, [str(COMMAND), "run", *QUICK, "--rerun", "3", "--", *flaky(9, 3, action=action)], environment(tmp_path, shim=False))
    try:
        shown = b""
        while b"ready" not in shown:
            shown += os.read(terminal, 1000)
        assert b"ready True True" in shown
        os.write(terminal, termios.tcgetattr(terminal)[6][termios.VINTR])
        while b"got" not in shown or not shown.endswith(b"\n"):
            shown += os.read(terminal, 1000)
        assert b"got 1\r\n" in shown
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3 and runs(tmp_path) == 1
    finally:
        os.close(terminal)


def test_killed_it_takes_the_command_along(tmp_path):
    with Started(tmp_path, ["sh", "-c", "echo $$; exec sleep 60"], "--rerun", "1", "--rerun-output", "all") as started:
        child = int(started.process.stdout.readline())
        started.process.kill()
        assert started.process.stdout.read() == b""  # at its end the last holder is gone
        wait_until(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text())


# ---- the command's surroundings -------------------------------------------------------------------------------------

SURROUNDINGS = ["sh", "-c", "ls -l /proc/self/fd | sed 's/.* \\([0-9]*\\) -> .*/\\1/' | sort; grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status; ulimit -a; umask; "
                "ps -o sid=,tty= -p $$ | tr -d ' '"]


@pytest.mark.parametrize("wrapper", [[], ["nohup"], ["env", "--ignore-signal=CHLD,PIPE,INT"], ["env", "--block-signal=USR1,TERM"]])
def test_the_command_finds_all_as_without(wrapper, tmp_path):
    def seen(*options):
        argv = [*wrapper, built(COMMAND), "run", *options, "--", *SURROUNDINGS]
        return run(argv, shim=False, stdin=b"").stdout.decode().splitlines()[:-1]

    assert seen("--rerun", "1") == seen() and len(seen()) > 10


def test_under_valgrind(tmp_path):
    argv = ["valgrind", "-q", "--error-exitcode=99", "--leak-check=full", "--track-fds=yes", COMMAND, "run", *QUICK, "--rerun", "3", "--", *flaky(3, action=COPIES)]
    result = run(argv, shim=False, cwd=tmp_path, stdin=b"data" * 100000)
    assert result.returncode == 0 and result.stdout == b"data" * 100000
    assert b"ERROR" not in result.stderr and b"definitely" not in result.stderr, result.stderr
