"""Metrics: every sink's counts are what the server saw, and what the diagnostics tell."""

import collections
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import FaultServer, events, run
from host_state import active_opens
from metric_sinks import (
    COMMAND, Datagrams, Exporter, Statsd, checked_exposition, command_counts, emf_counts, emf_entries, exposition_counts, statsd_key)
from network import PORT, Running, late_server, network, python, with_files  # noqa: F401
from test_getaddrinfo import NAME, NameServer

pytestmark = pytest.mark.usefixtures("network")

TARGET = f"127.0.0.1:{PORT}"
URL = f"http://{TARGET}/"
EASY, MULTI = "curl_easy_perform", "curl_multi"
ALL = "emf:udp://127.0.0.1:25888,statsd://localhost:8125,prom:{0}/r.prom,emf:{0}/emf"
QUICK = {"base_delay_ms": 20, "budget": "off", "breaker": "off"}


@pytest.fixture
def sinks(tmp_path):
    """Four sinks at once. sinks.check() compares what they got, and returns it."""
    with Datagrams() as datagrams, Statsd() as statsd:
        yield Sinks(tmp_path, datagrams, statsd)


class Sinks:
    def __init__(self, folder, datagrams, statsd):
        self.folder, self.datagrams, self.statsd = folder, datagrams, statsd
        self.options = {"metrics": ALL.format(folder), "state": folder / "state", **QUICK}

    def check(self):
        told = self.datagrams.all()
        counts = emf_counts("".join(told))
        assert all(text.count("\n") == 1 for text in told)
        if not counts:
            assert not (self.folder / "emf").exists() and not (self.folder / "r.prom").exists() and self.statsd.counts() == {}
            return {}
        assert emf_counts((self.folder / "emf").read_text()) == counts
        sums, expected = self.statsd.counts(), statsd_key(counts)
        assert sums == {key: n for key, n in expected.items() if key in sums} and without_delays(sums) == without_delays(expected)
        delays = {key: n for key, n in counts.items() if n}  # a delay may be 0 ms, and is then no sample
        assert exposition_counts(checked_exposition((self.folder / "r.prom").read_text())) == delays
        assert command_counts(self.folder / "state") == delays
        assert sorted(path.name for path in self.folder.iterdir()) == ["emf", "r.prom", "state"]
        return counts


def without_delays(counts):
    return {key: n for key, n in counts.items() if key[0] != "RetryDelayMs"}


def key(metric, operation=EASY, category="transient", reason="", target=TARGET):
    return metric, operation, target, category, reason


