"""The run that a report is about: read from a journal or a recording, as far as it is whole."""

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
from worker.workflow.model import Edge, Step, Workflow


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceListing:
    """A run. ``known``: whether the workflow is its author's, or what the events tell of it;
    ``input`` is None where it is not known; ``start`` is where the run was told to begin.
    ``damage`` says what could not be read, in words."""

    name: str
    workflow: Workflow
    known: bool
    events: tuple[AnyEvent, ...]
    input: Dataclip | None = None
    start: str = ""
    damage: tuple[str, ...] = ()
    recording: Recording | None = None

    @property
    def stands_still(self) -> bool:
        """Whether the run's clock stood still while steps computed."""
        return self.recording is not None and self.recording.header.origin == "worker"

    @property
    def end(self) -> RunComplete | None:
        """How the run ended; None where the events stop before it does."""
        last = self.events[-1] if self.events else None
        return last if isinstance(last, RunComplete) else None


def read_source(path: Path, workflow: Workflow | None = None) -> SourceListing:
    """The run in a journal or a recording; ``workflow`` is what a journal's run was of.

    Raises :class:`LoadError` where there is nothing to read, :class:`UsageError` where the
    workflow is not the run's.
    """
    if path.is_dir() or is_recording(path):
        return _recording(path)
    return _journal(path, workflow)


def _recording(folder: Path) -> SourceListing:
    if not is_recording(folder):
        raise UsageError(f"{folder} holds no recording (worker run --record DIR makes one)")
    try:
        found = read_recording(folder)
        given = Dataclip.of(found.input)
    except RecursionError as error:
        raise LoadError("its input is nested too deeply", file=str(folder)) from error
    _check_workflow(found.workflow, found.events)
    return SourceListing(
        name=str(folder),
        workflow=found.workflow,
        known=True,
        events=found.events,
        input=given,
        start=found.header.start,
        damage=found.damage,
        recording=found,
    )


def _journal(file: Path, workflow: Workflow | None) -> SourceListing:
    if not file.exists():
        raise LoadError("there is no such journal or recording", file=str(file))
    if not is_journal(file):
        raise LoadError("neither a journal nor a recording", file=str(file))
    try:
        journal = recover_journal(file)
    except OSError as error:
        raise LoadError(f"cannot be read: {error}", file=str(file)) from error
    if not journal.events:
        raise LoadError("no event of a run can be read in it", file=str(file))
    known = workflow or inferred(journal.events)
    _check_workflow(known, journal.events)
    return SourceListing(
        name=str(file),
        workflow=known,
        known=workflow is not None,
        events=journal.events,
        damage=journal.damage,
    )


def _check_workflow(workflow: Workflow, events: tuple[AnyEvent, ...]) -> None:
    known = {step.id for step in workflow.steps}
    for event in events:
        if isinstance(event, StepStart | StepComplete) and event.job_id not in known:
            raise UsageError(
                f"'{event.job_id}' ran, and is no step of the workflow '{workflow.name}': "
                "it is not the workflow of this run"
            )


def inferred(events: tuple[AnyEvent, ...]) -> Workflow:
    """What the events tell of the workflow: the steps in the order in which they first ran, and
    the edges that were followed."""
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
            # A step without code would be drawn as one that only passes its state on.
            Step(
                id=id, name=names.get(id, ""), source="//", edges=tuple(edges.get(id, {}).values())
            )
            for id in dict.fromkeys((*names, *sorted(targets)))
        ),
    )
