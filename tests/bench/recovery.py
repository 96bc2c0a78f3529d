"""What comes of real programs when a server fails for a while: alone, with their own retries, with the preload. Every run has a network
of its own (root is needed) and so all ports, a name server, and a count of what was refused."""

import contextlib
import ctypes
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import measure
from measure import row, shim, spread, table

sys.path.insert(0, str(measure.HERE.parent / "programs"))
os.environ["RETRYSHIM_BUILD"] = str(measure.BUILD)

RUNS, AT_ONCE, PORT = 5, 6, 8080  # few at once: a program that starts slowly would find the port open
LIMIT_S = 90
SIZE = 100_000
BODY = f"200,size={SIZE}"
CLONE_NEWNET = 0x40000000

FETCH = """
import sys, urllib.request
data = b"x" if sys.argv[2] == "POST" else None
with urllib.request.urlopen(urllib.request.Request(sys.argv[1], data=data)) as answer:
    sys.stdout.buffer.write(answer.read())
"""


def curl(*more):
    return lambda url, method, tries: ["curl", "-sS", *(each.format(tries - 1) for each in more), *(["-d", "x"] if method == "POST" else []), url]


def wget(*more):
    return lambda url, method, tries: ["wget", "-q", "-O-", *(each.format(tries) for each in more),
                                       *(["--post-data=x"] if method == "POST" else []), url]


def python(url, method, tries):
    return ["/usr/bin/python3", "-c", FETCH, url, method]


# Title: the command; the preload's settings, or None.
TOOLS = {
    "curl": (curl(), None),
    "curl --retry": (curl("--retry", "{}", "--retry-all-errors", "--retry-connrefused"), None),
    "curl, preload": (curl(), {}),
    "curl, preload, `RETRY_RESUME=1`": (curl(), {"RETRY_RESUME": "1"}),
    "wget -t 1": (wget("-t1"), None),
    "wget, its retries": (wget("-t{}", "--retry-connrefused", "--retry-on-host-error", "--retry-on-http-error=503"), None),
    "wget -t 1, preload": (wget("-t1"), {}),
    "python": (python, None),
    "python, preload": (python, {}),
}


@dataclass
class Scenario:
    title: str
    steps: list
    tries: int = 6
    method: str = "GET"
    clients: int = 1
    options: dict = field(default_factory=dict)  # of the server
    name_server: tuple = None                    # codes of its first answers
    dead: bool = False                           # no server at all
    ranges: bool = False                         # one that heeds Range, and breaks the first answer at 40,000 bytes
    ends_well: bool = True


SCENARIOS = [
    Scenario("the port refuses for 2 s", [BODY], options={"open_after": "2s"}),
    Scenario("503 twice, then 200", ["503", "503", BODY]),
    Scenario("a reset in the middle of the body", [], ranges=True),
    Scenario("the name server fails twice (EAI_AGAIN)", [BODY], name_server=(2, 2)),
    Scenario("POST: 503 once, then 200", ["503", BODY], method="POST"),
    Scenario("503 for ever, its body is wanted once", ["503"], tries=4, ends_well=False),
    Scenario("a dead port, three processes", [], tries=4, clients=3, dead=True, ends_well=False),
]


class Refusals:
    """Counts what this network's closed ports refuse: each is a reset that the kernel sends."""

    def __init__(self):
        self.before = self.now()

    @staticmethod
    def now():
        names, values = (line.split() for line in Path("/proc/thread-self/net/snmp").read_text().splitlines() if line.startswith("Tcp:"))
        return int(values[names.index("OutRsts")])

    def count(self):
        return self.now() - self.before


@contextlib.contextmanager
def serving(scenario):
    """Yields (url, what the server must deliver, how many requests it saw)."""
    from curl_hosts import pattern
    from harness import FaultServer
    from rangeserver import Answer, RangeServer
    from test_getaddrinfo import NameServer

    if scenario.dead:
        refusals = Refusals()
        yield f"http://127.0.0.1:{PORT}/file", b"", refusals.count
    elif scenario.ranges:
        with RangeServer(Answer(cut=40000), Answer(), content=os.urandom(SIZE)) as server:
            yield server.url, server.content, lambda: len(server.requests)
    else:
        refusals = Refusals()
        with FaultServer(scenario.steps, port=PORT, **scenario.options) as server, contextlib.ExitStack() as stack:
            if scenario.name_server:
                stack.enter_context(NameServer(scenario.name_server))
            name = "host.test" if scenario.name_server else "127.0.0.1"
            expected = pattern(SIZE) if scenario.ends_well else b"503 Service Unavailable\n"
            yield f"http://{name}:{PORT}/file", expected, lambda: len(server.requests()) + (refusals.count() if scenario.options else 0)


def commands(scenario, tool, url):
    from network import with_files
    argv = TOOLS[tool][0](url, scenario.method, scenario.tries)
    if scenario.name_server:
        argv = with_files(argv, resolv_conf="nameserver 127.0.0.1\\noptions attempts:1\\n")
    return [argv] * scenario.clients


@dataclass
class Outcome:
    recovered: bool  # status 0, and nothing but what was asked for on standard output
    copies: int      # of what was asked for, in what was put out
    requests: int
    seconds: float


def in_own_network(work):
    """work()'s result, in a thread with a network of its own."""
    found = []

    def run():
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET) != 0:
            raise SystemExit(f"bench: no network of its own: {os.strerror(ctypes.get_errno())} (recovery needs root)")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        found.append(work())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def once(scenario, tool):
    settings = TOOLS[tool][1]
    with tempfile.TemporaryDirectory(prefix="bench-") as home, serving(scenario) as (url, expected, requests):
        environment = measure.environment(None, HOME=home)
        if settings is not None:
            environment.update(LD_PRELOAD=shim(), RETRY_STATE=f"{home}/state", RETRY_MAX_ATTEMPTS=str(scenario.tries), **settings)
        start = time.monotonic()
        running = [subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
                   for argv in commands(scenario, tool, url)]
        outputs = [each.communicate(timeout=LIMIT_S)[0] for each in running]
        seconds = time.monotonic() - start
        recovered = all(each.returncode == 0 for each in running) and all(each == expected for each in outputs)
        return Outcome(recovered, outputs[0].count(expected) if expected else 0, requests(), seconds)


def range_of(values):
    middle = f"{statistics.median(values):g}"
    return middle if min(values) == max(values) else f"{middle} ({min(values)} to {max(values)})"


def run_scenario(scenario, outcomes):
    """Prints its table; outcomes: {tool: list}."""
    print(f"\n**{scenario.title}**")
    came = "POSTs that the server got" if scenario.method == "POST" else "connects refused" if scenario.dead else "requests and refused connects"
    first = [] if scenario.dead else ["recovered, output exact" if scenario.ends_well else "error bodies on standard output"]
    table("", *first, came, "until it ended")
    for tool, found in outcomes.items():
        if not scenario.ends_well:
            first = [] if scenario.dead else [range_of([each.copies for each in found])]
        else:
            first = [f"{sum(each.recovered for each in found)} of {RUNS}"]
        row(tool, *first, range_of([each.requests for each in found]), spread([each.seconds for each in found]))


def run():
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = {(number, tool): [pool.submit(in_own_network, lambda scenario=scenario, tool=tool: once(scenario, tool)) for _ in range(RUNS)]
                for number, scenario in enumerate(SCENARIOS) for tool in TOOLS}
        for number, scenario in enumerate(SCENARIOS):
            run_scenario(scenario, {tool: [each.result() for each in jobs[number, tool]] for tool in TOOLS})
