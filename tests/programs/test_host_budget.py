"""The token bucket of a destination, and the floor under its backoffs: what programs spend, and what they get back."""

import pytest

from harness import FaultServer, events, run
from host_state import (  # noqa: F401
    BASH, BLOCKING, CLIENTS, REFUSED, active_opens, destination, shimmed, state, told)
from network import ADDRESS, PORT, SOON, Running, instant, network, python  # noqa: F401

pytestmark = pytest.mark.usefixtures("network")

QUICK = {"base_delay_ms": 10, "multiplier": 1, "breaker": "off"}
TWO = {"budget_burst": 2, "budget_per_sec": 0}
URL = f"http://{ADDRESS}/late"
CURL = ["curl", "-sS", URL]


# ---- budget -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CLIENTS)
def test_retries_until_the_bucket_is_empty(state, kind):
    alone = run(CLIENTS[kind], shim=False)
    before = active_opens()
    result = run(CLIENTS[kind], state=state, max_attempts=10, **TWO, **QUICK)
    assert active_opens() - before == 3
    assert told(result) == ["attempt_failed"] * 2 + ["given_up budget"]
    assert [entry["attempt"] for entry in events(result)] == [1, 2, 3]
    assert result.returncode == alone.returncode != 0
    assert destination(state, **TWO)["tokens"] == 0


def test_error_is_the_kernels(state):
    result = run(python(BLOCKING, str(PORT)), state=state, max_attempts=10, **TWO, **QUICK)
    assert result.stdout == b"111\n"
    assert REFUSED in run(BASH, state=state, max_attempts=10, **TWO, **QUICK).stderr


@pytest.mark.parametrize("parallel", [[], ["-Z", "--no-progress-meter"]], ids=["easy", "multi"])
def test_statuses_are_paid_for_too(state, parallel):
    with FaultServer("503,body=down", port=PORT) as server:
        result = run([*CURL, *parallel], state=state, max_attempts=10, **TWO, **QUICK)
        assert len(server.requests()) == 3
    assert (result.returncode, result.stdout) == (0, b"down")
    assert told(result) == ["attempt_failed"] * 2 + ["given_up budget"]


def test_processes_spend_together(state):
    results = [run(BASH, state=state, max_attempts=2, **TWO, **QUICK) for _ in range(4)]
    assert [told(result)[0] for result in results] == ["attempt_failed"] * 2 + ["given_up budget"] * 2
    alone = [run(BASH, max_attempts=2, **TWO, **QUICK) for _ in range(4)]
    assert [told(result)[0] for result in alone] == ["attempt_failed"] * 4


def test_operations_of_a_process_spend_together():
    result = run(python(BLOCKING, *[str(PORT)] * 4), max_attempts=2, **TWO, **QUICK)
    assert told(result) == ["attempt_failed", "exhausted"] * 2 + ["given_up budget"] * 2


def test_destinations_have_one_each(state):
    result = run(python(BLOCKING, str(PORT), str(PORT + 1), str(PORT), str(PORT + 1)), state=state, max_attempts=3, **TWO, **QUICK)
    assert told(result) == ["attempt_failed", "attempt_failed", "exhausted"] * 2 + ["given_up budget"] * 2


def test_success_gives_a_part_back(state):
    """Four at a quarter of a token: a retry."""
    ratio = {"budget_ratio": 0.25}
    run(BASH, state=state, max_attempts=10, **TWO, **QUICK)
    assert destination(state, **TWO)["tokens"] == 0
    code = """s = socket.socket()
s.connect_ex(("127.0.0.1", PORT))
print("refused", flush=True)
for _ in range(4):
    sys.stdin.readline()
    socket.create_connection(("127.0.0.1", PORT))
    print("connected", flush=True)"""
    with shimmed(python(code), state=state, max_attempts=1, **ratio, **TWO, **QUICK) as process:
        assert process.stdout.readline() == b"refused\n"
        with FaultServer("close", port=PORT):
            for tokens in 0.25, 0.5, 0.75, 1:
                process.stdin.write(b"\n")
                process.stdin.flush()
                assert process.stdout.readline() == b"connected\n"
                assert destination(state, **TWO)["tokens"] == tokens
    result = run(BASH, state=state, max_attempts=10, **TWO, **QUICK)
    assert told(result) == ["attempt_failed", "given_up budget"]


