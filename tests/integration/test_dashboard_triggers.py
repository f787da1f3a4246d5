"""Triggers, pauses, dead letters and erased orders on the dashboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.integration.test_dashboard import submit_form
from tests.support.dashboard_fleet import (
    READ_TOKEN,
    TOKEN,
    DashboardFleet,
    dashboard_fleet,
    deploy_triggers,
    real_worker,
)

pytestmark = pytest.mark.xdist_group("dashboard")
QUICK = {"workflow": {"name": "quick", "steps": [{"id": "a", "expression": "fn(s => s)"}]}}


@pytest.fixture(scope="module")
def on() -> Iterator[DashboardFleet]:
    with dashboard_fleet() as made, real_worker(made):
        made.call(made.serve())
        made.call(deploy_triggers(made))
        yield made


@contextmanager
def signed_in(on: DashboardFleet, token: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=on.url, timeout=20) as client:
        assert client.get("/", params={"token": token}).status_code == 303
        yield client


@pytest.fixture
def visitor(on: DashboardFleet) -> Iterator[httpx.Client]:
    with signed_in(on, TOKEN) as client:
        yield client


def test_triggers_are_shown_with_their_times_and_dead_letters(visitor: httpx.Client) -> None:
    page = visitor.get("/triggers").text
    for text in (
        "clinic/+/in",
        "POST /i/in",
        "0 2 * * *",
        "Africa/Nairobi",
        "● live",
        "○ disabled",
    ):
        assert text in page
    assert re.search(r'next <time datetime="\d{4}-\d\d-\d\dT23:00:00Z"', page)
    assert "not_json" in page and "&lt;script&gt;" in page and "<script>alert" not in page
    assert 'aria-current="page">Triggers' in page


def test_a_workflow_is_paused_and_resumed(on: DashboardFleet, visitor: httpx.Client) -> None:
    place = {"workflow": "Clinic", "project": "default"}
    assert submit_form(visitor, "/triggers", action="pause", **place).status_code == 303
    (pause,) = on.call(on.client.pauses())
    assert (pause["workflow"], pause["project"]) == ("Clinic", "default")
    page = visitor.get("/triggers").text
    assert "Paused Clinic." in page and "◐ paused" in page and 'value="resume"' in page
    submit_form(visitor, "/triggers", action="resume", **place)
    assert on.call(on.client.pauses()) == []


def test_a_pause_of_a_project_is_shown_and_ended(on: DashboardFleet, visitor: httpx.Client) -> None:
    on.call(on.client.pause(project="default"))
    page = visitor.get("/triggers").text
    assert "Other pauses" in page and "with project default" in page
    submit_form(visitor, "/triggers", action="resume", project="default")
    assert on.call(on.client.pauses()) == []
    submit_form(visitor, "/triggers", action="pause")
    assert "Not paused: " in visitor.get("/triggers").text


def test_an_order_is_erased_after_a_question(on: DashboardFleet, visitor: httpx.Client) -> None:
    run = on.call(on.run(plan=QUICK, input={"data": {"name": "Ada"}}))
    path = f"/orders/{run['order_id']}"
    assert "Yes, erase" in visitor.get(path).text
    assert submit_form(visitor, f"{path}/erase").headers["location"] == path
    page = visitor.get(path).text
    assert "Erased: " in page and "were erased" in page and "Yes, erase" not in page
    assert "Who did what" in page and "<b>erase</b>" in page
    assert "Ada" not in visitor.get(f"/runs/{run['run_id']}/clips/0").text


@pytest.mark.slow
def test_who_only_looks_has_no_buttons(on: DashboardFleet) -> None:
    with signed_in(on, READ_TOKEN) as reader:
        assert 'value="pause"' not in reader.get("/triggers").text
        assert submit_form(reader, "/triggers", action="pause", project="x").status_code == 403
    assert on.call(on.client.pauses()) == []
