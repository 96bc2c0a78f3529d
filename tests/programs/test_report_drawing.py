"""What the page of `retryshim report` draws: bars of operations, the histogram, the span in it."""

import pytest

from report_page import MIXED, SECOND, driver, exhausted, lines, not_retryable, page, recovered  # noqa: F401

PADDING = 7  # of a bar, on either side


def shapes(page, selector):  # noqa: F811
    """[(class, x, y, width, height)] in the order in which they are drawn, without what is drawn around lines."""
    return page.each(selector, "(({ x, y, width, height }) => [node.getAttribute('class'), x, y, width, height])(node.getBBox())")


class TestBar:
    def test_stretches(self, page):  # noqa: F811
        page.make(lines(exhausted()))
        page.choose("bars", "from each start")
        drawn = shapes(page, "#row-0 svg.bar > :not(.tick)")
        pixels = (page.js("return document.querySelector('#row-0 svg.bar').clientWidth") - 2 * PADDING) / 750  # a millisecond
        assert pixels > 0.2
        marks = [("mark failed", end, end) for end in (50, 300, 750)]
        wanted = [("attempt failed", 0, 50), ("wait", 50, 250), ("attempt failed", 250, 300), ("wait", 300, 700),
                  ("attempt failed", 700, 750), *marks]
        assert [kind for kind, *_ in drawn] == [kind for kind, *_ in wanted]
        for (kind, x, _, width, _), (_, begin, end) in zip(drawn, wanted):
            around = 3 if kind == "mark failed" else 0
            assert x + around == pytest.approx(PADDING + begin * pixels, abs=0.5), (kind, begin)
            assert width - 2 * around == pytest.approx((end - begin) * pixels, abs=0.5), (kind, begin)


class TestOverTime:
    def test_histogram(self, page):  # noqa: F811
        counts = {0: 3, 30: 1, 60: 6}  # of failed attempts, by second
        page.make(lines(*[recovered(at=0) for _ in range(3)], not_retryable(at=30 * SECOND),
                        *[not_retryable(at=60 * SECOND) for _ in range(6)]))
        failed, back = shapes(page, ".chart > .failed"), shapes(page, ".chart > .recovered")
        (_, _, axis, *_), = shapes(page, ".chart > .axis")
        assert len(failed) == 3 and len(back) == 1
        tallest = failed[2][4]
        assert 60 < tallest <= axis
        assert [each[4] / tallest for each in failed] == pytest.approx([count / 6 for count in counts.values()], abs=0.01)
        assert back[0][4] / tallest == pytest.approx(3 / 6, abs=0.01)  # the same unit below as above
        assert [each[2] + each[4] for each in failed] == pytest.approx([axis] * 3, abs=1)
        assert back[0][2] == pytest.approx(axis, abs=1.5)
        width = page.js("return document.querySelector('.chart').clientWidth")
        bin = width / (width // 7)
        places = [(1 + second) * width / 62 for second in (0.1, 30.01, 60.01, 1.15)]  # a second before and behind
        assert [each[1] + each[3] / 2 for each in failed + back] == pytest.approx(places, abs=bin)
        assert [each[3] for each in failed + back] == pytest.approx([bin - 1] * 4, abs=0.1)

    @pytest.mark.parametrize("released", [False, True])
    def test_what_is_outside_a_span_is_dimmed(self, page, released):  # noqa: F811
        page.make(lines(*MIXED))
        assert shapes(page, ".chart .outside") == []
        chart = page.find(".chart")
        width = chart.size["width"]
        mouse = page.pointer().move_to_element_with_offset(chart, -width // 4, -20).click_and_hold()
        mouse.move_by_offset(width // 4 + width // 8, 0).perform()
        if released:
            page.pointer().release().perform()
        width = chart.size["width"]  # without the window's scroll bar, perhaps
        drawn = shapes(page, ".chart .outside")
        assert [[x / width, wide / width] for _, x, _, wide, _ in drawn] == \
            [pytest.approx(each, abs=0.002) for each in ([0, 1 / 4], [5 / 8, 3 / 8])]
        assert all(y == 0 and high > 100 for _, _, y, _, high in drawn)
        page.pointer().release().perform()

    def test_a_touch_that_the_browser_takes_over_chooses_nothing(self, page):  # noqa: F811
        page.make(lines(*MIXED))
        chart = page.find(".chart")
        page.pointer().move_to_element_with_offset(chart, -200, -20).click_and_hold().move_by_offset(50, 0).perform()
        assert len(shapes(page, ".chart .outside")) == 2
        page.js("document.querySelector('.chart').dispatchEvent(new PointerEvent('pointercancel'))")
        page.pointer().move_by_offset(50, 0).perform()
        assert shapes(page, ".chart .outside") == []
        page.pointer().release().perform()
        assert page.hash() == ""