# Steps of the server, the command, options; what is counted beside the delays.
CURL = ["curl", "-s", "-o", "/dev/null", URL]
OUTCOMES = {
    "recovered": (["503", "503", "200"], CURL, {}, {key("RetryAttempt"): 2, key("RetryRecovered"): 1}),
    "exhausted": (["503"], CURL, {}, {key("RetryAttempt"): 2, key("RetryExhausted"): 1}),
    "categories": (["reset", "429", "503", "200"], CURL, {"max_attempts": 4},
                   {key("RetryAttempt", category="rate_limit"): 1, key("RetryAttempt", category="network"): 1, key("RetryAttempt"): 1,
                    key("RetryRecovered"): 1}),
    "unsafe": (["503"], [*CURL, "-d", "x"], {}, {key("RetryGivenUp", reason="unsafe"): 1}),
    "deadline": (["503"], CURL, {"base_delay_ms": 5000, "timeout_ms": 1000}, {key("RetryGivenUp", reason="deadline"): 1}),
    "retry_after": (["503,header=Retry-After: 3600"], CURL, {}, {key("RetryGivenUp", reason="retry_after"): 1}),
    "budget": (["503"], CURL, {"budget": "on", "budget_burst": 1, "budget_per_sec": 0, "max_attempts": 5},
               {key("RetryAttempt"): 1, key("RetryGivenUp", reason="budget"): 1}),
    "not_retryable": (["503", "404"], CURL, {}, {key("RetryAttempt"): 1}),
    "permanent": (["404"], CURL, {}, {}),
    "healthy": (["200"], CURL, {}, {}),
    "several": (["503", "200", "200", "503", "503", "200"], [*CURL, URL, URL], {},
                {key("RetryAttempt"): 3, key("RetryRecovered"): 2}),
    "multi": (["503", "200"], ["curl", "-s", "-Z", "-o", "/dev/null", URL], {},
              {key("RetryAttempt", MULTI): 1, key("RetryRecovered", MULTI): 1}),
    "named": (["503", "200"], CURL, {"operation": "nightly job"},
              {key("RetryAttempt", "nightly_job"): 1, key("RetryRecovered", "nightly_job"): 1}),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_every_sink_counts_what_the_server_saw(sinks, outcome):
    steps, argv, options, expected = OUTCOMES[outcome]
    with FaultServer(steps, port=PORT) as server:
        result = run(argv, **{**sinks.options, **options})
        seen = len(server.requests()) + steps.count("reset")
    if outcome == "named":  # a blank is none in a statsd tag
        assert sum(emf_counts((sinks.folder / "emf").read_text()).values()) >= 2
        assert {entry["Operation"] for entry in emf_entries((sinks.folder / "emf").read_text())} == {"nightly job"}
        assert without_delays(sinks.statsd.counts()) == statsd_key(expected)
        return
    counts = sinks.check()
    assert without_delays(counts) == expected
    operations = argv.count(URL)
    assert sum(n for name, n in counts.items() if name[0] == "RetryAttempt") == seen - operations
    told = collections.Counter(entry["event"] for entry in events(result))
    for event, metric in (("succeeded", "RetryRecovered"), ("exhausted", "RetryExhausted"), ("given_up", "RetryGivenUp")):
        assert told[event] == sum(n for name, n in counts.items() if name[0] == metric)


CONNECTS = {
    "blocking": python("""for i in range(3):
    try: socket.create_connection(("127.0.0.1", PORT))
    except OSError: pass"""),
    "nonblocking": python("""for i in range(3):
    try: socket.create_connection(("127.0.0.1", PORT), timeout=20)
    except OSError: pass"""),
}


WAITS = {
    "select": "import select; select.select([s], [s], [s], 20); s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)",
    "epoll": "import select; e = select.epoll(); e.register(s, select.EPOLLOUT); e.poll(20); s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)",
    "second connect": "import select; p = select.poll(); p.register(s, select.POLLOUT); p.poll(20000); s.connect_ex(('127.0.0.1', PORT))",
    "recv": "import select; p = select.poll(); p.register(s, select.POLLOUT); p.poll(20000); s.recv(1)",
    "recv after another error": "import select, contextlib\n        p = select.poll(); p.register(s, select.POLLOUT); p.poll(20000)\n"
                                "        with contextlib.suppress(OSError): s.recv(1, 1 << 30 | socket.MSG_OOB)\n        s.recv(1)",
    "send": "import select; p = select.poll(); p.register(s, select.POLLOUT); p.poll(20000); s.send(b'x')",
}
CONNECTS |= {kind: python(f"""for i in range(3):
    s = socket.socket()
    s.setblocking(False)
    s.connect_ex(("127.0.0.1", PORT))
    try:
        {code}
    except ConnectionRefusedError: pass""") for kind, code in WAITS.items()}


@pytest.mark.parametrize("kind", CONNECTS)
def test_connects_are_counted_as_the_kernel_counts_them(sinks, kind):
    before = active_opens()
    run(CONNECTS[kind], **sinks.options)
    connects = active_opens() - before
    counts = without_delays(sinks.check())
    assert counts == {key("RetryAttempt", "connect", "network"): connects - 3, key("RetryExhausted", "connect", "network"): 3}
    assert connects == 9


def test_a_fallback_is_a_retry_of_its_operation(sinks):
    with FaultServer("200", port=PORT + 1) as server:
        result = run(CONNECTS["blocking"], **sinks.options, fallback=f"{TARGET}=127.0.0.1:{PORT + 1}")
        assert len(server.accepts()) == 3
    told = [(entry["attempt"], entry["max_attempts"]) for entry in events(result) if entry["event"] == "succeeded"]
    assert told == [(4, 4)] * 3
    assert without_delays(sinks.check()) == {key("RetryAttempt", "connect", "network"): 9, key("RetryRecovered", "connect", "network"): 3}


def test_a_rejected_operation_is_given_up(sinks):
    """Three fail and open the circuit; two are not even tried."""
    options = {**sinks.options, "breaker": "reject", "breaker_threshold": 3, "max_attempts": 2, "base_delay_ms": 1}
    before = active_opens()
    run(python("""for i in range(5):
    try: socket.create_connection(("127.0.0.1", PORT))
    except OSError: pass"""), **options)
    connects = active_opens() - before
    counts = without_delays(sinks.check())
    ended = counts.get(key("RetryExhausted", "connect", "network"), 0)
    assert counts[key("RetryGivenUp", "connect", "network", "breaker")] == 5 - ended > 0
    assert counts[key("RetryAttempt", "connect", "network")] == connects - ended


def test_a_signal_gives_up(sinks):
    code = """import signal
signal.signal(signal.SIGALRM, lambda *_: None)
signal.siginterrupt(signal.SIGALRM, True)
signal.setitimer(signal.ITIMER_REAL, 0.2)
try: socket.create_connection(("127.0.0.1", PORT))
except OSError: pass"""
    run(python(code), **{**sinks.options, "base_delay_ms": 20000})
    assert without_delays(sinks.check()) == {key("RetryGivenUp", "connect", "network", "signal"): 1}


def test_threads_that_fail_at_the_same_time(sinks):
    """More than there are mappings for different files."""
    code = """import threading
barrier = threading.Barrier(32)
def client():
    barrier.wait()
    try: socket.create_connection(("127.0.0.1", PORT))
    except OSError: pass
crowd = [threading.Thread(target=client) for i in range(32)]
for thread in crowd: thread.start()
for thread in crowd: thread.join()"""
    for turn in range(1, 6):
        run(python(code), **{**sinks.options, "max_attempts": 1})
        assert command_counts(sinks.folder / "state") == {key("RetryExhausted", "connect", "network"): 32 * turn}
    sinks.check()


def test_a_private_state_leaves_the_hosts_file_alone(sinks):
    run(CONNECTS["blocking"], **sinks.options)
    before = (sinks.folder / "r.prom").read_text()
    for state in ("off", "/nowhere/state"):
        result = run(CONNECTS["blocking"], **{**sinks.options, "state": state})
        told = [entry for entry in events(result) if entry.get("variable") == "RETRY_METRICS"]
        assert [(entry["value"], entry["reason"]) for entry in told] == [
            (f"prom:{sinks.folder}/r.prom", "RETRY_STATE is not used, and this process alone has little to tell")]
    assert (sinks.folder / "r.prom").read_text() == before
    assert emf_counts("".join(sinks.datagrams.all()))[key("RetryExhausted", "connect", "network")] == 9


def test_long_operations_are_shown_before_they_end(tmp_path):
    """At a retry, if the file is not of this second."""
    options = {"metrics": f"prom:{tmp_path}/r.prom", "state": tmp_path / "state", "base_delay_ms": 1100, "multiplier": 1, "max_attempts": 100}
    with Running(CONNECTS["blocking"], **options) as program:
        program.wait("attempt_failed", 4)
        shown = exposition_counts((tmp_path / "r.prom").read_text())
        assert 2 <= shown[key("RetryAttempt", "connect", "network")] <= 3
        with FaultServer("200", port=PORT):
            program.result()
    assert exposition_counts((tmp_path / "r.prom").read_text())[key("RetryRecovered", "connect", "network")] == 1


def test_a_late_port_is_a_recovery(sinks):
    with Running(CONNECTS["blocking"], **{**sinks.options, "max_attempts": 100}) as program, late_server(program, ["200"]):
        failed = len([entry for entry in events(program.result()) if entry["event"] == "attempt_failed"])
    assert without_delays(sinks.check()) == {key("RetryAttempt", "connect", "network"): failed, key("RetryRecovered", "connect", "network"): 1}


def test_look_ups(sinks):
    with NameServer([2, 2]) as server:
        code = f'socket.getaddrinfo("{NAME}", {PORT}, type=socket.SOCK_STREAM)'
        run(with_files(python(code), resolv_conf="nameserver 127.0.0.1\\noptions attempts:1\\n"), **sinks.options)
        look_ups = server.count()
    counts = without_delays(sinks.check())
    target = f"{NAME}:{PORT}"
    assert counts == {key("RetryAttempt", "getaddrinfo", "network", target=target): look_ups - 1,
                      key("RetryRecovered", "getaddrinfo", "network", target=target): 1}


def test_another_processes_attempt_is_no_retry_of_ours(tmp_path):
    """Two processes back off together; the counts are of the attempts that were sent, by whomever."""
    options = {"state": tmp_path / "state", "base_delay_ms": 300, "multiplier": 1, "max_attempts": 4, "metrics": f"emf:{tmp_path}/emf"}
    before = active_opens()
    client = python('\ntry: socket.create_connection(("127.0.0.1", PORT))\nexcept OSError: pass')
    with ThreadPoolExecutor(10) as pool:
        results = list(pool.map(lambda _: run(client, **options), range(10)))
    connects = active_opens() - before
    assert connects < 40 and any(entry.get("shared") for result in results for entry in events(result))
    counts = without_delays(emf_counts((tmp_path / "emf").read_text()))
    assert counts == {key("RetryAttempt", "connect", "network"): connects - 10, key("RetryExhausted", "connect", "network"): 10}


def test_a_crowd(sinks):
    """Processes, some with threads, that write at the same time lose nothing; whoever reads the file meanwhile gets a whole one."""
    threads = python("""import threading
def client():
    for i in range(5):
        try: socket.create_connection(("127.0.0.1", PORT + 1))
        except OSError: pass
crowd = [threading.Thread(target=client) for i in range(4)]
for thread in crowd: thread.start()
for thread in crowd: thread.join()""")
    options = {**sinks.options, "base_delay_ms": 1, "state": sinks.folder / "state"}
    with FaultServer(["503", "503", "200"], port=PORT) as server, Exporter(sinks.folder) as exporter, ThreadPoolExecutor(12) as pool:
        crowd = [pool.submit(run, threads if i % 3 == 0 else CURL, **options) for i in range(36)]
        scrapes = 0
        while not all(each.done() for each in crowd):
            if (sinks.folder / "r.prom").exists():
                checked_exposition((sinks.folder / "r.prom").read_text())
            exporter.counts()
            scrapes += 1
        for each in crowd:
            each.result()
        counts = sinks.check()
        assert exporter.counts() == {name: n for name, n in counts.items() if n}
        retries = len(server.requests()) - 24
    assert scrapes > 0
    assert counts[key("RetryAttempt")] == retries
    assert counts[key("RetryExhausted", "connect", "network", target=f"127.0.0.1:{PORT + 1}")] == 12 * 20


# ---- correlation ---------------------------------------------------------------------------------------

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize("parent, trace", [(f"00-{TRACE}-b7ad6b7169203331-01", TRACE), (f"00-{TRACE}-b7ad6b7169203331", None),
                                           (f"00-{'0' * 32}-b7ad6b7169203331-01", None), ("nonsense", None), ("", None)])
def test_ids_join_metrics_and_diagnostics(tmp_path, parent, trace):
    with FaultServer(["503", "503", "200", "503"], port=PORT):
        result = run([*CURL, URL], env={"TRACEPARENT": parent}, metrics=f"emf:{tmp_path}/emf", **QUICK)
    entries = emf_entries((tmp_path / "emf").read_text())
    told = events(result)
    ops = list(dict.fromkeys(entry["op"] for entry in told))
    assert len(ops) == 2
    assert [(entry["op"], entry["attempt"]) for entry in entries] == [
        (ops[0], 2), (ops[0], 3), (ops[0], 3), (ops[1], 2), (ops[1], 3), (ops[1], 3)]
    assert {entry.get("trace_id") for entry in entries + told} == {trace}
    assert {(entry["program"], entry["pid"]) for entry in entries} == {("curl", told[0]["pid"])}
    assert [entry["error"] for entry in entries] == ["HTTP 503"] * 6


def test_delays_are_what_was_waited(tmp_path):
    with FaultServer(["503", "503", "200"], port=PORT):
        result = run(CURL, metrics=f"emf:{tmp_path}/emf", base_delay_ms=200, multiplier=2)
    planned = [entry["delay_ms"] for entry in events(result) if entry["event"] == "attempt_failed"]
    waited = [entry["RetryDelayMs"] for entry in emf_entries((tmp_path / "emf").read_text()) if "RetryDelayMs" in entry]
    assert planned == [200, 400] and len(waited) == 2
    assert all(plan <= wait < plan + 1000 for plan, wait in zip(planned, waited))


def test_namespace(tmp_path, sinks):
    with FaultServer(["503", "200"], port=PORT):
        run(CURL, **sinks.options, metrics_namespace="K8sCluster/Retry")
    (text,) = {entry["_aws"]["CloudWatchMetrics"][0]["Namespace"] for entry in emf_entries((tmp_path / "emf").read_text())}
    assert text == "K8sCluster/Retry"
    assert sinks.statsd.counts("K8sCluster.Retry.")[key("RetryRecovered", target=f"127.0.0.1{PORT}")] == 1


# ---- secrets -------------------------------------------------------------------------------------------


def test_nothing_secret_in_any_sink(sinks):
    url = f"http://user:hunter2@{TARGET}/secret-path?token=s3cr3t#fragment"
    with FaultServer(["503,header=X-Secret: reply-secret", "200"], port=PORT) as server:
        run(["curl", "-s", "-H", "Authorization: Bearer header-secret", "-H", "Idempotency-Key: key-secret", "-d", "body-secret", url],
            **sinks.options)
        assert len(server.requests()) == 2
    written = (sinks.folder / "emf").read_text() + (sinks.folder / "r.prom").read_text() + sinks.statsd.ask("counters")
    written += "".join(sinks.datagrams.all()) + subprocess.run([COMMAND, "metrics", "--state", sinks.folder / "state"],
                                                               capture_output=True, text=True, check=True).stdout
    assert written.count(f"127.0.0.1:{PORT}") > 4
    for secret in ("user", "hunter2", "path", "token", "s3cr3t", "fragment", "secret", "Bearer", "Idempotency"):
        assert secret not in written, secret


def test_hostile_names_end_no_line_and_no_label(sinks):
    with FaultServer(["503", "200"], port=PORT):
        run(CURL, **sinks.options, operation='a"b\\c,d|e#f{g}')
    name = "a?b?c,d|e#f{g}"
    entries = emf_entries((sinks.folder / "emf").read_text())
    assert {entry["Operation"] for entry in entries} == {name} and len(entries) == 2
    text = checked_exposition((sinks.folder / "r.prom").read_text())
    assert {labels[1] for labels in exposition_counts(text)} == {name}
    assert {labels[1] for labels in sinks.statsd.counts()} == {"a?b?c_d_e_f{g}".replace("?", "").replace("{", "").replace("}", "")}


@pytest.mark.parametrize("name, namespace, used", [(" ", ":x", ("?", "_x")), ("ü", "ü/a", ("??", "__/a")), ("x" * 300, "n" * 300, ("x" * 63, "n" * 199))])
def test_names_that_cloudwatch_would_refuse(tmp_path, name, namespace, used):
    with FaultServer(["503", "200"], port=PORT):
        run(CURL, operation=name, metrics_namespace=namespace, metrics=f"emf:{tmp_path}/emf", **QUICK)
    entries = emf_entries((tmp_path / "emf").read_text())
    assert {(entry["Operation"], entry["_aws"]["CloudWatchMetrics"][0]["Namespace"]) for entry in entries} == {used}
