"""FTP servers as they are (pyftpdlib, vsftpd) behind a proxy that logs the commands and breaks data connections.

    with FtpServer(folder) as server, FtpProxy(server.port, 5000, None) as proxy:
        curl(proxy.url)
    assert "REST 5000" in proxy.commands
"""

import contextlib
import logging
import re
import socket
import subprocess
import tempfile
import threading
import time
import warnings
from pathlib import Path

from harness import PATH, need, wait_until
from rangeserver import ScriptedServer
from real_servers import BreakingProxy, answers, free_port

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it uses modules that Python 3.12 has no longer
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.ioloop import IOLoop
    from pyftpdlib.servers import FTPServer

logging.getLogger("pyftpdlib").addHandler(logging.NullHandler())
logging.getLogger("pyftpdlib").propagate = False


class FtpServer:
    """pyftpdlib over a folder. without: commands that it does not know."""

    def __init__(self, folder, without=()):
        authorizer = DummyAuthorizer()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # anonymous may write here
            authorizer.add_anonymous(str(folder), perm="elradfmw")
        commands = {name: facts for name, facts in FTPHandler.proto_cmds.items() if name not in without}
        handler = type("Handler", (FTPHandler,), {"authorizer": authorizer, "proto_cmds": commands})
        self.loop = IOLoop()
        self.server = FTPServer(("127.0.0.1", 0), handler, ioloop=self.loop)
        self.port, self.ending = self.server.address[1], threading.Event()
        self.thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self):
        while not self.ending.is_set():
            self.loop.loop(timeout=0.02, blocking=False)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.thread.join(10)
        self.server.close_all()


@contextlib.contextmanager
def vsftpd(folder):
    """Yields the port of a vsftpd that lets anybody read a folder."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="vsftpd-") as place:
        settings = {"listen": "YES", "listen_ipv6": "NO", "listen_address": "127.0.0.1", "listen_port": port, "background": "NO",
                    "anonymous_enable": "YES", "local_enable": "NO", "anon_root": folder, "run_as_launching_user": "YES",
                    "no_anon_password": "YES", "one_process_model": "NO", "seccomp_sandbox": "NO", "connect_from_port_20": "NO",
                    "secure_chroot_dir": place, "xferlog_enable": "NO"}
        conf = Path(place, "conf")
        conf.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        with subprocess.Popen([need("vsftpd"), conf], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env={"PATH": PATH}) as process:
            try:
                wait_until(lambda: process.poll() is not None or answers(port), what="vsftpd")
                assert process.poll() is None, process.stdout.read()
                yield port
            finally:
                process.terminate()


class FtpProxy(ScriptedServer):
    """Forwards control connections; the n-th data connection breaks after cuts[n] bytes, the last one counts for ever.

    how: reset or close, of the data connection; `both` resets the control connection, too. then: called before a break
    can be noticed. The server must offer EPSV.
    """

    def __init__(self, target, *cuts, how="reset", then=None):
        super().__init__()
        self.target, self.cuts, self.how, self.then = target, cuts or (None,), how, then
        self.commands, self.data = [], []

    @property
    def url(self):
        return f"ftp://127.0.0.1:{self.port}/file"

    def named(self, name):
        """The commands of one name, with their arguments."""
        return [command for command in self.commands if command.split(" ")[0] == name]

    def _serve(self, connection, number):
        with contextlib.suppress(OSError), connection, socket.create_connection(("127.0.0.1", self.target)) as server:
            self.sockets.append(server)
            self._start(self.forward_commands, connection, server)
            for line in server.makefile("rb"):
                if place := re.search(rb"^229 .*\(\|\|\|(\d+)\|\)", line):
                    line = b"229 here (|||%d|)\r\n" % self.breaking(int(place[1]), connection)
                connection.sendall(line)
            connection.shutdown(socket.SHUT_RDWR)

    def breaking(self, port, control):
        def broken():
            if self.then:
                self.then()
            if self.how == "both":
                time.sleep(0.05)  # the reply that announces the data may still be on its way
                control.shutdown(socket.SHUT_RDWR)

        cut = self.cuts[min(len(self.data), len(self.cuts) - 1)]
        self.data.append(BreakingProxy(port, cut, how="close" if self.how == "close" else "reset", then=broken))
        return self.data[-1].__enter__().port

    def forward_commands(self, source, sink):
        with contextlib.suppress(OSError):
            for line in source.makefile("rb"):
                self.commands.append(line.decode().strip())
                sink.sendall(line)
            sink.shutdown(socket.SHUT_RDWR)

    def __exit__(self, *details):
        for proxy in self.data:
            proxy.__exit__(*details)
        super().__exit__(*details)
