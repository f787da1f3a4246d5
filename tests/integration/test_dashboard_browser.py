"""The dashboard in a real browser: by mouse, by keys, live, attacked, and under a burst."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.test_dashboard import ATTACK, SLOW
from tests.support.browser import (
    AXE,
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
from tests.support.dashboard_fleet import (
    TOKEN,
    DashboardFleet,
    dashboard_fleet,
    deploy_triggers,
    plan,
    real_worker,
    sample_input,
)
from tests.support.graphs import HOSTILE_TEXTS
from tests.support.scripted_worker import HostileExecutor, LoggingExecutor
from worker.view.dashboard import listener as listeners
from worker.view.dashboard.listener import Listener

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest.importorskip("playwright", reason="browser tests need Playwright (make setup)")
PAGES = (
    *("login", "overview", "orders", "order", "run", "failed", "running", "clip"),
    *("workers", "alerts", "unknown", "launch", "log", "triggers"),
)
pytestmark = in_chromium()
TALK = """fn(async (state) => {
  for (let page = 0; page < 1600; page += 1) {
    console.log(`page ${page}`);
    await new Promise((done) => setTimeout(done, 150));
  }
  return state;
})"""


@dataclass
class Scene:
    """A fleet with a history, and the paths of its pages."""

    on: DashboardFleet
    paths: dict[str, str]


def steps(name: str, *sources: str) -> dict[str, Any]:
    """A chain of steps as an execution plan."""
    names = [f"step-{number}" for number in range(len(sources))]
    return {
        "workflow": {
            "name": name,
            "steps": [
                {
                    "id": id,
                    "adaptor": "@openfn/language-common@3.3.4",
                    "expression": source,
                    "next": {names[number + 1]: True} if number + 1 < len(names) else {},
                }
                for number, (id, source) in enumerate(zip(names, sources, strict=True))
            ],
        }
    }


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with dashboard_fleet() as on, real_worker(on):
        input = sample_input("referral.unknown-patient.input.json")
        run = on.call(on.run(plan=plan("referral.yaml"), input=input, project="clinic"))
        error = plan("aborts.yaml", "failed-job-error")
        failed = on.call(on.run(plan=error, input=sample_input("aborts.input.json")))
        nowhere = steps("Sends to nowhere", "post('/x')")
        nowhere["workflow"]["steps"][0]["adaptor"] = "@openfn/language-nope@1.0.0"
        on.call(on.run(plan=nowhere))
        running = on.call(on.client.submit(plan=steps("Nightly sync", TALK, "fn(s => s)")))
        on.call(deploy_triggers(on))
        on.call(on.serve())
        seq = next(step["completed_seq"] for step in run["steps"])
        yield Scene(
            on,
            {
                "login": "/",
                "overview": "/",
                "orders": "/orders",
                "order": f"/orders/{failed['order_id']}",
                "run": f"/runs/{run['run_id']}",
                "failed": f"/runs/{failed['run_id']}",
                "running": f"/runs/{running['last_run']}",
                "clip": f"/runs/{run['run_id']}/clips/{seq}",
                "workers": "/workers",
                "alerts": "/alerts",
                "unknown": "/runs/unknown",
                "launch": "/launch",
                "triggers": "/triggers",
                "log": f"/runs/{run['run_id']}/log",
            },
        )


@pytest.fixture(scope="module")
def browser(scene: Scene) -> Iterator[Browser]:
    with chromium() as found:
        yield found


@contextmanager
def watched(
    browser: Browser, on: DashboardFleet, path: str = "/", *, signed_in: bool = True, **options: Any
) -> Iterator[CheckedPage]:
    """A page of the dashboard. That it stayed calm, and on this machine, is checked at the end."""
    with checked_page(browser, lambda asked: asked.startswith(on.url), **options) as found:
        if signed_in:
            found.page.goto(f"{on.url}/?token={TOKEN}")
            assert found.page.url == f"{on.url}/"
        if path != "/" or not signed_in:
            found.page.goto(f"{on.url}{path}")
        yield found
        missing = "console: Failed to load resource: the server responded with a status of 404"
        expected = missing if path == "/runs/unknown" else "nothing"
        assert [one for one in found.violations if not one.startswith(expected)] == []


def is_live(page: Page) -> None:
    page.locator("#live[data-state=on]").wait_for()


# --- looking and doing ----------------------------------------------------------------------------


@pytest.mark.slow
def test_signing_in_and_out(browser: Browser, scene: Scene) -> None:
    with watched(browser, scene.on, signed_in=False) as found:
        page = found.page
        assert page.locator("nav").count() == 0
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Overview").wait_for()
        is_live(page)
        page.get_by_role("button", name="Sign out").click()
        page.get_by_label("Token").wait_for()


@pytest.mark.slow
def test_pages_are_reached_by_keys_alone(browser: Browser, scene: Scene) -> None:
    with watched(browser, scene.on) as found:
        page, press = found.page, found.page.keyboard.press
        seen = []
        for _ in range(10):
            press("Tab")
            name, outline = page.evaluate(
                """() => [document.activeElement.textContent.trim(),
                          getComputedStyle(document.activeElement).outlineWidth]"""
            )
            assert outline == "3px", name
            seen.append(name)
        assert seen[0] == "Skip to the content" and seen[1] == "OpenFn workflow worker"
        assert seen[2:8] == ["Overview", "Orders", "Triggers", "Workers", "Alerts", "Sign out"]
        assert seen[8].startswith("System theme")
        page.reload()
        press("Tab")
        press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        page.get_by_role("link", name="Orders", exact=True).focus()
        press("Enter")
        page.get_by_label("Search").focus()
        page.keyboard.type("aborts")
        page.get_by_label("Status").focus()
        page.keyboard.type("failed")
        press("Enter")
        page.get_by_label("Search").fill("")
        press("Enter")
        page.wait_for_url("**/orders?status=failed*")
        rows = page.locator("#orders tbody tr")
        assert rows.count() >= 1 and "failed" in rows.first.inner_text()
        rows.first.locator("th a").focus()
        press("Enter")
        page.wait_for_url("**/orders/*")
        page.get_by_role("link", name="Run 1").focus()
        press("Enter")
        page.get_by_role("heading", name="Steps and time").wait_for()


@pytest.mark.slow
def test_a_run_is_cancelled_and_run_again_from_a_step(browser: Browser, scene: Scene) -> None:
    on = scene.on
    order = on.call(on.client.submit(plan=steps("two", "fn(s => s)", SLOW_SOURCE)))
    with watched(browser, on, f"/runs/{order['last_run']}") as found:
        page = found.page
        page.locator("#steps .row", has_text="step-1").wait_for()
        is_live(page)
        page.get_by_text("Cancel…").click()
        # What was opened stays so while the page brings itself up to date.
        page.evaluate("window.stays = true")
        page.get_by_role("button", name="Yes, cancel this run").click()
        page.locator(".verdict.s-cancelled").wait_for()
        retry = page.locator("#steps .row", has_text="step-1").locator("details")
        retry.locator("summary").click()
        assert "repeats the effects" in retry.inner_text()
        retry.get_by_role("button", name="Yes, retry").click()
        page.get_by_text("Retried from 'step-1'.").wait_for()
        page.locator("#steps .row", has_text="step-1").wait_for()
        assert page.locator("#steps .row").count() == 1
        assert "run 2" in page.locator("h1").inner_text()
        page.get_by_text("Cancel…").focus()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.locator(".verdict.s-cancelled").wait_for()


SLOW_SOURCE = SLOW["workflow"]["steps"][0]["expression"]  # type: ignore[index]


@pytest.mark.slow
def test_what_happens_is_shown_as_it_happens(browser: Browser, scene: Scene) -> None:
    on = scene.on
    with watched(browser, on, "/orders") as found:
        page = found.page
        is_live(page)
        page.get_by_label("Search").focus()
        page.keyboard.type("half a wo")
        order = on.call(on.client.submit(plan=steps("just now", "fn(s => s)")))
        row = page.locator(f"#orders tr[data-key='{order['order_id']}']")
        row.locator(".chip.s-success").wait_for()
        # Who types is not disturbed.
        page.keyboard.type("rd")
        assert page.get_by_label("Search").input_value() == "half a word"
        # A button that needs scripts stays through updates.
        page.get_by_role("button", name="Select all").click()
        assert row.locator("input").is_checked()
        page.goto(f"{on.url}/")
        is_live(page)
        page.locator(".tile.s-running", has_text="1").wait_for()
        before = page.locator(".tile.s-success strong").inner_text()
        on.call(on.run(plan=steps("one more", "fn(s => s)")))
        page.wait_for_function(
            "before => document.querySelector('.tile.s-success strong').textContent !== before",
            arg=before,
        )
        assert "at step-0 · on north-1" in page.locator("#going").inner_text()


@pytest.mark.slow
def test_the_log_of_a_run_grows(browser: Browser, scene: Scene) -> None:
    with watched(browser, scene.on, scene.paths["running"]) as found:
        page = found.page
        is_live(page)
        before = page.locator("#log .line").count()
        page.wait_for_function(
            "before => document.querySelectorAll('#log .line').length > before + 5", arg=before
        )
        numbers = page.evaluate(
            "[...document.querySelectorAll('#log .line')].map((one) => Number(one.dataset.seq))"
        )
        assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.slow
def test_a_page_that_lost_its_server_says_so_and_comes_back(browser: Browser) -> None:
    with dashboard_fleet() as on:
        on.call(on.serve())
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{on.url}/?token={TOKEN}")
        is_live(page)
        context.set_offline(True)
        on.call(closed(on))
        page.locator("#live[data-state=wrong]", has_text="not connected").wait_for()
        context.close()


@pytest.mark.slow
def test_a_page_that_nobody_looks_at_keeps_no_connection(browser: Browser) -> None:
    with dashboard_fleet() as on:
        on.call(on.serve())
        with watched(browser, on) as found:
            page = found.page
            is_live(page)
            assert on.call(listening(on)) == 1
            hide = "Object.defineProperty(document, 'hidden', { value: %s, configurable: true })"
            for hidden, count in (("true", 0), ("false", 1)):
                page.evaluate(hide % hidden)
                page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
                on.call(until_listening(on, count))


async def until_listening(on: DashboardFleet, count: int) -> None:
    async with asyncio.timeout(20):
        while await listening(on) != count:
            await asyncio.sleep(0.02)


async def listening(on: DashboardFleet) -> int:
    """Count the browsers that the dashboard of a fleet sends updates to."""
    return len(tasks_named(on, "LiveStream._send_updates"))


def tasks_named(on: DashboardFleet, name: str) -> list[Any]:
    return [one for one in asyncio.all_tasks(on.loop) if name in repr(one.get_coro())]


async def closed(on: DashboardFleet) -> None:
    on.stop.set()


# --- hostile runs ---------------------------------------------------------------------------------


ATTACKS = {
    "attack": ATTACK,
    **{
        name: HOSTILE_TEXTS[name] for name in HOSTILE_TEXTS if name not in ("long", "words", "lone")
    },
    "script": "</script><script>window.hacked = true</script><!--<script>",
    "frame": "<iframe srcdoc='<script>parent.hacked = true</script>'></iframe>",
    "base": "<base href=//evil.example/><meta http-equiv=refresh content='0;url=//evil.example/'>",
    "template": "{{ 7 * 7 }} {% include 'x' %} ${alert(1)}",
    "event": "x\n\nevent: reload\ndata: y\n\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("bypass_csp", [False, True], ids=["with its policy", "without it"])
def test_nothing_that_a_run_says_is_ever_executed(bypass_csp: bool, browser: Browser) -> None:
    every = " ".join(ATTACKS.values())[:1500]
    workflow = {"name": every[:200], "steps": [{"id": every[:900], "expression": "fn()"}]}
    with dashboard_fleet() as on:
        on.call(on.add_worker("w", HostileExecutor(ATTACKS)))
        on.call(on.serve())
        order = on.call(on.client.submit(plan={"workflow": workflow}))
        run_id = order["last_run"]
        paths = ["/", "/orders", f"/orders/{order['order_id']}", "/workers", "/alerts"]
        with watched(browser, on, f"/runs/{run_id}", bypass_csp=bypass_csp) as found:
            page = found.page
            is_live(page)
            page.locator(".verdict.s-exception").wait_for()
            # Once more, as it is told to a page that is open.
            on.call(on.client.retry(run_id))
            for path in paths:
                page.goto(f"{on.url}{path}")
                is_live(page)
                tags = set(
                    page.evaluate(
                        "[...document.querySelectorAll('main *')].map((one) => one.localName)"
                    )
                )
                assert not tags & {"img", "iframe", "object", "base", "meta", "script", "style"}
                assert fits(page)
            page.goto(f"{on.url}/runs/{run_id}")
            page.locator("#log li").first.wait_for(state="attached")
            shown = page.locator("#log").text_content() or ""
            assert "<script>window.hacked = true</script>" in shown
            assert "{{ 7 * 7 }}" in shown and "\u202e" not in shown


# --- 200 events a second --------------------------------------------------------------------------


@pytest.mark.slow
def test_a_burst_of_200_events_a_second_is_followed(browser: Browser) -> None:
    count, rate = 2000, 200.0
    most = 0
    original = Listener.add

    def add(self: Listener, line: Any) -> None:
        nonlocal most
        original(self, line)
        most = max(most, self.queued)

    with dashboard_fleet() as on, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Listener, "add", add)
        chatty = LoggingExecutor(count=count, rate=rate)
        on.call(on.serve())
        order = on.call(on.client.submit(plan=steps("burst", "fn(s => s)")))
        with watched(browser, on, f"/runs/{order['last_run']}") as found:
            # The run begins when the page shows it: to open one may take as long as the burst.
            on.call(on.add_worker("chatty", chatty))
            found.page.wait_for_function(
                """text => document.querySelector("#log li:last-child")?.textContent.includes(text)""",
                arg=f"line {count - 1} of the burst",
                timeout=30_000,
            )
            late = time.monotonic() - chatty.ended
            numbers = found.page.evaluate(
                "[...document.querySelectorAll('#log .line')].map((one) => Number(one.dataset.seq))"
            )
        on.call(on.client.cancel(order["last_run"]))
        print(f"shown {late * 1000:.0f} ms after the last was said; {most} lines waited at most")
    # Milliseconds and a few lines on an idle machine; a busy one may be seconds behind, and no more.
    assert late < 5
    assert most < 5 * rate
    assert numbers == list(range(numbers[0], count + 2))


@pytest.mark.slow
def test_a_browser_that_takes_nothing_is_not_waited_for(scene: Scene) -> None:
    """It costs what may wait for it, and no more; others are updated as before."""
    import socket

    count = 30_000
    with dashboard_fleet() as on:
        on.call(on.add_worker("chatty", LoggingExecutor(count=count, rate=1e9)))
        on.call(on.serve())
        order = on.call(on.client.submit(plan=steps("burst", "fn(s => s)")))
        cookie = signed_in(on)
        with socket.create_connection(("127.0.0.1", on.port)) as lazy:
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            path = f"/live?run={order['last_run']}"
            lazy.sendall(
                f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{on.port}\r\nCookie: {cookie}\r\n\r\n".encode()
            )
            on.call(reported(on, order["last_run"], seq=count + 1), within=120)
            assert on.call(most_kept(on)) <= listeners.MAX_LINES
        on.call(on.client.cancel(order["last_run"]))


def signed_in(on: DashboardFleet) -> str:
    import httpx

    answer = httpx.get(f"{on.url}/?token={TOKEN}")
    return answer.headers["set-cookie"].partition(";")[0]


async def reported(on: DashboardFleet, run_id: str, seq: int) -> None:
    """Wait until the control plane has an event, and has notified the dashboard of it."""
    while not await on.client.events(run_id, after=seq - 1, limit=1):
        await asyncio.sleep(0.05)


async def most_kept(on: DashboardFleet) -> int:
    import gc

    return max((one.queued for one in gc.get_objects() if isinstance(one, Listener)), default=0)


# --- themes, widths, accessibility ----------------------------------------------------------------


def opened(browser: Browser, scene: Scene, name: str, **options: Any) -> Any:
    return watched(browser, scene.on, scene.paths[name], signed_in=name != "login", **options)


@needs_axe
@pytest.mark.slow
def test_a_page_is_accessible(browser: Browser, scene: Scene) -> None:
    with opened(browser, scene, "running") as found:
        is_live(found.page)
        assert_accessible(found.page)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_pages_fit_are_accessible_and_are_kept_as_pictures(
    name: str, browser: Browser, scene: Scene
) -> None:
    with opened(browser, scene, name) as found:
        page = found.page
        if page.locator("body[data-follow^='/live']").count():
            is_live(page)
        for width, theme in views_of(page):
            assert fits(page), (width, theme)
            save_screenshot(page, f"dashboard-{name}-{width}-{theme}")
            if AXE.exists() and (width, theme) in AXE_VIEWS:
                assert_accessible(page)


@pytest.mark.slow
def test_the_theme_follows_the_system(browser: Browser, scene: Scene) -> None:
    for theme, dark in (("light", False), ("dark", True)):
        with opened(browser, scene, "run", color_scheme=theme) as found:
            colours = found.page.evaluate(
                """() => [getComputedStyle(document.body).backgroundColor,
                          getComputedStyle(document.querySelector(".frame .back")).fill]"""
            )
            for colour in colours:
                assert (sum(map(int, re.findall(r"\d+", colour)[:3])) < 384) is dark


@pytest.mark.slow
def test_without_scripts_the_pages_work(browser: Browser, scene: Scene) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{scene.on.url}/?token={TOKEN}")
    page.get_by_role("link", name="Orders", exact=True).click()
    page.locator("#orders tbody th a").last.click()
    page.get_by_role("link", name="Run 1").click()
    assert page.locator(".frame svg").is_visible()
    assert page.locator("#log .line").count() > 3
    page.get_by_text("Retry from the start…").click()
    page.locator("#retry-all").get_by_role("button", name="Yes, retry").click()
    assert "Retried from the start." in page.locator(".notice").inner_text()
    context.close()
