"""Runs a recording again: the same input, time, chance and replies, and perhaps another workflow.

A step whose adaptor is not installed does what was recorded of it, as does every step with an
adaptor of its own in a recording that knows no requests (one that was imported).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from worker.adaptors.choose import choose_adaptors
from worker.adaptors.http.replay_host import ReplayHost
from worker.adaptors.names import COMMON, parse_or_none
from worker.core.events import AnyEvent, RunComplete, StepComplete, StepStart
from worker.core.scripted import ScriptedStep
from worker.errors import UsageError
from worker.replay.divergence import Divergence, first_divergence
from worker.replay.recording import Recording
from worker.replay.scrub import Scrubber
from worker.runner.pool import Pool
from worker.runner.prepare import Options, configurations
from worker.runner.result import Result
from worker.sandbox.clock import ClockKind
from worker.sandbox.limits import Limits
from worker.util.json import dumps
from worker.util.masking import collect_secrets
from worker.workflow.model import Language, Step, Workflow

FROM_OUTSIDE = ("cancel", "lost", "exception")
"""Endings that no replay can bring about: only what came before them is compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What came of a replay; ``scripted`` are the steps that did what was recorded of them."""

    recording: Recording
    result: Result
    divergence: Divergence | None
    scripted: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPart:
    """Which part of a recording to run again: from a step with its recorded input, until a step."""

    start: str = ""
    end: str = ""


async def replay(
    pool: Pool,
    recording: Recording,
    workflow: Workflow | None = None,
    part: ReplayPart = ReplayPart(),
) -> Replay:
    """Run a recording again. Raises :class:`UsageError` for a part that was not recorded."""
    played = workflow or recording.workflow
    executions = list(_executions(recording))
    input, events = _begin(recording, executions, part)
    script = _script(recording, played, executions)
    header = recording.header
    options = Options(
        start=part.start or header.start,
        end=part.end or header.end,
        limits=Limits(**header.limits),
        credentials=header.credentials,
        script=script,
        clock=ClockKind.VIRTUAL,
        start_at=recording.events[0].timestamp if recording.events else 0,
        moments={(one.step, one.execution): one.started.timestamp for one in executions},
    )
    secrets = collect_secrets(configurations(played, header.credentials)[0].values())
    host = ReplayHost(recording.exchanges, Scrubber(secrets).request)
    result = await pool.run(played, input, options, run_id=header.run_id, host=host)
    cut = not recording.complete or _ended_from_outside(recording) or bool(part.end)
    missing = (
        [] if cut or part.start else [one for one in host.not_requested() if one.step not in script]
    )
    divergence = first_divergence(
        events,
        result.events,
        [*host.divergences, *missing],
        partly=cut,
        unheard=tuple(script) if header.origin == "worker" else {step.id for step in played.steps},
    )
    return Replay(recording=recording, result=result, divergence=divergence, scripted=tuple(script))


@dataclass(frozen=True, slots=True, kw_only=True)
class _RecordedExecution:
    """One execution of a recording: its events, and the state that it began with."""

    step: str
    execution: int
    started: StepStart
    complete: StepComplete | None
    input: Mapping[str, Any]


def _executions(recording: Recording) -> list[_RecordedExecution]:
    outputs: dict[str, Any] = {}
    found: list[_RecordedExecution] = []
    for event in recording.events:
        match event:
            case StepStart():
                state = outputs.get(event.input_dataclip_id, recording.input)
                found.append(
                    _RecordedExecution(
                        step=event.job_id,
                        execution=event.execution,
                        started=event,
                        complete=None,
                        input=state if isinstance(state, dict) else {},
                    )
                )
            case StepComplete() if found:
                found[-1] = replace(found[-1], complete=event)
                if event.output_dataclip is not None:
                    outputs[event.output_dataclip_id or ""] = json.loads(event.output_dataclip.text)
            case _:
                pass
    return found


def _begin(
    recording: Recording, executions: list[_RecordedExecution], part: ReplayPart
) -> tuple[Mapping[str, Any], tuple[AnyEvent, ...]]:
    """The input of the part, and the recorded events that it is compared with."""
    events = recording.events
    if part.end:
        last = next(
            (e for e in events if isinstance(e, StepComplete) and e.job_id == part.end), None
        )
        if last is None:
            raise UsageError(f"{recording.folder}: '{part.end}' did not run in this recording")
        events = events[: events.index(last) + 1]
    if not part.start:
        return recording.input, events
    first = next((one for one in executions if one.step == part.start), None)
    if first is None:
        raise UsageError(f"{recording.folder}: '{part.start}' did not run in this recording")
    reached = _reached(recording.workflow, part.start)
    kept = tuple(
        event
        for event in events
        if not isinstance(event, StepStart | StepComplete) or event.job_id in reached
    )
    return first.input, kept


def _reached(workflow: Workflow, start: str) -> set[str]:
    edges = {step.id: [edge.target for edge in step.open_edges] for step in workflow.steps}
    found, waiting = set[str](), [start]
    while waiting:
        id = waiting.pop()
        if id not in found:
            found.add(id)
            waiting += edges.get(id, ())
    return found


def _ended_from_outside(recording: Recording) -> bool:
    last = recording.events[-1]
    return isinstance(last, RunComplete) and last.reason in FROM_OUTSIDE


# --- steps from the recording ---------------------------------------------------------------------


def _script(
    recording: Recording, workflow: Workflow, executions: list[_RecordedExecution]
) -> dict[str, tuple[ScriptedStep, ...]]:
    chosen = choose_adaptors(workflow)
    scripted = {
        step.id
        for step in workflow.steps
        if step.language is Language.JAVASCRIPT and _cannot_run(recording, step, chosen)
    }
    acts: dict[str, list[ScriptedStep]] = {}
    for one in executions:
        if one.step in scripted and one.complete is not None:
            acts.setdefault(one.step, []).append(_act(one, one.complete))
    return {step: tuple(several) for step, several in acts.items()}


def _cannot_run(recording: Recording, step: Step, chosen: Mapping[str, object]) -> bool:
    if recording.header.origin == "worker":
        # One that was missing then too ran without it.
        return any(one in recording.header.adaptors and one not in chosen for one in step.adaptors)
    named = [found for text in step.adaptors if (found := parse_or_none(text)) is not None]
    return any(one.name != COMMON for one in named)


def _act(one: _RecordedExecution, complete: StepComplete) -> ScriptedStep:
    clip = complete.output_dataclip
    text = "null" if clip is None else clip.text
    if complete.error is not None and clip is not None:
        text = _without_own_error(text, one.step)
    return ScriptedStep(
        first=one.execution,
        last=one.execution,
        returns=text,
        error=complete.error,
        takes_s=complete.duration / 1e6,
    )


def _without_own_error(text: str, step: str) -> str:
    state = json.loads(text)
    errors = {name: one for name, one in state.get("errors", {}).items() if name != step}
    rest = {key: value for key, value in state.items() if key != "errors"}
    return dumps({**rest, "errors": errors} if errors else rest)
