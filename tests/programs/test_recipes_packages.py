"""git, pip, npm and apt as scripts/recipes/dev.sh advises: a port that opens late, and a server that fails first."""

import json
import subprocess

import pytest

from harness import BUILD, PATH, ROOT, SHIM, built, need, wait_until
from multi_git import NO_SETTINGS, git_server, make_repository
from network import PORT, PYTHON, network  # noqa: F401
from recipe_sites import OWN_PROCESSES, URL, Site, apt_files, npm_files, npm_project, pip_files

pytestmark = pytest.mark.usefixtures("network")

# /usr/local holds what make builds; apt has folders of its own, and a root to install into.
PLACE = """set -e
mount -t tmpfs -o mode=1777 none /dev/shm
install -Dm 755 "$COMMAND" /dev/shm/local/bin/retryshim; install -Dm 755 "$SHIM" /dev/shm/local/lib/libretryshim.so
mount -t tmpfs -o mode=755 none /usr/local; mv /dev/shm/local/* /usr/local; mkdir /dev/shm/told /dev/shm/home; mount --bind "$FOLDER" /dev/shm/told
for place in /etc/apt /var/lib/apt /var/cache/apt; do mount -t tmpfs -o mode=755 none $place; done
mkdir -p /etc/apt/apt.conf.d /etc/apt/preferences.d /var/lib/apt/lists/partial /var/cache/apt/archives/partial
mkdir -p /dev/shm/root/var/lib/dpkg/updates /dev/shm/root/var/lib/dpkg/info; chmod -R 755 /dev/shm/root; : >/dev/shm/root/var/lib/dpkg/status
echo "deb [trusted=yes] $URL ./" >/etc/apt/sources.list
. "$DEV"; cd /dev/shm/home
"""
APT = """-qq -o APT::Update::Error-Mode=any -o Acquire::Retries=0 -o DPkg::Options::=--root=/dev/shm/root \
-o Dir::State::status=/dev/shm/root/var/lib/dpkg/status"""
TOOLS = {  # HOW stands for the short form, or for nothing
    "git": ("net", "HOW git clone -q $URL/repository.git", "cat repository/file-3 | head -1", "3\n"),
    "pip": ("download", f"HOW {PYTHON} -m pip install -q --retries 0 --index-url $URL/simple --no-cache-dir --disable-pip-version-check "
            "--root-user-action ignore --target site dep", "cat site/dep.py", "ANSWER = 42\n"),
    "npm": ("download", "cp /dev/shm/told/package*.json . && HOW npm ci --fetch-retries=0 --registry=$URL/ --no-audit --no-fund >/dev/null",
            "ls node_modules", "dep\n"),
    "apt": ("download", f"HOW apt-get {APT} update && HOW apt-get {APT} install -y dep >/dev/null",
            "cat /dev/shm/root/usr/share/dep/answer", "42\n"),
}
# Where it fails first, by 503 and a reset.
FIRST = {"git": "/info/refs", "pip": "/simple/dep/", "npm": "/dep/-/dep-1.0.0.tgz", "apt": "/Packages"}


class Client:
    """A tool that runs there, with or without its short form; each of its backoffs is `delay_ms`."""

    def __init__(self, folder, tool, helped, delay_ms=100):
        how, script, look, self.wanted = TOOLS[tool]
        self.diag = folder / "diag"
        self.diag.write_text("")
        self.diag.chmod(0o666)
        folder.chmod(0o777)
        env = {"PATH": PATH, "HOME": "/dev/shm/home", "LANG": "C.UTF-8", "URL": URL, "FOLDER": str(folder), "SHIM": built(SHIM),
               "COMMAND": built(BUILD / "retryshim"), "DEV": str(ROOT / "scripts/recipes/dev.sh"), "DEBIAN_FRONTEND": "noninteractive",
               "npm_config_update_notifier": "false",
               "RETRY_MAX_DELAY_MS": str(delay_ms), "RETRY_JITTER": "none", "RETRY_BUDGET_BURST": "100", "RETRY_DIAG": "1",
               "RETRY_DIAG_FORMAT": "json", "RETRY_DIAG_FILE": "/dev/shm/told/diag", **NO_SETTINGS}
        script = script.replace("HOW", how if helped else "")
        script = f"{PLACE}set +e\n{{ {script}; }} && {look}\nstatus=$?; ls /dev/shm >/dev/shm/told/shm; exit $status"
        argv = [need("unshare"), "--mount", "--propagation=private", *OWN_PROCESSES, "bash", "-c", script]
        self.process = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def events(self):
        return [json.loads(line) for line in self.diag.read_text().splitlines()]

    def failed_once(self):
        wait_until(lambda: "attempt_failed" in self.diag.read_text() or self.process.poll() is not None, 30, "its first failure")

    def works(self):
        try:
            out, err = self.process.communicate(timeout=60)
        except BaseException:
            self.process.kill()
            raise
        self.complaint = out + err
        return self.process.returncode == 0 and out == self.wanted


@pytest.fixture(scope="module", name="repository")
def repositories(tmp_path_factory):
    return make_repository(tmp_path_factory.mktemp("git"))[0]


@pytest.fixture(name="serve")
def servers(tmp_path, repository):
    """serve(tool, faults): a server with what the tool asks for."""
    for tool in TOOLS:
        need({"pip": PYTHON, "apt": "apt-get"}.get(tool, tool))
    npm_project(tmp_path)
    (tmp_path / "apt").mkdir()
    files = {**npm_files(), **pip_files(), **apt_files(tmp_path / "apt")}

    def serve(tool, faults):
        return git_server(repository, faults, port=PORT) if tool == "git" else Site(files, faults)
    return serve


@pytest.mark.parametrize("tool", TOOLS)
def test_a_port_that_opens_late(tmp_path, serve, tool):
    """In each of them connections are retried inside."""
    assert not Client(tmp_path, tool, False).works()
    client = Client(tmp_path, tool, True, delay_ms=500)
    client.failed_once()
    with serve(tool, {}):
        assert client.works(), client.complaint
    told = client.events()
    assert {event["error"] for event in told if event["event"] == "attempt_failed"} <= {"ECONNREFUSED", "CURLE_COULDNT_CONNECT"}, told
    program = {"git": "git-remote-http", "pip": "python3", "npm": "node", "apt": "http"}[tool]
    assert {event["program"] for event in told if event["event"] == "succeeded"} == {program}, told
    # Apt's methods run as a user of their own, with a state of its own.
    assert ("retryshim-42" if tool == "apt" else "retryshim-0") in (tmp_path / "shm").read_text().split()


@pytest.mark.parametrize("tool", TOOLS)
def test_a_server_that_fails_first(tmp_path, serve, tool):
    """Git inside; for the others the command runs again. (Apt itself asks again after a reset.)"""
    faults = {FIRST[tool]: ["503", "reset"]}
    with serve(tool, faults):
        assert not Client(tmp_path, tool, False).works()
    with serve(tool, faults) as site:
        client = Client(tmp_path, tool, True)
        assert client.works(), client.complaint
        seen = site[1] if tool == "git" else site.seen
    outcomes = [request[-1] for request in seen if request[-2].endswith(FIRST[tool])]
    assert outcomes == ["503", "reset", "served"], seen
    by = {event["target"] for event in client.events() if event["event"] == "succeeded"}
    assert by == {{"git": f"127.0.0.1:{PORT}", "pip": "command:python3", "npm": "command:npm", "apt": "command:apt-get"}[tool]}, client.events()
