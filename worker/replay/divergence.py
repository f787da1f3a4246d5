"""First difference between a run and its recording.

Executions are compared in order, and of each its requests, its end, its output, its log and its
edges; then the end of the run. Later differences mostly follow from the first one and are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from worker.adaptors.http.replay_host import RequestDivergence
from worker.core.events import AnyEvent, RunComplete, RunLog, StepComplete
from worker.core.execution import Execution, executions
from worker.util.state_diff import differences

DIFFERENCES_LIMIT = 5
"""The most fields of a state that a message lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """The difference, and where it is.

    ``kind`` is request, path, outcome, state, log, edge or run. ``execution`` counts from 0.
    """

    kind: str
    step: str
    execution: int
    message: str


def first_divergence(
    before: Sequence[AnyEvent],
    now: Sequence[AnyEvent],
    changed: Sequence[RequestDivergence] = (),
    *,
    partly: bool = False,
    unlogged: Collection[str] = (),
) -> Divergence | None:
    """Find the first difference between the events of a recording and of a replay.

    ``changed`` are the requests that differ. ``partly`` means that the recording is incomplete:
    only what it holds is compared. The logs of the steps in ``unlogged`` are not compared.
    """
    recorded, replayed = _completed(before), _completed(now)
    # Reversed, so that the first change of an execution is the one that stays in the table.
    changes = {(change.step, change.execution): change for change in reversed(changed)}
    for index, was in enumerate(recorded):
        if index >= len(replayed):
            return _divergence("path", was, f"'{was.job_id}' does not run any more")
        done = replayed[index]
        if done.job_id != was.job_id:
            return _divergence("path", done, f"'{done.job_id}' runs instead of '{was.job_id}'")
        # Before the outcome, which follows from the replies.
        if change := changes.get((done.job_id, done.number)):
            return _divergence("request", done, change.message)
        for kind, message in _changes(was, done):
            if kind != "log" or done.job_id not in unlogged:
                return _divergence(kind, done, message)
    if partly:
        return None
    if len(replayed) > len(recorded):
        extra = replayed[len(recorded)]
        return _divergence("path", extra, f"'{extra.job_id}' did not run before")
    return _of_run(before, now)


def _divergence(kind: str, done: Execution, message: str) -> Divergence:
    return Divergence(kind=kind, step=done.job_id, execution=done.number, message=message)


def _completed(events: Sequence[AnyEvent]) -> list[Execution]:
    return [run for run in executions(events) if run.complete is not None]


def _changes(was: Execution, now: Execution) -> Iterator[tuple[str, str]]:
    before, after = was.complete, now.complete
    assert before is not None and after is not None
    if _ending(before) != _ending(after):
        yield "outcome", f"expected {_ending(before)}, found {_ending(after)}"
    if before.withheld == after.withheld and not before.withheld:
        fields = list(_state(before, after))[:DIFFERENCES_LIMIT]
        if fields:
            yield "state", "; ".join(fields)
    if message := _log(was.logs, now.logs):
        yield "log", message
    if before.next != after.next:
        yield "edge", f"expected to lead to {_names(before.next)}, found {_names(after.next)}"


def _ending(event: StepComplete | RunComplete) -> str:
    error = event.error
    return event.reason if error is None else f"{event.reason} ({error.type}: {error.message})"


def _state(before: StepComplete, after: StepComplete) -> Iterator[str]:
    was, now = before.output_dataclip, after.output_dataclip
    if was is None or now is None:
        if (was is None) is not (now is None):
            yield (
                "expected no output, found one" if was is None else "expected an output, found none"
            )
    # Texts first: most states are the same, and parsing them is what would take the time.
    elif was.text != now.text:
        yield from differences("output", was.value, now.value, exact=True)


def _log(was: Sequence[RunLog], now: Sequence[RunLog]) -> str:
    """Describe the first difference between two logs; empty if there is none."""
    for before, after in zip(was, now, strict=False):
        if (before.source, before.message) != (after.source, after.message):
            return f"expected the line {before.message!r}, found {after.message!r}"
    if len(was) == len(now):
        return ""
    longer = was if len(was) > len(now) else now
    line = longer[min(len(was), len(now))].message
    return f"the line {line!r} is {'not logged any more' if longer is was else 'new'}"


def _names(steps: Sequence[str]) -> str:
    return ", ".join(f"'{step}'" for step in steps) or "no step"


def _of_run(before: Sequence[AnyEvent], now: Sequence[AnyEvent]) -> Divergence | None:
    was, end = before[-1], now[-1]
    assert isinstance(was, RunComplete) and isinstance(end, RunComplete)
    if _ending(was) != _ending(end):
        message = f"expected {_ending(was)}, found {_ending(end)}"
        return Divergence(kind="run", step="", execution=0, message=message)
    return None
