"""The state file: when it is made, and whose it is."""

import json
import os
import re
import stat
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness import BUILD, SHIM, FaultServer, built, events, need, run
from network import PORT, network, python, traced  # noqa: F401
from state_files import DEAD, FAILS, HASTY, QUIET, STATE_BYTES, URL, destinations, state, under, valid  # noqa: F401

pytestmark = pytest.mark.usefixtures("network")

# ---- when it is made ------------------------------------------------------------------------------

ORDER = python("""
os.umask(int(sys.argv[2], 8))
socket.getaddrinfo("localhost", PORT)
socket.create_connection(("127.0.0.1", PORT)).close()
print(os.path.exists(sys.argv[1]))
try: socket.create_connection(("127.0.0.1", 81))
except ConnectionRefusedError: print(os.path.exists(sys.argv[1]))
""")


@pytest.mark.parametrize("umask", ["000", "022", "277", "777"])
def test_made_at_the_first_failure(state, umask):
    with FaultServer("200", port=PORT):
        result = run([*ORDER, state, umask], state=state, **HASTY)
    assert result.stdout == b"False\nTrue\n" and [e["event"] for e in events(result)] == ["attempt_failed", "exhausted"]
    its = state.stat()
    assert stat.S_ISREG(its.st_mode) and stat.S_IMODE(its.st_mode) == 0o600
    assert (its.st_size, its.st_uid, its.st_nlink) == (STATE_BYTES, os.geteuid(), 1)
    assert its.st_blocks * 512 >= STATE_BYTES  # no holes: a full disk would be SIGBUS
    assert destinations(state)[f"127.0.0.1:{DEAD}"]["attempts"] == 2
    assert os.listdir(state.parent) == ["state"]


# The one call that is in every trace: what comes before is the loader's and the interpreter's.
MARK = "/the-program-begins"
HEALTHY = {
    "python": python(f"""import urllib.request
try: os.stat("{MARK}")
except OSError: pass
for name in "localhost", "127.0.0.1", "::1": socket.getaddrinfo(name, PORT)
socket.create_connection(("127.0.0.1", PORT)).close()
print(urllib.request.urlopen("{URL}").read())"""),
    "poll": python(f"""try: os.stat("{MARK}")
except OSError: pass
socket.create_connection(("127.0.0.1", PORT), timeout=20).close(); print("connected")"""),
    "bash": ["bash", "-c", f"[ -e {MARK} ]; exec 3<>/dev/tcp/127.0.0.1/{PORT}; echo connected"],
    "curl": ["curl", "-sS", URL],
}
# How often they come is a matter of time.
TIMELY = {"poll", "ppoll", "select", "pselect6", "epoll_wait", "futex", "restart_syscall", "brk", "rt_sigaction", "recvfrom"}


def system_calls(argv, log, **options):
    """The calls of a program's own part, and the whole trace."""
    result = run(traced(argv, "all", log), **options)
    assert result.returncode == 0 and result.stdout != b"" and result.stderr == b"", result
    trace = log.read_text()
    lines = [line.split(None, 1)[1] for line in trace.splitlines() if line.split(None, 1)[1:]]
    first = next(number for number, line in enumerate(lines)
                 if f'"{MARK}", ' in line or line.startswith("socket(AF_INET,"))
    names = [re.match(r"[a-z_0-9]+(?=\()", line) for line in lines[first:]]
    return Counter(name.group() for name in names if name and name.group() not in TIMELY), trace


@pytest.mark.parametrize("client", HEALTHY)
def test_a_healthy_process_does_not_know_it(client, state, tmp_path):
    standard = Path(f"/dev/shm/retryshim-{os.geteuid()}")
    before = standard.stat() if standard.exists() else None
    log = tmp_path / "trace"
    with FaultServer("200", port=PORT):
        # Pending connects look at their socket, whatever the state: those are compared with RETRY_STATE=off.
        plain, _ = system_calls(HEALTHY[client], log, shim=client == "poll", state="off", **QUIET)
        assert plain["connect"] >= 1
        for there, path in ((False, state), (False, None), (True, state)):
            if there:
                valid(path)
                was = path.stat()
            calls, trace = system_calls(HEALTHY[client], log, state=path, **QUIET)
            assert calls - plain == plain - calls == Counter(), path
            assert str(state) not in trace.replace(f"RETRY_STATE={state}", "") and "retryshim-0" not in trace
            if there:
                assert path.stat() == was
                path.unlink()
            assert not state.exists()
    after = standard.stat() if standard.exists() else None
    assert (before is None) == (after is None) and (before is None or before.st_ino == after.st_ino)
    # The trace would show it: in a process that fails it does.
    run(traced(FAILS, "all", log), state=state, **HASTY)
    assert f'"{state}"' in log.read_text()


