"""What a healthy program pays for each call, beside what it pays to other preloads that stand in the same call's way."""

import statistics
import subprocess
import tempfile
from pathlib import Path

import measure
from measure import allocations, difference, instructions, number, row, shim, slope, system_calls, table
from peers import all_peers

PARTS = ("nothing", "connect", "nonblock", "calls", "setopt", "perform", "multi")


class Table:
    """Rows: without, with, the difference, what is allowed, and each peer's difference where it interposes one of the calls."""

    def __init__(self, peers):
        self.peers = peers
        table("healthy path", "without", "with", "difference", "allowed", *(peer.name for peer in peers))

    def row(self, name, calls, allowed, ask):
        """ask(preload, **variables) is what is measured; calls: what peers must interpose, None = anything."""
        base, ours = ask(None), ask(shim())
        theirs = [difference(base, ask(peer.path, **peer.variables)) if calls is None or peer.interposes(*calls) else "" for peer in self.peers]
        percent = allowed.endswith("%")
        told = f"{100 * (ours - base) / base:+.2f} %" if percent else difference(base, ours)
        row(name, number(base), number(ours), told, allowed, *theirs)

    def instructions(self, name, argv, calls, allowed, few=100, many=300, share=1):
        self.row(name, calls, allowed, lambda preload, **more: slope(instructions, argv, preload, few, many, **more) / share)

    def system_calls(self, name, argv, calls, allowed="0", few=10, many=60):
        self.row(name, calls, allowed, lambda preload, **more: slope(system_calls, argv, preload, few, many, **more))


def sockets(out, folder):
    connect = [folder / "connect", "N"]
    out.instructions("`connect()`, instructions (with its socket, accept and two closes)", connect, ("connect", "socket", "accept", "close"), "60")
    out.system_calls("the same, system calls", connect, ("connect", "socket", "accept", "close"))
    out.row("300 connects, heap allocations", ("connect", "socket"), "0", lambda preload, **more: allocations([folder / "connect", 300], preload, **more))
    for how, wait, allowed in (("poll", "poll", "200"), ("epoll", "epoll_wait", "200"), ("select", "select", "")):
        argv, calls = [folder / "nonblock", "N", how], ("connect", "socket", "getsockopt", wait)
        out.instructions(f"non-blocking `connect()`, its `{wait}` and SO_ERROR, instructions", argv, calls, allowed)
        out.system_calls("the same, system calls", argv, calls, "1" if allowed else "")


def calls(out, folder):
    for name, names, allowed in (("poll", ["poll"], "10"), ("epoll_wait", ["epoll_wait"], "10"), ("select", ["select"], "10"),
                                 ("getsockopt", ["getsockopt"], "10"), ("read-write", ["read", "write"], "20"),
                                 ("send-recv", ["send", "recv"], "20"), ("getaddrinfo", ["getaddrinfo"], ""), ("dlopen", ["dlopen"], "")):
        argv, title = [folder / "calls", "N", name], " and ".join(f"`{each}`" for each in names)
        out.instructions(f"{title}, instructions", argv, names, allowed)
        out.system_calls("the same, system calls", argv, names)


def curl(out, folder):
    out.instructions("`curl_easy_setopt`, instructions", [folder / "setopt", "N"], (), "150", share=5)
    server = subprocess.Popen([measure.BUILD / "tests" / "faultserver", "200"], stdout=subprocess.PIPE, text=True)
    try:
        url = f"http://127.0.0.1:{server.stdout.readline().split()[2]}/"
        for name, argv in (("`curl_easy_perform`, small GET, kept alive, instructions", [folder / "perform", url, "N"]),
                           ("the same with a header callback", [folder / "perform", url, "N", "h"]),
                           ("the same transfer in a multi (perform, poll)", [folder / "multi", url, "N"])):
            # libcurl's waits make it vary.
            out.row(f"{name} (median of three)", (), "1.5 %", lambda preload, argv=argv, **more: statistics.median(
                slope(instructions, argv, preload, 20, 120, **more) for _ in range(3)))
        out.system_calls("`curl_easy_perform`, system calls", [folder / "perform", url, "N"], (), few=20, many=120)
        out.system_calls("a transfer in a multi, system calls", [folder / "multi", url, "N"], (), few=20, many=120)
    finally:
        server.terminate()
        server.wait()


def run():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure.compile_hosts(folder, *PARTS)
        empty, start = measure.empty_object(folder), [folder / "nothing"]
        out = Table(all_peers(folder))
        base, least = instructions(start, None), instructions(start, empty)
        out.row(f"process start, instructions (an empty object: {difference(base, least)})", None, "25,000",
                lambda preload, **more: instructions(start, preload, **more))
        base, least = system_calls(start, None), system_calls(start, empty)
        out.row(f"process start, system calls (an empty object: {difference(base, least)})", None, difference(base, least),
                lambda preload, **more: system_calls(start, preload, **more))
        sockets(out, folder)
        calls(out, folder)
        curl(out, folder)
