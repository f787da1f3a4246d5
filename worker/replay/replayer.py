"""Replay of a recording: same input, time, random numbers and replies, and any workflow.

A step whose adaptor is not installed has its recorded outcome instead of running its code. So has
each step with an adaptor in an imported recording, which holds no requests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.adaptors.choose import choose_adaptors
from worker.adaptors.collections.settings import Collections
from worker.adaptors.http.replay_host import ReplayHost
from worker.adaptors.names import COMMON, parse_or_none
from worker.core.events import AnyEvent, RunComplete, StepComplete, StepStart
from worker.core.execution import Execution, executions
from worker.core.scripted import ScriptedStep
from worker.errors import UsageError
from worker.replay.cost_change import CostChange, cost_changes, cost_of_run
from worker.replay.divergence import Divergence, first_divergence
from worker.replay.recording import Recording
from worker.replay.scrub import Scrubber
from worker.runner.pool import Pool
from worker.runner.prepare import Options, configurations, secret_configurations
from worker.runner.result import Result
from worker.sandbox.clock import ClockKind
from worker.util.json import dumps
from worker.util.masking import collect_secrets
from worker.workflow.model import Language, Step, Workflow

EXTERNAL_REASONS = ("cancel", "lost", "exception")
"""Reasons that a replay cannot reproduce: only what came before such an end is compared."""
_OWN = ("worker", "fleet")
"""Origins of runs that this software executed: their steps run as they did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Result of a replay.

    ``scripted`` are the steps that had their recorded outcomes, and ``costs`` the changes of costs,
    where both are known.
    """

    recording: Recording
    result: Result
    divergence: Divergence | None
    scripted: tuple[str, ...]
    costs: tuple[CostChange, ...] = ()

    @property
    def kind(self) -> str:
        """The kind of the first difference, ``damaged`` for part of a recording, or ``same``."""
        if self.divergence is not None:
            return self.divergence.kind
        return "damaged" if self.recording.damage else "same"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPart:
    """Part of a recording: from step ``start``, with its recorded input, to step ``end``."""

    start: str = ""
    end: str = ""


async def replay(
    pool: Pool,
    recording: Recording,
    workflow: Workflow | None = None,
    part: ReplayPart = ReplayPart(),
    *,
    fuel: bool = False,
) -> Replay:
    """Run a recording again, perhaps with another workflow, and compare.

    With ``fuel``, or where the recording has costs, the costs are compared too.

    Raises :class:`UsageError` for a part that was not recorded.
    """
    played = workflow or recording.workflow
    recorded = executions(recording.events)
    input, events = _select(recording, recorded, part)
    script = _script(recording, played, recorded)
    header = recording.header
    options = _options(recording, part, script, recorded, fuel=fuel)
    resolved, _ = configurations(played, header.credentials)
    secrets = collect_secrets(secret_configurations(played, resolved))
    host = ReplayHost(
        recording.exchanges, Scrubber(secrets).request, has_requests=header.origin != "fleet"
    )
    result = await pool.run(played, input, options, run_id=header.run_id, host=host)
    # A request that is missing is no divergence in a part, or for a step that did not run its code.
    cut = not recording.complete or ended_externally(recording) or bool(part.end)
    compared = not (cut or part.start)
    missing = [call for call in host.not_requested() if call.step not in script] if compared else []
    divergence = first_divergence(
        # A step that was cancelled did not come to an end that a replay could come to.
        [event for event in events if not _was_cancelled(event)],
        result.events,
        [*host.divergences, *missing],
        partly=cut,
        unlogged=tuple(script) if header.origin in _OWN else {step.id for step in played.steps},
    )
    costed = events
    if fuel and workflow is not None and cost_of_run(events) is None:
        costed = (await replay(pool, recording, part=part, fuel=True)).result.events
    return Replay(
        recording=recording,
        result=result,
        divergence=divergence,
        scripted=tuple(script),
        costs=cost_changes(costed, result.events),
    )


def _options(
    recording: Recording,
    part: ReplayPart,
    script: Mapping[str, tuple[ScriptedStep, ...]],
    recorded: Sequence[Execution],
    *,
    fuel: bool,
) -> Options:
    """Return the options of the recorded run, for a part of it."""
    header = recording.header
    return Options(
        start=part.start or header.start,
        end=part.end or header.end,
        limits=header.limits,
        credentials=header.credentials,
        script=script,
        # The token of the service is not recorded; the header that held it is masked there too.
        collections=Collections(url=header.collections) if header.collections else None,
        # Not the machine's clock: a step that reads the time must read the recorded time.
        clock=ClockKind.VIRTUAL,
        clock_start_us=recording.events[0].timestamp if recording.events else 0,
        moments_us={(run.job_id, run.number): run.start.timestamp for run in recorded},
        fuel=fuel or cost_of_run(recording.events) is not None,
    )


def _select(
    recording: Recording, recorded: Sequence[Execution], part: ReplayPart
) -> tuple[Mapping[str, Any], tuple[AnyEvent, ...]]:
    """Find the input of the part, and the recorded events to compare it with."""
    events = recording.events
    if part.end:
        last = next(
            (e for e in events if isinstance(e, StepComplete) and e.job_id == part.end), None
        )
        if last is None:
            raise UsageError(f"{recording.path}: '{part.end}' did not run in this recording")
        events = events[: events.index(last) + 1]
    if not part.start:
        return recording.input, events
    first = next((run for run in recorded if run.job_id == part.start), None)
    if first is None:
        raise UsageError(f"{recording.path}: '{part.start}' did not run in this recording")
    # A run from a step onwards reaches no others, and their absence is no divergence.
    reached = _reached(recording.workflow, part.start)
    selected = tuple(
        event
        for event in events
        if not isinstance(event, StepStart | StepComplete) or event.job_id in reached
    )
    return _input(recording, first), selected


def _input(recording: Recording, run: Execution) -> Mapping[str, Any]:
    state = recording.input if run.input is None else json.loads(run.input.text)
    return state if isinstance(state, dict) else {}


def _reached(workflow: Workflow, start: str) -> set[str]:
    edges = {step.id: [edge.target for edge in step.open_edges] for step in workflow.steps}
    reached, waiting = set[str](), [start]
    while waiting:
        id = waiting.pop()
        if id not in reached:
            reached.add(id)
            waiting += edges.get(id, ())
    return reached


def _was_cancelled(event: AnyEvent) -> bool:
    return isinstance(event, StepComplete) and event.reason == "cancel"


def ended_externally(recording: Recording) -> bool:
    """Return True for a run whose end a replay cannot reproduce."""
    last = recording.events[-1]
    return isinstance(last, RunComplete) and last.reason in EXTERNAL_REASONS


# --- steps with recorded outcomes -----------------------------------------------------------------


def _script(
    recording: Recording, workflow: Workflow, recorded: Sequence[Execution]
) -> dict[str, tuple[ScriptedStep, ...]]:
    chosen = choose_adaptors(workflow)
    scripted = {
        step.id
        for step in workflow.steps
        if step.language is Language.JAVASCRIPT and _cannot_run(recording, step, chosen)
    }
    script: dict[str, list[ScriptedStep]] = {}
    for run in recorded:
        if run.job_id in scripted and run.complete is not None:
            script.setdefault(run.job_id, []).append(_scripted_step(run, run.complete))
    return {step: tuple(outcomes) for step, outcomes in script.items()}


def _cannot_run(recording: Recording, step: Step, chosen: Mapping[str, object]) -> bool:
    if recording.header.origin in _OWN:
        # An adaptor that was missing when the run was recorded is not needed to run it again.
        installed = recording.header.adaptors
        return any(name in installed and name not in chosen for name in step.adaptors)
    specifiers = [
        specifier for text in step.adaptors if (specifier := parse_or_none(text)) is not None
    ]
    return any(specifier.name != COMMON for specifier in specifiers)


def _scripted_step(run: Execution, complete: StepComplete) -> ScriptedStep:
    dataclip = complete.output_dataclip
    text = "null" if dataclip is None else dataclip.text
    if complete.error is not None and dataclip is not None:
        # The executor adds the error of the scripted outcome to the state again.
        text = _without_own_error(text, run.job_id)
    return ScriptedStep(
        first=run.number,
        last=run.number,
        returns=text,
        error=complete.error,
        takes_s=complete.duration / 1e6,
    )


def _without_own_error(text: str, step: str) -> str:
    state = json.loads(text)
    errors = {id: error for id, error in state.get("errors", {}).items() if id != step}
    rest = {key: value for key, value in state.items() if key != "errors"}
    return dumps({**rest, "errors": errors} if errors else rest)
