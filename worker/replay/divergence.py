"""First difference between a run and its recording.

Executions are compared in order, and of each its requests, its end, its output, its log and its
edges; then the end of the run. Later differences mostly follow from the first one and are left out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from worker.adaptors.http.replay_host import RequestDivergence
from worker.core.events import AnyEvent, RunComplete, RunLog, StepComplete
from worker.core.execution import Execution, executions
from worker.util.state_diff import differences

DIFFERENCES_LIMIT = 5
"""The most fields of a state that a message lists."""

_DURATION = re.compile(r"\b\d+(?:\.\d+)? ?(?:µs|us|ms|s|sec|seconds|min|minutes)\b")


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
    recorded_events: Sequence[AnyEvent],
    replayed_events: Sequence[AnyEvent],
    changed: Sequence[RequestDivergence] = (),
    *,
    partly: bool = False,
    unlogged: Collection[str] = (),
    logs_last: bool = False,
) -> Divergence | None:
    """Find the first difference between the events of a recording and of a replay.

    ``changed`` are the requests that differ. ``partly`` means that the recording is incomplete:
    only what it holds is compared. The logs of the steps in ``unlogged`` are not compared.
    ``logs_last`` is for two real runs: durations in log lines are ignored, and a log line that
    differs is only returned where nothing else does.
    """
    divergences = _divergences(
        recorded_events, replayed_events, changed, partly, unlogged, ignore_durations=logs_last
    )
    if logs_last:
        # min returns the first of those that rank alike.
        return min(divergences, key=lambda divergence: divergence.kind == "log", default=None)
    return next(divergences, None)


def _divergences(
    recorded_events: Sequence[AnyEvent],
    replayed_events: Sequence[AnyEvent],
    changed: Sequence[RequestDivergence],
    partly: bool,
    unlogged: Collection[str],
    *,
    ignore_durations: bool,
) -> Iterator[Divergence]:
    expected, actual = _completed(recorded_events), _completed(replayed_events)
    # Reversed, so that the first change of an execution is the one that stays in the table.
    changes = {(change.step, change.execution): change for change in reversed(changed)}
    for index, recorded in enumerate(expected):
        if index >= len(actual):
            text = f"'{recorded.job_id}' does not run any more{_cause(replayed_events)}"
            yield _divergence("path", recorded, text)
            return
        replayed = actual[index]
        if replayed.job_id != recorded.job_id:
            text = f"'{replayed.job_id}' runs instead of '{recorded.job_id}'"
            yield _divergence("path", replayed, text)
            return
        # Before the outcome, which follows from the replies.
        if change := changes.get((replayed.job_id, replayed.number)):
            yield _divergence("request", replayed, change.message)
        for kind, message in _changes(recorded, replayed, ignore_durations):
            if kind != "log" or replayed.job_id not in unlogged:
                yield _divergence(kind, replayed, message)
    if partly:
        return
    if len(actual) > len(expected):
        extra = actual[len(expected)]
        yield _divergence("path", extra, f"'{extra.job_id}' did not run before")
        return
    if divergence := _of_run(recorded_events, replayed_events):
        yield divergence


def _divergence(kind: str, execution: Execution, message: str) -> Divergence:
    return Divergence(kind=kind, step=execution.job_id, execution=execution.number, message=message)


def _cause(replayed: Sequence[AnyEvent]) -> str:
    """Describe how a run ended that is shorter than before: often it could not even begin."""
    end = replayed[-1] if replayed else None
    if not isinstance(end, RunComplete) or end.error is None:
        return ""
    return f": the run is {end.status} ({end.error.type}: {end.error.message})"


def _completed(events: Sequence[AnyEvent]) -> list[Execution]:
    return [run for run in executions(events) if run.complete is not None]


def _changes(
    recorded: Execution, replayed: Execution, ignore_durations: bool
) -> Iterator[tuple[str, str]]:
    expected, actual = recorded.complete, replayed.complete
    assert expected is not None and actual is not None
    if not _ends_alike(expected, actual):
        yield "outcome", f"expected {_ending(expected)}, found {_ending(actual)}"
    if expected.withheld == actual.withheld and not expected.withheld:
        fields = list(_state(expected, actual))[:DIFFERENCES_LIMIT]
        if fields:
            yield "state", "; ".join(fields)
    if message := _log(recorded.logs, replayed.logs, ignore_durations):
        yield "log", message
    if expected.next != actual.next:
        yield "edge", f"expected to lead to {_names(expected.next)}, found {_names(actual.next)}"


def _ends_alike(expected: StepComplete | RunComplete, actual: StepComplete | RunComplete) -> bool:
    if expected.error is None or actual.error is None or expected.error.message:
        return _ending(expected) == _ending(actual)
    # Lightning stores no messages of errors: those of a run that was imported are not known.
    same_type = expected.error.type == actual.error.type
    return expected.reason == actual.reason and same_type


def _ending(event: StepComplete | RunComplete) -> str:
    error = event.error
    return event.reason if error is None else f"{event.reason} ({error.type}: {error.message})"


def _state(expected: StepComplete, actual: StepComplete) -> Iterator[str]:
    recorded, replayed = expected.output_dataclip, actual.output_dataclip
    if recorded is None or replayed is None:
        if (recorded is None) is not (replayed is None):
            yield (
                "expected no output, found one"
                if recorded is None
                else "expected an output, found none"
            )
    # Texts first: most states are the same, and parsing them is what would take the time.
    elif recorded.text != replayed.text:
        yield from differences("output", recorded.value, replayed.value, exact=True)


def _log(recorded: Sequence[RunLog], replayed: Sequence[RunLog], ignore_durations: bool) -> str:
    """Describe the first difference between two logs; empty if there is none."""
    for expected, actual in zip(recorded, replayed, strict=False):
        texts = [expected.message, actual.message]
        if ignore_durations:
            texts = [_DURATION.sub("…", text) for text in texts]
        if expected.source != actual.source or texts[0] != texts[1]:
            return f"expected the line {expected.message!r}, found {actual.message!r}"
    if len(recorded) == len(replayed):
        return ""
    longer = recorded if len(recorded) > len(replayed) else replayed
    line = longer[min(len(recorded), len(replayed))].message
    return f"the line {line!r} is {'not logged any more' if longer is recorded else 'new'}"


def _names(steps: Sequence[str]) -> str:
    return ", ".join(f"'{step}'" for step in steps) or "no step"


def _of_run(recorded: Sequence[AnyEvent], replayed: Sequence[AnyEvent]) -> Divergence | None:
    expected, actual = recorded[-1], replayed[-1]
    assert isinstance(expected, RunComplete) and isinstance(actual, RunComplete)
    if not _ends_alike(expected, actual):
        message = f"expected {_ending(expected)}, found {_ending(actual)}"
        return Divergence(kind="run", step="", execution=0, message=message)
    return None
