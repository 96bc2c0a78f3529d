"""The figures on the page of `retryshim report`: what operations come to, whatever their events are like."""

from datetime import timedelta

import pytest

from report_page import (BEGIN, MIXED, TILES, driver, exhausted, lines, operation, page, recovered,  # noqa: F401
                         report)


class TestFigures:
    def test_mixed(self, page):
        page.make(lines(*MIXED))
        assert page.tiles() == TILES
        assert page.text("#summary") == ("7 operations failed at first: 3 recovered, 1 exhausted, 1 given up, 1 not retryable, "
                                         "1 unfinished.")
        assert page.texts("#facts-line li") == ["standard input", "1 Mar 2026, 12:00:00 – 12:01:00 UTC", "2 programs",
                                                "7 operations", "12 events"]
        assert page.totals("by-target") == {"api:443": [3, 2, 2, 1], "db:5432": [3, 3, 1, 1], "unix:/run/s": [1, 0, 0, 1]}
        assert page.totals("by-error") == {"ECONNREFUSED": [6, 5, 3, 2], "EACCES": [1, 0, 0, 1]}
        assert [row["outcome"] for row in page.rows()] == [
            *["recovered from ECONNREFUSED"] * 3, "exhausted: ECONNREFUSED",
            "given up (budget): ECONNREFUSED", "not retryable: EACCES", "unfinished after ECONNREFUSED"]
        assert page.rows()[2] == {"time": "12:00:20.000", "program": "wget[100]", "operation": "connect", "target": "api:443",
                                  "bar": "", "took": "1.60 s", "attempts": "2", "outcome": "recovered from ECONNREFUSED"}

    def test_order_of_lines_does_not_matter(self, page, tmp_path):
        content = lines(*MIXED).splitlines(keepends=True)
        files = [tmp_path / "a", tmp_path / "b"]
        files[0].write_bytes(b"".join(content[::-2]))
        files[1].write_bytes(b"".join(content[-2::-2]))
        page.path.write_text(report(*map(str, files)))
        assert page.open().tiles() == TILES

    def test_the_same_file_twice(self, page, tmp_path):
        file = tmp_path / "a.jsonl"
        file.write_bytes(lines(*MIXED))
        page.path.write_text(report(str(file), str(file)))
        page.open()
        assert page.tiles() == TILES
        assert page.texts("#facts-line li")[4:] == ["12 events", "12 events came twice"]

    def test_lines_that_are_no_events(self, page):
        page.make(b"nonsense\n" + lines(*MIXED) + b'{"event":"succeeded"}\n' + lines([{**MIXED[0][0], "ts": "yesterday"}]))
        assert page.tiles() == TILES
        assert page.texts("#facts-line li")[-1] == "3 lines were no events"

    def test_nothing_but_settings(self, page):
        page.make(lines([{"ts": "2026-03-01T12:00:00Z", "pid": 1, "event": "unused_value", "variable": "RETRY_STATE",
                          "value": "/x", "reason": "EACCES"}]))
        assert page.texts("#notices li") == ["RETRY_STATE=/x is not used (EACCES)"]
        assert not page.find("#nothing").is_displayed()  # it would ask whether these are ours

    @pytest.mark.parametrize("content", [b"", b"nonsense\n"])
    def test_no_events(self, page, content):
        page.make(content)
        assert page.text("#summary") == "There is no operation in these diagnostics."
        assert page.find("#nothing").is_displayed() and not page.find("#content").is_displayed()

    def test_shared_attempts_cost_no_traffic(self, page):
        page.make(lines(operation(("attempt_failed", 5, 1, {"delay_ms": 100}),
                                  ("attempt_failed", 105, 2, {"delay_ms": 200, "shared": 1}),
                                  ("exhausted", 305, 3, {"shared": 1}))))
        assert page.tiles()["retries"] == "2"
        assert "2 cost no traffic" in page.text("#times")
        assert page.tiles()["waiting in vain"] == "300 ms"
        assert len(page.all(".body .mark.shared")) == 2 and len(page.all(".body .mark.failed")) == 1

    def test_fallback(self, page):
        page.make(lines(operation(("attempt_failed", 5, 1, {"delay_ms": 100}), ("fallback", 110, 2, {"fallback": "spare:5432"}),
                                  ("succeeded", 120, 3))))
        assert page.rows()[0]["outcome"] == "recovered from ECONNREFUSED at spare:5432"
        assert page.tiles()["saved by evidence"] == "0 ms"

    def test_a_backoff_that_a_signal_ended_saved_nothing(self, page):
        page.make(lines(operation(("attempt_failed", 5, 1, {"delay_ms": 10_000}), ("given_up", 500, 1, {"reason": "signal"}))))
        assert page.tiles()["saved by evidence"] == "0 ms"
        assert page.tiles()["waiting in vain"] == "495 ms"
        assert len(page.all(".body .mark.failed")) == 1  # one attempt, told of twice

    def test_more_days_than_one(self, page):
        page.make(lines(recovered(), recovered(at=86_400_000)))
        assert [row["time"] for row in page.rows()] == ["1 Mar 12:00:00.000", "2 Mar 12:00:00.000"]
        assert page.each(".row .time", "node.scrollWidth - node.clientWidth") == [0, 0, 0]

    def test_a_clock_that_was_set(self, page):
        told = recovered(failed=100, delay=1000, end=1150)
        told[1]["ts"] = (BEGIN - timedelta(hours=3)).isoformat().replace("+00:00", "Z")
        page.make(lines(told))
        assert page.rows()[0]["took"] == "1.15 s" and page.tiles()["waiting that paid off"] == "1.05 s"
        page.find(".body .row").click()
        assert "part by 3h 00m" in page.text(".details")

    def test_processes_that_have_one_operation(self, page):
        told = recovered()
        page.make(lines(told, [{**told[1], "pid": 101}]))  # a forked child's
        assert page.tiles()["recovered"] == "2"

    def test_retries_of_a_forked_child_are_those_that_it_told(self, page):
        told = operation(("attempt_failed", 50, 1, {"delay_ms": 200}), ("attempt_failed", 300, 2, {"delay_ms": 400}),
                         ("succeeded", 750, 3))
        page.make(lines(told, [{**told[2], "pid": 101}]))  # forked in the second backoff
        assert page.tiles()["retries"] == "3"
        assert page.totals("by-target") == {"db:5432": [2, 3, 2, 0]} and page.totals("by-error")["ECONNREFUSED"][1] == 2

    def test_events_of_no_elapsed_time(self, page):
        told = recovered(failed=100, end=1150)
        for event in told:
            del event["elapsed_ms"]
        page.make(lines(told))
        assert page.rows()[0]["took"] == "1.05 s"  # since the first event: when the first attempt began is not told

    @staticmethod
    def without_elapsed(told, *times):
        return [{**{key: event[key] for key in event if key != "elapsed_ms"}, "ts": f"2026-03-01T{time}Z"}
                for event, time in zip(told, times)]

    def test_a_clock_that_was_set_and_no_elapsed_time(self, page):
        told = operation(("attempt_failed", 0, 1, {"delay_ms": 1000}), ("attempt_failed", 0, 2, {"delay_ms": 9000}),
                         ("succeeded", 0, 3))
        page.make(lines(self.without_elapsed(told, "12:00:00", "09:00:00", "09:00:02")))
        row = page.rows()[0]
        assert (row["time"], row["took"], row["outcome"]) == ("12:00:00.000", "2.00 s", "recovered from ECONNREFUSED")
        tiles = page.tiles()
        assert (tiles["waiting that paid off"], tiles["saved by evidence"]) == ("2.00 s", "0 ms")
        page.find(".body .row").click()
        assert page.texts(".details tbody td:nth-child(2)") == ["+0 ms", "+0 ms", "+2.00 s"]
        assert page.texts(".details tbody td:nth-child(3)") == ["1/3", "2/3", "3/3"]
        assert "went back by 3h 00m" in page.text(".details")

    def test_nothing_is_saved_without_elapsed_time(self, page):
        page.make(lines(self.without_elapsed(recovered(delay=9000), "12:00:00", "12:00:01")))
        assert page.tiles()["saved by evidence"] == "0 ms"
        page.find(".body .row").click()
        assert "clock" not in page.text(".details")

    def test_what_failed_after_the_success_takes_no_time_away(self, page):
        page.make(lines(operation(("succeeded", 100, 2), ("attempt_failed", 900, 3))))
        assert page.tiles()["waiting that paid off"] == "0 ms"

    def test_end_without_a_beginning(self, page):
        page.make(lines(recovered()[1:], exhausted()[2:]))
        assert page.tiles()["waiting that paid off"] == "0 ms"
        assert [row["attempts"] for row in page.rows()] == ["2", "3"]

    def test_numbers_that_make_no_sense(self, page):
        attempts = [{"attempt": number} for number in (-1, 1002, 2 ** 53 - 1, 2 ** 53)]
        others = [*[{name: number} for name in ("elapsed_ms", "delay_ms") for number in (-5, 10 ** 14, 2 ** 53 - 1, 2 ** 60)],
                  {"pid": -1}, {"ts": "0000-01-01T00:00:00Z"}, {"ts": "9999-12-31T23:59:59.999999Z"}]
        no_times = [{"ts": ts} for ts in ("+275760-09-13T00:00:00.000Z", "+275760-09-12T23:59:59.000Z",
                                          "-271821-04-20T00:00:00.000Z", "2026-03-01", "2026-13-01T00:00:00Z", "0")]
        page.make(lines(*[[{**event, **each} for event in recovered()] for each in (*attempts, *others, *no_times)], *MIXED))
        assert page.tiles()["recovered"] == str(3 + len(attempts) + len(others))
        assert page.tiles()["retries"] == str(5 + len(others))
        assert page.texts("#facts-line li")[-1] == f"{2 * len(no_times)} lines were no events"
        assert page.rows()[0]["time"].endswith(" 23:59:59.900")  # 0.1 s before there were years of four digits
        page.choose("bars", "by the clock")
        page.choose("bars", "from each start")

    def test_settings_that_did_not_count(self, page):
        told = {"ts": "2026-03-01T12:00:00Z", "pid": 1, "event": "bad_value", "variable": "RETRY_JITTER", "value": "<b>",
                "default": "full"}
        page.make(lines(*MIXED, [told, {**told, "pid": 2}]))
        assert page.texts("#notices li") == ["RETRY_JITTER=<b> is not valid; full stands instead (2 times)"]
        assert page.tiles() == TILES
