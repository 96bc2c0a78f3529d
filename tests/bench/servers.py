"""Healthy servers, with or without the preload."""

import contextlib
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from measure import HERE, environment

NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/error;
events {{ worker_connections 256; }}
http {{ access_log off; keepalive_requests 1000000; server {{ listen 127.0.0.1:{port}; location / {{ return 200 "hello\\n"; }} }} }}
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True


def nginx(folder, port):
    """Its command."""
    settings = Path(folder, "conf")
    settings.write_text(NGINX.format(folder=folder, port=port))
    return ["/usr/sbin/nginx", "-e", f"{folder}/error", "-c", str(settings)]


class Server:
    """One of nginx, node, python."""

    def __init__(self, kind, preload=None):
        self.folder, self.port = tempfile.TemporaryDirectory(prefix="bench-"), free_port()
        argv = {"nginx": nginx(self.folder.name, self.port), "node": ["node", HERE / "web.mjs", str(self.port)],
                "python": ["/usr/bin/python3", HERE / "web.py", str(self.port)]}[kind]
        self.process = subprocess.Popen(argv, env=environment(preload), stdout=subprocess.DEVNULL)
        while not answers(self.port):
            if self.process.poll() is not None:
                raise SystemExit(f"bench: {kind} did not start")
            time.sleep(0.05)

    def cpu_s(self):
        """What all its threads have used, to the nanosecond."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()
        self.folder.cleanup()
