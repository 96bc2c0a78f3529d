"""scripts/recipes/preload-everything: every program by /etc/ld.so.preload, and the way back; in an /etc of the test's own."""

import shlex
import subprocess
from pathlib import Path

import pytest

from harness import PATH, ROOT, SHIM, built, need
from host_state import active_opens
from network import PORT, network  # noqa: F401
from recipe_sites import OWN_PROCESSES

pytestmark = pytest.mark.usefixtures("network")

RECIPE = ROOT / "scripts/recipes/preload-everything"
OBJECT = "/usr/local/lib/libretryshim.so"
LIST = "/etc/ld.so.preload"
TRY = f"env -i {need('wget')} -q -t 1 -O /dev/null http://127.0.0.1:{PORT}/ || true"


def machine(script, before="", settings="base_delay_ms = 1\nbudget = off\nstate = off\nmax_attempts = 4\n"):
    """Runs a script of sh where /etc is a copy and /usr/local/lib holds the object alone, and `recipe` is the recipe."""
    first = f"""set -e
mount -t tmpfs -o mode=1777 none /dev/shm
d=$(mktemp -d); mount -t tmpfs -o mode=755 none $d; cp -a /etc/. $d; mount --bind $d /etc; umount -l $d; rmdir $d
cp {shlex.quote(built(SHIM))} /dev/shm/object; mount -t tmpfs -o mode=755 none /usr/local/lib; install -m 644 /dev/shm/object {OBJECT}
printf %s {shlex.quote(settings)} >/etc/retryshim.conf; chmod 644 /etc/retryshim.conf; rm -f {LIST}
{before}
cd /; recipe() {{ sh {RECIPE} "$@"; }}
"""
    argv = ["unshare", "--mount", "--propagation=private", *OWN_PROCESSES, "sh", "-c", first + script]
    done = subprocess.run(argv, env={"PATH": PATH}, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def refused(arguments, why, before=""):
    status, out, err = machine(f"recipe install {arguments} && exit 9; test ! -e {LIST}; ls -A /etc | grep preload. || true", before)
    assert (status, out) == (0, ""), (out, err)
    assert why in err and err.count("preload-everything:") == 1, err


@pytest.fixture(scope="module", name="other")
def others(tmp_path_factory):
    """The same library for another word size, if only by name."""
    path = tmp_path_factory.mktemp("other") / "other.so"
    subprocess.run([need("gcc"), "-m32", "-shared", "-nostdlib", "-o", path, "-x", "c", "/dev/null"], check=True)
    return path


def test_programs_without_an_environment_recover_and_the_way_back():
    before = active_opens()
    assert machine(TRY) == (0, "", "")
    assert active_opens() - before == 1
    status, out, err = machine(f"recipe install; {TRY}; cat {LIST}; stat -c '%a %u %g' {LIST}")
    assert (status, err) == (0, "")
    assert out.splitlines()[1:] == [OBJECT, "644 0 0"] and "The way back: " in out
    assert active_opens() - before == 1 + 4
    listing = "find /etc -printf '%p %m %U %G %s %l\\n' | sort; find /etc -type f -exec md5sum {} + | sort"
    status, out, err = machine(f"({listing}) >/dev/shm/before; recipe install; recipe undo; ({listing}) >/dev/shm/after; "
                               f"diff /dev/shm/before /dev/shm/after && echo same; {TRY}")
    assert (status, err) == (0, "") and out.splitlines()[-1] == "same"
    assert active_opens() - before == 1 + 4 + 1


@pytest.mark.parametrize("kept", ["/usr/lib/one.so", "/usr/lib/one.so /usr/lib/two.so\\n# ours\\n\\n"])
def test_lines_that_stand_there_keep_their_bytes(kept):
    library = "printf '' | gcc -shared -nostdlib -o /usr/local/lib/one.so -x c -"
    kept = kept.replace("/usr/lib/", "/usr/local/lib/")
    before = f"""{library}; cp /usr/local/lib/one.so /usr/local/lib/two.so
printf '{kept}' >{LIST}; chmod 640 {LIST}; chgrp 42 {LIST}; cp -a {LIST} /etc/kept"""
    facts = f"stat -c '%a %u %g' {LIST}"
    script = f"""recipe install; (echo {OBJECT}; cat /etc/kept) | cmp - {LIST}; {facts}; cp {LIST} /etc/twice
recipe install; cmp /etc/twice {LIST}; recipe undo; cmp /etc/kept {LIST}; {facts}; ls -A /etc | grep preload"""
    status, out, err = machine(script, before)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert [line for line in lines if not line.startswith(("Programs", OBJECT))] == ["640 0 42", "640 0 42", "ld.so.preload"]
    assert f"{OBJECT} stands in {LIST} already." in lines


def test_refuses_what_would_harm(other):
    refused("libretryshim.so", "is no absolute path")
    refused("'/usr/local/lib/my shim.so'", "blanks", f"cp {OBJECT} '/usr/local/lib/my shim.so'")
    refused("/usr/local/lib/none.so", "there is no file")
    refused(OBJECT, "wrong ELF class", f"cp {other} {OBJECT}")
    refused(OBJECT, "invalid ELF header", f"seq 100 >{OBJECT}")
    refused(OBJECT, "is not root's, or others may write to it", f"chmod 666 {OBJECT}")
    refused(OBJECT, "is not root's, or others may write to it", "chmod 777 /usr/local/lib")
    refused(OBJECT, "is not root's, or others may write to it", f"chown 65534 {OBJECT}")
    refused(OBJECT, "not everybody may read", f"chmod 600 {OBJECT}")
    refused(OBJECT, "symbolic link", f"ln -s /etc/elsewhere {LIST}")


def test_refuses_an_object_of_another_c_library():
    before = f"""cd /dev/shm; : >empty.c; gcc -shared -nostdlib -Wl,-soname,libc.musl.so.1 -o musl.so empty.c
gcc -shared -nostdlib -Wl,--no-as-needed -o {OBJECT} empty.c musl.so"""
    refused(OBJECT, "libc.musl.so.1: cannot open shared object file", before)


def test_only_root_and_undo_only_what_is_there():
    status, _, err = machine("exec setpriv --reuid=65534 --regid=65534 --clear-groups sh /usr/local/lib/recipe install",
                             f"install -m 755 {RECIPE} /usr/local/lib/recipe")
    assert status == 1 and "run this as root" in err
    status, _, err = machine("recipe undo")
    assert status == 1 and "does not stand in a line of its own" in err
    status, _, err = machine("recipe")
    assert status == 2 and "usage" in err


def test_an_open_shell_takes_it_back_without_a_program():
    """An object that kills each program that loads it."""
    bad = "printf 'static void __attribute__((constructor)) f(void) { __builtin_trap(); }' | gcc -shared -nostdlib -o /usr/local/lib/bad.so -x c -"
    status, out, _ = machine(f"echo /usr/local/lib/bad.so >{LIST}; /bin/true && exit 9; : >{LIST}; /bin/true; echo alive", bad)
    assert (status, out) == (0, "alive\n")
    refused("/usr/local/lib/bad.so", "does not load", bad)


def test_an_object_that_is_gone_is_told_by_the_loader_and_passed_over():
    status, out, err = machine(f"recipe install; mv {OBJECT} /usr/local/lib/away; env -i /bin/echo works; recipe undo; test ! -e {LIST}")
    assert status == 0 and "works" in out.splitlines() and f"object '{OBJECT}' from {LIST} cannot be preloaded" in err


def test_it_is_a_shell_script_without_a_flaw():
    assert Path(RECIPE).stat().st_mode & 0o111
    subprocess.run([need("shellcheck"), "-s", "sh", RECIPE], check=True)