def test_recovery_gives_a_part_back(state):
    with FaultServer(["503", "200"], port=PORT):
        run(CURL, state=state, max_attempts=2, budget_ratio=0.5, **TWO, **QUICK)
    assert destination(state, **TWO)["tokens"] == 1.5


def test_drip_gives_hope(state):
    drip = {"budget_burst": 2, "budget_per_sec": 0.5}
    result = run(BASH, state=state, max_attempts=4, **drip, **{**QUICK, "base_delay_ms": 1500})
    assert told(result) == ["attempt_failed"] * 3 + ["exhausted"]


def test_off_is_without_end(state):
    before = active_opens()
    result = run(BASH, state=state, max_attempts=30, budget="off", **TWO, **QUICK)
    assert told(result) == ["attempt_failed"] * 29 + ["exhausted"] and active_opens() - before == 30
    assert destination(state, budget="off")["tokens"] is None


# ---- floor --------------------------------------------------------------------------------------------

BASE = 200


def delays(result):
    return [entry["delay_ms"] for entry in events(result) if entry["event"] == "attempt_failed"]


def limited(state, server_steps="429", **options):
    """A request that is turned away."""
    with FaultServer(server_steps, port=PORT):
        return run(CURL, state=state, **{"max_attempts": 1, "base_delay_ms": BASE, **options})


def test_rate_limit_raises_the_floor_for_others(state):
    assert limited(state, base_delay_ms=1500).stdout.startswith(b"429")
    seen = destination(state, base_delay_ms=BASE)["floor_ms"]
    assert seen == 1500
    with FaultServer(["503", "200"], port=PORT):
        result = run(CURL, state=state, max_attempts=2, base_delay_ms=BASE)
    [delay] = delays(result)
    assert 1500 <= delay <= 1500 * 1.25 and told(result) == ["attempt_failed", "succeeded"]


def test_without_sharing_it_does_not():
    with FaultServer("429", port=PORT):
        run(CURL, max_attempts=1, base_delay_ms=1500)
    with FaultServer(["503", "200"], port=PORT):
        assert delays(run(CURL, max_attempts=2, base_delay_ms=BASE)) == [BASE]


def test_it_is_there_for_connects(state):
    limited(state, base_delay_ms=1500)
    [delay] = delays(run(BASH, state=state, max_attempts=2, base_delay_ms=BASE))
    assert 1500 <= delay <= 1500 * 1.25


def test_retry_after_is_one_for_everybody(state):
    limited(state, "503,header=Retry-After: 2")
    assert destination(state, base_delay_ms=BASE)["floor_ms"] == 2000
    with FaultServer(["503", "200"], port=PORT):
        [delay] = delays(run(CURL, state=state, max_attempts=2, base_delay_ms=BASE))
    assert 2000 <= delay <= 2500


def test_plain_503_raises_none(state):
    limited(state, "503")
    assert destination(state, base_delay_ms=BASE)["floor_ms"] == 0


def test_it_stays_below_the_longest_backoff(state):
    options = {"base_delay_ms": BASE, "max_delay_ms": 500}
    limited(state, base_delay_ms=20000)
    assert destination(state, **options)["floor_ms"] == 400
    with FaultServer(["503", "200"], port=PORT):
        [delay] = delays(run(CURL, state=state, max_attempts=2, **options))
    assert 400 <= delay <= 500


def test_successes_lower_it(state):
    limited(state, base_delay_ms=1500)
    floors = [destination(state, base_delay_ms=BASE)["floor_ms"]]
    code = f"""import pycurl
curl = pycurl.Curl()
curl.setopt(pycurl.URL, "{URL}")
curl.setopt(pycurl.WRITEFUNCTION, lambda piece: None)
for _ in range(12):
    curl.perform()
    print(curl.getinfo(pycurl.RESPONSE_CODE), flush=True)
    sys.stdin.readline()"""
    with FaultServer(["503", "200"], port=PORT), \
            shimmed(python(code), state=state, max_attempts=1, base_delay_ms=BASE) as process:
        assert process.stdout.readline() == b"503\n"  # of whose process nothing has failed, nothing is told
        for _ in range(11):
            process.stdin.write(b"\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"200\n"
            floors.append(destination(state, base_delay_ms=BASE)["floor_ms"])
    # Three quarters of it each time, until it is gone; silence would take longer than this test.
    assert floors[:4] == [1500, 1125, 843, 632] and floors[-1] == 0 and floors == sorted(floors, reverse=True)
