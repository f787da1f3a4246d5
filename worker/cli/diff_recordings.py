"""Recorded runs that would end otherwise with another version of their workflow."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from worker.cli.diff_output import markdown_text
from worker.cli.progress import progress
from worker.cli.replay import REPLAY_S, ReplayReport, ReplayWork
from worker.replay.cost_change import describe_ratio
from worker.replay.recording import StoredRecording
from worker.replay.recording_places import RecordingPlaces, find_recordings
from worker.replay.replayer import ReplayPart
from worker.runner.parallel import results_in_order
from worker.util.json import dumps
from worker.util.plural import count_of
from worker.workflow.model import Workflow

# A damaged recording is the same as far as it goes.
_NO_DIFFERENCE = frozenset({"same", "damaged", "unreadable"})


@dataclass(slots=True)
class RecordedDiff:
    """Number of recordings by the kind of their first difference, with an example of each kind."""

    kinds: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    dearer: int = 0
    cheaper: int = 0
    ratio: float = 1.0
    """The highest ratio of the cost of a run to its cost before."""

    @property
    def different(self) -> int:
        return sum(count for kind, count in self.kinds.items() if kind not in _NO_DIFFERENCE)

    @property
    def unreadable(self) -> int:
        return self.kinds["unreadable"]

    def add(self, report: ReplayReport) -> None:
        """Count a replay."""
        self.kinds[report.kind] += 1
        self.examples.setdefault(report.kind, _example(report.lines))
        if report.cost is not None:
            self.dearer += report.cost.after > report.cost.before
            self.cheaper += report.cost.after < report.cost.before
            self.ratio = max(self.ratio, report.cost.ratio)

    def lines(self, format: str) -> Iterator[str]:
        """Yield the lines that describe the replays, in a format of ``worker diff``."""
        total = sum(self.kinds.values()) - self.unreadable
        kinds = [pair for pair in self.kinds.most_common() if pair[0] not in _NO_DIFFERENCE]
        if format == "json":
            fields: dict[str, object] = {
                "recordings": total,
                "different": self.different,
                "kinds": dict(kinds),
                "damaged": self.kinds["damaged"],
                "unreadable": self.unreadable,
            }
            if self.dearer or self.cheaper:
                fields |= {"dearer": self.dearer, "cheaper": self.cheaper}
                fields |= {"highest_ratio": round(self.ratio, 3)}
            yield dumps({"type": "recordings", **fields})
            return
        yield ""
        yield (
            f"{self.different:,} of {total:,} recorded runs would end otherwise"
            f" ({len(kinds)} kinds)"
        )
        as_shown = markdown_text if format == "markdown" else str
        for kind, count in kinds:
            example = as_shown(self.examples[kind])
            yield (
                f"- {count:,} {kind}: {example}"
                if format == "markdown"
                else f"    {count:>6,}  {kind}, such as {example}"
            )
        if damaged := self.kinds["damaged"]:
            yield f"{count_of(damaged, 'recording')} damaged, and the same as far as they go"
        if self.unreadable:
            lost = count_of(self.unreadable, "recording")
            yield f"{lost} cannot be replayed, such as {as_shown(self.examples['unreadable'])}"
        if self.dearer or self.cheaper:
            most = f" (the most: {describe_ratio(self.ratio)})" if self.dearer else ""
            yield f"{self.dearer:,} of {total:,} are dearer{most}, {self.cheaper:,} cheaper"


def _example(lines: Sequence[str]) -> str:
    differs = (line for line in lines if line.startswith("✗"))
    return next(differs, " ".join(lines[-1:]))


async def replay_recordings(
    paths: Sequence[Path | StoredRecording], workflow: Workflow, jobs: int, *, fuel: bool = False
) -> RecordedDiff:
    """Replay recordings with a workflow; with ``fuel``, compare the costs too."""
    work = ReplayWork(workflow=workflow, part=ReplayPart(), as_json=False, alone=False, fuel=fuel)
    recorded = RecordedDiff()
    with progress("replaying", len(paths)) as done:
        async with aclosing(results_in_order(work, paths, jobs, REPLAY_S * len(paths))) as reports:
            async for report in reports:
                recorded.add(report)
                done()
    return recorded


def replay_folder(folder: Path, workflow: Workflow, jobs: int, *, fuel: bool) -> RecordedDiff:
    """Replay the recordings of a folder with a workflow; with ``fuel``, compare the costs too."""
    places = RecordingPlaces(find_recordings([folder]), with_content=False)
    return asyncio.run(replay_recordings(places, workflow, jobs, fuel=fuel))
