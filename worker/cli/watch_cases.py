"""``worker test --watch``: run the cases again that a saved file concerns."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

from worker.errors import WorkerError
from worker.runner.pool import Pool
from worker.sinks.terminal_text import printable
from worker.testing.case import Case
from worker.testing.case_reader import load_cases
from worker.testing.case_runner import CaseResult, run_in_order
from worker.testing.in_process import InProcessRunner

# A fifth of what a person notices as a delay. A look at a thousand files takes 2 ms.
_INTERVAL_S = 0.04
_SUFFIXES = {".yaml", ".yml", ".json", ".js", ".py"}
_SKIPPED = {"node_modules", "__pycache__"}

Snapshot = Mapping[Path, tuple[int, int]]
Show = Callable[[CaseResult], None]


def watch_cases(files: Sequence[Path], keyword: str, jobs: int, show: Show) -> int:
    """Run the cases of files, and again after each change, until the process is interrupted."""
    try:
        asyncio.run(_watch(files, keyword, jobs, show))
    except KeyboardInterrupt:
        print()
    return 0


async def _watch(files: Sequence[Path], keyword: str, jobs: int, show: Show) -> None:
    async with Pool(size=jobs) as pool:
        watch = CaseWatch(pool, files, keyword, show)
        # The first look comes before the first run: what is saved meanwhile is a change.
        changes = file_changes({file.parent for file in files})
        await watch.run(files)
        async for changed in changes:
            await watch.run(watch.concerned(changed))


class CaseWatch:
    """Files of cases, and the names of the files that each of them depends on."""

    def __init__(self, pool: Pool, files: Sequence[Path], keyword: str, show: Show) -> None:
        self._pool, self._files, self._keyword, self._show = pool, files, keyword, show
        self._texts: dict[Path, str] = {}

    def concerned(self, changed: Iterable[Path]) -> list[Path]:
        """Return the files of cases that are among the changed files, or name one of them."""
        paths = set(changed)
        names = {path.name for path in paths}
        return [
            file
            for file in self._files
            if file in paths or any(name in self._texts.get(file, name) for name in names)
        ]

    async def run(self, files: Sequence[Path]) -> None:
        """Run the cases of files, and print a line that counts them."""
        results: list[CaseResult] = []
        for file in files:
            try:
                cases = self._load(file)
            except WorkerError as error:
                # The file is saved half-written, perhaps: the next change will tell.
                print(f"error: {printable(str(error))}")
                continue
            results += await self._run(cases)
        failed = sum(bool(result.mismatches) for result in results)
        if files:
            print(f"\n{len(results) - failed} passed, {failed} failed; watching", flush=True)

    def _load(self, file: Path) -> list[Case]:
        self._texts.pop(file, None)
        cases = load_cases(file)
        sources = {file, *(Path(case.workflow.file) for case in cases)}
        self._texts[file] = "\n".join(path.read_text("utf-8") for path in sources if path.is_file())
        return [case for case in cases if self._keyword in case.name]

    async def _run(self, cases: Sequence[Case]) -> list[CaseResult]:
        # A new one each time: it keeps what it has compiled of each version of a workflow.
        runner = InProcessRunner(self._pool, asyncio.get_running_loop())
        results = []
        try:
            async with aclosing(run_in_order(self._pool, runner, cases)) as outcomes:
                async for result in outcomes:
                    self._show(result)
                    results.append(result)
        finally:
            await asyncio.to_thread(runner.close)
        return results


# --- changes of files -----------------------------------------------------------------------------


def file_changes(folders: Collection[Path]) -> AsyncIterator[set[Path]]:
    """Yield the files below folders that were saved since the call, or since the last ones."""
    return _changes_since(_snapshot(folders), folders)


async def _changes_since(before: Snapshot, folders: Collection[Path]) -> AsyncIterator[set[Path]]:
    while True:
        now = await asyncio.to_thread(_snapshot, folders)
        changed = {path for path in before.keys() | now.keys() if before.get(path) != now.get(path)}
        before = now
        if changed:
            yield changed
        # No file system events: they differ by system, and are lost on network and shared folders.
        await asyncio.sleep(_INTERVAL_S)


def _snapshot(folders: Collection[Path]) -> Snapshot:
    entries: dict[Path, tuple[int, int]] = {}
    for folder in folders:
        for root, names, files in os.walk(folder):
            names[:] = [name for name in names if name[0] != "." and name not in _SKIPPED]
            for path in (Path(root, name) for name in files):
                if path.suffix in _SUFFIXES and (state := _state(path)) is not None:
                    entries[path] = state
    return entries


def _state(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        # Editors replace a file by another: for a moment there is none.
        return None
    return status.st_mtime_ns, status.st_ino
