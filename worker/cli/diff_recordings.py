"""Recorded runs that would end otherwise with another version of their workflow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from worker.cli.progress import progress
from worker.cli.replay import REPLAY_S, ReplayReport, ReplayWork
from worker.replay.cost_change import describe_ratio
from worker.replay.recording import StoredRecording
from worker.replay.replayer import ReplayPart
from worker.runner.parallel import results_in_order
from worker.util.json import dumps
from worker.workflow.model import Workflow


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
        return sum(count for kind, count in self.kinds.items() if kind != "same")

    def add(self, report: ReplayReport) -> None:
        """Count a replay."""
        self.kinds[report.kind] += 1
        self.examples.setdefault(report.kind, _example(report.lines))
        if report.cost is not None:
            self.dearer += report.cost.after > report.cost.before
            self.cheaper += report.cost.after < report.cost.before
            self.ratio = max(self.ratio, report.cost.ratio)


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


def recorded_lines(recorded: RecordedDiff, format: str) -> Iterator[str]:
    """Yield the lines that describe the replays, in a format of ``worker diff``."""
    total = sum(recorded.kinds.values())
    kinds = [(kind, count) for kind, count in recorded.kinds.most_common() if kind != "same"]
    if format == "json":
        fields: dict[str, object] = {
            "recordings": total,
            "different": recorded.different,
            "kinds": dict(kinds),
        }
        if recorded.dearer or recorded.cheaper:
            fields |= {"dearer": recorded.dearer, "cheaper": recorded.cheaper}
            fields |= {"highest_ratio": round(recorded.ratio, 3)}
        yield dumps({"type": "recordings", **fields})
        return
    yield ""
    yield (
        f"{recorded.different:,} of {total:,} recorded runs would end otherwise"
        f" ({len(kinds)} kinds)"
    )
    for kind, count in kinds:
        example = recorded.examples[kind]
        yield (
            f"- {count:,} {kind}: `{example}`"
            if format == "markdown"
            else (f"    {count:>6,}  {kind}, such as {example}")
        )
    if recorded.dearer or recorded.cheaper:
        most = f" (the most: {describe_ratio(recorded.ratio)})" if recorded.dearer else ""
        yield f"{recorded.dearer:,} of {total:,} are dearer{most}, {recorded.cheaper:,} cheaper"
