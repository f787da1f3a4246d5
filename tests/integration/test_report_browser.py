"""Reports in a real browser: opened from disk, clicked, driven by keys, printed, and attacked."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.browser import (
    AXE_VIEWS,
    CheckedPage,
    assert_accessible,
    checked_page,
    chromium,
    fits,
    in_chromium,
    needs_axe,
    save_screenshot,
    views_of,
)  # fmt: skip
from tests.support.report_pages import ATTACKS, hostile, large, page_of, page_of_two, sample

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest.importorskip("playwright", reason="browser tests need Playwright (make setup)")
PAGES: dict[str, Callable[[], str]] = {
    "referral": lambda: page_of(sample("referral.yaml", "referral.unknown-patient.input.json")),
    "join": lambda: page_of(sample("join.json", "join.input.json")),
    "killed": lambda: page_of(
        sample("aborts.yaml", "aborts.input.json", "crashed-reference-error")
    ),
    "two": lambda: page_of_two(
        sample("referral.yaml", "referral.unknown-patient.input.json"),
        sample("referral.yaml", "referral.input.json"),
    ),
    "hostile": lambda: page_of(hostile()),
    "large": lambda: page_of(large()),
}
# Chromium and the pages take seconds to start. Every day test_report_page checks the pages' text.
pytestmark = [*in_chromium("browser-2"), pytest.mark.slow]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages as files. Runs come before the browser, whose event loop would be in their way."""
    folder = tmp_path_factory.mktemp("reports")
    for name, make in PAGES.items():
        (folder / f"{name}.html").write_text(make(), "utf-8")
    return folder


@pytest.fixture(scope="module")
def browser(folder: Path) -> Iterator[Browser]:
    with chromium() as found:
        yield found


@contextmanager
def watched(browser: Browser, file: Path, **options: Any) -> Iterator[CheckedPage]:
    """A page opened from disk. That it stayed calm is checked at the end."""
    url = file.as_uri()
    with checked_page(browser, lambda asked: asked.split("#")[0] == url, **options) as found:
        found.page.goto(url)
        yield found
        found.page.wait_for_timeout(50)
        assert found.page.url.split("#")[0] == url
        assert found.violations == []


def current(page: Page) -> str:
    """The step that is chosen, by the list and by the details alike."""
    row = page.locator(".row[aria-current]")
    assert row.count() == 1
    title = page.locator("#detail-title").inner_text()
    assert row.locator(".name").inner_text().startswith(title)
    return title


LETTER_AT = """(line, x) => {
  const text = line.lastChild;
  for (let at = 0; at < text.length; at += 1) {
    const range = document.createRange();
    range.setStart(text, at);
    range.setEnd(text, at + 1);
    const box = range.getBoundingClientRect();
    if (box.left <= x && x < box.right) return text.data.slice(at);
  }
}"""
"""The text from the letter that stands at a place."""


# --- looking at a run -----------------------------------------------------------------------------


def test_a_report_opens_at_what_went_wrong(browser: Browser, folder: Path) -> None:
    with watched(browser, folder / "referral.html") as found:
        page = found.page
        assert page.locator(".verdict .chip").inner_text().startswith("✓ success in")
        assert current(page) == "Fetch patient"
        detail = page.locator("#detail")
        assert "JobError: No patient KEN-9999 in the registry" in detail.inner_text()
        point = detail.locator(".point").bounding_box()
        hit = detail.locator(".hit")
        assert hit.inner_text().startswith("10") and point is not None
        under = hit.evaluate(LETTER_AT, point["x"] + point["width"] / 2)
        assert under == "new Error(`No patient ${id} in the registry`);"
        not_taken = detail.locator("td.outcome-not-taken").inner_text()
        assert "not taken" in not_taken and "only on success" in not_taken
        assert detail.locator("td.outcome-followed").count() == 1


