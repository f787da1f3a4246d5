"""Journals and recordings as sources of reports, whole and damaged."""

from __future__ import annotations

import contextlib
import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.support.report_pages import (
    DEEP,
    GRAPHS,
    EventScript,
    page_of,
    sample,
)
from worker.core.events import Dataclip, to_json
from worker.errors import LoadError, UsageError, WorkerError
from worker.util.json import dumps
from worker.view.report.build_run_view import build_run_view
from worker.view.report.compare import single_run_report
from worker.view.report.page import embedded_json
from worker.view.report.report_source import ReportSource, infer_workflow, read_source
from worker.workflow.load import load
from worker.workflow.model import Workflow

REFERRAL = ("referral.yaml", "referral.unknown-patient.input.json")
JOIN = ("join.json", "join.input.json")


def write_journal(file: Path, source: ReportSource) -> Path:
    file.write_text("".join(f"{to_json(event)}\n" for event in source.events))
    return file


# --- journals and recordings ----------------------------------------------------------------------


def test_a_journal_without_its_workflow_draws_what_it_tells(tmp_path: Path) -> None:
    source = read_source(write_journal(tmp_path / "run.jsonl", sample(*JOIN)))
    assert not source.workflow_known
    ids = [step.id for step in source.workflow.steps]
    assert ids == ["count-stock", "plan-tests", "plan-treatments", "order"]
    assert [edge.id for edge in source.workflow.steps[0].edges] == [
        "count-stock->plan-tests",
        "count-stock->plan-treatments",
    ]
    view, _ = build_run_view(source)
    assert any("conditions" in note and "unknown" in note for note in view.notes)


def test_steps_that_were_selected_and_never_ran_are_drawn_too() -> None:
    script = EventScript()
    script.complete(script.start("a"), "a", next=("b",))
    script.end()
    assert [step.id for step in infer_workflow(tuple(script.events)).steps] == ["a", "b"]


def test_a_journal_that_is_cut_off_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    file = write_journal(tmp_path / "run.jsonl", sample(*JOIN))
    file.write_text(file.read_text()[:2000])
    view, _ = build_run_view(read_source(file))
    assert view.status == "running" and view.headline.startswith("▸ not ended")
    assert any("cut off" in note for note in view.notes) and view.executions
    assert "not ended" in page_of(read_source(file))


def test_a_journal_that_stops_between_events_says_so(tmp_path: Path) -> None:
    file = write_journal(tmp_path / "run.jsonl", sample(*JOIN))
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:4]))
    view, marks = build_run_view(read_source(file))
    assert view.notes[-1] == "run.jsonl ends before its run does"
    assert marks.steps["plan-tests"].style == "running"


def test_a_deep_state_in_a_journal_can_be_read(tmp_path: Path) -> None:
    script = EventScript()
    deep = '{"output_dataclip":' * DEEP + '"}"' + "}" * DEEP
    script.complete(script.start("a"), "a", output_dataclip=Dataclip(deep))
    script.end(final_state=Dataclip(deep))
    file = write_journal(tmp_path / "run.jsonl", script.source(Workflow(name="", steps=())))
    view, _ = build_run_view(read_source(file))
    assert view.status == "success" and view.executions[0].output == view.final == 0
    assert view.clips[0].size == len(deep)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"timestamp":1', '"timestamp":"1'),
        ('"reason":"success"', '"reason":"winner"'),
        ('"duration":', '"duration":-'),
        ('"next":["', '"next":[1,"'),
        ('"job_name":"', '"job_name":7,"x":"'),
        ('"execution":0', '"execution":1e400'),
    ],
)
def test_an_event_that_no_run_reports_ends_what_is_shown(
    old: str, new: str, tmp_path: Path
) -> None:
    file = write_journal(tmp_path / "run.jsonl", sample(*JOIN))
    lines = file.read_text().splitlines()
    changed = [line.replace(old, new) for line in lines[1:]]
    assert changed != lines[1:]
    file.write_text("\n".join([lines[0], *changed]))
    source = read_source(file)
    assert source.damage and source.end is None
    assert page_of(source)


ODD = [None, True, -1, 1e308, float("nan"), "", "x", [], [["a"]], {}, {"type": 1}, 10**20, "\ud800"]


def damaged(fields: list[dict[str, Any]], chance: random.Random) -> list[dict[str, Any]]:
    """Return some of the events, with a few fields changed or removed."""
    kept = [copy.deepcopy(chance.choice(fields)) for _ in range(chance.randint(1, 14))]
    for _ in range(chance.randint(1, 3)):
        inside: dict[str, Any] = chance.choice(kept)
        key = chance.choice(list(inside))
        while isinstance(inside[key], dict) and inside[key] and chance.random() < 0.7:
            inside, key = inside[key], chance.choice(list(inside[key]))
        inside[key] = copy.deepcopy(chance.choice(ODD))
        if chance.random() < 0.2:
            del inside[key]
            break
    return kept


@pytest.mark.slow
def test_a_damaged_journal_is_shown_or_refused_and_never_a_defect(tmp_path: Path) -> None:
    failed = sample("aborts.yaml", "aborts.input.json", "failed-job-error")
    sources = (sample(*JOIN), sample(*REFERRAL), failed)
    fields = [json.loads(to_json(event)) for source in sources for event in source.events]
    chance, shown = random.Random(7), 0
    for number in range(400):
        file = tmp_path / f"{number}.jsonl"
        events = [fields[0], *damaged(fields, chance)]
        file.write_text("\n".join(map(dumps, events)))
        with contextlib.suppress(WorkerError):
            view, _ = build_run_view(read_source(file))
            embedded_json(single_run_report(view)).encode()
            shown += 1
    assert shown > 100


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[]", b'{"type":"run:start"}', b'{"type":"run:\xff"}', b"PK"]
)
def test_what_is_no_run_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    file.write_bytes(content)
    with pytest.raises(LoadError):
        read_source(file)
    with pytest.raises(LoadError, match="no such"):
        read_source(tmp_path / "missing")
    with pytest.raises(UsageError, match=r"contains no recording.*--record"):
        read_source(tmp_path)
    (tmp_path / "monday").mkdir()
    (tmp_path / "monday" / "recording.json").touch()
    with pytest.raises(UsageError, match=r"name one of .*monday\)"):
        read_source(tmp_path)


def test_a_journal_of_another_workflow_is_refused(tmp_path: Path) -> None:
    file = write_journal(tmp_path / "run.jsonl", sample(*JOIN))
    with pytest.raises(UsageError, match="step 'count-stock' ran, but"):
        read_source(file, load(GRAPHS / "referral.yaml"))
