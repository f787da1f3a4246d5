"""The dashboard over a real socket: sessions, refused requests, pages and actions."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.support.dashboard_fleet import (
    TOKEN,
    DashboardFleet,
    dashboard_fleet,
    plan,
    real_worker,
    sample_input,
)
from tests.support.scripted_worker import HostileExecutor
from worker.cli.dashboard import read_token
from worker.errors import LoadError, UsageError
from worker.fleet.client import Client
from worker.fleet.messaging.in_memory import LocalBroker
from worker.view.dashboard import listener as listeners
from worker.view.dashboard import sessions as sessions_module
from worker.view.dashboard.app import application
from worker.view.dashboard.hosts import allowed_hosts
from worker.view.dashboard.hub import Hub
from worker.view.dashboard.listener import Listener, LiveUpdate
from worker.view.dashboard.run_graph import GraphRenderer
from worker.view.dashboard.security import HEADERS
from worker.view.dashboard.sessions import SessionStore, TooManyGuessesError
from worker.view.dashboard.stream import encode_update
from worker.view.dashboard.templating import create_environment, format_long_duration
from worker.view.dashboard.throughput import axis_end, throughput_chart

pytestmark = pytest.mark.xdist_group("dashboard")
PAGES = ("/", "/orders", "/workers", "/alerts")
SLOW_JOB = "fn(async (s) => { await new Promise((done) => setTimeout(done, 60000)); return s; })"
SLOW = {
    "workflow": {
        "name": "slow",
        "steps": [
            {"id": "wait", "adaptor": "@openfn/language-common@3.3.4", "expression": SLOW_JOB}
        ],
    }
}
ATTACK = "<script>window.hacked = true</script><img src=x onerror='hacked'>\"'&\u202e\x1b[31m"


@pytest.fixture(scope="module")
def on() -> Iterator[DashboardFleet]:
    with pytest.MonkeyPatch.context() as patch, dashboard_fleet() as made, real_worker(made):
        patch.setattr(sessions_module, "WRONG_TOKEN_DELAY_S", 0.3)
        made.call(made.serve())
        yield made


@pytest.fixture
def stranger(on: DashboardFleet) -> Iterator[httpx.Client]:
    """A browser without a session."""
    with httpx.Client(base_url=on.url, timeout=20) as client:
        yield client


@pytest.fixture
def visitor(stranger: httpx.Client) -> httpx.Client:
    """A browser with a session."""
    assert stranger.get("/", params={"token": TOKEN}).status_code == 303
    return stranger


def csrf_of(page: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def submit_form(visitor: httpx.Client, path: str, **fields: str) -> httpx.Response:
    """Submit a form of a page."""
    form = {"csrf": csrf_of(visitor.get("/").text), **fields}
    return visitor.post(path, data=form, headers={"origin": str(visitor.base_url).rstrip("/")})


# --- who comes in ---------------------------------------------------------------------------------


def test_the_token_makes_a_session_and_leaves_the_address(stranger: httpx.Client) -> None:
    answer = stranger.get("/", params={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and TOKEN not in cookie
    page = stranger.get("/")
    assert "Overview" in page.text and TOKEN not in page.text
    assert 'class="pace"' in page.text


def test_without_a_session_nothing_is_shown(stranger: httpx.Client) -> None:
    assert "Sign in" in stranger.get("/").text
    for path in (*PAGES[1:], "/orders/x", "/runs/x", "/runs/x/clips/1"):
        answer = stranger.get(path)
        assert answer.status_code == 303
        assert answer.headers["location"] == f"/login?next={quote(path, safe='')}"
    fetched = stranger.get("/live", headers={"sec-fetch-mode": "cors"})
    assert fetched.status_code == 401


def test_a_wrong_token_is_answered_slowly(stranger: httpx.Client) -> None:
    began = time.monotonic()
    answer = stranger.get("/", params={"token": "wrong"})
    assert answer.status_code == 403
    assert "Wrong token" in answer.text
    assert time.monotonic() - began >= sessions_module.WRONG_TOKEN_DELAY_S * 0.9
    assert "set-cookie" not in answer.headers


def test_leaving_ends_the_session(visitor: httpx.Client) -> None:
    cookies = dict(visitor.cookies)
    assert submit_form(visitor, "/logout").status_code == 303
    visitor.cookies.update(cookies)
    assert "Sign in" in visitor.get("/").text


async def test_guesses_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_module, "WRONG_TOKEN_DELAY_S", 0.02)
    sessions = SessionStore(TOKEN)
    began = time.monotonic()
    guesses = await asyncio.gather(
        *(sessions.open(f"guess-{n}") for n in range(15)), return_exceptions=True
    )
    assert time.monotonic() - began >= 0.02 * sessions_module.MAX_WAITING_GUESSES * 0.9
    assert (
        guesses[: sessions_module.MAX_WAITING_GUESSES]
        == [None] * sessions_module.MAX_WAITING_GUESSES
    )
    assert all(
        isinstance(one, TooManyGuessesError)
        for one in guesses[sessions_module.MAX_WAITING_GUESSES :]
    )
    assert await sessions.open(TOKEN) is not None


async def test_sessions_end_and_are_few() -> None:
    now = 0.0
    sessions = SessionStore(TOKEN, clock=lambda: now)
    first = await sessions.open(TOKEN)
    assert first is not None and sessions.get(first) is not None
    now = sessions_module.SESSION_S - 1
    assert sessions.get(first) is not None
    now += sessions_module.SESSION_S - 1
    assert sessions.get(first) is not None
    now += sessions_module.SESSION_S + 1
    assert sessions.get(first) is None
    cookies = [await sessions.open(TOKEN) or "" for _ in range(sessions_module.MAX_SESSIONS + 1)]
    assert sessions.get(cookies[0]) is None and sessions.get(cookies[1]) is not None


def test_a_token_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKER_DASHBOARD_TOKEN", raising=False)
    assert read_token(None) is None
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert read_token(file) == TOKEN
    monkeypatch.setenv("WORKER_DASHBOARD_TOKEN", "short")
    with pytest.raises(UsageError, match="at least 16"):
        read_token(None)
    with pytest.raises(LoadError, match="there is no such file"):
        read_token(tmp_path / "nothing")


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "10.0.0.1:{port}"]
)
def test_a_foreign_name_is_refused(host: str, on: DashboardFleet, visitor: httpx.Client) -> None:
    answer = visitor.get("/", headers={"host": host.format(port=on.port)})
    assert answer.status_code == 421
    assert "Overview" not in answer.text


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", "http://127.0.0.1:1", "http://localhost"]
)
def test_a_deed_from_elsewhere_is_refused(origin: str | None, visitor: httpx.Client) -> None:
    form = {"csrf": csrf_of(visitor.get("/").text)}
    headers = {} if origin is None else {"origin": origin}
    assert visitor.post("/logout", data=form, headers=headers).status_code == 403
    assert "Overview" in visitor.get("/").text


@pytest.mark.parametrize("csrf", ["", "wrong", "é"])
def test_a_deed_without_the_sessions_secret_is_refused(csrf: str, visitor: httpx.Client) -> None:
    assert submit_form(visitor, "/logout", csrf=csrf).status_code == 403
    assert "Overview" in visitor.get("/").text


def test_the_secret_of_another_session_is_refused(
    on: DashboardFleet, visitor: httpx.Client
) -> None:
    with httpx.Client(base_url=on.url) as other:
        other.get("/", params={"token": TOKEN})
        theirs = csrf_of(other.get("/").text)
    assert submit_form(visitor, "/logout", csrf=theirs).status_code == 403


def test_a_deed_without_a_session_is_refused(on: DashboardFleet, stranger: httpx.Client) -> None:
    answer = stranger.post("/runs/x/cancel", data={"csrf": ""}, headers={"origin": on.url})
    assert answer.status_code == 401


def test_what_is_too_large_or_unknown_is_refused(visitor: httpx.Client) -> None:
    assert submit_form(visitor, "/logout", more="x" * 20_000).status_code == 413
    assert visitor.put("/orders").status_code == 405
    assert visitor.get("/logout").status_code == 405
    assert visitor.get("/nothing").status_code == 404
    assert visitor.get("/assets/..%2fapp.py").status_code == 404
    unknown = visitor.get("/runs/nothing")
    assert unknown.status_code == 404 and "There is no run and no order" in unknown.text
    assert visitor.get("/runs/%3Cscript%3E").status_code == 404
    assert "Invalid filter" in visitor.get("/orders?status=odd").text


def test_every_answer_has_the_headers_of_a_page_that_loads_nothing(
    on: DashboardFleet, visitor: httpx.Client
) -> None:
    paths = [*PAGES, "/nothing", "/runs/nothing", "/assets/page.css", "/assets/main.js"]
    answers = [visitor.get(path) for path in paths]
    answers.append(visitor.get("/", headers={"host": "evil.example"}))
    answers.append(visitor.post("/logout"))
    for answer in answers:
        for name, value in HEADERS.items():
            if name == "cache-control" and "/assets/" in str(answer.url):
                assert answer.headers[name] == "no-cache"
            else:
                assert answer.headers[name] == value
    for answer in answers[: len(PAGES)]:
        assert not re.search(
            r"<style|<script(?!( type=\"module\")? src=\"/)|\sstyle=|\son\w+=", answer.text
        )


def test_nothing_comes_from_elsewhere() -> None:
    folder = Path(sessions_module.__file__).parent
    files = [*folder.glob("templates/*"), *folder.glob("assets/*")]
    assert len(files) > 12
    for file in files:
        found = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", file.read_text()))
        assert found <= {"http://www.w3.org"}, file


def test_assets_are_asked_for_again_and_not_sent_again(stranger: httpx.Client) -> None:
    first = stranger.get("/assets/theme.css")
    assert first.headers["content-type"].startswith("text/css")
    again = stranger.get("/assets/theme.css", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304 and not again.content


@pytest.mark.parametrize(
    ("bound", "host", "allowed"),
    [
        ("127.0.0.1", "127.0.0.1:8420", True),
        ("127.0.0.1", "LOCALHOST:8420", True),
        ("127.0.0.1", "evil.example:8420", False),
        ("127.0.0.1", "127.0.0.1.evil.example:8420", False),
        ("127.0.0.1", "tunnel.example:443", True),
        ("10.0.0.1", "10.0.0.1:8420", True),
        ("10.0.0.1", "localhost:8420", False),
        ("0.0.0.0", "10.1.2.3:8420", True),
        ("0.0.0.0", "10.1.2.3:80", False),
        ("0.0.0.0", "evil.example:8420", False),
        ("::1", "[::1]:8420", True),
        ("::", "[fe80::1]:8420", True),
    ],
)
def test_which_names_are_answered_to(bound: str, host: str, allowed: bool) -> None:
    hosts = allowed_hosts(bound, 8420, ["tunnel.example:443"])
    assert hosts.allows(host) is allowed


# --- what is shown --------------------------------------------------------------------------------


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}


@pytest.mark.slow
def test_hostile_texts_stay_texts(on: DashboardFleet, visitor: httpx.Client) -> None:
    on.call(on.add_worker("hostile", HostileExecutor({"attack": ATTACK}), 50))
    workflow = {"name": ATTACK, "steps": [{"id": ATTACK, "name": ATTACK, "expression": "fn()"}]}
    for _ in range(20):  # whichever worker takes it
        run = on.call(on.run(plan={"workflow": workflow}))
        if run["worker"] == "hostile":
            break
    on.call(on.dismiss("hostile"))
    assert run["status"] == "exception"
    paths = (*PAGES, f"/orders/{run['order_id']}", f"/runs/{run['run_id']}", "/orders?search=<b>")
    calm = {tag for path in PAGES for tag in Tags(visitor.get(path).text).names}
    for path in paths:
        text = visitor.get(path).text
        tags = Tags(text)
        assert "hacked" in text or path in ("/workers", "/orders?search=<b>")
        assert "img" in calm and text.count("<img") == 1
        assert text.count("<script") == 2
        assert not any(name.startswith("on") for name in tags.attributes)
        assert not set("\u202e\x1b") & set(text)


@pytest.mark.slow
def test_the_pages_of_a_run(on: DashboardFleet, visitor: httpx.Client) -> None:
    input = sample_input("referral.unknown-patient.input.json")
    run = on.call(on.run(plan=plan("referral.yaml"), input=input))
    page = visitor.get(f"/runs/{run['run_id']}").text
    for wanted in ("Validate referral", "JobError: No patient KEN-9999", "workflow-graph"):
        assert wanted in page
    assert "Patient could not be identified" in page
    assert re.search(r"The bars go from 0 to [\d.]+ m?s\.", page)
    assert ("has logged nothing" in page) is ('<li class="line' not in page)
    clips = re.findall(r'href="(/runs/[^"]+/clips/\d+)"', page)
    assert len(set(clips)) == 5  # the input, three steps and the final state
    given = visitor.get(f"/runs/{run['run_id']}/clips/0").text
    assert "<h1>Input</h1>" in given and "KEN-9999" in given
    texts = [visitor.get(clip).text for clip in clips]
    assert any("fetch-patient" in text for text in texts)
    assert "Final state" in texts[-1]
    assert visitor.get(f"/runs/{run['run_id']}/clips/99").status_code == 404
    order = visitor.get(f"/orders/{run['order_id']}").text
    assert "Run 1" in order and "Retry from the start" in order
    assert f'href="/runs/{run["run_id"]}/clips/0">Input</a>' in order


@pytest.mark.slow
def test_orders_are_filtered_and_paged(on: DashboardFleet, visitor: httpx.Client) -> None:
    steps = {"workflow": {"name": "paged", "steps": [{"id": "a", "expression": "fn(s => s)"}]}}

    async def submit() -> None:
        # All at once: they come in one batch, and so at the same time.
        several = (on.client.submit(plan=steps, project="many") for _ in range(120))
        await asyncio.gather(*several)

    on.call(submit())
    seen: list[str] = []
    path = "/orders?project=many&workflow=paged"
    while path:
        text = visitor.get(path).text
        seen += re.findall(r'data-key="(\w+)"', text)
        older = re.search(r'rel="next" href="([^"]+)"', text)
        path = older[1].replace("&amp;", "&") if older else ""
    assert len(seen) == len(set(seen)) == 120
    assert "No order matches" in visitor.get("/orders?search=nothing-is-called-so").text
    assert seen[0] in visitor.get("/orders", params={"search": seen[0]}).text


async def test_a_control_plane_that_is_away_is_told_of() -> None:
    client = Client(LocalBroker().bus(), wait_s=0.1)
    renderer, hosts = GraphRenderer(), allowed_hosts("127.0.0.1", 80)
    app = application(client, Hub(client), renderer, sessions=SessionStore(TOKEN), hosts=hosts)
    async with (
        client,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://127.0.0.1"
        ) as visitor,
    ):
        await visitor.get("/", params={"token": TOKEN})
        answer = await visitor.get("/orders")
        assert answer.status_code == 503
        assert "No control plane answered within 0.1 s" in answer.text
    renderer.close()


# --- what is done ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_is_cancelled_and_run_again(on: DashboardFleet, visitor: httpx.Client) -> None:
    order = on.call(on.client.submit(plan=SLOW))
    run_id = order["last_run"]
    done = submit_form(visitor, f"/runs/{run_id}/cancel")
    assert (done.status_code, done.headers["location"]) == (303, f"/runs/{run_id}")
    assert on.call(on.client.wait(run_id))["status"] == "cancelled"
    assert "cancelled" in visitor.get(f"/runs/{run_id}").text
    again = submit_form(visitor, f"/runs/{run_id}/retry")
    second = again.headers["location"].removeprefix("/runs/")
    assert second != run_id
    assert "Retried from the start." in visitor.get(f"/runs/{second}").text
    assert "Retried" not in visitor.get(f"/runs/{second}").text
    early = submit_form(visitor, f"/runs/{second}/retry")
    assert early.headers["location"] == f"/runs/{second}"
    assert "Not retried" in visitor.get(f"/runs/{second}").text
    submit_form(visitor, f"/runs/{second}/cancel")
    assert on.call(on.client.wait(second))["status"] == "cancelled"


@pytest.mark.slow
def test_a_run_is_run_again_from_a_step(on: DashboardFleet, visitor: httpx.Client) -> None:
    input = sample_input("referral.unknown-patient.input.json")
    run = on.call(on.run(plan=plan("referral.yaml"), input=input))
    again = submit_form(visitor, f"/runs/{run['run_id']}/retry", step="fetch-patient")
    second = on.call(on.client.wait(again.headers["location"].removeprefix("/runs/")))
    assert [step["job_id"] for step in second["steps"]] == ["fetch-patient", "alert-nurse"]
    assert second["start"] == "fetch-patient"


# --- what is heard --------------------------------------------------------------------------------


def line(number: int, text: str = "x") -> dict[str, Any]:
    return {"seq": number, "text": text}


async def test_what_waits_for_a_browser_never_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener(run_id="r")
    for number in range(3):
        listener.add(line(number))
        listener.mark_changed()
    update = await listener.take(1)
    assert (
        [one["seq"] for one in update.lines] == [0, 1, 2] and update.changed and not update.reload
    )
    assert await listener.take(0.01) == LiveUpdate()
    for number in range(listeners.MAX_LINES * 3):
        listener.add(line(number))
        assert listener.queued <= listeners.MAX_LINES
    assert await listener.take(1) == LiveUpdate(reload=True)
    monkeypatch.setattr(listeners, "MAX_CHARACTERS", 100)
    for number in range(3):
        listener.add(line(number, "x" * 40))
    assert (listener.queued, await listener.take(1)) == (0, LiveUpdate(reload=True))


def test_what_a_page_cares_for() -> None:
    one = {"run_id": "r", "order_id": "o"}
    assert Listener().matches(**one)
    assert Listener(run_id="r").matches(**one) and not Listener(run_id="s").matches(**one)
    assert Listener(order_id="o").matches(**one) and not Listener(order_id="p").matches(**one)


def test_news_as_they_stand_on_the_wire() -> None:
    assert encode_update(LiveUpdate()) == ": alive\n\n"
    update = LiveUpdate(reload=True, changed=True, lines=(line(1, "a\n\nevent: b"),))
    assert re.findall(r"^event: (\w+)$", encode_update(update), re.MULTILINE) == [
        "reload",
        "lines",
        "changed",
    ]


def test_how_times_and_numbers_are_said() -> None:
    assert [format_long_duration(n * 1_000_000) for n in (1, 59, 61, 3600, 90_061)] == [
        *("1.0 s", "59.0 s", "1 min 01 s", "1 h 00 min", "25 h 01 min")
    ]
    shown = create_environment().from_string("{{ a | iso }} {{ a | clock }} {{ b }}|{{ c }}")
    assert shown.render(a=2**62, b="<\x1b>", c=None).endswith(" &lt;\\x1b&gt;|")


def test_the_chart_of_throughput_has_a_scale_and_statuses() -> None:
    chart = str(throughput_chart({"success": [0] * 58 + [3, 4], "failed": [0] * 59 + [2]}))
    assert chart.count("<rect") == 3
    assert 'class="s-success"' in chart and 'class="s-failed"' in chart
    assert "9 in all, at most 6 in a second" in chart
    for text in (">10<", ">5<", ">0<", "60 s ago", "now"):
        assert text in chart
    assert [axis_end(n) for n in (0, 1, 3, 9, 11, 199, 501)] == [2, 2, 5, 10, 20, 200, 1000]
    assert "0 in all" in str(throughput_chart({}))
