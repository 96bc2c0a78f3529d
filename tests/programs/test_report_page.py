"""The page of `retryshim report` in a browser: filters, the timeline, keys, a crowd of operations."""

import time

import pytest
from selenium.webdriver.common.keys import Keys

from harness import wait_until
from report_page import (MIXED, SECOND, TILES, driver, exhausted, given_up, lines, not_retryable, page,  # noqa: F401
                         recovered)


class TestFilters:
    def test_each_and_together(self, page):
        page.make(lines(*MIXED))
        page.choose("program", "wget")
        assert [row["target"] for row in page.rows()] == ["api:443", "db:5432", "db:5432"]
        assert (page.tiles()["recovered"], page.tiles()["exhausted"], page.tiles()["given up"]) == ("1", "1", "0")
        page.choose("target", "db:5432")
        assert page.text("#count") == "2 of 7"
        page.choose("outcome", "exhausted")
        assert page.text("#summary") == "7 operations failed at first; 1 of them passes the filters: 1 exhausted."
        assert page.totals("by-target") == {"db:5432": [1, 2, 0, 1]}
        assert page.hash() == "#program=wget&target=db%3A5432&outcome=exhausted"
        page.choose("error", "EACCES")
        assert page.rows() == [] and "none of them passes" in page.text("#summary")
        page.find("#clear").click()
        assert page.tiles() == TILES and page.hash() == ""
        assert page.find("#clear").get_attribute("aria-disabled") == "true"

    def test_text(self, page):
        page.make(lines(*MIXED))
        for words, count in [("budget", 1), ("4BF92F3577", 1), ("refused", 6), ("wget db", 2), ("wget api saved", 0),
                             ("unix:/run", 1), ("\\", 0), ("(", 0)]:
            page.find("#text").clear()
            page.find("#text").send_keys(words)
            assert len(page.rows()) == count, words
        page.keys(Keys.ENTER)  # there is nothing to be sent
        assert page.js("return [document.activeElement.id, location.search]") == ["text", ""]

    def test_blanks_are_no_text(self, page):
        page.make(lines(*MIXED))
        page.find("#text").send_keys("  ")
        assert page.find("#clear").get_attribute("aria-disabled") == "true"
        page.keys("wget ")
        assert page.hash() == "#text=wget" and page.find("#text").get_attribute("value") == "  wget "

    def test_rows_and_tiles_are_filters(self, page):
        page.make(lines(*MIXED))
        page.find("#by-target tbody tr:nth-child(2) td").click()
        assert page.js("return target.selectedOptions[0].textContent") == "db:5432 (3)"
        assert len(page.rows()) == 3
        page.find("#outcomes button").send_keys(Keys.ENTER)
        assert len(page.rows()) == 1
        assert page.js("return document.activeElement.dataset.key") == "recovered"  # which was made anew
        page.keys(Keys.ENTER)
        page.find("#by-target button").send_keys(Keys.SPACE)
        assert len(page.rows()) == 7 and page.js("return document.activeElement.textContent") == "db:5432"

    def test_details_are_filters(self, page):
        page.make(lines(*MIXED))
        page.all(".body .row")[1].click()
        page.all(".details .actions button")[1].click()
        assert page.js("return program.selectedOptions[0].textContent") == "curl (4)"
        assert [row["program"] for row in page.rows()] == ["curl[100]"] * 4

    def test_span_by_mouse(self, page):
        page.make(lines(*MIXED))
        chart = page.find(".chart")
        width = chart.size["width"]
        mouse = page.pointer().move_to_element_with_offset(chart, -width // 4, -20)
        mouse.click_and_hold().move_by_offset(width // 2, 0).release().perform()
        assert [row["time"] for row in page.rows()] == ["12:00:20.000", "12:00:30.000", "12:00:40.000"]
        assert page.tiles()["recovered"] == "1"
        assert "12:00:1" in page.text("#span") and "from=2026-03-01T12%3A00%3A1" in page.hash()
        page.find("#whole").click()
        assert page.tiles() == TILES
        first = int(width * (1.5 / 63 - 0.5))  # from the middle; a second before and behind are the margins
        page.pointer().move_to_element_with_offset(chart, first, -20).click().perform()  # one bin
        assert [row["time"] for row in page.rows()] == ["12:00:00.000"]

    def test_span_by_keyboard(self, page):
        page.make(lines(*MIXED))
        begin, end = page.all('.handle[role="slider"]')
        page.pointer().send_keys_to_element(begin, Keys.PAGE_UP, Keys.ARROW_RIGHT).perform()
        assert page.js("return document.activeElement.dataset.key") == "from"
        assert "1 Mar 2026 12:00:0" in page.find('[data-key="from"]').get_attribute("aria-valuetext")
        assert page.rows()[0]["time"] == "12:00:10.000"
        page.keys(Keys.END)  # as far as the other end lets it
        assert [row["time"] for row in page.rows()] in ([], ["12:01:00.000"])
        page.keys(Keys.ESCAPE)
        assert page.tiles() == TILES

    def test_focus_stays_where_it_was_of_use(self, page):
        page.make(lines(*MIXED))
        page.choose("program", "wget")
        page.find("#clear").send_keys(Keys.ENTER)
        assert page.tiles() == TILES and page.js("return document.activeElement.id") == "clear"
        page.open("#from=2026-03-01T12:00:15Z&to=2026-03-01T12:00:45Z")
        page.find("#whole").send_keys(Keys.ENTER)
        assert page.tiles() == TILES and page.js("return document.activeElement.dataset.key") == "from"

    def test_sorting(self, page):
        page.make(lines(*MIXED))
        page.find('.head [data-key="duration"]').click()
        assert [row["took"] for row in page.rows()][:3] == ["1.60 s", "1.15 s", "1.15 s"]
        page.find('.head [data-key="duration"]').click()
        assert [row["took"] for row in page.rows()][:3] == ["10 ms", "20 ms", "30 ms"]
        page.find('.head [data-key="attempts"]').click()
        assert page.rows()[0]["attempts"] == "3"
        assert page.find('.head .attempts').get_attribute("aria-sort") == "descending"
        page.find('.head [data-key="start"]').click()
        assert page.rows()[0]["time"] == "12:00:00.000" and page.hash() == ""

    def test_address_restores_a_view(self, page):
        page.make(lines(*MIXED))
        page.choose("program", "curl")
        page.find("#text").send_keys("refused")
        page.find('.head [data-key="duration"]').click()
        page.all(".body .row")[0].click()
        before = (page.tiles(), page.rows(), page.text(".details"))
        page.open(page.hash())
        assert (page.tiles(), page.rows(), page.text(".details")) == before
        page.js("location.hash = '#outcome=exhausted'")
        wait_until(lambda: len(page.rows()) == 1)
        assert page.find("#text").get_attribute("value") == ""

    @pytest.mark.parametrize("nonsense", [
        "#target=nobody&program=__proto__&error=constructor", "#sort=__proto__&bars=toString&open=1", "#from=x&to=y",
        "#from=2027-01-01&to=2026-01-01", "#%E0%A4%A&&&=%", "#text=" + "x" * 5000, "#<script>window.pwned=1</script>",
        "#from=-271821-04-20T00:00:00.000Z&to=%2B275760-09-13T00:00:00.000Z&bars=clock"])
    def test_address_without_sense(self, page, nonsense):
        page.make(lines(*MIXED)).open(nonsense)
        assert page.tiles() == TILES and len(page.rows()) == 7


class TestTimeline:
    @staticmethod
    def box(page, selector):
        return page.js("return document.querySelector(arguments[0]).getBoundingClientRect().toJSON()", selector)

    def test_keys(self, page):
        page.make(lines(*[recovered(at=second * SECOND, target=f"t{second}:1") for second in range(300)]))
        page.js("document.querySelector('#timeline .grid').focus()")
        for key, place in [(Keys.ARROW_DOWN, 1), (Keys.ARROW_DOWN, 2), (Keys.ARROW_UP, 1), (Keys.END, 299),
                           (Keys.ARROW_DOWN, 299), (Keys.HOME, 0), (Keys.ARROW_UP, 0)]:
            page.keys(key)
            assert page.active() == place, key
            head, row, grid = (self.box(page, each) for each in (".head", f"#row-{place}", ".grid"))
            assert head["bottom"] <= row["top"] + 1 and row["bottom"] <= grid["bottom"] + 1, key
        page.keys(Keys.PAGE_DOWN)
        assert 10 < page.active() < 40
        page.keys(Keys.PAGE_UP)
        assert page.active() == 0

    @pytest.mark.parametrize("key", [Keys.ENTER, Keys.SPACE])
    def test_details_by_key(self, page, key):
        page.make(lines(*MIXED))
        page.js("document.querySelector('#timeline .grid').focus()")
        page.keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_DOWN, key)
        assert page.find("#row-3").get_attribute("aria-expanded") == "true"
        assert page.texts(".details tbody td:first-child") == ["12:00:30.050", "12:00:30.300", "12:00:30.750"]
        assert page.texts(".details tbody td:nth-child(2)") == ["+50 ms", "+300 ms", "+750 ms"]
        assert page.texts(".details tbody td:nth-child(3)") == ["1/3", "2/3", "3/3"]
        assert page.texts(".details tbody td:nth-child(4)")[0] == \
            "ECONNREFUSED: Connection refused. Next attempt in 200 ms. network/medium"
        assert MIXED[3][0]["op"] in page.text(".details")
        page.keys(Keys.ARROW_DOWN)  # the row behind the details
        assert page.active() == 4
        page.keys(Keys.ESCAPE)
        assert page.all(".details") == [] and page.active() == 3

    def test_details_by_click(self, page):
        page.make(lines(*MIXED))
        page.all(".body .row")[1].click()
        assert "4bf92f3577b34da6a3ce929d0e0e4736" in page.text(".details")
        assert abs(self.box(page, ".opened")["bottom"] - self.box(page, "#row-2")["top"]) < 1.5
        page.all(".details td")[3].click()  # reading is not closing
        assert len(page.all(".details")) == 1
        page.all(".body .row")[1].click()
        assert page.all(".details") == []

    def test_marking_text_is_not_opening(self, page):
        page.make(lines(*MIXED))
        name = page.find("#row-1 .target .cut")
        mouse = page.pointer().move_to_element_with_offset(name, -name.size["width"] // 2 + 1, 0)
        mouse.click_and_hold().move_by_offset(30, 0).release().perform()
        assert page.js("return getSelection().toString()") in "api:443" and page.all(".details") == []
        page.find("#row-1 .took").click()
        assert len(page.all(".details")) == 1

    def test_focus_in_details(self, page):
        page.make(lines(*MIXED))
        page.all(".body .row")[1].click()
        page.js("document.querySelectorAll('.details button')[1].focus()")
        before = self.box(page, "#row-0 .bar")["width"]
        page.size(1100, 900)
        wait_until(lambda: self.box(page, "#row-0 svg.bar")["width"] not in (before, 0))
        assert page.js("return document.activeElement.textContent") == "Only this program"
        order = page.each(".body > *", "node.dataset.index ?? node.className")
        assert order == ["0", "1", "opened", "2", "3", "4", "5", "6"]
        page.keys(Keys.ARROW_DOWN)  # the button's
        assert page.active() == 1
        page.keys(Keys.ESCAPE)
        assert page.all(".details") == [] and page.js("return document.activeElement.className").startswith("grid")

    def test_focus_in_details_that_a_filter_takes_away(self, page):
        page.make(lines(*MIXED))
        page.all(".body .row")[1].click()
        page.js("document.querySelector('.details button').focus(); location.hash = '#outcome=exhausted'")
        wait_until(lambda: len(page.rows()) == 1)
        assert page.all(".details") == [] and page.js("return document.activeElement.className").startswith("grid")

    @pytest.mark.parametrize("width, height", [(320, 256), (640, 360), (900, 300), (1400, 1000)])
    def test_the_active_row_is_in_the_window(self, page, width, height):
        page.size(width, height)
        page.make(lines(*[recovered(at=second * SECOND, target=f"t{second}:1") for second in range(100)]))
        page.js("document.querySelector('#timeline .grid').focus()")
        for key in (Keys.END, Keys.PAGE_UP, Keys.HOME, Keys.PAGE_DOWN, Keys.PAGE_DOWN, Keys.ARROW_UP, Keys.HOME, Keys.END):
            page.keys(key)
            seen = page.js("""const row = document.querySelector(".row.active"), { left, top, bottom } = row.getBoundingClientRect();
                return [top + 2, bottom - 2].map((y) => row.contains(document.elementFromPoint(left + 20, y)));""")
            assert seen == [True, True], key

    def test_places_of_rows_for_those_who_hear_them(self, page):
        page.make(lines(*MIXED))
        places = "node.getAttribute('aria-rowindex')"
        assert page.each(".body [role=row]", places) == ["2", "3", "4", "5", "6", "7", "8"]
        page.all(".body .row")[1].click()
        assert page.each(".body [role=row]", places) == ["2", "3", "4", "5", "6", "7", "8", "9"]
        grid = page.find("#timeline .grid")
        assert (grid.get_attribute("aria-rowcount"), grid.get_attribute("aria-colcount")) == ("9", "8")
        columns = "Array.from(node.children, (cell) => Number(cell.ariaColIndex))"
        assert page.each(".head, #row-0", columns) == [list(range(1, 9))] * 2
        page.all(".body .row")[1].click()
        assert page.each(".body [role=row]", places)[-1] == "8" and grid.get_attribute("aria-rowcount") == "8"

    def test_tab_reaches_everything(self, page):
        page.make(lines(*MIXED))
        page.js("document.activeElement.blur()")
        seen = []
        for _ in range(40):
            page.keys(Keys.TAB) if seen else page.find("body").send_keys(Keys.TAB)
            seen += page.each(":focus", "node.id || node.dataset.key || node.className || node.tagName")
        wanted = ["theme", "program", "target", "outcome", "error", "text", "recovered", "given_up", "from", "to", "db:5432",
                  "EACCES", "bars", "grid", "start", "duration", "attempts", "SUMMARY"]
        assert [each for each in seen if each in wanted][:len(wanted)] == wanted

    def test_bars(self, page):
        page.make(lines(*MIXED))
        page.choose("bars", "from each start")
        marks = page.each(".body .row", "Array.from(node.querySelectorAll('.mark'), (mark) => mark.classList[1])")
        assert marks == [["failed", "succeeded"]] * 3 + [["failed"] * 3] + [["failed"]] * 3
        assert len(page.all("#row-6 .planned")) == 1  # a backoff whose end is not told
        assert page.find("#row-3 .bar").get_attribute("aria-label") == "3 attempts failed"
        page.choose("bars", "by the clock")
        lefts = page.each(".body .row .bar .mark:first-of-type", "node.getBoundingClientRect().left")
        assert lefts == sorted(lefts) and lefts[-1] - lefts[0] > 100

    def test_on_paper(self, page):
        page.make(lines(*[recovered(at=second * SECOND) for second in range(500)]))
        page.media("light", "print")
        page.js("dispatchEvent(new Event('beforeprint'))")
        assert len(page.rows()) == 300
        assert page.find(".on-paper").is_displayed() and page.text(".on-paper") == "The first 300 of 500 operations."
        assert page.js("return document.querySelector('.grid').offsetHeight") < 301 * 30
        page.js("dispatchEvent(new Event('afterprint'))")
        page.media("light")
        wait_until(lambda: len(page.rows()) < 100)
        assert not page.find(".on-paper").is_displayed()


class TestCrowd:
    COUNT = 20_000

    def test_twenty_thousand(self, page):
        kinds = [recovered, exhausted, given_up, not_retryable]
        content = lines(*[kinds[i % 4](at=i * 100, pid=i, program=f"p{i % 7}", target=f"host-{i % 3000}:80")
                          for i in range(self.COUNT)])
        began = time.monotonic()
        page.make(content)
        assert time.monotonic() - began < 20
        assert page.tiles()["recovered"] == "5,000"
        assert self.elements(page) < 4000
        assert self.milliseconds(page, "program.selectedIndex = 3; program.dispatchEvent(new Event('change'))") < 2000
        assert self.milliseconds(page, "text.value = 'host-17'; text.dispatchEvent(new Event('input'))") < 2000
        assert page.text("#count").endswith(" of 20,000")
        page.js("location.hash = '#target=host-2999:80'")  # the select has 2,000
        wait_until(lambda: page.text("#count") == "6 of 20,000")
        chosen = "return [target.selectedOptions[0].textContent, target.length]"
        assert page.js(chosen) == ["host-2999:80 (6)", 2002]
        page.choose("target", "host-7:80")
        page.choose("target", "host-2999:80")
        assert page.text("#count") == "6 of 20,000" and page.js(chosen) == ["host-2999:80 (6)", 2002]
        page.find("#clear").click()
        page.js("document.querySelector('#timeline .grid').focus()")
        page.keys(Keys.END)
        assert page.active() == self.COUNT - 1
        wait_until(lambda: page.rows()[-1]["program"] == f"p{(self.COUNT - 1) % 7}[{self.COUNT - 1}]")
        page.keys(Keys.ENTER, Keys.HOME)
        wait_until(lambda: page.active() == 0 and len(page.rows()) < 120)
        assert self.elements(page) < 4000

    @staticmethod
    def elements(page):
        """Without the options of selects and the rows of totals, which have bounds of their own."""
        return page.js("return document.querySelectorAll(':not(option, .totals *)').length")

    @staticmethod
    def milliseconds(page, script):
        return page.js(f"const began = performance.now(); {script}; document.body.offsetHeight; "
                       "return performance.now() - began")