def test_steps_are_chosen_in_the_list_and_on_the_graph(browser: Browser, folder: Path) -> None:
    with watched(browser, folder / "referral.html") as found:
        page = found.page
        page.locator(".row", has_text="Alert nurse").click()
        assert current(page) == "Alert nurse"
        page.locator(".node", has_text="Validate referral").last.click()
        assert current(page) == "Validate referral"
        assert page.locator(".node.chosen").count() == 1
        page.locator("#log").get_by_role("button", name="Alert nurse").click()
        assert current(page) == "Alert nurse"
        page.locator("#detail").get_by_role("button", name="Fetch patient").click()
        assert current(page) == "Fetch patient"


def test_a_join_is_stepped_through(browser: Browser, folder: Path) -> None:
    with watched(browser, folder / "join.html") as found:
        page = found.page
        node = page.locator(".node", has_text="Order").last
        node.click()
        assert page.locator(".turns [aria-pressed=true]").inner_text() == "1 ✓"
        node.click()
        assert page.locator(".turns [aria-pressed=true]").inner_text() == "2 ✓"
        page.locator(".turns button").first.click()
        assert page.locator(".about").inner_text().count("1 of 2") == 1


def test_states_fold_and_show_what_changed(browser: Browser, folder: Path) -> None:
    with watched(browser, folder / "join.html") as found:
        page = found.page
        page.locator(".row", has_text="Plan tests").click()
        changed = page.locator('[data-part="changed0"]')
        assert "quantity" in changed.locator(".added").inner_text()
        assert changed.locator(".dropped").count() == 0
        output = page.locator('[data-part="output0"]')
        assert output.locator(".tree").count() == 0
        output.locator("> summary").click()
        output.locator(".v-string", has_text="Bwindi Community Hospital").wait_for()
        data = output.locator(".tree summary", has_text="data").first
        data.click()
        assert not output.locator(".v-string", has_text="Bwindi").is_visible()
        page.keyboard.press("j")
        assert page.locator('[data-part="output0"]').get_attribute("open") == ""


DIFFERENCES: list[tuple[str, str, list[str]]] = [
    ('{"a": 1}', '{"a": 1}', ["No difference."]),
    ('{"a": 1}', '{"a": 2}', ["− removed: a: 1", "+ added: a: 2"]),
    ('{"a": 1, "b": 2}', '{"b": 2}', ["− removed: a: 1", "1 unchanged"]),
    ("[1, 2, 3]", "[0, 1, 2, 3]", ["+ added: 0: 0", "3 unchanged"]),
    ("[1, 2, 3]", "[1, 3]", ["− removed: 1: 2", "2 unchanged"]),
    ('{"a": {"b": 1}}', '{"a": {"b": 1, "c": null}}', ["a", "+ added: c: null", "1 unchanged"]),
    ('{"a": 1}', '{"a": "1"}', ["− removed: a: 1", '+ added: a: "1"']),
    ('{"a": []}', '{"a": {}}', ["− removed: a: []", "+ added: a: {}"]),
    ('{"__proto__": {}}', '{"x": 1}', ["− removed: __proto__: {}", "+ added: x: 1"]),
    ('{"hasOwnProperty": 1}', "{}", ["− removed: hasOwnProperty: 1"]),
    ("null", "{}", ["− removed: all: null", "+ added: all: {}"]),
    (
        "[1234567890123456789]",
        "[1234567890123456788]",
        ["− removed: 0: 1234567890123456789", "+ added: 0: 1234567890123456788"],
    ),
]
SHOW_DIFFERENCE = """([before, now]) => {
  const made = [difference({ text: before, cut: "" }, { text: now, cut: "" })].flat();
  const rows = made.flatMap((one) => [...one.querySelectorAll("li, summary"), one]);
  return rows.filter((one) => !one.querySelector("li")).map((one) => one.textContent);
}"""


def test_differences(browser: Browser, folder: Path) -> None:
    with watched(browser, folder / "join.html") as found:
        for before, now, told in DIFFERENCES:
            assert found.page.evaluate(SHOW_DIFFERENCE, [before, now]) == told


