"""Package repositories on this host that fail on purpose: what pip, npm and apt ask for, as files behind one HTTP server.

    with Site(npm_files(url), {"/dep": ["503", "reset"]}) as site:
        ...
    assert site.seen == [("/dep", "503"), ("/dep", "reset"), ("/dep", "served"), ...]

Each request for a path takes the next of its faults: a status, or `reset` once the request was read; then the file is served.
"""

import base64
import functools
import hashlib
import http.server
import io
import json
import socket
import struct
import subprocess
import tarfile
import threading
import zipfile

from harness import need
from network import PORT

OWN_PROCESSES = ["--pid", "--fork", "--kill-child", "--mount-proc"]  # of unshare: who is killed takes along what it started
URL = f"http://127.0.0.1:{PORT}"


class Site:
    """files: path to bytes. Listens once constructed."""

    def __init__(self, files, faults=None, port=PORT):
        left = {path: list(todo) for path, todo in (faults or {}).items()}
        seen, lock = [], threading.Lock()
        self.seen = seen

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                path = self.path.partition("?")[0].replace("/./", "/")
                with lock:
                    outcome = left[path].pop(0) if left.get(path) else "served" if path in files else "404"
                    seen.append((path, outcome))
                if outcome == "reset":
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.close_connection = True
                    return
                content = files[path] if outcome == "served" else b"not now\n"
                self.send_response(200 if outcome == "served" else int(outcome))
                kind = "text/html" if path.endswith("/") else "application/json" if "." not in path else "application/octet-stream"
                for name, value in {"Content-Type": kind, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def shutdown_request(self, request):
                self.close_request(request)  # without a FIN before the reset

            def handle_error(self, *_):
                pass  # clients go away in the middle

        self.server = Server(("127.0.0.1", port), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=[0.02], daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(20)


def digest(content, name="sha512"):
    return hashlib.new(name, content)


@functools.cache  # gzip notes the time
def npm_files():
    """A registry with one package, `dep`."""
    manifest, packed = json.dumps({"name": "dep", "version": "1.0.0"}).encode(), io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        entry = tarfile.TarInfo("package/package.json")
        entry.size = len(manifest)
        archive.addfile(entry, io.BytesIO(manifest))
    tarball = packed.getvalue()
    dist = {"tarball": f"{URL}/dep/-/dep-1.0.0.tgz", "integrity": "sha512-" + base64.b64encode(digest(tarball).digest()).decode()}
    about = {"name": "dep", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {"name": "dep", "version": "1.0.0", "dist": dist}}}
    return {"/dep": json.dumps(about).encode(), "/dep/-/dep-1.0.0.tgz": tarball}


def npm_project(folder):
    """A project that depends on it, locked."""
    dist = json.loads(npm_files()["/dep"])["versions"]["1.0.0"]["dist"]
    project = {"name": "project", "version": "1.0.0", "dependencies": {"dep": "1.0.0"}}
    (folder / "package.json").write_text(json.dumps({**project, "scripts": {"test": "node -e 0"}}))
    (folder / "package-lock.json").write_text(json.dumps({
        **project, "lockfileVersion": 3, "requires": True,
        "packages": {"": project, "node_modules/dep": {"version": "1.0.0", "resolved": dist["tarball"], "integrity": dist["integrity"]}}}))


def pip_files():
    """An index with one wheel, `dep`."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as wheel:
        wheel.writestr("dep.py", "ANSWER = 42\n")
        wheel.writestr("dep-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: dep\nVersion: 1.0\n")
        wheel.writestr("dep-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("dep-1.0.dist-info/RECORD", "dep.py,,\ndep-1.0.dist-info/METADATA,,\ndep-1.0.dist-info/WHEEL,,\ndep-1.0.dist-info/RECORD,,\n")
    name = "dep-1.0-py3-none-any.whl"
    page = f'<!DOCTYPE html><html><body><a href="/files/{name}">{name}</a></body></html>'
    return {"/simple/dep/": page.encode(), f"/files/{name}": packed.getvalue()}


def apt_files(folder):
    """A flat repository with one package, `dep`."""
    control = "Package: dep\nVersion: 1.0\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: a dependency\n"
    (folder / "dep/DEBIAN").mkdir(parents=True)
    (folder / "dep/DEBIAN/control").write_text(control)
    (folder / "dep/usr/share/dep").mkdir(parents=True)
    (folder / "dep/usr/share/dep/answer").write_text("42\n")
    subprocess.run([need("dpkg-deb"), "--root-owner-group", "--build", folder / "dep", folder / "dep.deb"], check=True, capture_output=True)
    package = (folder / "dep.deb").read_bytes()
    packages = f"{control}Filename: ./dep.deb\nSize: {len(package)}\nSHA256: {digest(package, 'sha256').hexdigest()}\n".encode()
    release = f"Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n {digest(packages, 'sha256').hexdigest()} {len(packages)} Packages\n"
    return {"/Release": release.encode(), "/Packages": packages, "/dep.deb": package}
