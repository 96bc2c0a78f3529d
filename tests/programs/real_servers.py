"""nginx and nghttpd as they are, and a proxy that breaks connections to them after so many bytes."""

import contextlib
import json
import socket
import subprocess
import tempfile
from pathlib import Path

from harness import PATH, need, wait_until
from rangeserver import ScriptedServer, certificate, reset

NGINX = """
daemon off; master_process off; worker_processes 1; user root;
pid {folder}/pid; error_log {folder}/error;
events {{ worker_connections 64; }}
http {{
    log_format seen escape=json '{{"protocol":"$server_protocol","method":"$request_method","path":"$uri","status":$status,'
        '"range":"$http_range","if_range":"$http_if_range","connection":"$connection"}}';
    access_log {folder}/access seen;
    limit_req_zone $binary_remote_addr zone=slow:64k rate=1r/s;
    server {{
        listen 127.0.0.1:{plain}; listen 127.0.0.1:{h2c} http2; listen 127.0.0.1:{h2} ssl http2;
        ssl_certificate {certificate}; ssl_certificate_key {certificate};
        root {root};
        location = /limited {{ limit_req zone=slow; }}
    }}
}}
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True


class Nginx:
    """Serves a folder on three ports: `plain`, `h2c` (HTTP/2, prior knowledge only) and `h2` (TLS)."""

    def __init__(self, root):
        self.folder = tempfile.TemporaryDirectory(prefix="nginx-")
        self.plain, self.h2c, self.h2 = free_port(), free_port(), free_port()
        folder = Path(self.folder.name)
        self.access = folder / "access"
        (folder / "conf").write_text(NGINX.format(folder=folder, root=root, certificate=certificate(), plain=self.plain,
                                                  h2c=self.h2c, h2=self.h2))
        self.process = subprocess.Popen([need("nginx"), "-e", folder / "error", "-c", folder / "conf"],
                                        stderr=subprocess.PIPE, env={"PATH": PATH})
        wait_until(lambda: self.process.poll() is not None or answers(self.h2), what="nginx")
        assert self.process.poll() is None, self.process.stderr.read()

    def requests(self):
        """Those that were answered, wholly or not, as objects. A broken one is there a little later."""
        return [json.loads(line) for line in self.access.read_text().splitlines()]

    def forget(self):
        self.access.write_text("")

    def close(self):
        self.process.terminate()
        self.process.communicate(timeout=10)
        self.folder.cleanup()


@contextlib.contextmanager
def nghttpd(root, streams):
    """Yields the port of an HTTP/2 server that takes so many streams at a time, and refuses the rest."""
    port = free_port()
    argv = [need("nghttpd"), "--no-tls", f"-m{streams}", "-a127.0.0.1", f"-d{root}", str(port)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, env={"PATH": PATH}) as process:
        try:
            wait_until(lambda: answers(port), what="nghttpd")
            yield port
        finally:
            process.kill()


class BreakingProxy(ScriptedServer):
    """Forwards to a port. The first connection breaks after cuts[0] bytes from there, and so on; the last one counts for
    ever. None: does not break. then: called before a break can be noticed."""

    def __init__(self, target, *cuts, how="reset", secure=False, then=None):
        super().__init__()
        self.target, self.cuts, self.how, self.then = target, cuts, how, then
        self.scheme = "https" if secure else "http"

    def _serve(self, connection, number):
        with contextlib.suppress(OSError), connection, socket.create_connection(("127.0.0.1", self.target)) as server:
            self.sockets.append(server)
            self._start(self.forward, connection, server)
            left = self.cuts[min(number, len(self.cuts) - 1)]
            while left != 0 and (piece := server.recv(65536 if left is None else min(left, 65536))):
                connection.sendall(piece)
                left = None if left is None else left - len(piece)
            if left == 0 and self.then:
                self.then()
            if left == 0 and self.how == "reset":
                reset(connection)
            # Wakes the other direction: a descriptor that a thread reads from stays open although it is closed.
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
                connection.shutdown(socket.SHUT_RD)

    @staticmethod
    def forward(source, sink):
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                sink.sendall(piece)


__all__ = ["BreakingProxy", "Nginx", "nghttpd"]