def test_bars_are_proportional_to_time(browser: Browser, folder: Path) -> None:
    with watched(browser, folder / "join.html") as found:
        view = json.loads(found.page.locator("#data").inner_text())["runs"][0]
        track = found.page.locator(".bar").first.bounding_box()
        assert track is not None
        for bar, one in zip(found.page.locator(".fill").all(), view["executions"], strict=True):
            box = bar.bounding_box()
            assert box is not None
            wide = max(3, track["width"] * (one["end_us"] - one["start_us"]) / view["duration_us"])
            assert box["width"] == pytest.approx(wide, abs=1)
            begin = track["x"] + track["width"] * min(0.994, one["start_us"] / view["duration_us"])
            assert box["x"] == pytest.approx(begin, abs=1)


def test_the_log_is_searched_and_filtered(browser: Browser, folder: Path) -> None:
    with watched(browser, folder / "large.html") as found:
        page = found.page
        told = page.locator("#log [role=status]")
        assert told.inner_text() == "2,000 of 3,000 lines"
        page.get_by_label(re.compile("^debug")).check()
        assert told.inner_text() == "3,000 of 3,000 lines"
        page.get_by_label(re.compile("^warn")).uncheck()
        page.keyboard.press("Escape")
        page.locator("h1").click()
        page.keyboard.press("/")
        page.keyboard.type("INFO 99")
        assert told.inner_text() == "11 of 3,000 lines"
        assert page.locator("#log mark").all_inner_texts() == ["info 99"] * 11
        page.keyboard.type("x")
        assert "No line matches." in page.locator("#log").inner_text()


def test_long_lists_come_in_portions(browser: Browser, folder: Path) -> None:
    with watched(browser, folder / "large.html") as found:
        page = found.page
        assert page.locator(".row").count() == 200
        page.locator("#steps .pager button").click()
        assert page.locator(".row").count() == 400
        page.locator(".node").last.click()
        assert current(page) == "step-99"


# --- by keys alone --------------------------------------------------------------------------------


def test_everything_is_reached_by_keys(browser: Browser, folder: Path) -> None:
    with watched(browser, folder / "referral.html") as found:
        page, press = found.page, found.page.keyboard.press
        assert current(page) == "Fetch patient"
        press("j")
        assert current(page) == "Alert nurse"
        press("j")
        assert current(page) == "Alert nurse"
        press("k")
        press("k")
        assert current(page) == "Validate referral"
        press("n")
        assert current(page) == "Fetch patient"
        press("d")
        assert page.evaluate("document.activeElement.id") == "detail-title"
        press("?")
        assert page.locator("dialog").is_visible()
        press("j")
        press("Escape")
        assert not page.locator("dialog").is_visible()
        assert current(page) == "Fetch patient"
        press("/")
        page.keyboard.type("jjk/")
        assert page.locator("#search").input_value() == "jjk/"
        assert current(page) == "Fetch patient"


def test_the_list_and_the_graph_listen_to_keys(browser: Browser, folder: Path) -> None:
    with watched(browser, folder / "referral.html") as found:
        page = found.page
        page.locator(".row").first.focus()
        page.keyboard.press("Enter")
        page.keyboard.press("ArrowDown")
        assert current(page) == "Fetch patient"
        focused = page.evaluate("document.activeElement.getAttribute('aria-current')")
        assert focused == "true"
        page.keyboard.press("ArrowUp")
        assert current(page) == "Validate referral"
        page.locator(".node", has_text="Alert nurse").last.focus()
        page.keyboard.press("Enter")
        assert current(page) == "Alert nurse"


def test_every_stop_of_the_tab_key_can_be_seen(browser: Browser, folder: Path) -> None:
    with watched(browser, folder / "referral.html") as found:
        page, seen = found.page, set[str]()
        for _ in range(60):
            page.keyboard.press("Tab")
            name, outline = page.evaluate(
                """() => {
                  const one = document.activeElement;
                  return [one.outerHTML.slice(0, 80), getComputedStyle(one).outlineWidth];
                }"""
            )
            if name in seen:
                break
            if not name.startswith("<body"):
                assert outline == "3px", name
                seen.add(name)
        for wanted in ('class="skip"', 'id="theme"', 'class="row"', "<summary", 'id="search"'):
            assert any(wanted in one for one in seen), wanted


