"""Where a run first differs from its recording.

Looked at in the order in which things happen: what an execution asked of the world, how it ended,
what it gave back, what it logged, where its edges led; and in the end how the run ended. What
follows the first difference follows from it, and is not told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from worker.adaptors.http.replay_host import RequestDivergence
from worker.core.events import AnyEvent, RunComplete, RunLog, StepComplete, StepStart
from worker.util.state_diff import differences

SHOWN = 5
"""The most fields of a state that are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """``kind``: request, path, outcome, state, log, edge or run. ``execution`` counts from 0."""

    kind: str
    step: str
    execution: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    """One execution, as its events tell it."""

    step: str
    execution: int
    complete: StepComplete
    logs: tuple[tuple[str, str], ...]


def first_divergence(
    before: Sequence[AnyEvent],
    now: Sequence[AnyEvent],
    changed: Sequence[RequestDivergence] = (),
    *,
    partly: bool = False,
    unheard: Collection[str] = (),
) -> Divergence | None:
    """The first difference, or none. ``partly``: the recording ends before its run did, so that
    only what it holds is compared. ``unheard`` are steps whose log lines are not."""
    recorded, found = list(_executions(before)), list(_executions(now))
    asked = {(one.step, one.execution): one for one in reversed(changed)}
    for index, was in enumerate(recorded):
        if index >= len(found):
            return _divergence("path", was, f"'{was.step}' does not run any more")
        done = found[index]
        if done.step != was.step:
            return _divergence("path", done, f"'{done.step}' runs instead of '{was.step}'")
        if change := asked.get((done.step, done.execution)):
            return _divergence("request", done, change.message)
        for kind, message in _changes(was, done):
            if kind != "log" or done.step not in unheard:
                return _divergence(kind, done, message)
    if partly:
        return None
    if len(found) > len(recorded):
        extra = found[len(recorded)]
        return _divergence("path", extra, f"'{extra.step}' did not run before")
    return _of_run(before, now)


def _divergence(kind: str, done: _Done, message: str) -> Divergence:
    return Divergence(kind=kind, step=done.step, execution=done.execution, message=message)


def _executions(events: Sequence[AnyEvent]) -> Iterator[_Done]:
    execution, logs = 0, list[tuple[str, str]]()
    for event in events:
        match event:
            case StepStart():
                execution, logs = event.execution, []
            case RunLog():
                logs.append((event.source, event.message))
            case StepComplete():
                yield _Done(
                    step=event.job_id, execution=execution, complete=event, logs=tuple(logs)
                )
            case _:
                pass


def _changes(was: _Done, now: _Done) -> Iterator[tuple[str, str]]:
    before, after = was.complete, now.complete
    if _ending(before) != _ending(after):
        yield "outcome", f"expected {_ending(before)}, found {_ending(after)}"
    if before.withheld == after.withheld and not before.withheld:
        told = list(_state(before, after))[:SHOWN]
        if told:
            yield "state", "; ".join(told)
    if was.logs != now.logs:
        yield "log", _log(was.logs, now.logs)
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
    elif was.text != now.text:
        yield from differences("output", was.value, now.value, exact=True)


def _log(was: tuple[tuple[str, str], ...], now: tuple[tuple[str, str], ...]) -> str:
    for before, after in zip(was, now, strict=False):
        if before != after:
            return f"expected the line {before[1]!r}, found {after[1]!r}"
    longer = was if len(was) > len(now) else now
    line = longer[min(len(was), len(now))][1]
    return f"the line {line!r} is {'not logged any more' if longer is was else 'new'}"


def _names(steps: Sequence[str]) -> str:
    return ", ".join(f"'{one}'" for one in steps) or "no step"


def _of_run(before: Sequence[AnyEvent], now: Sequence[AnyEvent]) -> Divergence | None:
    was, found = before[-1], now[-1]
    assert isinstance(was, RunComplete) and isinstance(found, RunComplete)
    if _ending(was) != _ending(found):
        message = f"expected {_ending(was)}, found {_ending(found)}"
        return Divergence(kind="run", step="", execution=0, message=message)
    return None
