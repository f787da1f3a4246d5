"""Runs for reports: samples, one with hostile texts only, and one of 5,000 events."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

import worker
from tests.support.graphs import HOSTILE_TEXTS
from worker.core.events import (
    AnyEvent,
    Dataclip,
    RunComplete,
    RunLog,
    RunStart,
    StepComplete,
    StepStart,
)
from worker.core.outcome import Position, StepError
from worker.view.graph.drawing import draw
from worker.view.report.build_run_view import build_run_view
from worker.view.report.compare import comparison_report, find_divergence, single_run_report
from worker.view.report.page import render_page
from worker.view.report.report_source import ReportSource
from worker.workflow.load import load
from worker.workflow.model import Edge, EdgeKind, Step, Workflow

GRAPHS = Path(__file__).parents[2] / "graphs"
BEGAN = 1_700_000_000_000_000
FLAG = "window.hacked = true"
ATTACKS = {
    **HOSTILE_TEXTS,
    "data": f"</script><script>{FLAG}</script><!--<script>",
    "handler": f"<img src=x onerror=\"{FLAG}\"><svg onload='{FLAG}'>",
    "link": f"javascript:{FLAG}",
    "frame": f'<iframe srcdoc="<script>parent.{FLAG}</script>"></iframe>',
    "load": "<link rel=stylesheet href=//evil.example/a.css><img src=//evil.example/b.png>",
    "base": "<base href=//evil.example/><meta http-equiv=refresh content='0;url=//evil.example/'>",
    "template": "${alert(1)} {{constructor.constructor('alert(1)')()}}",
    "prototype": "__proto__",
    "constructor": "constructor",
}
DEEP = 10_000
HUGE = 2_000_000


@functools.cache
def sample(name: str, input: str = "", pick: str | None = None) -> ReportSource:
    """Run a sample."""
    workflow = load(GRAPHS / name, workflow=pick)
    state = json.loads((GRAPHS / input).read_text()) if input else {}
    return ran(workflow, state)


def ran(workflow: Workflow, state: Mapping[str, Any] | None = None, **options: Any) -> ReportSource:
    input = state or {}
    result = worker.run(workflow, dict(input), **options)
    return ReportSource(
        name="run.jsonl",
        workflow=workflow,
        workflow_known=True,
        events=result.events,
        input=Dataclip.of(input),
    )


def page_of(source: ReportSource) -> str:
    view, marks = build_run_view(source)
    return render_page(single_run_report(view), [draw(source.workflow, marks)])


def page_of_two(before: ReportSource, now: ReportSource) -> str:
    first, first_marks = build_run_view(before)
    second, second_marks = build_run_view(now)
    view = comparison_report(first, second, find_divergence(before, now))
    return render_page(view, [draw(before.workflow, first_marks), draw(now.workflow, second_marks)])


class EventScript:
    """Builds the events of a run, one after the other."""

    def __init__(self, workflow: str = "script") -> None:
        self.events: list[AnyEvent] = []
        self.now = BEGAN
        self._add(RunStart, workflow=workflow, versions={})

    def _add(self, kind: type[AnyEvent], **fields: Any) -> None:
        seq = len(self.events)
        self.events.append(kind(run_id="r", seq=seq, timestamp=self.now, **fields))

    def start(self, step: str, name: str = "", input: str = "in", execution: int = 0) -> str:
        id = f"x{len(self.events)}"
        fields = {"step_id": id, "job_id": step, "job_name": name or step}
        self._add(StepStart, input_dataclip_id=input, execution=execution, **fields)
        return id

    def log(self, id: str, message: str, step: str = "", level: str = "info") -> None:
        self._add(RunLog, source="JOB", level=level, message=message, step_id=id, job_id=step)

    def complete(self, id: str, step: str, reason: str = "success", **fields: Any) -> None:
        self.now += 1000
        output = {"output_dataclip_id": f"out-{id}", **fields}
        self._add(StepComplete, step_id=id, job_id=step, reason=reason, duration=1000, **output)

    def end(self, reason: str = "success", **fields: Any) -> None:
        self._add(RunComplete, reason=reason, duration=self.now - BEGAN, **fields)

    def source(self, workflow: Workflow, input: Any = None) -> ReportSource:
        return ReportSource(
            name="script.jsonl",
            workflow=workflow,
            workflow_known=True,
            events=tuple(self.events),
            input=None if input is None else Dataclip.of(input),
        )


def hostile() -> ReportSource:
    """Build a run with every attack in every text that an author, a job or a service can write."""
    script = EventScript(" ".join(ATTACKS.values()))
    steps: list[Step] = []
    ids = [f"{number}{text}" for number, text in enumerate(ATTACKS.values())]
    deep = "[" * DEEP + "]" * DEEP
    for number, (id, text) in enumerate(zip(ids, ATTACKS.values(), strict=True)):
        following = tuple(ids[number + 1 : number + 2])
        edge = Edge(source=id, target=ids[0], kind=EdgeKind.EXPRESSION, expression=text, label=text)
        edges = (*(replace(edge, target=target) for target in following), edge)
        step = Step(
            id=id, name=text, edges=edges, source=f"{text}\n{text}", source_file=text,
            adaptors=(text,),
        )  # fmt: skip
        steps.append(step)
        state = {text: [text, {"__proto__": {"polluted": text}, "constructor": text}], "n": number}
        if text == "__proto__":
            state["huge"] = "<b>" * (HUGE // 3)
        begun = script.start(id, text, input=f"out-{number - 1}")
        for level in ("debug", "info", "warn", "error", text):
            script.log(begun, text, id, level)
        script.log(begun, text * (HUGE // 9 if text == "__proto__" else 1), id)
        error = StepError(
            type=text or "JobError",
            message=text,
            name=text,
            source=text,
            step_id=id,
            position=Position(line=1, column=len(text) // 2 + 1, source_line=text[:5000]),
            stack=(text, text),
            details={text: text},
            cause=StepError(type=text, message=text),
        )
        clip = Dataclip(deep) if number == 3 else Dataclip.of(state)
        script.complete(
            begun, id, "fail", error=error, output_dataclip=clip, next=following,
            output_dataclip_id=f"out-{number}",
        )  # fmt: skip
    script.end("fail", error=error, final_state=Dataclip.of({"__proto__": ATTACKS}))
    workflow = Workflow(name=" ".join(ATTACKS.values()), steps=tuple(steps))
    return script.source(workflow, {"__proto__": 1, **ATTACKS})


def large(executions: int = 1000, steps: int = 100) -> ReportSource:
    """Build a run of five events for each execution; the steps form a cycle."""
    script = EventScript("large")
    step_ids = [f"step-{number}" for number in range(steps)]
    for number in range(executions):
        id, following = step_ids[number % steps], step_ids[(number + 1) % steps]
        begun = script.start(id, input=f"out-{number - 1}", execution=number // steps)
        for level in ("info", "warn", "debug"):
            script.log(begun, f"{level} {number} about patient {number * 7919 % 1000}", id, level)
        state = {"patients": [{"id": at, "seen": number} for at in range(40)], "number": number}
        script.complete(
            begun, id, output_dataclip=Dataclip.of(state), next=(following,),
            output_dataclip_id=f"out-{number}",
        )  # fmt: skip
    script.end(final_state=Dataclip.of({"done": True}))
    edges = [(step_ids[at], step_ids[(at + 1) % steps]) for at in range(steps)]
    made = tuple(Step(id=a, source="//", edges=(Edge(source=a, target=b),)) for a, b in edges)
    return script.source(Workflow(name="large", steps=made), {})
