"""scripts/recipes/systemd.conf, with all that it advises, under a systemd of the test's own."""

import json
import re
import subprocess

import pytest

from harness import ROOT, need
from network import PORT, PYTHON, network  # noqa: F401
from systemd_host import systemd_host

RECIPE = (ROOT / "scripts/recipes/systemd.conf").read_text()
SETTING = re.compile(r"#(?=[A-Z][A-Za-z]*=)")
PROGRAMS = {  # by the hook that serves them
    "blocking": f"{need('wget')} -q -t 1 -O /dev/null http://127.0.0.1:{PORT}/",
    "easy": f"{need('curl')} -sSf -o /dev/null http://127.0.0.1:{PORT}/",
    "epoll": f"{PYTHON} -c 'import asyncio; asyncio.run(asyncio.open_connection(\"127.0.0.1\", {PORT}))'",
}
QUICK = """[Service]
Environment=RETRY_BASE_DELAY_MS=200 RETRY_MULTIPLIER=1 RETRY_MAX_ATTEMPTS=100 RETRY_BUDGET=off RETRY_BREAKER=off
"""
HARDENED = "ExecStartPre=/bin/sh -c 'grep -qx Seccomp:.2 /proc/self/status && ! touch /usr/local/x 2>/dev/null && touch /tmp/x'\n"


def service(command, more="User=daemon"):
    return f"[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart={command}\n{more}\n"


def everything(name):
    """The recipe with each setting that it has as a comment."""
    return SETTING.sub("", RECIPE).replace("NAME.prom", f"{name}.prom")


def test_settings_are_known(tmp_path):
    """What it names in comments, too; and one that is misspelt would be seen."""
    folder = tmp_path / "one.service.d"
    folder.mkdir()
    (tmp_path / "one.service").write_text(service("/bin/true"))

    def told(text):
        (folder / "retryshim.conf").write_text(text)
        argv = [need("systemd-analyze"), "verify", tmp_path / "one.service"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:"})
        return done.stderr

    assert told(RECIPE) == "" and len(SETTING.findall(RECIPE)) == 19
    assert told(everything("one")) == ""
    assert "PrivateTemp" in told(RECIPE.replace("#PrivateTmp", "PrivateTemp"))


def test_services_recover_together(network, tmp_path):
    units = {}
    for name, command in PROGRAMS.items():
        units[f"{name}-plain.service"] = units[f"{name}.service"] = service(command)
        units[f"{name}.service.d/retryshim.conf"] = everything("daemon")
        units[f"{name}.service.d/test.conf"] = QUICK + HARDENED
    names = " ".join(PROGRAMS)
    status, out, err = systemd_host(units, f"""set -e
mkdir -p /var/lib/prometheus/node-exporter; chmod 777 /var/lib/prometheus/node-exporter
for name in {names}; do ! systemctl start $name-plain 2>/dev/null; done
systemctl start --no-block {names}
for name in {names}; do until journalctl -u $name --grep=retryshim -o cat | grep -q 'Retry attempt 1/'; do sleep 0.1; done; done
/usr/local/bin/faultserver --port {PORT} --log /run/log.json -- 200 >/run/server &
systemctl start {names}
for name in {names}; do systemctl show -p Result --value $name; done
grep -c '"event":"accept"' /run/log.json
setpriv --reuid=daemon --regid=daemon --clear-groups /usr/local/bin/retryshim status --json
stat -c '%a %U %n' /dev/shm/*
for name in {names}; do journalctl -u $name --grep=retryshim -o cat | tail -1; done
grep ^retryshim_recovered_total /var/lib/prometheus/node-exporter/daemon.prom""", tmp_path)
    assert (status, err) == (0, ""), (out, err)
    lines = out.splitlines()
    assert lines[:4] == ["success"] * 3 + ["3"], out
    known = json.loads(lines[4])["destinations"]
    assert sum(each["recoveries"] for each in known) == 3 and {each["target"] for each in known} == {f"127.0.0.1:{PORT}"}
    assert lines[5] == "600 daemon /dev/shm/retryshim-1"
    assert all(" succeeded on attempt " in line for line in lines[6:9]), lines
    assert sum(int(line.split()[-1]) for line in lines[9:] if "target=" in line) == 3, lines


def test_a_dynamic_user_forgets(network, tmp_path):
    """As its comment says: RemoveIPC= takes the state with the last unit of the user."""
    units = {}
    for name, more in {"keeps": "User=daemon", "forgets": "DynamicUser=yes"}.items():
        units[f"{name}.service"] = service(PROGRAMS["blocking"], more)
        units[f"{name}.service.d/retryshim.conf"] = RECIPE
        units[f"{name}.service.d/test.conf"] = QUICK.replace("=100", "=2")
    script = """for name in forgets keeps; do
! systemctl start $name 2>/dev/null; journalctl -u $name -o cat | grep -c 'Retry attempt 1/2'; ls /dev/shm
done"""
    assert systemd_host(units, script, tmp_path) == (0, "1\n1\nretryshim-1\n", "")


@pytest.mark.parametrize("setting, shared", [("PrivateTmp=yes\nPrivateIPC=yes\nPrivateDevices=yes", True), ("TemporaryFileSystem=/dev/shm", False)])
def test_whose_state(network, tmp_path, setting, shared):
    units = {"one.service": service(PROGRAMS["blocking"]), "one.service.d/retryshim.conf": RECIPE + setting,
             "one.service.d/test.conf": QUICK.replace("=100", "=2")}
    script = "! systemctl start one 2>/dev/null; journalctl -u one -o cat | grep -c 'Retry attempt 1/2'; ls /dev/shm"
    assert systemd_host(units, script, tmp_path) == (0, "1\n" + "retryshim-1\n" * shared, "")
