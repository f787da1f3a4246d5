"""Chromium for tests: records everything that a page must not do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium")
AXE = ROOT / ".cache/browser/node_modules/axe-core/axe.min.js"
SHOTS = ROOT / "build/screenshots"
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
WIDTHS = (320, 400, 1280)
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
# Layout is a matter of the width and contrast of the theme: each is checked once, as axe is slow.
AXE_VIEWS = ((320, "light"), (1280, "dark"))
RUN_AXE = """async () => {
  const found = await axe.run(document, { preload: false, resultTypes: ["violations"] });
  return found.violations.map((one) =>
    `${one.id}: ${one.nodes.slice(0, 3).map((node) => node.html.slice(0, 150)).join(" | ")}`);
}"""


def in_chromium(group: str = "browser") -> list[pytest.MarkDecorator]:
    """Return the marks of tests with a browser, whose group has one process and one browser."""
    return [pytest.mark.browser, pytest.mark.xdist_group(group)]


needs_axe = pytest.mark.skipif(not AXE.exists(), reason="needs axe-core (make browser)")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser, without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


@dataclass
class CheckedPage:
    """Page, and what it did that it must not do."""

    page: Page
    violations: list[str] = field(default_factory=list)


@contextmanager
def checked_page(
    browser: Browser, may_request: Callable[[str], bool], *, width: int = 1280, **options: Any
) -> Iterator[CheckedPage]:
    """Open an empty page, and record console output, dialogs and requests.

    At the end, check that no hostile text was executed.
    """
    still = {"reduced_motion": "reduce", **options}
    context = browser.new_context(viewport={"width": width, "height": 800}, **still)
    context.set_default_timeout(60_000)
    page = context.new_page()
    checked = CheckedPage(page)

    def dismiss(dialog: Dialog) -> None:
        checked.violations.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("console", lambda one: checked.violations.append(f"console: {one.text}"))
    page.on("pageerror", lambda one: checked.violations.append(f"error: {one}"))
    page.on("dialog", dismiss)
    page.on("popup", lambda one: checked.violations.append("popup"))
    page.on("download", lambda one: checked.violations.append("download"))

    def requested(url: str) -> None:
        if not may_request(url):
            checked.violations.append(f"request: {url}")

    page.on("request", lambda one: requested(one.url))
    try:
        yield checked
        assert page.evaluate("window.hacked") is None
    finally:
        context.close()


def views_of(page: Page) -> Iterator[tuple[int, str]]:
    """Show a page in each width and theme, and yield these. To open it anew takes far longer."""
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        for theme in THEMES:
            page.emulate_media(color_scheme=theme)
            yield width, theme


def fits(page: Page) -> bool:
    """Return whether nothing overflows sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def save_screenshot(page: Page, name: str, *, whole: bool = True) -> None:
    """Save a screenshot of the page for people."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    if whole and page.viewport_size:
        # What is outside of the window is not painted (content-visibility).
        height = page.evaluate("document.documentElement.scrollHeight")
        page.set_viewport_size({"width": page.viewport_size["width"], "height": height})
    page.screenshot(path=SHOTS / f"{name}.png", full_page=whole)


def assert_accessible(page: Page) -> None:
    """Check the page with axe."""
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate(RUN_AXE)
    assert not found, "\n".join(found)