def test_leaves_no_descriptor_open_and_one_mapping(state):
    code = """def mine():
    return sorted((number, os.readlink(f"/proc/self/fd/{number}")) for number in os.listdir("/proc/self/fd")[:-1])
before = mine()
for port in 81, 82, 81, 82:
    try: socket.create_connection(("127.0.0.1", port))
    except ConnectionRefusedError: pass
print(mine() == before, sum(sys.argv[1] in line for line in open("/proc/self/maps")))"""
    assert run([*python(code), state], state=state, **HASTY).stdout == b"True 1\n"
    assert run([*python(code), state], state=state, **HASTY).stdout == b"True 1\n"  # one that is there


def test_a_crowd_makes_one(state):
    """All fail at once, on a file that is not there: one file, one destination, nobody refuses it."""
    go = state.with_name("go")
    os.mkfifo(go)
    waits = ["bash", "-c", f"read <{go}; exec 3<>/dev/tcp/127.0.0.1/{DEAD}"]
    for _ in range(3):
        with ThreadPoolExecutor(24) as pool:
            running = [pool.submit(run, waits, state=state, **HASTY) for _ in range(24)]
            end = os.open(go, os.O_WRONLY)  # opens with the first reader; closing it lets all go, sooner or later
            while not all(each.done() for each in running):
                os.close(end)
                time.sleep(0.01)
                try:
                    end = os.open(go, os.O_WRONLY | os.O_NONBLOCK)
                except OSError:
                    end = os.open(os.devnull, os.O_WRONLY)
            os.close(end)
            results = [each.result() for each in running]
        for result in results:
            assert {entry["event"] for entry in events(result)} <= {"attempt_failed", "exhausted", "given_up"}
        assert list(destinations(state)) == [f"127.0.0.1:{DEAD}"]
        state.unlink()


@pytest.mark.parametrize("error", ["EOPNOTSUPP", "ENOSYS", "EPERM"])
def test_not_made_where_room_cannot_be_reserved(state, error):
    """Written instead, it could be met half made; with holes, a full disk would be SIGBUS."""
    log = state.with_name("trace")
    result = run(traced(FAILS, "fallocate", log, "-e", f"inject=fallocate:error={error}"), state=state, **HASTY)
    assert "INJECTED" in log.read_text()
    assert [e["event"] for e in events(result)] == ["unused_value", "attempt_failed", "exhausted"]
    assert events(result)[0]["reason"] == error
    assert state.stat().st_size == 0
    assert [e["event"] for e in events(run(FAILS, state=state, **HASTY))] == ["attempt_failed", "exhausted"]
    assert destinations(state)[f"127.0.0.1:{DEAD}"]["attempts"] == 2


def test_a_debugger_or_a_stop_does_not_end_the_making(state):
    """fallocate(2) may be interrupted by what nobody can hold back."""
    log = state.with_name("trace")
    result = run(traced(FAILS, "fallocate", log, "-e", "inject=fallocate:error=EINTR:when=1"), state=state, **HASTY)
    assert "INJECTED" in log.read_text()
    assert [e["event"] for e in events(result)] == ["attempt_failed", "exhausted"]
    assert destinations(state)[f"127.0.0.1:{DEAD}"]["attempts"] == 2


# ---- users ----------------------------------------------------------------------------------------

# A /dev/shm that ends with the test.
OWN_SHM = "mount -t tmpfs -o mode=1777 none /dev/shm"


def shell(script, env=None, **options):
    done = run(under(OWN_SHM, ["sh", "-c", script]), cwd="/", env={"LD_PRELOAD": None, "SHIM": built(SHIM), **(env or {})},
               **{"state": None, "diag_file": None, **options})
    assert done.returncode == 0, done
    return done.stdout.decode(), [json.loads(line) for line in done.stderr.splitlines() if line.startswith(b"{")]


