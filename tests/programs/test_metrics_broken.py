"""Sinks that are unreachable, full, slow, dead or misspelt: the program never notices, and one diagnostic tells."""

import fcntl
import os
import re
import stat
import statistics
import subprocess
import tempfile
from pathlib import Path

import pytest

from harness import FaultServer, events, run, wait_until
from metric_sinks import COMMAND, Datagrams, Statsd, checked_exposition, command_counts, emf_counts, emf_entries, exposition_counts
from network import PORT, Running, network, python, traced, with_files  # noqa: F401
from test_getaddrinfo import NameServer

pytestmark = pytest.mark.usefixtures("network")

URL = f"http://127.0.0.1:{PORT}/"
CURL = ["curl", "-s", URL]
QUICK = {"base_delay_ms": 5, "budget": "off", "breaker": "off"}
LOST = "what it does not take is lost"
NO_FILE = "it is no regular file"
NO_LOOK_UP = "looking its name up might block the program: give an address, or start it with 'retryshim run'"
LONG = "x" * 300

BROKEN = {
    "emf:/nowhere/x": "ENOENT", "emf:/": "EISDIR", "emf:/dev/full": "ENOSPC", "emf:fifo": "ENXIO", f"emf:/{LONG}": "ENAMETOOLONG",
    "prom:/nowhere/x.prom": "ENOENT", "prom:/dev/null": NO_FILE, "prom:fifo": NO_FILE, "prom:folder": NO_FILE, "prom:link": NO_FILE,
    f"prom:/{LONG}": "ENAMETOOLONG",
    "statsd://collector.test:8125": NO_LOOK_UP, "emf:udp://collector:25888": NO_LOOK_UP,
    "statsd://127.0.0.1:8125": "ECONNREFUSED", "emf:udp://[::1]:25888": "ECONNREFUSED",
    "statsd://192.0.2.1:8125": "ENETUNREACH", "emf:udp://[2001:db8::1]:25888": "ENETUNREACH", "statsd://127.255.255.255:8125": "EACCES",
}


def recovers(folder, **options):
    """curl's recovery with these settings; its diagnostics about variables."""
    with FaultServer(["503", "503", "200"], port=PORT) as server:
        result = run(CURL, cwd=folder, **{**QUICK, "state": f"{folder}-state", **options})
        assert len(server.requests()) == 3
    assert (result.returncode, result.stdout, result.stderr) == (0, b"ok\n", b"")
    return result


