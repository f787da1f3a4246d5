"""``worker replay``: run recordings again and show the first difference."""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from worker.cli.options import (
    PATH,
    check_only,
    command,
    jobs,
    only_step,
    option,
    start_at,
    stop_after,
    workflow_file,
    write_cases,
)
from worker.cli.progress import progress
from worker.errors import LoadError, UsageError, WorkerError
from worker.replay.divergence import Divergence
from worker.replay.recording import Recording, is_recording, read_recording
from worker.replay.replayer import Replay, ReplayPart, replay
from worker.runner.parallel import Handler, results_in_order
from worker.runner.pool import Pool
from worker.sinks.terminal_text import one_line, printable
from worker.testing.from_recording import write_case
from worker.util.json import dumps
from worker.workflow.load import load
from worker.workflow.model import Workflow

# Processor time of one replay in this process, as measured: reading, comparing, formatting.
REPLAY_S = 0.002


@command("replay")
@click.argument("folders", type=PATH, nargs=-1, required=True, metavar="DIR...")
@workflow_file("Run this workflow instead of the recorded one.")
@start_at("--from", help="Start at this step, with its recorded input.")
@stop_after("--until")
@only_step
@jobs
@write_cases("--write-case", help="Write the recordings to FILE as cases for worker test.")
@option("--json", "as_json", is_flag=True, help="Print one recording a line, as JSON.")
def replay_all(
    *,
    folders: tuple[Path, ...],
    workflow_file: Path | None,
    workflow: str | None,
    start_at: str,
    stop_after: str,
    only: str,
    jobs: int,
    write_cases: Path | None,
    as_json: bool,
) -> int:
    """Run recordings again, offline, and show the first difference.

    The recording answers the requests, and gives the time and the random numbers.

    \b
    Examples:
      worker run project.yaml --credentials secrets.yaml --record runs/first
      worker replay runs/first
      worker replay runs --workflow-file project.yaml --workflow "Case referral"
      worker replay runs/first --start-at notify
      worker replay runs/first --write-cases notify.cases.yaml
      worker replay runs --json --jobs 4

    \b
    Exit code: 0 no difference, 1 a difference, 2 wrong usage or nothing to read.
    """
    check_only(only, start_at, stop_after)
    recordings = find_recordings(folders)
    changed = None if workflow_file is None else load(workflow_file, workflow=workflow)
    if write_cases is not None:
        return _write_cases(recordings, write_cases)
    work = ReplayWork(
        workflow=changed,
        part=ReplayPart(start=only or start_at, end=only or stop_after),
        as_json=as_json,
        alone=len(recordings) == 1,
    )
    return asyncio.run(_replay_all(recordings, work, jobs))


def find_recordings(folders: Sequence[Path]) -> list[Path]:
    """Return the recordings among these folders and below them."""
    recordings: list[Path] = []
    for folder in folders:
        if is_recording(folder):
            recordings.append(folder)
        elif folder.is_dir():
            recordings += sorted(header.parent for header in folder.rglob("recording.json"))
        else:
            raise UsageError(f"there is no folder {folder}")
    if not recordings:
        raise UsageError("no recordings found (worker run --record DIR makes one)")
    return recordings


async def _replay_all(folders: list[Path], work: ReplayWork, jobs: int) -> int:
    kinds: Counter[str] = Counter()
    reports = results_in_order(work, folders, jobs, REPLAY_S * len(folders))
    async with aclosing(reports):
        with progress("replaying", len(folders)) as done:
            async for report in reports:
                kinds[report.kind] += 1
                for line in report.lines:
                    print(line)
                done()
    if not work.alone and not work.as_json:
        _summary(kinds)
    bad = len(folders) - kinds["same"]
    return 2 if kinds["unreadable"] == len(folders) else int(bad > 0)


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """Kind of the first difference, or ``same``, and the lines that describe it."""

    kind: str
    lines: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayWork:
    """Replays as parallel work; its items are the folders of recordings."""

    workflow: Workflow | None
    part: ReplayPart
    as_json: bool
    alone: bool

    @asynccontextmanager
    async def open(self, slots: int) -> AsyncIterator[Handler[Path, ReplayReport]]:
        async with Pool(size=slots) as pool:
            yield functools.partial(self._replay_in_order, pool, slots)

    async def _replay_in_order(
        self, pool: Pool, slots: int, folders: Sequence[Path]
    ) -> AsyncIterator[ReplayReport]:
        # Recordings are read ahead of the pool, but never all of them into memory.
        ahead = asyncio.Semaphore(slots * 2)
        for task in [asyncio.create_task(self._replay(pool, ahead, f)) for f in folders]:
            yield await task

    async def _replay(self, pool: Pool, ahead: asyncio.Semaphore, folder: Path) -> ReplayReport:
        async with ahead:
            try:
                return self._report(
                    folder, await replay(pool, read_recording(folder), self.workflow, self.part)
                )
            except WorkerError as error:
                return self._report(folder, error)
            except Exception as error:
                # A recording that cannot be replayed must not end those after it.
                return self.lost(folder, f"failed: {type(error).__name__}: {error}")

    def _report(self, folder: Path, outcome: Replay | WorkerError) -> ReplayReport:
        lines = _as_json(folder, outcome) if self.as_json else _as_text(folder, outcome, self.alone)
        return ReplayReport(_kind(outcome), lines)

    def lost(self, item: Path, cause: str) -> ReplayReport:
        return self._report(item, WorkerError(f"its replay {cause}"))


