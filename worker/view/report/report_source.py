"""Reader of journals and recordings for reports; a damaged one is read up to the damage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from worker.core.events import (
    AnyEvent,
    Dataclip,
    RunComplete,
    RunStart,
    StepComplete,
    StepStart,
)
from worker.errors import LoadError, UsageError
from worker.replay.recording import Recording, is_recording, read_recording
from worker.sinks.journal import is_journal, recover_journal
from worker.workflow.documents.near_files import suggest_file
from worker.workflow.model import Edge, Step, Workflow


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSource:
    """Run of a report.

    ``workflow_known`` is False for a workflow inferred from events. ``input`` is None where it is
    unknown, ``start`` is the step that the run started at, and ``damage`` lists what could not be
    read.
    """

    name: str
    workflow: Workflow
    workflow_known: bool
    events: tuple[AnyEvent, ...]
    input: Dataclip | None = None
    start: str = ""
    damage: tuple[str, ...] = ()
    recording: Recording | None = None

    @property
    def has_frozen_clock(self) -> bool:
        """True where the clock of the run did not advance while steps computed."""
        return self.recording is not None and self.recording.header.origin == "worker"

    @property
    def end(self) -> RunComplete | None:
        """Last event; None where the events stop before the run ended."""
        last = self.events[-1] if self.events else None
        return last if isinstance(last, RunComplete) else None


def read_source(path: Path, workflow: Workflow | None = None) -> ReportSource:
    """Read a journal or a recording. ``workflow`` is that of a journal's run.

    Raises :class:`LoadError` where there is nothing to read, and :class:`UsageError` for a
    workflow that is not the run's.
    """
    if path.is_dir() or is_recording(path):
        return _recording(path)
    return _journal(path, workflow)


def _recording(path: Path) -> ReportSource:
    recording = read_recording(path)
    try:
        input = Dataclip.of(recording.input)
    except RecursionError as error:
        raise LoadError("the input is nested too deeply", file=str(path)) from error
    _check_workflow(recording.workflow, recording.events)
    return ReportSource(
        name=str(path),
        workflow=recording.workflow,
        workflow_known=True,
        events=recording.events,
        input=input,
        start=recording.header.start,
        damage=recording.damage,
        recording=recording,
    )


def _journal(file: Path, workflow: Workflow | None) -> ReportSource:
    if not file.exists():
        raise LoadError(f"there is no such file{suggest_file(file)}", file=str(file))
    if not is_journal(file):
        raise LoadError(
            "neither a journal nor a recording (see worker run --record)",
            file=str(file),
        )
    try:
        journal = recover_journal(file)
    except OSError as error:
        raise LoadError(f"cannot be read: {error}", file=str(file)) from error
    if not journal.events:
        raise LoadError("it contains no readable event of a run", file=str(file))
    used = workflow or infer_workflow(journal.events)
    _check_workflow(used, journal.events)
    return ReportSource(
        name=str(file),
        workflow=used,
        workflow_known=workflow is not None,
        events=journal.events,
        damage=journal.damage,
    )


def _check_workflow(workflow: Workflow, events: tuple[AnyEvent, ...]) -> None:
    known = {step.id for step in workflow.steps}
    for event in events:
        if isinstance(event, StepStart | StepComplete) and event.job_id not in known:
            raise UsageError(
                f"step '{event.job_id}' ran, but workflow '{workflow.name}' has no such step: "
                "it is not the workflow of this run"
            )


def infer_workflow(events: tuple[AnyEvent, ...]) -> Workflow:
    """Infer the steps, in the order in which they first ran, and the edges that were followed."""
    names: dict[str, str] = {}
    edges: dict[str, dict[str, Edge]] = {}
    for event in events:
        if isinstance(event, StepStart):
            names[event.job_id] = event.job_name
        elif isinstance(event, StepComplete):
            names.setdefault(event.job_id, "")
            for target in event.next:
                edge = Edge(source=event.job_id, target=target)
                edges.setdefault(event.job_id, {})[target] = edge
    targets = {target for some in edges.values() for target in some}
    first = events[0]
    return Workflow(
        name=first.workflow if isinstance(first, RunStart) else "",
        steps=tuple(
            # A step without code would be drawn as one that only passes its state.
            Step(
                id=id, name=names.get(id, ""), source="//", edges=tuple(edges.get(id, {}).values())
            )
            for id in dict.fromkeys((*names, *sorted(targets)))
        ),
    )