# --- two runs -------------------------------------------------------------------------------------


def test_two_runs_are_compared(browser: Browser, folder: Path) -> None:
    with watched(browser, folder / "two.html") as found:
        page = found.page
        assert "state at 'validate-referral'" in page.locator(".first .message").inner_text()
        assert page.locator(".row.first-row .flag").inner_text() == "first difference"
        assert current(page) == "Validate referral"
        outputs = page.locator('[data-part="between-output"]')
        assert '"KEN-9999"' in " ".join(outputs.locator(".dropped").all_inner_texts())
        assert '"ken-0123"' in " ".join(outputs.locator(".added").all_inner_texts())
        page.locator(".row", has_text="Alert nurse").click()
        assert "only in A" in page.locator(".row[aria-current]").inner_text()
        assert page.locator("#detail .who").count() == 1
        page.locator(".frame[data-run='1'] .node", has_text="Upsert record").last.click()
        assert current(page) == "Upsert record"
        page.get_by_role("button", name="Show it").click()
        assert current(page) == "Validate referral"


# --- themes, widths, print ------------------------------------------------------------------------


def brightness(page: Page) -> list[float]:
    """Of the page and of the graph."""
    script = """() => [
      getComputedStyle(document.body).backgroundColor,
      getComputedStyle(document.querySelector(".frame .back")).fill,
    ]"""
    colours = [re.findall(r"\d+", one) for one in page.evaluate(script)]
    return [sum(map(int, numbers[:3])) / 765 for numbers in colours]


def test_the_theme_follows_the_system_and_the_button(browser: Browser, folder: Path) -> None:
    with watched(browser, folder / "referral.html", color_scheme="dark") as found:
        page = found.page
        assert max(brightness(page)) < 0.2
        page.keyboard.press("t")
        assert max(brightness(page)) < 0.2
        page.keyboard.press("t")
        assert min(brightness(page)) > 0.9
        page.locator("#theme").click()
        assert max(brightness(page)) < 0.2
        page.emulate_media(media="print")
        assert min(brightness(page)) > 0.9


def test_printing_opens_what_matters(browser: Browser, folder: Path) -> None:
    with watched(browser, folder / "referral.html") as found:
        page = found.page
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator("#detail details.part:not([open])").count() == 0
        page.emulate_media(media="print")
        assert not page.locator("#theme").is_visible()
        assert (
            page.locator("#detail").evaluate("one => getComputedStyle(one).overflow") == "visible"
        )
        assert len(page.pdf()) > 10_000


def test_without_scripts_the_verdict_and_the_graph_are_there(
    browser: Browser, folder: Path
) -> None:
    with watched_without_scripts(browser, folder / "referral.html") as page:
        assert page.locator(".verdict .chip").inner_text().startswith("✓ success")
        assert page.locator(".frame svg").is_visible()
        assert "Without scripts" in page.locator("noscript").inner_text()


@contextmanager
def watched_without_scripts(browser: Browser, file: Path) -> Iterator[Page]:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(file.as_uri())
    try:
        yield page
    finally:
        context.close()


@pytest.mark.parametrize("name", PAGES)
def test_pages_fit_and_are_kept_as_pictures(name: str, browser: Browser, folder: Path) -> None:
    long = name in ("hostile", "large")
    with watched(browser, folder / f"{name}.html") as found:
        for width, theme in views_of(found.page):
            assert fits(found.page), (width, theme)
            save_screenshot(found.page, f"report-{name}-{width}-{theme}", whole=not long)


# --- accessibility --------------------------------------------------------------------------------


@needs_axe
def test_a_page_is_accessible(browser: Browser, folder: Path) -> None:
    with watched(browser, folder / "referral.html") as found:
        assert_accessible(found.page)