def _kind(outcome: Replay | WorkerError) -> str:
    if isinstance(outcome, WorkerError):
        return "unreadable"
    if outcome.divergence is not None:
        return outcome.divergence.kind
    return "damaged" if outcome.recording.damage else "same"


# --- as text --------------------------------------------------------------------------------------


def _as_text(folder: Path, outcome: Replay | WorkerError, alone: bool) -> list[str]:
    name = printable(str(folder))
    if isinstance(outcome, WorkerError):
        return [f"✗ {name}: {printable(str(outcome))}"]
    lines = [f"! {name}: {printable(damage)}" for damage in outcome.recording.damage]
    if outcome.divergence is not None:
        return [*lines, f"✗ {name}: {_difference(outcome.divergence)}"]
    if alone:
        steps = [entry.step for entry in outcome.result.path]
        path = printable(" → ".join(steps) or "(no step)")
        lines.append(f"{'!' if lines else '✓'} {name}: {outcome.result.status.value}, as recorded")
        lines.append(f"  path: {path}")
        if outcome.scripted:
            lines.append(f"  from the recording: {printable(', '.join(outcome.scripted))}")
    return lines


def _difference(divergence: Divergence) -> str:
    again = f", execution {divergence.execution}" if divergence.execution else ""
    place = f" at '{divergence.step}'{again}" if divergence.step else ""
    return f"{divergence.kind}{printable(place)}: {one_line(divergence.message, 600)}"


def _summary(kinds: Counter[str]) -> None:
    total = sum(kinds.values())
    print(f"\n{total} recordings: {kinds['same']} the same")
    for kind, count in kinds.most_common():
        if kind != "same":
            print(f"    {count:>6}  {_WORDS[kind]}")


_WORDS = {
    "request": "make another request",
    "path": "take another path",
    "outcome": "have a step that ends in another way",
    "state": "have another state",
    "log": "log something else",
    "edge": "follow other edges",
    "run": "end in another way",
    "damaged": "are damaged, and the same as far as they go",
    "unreadable": "cannot be replayed",
}


def _as_json(folder: Path, outcome: Replay | WorkerError) -> list[str]:
    fields: dict[str, object] = {"recording": str(folder), "kind": _kind(outcome)}
    if isinstance(outcome, WorkerError):
        return [dumps({**fields, "message": str(outcome)})]
    divergence = outcome.divergence
    difference = None
    if divergence is not None:
        difference = {name: getattr(divergence, name) for name in Divergence.__dataclass_fields__}
    status = outcome.result.status.value
    return [
        dumps(
            {
                **fields,
                "status": status,
                "divergence": difference,
                "damage": list(outcome.recording.damage),
                "scripted": list(outcome.scripted),
            }
        )
    ]


# --- as cases -------------------------------------------------------------------------------------


def _write_cases(folders: list[Path], target: Path) -> int:
    recordings: list[Recording] = []
    for folder in folders:
        recording = read_recording(folder)
        if recording.damage:
            raise LoadError(f"it is damaged: {recording.damage[0]}", file=str(folder))
        recordings.append(recording)
    write_case(recordings, target)
    print(f"wrote {len(recordings)} cases to {printable(str(target))}")
    return 0