AS = 'as() { uid=$1; shift; setpriv --reuid=$uid --regid=$uid --clear-groups env LD_PRELOAD=$SHIM "$@"; }\n'
TRIES = f"bash -c 'exec 3<>/dev/tcp/127.0.0.1/{DEAD}' || true"
LIST = "stat -c '%n %u %a %s' /dev/shm/*\n"


def test_every_user_has_one():
    out, told = shell(AS + f"""as 65534 {TRIES}
as 65533 {TRIES}
as 65533 {TRIES}
{LIST}""", **HASTY)
    assert out.split("\n")[:-1] == [f"/dev/shm/retryshim-{uid} {uid} 600 {STATE_BYTES}" for uid in (65533, 65534)]
    assert [each["event"] for each in told] == ["attempt_failed", "exhausted"] * 3


def test_nobody_touches_anothers():
    """65533 is told to use the other's file; then it lays one where the other's would be, shut and open to all."""
    out, told = shell(AS + f"""as 65534 {TRIES}
before=$(cksum </dev/shm/retryshim-65534)
RETRY_STATE=/dev/shm/retryshim-65534 as 65533 {TRIES}
[ "$before" = "$(cksum </dev/shm/retryshim-65534)" ] && echo untouched
rm /dev/shm/retryshim-65534
as 65533 sh -c 'umask 077; : >/dev/shm/retryshim-65534'
as 65534 {TRIES}
as 65533 chmod 666 /dev/shm/retryshim-65534
as 65534 {TRIES}
{LIST}""", **HASTY)
    assert out.split("\n")[:-1] == ["untouched", "/dev/shm/retryshim-65534 65533 666 0"]
    refused = [each["reason"] for each in told if each["event"] == "unused_value"]
    assert refused == ["EACCES", "EACCES", "it belongs to another user"]
    assert [each["event"] for each in told if each["event"] != "unused_value"] == ["attempt_failed", "exhausted"] * 4


def test_a_set_user_id_program_uses_none():
    """Preloaded by /etc/ld.so.preload, since the loader takes no LD_PRELOAD from strangers; its copy that is not
    set-user-ID shows that it would be seen."""
    script = f"""mkdir /dev/shm/etc; cp -a /etc/. /dev/shm/etc; mount --bind /dev/shm/etc /etc
mkdir -p /dev/shm/bin; cp {need("curl")} /dev/shm/bin/plain; cp {need("curl")} /dev/shm/bin/secure
cp "$SHIM" /dev/shm/bin/shim.so; chmod 755 /dev/shm/bin /dev/shm/etc
chown 65533 /dev/shm/bin/secure; chmod 4755 /dev/shm/bin/secure
opens() {{ grep ^Tcp: /proc/net/snmp | tail -1 | cut -d' ' -f6; }}
echo /dev/shm/bin/shim.so >/etc/ld.so.preload
for program in plain secure; do
    before=$(opens)
    setpriv --reuid=65534 --regid=65534 --clear-groups /dev/shm/bin/$program -s http://127.0.0.1:{DEAD}/ || true
    echo $program $(($(opens) - before)) /dev/shm/retryshim*
    rm -f /dev/shm/retryshim*
done
rm /etc/ld.so.preload"""
    out, _ = shell(script, base_delay_ms=10, max_attempts=3, **QUIET)
    assert out.splitlines() == ["plain 3 /dev/shm/retryshim-65534", "secure 3 /dev/shm/retryshim*"]


def test_without_proc():
    out, told = shell(AS + f"""mount -t tmpfs none /proc
as 65534 {TRIES}
as 65534 {TRIES}
{LIST}as 65534 {built(BUILD / "retryshim")} status --json""", **HASTY)
    listed, known = out.splitlines()
    assert listed == f"/dev/shm/retryshim-65534 65534 600 {STATE_BYTES}"
    assert [(each["target"], each["attempts"]) for each in json.loads(known)["destinations"]] == [(f"127.0.0.1:{DEAD}", 4)]
    assert [each["event"] for each in told] == ["attempt_failed", "exhausted"] * 2
