"""``worker audit``: logs of real runs follow the rules, and every change to one breaks one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

import worker
from tests.support.command import ROOT, call_worker
from worker.audit.laws import Breach, first_breach
from worker.core.events import AnyEvent, RunComplete, RunLog, StepComplete, StepStart
from worker.core.outcome import StepError
from worker.testing.case_reader import load_cases
from worker.testing.case_runner import run_case

JOB = {"adaptor": "common@1", "expression": "fn(s => s);"}
FAILING = {"adaptor": "common@1", "expression": "fn(() => { throw new Error('no') });"}


@pytest.fixture(scope="module")
def log() -> tuple[AnyEvent, ...]:
    """Events of a run of four steps: one fails, its failure is handled, and one is a join."""
    steps = [
        {"id": "a", **JOB, "next": {"b": True, "c": True}},
        {"id": "b", **FAILING, "next": {"d": "on_job_failure"}},
        {"id": "c", "adaptor": "common@1", "expression": "fn(s => { console.log('x'); return s })",
         "next": {"d": True}},
        {"id": "d", **JOB},
    ]  # fmt: skip
    result = worker.run(worker.load({"workflow": {"name": "w", "steps": steps}}), {})
    assert [entry.step for entry in result.path] == ["a", "b", "c", "d", "d"]
    return result.events


def test_the_logs_of_the_samples_follow_the_rules() -> None:
    audited = 0
    for suite in ("referral", "join", "router"):
        for case in load_cases(ROOT / f"graphs/{suite}.cases.yaml"):
            for result in run_case(case).results:
                assert first_breach(result.events) is None, case.name
                audited += 1
    assert audited > 10


def numbered(events: list[AnyEvent]) -> list[AnyEvent]:
    """Give events the numbers of their places, so that only what they contain breaks a rule."""
    return [replace(event, seq=seq) for seq, event in enumerate(events)]


def index_of(log: tuple[AnyEvent, ...], type: type[AnyEvent], job_id: str = "") -> int:
    return next(
        place
        for place, event in enumerate(log)
        if isinstance(event, type) and (not job_id or getattr(event, "job_id", "") == job_id)
    )


def changed(log: tuple[AnyEvent, ...], index: int, **fields: Any) -> list[AnyEvent]:
    return [*log[:index], replace(log[index], **fields), *log[index + 1 :]]


ERROR = StepError(type="JobError", message="x", name="JobError")


@pytest.mark.parametrize(
    ("type", "job", "fields", "law"),
    [
        (StepStart, "b", {"run_id": "other"}, 1),
        (StepStart, "b", {"seq": 99}, 1),
        (StepStart, "b", {"timestamp": 1}, 1),
        (StepStart, "d", {"execution": 1}, 3),
        (StepStart, "b", {"job_id": "z"}, 3),
        (StepStart, "b", {"input_dataclip_id": "unknown"}, 4),
        (StepComplete, "a", {"step_id": "other"}, 3),
        (StepComplete, "a", {"job_id": "b"}, 3),
        (StepComplete, "a", {"error": ERROR}, 5),
        (StepComplete, "b", {"error": None}, 5),
        (StepComplete, "b", {"reason": "crash"}, 5),
        (StepComplete, "a", {"next": ()}, 4),
        (RunLog, "c", {"step_id": "other", "job_id": "c"}, 3),
        (RunComplete, "", {"reason": "fail"}, 5),
        (RunComplete, "", {"reason": "fail", "error": ERROR}, 7),
    ],
)
def test_a_changed_event_breaks_its_rule(
    log: tuple[AnyEvent, ...], type: type[AnyEvent], job: str, fields: dict[str, Any], law: int
) -> None:
    breach = first_breach(changed(log, index_of(log, type, job), **fields))
    assert breach is not None and breach.law == law, breach


def test_a_failure_that_nothing_followed_is_no_success(log: tuple[AnyEvent, ...]) -> None:
    handled = index_of(log, StepComplete, "b")
    last = max(i for i, event in enumerate(log) if isinstance(event, StepStart))
    events = changed(log, handled, next=())
    breach = first_breach(numbered([*events[:last], events[-1]]))
    assert breach is not None and breach.law == 7


def test_nothing_starts_after_a_crash(log: tuple[AnyEvent, ...]) -> None:
    crash = replace(ERROR, type="ReferenceError")
    place = index_of(log, StepComplete, "b")
    breach = first_breach(changed(log, place, reason="crash", error=crash, next=()))
    assert breach == Breach(place + 1, 6, "'c' starts after a crash of 'b'")


@given(data=st.data())
def test_dropping_repeating_and_swapping_events_breaks_a_rule(
    log: tuple[AnyEvent, ...], data: st.DataObject
) -> None:
    events = list(log)
    place = data.draw(st.integers(0, len(events) - 1))
    kind = data.draw(st.sampled_from(["drop", "repeat", "swap"]))
    if kind == "drop":
        # A line that is gone is no breach of anything but the numbers.
        silent = isinstance(events[place], RunLog)
        del events[place]
        assert first_breach(events) is not None
        assert (first_breach(numbered(events)) is None) is silent
    elif kind == "repeat":
        events.insert(place, events[place])
        assert first_breach(events) is not None
    else:
        other = data.draw(st.integers(0, len(events) - 1))
        events[place], events[other] = events[other], events[place]
        assert (first_breach(events) is None) is (place == other)


@pytest.mark.slow
def test_the_command_names_the_place_and_the_rule(tmp_path: Path) -> None:
    workflow = tmp_path / "w.json"
    workflow.write_text(json.dumps({"workflow": {"steps": [{"id": "a", **JOB}]}}), "utf-8")
    logs = tmp_path / "logs"
    logs.mkdir()
    assert call_worker("run", workflow, "--journal", logs / "good.jsonl").returncode == 0
    assert call_worker("run", workflow, "--record", logs / "recorded.jsonl").returncode == 0
    (tmp_path / "notes.jsonl").write_text("no log", "utf-8")
    done = call_worker("audit", logs)
    assert done.returncode == 0 and "2 logs: 2 follow the rules" in done.stdout
    lines = (logs / "good.jsonl").read_text("utf-8").splitlines(keepends=True)
    (logs / "gap.jsonl").write_text("".join(lines[:1] + lines[2:]), "utf-8")
    (logs / "cut.jsonl").write_text("".join(lines)[:-20], "utf-8")
    done = call_worker("audit", logs)
    assert done.returncode == 1
    assert "gap.jsonl: event 1: it has the number 2, expected 1 (rule 1)" in done.stdout
    assert "cut.jsonl:" in done.stdout and "4 logs: 2 follow the rules, 2 do not" in done.stdout
    assert call_worker("audit", tmp_path / "notes.jsonl").returncode == 1
    assert call_worker("audit", tmp_path / "none").returncode == 2
