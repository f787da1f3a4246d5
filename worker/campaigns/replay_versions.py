"""Replay of recordings with every version of a campaign, as parallel work."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from msgspec import Struct

from worker.campaigns.campaign_spec import RECORDED, CampaignSpec
from worker.core.events import AnyEvent, StepComplete
from worker.core.machine import CompleteStep
from worker.core.outcome import Outcome
from worker.core.status import Status
from worker.errors import UsageError, WorkerError
from worker.explore.properties import Property, parse_property
from worker.replay.recording import Recording, StoredRecording, name_of, read_item
from worker.replay.replayer import Replay, replay
from worker.runner.ordered_results import in_order
from worker.runner.parallel import Handler
from worker.runner.pool import Pool
from worker.workflow.model import Step

_MESSAGE_LENGTH = 600
# Of a state's difference: "output.data.x: expected 1, found 2".
_FIELD = re.compile(r"(output[^:\s]*):")


class ReplayRow(Struct, frozen=True, kw_only=True, tag_field="type", tag="replay"):
    """Replay of a recording with a version: the kind of its first difference, or ``same``.

    ``field`` is the path in the output for a difference of the state. ``against`` are the
    questions that the replayed run contradicts.
    """

    recording: str
    run: str = ""
    version: str
    kind: str
    step: str = ""
    execution: int = 0
    field: str = ""
    message: str = ""
    status: str = ""
    against: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplayedVersions:
    """Rows of one recording, and the edges that its runs followed, by version."""

    rows: tuple[ReplayRow, ...]
    flows: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class VersionsWork:
    """Replays of a campaign as parallel work; its items are recordings."""

    spec: CampaignSpec

    @asynccontextmanager
    async def open(
        self, slots: int
    ) -> AsyncIterator[Handler[Path | StoredRecording, ReplayedVersions]]:
        async with Pool(size=slots) as pool:
            yield functools.partial(self._in_order, pool, slots)

    def _in_order(
        self, pool: Pool, slots: int, items: Sequence[Path | StoredRecording]
    ) -> AsyncIterator[ReplayedVersions]:
        return in_order(items, functools.partial(self._replay, pool), slots)

    async def _replay(self, pool: Pool, item: Path | StoredRecording) -> ReplayedVersions:
        try:
            recording = self._limited(read_item(item))
            return await self._replay_versions(pool, recording, name_of(item))
        except WorkerError as error:
            return self._unreadable(item, str(error))
        except Exception as error:
            # A recording that cannot be replayed must not end those after it.
            return self.lost(item, f"failed: {type(error).__name__}: {error}")

    async def _replay_versions(
        self, pool: Pool, recording: Recording, name: str
    ) -> ReplayedVersions:
        rows = []
        flows = {RECORDED: _followed(recording.events)}
        for version, workflow in self.spec.versions.items():
            outcome = await replay(pool, recording, workflow)
            properties = _properties(workflow or recording.workflow, self.spec.questions)
            rows.append(result_row(name, version, outcome, properties))
            if workflow is not None:
                flows[version] = _followed(outcome.result.events)
        return ReplayedVersions(tuple(rows), flows)

    def _limited(self, recording: Recording) -> Recording:
        if not self.spec.limits:
            return recording
        header = recording.header
        limits = replace(header.limits, **self.spec.limits)  # type: ignore[arg-type]
        return replace(recording, header=msgspec.structs.replace(header, limits=limits))

    def lost(self, item: Path | StoredRecording, cause: str) -> ReplayedVersions:
        return self._unreadable(item, f"its replay {cause}")

    def _unreadable(self, item: Path | StoredRecording, message: str) -> ReplayedVersions:
        name = name_of(item)
        rows = [unreadable_row(name, version, message) for version in self.spec.versions]
        return ReplayedVersions(tuple(rows), {})


def unreadable_row(name: str, version: str, message: str) -> ReplayRow:
    """Return the row of a recording that cannot be replayed."""
    # An error of the file begins with its name.
    message = message.removeprefix(f"{name}: ")[:_MESSAGE_LENGTH]
    return ReplayRow(recording=name, version=version, kind="unreadable", message=message)


def encode_row(row: ReplayRow) -> bytes:
    """Encode a row as a line of JSON."""
    return msgspec.json.encode(row) + b"\n"


def result_row(
    name: str, version: str, outcome: Replay, properties: Iterable[Property] = ()
) -> ReplayRow:
    """Return the row of a replay, with the questions that it contradicts."""
    divergence = outcome.divergence
    row = ReplayRow(
        recording=name,
        run=outcome.recording.header.run_id,
        version=version,
        kind=outcome.kind,
        status=outcome.result.status.value,
        against=tuple(_contradicted(properties, outcome)),
    )
    if divergence is None:
        return row
    match = _FIELD.match(divergence.message) if divergence.kind == "state" else None
    return msgspec.structs.replace(
        row,
        step=divergence.step,
        execution=divergence.execution,
        field=match[1] if match else "",
        message=divergence.message[:_MESSAGE_LENGTH],
    )


def _followed(events: Iterable[AnyEvent]) -> Mapping[str, int]:
    """Count the edges that a run followed, by their ids."""
    return Counter(
        f"{event.job_id}->{target}"
        for event in events
        if isinstance(event, StepComplete)
        for target in event.next
    )


# --- questions ------------------------------------------------------------------------------------


def _properties(workflow: object, questions: Sequence[str]) -> Iterator[Property]:
    steps = tuple(step.id for step in getattr(workflow, "steps", ()))
    for text in questions:
        try:
            yield parse_property(text, steps)
        except UsageError:
            # About a step that this recorded workflow does not have: nothing contradicts it.
            continue


def _contradicted(properties: Iterable[Property], outcome: Replay) -> Iterator[str]:
    # Runs that abort refute nothing, as in an exploration.
    if outcome.result.status not in (Status.SUCCESS, Status.FAILED):
        return
    completed = [
        CompleteStep(
            step=Step(id=event.job_id),
            outcome=Outcome(state=None, error=event.error),
            next=event.next,
        )
        for event in outcome.result.events
        if isinstance(event, StepComplete)
    ]
    for prop in properties:
        state: frozenset[str] = frozenset()
        for execution in completed:
            state = prop.next(state, execution)
        if prop.broken(state) or prop.unmet(state):
            yield prop.text
