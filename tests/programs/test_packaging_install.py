"""`make install` and `make uninstall`, and the Debian package: built twice, looked at by lintian, and installed, used and
removed in a root that is this one with a layer of its own above it."""

import json
import os
import re
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from harness import BUILD, ROOT, need, wait_until

VERSION = re.search(r'VERSION "(.*)"', (ROOT / "include/retryshim/version.h").read_text())[1]
OBJECT = "libretryshim.so"
EPOCH = "1700000000"


def make(*arguments, cwd=ROOT, **options):
    """Not a part of the make that may have started us: its flags would name its build folder."""
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")}
    environment.update(options.pop("env", {}))
    done = subprocess.run([need("make"), "-j2", *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ---- make install ---------------------------------------------------------------------------------------------------


def listing(folder):
    """Path -> its mode."""
    return {str(path.relative_to(folder)): oct(path.lstat().st_mode) for path in folder.rglob("*")}


INSTALLED = {
    "bin/retryshim": 0o755,
    f"lib/{OBJECT}": 0o644,
    "share/man/man1/retryshim.1": 0o644,
    "share/man/man7/libretryshim.7": 0o644,
    "share/bash-completion/completions/retryshim": 0o644,
    "share/zsh/site-functions/_retryshim": 0o644,
    "share/fish/vendor_completions.d/retryshim.fish": 0o644,
}


def test_install_and_uninstall(tmp_path):
    """Folders that others use, too, stay, and what is in them."""
    where = [f"B={BUILD}", f"DESTDIR={tmp_path}"]
    prefix = tmp_path / "usr/local"
    for name in INSTALLED:
        (prefix / name).parent.mkdir(parents=True, exist_ok=True)
        (prefix / name).with_name("another's").touch()
    before = listing(tmp_path)
    make("install", *where, umask=0o077)
    added = {name: mode for name, mode in listing(tmp_path).items() if name not in before}
    assert added == {f"usr/local/{name}": oct(0o100000 | mode) for name, mode in INSTALLED.items()}
    printed = subprocess.run([prefix / "bin/retryshim", "run", "--print"], capture_output=True, text=True, check=True).stdout
    assert f"LD_PRELOAD={prefix}/lib/{OBJECT}" in printed
    make("uninstall", *where)
    assert listing(tmp_path) == before


def test_install_makes_folders_that_everybody_may_enter(tmp_path):
    tmp_path = tmp_path / "with blank"
    make("install", f"B={BUILD}", f"DESTDIR={tmp_path}", umask=0o077)
    assert {mode for name, mode in listing(tmp_path).items() if (tmp_path / name).is_dir()} == {oct(0o40755)}
    make("uninstall", f"B={BUILD}", f"DESTDIR={tmp_path}")
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == []


# ---- the package ----------------------------------------------------------------------------------------------------


def build_package(folder, build, **options):
    """Less optimised than what is given out: it is compiled twice."""
    make("deb", f"B={build}", "CFLAGS=-O1 -g", cwd=folder, **options)
    packages = list(build.glob("retryshim_*.deb"))
    assert len(packages) == 1, packages
    return packages[0]


@pytest.fixture(scope="module")
def package():
    """Built below the build folder, so that a second run of these tests compiles nothing."""
    build = BUILD / "packaging"
    for old in build.glob("*.deb"):
        old.unlink()
    return build_package(ROOT, build, env={"SOURCE_DATE_EPOCH": EPOCH})


def dpkg_deb(*arguments):
    return subprocess.run([need("dpkg-deb"), *map(str, arguments)], capture_output=True, text=True, check=True).stdout


def test_is_what_it_says(package):
    architecture = subprocess.run([need("dpkg"), "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()
    assert package.name == f"retryshim_{VERSION}-1_{architecture}.deb"
    assert dpkg_deb("-f", package, "Version").strip() == f"{VERSION}-1"
    assert re.fullmatch(r"libc6 \(>= 2\.\d+\)", dpkg_deb("-f", package, "Depends").strip())
    rows = [line.split() for line in dpkg_deb("-c", package).splitlines()]
    assert {row[1] for row in rows} == {"root/root"}
    assert {row[3] for row in rows} == {"2023-11-14"}


def test_lintian(package):
    done = subprocess.run([need("lintian"), "--allow-root", "--fail-on", "error,warning", str(package)], capture_output=True, text=True, timeout=200)
    assert (done.stdout, done.returncode) == ("", 0), done.stderr


def test_two_builds_are_the_same_bytes(package, tmp_path):
    """In another folder, with other rights, another clock's zone and other files' times."""
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for name in ("Makefile", "LICENSE"):
        shutil.copyfile(ROOT / name, copy / name)
    for name in ("include", "scripts", "shim"):
        shutil.copytree(ROOT / name, copy / name, copy_function=shutil.copyfile)
    (copy / "scripts/deb/build").chmod(0o700)
    again = build_package(copy, copy / "build", env={"SOURCE_DATE_EPOCH": EPOCH, "TZ": "Asia/Tokyo"}, umask=0o077)
    assert again.name == package.name
    assert again.read_bytes() == package.read_bytes()


# ---- in a root ------------------------------------------------------------------------------------------------------


class Root:
    """This root under a layer of its own, in a mount namespace that ends with it. Networks are the machine's."""

    # man-db's index takes seconds, and is not ours.
    SETUP = """mount -t tmpfs none "$1" && cd "$1" && mkdir upper work root &&
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root && mount --rbind /proc root/proc && mount --rbind /dev root/dev &&
mount -t tmpfs none root/tmp && { [ ! -e root/usr/bin/mandb ] || mount --bind /bin/true root/usr/bin/mandb; } && echo ready && cat"""

    def __init__(self, folder):
        self.folder = folder
        self.holder = subprocess.Popen([need("unshare"), "--mount", "sh", "-c", self.SETUP, "sh", str(folder)],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self.holder.stdout.readline() != "ready\n":
            pytest.fail(f"no root with a layer above it: {self.holder.communicate()[1]}", pytrace=False)
        self.path = Path(f"/proc/{self.holder.pid}/root{folder}/root")
        self.upper = Path(f"/proc/{self.holder.pid}/root{folder}/upper")

    def argv(self, *arguments):
        return [need("nsenter"), f"--mount=/proc/{self.holder.pid}/ns/mnt", "chroot", f"{self.folder}/root", *map(str, arguments)]

    def run(self, *arguments, status=0, **environment):
        clean = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/tmp", **environment}
        done = subprocess.run(self.argv(*arguments), env=clean, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
        assert done.returncode == status, (arguments, done.returncode, done.stdout, done.stderr)
        return done

    def install(self, package):
        (self.path / "tmp" / package.name).write_bytes(package.read_bytes())
        # Images of containers leave manual pages out.
        return self.run("dpkg", "--path-include=*", "-i", f"/tmp/{package.name}")

    def left_behind(self):
        """What the layer holds that was not there before, or hides what was; dpkg's and the loader's own books aside."""
        books = re.compile(r"(var/lib/dpkg|var/log|var/cache/(man|ldconfig))(/|$)|(var/cache|etc)$|etc/ld\.so\.cache$")
        paths = [path.relative_to(self.upper) for path in self.upper.rglob("*")]
        return [str(path) for path in paths if not books.match(str(path)) and not (Path("/", path).is_dir() and (self.upper / path).is_dir())]

    def close(self):
        self.holder.communicate()


@pytest.fixture
def root(tmp_path):
    root = Root(tmp_path)
    yield root
    root.close()


class LatePort:
    """A port that refuses until listen() is called, and then answers each request; nobody else gets it meanwhile."""

    def __init__(self):
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/"
        self.served = 0

    def listen(self):
        self.socket.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            client, _ = self.socket.accept()
            client.recv(65536)
            self.served += 1
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n")
            client.close()


def test_installs_runs_and_is_removed(package, root, tmp_path):
    assert not (root.path / "usr/bin/retryshim").exists(), "a package of this name is installed on this machine"
    assert root.install(package).stderr.replace("dpkg: warning", "") == ""
    assert root.run("retryshim", "version").stdout == f"retryshim {VERSION}\n"
    assert root.run("retryshim", "check", "--", "curl").stdout.startswith("curl: reached")
    assert root.run("dpkg", "--verify", "retryshim").stdout == ""

    port = LatePort()
    root.run("curl", "-sS", port.url, status=7)  # as it is without
    diagnostics = root.path / "tmp/diagnostics"
    argv = ["retryshim", "run", "--attempts=1000", "--base-delay=20ms", "--multiplier=1", "--jitter=none", "--no-budget", "--breaker=off",
            "--state=off", "--diag-format=json", "--diag-file=/tmp/diagnostics", "--", "curl", "-sS", port.url]
    with subprocess.Popen(root.argv(*argv), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        wait_until(lambda: diagnostics.exists() and "attempt_failed" in diagnostics.read_text(), timeout=60, what="a failure")
        port.listen()
        assert client.communicate(timeout=60) == ("ok\n", "")
        assert client.returncode == 0
    assert port.served == 1
    assert json.loads(diagnostics.read_text().splitlines()[-1])["event"] == "succeeded"

    # By its name alone, as the loader finds it.
    assert root.run("sh", "-c", "grep -c libretryshim.so /proc/self/maps >/dev/null && echo loaded", LD_PRELOAD=OBJECT).stdout == "loaded\n"
    for page, words in (("retryshim", "--rerun-output"), ("libretryshim", "RETRY_MAX_ATTEMPTS")):
        shown = root.run("man", "-P", "cat", page)
        assert words in shown.stdout and shown.stderr == ""

    root.run("dpkg", "-r", "retryshim")
    assert root.left_behind() == []
    root.install(package)
    root.run("dpkg", "-P", "retryshim")
    assert root.left_behind() == []


def test_stays_while_every_program_is_told_to_load_it(package, root):
    """Without it each would complain. An upgrade takes nothing away."""
    root.install(package)
    preload = root.path / "etc/ld.so.preload"
    path = next((root.path / "usr/lib").glob(f"*/{OBJECT}")).relative_to(root.path)
    preload.write_text(f"/{path}\n")
    refused = root.run("dpkg", "-r", "retryshim", status=1)
    assert f"retryshim: /etc/ld.so.preload still loads /{path}" in refused.stderr
    assert "cannot be preloaded" not in refused.stderr + root.run("true").stderr
    assert (root.path / path).exists()
    assert "cannot be preloaded" not in root.install(package).stderr
    # What the message says has to be done.
    root.run("sh", "-c", re.search(r"complains: +(.*)", refused.stderr)[1])
    root.run("dpkg", "-P", "retryshim")
    preload.unlink()
    assert root.left_behind() == []


PRELOADS = {
    "another's": ("/usr/lib/other.so\n", False),
    "none": (None, False),
    "empty": ("", False),
    "a comment": ("# /usr/lib/x/libretryshim.so\n/usr/lib/other.so # libretryshim.so\n", False),
    "a copy elsewhere": ("/usr/local/lib/libretryshim.so\n", False),
    "its path": ("/usr/lib/x/libretryshim.so\n", True),
    "through a link": ("/lib/x/libretryshim.so", True),
    "its name": ("libretryshim.so\n", True),
    "the loader's LIB": ("/usr/$LIB/libretryshim.so\n", True),
    "among others": ("/usr/lib/other.so:libretryshim.so\t/a\n", True),
    "a pattern": ("/usr/lib/*/libretryshim.so\n", False),
}


@pytest.mark.parametrize("case", PRELOADS)
def test_what_names_it(case, tmp_path):
    text, refuses = PRELOADS[case]
    script = tmp_path / "prerm"
    script.write_text((ROOT / "scripts/deb/prerm").read_text().replace("@OBJECT@", f"/usr/lib/x/{OBJECT}"))
    for place in ("usr/lib/x", "usr/local/lib"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / OBJECT).touch()
    (tmp_path / "lib").symlink_to("usr/lib")
    (tmp_path / "etc").mkdir()
    if text is not None:
        (tmp_path / "etc/ld.so.preload").write_text(text)

    def prerm(*arguments):
        return subprocess.run(["sh", script, *arguments], env={"DPKG_ROOT": str(tmp_path), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True)

    removed = prerm("remove")
    assert (removed.returncode, removed.stderr != "") == ((1, True) if refuses else (0, False)), removed.stderr
    assert prerm("upgrade", "9.9").returncode == 0
