"""A systemd of a test's own: process 1 of a few namespaces, with a journal, on this machine's files.

    status, out, err = systemd_host({"name.service": "[Service]\\n..."}, "systemctl start name; journalctl -u name")

Its /run, /tmp, /var/log, /var/lib and /dev/shm are empty, /usr/local has what make builds; its network is the caller's. It ends with the script.
"""

import contextlib
import os
import shlex
import shutil
import subprocess
from pathlib import Path

from harness import BUILD, PATH, SERVER, SHIM, built, need, wait_until

INSTALLED = {SHIM: "lib/libretryshim.so", BUILD / "retryshim": "bin/retryshim", SERVER: "bin/faultserver"}  # in /usr/local
GROUPS = Path("/sys/fs/cgroup")
TARGET = """[Unit]
Description=What a test wants
Wants=script.service systemd-journald.service
After=systemd-journald.service
"""
SCRIPT = """[Unit]
DefaultDependencies=no
After=systemd-journald.service
SuccessAction=exit-force
FailureAction=exit-force
[Service]
Type=oneshot
Environment=HOME=/root
ExecStart=/bin/sh /run/script
StandardOutput=file:/run/out
StandardError=file:/run/err
TimeoutStartSec=60
"""
BOOT = """set -e
mount -t proc none /proc
for place in /run /var/log /var/lib /usr/local; do mount -t tmpfs -o mode=755 none $place; done
mkdir -p /run/systemd/system
mount -t tmpfs -o mode=1777 none /dev/shm
umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup
mkdir /run/told; mount --bind "$FOLDER" /run/told
cp -r /run/told/local /usr; cp -r /run/told/units/. /run/systemd/system; cp /run/told/script /run/script
mount -t tmpfs -o mode=1777 none /tmp
exec env -i container=retryshim PATH="$PATH" /lib/systemd/systemd --system --unit=told.target --show-status=0 --log-target=null
"""


@contextlib.contextmanager
def own_group(name):
    """A group of processes below the unified hierarchy's root, and none of it afterwards."""
    root = GROUPS / "unified" if (GROUPS / "unified").is_dir() else GROUPS
    group = root / name
    group.mkdir()
    try:
        yield group
    finally:
        (group / "cgroup.kill").write_text("1")
        wait_until(lambda: "populated 0" in (group / "cgroup.events").read_text(), what="the end of systemd")
        for folder, _, _ in os.walk(group, topdown=False):
            os.rmdir(folder)


def systemd_host(units, script, folder):
    """units: name, which may have a folder, to text. Returns what the script told."""
    (folder / "units").mkdir()
    for name, text in {"told.target": TARGET, "script.service": SCRIPT, **units}.items():
        path = folder / "units" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    for built_one, name in INSTALLED.items():
        path = folder / "local" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(built(built_one), path)
    (folder / "script").write_text(f"(\n{script}\n)\nstatus=$?\ncp /run/out /run/err /run/told\necho $status >/run/told/status\n")
    need("systemd-analyze")
    with own_group(f"retryshim-{os.getpid()}") as group:
        argv = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--ipc", "--uts", "--cgroup", "sh", "-c", BOOT]
        enter = ["sh", "-c", f'echo $$ >{shlex.quote(str(group))}/cgroup.procs && exec "$@"', "sh", *argv]
        done = subprocess.run(enter, env={"PATH": PATH, "FOLDER": str(folder)}, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=100, check=False)
    told = [folder / name for name in ("status", "out", "err")]
    assert all(path.exists() for path in told), f"systemd: {done.returncode} {done.stdout} {done.stderr}"
    return int(told[0].read_text()), told[1].read_text(), told[2].read_text()
