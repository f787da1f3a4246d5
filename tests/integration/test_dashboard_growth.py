"""Pages of a run of 1,000 steps while it grows, in several tabs."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.browser import chromium, in_chromium
from tests.support.dashboard_fleet import TOKEN, dashboard_fleet, real_worker

if TYPE_CHECKING:
    from playwright.sync_api import CDPSession

pytest.importorskip("playwright", reason="browser tests need Playwright (make setup)")
pytestmark = in_chromium("browser-2")
STEPS, TABS, MEASURED_S = 1000, 5, 8.0
COUNT = "#steps-title .count"
WAIT = "fn(async (s) => { await new Promise((done) => setTimeout(done, 60)); return s; })"


def chain() -> dict[str, Any]:
    """Return an execution plan of steps one after the other."""
    common = {"adaptor": "@openfn/language-common@3.3.4", "expression": WAIT}
    steps = [
        {"id": f"s{n}", **common, "next": {f"s{n + 1}": True} if n + 1 < STEPS else {}}
        for n in range(STEPS)
    ]
    return {"workflow": {"name": "long", "steps": steps}}


def busy_s(session: CDPSession) -> float:
    """Return how long the main thread of a tab has worked, by the clock of its thread.

    By the clock on the wall, the time counts too in which other processes have the processor.
    """
    metrics = session.send("Performance.getMetrics")["metrics"]
    return next(float(each["value"]) for each in metrics if each["name"] == "ThreadTime")


@pytest.mark.slow
def test_five_tabs_of_a_growing_run_stay_idle() -> None:
    from playwright.sync_api import expect

    with contextlib.ExitStack() as stack:
        on, browser = stack.enter_context(dashboard_fleet()), stack.enter_context(chromium())
        on.call(on.serve())
        order = on.call(on.client.submit(plan=chain()))
        context = browser.new_context()
        # The fleet, the dashboard and the test share a process: a page may take long to arrive.
        context.set_default_timeout(100_000)
        sessions = []
        for number in range(TABS):
            page = context.new_page()
            page.goto(
                f"{on.url}/runs/{order['last_run']}" + (f"?token={TOKEN}" if not number else "")
            )
            page.locator("#live[data-state=on]").wait_for()
            session = context.new_cdp_session(page)
            session.send("Performance.enable")
            sessions.append(session)
        # The run begins when all tabs show it: to open them can take as long as the run.
        stack.enter_context(real_worker(on))
        page.locator("#steps .row").nth(100).wait_for(state="attached")
        before = [busy_s(session) for session in sessions]
        executed = page.locator(COUNT).inner_text()
        began = time.monotonic()
        page.wait_for_timeout(MEASURED_S * 1000)
        # A page rests for longer, the longer its last update took.
        expect(page.locator(COUNT)).not_to_have_text(executed, timeout=100_000)
        spent = time.monotonic() - began
        shares = [
            (busy_s(session) - start) / spent
            for session, start in zip(sessions, before, strict=True)
        ]
        print([f"{share:.1%}" for share in shares])
        assert max(shares) < 0.10
        # Raises if the run had ended: then the pages had nothing to do for a part of the time.
        on.call(on.client.cancel(order["last_run"]))