@pytest.fixture
def folder(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    return tmp_path


@pytest.mark.parametrize("sink", BROKEN, ids=lambda sink: sink[:30])
def test_broken_sink_is_named_once(folder, sink):
    before = sorted(folder.iterdir())
    told = [entry for entry in events(recovers(folder, metrics=f"{sink},emf:good")) if "op" not in entry]
    assert [(entry["event"], entry["variable"], entry["value"], entry["reason"]) for entry in told] == [
        ("unused_value", "RETRY_METRICS", sink[:256], BROKEN[sink])]
    assert len(emf_entries((folder / "good").read_text())) == 3  # the other one has not suffered
    assert sorted(folder.iterdir()) == sorted([*before, folder / "good"])
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize("sink", BROKEN, ids=lambda sink: sink[:30])
def test_broken_sink_without_diagnostics_is_silent(folder, sink):
    assert recovers(folder, metrics=sink, diag=None).diag == b""


def test_each_broken_sink_is_named(folder):
    result = recovers(folder, metrics="emf:/nowhere/x,prom:/nowhere/y,statsd://h:1", diag_format="text")
    told = [line.split("] ", 1)[1] for line in result.diag.decode().splitlines() if "RETRY_METRICS" in line]
    assert told == [f"RETRY_METRICS=emf:/nowhere/x is not used (ENOENT); {LOST}.", f"RETRY_METRICS=prom:/nowhere/y is not used (ENOENT); {LOST}.",
                    f"RETRY_METRICS=statsd://h:1 is not used ({NO_LOOK_UP}); {LOST}."]


@pytest.mark.parametrize("spec", ["nonsense", "emf:good,nonsense", "statsd://127.0.0.1", "prom:", "emf:good,", "emf:" + "x" * 600])
def test_bad_spec_is_no_sink_at_all(folder, spec):
    """As with every variable: the default stands, which is none."""
    told = [entry for entry in events(recovers(folder, metrics=spec)) if "op" not in entry]
    assert [(entry["event"], entry["variable"], entry["default"]) for entry in told] == [("bad_value", "RETRY_METRICS", "")]
    assert not (folder / "good").exists()


# ---- files ---------------------------------------------------------------------------------------------


def test_full_disk_keeps_the_old_file_and_leaves_nothing(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f"""mount -t tmpfs -o size=64k none {disk}
{" ".join(CURL)}; cp {disk}/r.prom {tmp_path}/old; cp {disk}/emf {tmp_path}/emf
head -c 1M /dev/zero >{disk}/zeros 2>/dev/null || true
{" ".join(CURL)}; cmp {disk}/r.prom {tmp_path}/old && ls {disk}"""
    argv = ["unshare", "--mount", "--propagation=private", "sh", "-c", script]
    with FaultServer(["503", "200"] * 2, port=PORT):
        result = run(argv, metrics=f"prom:{disk}/r.prom,emf:{disk}/emf", state=tmp_path / "state", **QUICK)
    assert result.stdout.decode().split() == ["ok", "ok", "emf", "r.prom", "zeros"], result
    assert len(emf_entries((tmp_path / "emf").read_text())) == 2
    told = [(entry["value"], entry["reason"]) for entry in events(result) if "op" not in entry]
    assert (f"prom:{disk}/r.prom", "ENOSPC") in told and {reason for _, reason in told} == {"ENOSPC"}


@pytest.mark.parametrize("most", [0, 100])
@pytest.mark.parametrize("there", [False, True])
def test_file_size_limit_raises_no_signal(tmp_path, there, most):
    """/dev/shm: a tmpfs minds the limit earlier than others do."""
    code = f"""import resource, subprocess
resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most}))
os.execvp("curl", {CURL!r})"""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        options = {"metrics": f"prom:{folder}/r.prom,emf:{folder}/emf", "state": f"{folder}/state", **QUICK}
        with FaultServer(["503", "200"], port=PORT):
            run(CURL, **options)
        whole = Path(folder, "r.prom").read_text()
        if not there:
            Path(folder, "r.prom").unlink()
        with FaultServer(["503", "200"], port=PORT):
            result = run(python(code), **options, diag=None)
        assert (result.returncode, result.stdout) == (0, b"ok\n")
        assert (Path(folder, "r.prom").read_text() if there else "") == (whole if there else "")
        assert not Path(folder, "r.prom.tmp").exists() and Path(folder, "r.prom").exists() == there


def test_another_writer_is_not_disturbed_and_a_dead_one_is_replaced(tmp_path):
    file, other = tmp_path / "r.prom", tmp_path / "r.prom.tmp"
    with other.open("w") as writer:
        writer.write("half")
        writer.flush()
        fcntl.lockf(writer, fcntl.LOCK_EX)
        result = recovers(tmp_path, metrics=f"prom:{file}")
        assert other.read_text() == "half" and not file.exists()
        assert [entry for entry in events(result) if "op" not in entry] == []
    recovers(tmp_path, metrics=f"prom:{file}")
    assert not other.exists()
    assert sum(exposition_counts(checked_exposition(file.read_text())).values()) >= 6


@pytest.mark.parametrize("call", ["openat", "write", "rename"])
def test_a_writer_that_is_killed_leaves_nothing_to_wait_for(tmp_path, call):
    """strace(1) kills it in a call about r.prom.tmp; whoever ends next shows all, and removes what it has left."""
    file, other = tmp_path / "r.prom", tmp_path / "r.prom.tmp"
    options = {"metrics": f"prom:{file}", "state": tmp_path / "state", **QUICK, "max_attempts": 1, "diag": None}
    fails = ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{PORT}"]
    run(fails, **options)
    paths = ["-P", other] if call != "write" else []
    killed = run(["strace", "-f", "-qq", "-o", tmp_path / "strace", *paths, "-e", f"inject={call}:signal=KILL", *fails], **options)
    assert killed.returncode != 0
    run(fails, **options)
    counts = exposition_counts(checked_exposition(file.read_text()))
    assert counts == command_counts(tmp_path / "state") and sum(counts.values()) == 3
    assert not other.exists()


@pytest.mark.parametrize("call", ["ftruncate", "rename"])
def test_a_state_that_is_cut_off_while_it_is_shown(tmp_path, call):
    """Touching what is gone would be SIGBUS: before the counters are copied, and after the file has its name."""
    state, other = tmp_path / "state", tmp_path / "r.prom.tmp"
    argv = traced(CURL, call, tmp_path / "strace", "-e", f"inject={call}:delay_enter=700000")
    with FaultServer(["503", "200"], port=PORT):
        with Running(argv, metrics=f"prom:{tmp_path}/r.prom", state=state, **QUICK) as program:
            wait_until(lambda: other.exists() and (call == "ftruncate" or other.stat().st_size > 0), what="the text's file")
            os.truncate(state, 0)
            result = program.result()
    assert (result.returncode, result.stdout) == (0, b"ok\n")
    assert not other.exists()


def test_a_mounted_file_is_named(tmp_path):
    """As `docker -v FILE:FILE` has it: nothing can be renamed there."""
    (tmp_path / "real").touch()
    (tmp_path / "r.prom").touch()
    script = f"mount --bind {tmp_path}/real {tmp_path}/r.prom; {' '.join(CURL)}"
    with FaultServer(["503", "200"], port=PORT):
        result = run(["unshare", "--mount", "--propagation=private", "sh", "-c", script], metrics=f"prom:{tmp_path}/r.prom",
                     state=tmp_path / "state", **QUICK)
    assert result.stdout == b"ok\n"
    assert [entry["reason"] for entry in events(result) if "op" not in entry] == ["EBUSY"]
    assert not (tmp_path / "r.prom.tmp").exists()


def test_a_huge_file_is_no_measure(tmp_path):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        file = Path(memory, "r.prom")
        file.touch()
        os.truncate(file, 1 << 30)
        recovers(tmp_path, metrics=f"prom:{file}")
        assert file.stat().st_size < 4096 and file.stat().st_blocks * 512 <= 300000


@pytest.mark.parametrize("mode", [0o640, 0o644, 0o600])
def test_the_mode_that_the_operator_chose_stays(tmp_path, mode):
    file = tmp_path / "r.prom"
    file.write_text("old")
    file.chmod(mode)
    recovers(tmp_path, metrics=f"prom:{file}")
    assert stat.S_IMODE(file.stat().st_mode) == mode and "retryshim_retries_total{" in file.read_text()


@pytest.mark.parametrize("kind, reason", [("symlink_to", "ELOOP"), ("hardlink_to", "EPERM")])
def test_a_planted_link_is_named_and_not_followed(tmp_path, kind, reason):
    target, other = tmp_path / "target", tmp_path / "r.prom.tmp"
    target.write_text("theirs")
    getattr(other, kind)(target)
    result = recovers(tmp_path, metrics=f"prom:{tmp_path}/r.prom")
    assert [entry["reason"] for entry in events(result) if "op" not in entry] == [reason]
    assert target.read_text() == other.read_text() == "theirs" and not (tmp_path / "r.prom").exists()


@pytest.mark.parametrize("name, reason", [("r.prom.tmp", "EACCES"), ("r.prom", "EPERM")])
def test_another_users_file_in_a_sticky_folder_is_named(tmp_path, name, reason):
    (tmp_path / name).touch()
    os.chown(tmp_path / name, 1, 1)
    for folder in tmp_path.parents[:2]:
        os.chmod(folder, folder.stat().st_mode | 0o055)
    os.chmod(tmp_path, 0o1777)
    argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *CURL]
    with FaultServer(["503", "200"], port=PORT):
        result = run(argv, metrics=f"prom:{tmp_path}/r.prom", state=f"{tmp_path}/nobodys", diag_file=f"{tmp_path}/diag", **QUICK)
    assert result.stdout == b"ok\n"
    assert [entry["reason"] for entry in events(result) if entry.get("variable") == "RETRY_METRICS"] == [reason]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["diag", "nobodys", name]


def test_a_pipe_that_nobody_reads_loses_lines_and_no_time(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(tmp_path / "pipe", os.O_WRONLY | os.O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    result = recovers(tmp_path, metrics=f"emf:{tmp_path}/pipe,emf:{tmp_path}/emf")
    assert result.seconds < 5 and len(emf_entries((tmp_path / "emf").read_text())) == 3
    os.close(reader)
    os.close(writer)


# ---- what it costs -------------------------------------------------------------------------------------

OPERATIONS = """def operation():
    start = time.monotonic_ns()
    try: socket.create_connection(("127.0.0.1", PORT))
    except OSError: pass
    return time.monotonic_ns() - start
operation()
print(*(operation() for i in range(200)))"""


def milliseconds(**options):
    """What an operation takes that fails three times; of 200 the quickest twentieth, as the machine, and its disk, have other things to do."""
    result = run(python(OPERATIONS), **{**QUICK, "base_delay_ms": 0, "diag": None, **options})
    return statistics.quantiles((int(word) / 1e6 for word in result.stdout.split()), n=20)[0]


@pytest.mark.parametrize("sink", ["statsd://127.0.0.1:8125", "emf:udp://127.0.0.1:25888", "statsd://192.0.2.1:8125", "emf:{}/emf",
                                  "prom:{}/r.prom", "emf:{}/pipe", "emf:/nowhere/x", "prom:/nowhere/x", "statsd://nowhere:8125"])
def test_no_sink_adds_a_millisecond(tmp_path, sink):
    """Nobody listens, nobody reads, nothing is there. (The whole of it is three counts an operation.)"""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    options = {"state": tmp_path / "state"}
    without = milliseconds(**options)
    assert milliseconds(metrics=sink.format(tmp_path), **options) < without + 1
    os.close(reader)
    if "{}/emf" in sink:
        assert len((tmp_path / "emf").read_text().splitlines()) == 201 * 3
    if "{}/r.prom" in sink:
        assert f'target="127.0.0.1:{PORT}",category="network"}} 402' in (tmp_path / "r.prom").read_text()


@pytest.mark.parametrize("attempts", [1, 3, 10])
def test_a_state_full_of_series_takes_no_millisecond_either(tmp_path, attempts):
    """As many as fit, with long names: the file has a thousand lines."""
    script = f"""import subprocess
for i in range(400):
    os.environ["RETRY_OPERATION"] = f"operation-{{i:03}}-" + "x" * 40
    subprocess.run(["/bin/bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/{PORT}"], stderr=subprocess.DEVNULL)"""
    options = {"state": tmp_path / "state", **QUICK, "max_attempts": 1, "base_delay_ms": 0}
    run(python(script), **options, diag=None)
    text = checked_exposition(subprocess.run([COMMAND, "metrics", "--state", tmp_path / "state"], capture_output=True, text=True, check=True).stdout)
    assert text.count("retryshim_exhausted_total{") == 256
    without = milliseconds(state=tmp_path / "state", max_attempts=attempts)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:  # whatever else the disk does meanwhile
        assert milliseconds(state=tmp_path / "state", max_attempts=attempts, metrics=f"prom:{memory}/r.prom") < without + 1
        assert Path(memory, "r.prom").read_text().count("retryshim_exhausted_total{") == 256


def test_a_healthy_program_opens_nothing(tmp_path):
    sinks = f"emf:{tmp_path}/emf,prom:{tmp_path}/r.prom,statsd://127.0.0.1:8125,emf:udp://127.0.0.1:25888"
    calls = []
    with FaultServer("200", port=PORT):
        for metrics in (None, sinks):
            log = tmp_path / "strace"
            result = run(traced(CURL, "all", log), metrics=metrics, state=tmp_path / "state", diag=None)
            assert result.stdout == b"ok\n"
            names = re.findall(r"^\d+ +(\w+)\(", log.read_text(), re.M)
            calls.append({name: names.count(name) for name in ("openat", "socket", "sendto", "stat", "newfstatat", "rename", "connect")})
    assert calls[0] == calls[1]
    assert [path.name for path in tmp_path.iterdir()] == ["strace"]


def test_descriptors_are_as_before(tmp_path):
    code = """def descriptors(): return sorted(os.listdir("/proc/self/fd"))
before = descriptors()
try: socket.create_connection(("127.0.0.1", PORT))
except OSError: pass
print(before == descriptors())"""
    sinks = f"emf:{tmp_path}/emf,prom:{tmp_path}/r.prom,statsd://127.0.0.1:8125,emf:udp://127.0.0.1:25888,statsd://192.0.2.1:1,prom:/dev/null"
    assert run(python(code), metrics=sinks, state=tmp_path / "state", **QUICK).stdout == b"True\n"
    assert len(emf_entries((tmp_path / "emf").read_text())) == 3 and (tmp_path / "r.prom").exists()


def test_no_descriptor_is_left(tmp_path):
    """Metrics are lost then, and nothing else."""
    code = """import resource
s = socket.socket()
resource.setrlimit(resource.RLIMIT_NOFILE, (0, 64))
try: s.connect(("127.0.0.1", PORT))
except OSError as error: print(error.errno)"""
    sinks = f"emf:{tmp_path}/emf,prom:{tmp_path}/r.prom,statsd://127.0.0.1:8125"
    assert run(python(code), metrics=sinks, **QUICK).stdout == b"111\n"


# ---- names, by the command -----------------------------------------------------------------------------


def with_hosts(argv, hosts):
    return with_files(argv, hosts=hosts, resolv_conf="nameserver 127.0.0.1\\n")


def run_command(metrics, *arguments, hosts="127.0.0.1 localhost\\n", env=None):
    options = {f"retry_{name}".upper(): str(value) for name, value in QUICK.items()}
    argv = [str(COMMAND), "run", *(["--metrics", metrics] if metrics else []), *arguments, "--", *CURL]
    return run(with_hosts(argv, hosts), shim=False, env={**options, **(env or {})}, diag=None, state="off")


@pytest.mark.parametrize("by", ["option", "variable"])
def test_names_are_looked_up_before_the_program_starts(tmp_path, by):
    sinks = f"statsd://collector:8125,emf:udp://collector:25888,emf:{tmp_path}/emf"
    hosts = "127.0.0.1 localhost collector\\n"
    with FaultServer(["503", "200"], port=PORT), Statsd() as statsd, Datagrams() as datagrams:
        if by == "option":
            result = run_command(sinks, hosts=hosts)
        else:
            result = run_command(None, hosts=hosts, env={"RETRY_METRICS": sinks})
        assert (result.returncode, result.stdout, result.stderr) == (0, b"ok\n", b"")
        assert len(statsd.counts()) == 3
        assert emf_counts("".join(datagrams.all())) == emf_counts((tmp_path / "emf").read_text())


@pytest.mark.parametrize("silent", [0, 1000])
def test_a_name_that_is_not_found_is_said_and_does_not_hold_the_program_up(tmp_path, silent):
    with FaultServer(["503", "200"], port=PORT), NameServer([3] * 1000, silent=silent):
        result = run_command(f"statsd://collector.test:8125,emf:{tmp_path}/emf")
    assert (result.returncode, result.stdout) == (0, b"ok\n")
    assert result.stderr.decode() == ("retryshim: no address is found for 'collector.test': the metrics for "
                                      "statsd://collector.test:8125 will be lost\n")
    assert result.seconds < 4
    assert len(emf_entries((tmp_path / "emf").read_text())) == 2


# ---- retryshim metrics ---------------------------------------------------------------------------------


def command(*arguments, **env):
    done = subprocess.run([COMMAND, "metrics", *map(str, arguments)], env=env, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


def test_command_without_anything_counted(tmp_path):
    for state in (tmp_path / "missing", tmp_path / "empty"):
        if state.name == "empty":
            state.touch(mode=0o600)
        status, text, complaint = command("--state", state)
        assert (status, complaint) == (0, "") and exposition_counts(checked_exposition(text)) == {}
        assert text.count("# TYPE") == 5


def test_command_refuses(tmp_path):
    (tmp_path / "file").write_text("x" * 100)
    (tmp_path / "file").chmod(0o600)
    for arguments, env, status, words in [
            (["--state", tmp_path / "file"], {}, 1, "it is of another size"), (["--state", "/dev/null"], {}, 1, "no regular file"),
            (["--state="], {}, 2, "'' is no file"), (["file"], {}, 2, "unexpected argument 'file'"), (["--nonsense"], {}, 2, "--nonsense"),
            ([], {"RETRY_STATE": "off"}, 2, "the state is off")]:
        result = command(*arguments, **env)
        assert result[:2] == (status, "") and words in result[2], (arguments, result)


def test_command_finds_the_state_as_the_programs_do(tmp_path):
    recovers(tmp_path, state=tmp_path / "state")
    status, text, _ = command(RETRY_STATE=str(tmp_path / "state"))
    assert status == 0 and len(exposition_counts(text)) == 3


def test_command_on_a_full_disk():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([COMMAND, "metrics", "--state", "/nowhere/at/all"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1 and "cannot write to standard output" in done.stderr


def test_command_helps():
    for arguments in (["metrics", "--help"], ["help", "metrics"]):
        text = subprocess.run([COMMAND, *arguments], capture_output=True, text=True, check=True).stdout
        assert "retryshim_retries_total" in text and "--state=FILE" in text


