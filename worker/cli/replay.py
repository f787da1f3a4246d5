"""``worker replay``: run recordings again, and say where they first differ."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

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


def replay_all(
    folders: tuple[Path, ...],
    *,
    workflow_file: Path | None,
    pick: str | None,
    part: ReplayPart,
    jobs: int,
    write_case_to: Path | None,
    as_json: bool,
) -> int:
    """0 where no recording differs, else 1; 2 where one cannot be read at all."""
    found = find(folders)
    workflow = None if workflow_file is None else load(workflow_file, workflow=pick)
    if write_case_to is not None:
        return _write_case(found, write_case_to)
    return asyncio.run(_replay_all(found, workflow, part, jobs, as_json=as_json))


def find(folders: Sequence[Path]) -> list[Path]:
    """The recordings among these folders, and below them."""
    found: list[Path] = []
    for folder in folders:
        if is_recording(folder):
            found.append(folder)
        elif folder.is_dir():
            found += sorted(one.parent for one in folder.rglob("recording.json"))
        else:
            raise UsageError(f"there is no folder {folder}")
    if not found:
        raise UsageError("no recordings found (worker run --record DIR makes one)")
    return found


async def _replay_all(
    folders: list[Path], workflow: Workflow | None, part: ReplayPart, jobs: int, *, as_json: bool
) -> int:
    kinds: Counter[str] = Counter()
    alone = len(folders) == 1
    async with Pool(size=jobs) as pool:
        room = asyncio.Semaphore(jobs * 2)
        tasks = [asyncio.create_task(_one(pool, one, workflow, part, room)) for one in folders]
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


async def _one(
    pool: Pool, folder: Path, workflow: Workflow | None, part: ReplayPart, room: asyncio.Semaphore
) -> Replay | WorkerError:
    async with room:
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
    lines = [f"! {name}: {printable(one)}" for one in outcome.recording.damage]
    if outcome.divergence is not None:
        return [*lines, f"✗ {name}: {_told(outcome.divergence)}"]
    if alone:
        steps = [entry.step for entry in outcome.result.path]
        path = printable(" → ".join(steps) or "(no step)")
        lines.append(f"{'!' if lines else '✓'} {name}: {outcome.result.status.value}, as recorded")
        lines.append(f"  path: {path}")
        if outcome.scripted:
            lines.append(f"  from the recording: {printable(', '.join(outcome.scripted))}")
    return lines


def _told(divergence: Divergence) -> str:
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
    told = None
    if divergence is not None:
        told = {name: getattr(divergence, name) for name in Divergence.__dataclass_fields__}
    status = outcome.result.status.value
    return [
        dumps(
            {
                **fields,
                "status": status,
                "divergence": told,
                "damage": list(outcome.recording.damage),
                "scripted": list(outcome.scripted),
            }
        )
    ]


# --- as a case ------------------------------------------------------------------------------------


def _write_case(folders: list[Path], target: Path) -> int:
    recordings: list[Recording] = []
    for folder in folders:
        recording = read_recording(folder)
        if recording.damage:
            raise LoadError(f"it is damaged: {recording.damage[0]}", file=str(folder))
        recordings.append(recording)
    write_case(recordings, target)
    print(f"wrote {len(recordings)} cases to {printable(str(target))}")
    return 0
