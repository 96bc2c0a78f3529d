"""What a healthy server does under wrk, with the preload in it, in wrk, or in clients that fail beside it. Pairs of runs, without and
with, in the order ABBA, so that what the machine does besides falls on both."""

import contextlib
import re
import resource
import socket
import statistics
import subprocess
import tempfile
from pathlib import Path

from measure import CC, HERE, environment, number, row, shim, table
from per_request import each, of_client, of_server
from servers import Server

PAIRS, SECONDS = 15, 2


def wrk(port, preload=None, seconds=SECONDS, more=()):
    """(requests, requests a second, seconds of the processor that wrk used)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(["wrk", "-t1", "-c16", f"-d{seconds}s", *more, f"http://127.0.0.1:{port}/"], env=environment(preload),
                          check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = done.stdout
    if "Socket errors" in told or "Non-2xx" in told:
        raise SystemExit(f"bench: wrk met errors: {told}")
    count, rate = re.search(r"(\d+) requests in", told)[1], re.search(r"Requests/sec: +([\d.]+)", told)[1]
    return int(count), float(rate), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def in_server(kind):
    """(without, with): each measures one run and says (requests a second, microseconds of the processor a request)."""
    def one(server):
        before = server.cpu_s()
        count, rate, _ = wrk(server.port)
        return rate, (server.cpu_s() - before) / count * 1e6

    @contextlib.contextmanager
    def both():
        with Server(kind) as plain, Server(kind, shim()) as ours:
            yield lambda: one(plain), lambda: one(ours)
    return both


def in_wrk(more=()):
    """more: headers; `Connection: close` has wrk connect for each request."""
    def one(port, preload):
        count, rate, used = wrk(port, preload, more=more)
        return rate, used / count * 1e6

    @contextlib.contextmanager
    def both():
        with Server("nginx") as server:
            yield lambda: one(server.port, None), lambda: one(server.port, shim())
    return both


def beside_failing(folder):
    """wrk and nginx have no preload; fifty processes that fail have it, or not."""
    def one(server, dead, preload):
        more = {"RETRY_STATE": str(Path(folder, "state"))} if preload else {}
        clients = subprocess.Popen([folder / "clients", str(dead), "50", "100"], env=environment(preload, **more),
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        before = server.cpu_s()
        count, rate, _ = wrk(server.port)
        used = server.cpu_s() - before
        clients.communicate()
        return rate, used / count * 1e6

    @contextlib.contextmanager
    def both():
        with Server("nginx") as server, socket.socket() as holder:
            holder.bind(("127.0.0.1", 0))
            dead = holder.getsockname()[1]
            yield lambda: one(server, dead, None), lambda: one(server, dead, shim())
    return both


def pairs(without, with_it, count):
    """[(without, with), ...], the order turned round each time."""
    found = []
    for number in range(count):
        first, second = (without, with_it) if number % 2 == 0 else (with_it, without)
        one, other = first(), second()
        found.append((one, other) if number % 2 == 0 else (other, one))
    return found


def interval(ratios):
    """Median and the order statistics around it that hold the true one with 95 % (by the binomial distribution)."""
    ranked, n = sorted(ratios), len(ratios)
    reach = int(0.98 * n ** 0.5 + 0.5)
    low, high = ranked[max(0, (n - 1) // 2 - reach)], ranked[min(n - 1, n // 2 + reach)]
    return statistics.median(ranked), low, high


def told(values):
    return "{:+.1f} % ({:+.1f} to {:+.1f})".format(*(100 * (value - 1) for value in interval(values)))


def run():
    table("`wrk`, 16 connections", "requests a second, without", "with the preload (95 %)", "the processor's time a request")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([CC, "-O2", "-o", folder / "clients", HERE / "clients.c"], check=True)
        for title, both in (("in nginx", in_server("nginx")), ("in node", in_server("node")), ("in python, asyncio", in_server("python")),
                            ("in wrk, connections kept alive", in_wrk()),
                            ("in wrk, a connection for each request", in_wrk(("-H", "Connection: close"))),
                            ("in fifty failing clients beside", beside_failing(folder))):
            with both() as (without, with_it):
                without(), with_it()  # warm
                found = pairs(without, with_it, PAIRS)
            row(title, f"{statistics.median(one[0] for one, _ in found):,.0f}", told([two[0] / one[0] for one, two in found]),
                told([two[1] / one[1] for one, two in found]))
    table("instructions a request", "without", "with", "difference")
    with Server("nginx") as server:
        for title, measure in (("nginx, kept alive", lambda preload: each(of_server, preload)),
                               ("nginx, a connection for each request", lambda preload: each(of_server, preload, ())),
                               ("ab (epoll), kept alive", lambda preload: each(of_client, preload, server.port)),
                               ("ab, a connection for each request", lambda preload: each(of_client, preload, server.port, ()))):
            base, ours = measure(None), measure(shim())
            row(title, number(base), number(ours), f"{ours - base:+,.0f} ({100 * (ours - base) / base:+.2f} %)")