@needs_axe
@pytest.mark.parametrize(("width", "theme"), AXE_VIEWS)
@pytest.mark.parametrize("name", ["referral", "join", "killed", "two", "hostile"])
def test_pages_are_accessible_with_everything_open(
    name: str, theme: Any, width: int, browser: Browser, folder: Path
) -> None:
    file = folder / f"{name}.html"
    with watched(browser, file, width=width, color_scheme=theme) as found:
        open_all(found.page)
        assert_accessible(found.page)
        found.page.keyboard.press("Escape")
        found.page.locator("#keys").click()
        assert_accessible(found.page)


# --- speed ----------------------------------------------------------------------------------------


def test_a_run_of_5000_events_opens_in_time(browser: Browser, folder: Path) -> None:
    file = folder / "large.html"
    best = 60.0
    for _ in range(3):
        with watched(browser, file) as found:
            began = time.perf_counter()
            found.page.reload()
            found.page.evaluate(
                "new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"
            )
            best = min(best, time.perf_counter() - began)
            assert current(found.page) == "step-0"
    assert best < 2


# --- attacks --------------------------------------------------------------------------------------


OPEN_ALL = """async () => {
  for (let round = 0; round < 12; round += 1) {
    const closed = [...document.querySelectorAll("details:not([open]) > summary")];
    for (const one of closed.slice(0, 200)) one.click();
    await new Promise((done) => setTimeout(done));
    if (!closed.length) return;
  }
}"""


def open_all(page: Page) -> None:
    """Open what can be opened, as long as there is something new."""
    page.evaluate(OPEN_ALL)


@pytest.mark.parametrize(
    "bypass_csp",
    [
        pytest.param(False, id="with its policy"),
        pytest.param(True, id="without its policy"),
    ],
)
def test_nothing_in_a_run_is_ever_executed(
    bypass_csp: bool, browser: Browser, folder: Path
) -> None:
    with watched(browser, folder / "hostile.html", bypass_csp=bypass_csp) as found:
        page = found.page
        assert page.locator(".row").count() == len(ATTACKS)
        allowed = page.evaluate("[...document.querySelectorAll('*')].map((one) => one.localName)")
        for number in range(len(ATTACKS)):
            page.evaluate(f"document.querySelectorAll('.row')[{number}].click()")
            open_all(page)
            page.evaluate(
                "document.querySelectorAll('.tree button, .diff button').forEach((one) => one.click())"
            )
        page.locator("#search").fill("<")
        page.keyboard.press("t")
        tags = set(page.evaluate("[...document.querySelectorAll('*')].map((one) => one.localName)"))
        assert tags <= {*allowed, "mark", "details", "summary", "pre", "table"}
        assert not tags & {"img", "iframe", "object", "embed", "base", "link", "form"}
        assert page.evaluate("({}).polluted") is None
        assert page.evaluate("document.querySelectorAll('script').length") == 2


def test_attacks_are_shown_as_they_were_written(browser: Browser, folder: Path) -> None:
    with watched(browser, folder / "hostile.html") as found:
        page = found.page
        names = list(ATTACKS)
        for name in ("markup", "data", "handler", "prototype"):
            page.evaluate(f"document.querySelectorAll('.row')[{names.index(name)}].click()")
            message = page.locator(".error .message").inner_text()
            assert ATTACKS[name] in message
            open_all(page)
            keys = page.locator('[data-part="output0"] .key').all_inner_texts()
            assert ATTACKS[name] in keys
        cut = page.locator('[data-part="output0"] .v-cut').inner_text()
        assert cut.startswith("✂ cut here: <b><b>") and "more characters" in cut
        assert "more characters" in page.locator('[data-part="logs0"] li').last.inner_text()
        page.evaluate(f"document.querySelectorAll('.row')[{names.index('overrides')}].click()")
        assert r"a\x202eb\x2066c" in page.locator(".error .message").inner_text()
        assert "\u202e" not in page.locator("body").inner_text()
