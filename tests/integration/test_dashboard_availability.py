"""The dashboard under attack, behind proxies and with large runs: what was found there, by line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.integration.test_dashboard import SLOW, csrf_of, submit_form
from tests.support.dashboard_fleet import (
    LINK,
    READ_TOKEN,
    TOKEN,
    DashboardFleet,
    dashboard_fleet,
    plan,
    real_worker,
    sample_input,
)
from worker.fleet import http_connection
from worker.util.machine_clock import now_us
from worker.view.dashboard import hub, launch, order_list, stream
from worker.view.dashboard import sessions as sessions_module
from worker.view.dashboard.actions import retry_id
from worker.view.dashboard.order_list import read_filter
from worker.view.dashboard.run_view import DataclipText, changed_rows, execution_rows, json_text
from worker.view.dashboard.security import local_path
from worker.view.dashboard.sessions import SessionStore

pytestmark = pytest.mark.xdist_group("dashboard")
QUICK = {"workflow": {"name": "quick", "steps": [{"id": "a", "expression": "fn(s => s)"}]}}


@pytest.fixture(scope="module")
def on() -> Iterator[DashboardFleet]:
    with pytest.MonkeyPatch.context() as patch, dashboard_fleet() as made, real_worker(made):
        patch.setattr(sessions_module, "WRONG_TOKEN_DELAY_S", 0.05)
        made.call(made.serve())
        yield made


@pytest.fixture
def stranger(on: DashboardFleet) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=on.url, timeout=20) as client:
        yield client


@pytest.fixture
def visitor(stranger: httpx.Client) -> httpx.Client:
    assert sign_in(stranger).status_code == 303
    return stranger


def sign_in(client: httpx.Client, token: str = TOKEN, **fields: str) -> httpx.Response:
    """Send the login form."""
    origin = fields.pop("origin", str(client.base_url).rstrip("/"))
    return client.post("/login", data={"token": token, **fields}, headers={"origin": origin})


# --- signing in -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "foreign", ['prefs={"theme": "dark"}', "x=a b", "flag", "a=b; c", "=x", "é=1", "x=[1,2];;;"]
)
def test_cookies_of_other_servers_do_no_harm(foreign: str, visitor: httpx.Client) -> None:
    own = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    visitor.cookies.clear()
    for cookies in (f"{foreign}; {own}", f"{own}; {foreign}"):
        page = visitor.get("/orders", headers={b"cookie": cookies.encode()})
        assert page.status_code == 200 and "Sign out" in page.text


def test_a_link_from_elsewhere_reaches_its_page(stranger: httpx.Client) -> None:
    first = stranger.get("/orders?status=failed", headers={"sec-fetch-site": "cross-site"})
    assert first.headers["location"] == "/login?next=%2Forders%3Fstatus%3Dfailed"
    form = stranger.get(first.headers["location"])
    assert 'name="next" value="/orders?status=failed"' in form.text
    answer = sign_in(stranger, next="/orders?status=failed")
    assert answer.headers["location"] == "/orders?status=failed"
    # Lax: the browser sends the cookie with a link from another site.
    assert "SameSite=lax" in answer.headers["set-cookie"]
    assert stranger.get("/login?next=/workers").headers["location"] == "/workers"


def test_a_link_with_a_token_reaches_its_page(stranger: httpx.Client) -> None:
    answer = stranger.get(f"/orders?status=failed&token={TOKEN}")
    assert answer.headers["location"] == "/orders?status=failed"
    wrong = stranger.get("/orders?token=wrong&status=failed")
    assert wrong.status_code == 403 and 'value="/orders?status=failed"' in wrong.text


@pytest.mark.parametrize(
    "path",
    ["//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil.example", "evil", ""],
)
def test_no_link_leads_to_another_host(path: str, stranger: httpx.Client) -> None:
    assert local_path(path) == "/"
    assert sign_in(stranger, next=path).headers["location"] == "/"


async def test_wrong_tokens_of_a_foreign_page_lock_nobody_out(on: DashboardFleet) -> None:
    async with httpx.AsyncClient(base_url=on.url, timeout=30) as foreign:
        wrong = [foreign.get(f"/?token=wrong-{number}") for number in range(12)]
        right = [foreign.get("/", params={"token": TOKEN}) for _ in range(15)]
        answers = await asyncio.gather(*wrong, *right)
    assert {answer.status_code for answer in answers[:12]} <= {403, 429}
    assert [answer.status_code for answer in answers[12:]] == [303] * 15


@pytest.mark.parametrize("kind", ["image", "iframe", "empty", "script"])
def test_parts_of_foreign_pages_make_no_guess(kind: str, stranger: httpx.Client) -> None:
    answer = stranger.get(f"/?token={TOKEN}", headers={"sec-fetch-dest": kind})
    assert answer.status_code == 403 and "set-cookie" not in answer.headers


def test_the_login_page_has_an_address(stranger: httpx.Client) -> None:
    page = stranger.get("/login")
    assert page.status_code == 200 and "Sign in" in page.text


def test_the_cookie_is_secure_behind_tls(stranger: httpx.Client) -> None:
    plain = sign_in(stranger)
    assert "Secure" not in plain.headers["set-cookie"]
    secure = sign_in(stranger, origin=str(stranger.base_url).replace("http:", "https:").rstrip("/"))
    assert "Secure" in secure.headers["set-cookie"]
    by_proxy = stranger.get("/", params={"token": TOKEN}, headers={"x-forwarded-proto": "https"})
    assert "Secure" in by_proxy.headers["set-cookie"]


async def test_an_address_is_worthless_after_signing_out() -> None:
    sessions = SessionStore(TOKEN, link=LINK)
    sessions._delay_s = 0
    first, second = await sessions.open(LINK), await sessions.open(LINK)
    assert first is not None and second is not None
    sessions.close(first)
    assert await sessions.open(LINK) is None
    assert sessions.get(second) is not None
    assert await sessions.open(TOKEN) is not None


@pytest.mark.slow
def test_a_read_only_session_acts_nowhere(on: DashboardFleet, stranger: httpx.Client) -> None:
    run = on.call(on.run(plan=QUICK))
    assert sign_in(stranger, READ_TOKEN).status_code == 303
    for path in ("/", "/orders", f"/orders/{run['order_id']}", f"/runs/{run['run_id']}"):
        page = stranger.get(path).text
        assert "Retry" not in page and "New order" not in page and "Cancel" not in page
    csrf = csrf_of(stranger.get("/").text)
    headers = {"origin": on.url}
    actions = [f"/runs/{run['run_id']}/{action}" for action in ("retry", "cancel")]
    for path in (*actions, "/orders", "/launch"):
        refused = stranger.post(path, data={"csrf": csrf}, headers=headers)
        assert refused.status_code == 403, path
    assert stranger.post("/logout", data={"csrf": csrf}, headers=headers).status_code == 303


# --- retrying -------------------------------------------------------------------------------------


def test_a_stale_page_does_not_retry(on: DashboardFleet, visitor: httpx.Client) -> None:
    first = on.call(on.run(plan=QUICK))
    second = on.call(on.client.retry(first["run_id"]))
    on.call(on.client.wait(second["last_run"]))
    answer = submit_form(visitor, f"/runs/{first['run_id']}/retry")
    assert answer.status_code == 409
    assert "There is a newer run" in answer.text and f"/runs/{second['last_run']}" in answer.text
    assert on.call(on.client.order(first["order_id"]))["runs"] == 2


async def test_several_retries_at_once_make_one_run(on: DashboardFleet) -> None:
    run = on.call(on.run(plan=QUICK))
    async with httpx.AsyncClient(base_url=on.url, timeout=30) as visitor:
        await visitor.get("/", params={"token": TOKEN})
        csrf = csrf_of((await visitor.get("/")).text)
        path, headers = f"/runs/{run['run_id']}/retry", {"origin": on.url}
        sent = [visitor.post(path, data={"csrf": csrf}, headers=headers) for _ in range(5)]
        answers = await asyncio.gather(*sent)
    assert {answer.status_code for answer in answers} <= {303, 409}
    assert on.call(on.client.order(run["order_id"]))["runs"] == 2
    assert retry_id(run["run_id"]) == on.call(on.client.order(run["order_id"]))["last_run"]


def test_other_pages_of_the_order_are_notified_of_the_new_run(on: DashboardFleet) -> None:
    run = on.call(on.run(plan=QUICK))

    async def change() -> bool:
        followed = hub.Hub(on.client)
        receiving = asyncio.create_task(followed.run())
        with followed.listen(run_id=run["run_id"], order_id=run["order_id"]) as listener:
            await listener.take(10)  # the first notification is a gap
            await on.client.retry(run["run_id"])
            update = await listener.take(10)
        receiving.cancel()
        return update.changed

    assert on.call(change())


# --- the control plane ----------------------------------------------------------------------------


async def test_a_frozen_control_plane_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    class FrozenClient:
        frozen = True

        async def workflows(self) -> list[str]:
            await asyncio.sleep(60 if self.frozen else 0)
            return []

    monkeypatch.setattr(hub, "CHECK_S", 0.02)
    client = FrozenClient()
    watched = hub.Hub(client)  # type: ignore[arg-type]
    with watched.listen() as listener:
        assert (await listener.take(1)).responds is True
        checking = asyncio.create_task(watched.check_control_plane())
        update = await listener.take(10)
        assert update.responds is False
        assert stream.encode_update(update) == "event: control\ndata: false\n\n"
        with watched.listen() as late:
            assert (await late.take(1)).responds is False
        client.frozen = False
        assert (await listener.take(10)).responds is True
        checking.cancel()


# --- data -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "\u200d\x7f\u061c\u202e\x00\u2028\ufeff",
        "می\u200cخواهم 👩🏽\u200d⚕️",
        {"a\u202eb": ["\ud800", 1.5, None]},
        '"\\',
    ],
)
def test_a_copied_dataclip_is_the_same_json(value: object) -> None:
    text = json_text(value)
    assert json.loads(text) == value
    assert not set("\u202e\u061c\x7f\x00\ufeff") & set(text)
    text.encode()


@pytest.mark.slow
def test_names_in_persian_and_emoji_stay_whole(on: DashboardFleet, visitor: httpx.Client) -> None:
    names = ("می\u200cخواهم", "👩🏽\u200d⚕️ nurse", "left\u061cright", "a\u200db")
    shown = ("می\u200cخواهم", "👩🏽\u200d⚕️ nurse", "left\\x61cright", "a\\x200db")
    for name, text in zip(names, shown, strict=True):
        workflow = {**QUICK["workflow"], "name": name}
        run = on.call(on.run(plan={"workflow": workflow}))
        assert text in visitor.get(f"/runs/{run['run_id']}").text


def test_dataclips_are_downloaded_and_paged(on: DashboardFleet, visitor: httpx.Client) -> None:
    input = sample_input("referral.unknown-patient.input.json")
    run = on.call(on.run(plan=plan("referral.yaml"), input=input))
    seq = run["steps"][0]["completed_seq"]
    path = f"/runs/{run['run_id']}/clips/{seq}"
    page, file = visitor.get(path), visitor.get(f"{path}.json")
    assert f'href="{path}.json" download' in page.text
    assert file.headers["content-type"] == "application/json"
    assert file.headers["content-disposition"].startswith('attachment; filename="')
    assert "data" in file.json()
    large = DataclipText(title="Output", step="a", text="x" * 450_000)
    assert large.parts == 3 and len(large.part(3)) == 50_000


@pytest.mark.slow
def test_every_line_of_a_long_log_is_reachable(on: DashboardFleet, visitor: httpx.Client) -> None:
    source = "fn(s => { for (let n = 0; n < 1200; n++) console[n % 100 ? 'log' : 'warn'](`n ${n}`); return s; })"
    talk = {
        "workflow": {
            "name": "talk",
            "steps": [
                {"id": "a", "expression": source, "adaptor": "@openfn/language-common@3.3.4"}
            ],
        }
    }
    run = on.call(on.run(plan=talk))
    path = f"/runs/{run['run_id']}"
    assert f'<a href="{path}/log">' in visitor.get(path).text
    seen: list[str] = []
    page = f"{path}/log"
    while page:
        text = visitor.get(page).text
        seen += re.findall(r'data-seq="(\d+)"', text)
        following = re.search(r'rel="next" href="([^"]+)"', text)
        page = f"{path}/log{following[1].replace('&amp;', '&')}" if following else ""
    assert list(map(int, seen)) == list(range(1, run["reported"] + 1))
    lines = visitor.get(f"{path}/log.txt").text.splitlines()
    assert len(lines) == len(seen) and any(line.endswith("n 1199") for line in lines)
    warned = visitor.get(f"{path}/log?level=warn").text
    assert warned.count('class="line warn"') == 12 and 'class="line info"' not in warned
    assert visitor.get(f"{path}/log?search=N%201150").text.count("data-seq") == 1
    assert "No line" in visitor.get(f"{path}/log?search=nothing").text


# --- connections ----------------------------------------------------------------------------------


def open_stream(on: DashboardFleet, cookie: str, method: str = "GET") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", on.port), timeout=20)
    head = f"{method} /live HTTP/1.1\r\nHost: 127.0.0.1:{on.port}\r\nCookie: {cookie}\r\n\r\n"
    client.sendall(head.encode())
    return client


def cookie_of(client: httpx.Client) -> str:
    return "; ".join(f"{name}={value}" for name, value in client.cookies.items())


def test_a_session_has_a_limited_number_of_streams(
    monkeypatch: pytest.MonkeyPatch, on: DashboardFleet, visitor: httpx.Client
) -> None:
    monkeypatch.setattr(stream, "MAX_STREAMS", 2)
    streams = [open_stream(on, cookie_of(visitor)) for _ in range(2)]
    assert all(client.recv(12) == b"HTTP/1.1 200" for client in streams)
    assert visitor.get("/live").status_code == 503
    with httpx.Client(base_url=on.url) as other:
        sign_in(other)
        with other.stream("GET", "/live") as answer:
            assert answer.status_code == 200
    for client in streams:
        client.close()


def test_signing_out_ends_streams_at_once(on: DashboardFleet, visitor: httpx.Client) -> None:
    client = open_stream(on, cookie_of(visitor))
    assert client.recv(12) == b"HTTP/1.1 200"
    submit_form(visitor, "/logout")
    rest = read_to_end(client)
    assert rest.endswith(b"0\r\n\r\n")


def read_to_end(client: socket.socket) -> bytes:
    """Read until the final chunk, or until the server closes."""
    data = b""
    while not data.endswith(b"0\r\n\r\n"):
        part = client.recv(4096)
        if not part:
            break
        data += part
    client.close()
    return data


async def test_expired_and_replaced_sessions_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    sessions = SessionStore(TOKEN, clock=lambda: now)
    monkeypatch.setattr(sessions_module, "MAX_SESSIONS", 1)
    first = await sessions.open(TOKEN)
    assert first is not None
    session = sessions.get(first)
    assert session is not None and sessions.is_open(session)
    await sessions.open(TOKEN)
    assert session.ended.is_set() and not sessions.is_open(session)


def test_a_head_request_of_a_stream_returns(visitor: httpx.Client) -> None:
    answer = visitor.head("/live", timeout=5)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_idle_connections_are_closed(monkeypatch: pytest.MonkeyPatch, on: DashboardFleet) -> None:
    monkeypatch.setattr(http_connection, "IDLE_TIMEOUT_S", 0.1)
    for start in (b"", b"GET / HT", f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{on.port}\r\n".encode()):
        with socket.create_connection(("127.0.0.1", on.port), timeout=20) as client:
            client.sendall(start)
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""


def test_idle_connections_keep_nobody_out(
    monkeypatch: pytest.MonkeyPatch, on: DashboardFleet, visitor: httpx.Client
) -> None:
    monkeypatch.setattr(http_connection, "MAX_CONNECTIONS", 20)
    with contextlib.ExitStack() as idle:
        for _ in range(60):
            idle.enter_context(socket.create_connection(("127.0.0.1", on.port)))
        assert visitor.get("/").status_code == 200
        with httpx.Client(base_url=on.url) as other:
            assert sign_in(other).status_code == 303


# --- growing runs ---------------------------------------------------------------------------------


def growing_run(count: int, *, ended: int, status: str = "running") -> dict[str, object]:
    steps = [
        {"step_id": f"s{n}", "job_id": f"j{n}", "started": 1_000 * n, "execution": 0}
        | ({"reason": "success", "duration": 900, "completed_seq": 10 * n} if n < ended else {})
        for n in range(count)
    ]
    return {"steps": steps, "plan": {}, "status": status, "finished": 10**9}


def test_an_open_page_receives_only_what_changed() -> None:
    whole = execution_rows(growing_run(1000, ended=999))
    assert (len(whole.rows), whole.first, whole.last, whole.total) == (500, 501, 1000, 1000)
    same = changed_rows(whole, whole.seen)
    assert same.partial and [row.key for row in same.rows] == ["s999"]
    more = execution_rows(growing_run(1003, ended=1001))
    if more.axis == whole.axis:
        fresh = changed_rows(more, whole.seen)
        assert [row.key for row in fresh.rows] == ["s999", "s1000", "s1001", "s1002"]
    ended = execution_rows(growing_run(1003, ended=1003, status="success"), actions=True)
    assert not changed_rows(ended, more.seen).partial
    assert not changed_rows(whole, "nonsense").partial


def test_no_step_runs_on_in_a_run_that_has_ended() -> None:
    rows = execution_rows(growing_run(2, ended=1, status="lost"))
    assert [row.status for row in rows.rows] == ["success", "lost"]
    assert all(row.duration is not None for row in rows.rows)


def test_a_live_request_is_small(on: DashboardFleet, visitor: httpx.Client) -> None:
    run = on.call(
        on.run(
            plan=plan("referral.yaml"), input=sample_input("referral.unknown-patient.input.json")
        )
    )
    path = f"/runs/{run['run_id']}"
    whole = visitor.get(path).text
    seen = re.search(r'data-seen="([^"]+)"', whole)
    assert seen is not None
    live = visitor.get(path, headers={"x-live": f"changed {seen[1]}"}).text
    assert "data-partial" in live and 'class="row ' in whole and 'class="row ' not in live


# --- lists and orders -----------------------------------------------------------------------------


def test_filters_match_parts_of_names_and_times(on: DashboardFleet, visitor: httpx.Client) -> None:
    workflow = {**QUICK["workflow"], "name": "Nightly import"}
    run = on.call(on.run(plan={"workflow": workflow}, project="clinic-north"))
    key = f'data-key="{run["order_id"]}"'
    for query in (
        "project=NORTH",
        "workflow=night",
        "project=clinic&workflow=import",
        "from=2020-01-01T00:00",
    ):
        assert key in visitor.get(f"/orders?{query}").text, query
    for query in (
        "project=south",
        "workflow=weekly",
        "to=2020-01-01T00:00",
        "from=2100-01-01T00:00",
    ):
        assert key not in visitor.get(f"/orders?{query}").text, query
    for query in ("from=yesterday", "last=2y"):
        assert "Invalid filter" in visitor.get(f"/orders?{query}").text
    assert read_filter({"from": "1970-01-01T00:00:01"}).begin == 1_000_000


def test_a_range_of_time_ends_now_and_matches_are_counted(
    on: DashboardFleet, visitor: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow = {**QUICK["workflow"], "name": "Counted"}
    for project in ("one", "two"):
        on.call(on.run(plan={"workflow": workflow}, project=project))

    def counted(query: str) -> str:
        found = re.search(r'id="count">([^<]*)', visitor.get(f"/orders?{query}").text)
        return found[1] if found else ""

    assert counted("last=1h&search=counted") == "2 orders match"
    assert counted("last=7d&search=counted&project=one") == "1 order matches"
    assert counted("last=1h&search=uncounted") == counted("") == ""
    monkeypatch.setattr(order_list, "MAX_COUNT", 1)
    assert counted("last=1h&search=counted") == "1 or more orders match"
    # Two hours later they are outside of the last hour, and within the last 24.
    later = now_us() + 2 * 3600 * 1_000_000
    monkeypatch.setattr(order_list, "now_us", lambda: later)
    assert counted("last=1h&search=counted") == ""
    assert counted("last=24h&search=counted") == "1 or more orders match"


def test_an_order_is_created_with_the_input_of_an_earlier_run(
    on: DashboardFleet, visitor: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    input = {"data": {"patient": "<Amina>"}}
    run = on.call(on.run(plan=QUICK, project="clinic", input=input))
    again = f"/launch?again={run['run_id']}"
    for path in (f"/orders/{run['order_id']}", f"/runs/{run['run_id']}"):
        assert again in visitor.get(path).text

    def created(**fields: str) -> tuple[Any, Any]:
        answer = submit_form(visitor, "/launch", again=run["run_id"], **fields)
        order = on.call(on.client.order(answer.headers["location"].rpartition("/")[2]))
        assert order["order_id"] != run["order_id"] and order["workflow"] == run["workflow"]
        return order["project"], on.call(on.client.input(order["last_run"]))

    form = visitor.get(again).text
    assert "&lt;Amina&gt;" in form and 'value="clinic"' in form and "as it was then" in form
    assert created(input='{"data": {}}') == ("default", {"data": {}})
    # One that is too large to edit is used as it is.
    monkeypatch.setattr(launch, "MAX_EDITED", 10)
    form = visitor.get(again).text
    assert "Amina" not in form and 'name="large" value="yes"' in form
    assert created(input="", large="yes", project="clinic") == ("clinic", input)
    assert visitor.get("/launch?again=nothing").status_code == 404


def test_the_list_shows_worker_error_and_short_ids(
    on: DashboardFleet, visitor: httpx.Client
) -> None:
    fails = {
        "workflow": {
            "name": "fails",
            "steps": [
                {
                    "id": "a",
                    "expression": "fn(() => { throw new Error('no luck') })",
                    "adaptor": "@openfn/language-common@3.3.4",
                }
            ],
        }
    }
    run = on.call(on.run(plan=fails))
    page = visitor.get("/orders?workflow=fails").text
    assert "no luck" in page and run["worker"] in page
    assert f'data-copy="{run["order_id"]}">{run["order_id"][:8]}</code>' in page
    shown = visitor.get(f"/runs/{run['run_id']}").text
    assert 'class="caret"' in shown and "throw new Error" in shown and "at a:1:" in shown


@pytest.mark.slow
def test_several_orders_are_retried_at_once(on: DashboardFleet, visitor: httpx.Client) -> None:
    runs = [on.call(on.run(plan=QUICK, project="bulk")) for _ in range(2)]
    running = on.call(on.client.submit(plan=SLOW))
    ids = [run["order_id"] for run in runs]
    form = {
        "csrf": csrf_of(visitor.get("/").text),
        "action": "retry",
        "here": "/orders?project=bulk",
    }
    answer = visitor.post(
        "/orders", data={**form, "order": [*ids, running["order_id"]]}, headers={"origin": on.url}
    )
    assert answer.headers["location"] == "/orders?project=bulk"
    assert "Retried 2 of 3 selected orders; 1 could not be." in visitor.get("/orders").text
    assert [on.call(on.client.order(id))["runs"] for id in ids] == [2, 2]
    visitor.post(
        "/orders",
        data={**form, "action": "cancel", "order": [running["order_id"]]},
        headers={"origin": on.url},
    )
    assert on.call(on.client.wait(running["last_run"]))["status"] == "cancelled"


def test_an_order_is_created_from_the_page(on: DashboardFleet, visitor: httpx.Client) -> None:
    assert "has no workflows" in visitor.get("/launch").text
    for input, problem in (("{\n1", "the input:2:1: not JSON"), ("[]", "expected a JSON object")):
        answer = submit_form(visitor, "/launch", workflow="x", input=input)
        assert answer.status_code == 400 and problem in answer.text
    unknown = submit_form(visitor, "/launch", workflow="x", input="{}", timeout_s="5")
    assert "no workflow is named" in unknown.text
    assert "whole number" in submit_form(visitor, "/launch", workflow="x", priority="high").text


@pytest.mark.slow
def test_a_few_large_routes_exist(visitor: httpx.Client) -> None:
    assert visitor.get("/runs/nothing/log").status_code == 404
    assert visitor.get("/runs/nothing/log.txt").status_code == 404
    assert visitor.get("/runs/nothing/clips/1.json").status_code == 404
