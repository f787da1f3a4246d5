"""Pages of a run of 1,000 steps while it grows, in several tabs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.browser import chromium, in_chromium
from tests.support.dashboard_fleet import TOKEN, dashboard_fleet, real_worker

if TYPE_CHECKING:
    from playwright.sync_api import CDPSession

pytest.importorskip("playwright", reason="browser tests need Playwright (make setup)")
pytestmark = in_chromium
STEPS, TABS, MEASURED_S = 1000, 5, 8.0
WAIT = "fn(async (s) => { await new Promise((done) => setTimeout(done, 30)); return s; })"


def chain() -> dict[str, Any]:
    """Return an execution plan of steps one after the other."""
    common = {"adaptor": "@openfn/language-common@3.3.4", "expression": WAIT}
    steps = [
        {"id": f"s{n}", **common, "next": {f"s{n + 1}": True} if n + 1 < STEPS else {}}
        for n in range(STEPS)
    ]
    return {"workflow": {"name": "long", "steps": steps}}


def busy_s(session: CDPSession) -> float:
    """Return how long the main thread of a tab has worked."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return next(each["value"] for each in metrics if each["name"] == "TaskDuration")


@pytest.mark.slow
@pytest.mark.xfail(reason="9 to 13 % measured on a busy machine: not below 10 % yet", strict=False)
def test_five_tabs_of_a_growing_run_stay_idle() -> None:
    with dashboard_fleet() as on, real_worker(on), chromium() as browser:
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
        page.wait_for_function("document.querySelectorAll('#steps .row').length > 100")
        before = [busy_s(session) for session in sessions]
        shown = page.locator("#steps-title .count")
        executed = shown.inner_text()
        began = time.monotonic()
        page.wait_for_timeout(MEASURED_S * 1000)
        spent = time.monotonic() - began
        shares = [
            (busy_s(session) - start) / spent
            for session, start in zip(sessions, before, strict=True)
        ]
        print([f"{share:.1%}" for share in shares])
        assert shown.inner_text() != executed
        assert max(shares) < 0.10
        on.call(on.client.cancel(order["last_run"]))
