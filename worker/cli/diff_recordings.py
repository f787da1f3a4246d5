"""Recorded runs that would end otherwise with another version of their workflow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from worker.cli.progress import progress
from worker.cli.replay import REPLAY_S, ReplayWork
from worker.replay.replayer import ReplayPart
from worker.runner.parallel import results_in_order
from worker.util.json import dumps
from worker.workflow.model import Workflow


@dataclass(slots=True)
class RecordedDiff:
    """Number of recordings by the kind of their first difference, with an example of each kind."""

    kinds: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    @property
    def different(self) -> int:
        return sum(count for kind, count in self.kinds.items() if kind != "same")


async def replay_recordings(paths: Sequence[Path], workflow: Workflow, jobs: int) -> RecordedDiff:
    """Replay recordings with a workflow."""
    work = ReplayWork(workflow=workflow, part=ReplayPart(), as_json=False, alone=False)
    recorded = RecordedDiff()
    with progress("replaying", len(paths)) as done:
        async with aclosing(results_in_order(work, paths, jobs, REPLAY_S * len(paths))) as reports:
            async for report in reports:
                recorded.kinds[report.kind] += 1
                recorded.examples.setdefault(report.kind, " ".join(report.lines[-1:]))
                done()
    return recorded


def recorded_lines(recorded: RecordedDiff, format: str) -> Iterator[str]:
    """Yield the lines that describe the replays, in a format of ``worker diff``."""
    total = sum(recorded.kinds.values())
    kinds = [(kind, count) for kind, count in recorded.kinds.most_common() if kind != "same"]
    if format == "json":
        fields = {"recordings": total, "different": recorded.different, "kinds": dict(kinds)}
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
