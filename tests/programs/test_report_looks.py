"""How the page of `retryshim report` looks: colours, widths, without scripts; and names that want to be more than names."""

import time

import pytest
from selenium.webdriver.common.keys import Keys

from harness import FaultServer, wait_until
from report_page import MIXED, driver, given_up, lines, page, recovered  # noqa: F401


class TestHostileNames:
    NAMES = ["</script><script>window.pwned=1</script>", "<img src=x onerror=window.pwned=1>", "<svg/onload=window.pwned=1>",
             "\"'><b onclick=1>", "javascript:window.pwned=1", "__proto__", "constructor", "toString", "hasOwnProperty", "{{7*7}}",
             "${window.pwned=1}", "@nonce@", "&lt;b&gt;", "x" * 900]

    @pytest.mark.parametrize("member", ["program", "target"])
    def test_are_text(self, page, member):
        with FaultServer("200") as trap:
            names = [*self.NAMES, f"<img src={trap.url}/x>", f"{trap.url}/y"]
            # Each name so often that the tables' order is this one.
            told = [recovered(at=i, error=name, message=name, reason=name, trace_id=name, name=name, **{member: name})
                    for i, name in enumerate(names) for _ in range(len(names) - i)]
            page.make(lines(*told), "--title", names[0])
            shown = page.texts("#by-target button" if member == "target" else "#program option")
            if member == "target":
                assert shown == names
            else:
                assert shown[1:] == [f"{name} ({len(names) - i})" for i, name in enumerate(names)]
            assert page.texts("#by-error button") == names
            for i, name in enumerate(names):
                page.js("error.selectedIndex = arguments[0] + 1; error.dispatchEvent(new Event('change'))", i)
                assert page.totals("by-error") == {name: [len(names) - i] * 3 + [0]}
            page.all(".body .row")[0].click()
            assert names[-1] in page.text(".details")
            assert page.text("#title") == names[0] == page.driver.title
            assert page.js("return [typeof window.pwned, {}.polluted]") == ["undefined", None]
            assert page.all("body img, body b:not(dd b), #page script, iframe, object, embed") == []
            assert trap.accepts() == []

    @pytest.mark.parametrize("name, shown", [
        ("\u202egpj.exe", "\\u202egpj.exe"), ("a\u2028b", "a\\u2028b"), ("a\u0000b\n", "a\\u0000b\\u000a"),
        ("a\u200bb", "a\\u200bb"), ("a\u00a0b c", "a\\u00a0b c"), ("\U000e0041", "\\ue0041"),
        ("日本:443", "日本:443"), ("", "(none)"), ("(none)", "\\u0028none)")])
    def test_what_cannot_be_seen_is_shown(self, page, name, shown):
        page.make(lines(recovered(target=name, program=name)))
        assert page.rows()[0]["target"] == shown and page.rows()[0]["program"] == f"{shown}[100]"
        page.choose("target", shown)
        assert len(page.rows()) == 1

    def test_policy_stops_what_gets_through(self, page):
        with FaultServer("200") as trap:
            page.make(lines(*MIXED))
            refused = page.js("""const [address] = arguments, script = document.createElement("script"), refused = [];
                for (const evil of [
                    () => { document.body.innerHTML += "<img src=x onerror='window.pwned=1'>"; },
                    () => { script.textContent = "window.pwned = 1"; document.body.append(script); },
                    () => { document.body.append(Object.assign(new Image(), { src: address })); },
                    () => { document.body.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href: address })); },
                ]) try { evil(); } catch (error) { refused.push(error.name); }
                return refused""", trap.url)
            assert refused == ["TypeError", "TypeError"]  # the others fail later
            wait_until(lambda: page.each("img", "node.complete") == [True])
            assert page.js("return typeof window.pwned") == "undefined"
            assert trap.accepts() == []
        told = []
        wait_until(lambda: told.extend(page.complaints()) or len(told) >= 4)
        assert len(told) == 4 and all("Content Security Policy" in each or "Trusted" in each for each in told)
        page.loaded()


class TestLooks:
    WORDS = ("h1, h2, select, summary, footer, .muted, .hint, .legend li, #summary, #facts-line li, .filters label, #count, "
             ".tile .label, .tile .value, .tile .note, .totals th, .totals td, .totals button, .head button, .row > div, "
             ".row .cut, .details dt, .details dd, .details td, .definitions dd")

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_contrast(self, page, scheme):
        page.media(scheme)
        page.make(lines(*MIXED))
        page.all(".body .row")[3].click()
        page.find("summary").click()
        low = [each for each in page.contrasts(self.WORDS) if each[1] < 4.5]
        assert low == []
        # On a row that is open or under the mouse as well.
        page.js("document.querySelectorAll('.body .row').forEach((row) => row.setAttribute('aria-expanded', 'true'))")
        time.sleep(0.2)  # the row's colour is on its way
        assert [each for each in page.contrasts(".body .row .cut, .body .row > div") if each[1] < 4.5] == []

    def test_theme(self, page):
        page.make(lines(*MIXED))
        ground = "return getComputedStyle(document.body).backgroundColor"
        light = page.js(ground)
        page.choose("theme", "dark")
        dark = page.js(ground)
        assert light != dark
        page.choose("theme", "as the system")
        assert page.js(ground) == light
        page.media("dark")
        assert page.js(ground) == dark
        page.choose("theme", "light")
        assert page.js(ground) == light

    def test_outcomes_differ_without_colour(self, page):
        page.make(lines(*MIXED))
        signs = page.each(".body .row .sign path", "node.getAttribute('d')")
        assert len(set(signs)) == 5

    def test_focus_is_seen(self, page):
        page.make(lines(*MIXED))
        page.find("body").send_keys(Keys.TAB, Keys.TAB, Keys.TAB)
        assert page.each("select:focus", "getComputedStyle(node).outline.includes('solid 2px')") == [True]

    @pytest.mark.parametrize("width", [320, 360, 600, 900, 1200, 1600, 2400])
    def test_width(self, page, width):
        page.size(width, 800)
        page.make(lines(*MIXED, recovered(target="a-very-long-name." * 12 + ":443", program="p" * 120)))
        page.all(".body .row")[-1].click()
        for box in "html", ".grid", ".details":
            assert page.each(box, "node.scrollWidth - node.clientWidth") == [0], box
        assert max(page.each("#page *", "node.getBoundingClientRect().right")) <= width

    @pytest.mark.parametrize("width", [360, 600])
    def test_outcomes_are_not_cut(self, page, width):
        page.size(width, 800)
        page.make(lines(*MIXED, given_up(target="database.example.com:5432")))
        assert page.each(".row .outcome .cut", "node.scrollWidth - node.clientWidth") == [0] * 8

    def test_buttons_are_large_enough(self, page):
        page.make(lines(*MIXED))
        assert min(page.each("button:not([hidden])", "node.offsetHeight")) >= 24

    def test_resizing(self, page):
        page.make(lines(*MIXED))
        for width in (360, 1600, 700):
            page.size(width, 900)
            wait_until(lambda: max(page.each(".chart, .body .bar", "node.getBoundingClientRect().right")) <= width)
            tops = page.each(".body .row", "[node.offsetTop, node.offsetHeight]")
            assert len(tops) == 7 and all(abs(b[0] - a[0] - a[1]) <= 1 for a, b in zip(tops, tops[1:])), tops

    def test_without_scripts(self, page):
        page.make(lines(*MIXED))
        page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        try:
            page.open()
            assert "switched off here" in page.find("noscript").text
            assert not page.find("#page").is_displayed()
        finally:
            page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
