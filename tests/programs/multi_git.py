"""A git repository over http, by both of git's protocols, with faults.

    with git_server(repository, {"/info/refs": ["503", "reset"]}) as (url, seen):
        git clone url

Each request whose path ends in (or is) a key takes the next of its faults: a status, or `reset` once the request was
read; then it is served. seen: (method, path without query, outcome), in order.
"""

import contextlib
import http.server
import os
import socket
import struct
import subprocess
import threading

from harness import PATH, need

AUTHOR = {f"GIT_{who}_{what}": text for who in ("AUTHOR", "COMMITTER")
          for what, text in (("NAME", "A"), ("EMAIL", "a@example.org"), ("DATE", "2024-01-01T00:00:00Z"))}
NO_SETTINGS = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_TERMINAL_PROMPT": "0"}


def git(folder, *arguments):
    done = subprocess.run([need("git"), *arguments], cwd=folder, env={"PATH": PATH, "HOME": str(folder), **AUTHOR, **NO_SETTINGS},
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def make_repository(folder):
    """A bare repository with a few commits, of loose objects; returns (path, the newest commit)."""
    work, bare = folder / "work", folder / "repository.git"
    work.mkdir()
    git(work, "init", "-q", "-b", "main")
    for number in range(4):
        (work / f"file-{number}").write_text(f"{number}\n" * 2000)
        git(work, "add", ".")
        git(work, "commit", "-q", "-m", f"commit {number}")
    git(folder, "init", "-q", "--bare", "-b", "main", bare.name)
    git(work, "push", "-q", bare, "main")  # so few objects stay loose ones
    git(bare, "update-server-info")
    git(bare, "config", "http.receivepack", "true")
    return bare, git(bare, "rev-parse", "main")


def backend(handler, bare, body):
    """What `git http-backend` answers: (status, fields, body)."""
    path, _, query = handler.path.partition("?")
    variables = {"PATH": PATH, "GIT_PROJECT_ROOT": str(bare.parent), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path,
                 "QUERY_STRING": query, "REQUEST_METHOD": handler.command, "REMOTE_ADDR": "127.0.0.1",
                 "CONTENT_TYPE": handler.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
                 "GIT_PROTOCOL": handler.headers.get("Git-Protocol", ""), **NO_SETTINGS,
                 "HTTP_CONTENT_ENCODING": handler.headers.get("Content-Encoding", "")}
    done = subprocess.run([need("git"), "http-backend"], input=body, env=variables, capture_output=True, timeout=60, check=True)
    head, _, content = done.stdout.partition(b"\r\n\r\n")
    fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
    return int(fields.pop("Status", "200").split()[0]), fields, content


@contextlib.contextmanager
def git_server(bare, faults, *, dumb=False, port=0):
    """dumb: files alone, as any web server has them. faults: see above; the key "" is of every path anew."""
    left, seen, lock = {}, [], threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def fault(self, path):
            key = next((key for key in faults if key and path.endswith(key)), "")
            with lock:
                todo = left.setdefault(path, list(faults.get(key, [])))
                outcome = todo.pop(0) if todo else "served"
                seen.append((self.command, path, outcome))
            return outcome

        def body(self):
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)

        def answer(self, status, fields, content):
            self.send_response(status)
            for name, value in {**fields, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self):
            body, path = self.body(), self.path.partition("?")[0]
            outcome = self.fault(path)
            if outcome == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.wfile.close = self.rfile.close = lambda: None
                self.connection.shutdown = lambda how: None
                os.close(self.connection.detach())
            elif outcome != "served":
                self.answer(int(outcome), {}, b"not now\n")
            elif not dumb:
                self.answer(*backend(self, bare, body))
            else:
                file = bare.parent / path.lstrip("/")
                self.answer(*((200, {}, file.read_bytes()) if file.is_file() else (404, {}, b"")))

        do_POST = do_GET

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # clients go away in the middle
    thread = threading.Thread(target=server.serve_forever, args=[0.02], daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{bare.name}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join(20)
