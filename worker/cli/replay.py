"""``worker replay``: run recordings again and show the first difference."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
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
from worker.runner.pool import Pool
from worker.sinks.terminal_text import one_line, printable
from worker.testing.from_recording import write_case
from worker.util.json import dumps
from worker.workflow.load import load
from worker.workflow.model import Workflow


@command("replay")
@click.argument("paths", type=PATH, nargs=-1, required=True, metavar="FILE|DIR...")
@workflow_file("Run this workflow instead of the recorded one.")
@start_at("--from", help="Start at this step, with its recorded input.")
@stop_after("--until")
@only_step
@jobs
@write_cases("--write-case", help="Write the recordings to FILE as cases for worker test.")
@option("--json", "as_json", is_flag=True, help="Print one recording a line, as JSON.")
def replay_all(
    *,
    paths: tuple[Path, ...],
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

    The recording answers the requests, and gives the time and the random numbers. DIR stands for
    all recordings in it.

    \b
    Examples:
      worker run project.yaml --credentials secrets.yaml --record runs/first.jsonl
      worker replay runs/first.jsonl
      worker replay runs --workflow-file project.yaml --workflow "Case referral"
      worker replay runs/first.jsonl --start-at notify
      worker replay runs/first.jsonl --write-cases notify.cases.yaml

    \b
    Exit code: 0 no difference, 1 a difference, 2 wrong usage or nothing to read.
    """
    check_only(only, start_at, stop_after)
    recordings = find_recordings(paths)
    changed = None if workflow_file is None else load(workflow_file, workflow=workflow)
    if write_cases is not None:
        return _write_cases(recordings, write_cases)
    part = ReplayPart(start=only or start_at, end=only or stop_after)
    return asyncio.run(_replay_all(recordings, changed, part, jobs, as_json=as_json))


def find_recordings(paths: Sequence[Path]) -> list[Path]:
    """Return these recordings, and those in these folders and below them."""
    recordings: list[Path] = []
    for path in paths:
        if path.is_dir() and not is_recording(path):
            recordings += sorted(filter(is_recording, path.rglob("*")))
        elif path.exists():
            recordings.append(path)
        else:
            raise UsageError(f"there is no recording {path}")
    if not recordings:
        raise UsageError("no recordings found (worker run --record FILE makes one)")
    return recordings


async def _replay_all(
    folders: list[Path], workflow: Workflow | None, part: ReplayPart, jobs: int, *, as_json: bool
) -> int:
    kinds: Counter[str] = Counter()
    alone = len(folders) == 1
    async with Pool(size=jobs) as pool:
        # Recordings are read ahead of the pool, but never all of them into memory.
        slots = asyncio.Semaphore(jobs * 2)
        tasks = [
            asyncio.create_task(_replay(pool, folder, workflow, part, slots)) for folder in folders
        ]
        with progress("replaying", len(folders)) as done:
            for folder, task in zip(folders, tasks, strict=True):
                outcome = await task
                kinds[_kind(outcome)] += 1
                for line in (
                    _as_json(folder, outcome) if as_json else _as_text(folder, outcome, alone)
                ):
                    print(line)
                done()
    if not alone and not as_json:
        _summary(kinds)
    bad = len(folders) - kinds["same"]
    return 2 if kinds["unreadable"] == len(folders) else int(bad > 0)


async def _replay(
    pool: Pool, folder: Path, workflow: Workflow | None, part: ReplayPart, slots: asyncio.Semaphore
) -> Replay | WorkerError:
    async with slots:
        try:
            return await replay(pool, read_recording(folder), workflow, part)
        except WorkerError as error:
            return error


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
