"""`retryshim report` of what real programs told: the page's figures are the servers'."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import FaultServer, events, run
from network import instant, python
from report_page import driver, page, report  # noqa: F401

CONNECTS = python("socket.create_connection(('127.0.0.1', int(sys.argv[1]))).close()")


def curl(server, *arguments):
    return run(["curl", "-s", *arguments, server.url + "/secret?token=1"], max_attempts=3)


def milliseconds(text):
    number, unit = re.fullmatch(r"(?:≥ )?([\d.]+) (ms|s)", text).groups()
    return float(number) * {"ms": 1, "s": 1000}[unit]


def waited(told):
    """Of one operation: from its first event to its last."""
    return told[-1]["elapsed_ms"] - told[0]["elapsed_ms"]


def test_figures_are_the_servers(page, tmp_path):  # noqa: F811
    """One operation for each way to end; and a program that is not told of, since nothing failed."""
    with FaultServer("200", open_after="400ms") as late:
        results = [run([*CONNECTS, late.port], max_attempts=100, multiplier=1, budget="off", jitter="much")]
        late.wait("accept")
    with FaultServer(["503", "503", "200"]) as recovers, FaultServer("502") as fails, FaultServer("503") as posts, \
            FaultServer("404") as lacks, FaultServer("200") as healthy:
        results += [curl(recovers), curl(fails), curl(posts, "-d", "x"), curl(lacks), curl(healthy)]
        sent = {server.authority: len(server.requests()) for server in (recovers, fails, posts, lacks)}
        assert list(sent.values()) == [3, 3, 1, 1]
    files = [tmp_path / f"{number}.jsonl" for number in range(len(results))]
    for file, result in zip(files, results):
        file.write_bytes(result.diag)
    told = {}
    for event in (event for result in results for event in events(result) if "op" in event):
        told.setdefault(event["target"], []).append(event)
    retries = len(told[late.authority]) - 1  # one event for each attempt
    page.path.write_text(report(*map(str, files)))
    page.open()

    tiles, totals = page.tiles(), page.totals("by-target")
    assert [tiles[name] for name in ("recovered", "exhausted", "given up", "not retryable")] == ["2", "1", "1", "1"]
    assert {authority: totals[authority][:2] for authority in sent} == {authority: [1, sent[authority] - 1] for authority in sent}
    assert totals[late.authority] == [1, retries, 1, 0]
    assert len(totals) == 5  # the healthy one is not among them
    assert int(tiles["retries"]) == sum(sent.values()) - len(sent) + retries
    assert f"{sum(map(len, told.values())) + 1} events" in page.texts("#facts-line li")
    assert page.texts("#notices li") == ["RETRY_JITTER=much is not valid; full stands instead"]
    paid = waited(told[late.authority]) + waited(told[recovers.authority])
    assert milliseconds(tiles["waiting that paid off"]) == pytest.approx(paid, abs=6)
    assert milliseconds(tiles["waiting in vain"]) == pytest.approx(waited(told[fails.authority]), abs=6)
    assert {row["target"]: row["outcome"] for row in page.rows()} == {
        late.authority: "recovered from ECONNREFUSED", recovers.authority: "recovered from HTTP 503",
        fails.authority: "exhausted: HTTP 502", posts.authority: "given up (unsafe): HTTP 503",
        lacks.authority: "not retryable: HTTP 404"}
    for row in page.rows():
        first = told[row["target"]][0]
        hours, minutes, seconds = map(float, row["time"].split(":"))
        began = (instant(first) - first["elapsed_ms"] / 1000) % 86400
        assert began == pytest.approx(hours * 3600 + minutes * 60 + seconds, abs=0.003)
    assert "secret" not in page.path.read_text()


def test_evidence_of_another_process(page, tmp_path):  # noqa: F811
    """One waits long, another finds the destination back: the page says what that was worth."""
    settings = {"state": tmp_path / "state", "diag_file": tmp_path / "diag", "max_attempts": 100, "multiplier": 1, "budget": "off"}
    with FaultServer("200", open_after="700ms") as server, ThreadPoolExecutor(2) as pool:
        patient = pool.submit(run, [*CONNECTS, server.port], base_delay_ms=8000, **settings)
        hasty = pool.submit(run, [*CONNECTS, server.port], base_delay_ms=100, **settings)
        assert patient.result().returncode == hasty.result().returncode == 0
    told = [json.loads(line) for line in (tmp_path / "diag").read_text().splitlines()]
    failed = next(event for event in told if event.get("delay_ms") == 8000)
    succeeded = next(event for event in told if event["event"] == "succeeded" and event["op"] == failed["op"])
    saved = failed["elapsed_ms"] + 8000 - succeeded["elapsed_ms"]
    assert saved > 4000
    page.path.write_text(report(str(tmp_path / "diag")))
    page.open()
    assert page.tiles()["saved by evidence"].startswith("≥ ")
    assert milliseconds(page.tiles()["saved by evidence"]) == pytest.approx(saved, abs=150)
